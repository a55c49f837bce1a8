/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: a bump allocator over low RAM, and page tables for device memory above 4 GiB.
 */
#include "../boot/layout.h"
#include "payload.h"
#include "start_info.h"

#define PTE_PRESENT_RW_USER 0x07ul
#define PTE_UNCACHED        0x18ul
#define PTE_ACCESSED_DIRTY  0x60ul
#define PTE_LARGE           0x80ul
#define LARGE_PAGE          0x200000ul
#define HIGH_WINDOW         0x8000000000ul /* PML4 entry 1: where memory above 4 GiB is mapped */

static uint64_t heap_next = HEAP_BASE;
static uint64_t heap_end;
static uint64_t high_ram;
static uint64_t high_pd[512] __attribute__((aligned(4096)));
static uint64_t high_pdpt[512] __attribute__((aligned(4096)));
static unsigned int high_used;

void memory_init(const struct hvm_start_info *info)
{
    const struct hvm_memmap_table_entry *map = (const void *)info->memmap_paddr;

    heap_end = HEAP_BASE + 0x1000000;
    if (info->version < 1 || !map)
        return;
    for (uint32_t i = 0; i < info->memmap_entries; i++) {
        uint64_t end = map[i].addr + map[i].size;

        if (map[i].type != HVM_MEMMAP_TYPE_RAM)
            continue;
        if (map[i].addr >= 1ul << 32 && map[i].size >= LARGE_PAGE && !high_ram)
            high_ram = map[i].addr;
        if (map[i].addr <= HEAP_BASE && end > heap_end)
            heap_end = MIN(end, 0xc0000000ul) & ~(PAGE_SIZE - 1);
    }
}

uint64_t memory_low_ram_end(void)
{
    return heap_end;
}

uint64_t memory_high_ram(void)
{
    return high_ram;
}

void *page_alloc(size_t size)
{
    uint64_t at = heap_next;

    size = (size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
    if (size > heap_end - at) {
        print("Bail out! out of guest memory\n");
        machine_exit(0x7e);
    }
    heap_next += size;
    return memset((void *)at, 0, size);
}

uint64_t memory_mark(void)
{
    return heap_next;
}

void memory_release(uint64_t mark)
{
    heap_next = mark;
}

volatile uint8_t *physical_map(uint64_t physical, uint64_t size)
{
    uint64_t first = physical & ~(LARGE_PAGE - 1);
    uint64_t virtual;

    if (physical + size <= 1ul << 32)
        return (volatile uint8_t *)physical;
    if (!high_used) {
        high_pdpt[0] = physical_address(high_pd) | PTE_PRESENT_RW_USER;
        ((uint64_t *)PML4_BASE)[1] = physical_address(high_pdpt) | PTE_PRESENT_RW_USER;
    }
    for (unsigned int i = 0; i < high_used; i++) {
        if ((high_pd[i] & ~(LARGE_PAGE - 1)) == first && physical + size <= first + LARGE_PAGE)
            return (volatile uint8_t *)(HIGH_WINDOW + i * LARGE_PAGE + (physical - first));
    }
    virtual = HIGH_WINDOW + high_used * LARGE_PAGE + (physical - first);
    for (; first < physical + size; first += LARGE_PAGE) {
        if (high_used == 512) {
            print("Bail out! too much device memory above 4 GiB\n");
            machine_exit(0x7e);
        }
        high_pd[high_used++] =
            first | PTE_PRESENT_RW_USER | PTE_UNCACHED | PTE_ACCESSED_DIRTY | PTE_LARGE;
    }
    return (volatile uint8_t *)virtual;
}

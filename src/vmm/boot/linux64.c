// SPDX-License-Identifier: Apache-2.0
/*
 * Boot structures of the 64-bit Linux boot protocol: the zero page (Documentation/arch/x86/boot.rst
 * and zero-page.rst) and page tables that map the first 4 GiB to themselves. Runs before the guest.
 */
#include "internal.h"
#include <string.h>

#define LOADER_UNDEFINED 0xff   /* boot.rst: type_of_loader of a loader without an assigned id */
#define VIDEO_NORMAL     0xffff /* boot.rst: vid_mode "normal" */

/* Intel SDM vol. 3 §4.5: 4-level paging. */
#define PTE_PRESENT   UINT64_C(0x01)
#define PTE_WRITABLE  UINT64_C(0x02)
#define PTE_LARGE     UINT64_C(0x80)
#define TABLE_ENTRIES 512u
#define LARGE_PAGE    (2 * MIB)
#define MAPPED_GIB    4u

static int write_page_tables(const struct guest_memory *mem, struct boot_entry *entry,
                             struct error *err)
{
    const gpa_t pml4_gpa = LAYOUT_BOOT_PAGE_TABLES;
    const gpa_t pdpt_gpa = pml4_gpa + PAGE_BYTES;
    const gpa_t pd_gpa = pdpt_gpa + PAGE_BYTES;
    uint64_t *pml4 = boot_structure_at(mem, pml4_gpa, (2 + MAPPED_GIB) * PAGE_BYTES, err);
    if (pml4 == NULL)
        return -ENOMEM;
    uint64_t *pdpt = pml4 + TABLE_ENTRIES;
    uint64_t *pd = pdpt + TABLE_ENTRIES;
    memset(pml4, 0, 2 * PAGE_BYTES);
    pml4[0] = pdpt_gpa | PTE_PRESENT | PTE_WRITABLE;
    for (unsigned i = 0; i < MAPPED_GIB; i++)
        pdpt[i] = (pd_gpa + i * PAGE_BYTES) | PTE_PRESENT | PTE_WRITABLE;
    for (uint64_t i = 0; i < (uint64_t)MAPPED_GIB * TABLE_ENTRIES; i++)
        pd[i] = i * LARGE_PAGE | PTE_PRESENT | PTE_WRITABLE | PTE_LARGE;
    entry->page_table = pml4_gpa;
    return 0;
}

static void fill_e820(const struct guest_memory *mem, struct boot_params *bp)
{
    struct boot_memory_range map[BOOT_MEMORY_MAP_MAX];
    unsigned n = boot_memory_map(mem, map);
    for (unsigned i = 0; i < n; i++)
        bp->e820_table[i] = (struct boot_e820_entry){map[i].base, map[i].size, map[i].type};
    bp->e820_entries = (uint8_t)n;
}

static int write_zero_page(const struct guest_memory *mem, const struct boot_image *image,
                           const struct boot_loaded *loaded, struct boot_entry *entry,
                           struct error *err)
{
    struct boot_params *bp = boot_structure_at(mem, LAYOUT_BOOT_PARAMS, sizeof(*bp), err);
    if (bp == NULL)
        return -ENOMEM;
    memset(bp, 0, sizeof(*bp));
    bp->hdr = image->setup;
    bp->hdr.type_of_loader = LOADER_UNDEFINED;
    bp->hdr.vid_mode = VIDEO_NORMAL;
    bp->hdr.cmd_line_ptr = LAYOUT_BOOT_CMDLINE;
    bp->hdr.code32_start = (uint32_t)image->info.segment[0].gpa;
    bp->hdr.setup_data = 0; /* a list in memory that we have not made */
    bp->hdr.ramdisk_image = (uint32_t)loaded->initrd;
    bp->hdr.ramdisk_size = (uint32_t)loaded->initrd_size;
    bp->ext_ramdisk_image = (uint32_t)(loaded->initrd >> 32);
    bp->ext_ramdisk_size = (uint32_t)(loaded->initrd_size >> 32);
    bp->acpi_rsdp_addr = loaded->rsdp;
    fill_e820(mem, bp);
    entry->info = LAYOUT_BOOT_PARAMS;
    return 0;
}

int linux64_setup(const struct guest_memory *mem, const struct boot_image *image,
                  const struct boot_loaded *loaded, struct boot_entry *entry, struct error *err)
{
    entry->mode = BOOT_ENTRY_LONG64;
    entry->rsp = LAYOUT_BOOT_STACK;
    int r = write_zero_page(mem, image, loaded, entry, err);
    if (r < 0)
        return r;
    return write_page_tables(mem, entry, err);
}

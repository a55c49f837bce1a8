// SPDX-License-Identifier: Apache-2.0
/*
 * The guest-physical address space as a kernel is told it (e820 types: ACPI 6.4 §15, table 15.6)
 * and as the loader may use it. Runs before the guest does.
 */
#include "internal.h"

static void add(struct boot_memory_range *map, unsigned *count, uint64_t base, uint64_t end,
                uint32_t type)
{
    if (base < end)
        map[(*count)++] = (struct boot_memory_range){base, end - base, type};
}

unsigned boot_memory_map(const struct guest_memory *mem,
                         struct boot_memory_range map[BOOT_MEMORY_MAP_MAX])
{
    unsigned n = 0;
    bool ecam = false;
    for (unsigned i = 0; i < mem->region_count; i++) {
        const struct guest_memory_region *r = &mem->region[i];
        uint64_t base = r->base, end = r->base + r->size;
        if (base == 0) {
            add(map, &n, 0, LAYOUT_LOW_RAM_END, BOOT_MEMORY_RAM);
            add(map, &n, LAYOUT_ACPI_BASE, LAYOUT_ACPI_BASE + LAYOUT_ACPI_SIZE,
                BOOT_MEMORY_RESERVED);
            base = LAYOUT_HIGH_RAM;
        }
        /* Linux uses ECAM only when the memory map or a mother-board resource reserves it. */
        if (!ecam && base >= LAYOUT_HOLE_END) {
            add(map, &n, LAYOUT_ECAM_BASE, LAYOUT_ECAM_BASE + LAYOUT_ECAM_SIZE,
                BOOT_MEMORY_RESERVED);
            ecam = true;
        }
        add(map, &n, base, end, BOOT_MEMORY_RAM);
    }
    if (!ecam)
        add(map, &n, LAYOUT_ECAM_BASE, LAYOUT_ECAM_BASE + LAYOUT_ECAM_SIZE, BOOT_MEMORY_RESERVED);
    return n;
}

bool boot_memory_loadable(const struct guest_memory *mem, gpa_t gpa, uint64_t size)
{
    if (guest_memory_at(mem, gpa, size) == NULL)
        return false;
    if (gpa >= LAYOUT_HIGH_RAM)
        return true;
    /* Some test kernels load below 1 MiB: fine between our structures and the firmware area. */
    return gpa >= BOOT_STRUCTURES_END && gpa + size <= LAYOUT_LOW_RAM_END;
}

void *boot_structure_at(const struct guest_memory *mem, gpa_t gpa, uint64_t len, struct error *err)
{
    void *p = guest_memory_at(mem, gpa, len);
    if (p == NULL)
        error_set(err, ENOMEM, "the guest has no RAM at 0x%llx for boot structures",
                  (unsigned long long)gpa);
    return p;
}

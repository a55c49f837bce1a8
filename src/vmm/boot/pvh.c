// SPDX-License-Identifier: Apache-2.0
/*
 * Boot structures of the Xen x86/HVM direct boot ABI (xen: docs/misc/pvh.pandoc and
 * public/arch-x86/hvm/start_info.h): start info, version 1, with memory map and one module, the
 * initial RAM disk. Runs before the guest does.
 */
#include "pvh.h"
#include "internal.h"
#include <string.h>

/* All of it in the page that the layout keeps for it. */
struct pvh_page {
    struct hvm_start_info info;
    struct hvm_modlist_entry module;
    struct hvm_memmap_table_entry memmap[BOOT_MEMORY_MAP_MAX];
};

_Static_assert(LAYOUT_BOOT_PVH_INFO + sizeof(struct pvh_page) <= LAYOUT_BOOT_PARAMS,
               "the PVH structures fit below the zero page");

int pvh_setup(const struct guest_memory *mem, const struct boot_loaded *loaded,
              struct boot_entry *entry, struct error *err)
{
    const gpa_t base = LAYOUT_BOOT_PVH_INFO;
    struct pvh_page *page = boot_structure_at(mem, base, sizeof(*page), err);
    if (page == NULL)
        return -ENOMEM;
    memset(page, 0, sizeof(*page));

    struct boot_memory_range map[BOOT_MEMORY_MAP_MAX];
    unsigned n = boot_memory_map(mem, map);
    for (unsigned i = 0; i < n; i++)
        page->memmap[i] = (struct hvm_memmap_table_entry){
            .addr = map[i].base, .size = map[i].size, .type = map[i].type};

    page->info = (struct hvm_start_info){
        .magic = HVM_START_MAGIC_VALUE,
        .version = 1,
        .cmdline_paddr = LAYOUT_BOOT_CMDLINE,
        .rsdp_paddr = loaded->rsdp,
        .memmap_paddr = base + offsetof(struct pvh_page, memmap),
        .memmap_entries = n,
    };
    if (loaded->initrd_size > 0) {
        page->module.paddr = loaded->initrd;
        page->module.size = loaded->initrd_size;
        page->info.nr_modules = 1;
        page->info.modlist_paddr = base + offsetof(struct pvh_page, module);
    }
    entry->mode = BOOT_ENTRY_PVH32;
    entry->rsp = LAYOUT_BOOT_STACK;
    entry->info = base;
    entry->page_table = 0;
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* Structures of the Xen x86/HVM direct boot ABI (xen: public/arch-x86/hvm/start_info.h). */
#ifndef PODVISOR_VMM_BOOT_PVH_H
#define PODVISOR_VMM_BOOT_PVH_H

#include <stdint.h>

#define HVM_START_MAGIC_VALUE 0x336ec578u /* "xEn3" with bit 31 of the E set */

struct hvm_start_info {
    uint32_t magic;
    uint32_t version; /* 1: with memory map */
    uint32_t flags;
    uint32_t nr_modules;
    uint64_t modlist_paddr;
    uint64_t cmdline_paddr;
    uint64_t rsdp_paddr;
    uint64_t memmap_paddr;
    uint32_t memmap_entries;
    uint32_t reserved;
};

struct hvm_modlist_entry {
    uint64_t paddr;
    uint64_t size;
    uint64_t cmdline_paddr;
    uint64_t reserved;
};

struct hvm_memmap_table_entry {
    uint64_t addr;
    uint64_t size;
    uint32_t type; /* e820 numbers */
    uint32_t reserved;
};

_Static_assert(sizeof(struct hvm_start_info) == 56, "ABI");
_Static_assert(sizeof(struct hvm_modlist_entry) == 32, "ABI");
_Static_assert(sizeof(struct hvm_memmap_table_entry) == 24, "ABI");

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * The state in which the boot vCPU starts: GDT, segment and control registers. One table of
 * descriptors serves both the GDT in guest memory and the segment registers, so they cannot differ.
 *  - 64-bit: Documentation/arch/x86/boot.rst, "64-bit Boot Protocol": CS 0x10, data 0x18, paging,
 *    RSI = zero page, interrupts off.
 *  - PVH: xen: docs/misc/pvh.pandoc: CR0.PE only, flat 32-bit segments, a 32-bit TSS, EBX = start
 *    info, interrupts off.
 */
#include "internal.h"
#include <string.h>

/* Intel SDM vol. 3 §3.4.5 (segment descriptors), §7.2.3 (TSS descriptor in 64-bit mode). */
#define GDT_CODE64 UINT64_C(0x00af9b000000ffff) /* execute/read, accessed, L, G */
#define GDT_CODE32 UINT64_C(0x00cf9b000000ffff) /* execute/read, accessed, D, G */
#define GDT_DATA   UINT64_C(0x00cf93000000ffff) /* read/write, accessed, B, G */
#define GDT_TSS    UINT64_C(0x00008b0000000067) /* 32/64-bit TSS, busy, base 0, 104 bytes */

#define SELECTOR_CODE 0x10
#define SELECTOR_DATA 0x18
#define SELECTOR_TSS  0x20
#define GDT_ENTRIES   6 /* null, unused, code, data, TSS (two entries in 64-bit mode) */

#define CR0_PE     UINT64_C(0x00000001)
#define CR0_ET     UINT64_C(0x00000010)
#define CR0_PG     UINT64_C(0x80000000)
#define CR4_PAE    UINT64_C(0x00000020)
#define EFER_LME   UINT64_C(0x00000100)
#define EFER_LMA   UINT64_C(0x00000400)
#define RFLAGS_ONE UINT64_C(0x00000002) /* bit 1 is always set; IF and DF are clear */
#define TSS_END    (UINT64_C(0x68))

_Static_assert(LAYOUT_BOOT_GDT >= TSS_END, "the TSS at 0 does not reach the GDT");

static uint64_t code_descriptor(enum boot_entry_mode mode)
{
    return mode == BOOT_ENTRY_LONG64 ? GDT_CODE64 : GDT_CODE32;
}

int entry_write_gdt(const struct guest_memory *mem, struct boot_entry *entry, struct error *err)
{
    const uint64_t gdt[GDT_ENTRIES] = {
        [SELECTOR_CODE / 8] = code_descriptor(entry->mode),
        [SELECTOR_DATA / 8] = GDT_DATA,
        [SELECTOR_TSS / 8] = GDT_TSS,
    };
    void *ram = boot_structure_at(mem, LAYOUT_BOOT_GDT, sizeof(gdt), err);
    if (ram == NULL)
        return -ENOMEM;
    memcpy(ram, gdt, sizeof(gdt));
    entry->gdt = LAYOUT_BOOT_GDT;
    entry->gdt_limit = sizeof(gdt) - 1;
    return 0;
}

/* The hidden part that a load of `selector` would give: all bases are 0 here. */
static struct kvm_segment segment(uint64_t descriptor, uint16_t selector)
{
    uint32_t limit = (uint32_t)((descriptor & 0xffff) | (descriptor >> 32 & 0xf0000));
    uint8_t g = descriptor >> 55 & 1;
    return (struct kvm_segment){
        .base = 0,
        .limit = g ? limit << 12 | 0xfff : limit,
        .selector = selector,
        .type = descriptor >> 40 & 0xf,
        .s = descriptor >> 44 & 1,
        .dpl = descriptor >> 45 & 3,
        .present = descriptor >> 47 & 1,
        .avl = descriptor >> 52 & 1,
        .l = descriptor >> 53 & 1,
        .db = descriptor >> 54 & 1,
        .g = g,
    };
}

void boot_entry_sregs(const struct boot_entry *entry, struct kvm_sregs *sregs,
                      struct kvm_regs *ret_regs)
{
    const struct kvm_segment data = segment(GDT_DATA, SELECTOR_DATA);
    sregs->cs = segment(code_descriptor(entry->mode), SELECTOR_CODE);
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
    sregs->tr = segment(GDT_TSS, SELECTOR_TSS);
    sregs->ldt = (struct kvm_segment){.type = 2, .unusable = 1};
    sregs->gdt = (struct kvm_dtable){.base = entry->gdt, .limit = entry->gdt_limit};
    sregs->idt = (struct kvm_dtable){0};

    *ret_regs = (struct kvm_regs){.rip = entry->rip, .rsp = entry->rsp, .rflags = RFLAGS_ONE};
    sregs->cr0 = CR0_PE | CR0_ET;
    sregs->cr2 = 0;
    sregs->cr3 = 0;
    sregs->cr4 = 0;
    sregs->efer = 0;
    if (entry->mode == BOOT_ENTRY_LONG64) {
        sregs->cr0 |= CR0_PG;
        sregs->cr3 = entry->page_table;
        sregs->cr4 = CR4_PAE;
        sregs->efer = EFER_LME | EFER_LMA;
        ret_regs->rsi = entry->info;
    } else {
        ret_regs->rbx = entry->info;
    }
}

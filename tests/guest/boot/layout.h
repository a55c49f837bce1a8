/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fixed addresses of the payload's static tables, shared by the assembler and the linker script.
 * The tables hold each other's addresses split into bit fields, which no relocation can express; so
 * they do not move.
 */
#ifndef GUEST_LAYOUT_H
#define GUEST_LAYOUT_H

#define PAYLOAD_BASE 0x200000
#define PML4_BASE    (PAYLOAD_BASE + 0x0000)
#define PDPT_BASE    (PAYLOAD_BASE + 0x1000)
#define PD_BASE      (PAYLOAD_BASE + 0x2000) /* four directories: 0 to 4 GiB */
#define IDT_BASE     (PAYLOAD_BASE + 0x6000)
#define GDT_BASE     (PAYLOAD_BASE + 0x7000)
#define STUB_BASE    (PAYLOAD_BASE + 0x8000) /* 256 entry stubs of STUB_SIZE bytes */
#define STUB_SIZE    32
#define TSS_BASE     (PAYLOAD_BASE + 0xb000)
#define TSS_LIMIT    (104 + 8192)

#define HEAP_BASE     0x1000000 /* buffers and rings: from here to the end of low RAM */
#define AP_TRAMPOLINE 0x8000

#define SEL_KERNEL_CODE 0x08
#define SEL_KERNEL_DATA 0x10
#define SEL_USER_CODE   0x1b
#define SEL_USER_DATA   0x23
#define SEL_TSS         0x28

#define LAPIC_BASE 0xfee00000
#define LAPIC_EOI  0xb0

#endif

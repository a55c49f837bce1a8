/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PVH entry, static descriptor and page tables, interrupt stubs.
 *
 * Implements the guest side of the PVH direct boot ABI (Xen docs/misc/pvh.pandoc): entered in 32-bit protected mode,
 * paging off, EBX = physical address of struct hvm_start_info. Everything the CPU needs is assembled into the image,
 * so that only some twenty instructions run at CPL 0: hosts whose KVM emulates CPL 0 run those slowly. The payload
 * itself runs at CPL 3 with every port open in the I/O permission bitmap (an emulated IRETQ may drop IOPL) and every page
 * user accessible.
 */
#include "layout.h"

#define PTE_PRESENT_RW_USER 0x07
#define PTE_ACCESSED_DIRTY 0x60
#define PTE_LARGE 0x80

    .section .note.pvh, "a", @note
    .align 4
    .long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long pvh_entry

/* ---- tables ---- */
    .section .tables, "aw", @progbits
    .org PML4_BASE - PAYLOAD_BASE
    .globl pml4
pml4:
    .quad PDPT_BASE + PTE_PRESENT_RW_USER + 0x20

    .org PDPT_BASE - PAYLOAD_BASE
    .set i, 0
    .rept 4
    .quad PD_BASE + i * 0x1000 + PTE_PRESENT_RW_USER + 0x20
    .set i, i + 1
    .endr

    .org PD_BASE - PAYLOAD_BASE
    .set i, 0
    .rept 4 * 512
    .quad i * 0x200000 + PTE_PRESENT_RW_USER + PTE_ACCESSED_DIRTY + PTE_LARGE
    .set i, i + 1
    .endr

    .org IDT_BASE - PAYLOAD_BASE
    .set i, 0
    .rept 256
    .word (STUB_BASE + i * STUB_SIZE) & 0xffff
    .word SEL_KERNEL_CODE
    .byte 0
    .byte 0xee /* present, DPL 3, interrupt gate */
    .word (STUB_BASE + i * STUB_SIZE) >> 16
    .long 0, 0
    .set i, i + 1
    .endr

    .org GDT_BASE - PAYLOAD_BASE
    .quad 0
    .quad 0x00af9b000000ffff /* 0x08 code, 64-bit, DPL 0 */
    .quad 0x00cf93000000ffff /* 0x10 data, DPL 0 */
    .quad 0x00affb000000ffff /* 0x1b code, 64-bit, DPL 3 */
    .quad 0x00cff3000000ffff /* 0x23 data, DPL 3 */
    .word TSS_LIMIT, TSS_BASE & 0xffff
    .byte (TSS_BASE >> 16) & 0xff, 0x89, 0, TSS_BASE >> 24
    .long 0, 0
gdt_end:
gdtr:
    .word gdt_end - (pml4 + GDT_BASE - PAYLOAD_BASE) - 1
    .quad GDT_BASE
idtr:
    .word 256 * 16 - 1
    .quad IDT_BASE

/* ---- interrupt and exception stubs ---- */
    .org STUB_BASE - PAYLOAD_BASE
    .set i, 0
    .rept 32
    .org STUB_BASE - PAYLOAD_BASE + i * STUB_SIZE
    .if (i == 8) || ((i >= 10) && (i <= 14)) || (i == 17) || (i == 21) || (i == 29) || (i == 30)
    .else
    push $0
    .endif
    push $i
    jmp exception
    .set i, i + 1
    .endr
    .rept 256 - 32
    .org STUB_BASE - PAYLOAD_BASE + i * STUB_SIZE
    push %rax
    incl irq_count + i * 4
    xor %eax, %eax
    movabs %eax, LAPIC_BASE + LAPIC_EOI
    pop %rax
    iretq
    .set i, i + 1
    .endr

/*
 * A HLT at CPL 3 (#GP) is done here on the payload's behalf, unless the counter at RDI has moved on from ESI. Anything
 * else is fatal: continue in fault_report(vector, error, rip, cr2) at CPL 3.
 */
    .org STUB_BASE - PAYLOAD_BASE + 256 * STUB_SIZE
exception: /* (rsp) vector, error, rip, cs, rflags, rsp, ss */
    cmpl $13, (%rsp)
    jne 1f
    push %rax
    mov 24(%rsp), %rax
    cmpb $0xf4, (%rax)
    pop %rax
    jne 1f
    add $16, %rsp
    incq (%rsp)
    cmp %esi, (%rdi)
    jne 2f
    sti
    hlt
    cli
2:  iretq
1:  pop %rdi
    pop %rsi
    mov (%rsp), %rdx
    mov %cr2, %rcx
    movq $fault_report, (%rsp)
    movq $SEL_USER_CODE, 8(%rsp)
    movq $fault_stack_top - 8, 24(%rsp)
    movq $SEL_USER_DATA, 32(%rsp)
    iretq

/* ---- task state: all ports are open to CPL 3 ---- */
    .org TSS_BASE - PAYLOAD_BASE
    .long 0
    .quad kernel_stack_top /* RSP0 */
    .org TSS_BASE - PAYLOAD_BASE + 102
    .word 104 /* where the I/O permission bitmap starts */
    .skip 8192
    .byte 0xff

/* ---- entry ---- */
    .section .text.entry, "ax", @progbits
    .code32
    .globl pvh_entry
pvh_entry:
    mov $0xff, %al /* firmware may have left the PIT ticking through the PICs: mask both */
    out %al, $0x21
    out %al, $0xa1
    lgdt gdtr
    mov $PML4_BASE, %eax
    mov %eax, %cr3
    mov $0x20, %eax /* PAE */
    mov %eax, %cr4
    mov $0xc0000080, %ecx /* EFER */
    mov $0x100, %eax /* LME */
    xor %edx, %edx
    wrmsr
    mov $0x80000011, %eax /* PG, ET, PE */
    mov %eax, %cr0
    ljmp $SEL_KERNEL_CODE, $1f
    .code64
1:  lidt idtr
    mov $SEL_TSS, %eax
    ltr %ax
    mov $kernel_stack_top, %esp
    push $SEL_USER_DATA
    push $user_stack_top
    push $0x202 /* IF */
    push $SEL_USER_CODE
    push $user_entry
    iretq

user_entry:
    mov %ebx, %esi
    mov $__bss_start, %edi
    mov $__bss_end, %ecx
    sub %edi, %ecx
    xor %eax, %eax
    rep stosb
    mov %esi, %edi
    call guest_main
    ud2

/*
 * Application processors start here, copied to AP_TRAMPOLINE, in real mode with CS = AP_TRAMPOLINE >> 4: each counts
 * itself and halts.
 */
    .globl ap_trampoline, ap_trampoline_end, ap_trampoline_count
    .code16
ap_trampoline:
    cli
    lock incw %cs:(ap_trampoline_count - ap_trampoline)
1:  hlt
    jmp 1b
    .align 4
ap_trampoline_count:
    .long 0
ap_trampoline_end:
    .code64

    .section .stacks, "aw", @nobits
    .align 16
    .skip 4096
kernel_stack_top:
    .skip 8192
fault_stack_top:
    .skip 65536
user_stack_top:

    .section .note.GNU-stack, "", @progbits

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot-stamp.elf: the time from exec of a monitor to the guest's first instructions. A PVH entry that writes one byte
 * to the serial port at once, then leaves through the debug exit port (status 1); without one it halts.
 */
    .section .note.pvh, "a", @note
    .align 4
    .long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long pvh_entry

    .section .text.entry, "ax", @progbits
    .code32
    .globl pvh_entry
pvh_entry:
    mov $0x3f8, %dx
    mov $'!', %al
    out %al, %dx
    xor %eax, %eax
    out %al, $0xf4
1:  hlt
    jmp 1b

    .section .note.GNU-stack, "", @progbits

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * obey.elf: a guest that does what it is told. It prints READY, runs the commands of its command line, one letter
 * each, then those that arrive on the serial port. Entered by PVH: 32-bit protected mode, paging off, EBX = start info.
 * It only uses what every KVM emulates at CPL 0. Ports are those of src/vmm/layout.h.
 *
 *   e exit 0 through the debug port   E exit 3 likewise       o ACPI soft-off
 *   r reset (FADT register)           k reset (i8042)         p pvpanic: panicked
 *   t triple fault                    x run device memory: KVM gives up      h halt for good
 *   d toggle a dot every few ms       b print 1280 numbered lines of 64 bytes
 *   c tell pvpanic 1000 times that a crash kernel starts
 *   B put the BARs of PCI functions 1 and 2 over each other 1000 times
 *   m write to each page of 32..96 MiB, then print TOUCHED
 *   v move the BAR of PCI slot 1 to 0xd8000000
 *   g listen to the power button: a press prints BUTTON and powers off
 *   w sleep until somebody presses the power button, then power off; takes no commands and no time
 *   anything else is printed as it is
 */
    .set COM1, 0x3f8
    .set DOT_SHIFT, 24 /* of the time stamp counter: some 5 ms */
    .set IOAPIC, 0xfec00000 /* index; the window is at + 0x10 */
    .set LAPIC, 0xfee00000
    .set LAPIC_SVR, 0xf0
    .set LAPIC_IRR, 0x200
    .set BAR, 0x10 /* the first base address register */
    .set GED_PIN, 9 /* the generic event device of the DSDT */
    .set GED_VECTOR, 0x40

    .section .note.pvh, "a", @note
    .align 4
    .long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long pvh_entry

    .text
    .code32
    .globl pvh_entry
pvh_entry:
    mov $stack_top, %esp
    xor %ebp, %ebp /* dots wanted */
    mov 24(%ebx), %edi /* hvm_start_info.cmdline_paddr, below 4 GiB */
    mov $ready, %esi
    mov $ready_end - ready, %ecx
    call print

next:
    test %edi, %edi
    jz poll
    mov (%edi), %al
    inc %edi
    test %al, %al
    jnz command
    xor %edi, %edi

poll:
    test %ebp, %ebp
    jz 1f
    rdtsc
    shr $DOT_SHIFT, %eax
    cmp %eax, last_dot
    je 1f
    mov %eax, last_dot
    mov $'.', %al
    call put
1:  mov LAPIC + LAPIC_IRR + (GED_VECTOR / 32) * 16, %eax /* interrupts stay off: it waits there */
    bt $GED_VECTOR % 32, %eax
    jc button
    mov $COM1 + 5, %edx /* LSR: data ready */
    in %dx, %al
    test $1, %al
    jz poll
    mov $COM1, %edx
    in %dx, %al

command:
    cmp $'e', %al
    je exit_0
    cmp $'E', %al
    je exit_3
    cmp $'o', %al
    je off
    cmp $'r', %al
    je reset
    cmp $'k', %al
    je reset_i8042
    cmp $'p', %al
    je panic
    cmp $'t', %al
    je triple_fault
    cmp $'x', %al
    je run_device
    cmp $'h', %al
    je halt
    cmp $'d', %al
    je dots
    cmp $'b', %al
    je lines
    cmp $'m', %al
    je touch
    cmp $'c', %al
    je crash_kernel
    cmp $'B', %al
    je collide
    cmp $'v', %al
    je move_bar
    cmp $'g', %al
    je listen
    cmp $'w', %al
    je sleep
    call put
    jmp next

exit_0:
    mov $0, %al
    out %al, $0xf4
    jmp next
exit_3:
    mov $3, %al
    out %al, $0xf4
    jmp next
off:
    mov $0x600, %edx
    mov $(5 << 2) | 0x20, %al /* SLP_TYP S5, SLP_EN */
    out %al, %dx
    jmp next
reset:
    mov $0x604, %edx
    mov $1, %al
    out %al, %dx
    jmp next
reset_i8042:
    mov $0xfe, %al
    out %al, $0x64
    jmp next
panic:
    mov $0x505, %edx
    mov $1, %al
    out %al, %dx
    jmp next
triple_fault:
    lidt no_idt
    ud2
run_device:
    mov $0xd0000000, %eax /* in the hole for BARs: nothing is there */
    jmp *%eax
halt:
    cli
    hlt
    jmp halt
dots:
    xor $1, %ebp
    jmp next

lines:
    movl $0, number
1:  mov number, %eax
    mov $line_digits + 4, %ebx
2:  dec %ebx
    mov %eax, %ecx
    and $15, %ecx
    mov digits(%ecx), %cl
    mov %cl, (%ebx)
    shr $4, %eax
    cmp $line_digits, %ebx
    jne 2b
    mov $line, %esi
    mov $64, %ecx
    call print
    incl number
    cmpl $1280, number
    jne 1b
    jmp next

touch:
    mov $32 << 20, %ebx
1:  movl $1, (%ebx)
    add $4096, %ebx
    cmp $96 << 20, %ebx
    jne 1b
    mov $touched, %esi
    mov $touched_end - touched, %ecx
    call print
    jmp next

crash_kernel:
    mov $0x505, %edx
    mov $2, %al /* PVPANIC_CRASH_LOADED */
    mov $1000, %ecx
1:  out %al, %dx
    loop 1b
    jmp next

collide:
    mov $0x80000000 | 1 << 11 | 0x10, %ebx /* BAR 0 of function 1 */
    mov $0xd0000000, %esi
    call set_bar
    mov $0x80000000 | 2 << 11 | 0x10, %ebx
    movl $1000, number
1:  mov $0xd0100000, %esi
    call set_bar
    mov $0xd0000000, %esi
    call set_bar
    decl number
    jnz 1b
    jmp next

set_bar: /* the register at EBX to ESI */
    mov %ebx, %eax
    mov $0xcf8, %edx
    out %eax, %dx
    mov %esi, %eax
    mov $0xcfc, %edx
    out %eax, %dx
    ret
move_bar:
    mov $0x80000000 | 1 << 11 | BAR, %eax
    mov $0xcf8, %edx
    out %eax, %dx
    mov $0xcfc, %edx
    mov $0xd8000000, %eax
    out %eax, %dx
    mov $'v', %al
    call put
    jmp next
listen:
    call route_button
    mov $'g', %al
    call put
    jmp next
sleep:
    call route_button
    mov $button, %eax
    mov %ax, gate
    shr $16, %eax
    mov %ax, gate + 6
    lgdt gdt_register
    ljmp $8, $1f
1:  lidt idt_register
    mov $'w', %al
    call put
2:  sti
    hlt
    jmp 2b
route_button: /* edge, active high, unmasked, to processor 0 */
    movl $0x100 | 0xff, LAPIC + LAPIC_SVR
    movl $0x11 + 2 * GED_PIN, IOAPIC
    movl $0, IOAPIC + 0x10
    movl $0x10 + 2 * GED_PIN, IOAPIC
    movl $GED_VECTOR, IOAPIC + 0x10
    ret
button:
    mov $pressed, %esi
    mov $pressed_end - pressed, %ecx
    call print
    jmp off

put: /* AL */
    mov $COM1, %edx
    out %al, %dx
    ret
print: /* ECX bytes at ESI */
    mov $COM1, %edx
    cld
    rep outsb
    ret

ready:
    .ascii "READY\n"
ready_end:
pressed:
    .ascii "BUTTON\n"
pressed_end:
touched:
    .ascii "TOUCHED\n"
touched_end:
line:
    .ascii "line "
line_digits:
    .ascii "0000 "
    .fill 53, 1, '-'
    .ascii "\n"
digits:
    .ascii "0123456789abcdef"
no_idt:
    .word 0
    .long 0
gdt_register:
    .word gdt_end - gdt - 1
    .long gdt
idt_register:
    .word idt_end - idt - 1
    .long idt
    .align 8
gdt: /* null, flat code, flat data */
    .quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_end:
idt:
    .fill GED_VECTOR, 8, 0
gate: /* 32-bit interrupt gate, present */
    .word 0, 8, 0x8e00, 0
idt_end:
    .align 4
number:
    .long 0
last_dot:
    .long 0
    .skip 256
stack_top:

    .section .note.GNU-stack, "", @progbits

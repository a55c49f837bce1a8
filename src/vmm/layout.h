// SPDX-License-Identifier: Apache-2.0
/*
 * Where everything lies in the guest's physical address space, in its I/O ports and on its
 * interrupt lines. The one place that says so: ACPI tables, e820 map, boot loaders and devices all
 * read it here.
 */
#ifndef PODVISOR_VMM_LAYOUT_H
#define PODVISOR_VMM_LAYOUT_H

/* Low RAM, free for boot structures (the kernel has copied them before it uses this memory). */
#define LAYOUT_BOOT_GDT         0x500
#define LAYOUT_BOOT_PVH_INFO    0x6000
#define LAYOUT_BOOT_PARAMS      0x7000  /* zero page, 4 KiB */
#define LAYOUT_BOOT_STACK       0x8ff0  /* grows down */
#define LAYOUT_BOOT_PAGE_TABLES 0x9000  /* PML4, PDPT, 4 page directories: identity map of 4 GiB */
#define LAYOUT_BOOT_CMDLINE     0x20000 /* up to 4 KiB */
#define LAYOUT_LOW_RAM_END      0x9fc00 /* the EBDA of a PC would start here */

/* Where a PC has its BIOS: ours holds the ACPI tables; RSDP first, found by scan or by pointer. */
#define LAYOUT_ACPI_BASE 0xe0000
#define LAYOUT_ACPI_SIZE 0x20000

#define LAYOUT_HIGH_RAM 0x100000

/* RAM is 0..3 GiB, then from 4 GiB; the hole between holds devices. */
#define LAYOUT_HOLE_BASE    0xc0000000ull
#define LAYOUT_HOLE_END     0x100000000ull
#define LAYOUT_MMIO32_BASE  0xc0000000ull /* BARs */
#define LAYOUT_MMIO32_SIZE  0x20000000ull
#define LAYOUT_ECAM_BASE    0xe0000000ull /* segment 0, bus 0 only */
#define LAYOUT_ECAM_SIZE    0x100000ull
#define LAYOUT_IOAPIC_BASE  0xfec00000ull
#define LAYOUT_LAPIC_BASE   0xfee00000ull
#define LAYOUT_IDENTITY_MAP 0xfffbc000ull /* KVM_SET_IDENTITY_MAP_ADDR, one page */
#define LAYOUT_TSS          0xfffbd000ull /* KVM_SET_TSS_ADDR, three pages */

/* I/O ports. */
#define LAYOUT_PORT_I8042_DATA    0x60 /* absent but for the reset command at 0x64 */
#define LAYOUT_PORT_I8042_COMMAND 0x64
#define LAYOUT_PORT_RTC_INDEX     0x70
#define LAYOUT_PORT_RTC_DATA      0x71
#define LAYOUT_PORT_DEBUG_EXIT    0xf4 /* QEMU's isa-debug-exit */
#define LAYOUT_PORT_COM1          0x3f8
#define LAYOUT_PORT_PVPANIC       0x505
#define LAYOUT_PORT_SLEEP_CONTROL 0x600 /* ACPI 6.4 §4.8.3.7, hardware-reduced */
#define LAYOUT_PORT_SLEEP_STATUS  0x601
#define LAYOUT_SLEEP_TYPE_S5      5     /* SLP_TYP of soft-off: the DSDT names it in \_S5 */
#define LAYOUT_PORT_RESET         0x604 /* FADT RESET_REG */
#define LAYOUT_RESET_VALUE        0x01
#define LAYOUT_PORT_PCI_ADDRESS   0xcf8 /* and the reset control register 0xcf9 as a byte */
#define LAYOUT_PORT_PCI_DATA      0xcfc

/* Global system interrupts: the 24 pins of the I/O APIC, then MSI routes. */
#define LAYOUT_IOAPIC_PINS 24
#define LAYOUT_GSI_COM1    4
#define LAYOUT_GSI_RTC     8
#define LAYOUT_GSI_GED     9  /* ACPI generic event device: power button; edge, active high */
#define LAYOUT_GSI_MSI     24 /* first GSI of the message-signalled interrupts */

#endif

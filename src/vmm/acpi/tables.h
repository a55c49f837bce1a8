// SPDX-License-Identifier: Apache-2.0
/* Static tables of ACPI 6.4 §5.2 as they lie in memory. */
#ifndef PODVISOR_VMM_ACPI_TABLES_H
#define PODVISOR_VMM_ACPI_TABLES_H

#include <stdint.h>

#define ACPI_PACKED __attribute__((packed))

struct acpi_rsdp { /* §5.2.5.3 */
    char signature[8];
    uint8_t checksum; /* of the first 20 bytes */
    char oem_id[6];
    uint8_t revision;
    uint32_t rsdt;
    uint32_t length;
    uint64_t xsdt;
    uint8_t extended_checksum;
    uint8_t reserved[3];
} ACPI_PACKED;

struct acpi_header { /* §5.2.6 */
    char signature[4];
    uint32_t length;
    uint8_t revision;
    uint8_t checksum;
    char oem_id[6];
    char oem_table_id[8];
    uint32_t oem_revision;
    char creator_id[4];
    uint32_t creator_revision;
} ACPI_PACKED;

struct acpi_gas {  /* §5.2.3.2: generic address structure */
    uint8_t space; /* 1: I/O ports */
    uint8_t bit_width;
    uint8_t bit_offset;
    uint8_t access_size; /* 1: byte */
    uint64_t address;
} ACPI_PACKED;

struct acpi_xsdt { /* §5.2.8 */
    struct acpi_header header;
    uint64_t table[3];
} ACPI_PACKED;

struct acpi_fadt { /* §5.2.9; what a hardware-reduced machine does not use is grouped away */
    struct acpi_header header;
    uint32_t facs;
    uint32_t dsdt;
    uint8_t reserved0;
    uint8_t pm_profile;
    uint8_t fixed_hardware0[62]; /* SCI_INT .. CENTURY */
    uint8_t century;
    uint16_t iapc_boot_arch;
    uint8_t reserved1;
    uint32_t flags;
    struct acpi_gas reset_reg;
    uint8_t reset_value;
    uint16_t arm_boot_arch;
    uint8_t minor_version;
    uint64_t x_facs;
    uint64_t x_dsdt;
    struct acpi_gas fixed_hardware1[8]; /* X_PM1a_EVT_BLK .. X_GPE1_BLK */
    struct acpi_gas sleep_control;
    struct acpi_gas sleep_status;
    char hypervisor_vendor[8];
} ACPI_PACKED;

struct acpi_madt { /* §5.2.12 */
    struct acpi_header header;
    uint32_t lapic_address;
    uint32_t flags;
} ACPI_PACKED;

struct acpi_madt_lapic { /* §5.2.12.2 */
    uint8_t type;        /* 0 */
    uint8_t length;
    uint8_t processor_uid;
    uint8_t apic_id;
    uint32_t flags; /* 1: enabled */
} ACPI_PACKED;

struct acpi_madt_ioapic { /* §5.2.12.3 */
    uint8_t type;         /* 1 */
    uint8_t length;
    uint8_t ioapic_id;
    uint8_t reserved;
    uint32_t address;
    uint32_t gsi_base;
} ACPI_PACKED;

struct acpi_madt_x2apic { /* §5.2.12.12 */
    uint8_t type;         /* 9 */
    uint8_t length;
    uint16_t reserved;
    uint32_t x2apic_id;
    uint32_t flags; /* 1: enabled */
    uint32_t processor_uid;
} ACPI_PACKED;

struct acpi_mcfg { /* PCI Firmware 3.3 §4.1.2 */
    struct acpi_header header;
    uint64_t reserved0;
    uint64_t base;
    uint16_t segment;
    uint8_t first_bus;
    uint8_t last_bus;
    uint32_t reserved1;
} ACPI_PACKED;

_Static_assert(sizeof(struct acpi_rsdp) == 36, "ACPI 6.4 table 5.3");
_Static_assert(sizeof(struct acpi_header) == 36, "ACPI 6.4 table 5.4");
_Static_assert(sizeof(struct acpi_gas) == 12, "ACPI 6.4 table 5.1");
_Static_assert(sizeof(struct acpi_fadt) == 276, "ACPI 6.4 table 5.9");
_Static_assert(sizeof(struct acpi_madt_lapic) == 8, "ACPI 6.4 table 5.22");
_Static_assert(sizeof(struct acpi_madt_ioapic) == 12, "ACPI 6.4 table 5.24");
_Static_assert(sizeof(struct acpi_madt_x2apic) == 16, "ACPI 6.4 table 5.33");
_Static_assert(sizeof(struct acpi_mcfg) == 60, "PCI Firmware 3.3 table 4-3");

#endif

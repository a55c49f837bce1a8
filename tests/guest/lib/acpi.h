/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few ACPI tables that the payload reads (ACPI 6.4, 5.2.5 to 5.2.12; PCI Firmware 3.3, 4.1.2).
 */
#ifndef GUEST_ACPI_H
#define GUEST_ACPI_H

#include <stdbool.h>
#include <stdint.h>

void acpi_init(uint64_t rsdp);
bool acpi_present(void);
/* The table with this signature, its checksum verified; NULL if there is none. `ret_length` counts
 * its bytes. */
const uint8_t *acpi_table(const char *signature, uint32_t *ret_length);
/* Base of the ECAM of segment 0, bus 0; 0 if no MCFG. */
uint64_t acpi_ecam_base(void);
/* Local APIC ids of the enabled processors; returns how many there are. */
unsigned int acpi_processors(uint8_t *apic_ids, unsigned int room);

#endif

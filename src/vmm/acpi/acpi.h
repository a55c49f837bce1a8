// SPDX-License-Identifier: Apache-2.0
/*
 * ACPI tables of the machine, hardware-reduced (ACPI 6.4 §4.1): RSDP, XSDT, FADT, MADT, MCFG and a
 * DSDT of a few hundred bytes. Addresses, ports and interrupts come from src/vmm/layout.h.
 */
#ifndef PODVISOR_VMM_ACPI_H
#define PODVISOR_VMM_ACPI_H

#include <podvisor/error.h>
#include <podvisor/guest_memory.h>
#include <stdbool.h>
#include <stdint.h>

struct acpi_config {
    uint32_t cpus; /* APIC ids 0 .. cpus - 1, all enabled */
    bool rtc;      /* CMOS RTC at LAYOUT_PORT_RTC_INDEX */
    bool pvpanic;  /* at LAYOUT_PORT_PVPANIC */
};

/*
 * Writes the tables into guest RAM at LAYOUT_ACPI_BASE, for the loader to announce *ret_rsdp.
 * The guest may change them; write them again after a system reset. Runs before the guest does.
 * Returns 0 or a negative errno (-EINVAL: no CPU or no RAM there, -ENOSPC: more CPUs than fit).
 */
int acpi_build(const struct guest_memory *mem, const struct acpi_config *config, gpa_t *ret_rsdp,
               struct error *err);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * The machine's device tree in AML. Every object costs the guest's interpreter time at boot, so
 * there is only what a kernel acts on: no _SEG, _BBN and _PRT, whose absence says segment 0, bus 0
 * and no INTx; no _OSC, since there is no native hot-plug, AER or PME to hand over. Runs before the
 * guest does.
 */
#include "dsdt.h"
#include "layout.h"

#define STA_PRESENT        0x0f /* ACPI 6.4 §6.3.7: present, decoding, shown, working */
#define NOTIFY_POWER_PRESS 0x80 /* §4.8.2.2.1.2: S0 power button pressed */

/* PCI Express root, bus 0 (PCI Firmware 3.3 §4.2; ACPI 6.4 §6.2.12 for _CRS of bridges). */
static void emit_pci(struct aml *a)
{
    size_t dev = aml_begin_device(a, "PCI0");
    aml_name_eisaid(a, "_HID", "PNP0A08");
    aml_name_eisaid(a, "_CID", "PNP0A03");
    size_t crs = aml_begin_resources(a);
    aml_bus_window(a, 0, 0);
    aml_io(a, LAYOUT_PORT_PCI_ADDRESS, 8);
    aml_memory32_window(a, LAYOUT_MMIO32_BASE, LAYOUT_MMIO32_SIZE);
    aml_end_resources(a, crs);
    aml_end(a, dev);
}

/* PCI Firmware 3.3 §4.1.2: ECAM is reserved by a mother-board resource, not by the root bridge. */
static void emit_motherboard(struct aml *a)
{
    size_t dev = aml_begin_device(a, "MBRD");
    aml_name_eisaid(a, "_HID", "PNP0C02");
    size_t crs = aml_begin_resources(a);
    aml_memory32_fixed(a, LAYOUT_ECAM_BASE, LAYOUT_ECAM_SIZE);
    aml_end_resources(a, crs);
    aml_end(a, dev);
}

static void emit_isa_device(struct aml *a, const char *name, const char *id, uint16_t port,
                            uint8_t port_count, uint32_t gsi)
{
    size_t dev = aml_begin_device(a, name);
    aml_name_eisaid(a, "_HID", id);
    size_t crs = aml_begin_resources(a);
    aml_io(a, port, port_count);
    aml_interrupt_edge(a, gsi);
    aml_end_resources(a, crs);
    aml_end(a, dev);
}

/* Looked up by name in Linux; older drivers insist on _STA. */
static void emit_pvpanic(struct aml *a)
{
    size_t dev = aml_begin_device(a, "PEVT");
    aml_name_string(a, "_HID", "QEMU0001");
    aml_name_integer(a, "_STA", STA_PRESENT);
    size_t crs = aml_begin_resources(a);
    aml_io(a, LAYOUT_PORT_PVPANIC, 1);
    aml_end_resources(a, crs);
    aml_end(a, dev);
}

/*
 * Power button as a control-method device (ACPI 6.4 §4.8.2.2.1.2) behind the generic event device
 * (§5.6.9): its one interrupt has one meaning, so _EVT need not look at its argument.
 */
static void emit_power_button(struct aml *a)
{
    size_t dev = aml_begin_device(a, "PWRB");
    aml_name_eisaid(a, "_HID", "PNP0C0C");
    aml_end(a, dev);

    dev = aml_begin_device(a, "GED_");
    aml_name_string(a, "_HID", "ACPI0013");
    size_t crs = aml_begin_resources(a);
    aml_interrupt_edge(a, LAYOUT_GSI_GED);
    aml_end_resources(a, crs);
    size_t method = aml_begin_method(a, "_EVT", 1);
    aml_notify(a, "PWRB", NOTIFY_POWER_PRESS);
    aml_end(a, method);
    aml_end(a, dev);
}

void dsdt_emit(struct aml *a, const struct acpi_config *config)
{
    size_t sb = aml_begin_scope(a, "_SB_");
    emit_pci(a);
    emit_motherboard(a);
    emit_isa_device(a, "COM1", "PNP0501", LAYOUT_PORT_COM1, 8, LAYOUT_GSI_COM1);
    if (config->rtc)
        emit_isa_device(a, "RTC_", "PNP0B00", LAYOUT_PORT_RTC_INDEX, 2, LAYOUT_GSI_RTC);
    if (config->pvpanic)
        emit_pvpanic(a);
    emit_power_button(a);
    aml_end(a, sb);

    /* §7.4.2: what to write to SLP_TYP for soft-off. Hardware-reduced, only the first one counts.
     */
    size_t s5 = aml_begin_name_package(a, "_S5_", 4);
    aml_integer(a, LAYOUT_SLEEP_TYPE_S5);
    for (unsigned i = 1; i < 4; i++)
        aml_integer(a, 0);
    aml_end(a, s5);
}

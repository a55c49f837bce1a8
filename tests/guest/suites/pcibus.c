/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PCI bus beside its devices: both access mechanisms, and functions that are not there (PCI
 * Local Bus 3.0, 3.2.2.3.2 and 6.1).
 */
#include "../lib/payload.h"
#include "../lib/pci.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc

static void test_mechanisms_agree(void)
{
    SKIP_IF(!pci_has_ecam() || !pci_has_cf8(), "only one mechanism: ecam=%u cf8=%u", pci_has_ecam(),
            pci_has_cf8());
    for (unsigned int slot = 0; slot < 32; slot++) {
        for (unsigned int at = 0; at < 0x40; at += 4) {
            uint32_t a = pci_cf8_read(PCI_DEVFN(slot, 0), at, 4),
                     b = pci_ecam_read(PCI_DEVFN(slot, 0), at, 4);

            CHECK(a == b, "slot %u 0x%x: CF8 0x%x, ECAM 0x%x", slot, at, a, b);
            if (at == 0 && a == ~0u)
                break;
        }
    }
}

static void test_host_bridge(void)
{
    CHECK(pci_has_ecam() || pci_has_cf8(), "no way to configuration space");
    CHECK(pci_read(0, PCI_VENDOR_ID, 2) != 0xffff, "nothing at 00:00.0");
    CHECK(pci_read(0, PCI_CLASS, 1) == 0x06, "class 0x%x", pci_read(0, PCI_CLASS, 1));
}

static void test_absent_functions(void)
{
    unsigned int absent = 0;

    for (unsigned int slot = 1; slot < 32; slot++) {
        uint16_t devfn = PCI_DEVFN(slot, 0);

        if (pci_read(devfn, PCI_VENDOR_ID, 2) != 0xffff)
            continue;
        absent++;
        CHECK(pci_read(devfn, PCI_VENDOR_ID, 4) == ~0u, "slot %u", slot);
        CHECK(pci_read(devfn, 0xff, 1) == 0xff, "slot %u, last byte", slot);
        pci_write(devfn, PCI_COMMAND, 2, 0xffff);
        CHECK(pci_read(devfn, PCI_COMMAND, 2) == 0xffff, "slot %u, after a write", slot);
    }
    CHECK(absent, "no empty slot");
}

static void test_extended_space(void)
{
    SKIP_IF(!pci_has_ecam(), "no ECAM");
    for (unsigned int at = 0x100; at < 0x1000; at += 0x1fc) {
        uint32_t value = pci_ecam_read(0, at & ~3u, 4);

        CHECK(value == 0 || value == ~0u || at == 0x100, "00:00.0 0x%x reads 0x%x", at, value);
    }
}

static void test_cf8_disabled(void)
{
    uint32_t data;

    SKIP_IF(!pci_has_cf8(), "no CF8");
    out32(CONFIG_ADDRESS, 0);
    data = in32(CONFIG_DATA);
    CHECK(data == ~0u, "data without the enable bit: 0x%x", data);
    out32(CONFIG_ADDRESS, 0xffffffff);
    (void)in32(CONFIG_DATA);
    CHECK((pci_cf8_read(0, PCI_VENDOR_ID, 4) & 0xffff) != 0xffff, "CF8 is lost after odd writes");
}

static const struct test tests[] = {
    {"CF8 and ECAM agree", test_mechanisms_agree},
    {"host bridge", test_host_bridge},
    {"absent functions read ones", test_absent_functions},
    {"extended configuration space", test_extended_space},
    {"CF8 without enable", test_cf8_disabled},
};

const struct suite suite_pci_bus = {.name = "pci-bus", .tests = tests, .count = ARRAY_SIZE(tests)};

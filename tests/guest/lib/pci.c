/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI configuration access by mechanism #1 (CF8/CFC) and ECAM, BAR sizing and assignment, MSI-X.
 *
 * A monitor may leave BARs unassigned (QEMU microvm does): they are then placed from MMIO_WINDOW
 * on.
 */
#include "pci.h"
#include "../boot/layout.h"
#include "acpi.h"
#include "payload.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define CONFIG_ENABLE  0x80000000u
#define MMIO_WINDOW    0xc0000000ul

static uint64_t ecam_base;
static bool cf8_present;
static uint64_t mmio_next = MMIO_WINDOW;

void pci_init(void)
{
    ecam_base = parameter_number("ecam", acpi_ecam_base());
    out32(CONFIG_ADDRESS, CONFIG_ENABLE);
    cf8_present = in32(CONFIG_ADDRESS) == CONFIG_ENABLE;
}

bool pci_has_ecam(void)
{
    return ecam_base != 0;
}

bool pci_has_cf8(void)
{
    return cf8_present;
}

uint64_t pci_ecam_base(void)
{
    return ecam_base;
}

uint32_t pci_cf8_read(uint16_t devfn, unsigned int offset, unsigned int width)
{
    uint16_t port = (uint16_t)(CONFIG_DATA + (offset & 3));

    out32(CONFIG_ADDRESS, CONFIG_ENABLE | (uint32_t)devfn << 8 | (offset & 0xfc));
    return width == 1 ? in8(port) : width == 2 ? in16(port) : in32(port);
}

static void cf8_write(uint16_t devfn, unsigned int offset, unsigned int width, uint32_t value)
{
    uint16_t port = (uint16_t)(CONFIG_DATA + (offset & 3));

    out32(CONFIG_ADDRESS, CONFIG_ENABLE | (uint32_t)devfn << 8 | (offset & 0xfc));
    if (width == 1)
        out8(port, (uint8_t)value);
    else if (width == 2)
        out16(port, (uint16_t)value);
    else
        out32(port, value);
}

uint32_t pci_ecam_read(uint16_t devfn, unsigned int offset, unsigned int width)
{
    const volatile uint8_t *at =
        (const volatile uint8_t *)(ecam_base + ((uint64_t)devfn << 12) + offset);

    return width == 1 ? mmio_read8(at) : width == 2 ? mmio_read16(at) : mmio_read32(at);
}

static void ecam_write(uint16_t devfn, unsigned int offset, unsigned int width, uint32_t value)
{
    volatile uint8_t *at = (volatile uint8_t *)(ecam_base + ((uint64_t)devfn << 12) + offset);

    if (width == 1)
        mmio_write8(at, (uint8_t)value);
    else if (width == 2)
        mmio_write16(at, (uint16_t)value);
    else
        mmio_write32(at, value);
}

uint32_t pci_read(uint16_t devfn, unsigned int offset, unsigned int width)
{
    if (ecam_base)
        return pci_ecam_read(devfn, offset, width);
    return cf8_present ? pci_cf8_read(devfn, offset, width) : ~0u;
}

void pci_write(uint16_t devfn, unsigned int offset, unsigned int width, uint32_t value)
{
    if (ecam_base)
        ecam_write(devfn, offset, width, value);
    else if (cf8_present)
        cf8_write(devfn, offset, width, value);
}

uint8_t pci_capability(uint16_t devfn, uint8_t id, uint8_t from)
{
    uint8_t at;

    if (!(pci_read(devfn, PCI_STATUS, 2) & PCI_STATUS_CAPABILITIES))
        return 0;
    at = (uint8_t)(pci_read(devfn, from ? from + 1u : PCI_CAPABILITIES, 1) & ~3u);
    for (unsigned int limit = 48; at >= 0x40 && limit; limit--) {
        if (pci_read(devfn, at, 1) == id)
            return at;
        at = (uint8_t)(pci_read(devfn, at + 1u, 1) & ~3u);
    }
    return 0;
}

bool pci_bar_is_64(uint16_t devfn, unsigned int index)
{
    uint32_t bar = pci_read(devfn, PCI_BAR0 + index * 4, 4);

    return !(bar & PCI_BAR_IO) && (bar & PCI_BAR_TYPE_MASK) == PCI_BAR_TYPE_64;
}

uint64_t pci_bar_size(uint16_t devfn, unsigned int index)
{
    unsigned int at = PCI_BAR0 + index * 4;
    uint32_t command = pci_read(devfn, PCI_COMMAND, 2);
    bool wide = pci_bar_is_64(devfn, index);
    uint32_t low = pci_read(devfn, at, 4), high = wide ? pci_read(devfn, at + 4, 4) : 0;
    uint64_t mask;

    pci_write(devfn, PCI_COMMAND, 2, command & ~(uint32_t)(PCI_COMMAND_MEMORY | PCI_COMMAND_IO));
    pci_write(devfn, at, 4, ~0u);
    mask = pci_read(devfn, at, 4) & (low & PCI_BAR_IO ? ~3u : ~15u);
    if (wide) {
        pci_write(devfn, at + 4, 4, ~0u);
        mask |= (uint64_t)pci_read(devfn, at + 4, 4) << 32;
        pci_write(devfn, at + 4, 4, high);
    } else if (mask) {
        mask |= 0xffffffff00000000;
    }
    pci_write(devfn, at, 4, low);
    pci_write(devfn, PCI_COMMAND, 2, command);
    return mask ? ~mask + 1 : 0;
}

static void assign_bar(struct pci_device *device, unsigned int index)
{
    uint64_t size = device->bar_size[index];

    mmio_next = (mmio_next + size - 1) & ~(size - 1);
    pci_write(device->devfn, PCI_BAR0 + index * 4, 4, (uint32_t)mmio_next);
    device->bar[index] = mmio_next;
    mmio_next += size;
}

static void read_bars(struct pci_device *device)
{
    for (unsigned int i = 0; i < PCI_BARS; i++) {
        uint32_t low = pci_read(device->devfn, PCI_BAR0 + i * 4, 4);
        bool wide = pci_bar_is_64(device->devfn, i);

        device->bar_is_io[i] = low & PCI_BAR_IO;
        device->bar_size[i] = pci_bar_size(device->devfn, i);
        device->bar[i] = low & (low & PCI_BAR_IO ? ~3u : ~15u);
        if (wide)
            device->bar[i] |= (uint64_t)pci_read(device->devfn, PCI_BAR0 + i * 4 + 4, 4) << 32;
        if (!device->bar[i] && device->bar_size[i] && !device->bar_is_io[i])
            assign_bar(device, i);
        i += wide;
    }
}

volatile uint8_t *pci_bar_map(const struct pci_device *device, unsigned int index, uint64_t offset,
                              uint64_t size)
{
    if (index >= PCI_BARS || device->bar_is_io[index] || !device->bar[index])
        return NULL;
    if (offset > device->bar_size[index] || size > device->bar_size[index] - offset)
        return NULL;
    return physical_map(device->bar[index] + offset, size);
}

static void find_msix(struct pci_device *device)
{
    uint32_t table, pba;

    device->msix = pci_capability(device->devfn, PCI_CAP_MSIX, 0);
    if (!device->msix)
        return;
    device->msix_count =
        (uint16_t)((pci_read(device->devfn, device->msix + PCI_MSIX_CONTROL, 2) & 0x7ff) + 1);
    table = pci_read(device->devfn, device->msix + PCI_MSIX_TABLE, 4);
    pba = pci_read(device->devfn, device->msix + PCI_MSIX_PBA, 4);
    device->msix_table =
        pci_bar_map(device, table & 7, table & ~7u, device->msix_count * MSIX_ENTRY_SIZE);
    device->msix_pba = pci_bar_map(device, pba & 7, pba & ~7u, (device->msix_count + 63u) / 64 * 8);
}

bool pci_device_open(struct pci_device *device, uint16_t devfn)
{
    uint32_t id = pci_read(devfn, PCI_VENDOR_ID, 4);
    uint32_t command = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

    memset(device, 0, sizeof(*device));
    device->devfn = devfn;
    device->vendor = (uint16_t)id;
    device->device = (uint16_t)(id >> 16);
    if (device->vendor == 0xffff)
        return false;
    read_bars(device);
    pci_write(devfn, PCI_COMMAND, 2, pci_read(devfn, PCI_COMMAND, 2) | command);
    find_msix(device);
    return true;
}

void msix_enable(struct pci_device *device, bool enabled)
{
    pci_write(device->devfn, device->msix + PCI_MSIX_CONTROL, 2, enabled ? PCI_MSIX_ENABLE : 0);
}

void msix_route(struct pci_device *device, unsigned int entry, uint8_t vector)
{
    volatile uint8_t *at = device->msix_table + entry * MSIX_ENTRY_SIZE;

    mmio_write32(at, LAPIC_BASE); /* physical destination 0: the boot processor */
    mmio_write32(at + 4, 0);
    mmio_write32(at + MSIX_ENTRY_DATA, vector);
    mmio_write32(at + MSIX_ENTRY_CONTROL, 0);
}

void msix_mask(struct pci_device *device, unsigned int entry, bool masked)
{
    mmio_write32(device->msix_table + entry * MSIX_ENTRY_SIZE + MSIX_ENTRY_CONTROL,
                 masked ? MSIX_ENTRY_MASKED : 0);
}

bool msix_pending(const struct pci_device *device, unsigned int entry)
{
    return mmio_read32(device->msix_pba + entry / 32 * 4) >> entry % 32 & 1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI configuration space of bus 0 (PCI Local Bus 3.0, chapter 6; PCI Express 5.0, 7.2) and MSI-X
 * (PCI 3.0, 6.8.2).
 */
#ifndef GUEST_PCI_H
#define GUEST_PCI_H

#include <stdbool.h>
#include <stdint.h>

#define PCI_VENDOR_ID           0x00
#define PCI_DEVICE_ID           0x02
#define PCI_COMMAND             0x04
#define PCI_COMMAND_IO          0x0001
#define PCI_COMMAND_MEMORY      0x0002
#define PCI_COMMAND_MASTER      0x0004
#define PCI_STATUS              0x06
#define PCI_STATUS_CAPABILITIES 0x0010
#define PCI_REVISION            0x08
#define PCI_CLASS               0x0b
#define PCI_HEADER_TYPE         0x0e
#define PCI_BAR0                0x10
#define PCI_SUBSYSTEM_VENDOR    0x2c
#define PCI_SUBSYSTEM_ID        0x2e
#define PCI_CAPABILITIES        0x34

#define PCI_BAR_IO        0x01
#define PCI_BAR_TYPE_MASK 0x06
#define PCI_BAR_TYPE_64   0x04

#define PCI_CAP_VENDOR 0x09
#define PCI_CAP_MSIX   0x11

#define PCI_MSIX_CONTROL  2
#define PCI_MSIX_ENABLE   0x8000
#define PCI_MSIX_MASK_ALL 0x4000
#define PCI_MSIX_TABLE    4
#define PCI_MSIX_PBA      8

#define MSIX_ENTRY_SIZE    16
#define MSIX_ENTRY_DATA    8
#define MSIX_ENTRY_CONTROL 12
#define MSIX_ENTRY_MASKED  1

#define PCI_DEVFN(device, function) ((uint16_t)((device) << 3 | (function)))
#define PCI_BARS                    6

struct pci_device {
    uint16_t devfn;
    uint16_t vendor, device;
    uint64_t bar[PCI_BARS]; /* address; 0 where there is none */
    uint64_t bar_size[PCI_BARS];
    bool bar_is_io[PCI_BARS];
    uint8_t msix; /* offset of the capability, 0 if none */
    uint16_t msix_count;
    volatile uint8_t *msix_table, *msix_pba;
};

void pci_init(void);
bool pci_has_ecam(void);
bool pci_has_cf8(void);
uint64_t pci_ecam_base(void);

/* `width` is 1, 2 or 4 bytes. */
uint32_t pci_cf8_read(uint16_t devfn, unsigned int offset, unsigned int width);
uint32_t pci_ecam_read(uint16_t devfn, unsigned int offset, unsigned int width);
uint32_t pci_read(uint16_t devfn, unsigned int offset, unsigned int width);
void pci_write(uint16_t devfn, unsigned int offset, unsigned int width, uint32_t value);

bool pci_device_open(struct pci_device *device, uint16_t devfn);
/* The next capability with this id after `from` (0: the first); 0 if none. */
uint8_t pci_capability(uint16_t devfn, uint8_t id, uint8_t from);
/* Size of memory BAR `index` by writing ones, restored afterwards; decoding is off meanwhile. */
uint64_t pci_bar_size(uint16_t devfn, unsigned int index);
bool pci_bar_is_64(uint16_t devfn, unsigned int index);
volatile uint8_t *pci_bar_map(const struct pci_device *device, unsigned int index, uint64_t offset,
                              uint64_t size);

void msix_enable(struct pci_device *device, bool enabled);
void msix_route(struct pci_device *device, unsigned int entry, uint8_t vector);
void msix_mask(struct pci_device *device, unsigned int entry, bool masked);
bool msix_pending(const struct pci_device *device, unsigned int entry);

#endif

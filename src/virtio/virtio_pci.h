// SPDX-License-Identifier: Apache-2.0
/*
 * Virtio over PCI, modern only: virtio 1.2 §4.1. One 64-bit BAR of 16 KiB holds common
 * configuration, ISR, device configuration, notification area, MSI-X table and PBA, each on pages
 * of its own where that matters. No INTx: MSI-X or polling.
 */
#ifndef PODVISOR_VIRTIO_PCI_H
#define PODVISOR_VIRTIO_PCI_H

#include "device.h"
#include <podvisor/pci.h>

#define VIRTIO_PCI_BAR      0
#define VIRTIO_PCI_BAR_SIZE 0x4000

/* Where things lie in the BAR. Only notifications and the MSI-X table have pages of their own. */
#define VIRTIO_PCI_AT_COMMON     0x0000
#define VIRTIO_PCI_AT_ISR        0x0400
#define VIRTIO_PCI_AT_DEVICE     0x0800
#define VIRTIO_PCI_AT_NOTIFY     0x1000 /* queue n at + 4 * n */
#define VIRTIO_PCI_AT_MSIX_TABLE 0x2000
#define VIRTIO_PCI_AT_MSIX_PBA   0x3000

#define VIRTIO_PCI_NOTIFY_MULTIPLIER 4

/*
 * What the machine does so that a notification becomes an eventfd write without leaving the kernel
 * (KVM ioeventfd); a test may leave it out, then bar_write signals the eventfd itself.
 */
struct virtio_pci_kick_ops {
    /*
     * vCPU thread or start-up: a guest write of any length at `gpa` signals `fd` (add) or no longer
     * does. Failing to add is not an error: the write then arrives at bar_write.
     */
    void (*set)(void *ctx, bool add, uint64_t gpa, int fd);
};

struct virtio_pci {
    struct pci_function fn;
    struct virtio_device *dev;
    const struct virtio_pci_kick_ops *kick_ops; /* NULL: none */
    void *kick_ctx;
    uint64_t kick_gpa;  /* where the ioeventfds are now; 0: nowhere */
    uint8_t window_cap; /* VIRTIO_PCI_CAP_PCI_CFG, offset in configuration space */
    atomic_uint isr;
    atomic_uint config_vector; /* written under dev->lock, read by any thread that interrupts */
    /* Under dev->lock. */
    uint32_t device_feature_select, driver_feature_select;
    uint16_t queue_select;
};

/*
 * Wraps `dev` (borrowed, its config_len final) in a PCI function with one MSI-X vector a queue and
 * one for configuration changes. Returns 0 or a negative errno.
 */
int virtio_pci_init(struct virtio_pci *vp, struct virtio_device *dev,
                    const struct pci_irq_ops *irq_ops, void *irq_ctx,
                    const struct virtio_pci_kick_ops *kick_ops, void *kick_ctx, struct error *err);

/* System reset: the PCI function and, asynchronously, the device behind it. */
void virtio_pci_reset(struct virtio_pci *vp);

#endif

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

#define VIRTIO_PCI_BAR_SIZE 0x4000

/*
 * What the machine does so that a notification becomes an eventfd write without leaving the kernel
 * (KVM ioeventfd); a test may leave it out, then bar_write signals the eventfd itself.
 */
struct virtio_pci_kick_ops {
    /* vCPU thread or start-up: a guest write at `gpa` signals `fd` (add) or no longer does. */
    void (*set)(void *ctx, bool add, uint64_t gpa, int fd);
};

struct virtio_pci {
    struct pci_function fn;
    struct virtio_device *dev;
    const struct virtio_pci_kick_ops *kick_ops; /* NULL: none */
    void *kick_ctx;
    uint64_t kick_gpa; /* where the ioeventfds are now; 0: nowhere */
    atomic_uint isr;
    uint32_t device_feature_select, driver_feature_select;
    uint16_t queue_select;
    uint16_t config_vector;
};

/*
 * Wraps `dev` (borrowed) in a PCI function with one MSI-X vector a queue and one for configuration
 * changes. Returns 0 or a negative errno.
 */
int virtio_pci_init(struct virtio_pci *vp, struct virtio_device *dev,
                    const struct pci_irq_ops *irq_ops, void *irq_ctx,
                    const struct virtio_pci_kick_ops *kick_ops, void *kick_ctx, struct error *err);

/* System reset: the PCI function and, asynchronously, the device behind it. */
void virtio_pci_reset(struct virtio_pci *vp);

#endif

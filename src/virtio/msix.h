// SPDX-License-Identifier: Apache-2.0
/* What pci_function.c tells msix.c; the public part is in podvisor/pci.h. */
#ifndef PODVISOR_VIRTIO_MSIX_H
#define PODVISOR_VIRTIO_MSIX_H

#include <podvisor/pci.h>

/* Configuration space was written: follow the capability's control word. */
void msix_control_written(struct pci_function *fn);

/* Power-on state: disabled, all vectors masked and blank, nothing pending. */
void msix_reset(struct pci_function *fn);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * The PCI Express root: segment 0, bus 0, 32 slots with function 0 each, host bridge in slot 0. It
 * owns how functions are reached; what they are is <podvisor/pci.h>. Configuration space through
 * ports 0xcf8/0xcfc (PCI Local Bus 3.0 §3.2.2.3.2) and through ECAM (PCI Express 4.0 §7.2.2); BARs
 * through windows on the MMIO bus, which follow what the guest programs.
 *
 * vCPU threads enter concurrently; `lock` serialises configuration accesses. BAR accesses take no
 * lock here.
 */
#ifndef PODVISOR_VMM_PCI_ROOT_H
#define PODVISOR_VMM_PCI_ROOT_H

#include "bus.h"
#include <podvisor/pci.h>

#define PCI_ROOT_SLOTS 32

/* One BAR of one function, and the window through which the guest reaches it. */
struct pci_root_bar {
    struct pci_function *fn;
    unsigned index;
    struct bus_window *window;
};

struct pci_root {
    struct bus *mmio;
    void (*reset)(void *ctx);
    void *reset_ctx;
    struct pci_function host_bridge;

    pthread_mutex_t lock; /* all that follows, and the functions' config space */
    struct pci_function *slot[PCI_ROOT_SLOTS];
    struct pci_root_bar bar[BUS_WINDOW_MAX];
    unsigned bar_count;
    uint64_t bar_next; /* first free address of the BAR window */
    uint32_t config_address;
    uint8_t reset_control;
};

/*
 * Claims the ports on `pio` and ECAM on `mmio`, and puts the host bridge into slot 0. `reset` is
 * called on a vCPU thread, without a lock, when the guest asks for a hard reset through port 0xcf9.
 * All is borrowed for the root's life. Returns 0 or a negative errno.
 */
int pci_root_init(struct pci_root *root, struct bus *pio, struct bus *mmio,
                  void (*reset)(void *ctx), void *reset_ctx, struct error *err);

/* Frees what init made; no vCPU runs any more. */
void pci_root_done(struct pci_root *root);

/*
 * Start-up: puts `fn` (borrowed) into the next free slot and its BARs at addresses of their own in
 * the BAR window, decoding enabled. Returns 0, or -ENOSPC when slots, addresses or windows are
 * used up.
 */
int pci_root_add(struct pci_root *root, struct pci_function *fn, struct error *err);

/*
 * System reset, vCPUs stopped: the root's own registers and the host bridge go back to their
 * initial values and the windows follow the functions' BARs. The functions were reset by their
 * owners before (pci_function_reset()).
 */
void pci_root_reset(struct pci_root *root);

#endif

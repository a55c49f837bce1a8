// SPDX-License-Identifier: Apache-2.0
/*
 * A PCI function: its configuration space with write masks, its BARs, its MSI-X capability. It
 * knows nothing of how it is reached (src/vmm/pci_root.c: ECAM, CF8/CFC, BAR windows) and nothing
 * of KVM. Specification: PCI Local Bus 3.0 §6 (configuration space, §6.8.2 MSI-X).
 *
 * Configuration accesses come from vCPU threads and are serialised by the root complex. BAR
 * accesses come from any vCPU thread, concurrently; the function's ops lock what they need.
 */
#ifndef PODVISOR_PCI_H
#define PODVISOR_PCI_H

#include <podvisor/error.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define PCI_CONFIG_SIZE  256
#define PCI_BAR_MAX      6
#define PCI_MSIX_VEC_MAX 64

struct pci_function;

struct pci_function_ops {
    /* An access of `len` (1, 2, 4 or 8) bytes that lies wholly inside the BAR. */
    void (*bar_read)(struct pci_function *fn, unsigned bar, uint64_t offset, void *data,
                     unsigned len);
    void (*bar_write)(struct pci_function *fn, unsigned bar, uint64_t offset, const void *data,
                      unsigned len);
    /*
     * The BAR is decoded at `gpa`, a place other than the last one told, or (!mapped) the last
     * place may now belong to another BAR. For what is costly to move, ioeventfds: merely switching
     * memory decoding off and on, which a guest does half a dozen times while it sizes BARs, is not
     * reported. Called with the root complex's lock held. May be NULL.
     */
    void (*bar_moved)(struct pci_function *fn, unsigned bar, bool mapped, uint64_t gpa);
    /*
     * Hooks around configuration accesses of vendor capabilities that act on access (virtio 1.2
     * §4.1.4.9, VIRTIO_PCI_CAP_PCI_CFG). May be NULL. `before_read` runs before bytes are taken
     * from config[]; `after_write` after masked bytes were stored.
     */
    void (*config_before_read)(struct pci_function *fn, unsigned offset, unsigned len);
    void (*config_after_write)(struct pci_function *fn, unsigned offset, unsigned len);
};

struct pci_bar {
    uint64_t size; /* power of two, >= 16; 0: not implemented */
    bool is_64bit; /* occupies this index and the next */
    bool prefetchable;
    bool mapped;       /* memory decoding on and an address set */
    uint64_t address;  /* as programmed */
    uint64_t assigned; /* by pci_assign_bar(), restored by reset; 0: nowhere */
    uint64_t told;     /* where bar_moved() was told that the BAR is; 0: nowhere */
};

struct msi_message {
    uint64_t address;
    uint32_t data;
};

/*
 * What the machine does for a function's interrupts: routes and raises them. src/vmm/irq.c
 * implements it over irqfd and GSI routing; tests implement it over counters. Both are called with
 * the function's MSI-X lock held and must not call back into the function.
 */
struct pci_irq_ops {
    /*
     * vCPU thread: vector now has this message (guest-chosen); NULL: MSI-X was disabled, the route
     * is free. Called when a vector can be delivered and its message is not the one routed last, so
     * masking and unmasking alone costs no route.
     */
    void (*route)(void *ctx, unsigned vector, const struct msi_message *msg);
    /* Any thread: deliver the vector's message. Only for a routed, enabled, unmasked vector. */
    void (*raise)(void *ctx, unsigned vector);
};

struct pci_function {
    const char *name; /* for logs: "disk0" */
    const struct pci_function_ops *ops;
    uint8_t config[PCI_CONFIG_SIZE];
    uint8_t write_mask[PCI_CONFIG_SIZE]; /* 1 bits: writable by the guest */
    uint8_t next_capability;             /* where pci_add_capability() goes on */
    uint8_t last_capability_link;
    struct pci_bar bar[PCI_BAR_MAX];

    struct {
        uint8_t capability; /* offset in config[]; 0: no MSI-X */
        unsigned bar;
        uint32_t table_offset, pba_offset;
        unsigned vector_count;
        pthread_mutex_t lock; /* table, pba, enabled, function_masked */
        struct pci_msix_vector {
            struct msi_message msg, routed_msg; /* as programmed; as last given to route() */
            bool masked, routed;
        } vector[PCI_MSIX_VEC_MAX];
        uint64_t pending; /* PBA bits */
        bool enabled, function_masked;
        const struct pci_irq_ops *irq_ops;
        void *irq_ctx;
    } msix;
};

/*
 * Sets identity and class; every register not named here reads as 0 and ignores writes. `ops` may
 * have NULL members only for what never happens: bar_read and bar_write without a BAR.
 */
void pci_function_init(struct pci_function *fn, const char *name,
                       const struct pci_function_ops *ops, uint16_t vendor, uint16_t device,
                       uint32_t class_code, uint8_t revision, uint16_t subsys_vendor,
                       uint16_t subsys);

/*
 * Appends a capability: `body` is what follows the two header bytes (id, next), `len` its size. Its
 * bytes are read-only unless the caller opens write_mask[]. Returns its offset, or 0 when config
 * space is full.
 */
uint8_t pci_add_capability(struct pci_function *fn, uint8_t id, const void *body, uint8_t len);

/* Declares a memory BAR. `size` is a power of two, 4 KiB to 2 GiB. */
void pci_add_bar(struct pci_function *fn, unsigned index, uint64_t size, bool is_64bit,
                 bool prefetchable);

/* Adds the MSI-X capability; table and PBA live in BAR `bar` at the offsets given. */
void pci_add_msix(struct pci_function *fn, unsigned vector_count, unsigned bar,
                  uint32_t table_offset, uint32_t pba_offset, const struct pci_irq_ops *irq_ops,
                  void *irq_ctx);

/*
 * Reads `len` (1, 2 or 4) bytes, naturally aligned or not, but inside the 256 bytes; little-endian
 * value. Serialised by the caller (the root complex).
 */
uint32_t pci_config_read(struct pci_function *fn, unsigned offset, unsigned len);

/* Writes likewise: honours masks, BAR sizing, MSI-X control, the command register. */
void pci_config_write(struct pci_function *fn, unsigned offset, unsigned len, uint32_t value);

/* Puts a BAR at an address as firmware would, and turns memory decoding on (no I/O ports exist). */
void pci_assign_bar(struct pci_function *fn, unsigned index, uint64_t address);

/*
 * Back to the state after power-on, with BARs where pci_assign_bar() put them (system reset).
 * Serialised like a configuration access.
 */
void pci_function_reset(struct pci_function *fn);

/*
 * MSI-X table and PBA accesses, for the function's bar_read/bar_write to call: true when the access
 * fell in one of the two and was served.
 */
bool pci_msix_bar_read(struct pci_function *fn, unsigned bar, uint64_t offset, void *data,
                       unsigned len);
bool pci_msix_bar_write(struct pci_function *fn, unsigned bar, uint64_t offset, const void *data,
                        unsigned len);

/*
 * Any thread: interrupt on `vector`. Masked: the pending bit is set and it fires on unmask.
 * Disabled or no such vector: nothing (virtio 1.2 §4.1.5.1.2 lets a driver leave a vector unset).
 */
void pci_msix_raise(struct pci_function *fn, unsigned vector);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * The I/O APIC of a split interrupt controller: Intel 82093AA data sheet §3, with the EOI register
 * of version 0x20 (ICH). KVM keeps the local APICs; this part turns pins into the messages that
 * reach them. 24 pins, of which the machine's few legacy devices use some.
 *
 * vCPU threads touch registers and bring EOIs, any thread moves a pin; `lock` serialises them. The
 * ops run under it, so that what they hear is in order: they must not call back.
 */
#ifndef PODVISOR_VMM_IOAPIC_H
#define PODVISOR_VMM_IOAPIC_H

#include "bus.h"
#include "layout.h"
#include <podvisor/pci.h>

struct ioapic_ops {
    /*
     * vCPU thread: the message that `pin` would send is now `msg`; NULL: none. Kept in KVM's GSI
     * routing table, by which KVM knows whose EOI is ours to hear of (KVM_EXIT_IOAPIC_EOI). A
     * masked pin keeps its message, since its last interrupt may still be in service.
     */
    void (*route)(void *ctx, unsigned pin, const struct msi_message *msg);
    /* Any thread: send this message now. */
    void (*deliver)(void *ctx, unsigned pin, const struct msi_message *msg);
};

struct ioapic {
    const struct ioapic_ops *ops;
    void *ctx;
    pthread_mutex_t lock; /* all that follows */
    uint8_t select;       /* IOREGSEL */
    uint8_t id;
    struct {
        uint64_t entry; /* redirection table entry, with remote IRR */
        bool level;     /* of the pin */
        bool routed;
        struct msi_message msg; /* what ops->route() heard last, if routed */
    } pin[LAYOUT_IOAPIC_PINS];
};

/*
 * Claims the page at LAYOUT_IOAPIC_BASE on `mmio`; all pins are masked. All is borrowed for the
 * device's life. Returns 0 or a negative errno.
 */
int ioapic_init(struct ioapic *ioapic, struct bus *mmio, const struct ioapic_ops *ops, void *ctx,
                struct error *err);

/* Frees what init made; no vCPU runs any more. */
void ioapic_done(struct ioapic *ioapic);

/*
 * Any thread: the level of a pin, 0 to LAYOUT_IOAPIC_PINS - 1; true is asserted, whatever the
 * polarity bit of the pin's entry says. Edge-triggered pins act on false to true.
 */
void ioapic_set_pin(struct ioapic *ioapic, unsigned pin, bool level);

/* vCPU thread: a local APIC finished the level-triggered interrupt `vector`. */
void ioapic_eoi(struct ioapic *ioapic, uint8_t vector);

/* System reset, vCPUs stopped. Pins keep the levels that their devices drive. */
void ioapic_reset(struct ioapic *ioapic);

#endif

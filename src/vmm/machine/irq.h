// SPDX-License-Identifier: Apache-2.0
/*
 * Interrupt delivery into the guest: one GSI routing table for the VM, irqfds for message-signalled
 * interrupts, KVM_SIGNAL_MSI for the I/O APIC's pins (the chip itself is src/vmm/platform/ioapic.c;
 * KVM is told its pins' messages so that it forwards their EOIs). KVM API §4.52, §4.75, §4.70.
 *
 * Set-up happens on the main thread before vCPUs run; routing changes come from vCPU threads and
 * are serialised here; raising is lock-free and may come from any thread.
 */
#ifndef PODVISOR_VMM_IRQ_H
#define PODVISOR_VMM_IRQ_H

#include "../kvm/kvm.h"
#include "../layout.h"
#include <podvisor/log.h>
#include <podvisor/pci.h>
#include <pthread.h>

#define IRQ_MSI_MAX 256 /* vectors of all functions together */

struct irq_controller {
    int vm_fd;
    pthread_mutex_t lock; /* table, route */
    struct kvm_routing_table table;
    struct {
        bool routed;
        struct msi_message msg;
    } route[LAYOUT_IOAPIC_PINS + IRQ_MSI_MAX]; /* by GSI */
    struct log_ratelimit refusal_log;
    unsigned msi_count;
    int msi_fd[IRQ_MSI_MAX]; /* eventfd of GSI LAYOUT_GSI_MSI + i */
};

/* The vectors of one PCI function; `ctx` of irq_function_ops. */
struct irq_function {
    struct irq_controller *irq;
    unsigned first, count; /* in msi_fd[] */
};

extern const struct pci_irq_ops irq_function_ops;

/* `irq` is all zeroes. */
void irq_init(struct irq_controller *irq, int vm_fd);
void irq_done(struct irq_controller *irq);

/*
 * Reserves `count` message-signalled vectors: an eventfd and an irqfd each. Call after all guest
 * memory is registered. Returns 0 or a negative errno.
 */
int irq_function_init(struct irq_function *fn, struct irq_controller *irq, unsigned count,
                      struct error *err);

/* The I/O APIC changed what a pin sends; NULL: masked. */
void irq_route_pin(struct irq_controller *irq, unsigned pin, const struct msi_message *msg);

/* Sends a pin's message now. */
void irq_deliver(struct irq_controller *irq, const struct msi_message *msg);

/* System reset: forgets all routes. No vCPU runs. */
void irq_reset(struct irq_controller *irq);

#endif

// SPDX-License-Identifier: Apache-2.0
/* GSI routing and irqfds; see irq.h for threads and the KVM API sections. */
#include "irq.h"
#include <podvisor/log.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

void irq_init(struct irq_controller *irq, int vm_fd)
{
    irq->vm_fd = vm_fd;
    pthread_mutex_init(&irq->lock, NULL);
}

void irq_done(struct irq_controller *irq)
{
    for (unsigned i = 0; i < irq->msi_count; i++)
        close(irq->msi_fd[i]);
    pthread_mutex_destroy(&irq->lock);
}

int irq_function_init(struct irq_function *fn, struct irq_controller *irq, unsigned count,
                      struct error *err)
{
    if (count > IRQ_MSI_MAX - irq->msi_count)
        return error_set(err, ENOSPC, "more than %d interrupt vectors", IRQ_MSI_MAX);
    *fn = (struct irq_function){.irq = irq, .first = irq->msi_count, .count = count};
    for (unsigned i = 0; i < count; i++) {
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0)
            return error_sys(err, errno, "cannot create an eventfd for an interrupt");
        int r = kvm_vm_irqfd(irq->vm_fd, fd, LAYOUT_GSI_MSI + irq->msi_count, true);
        if (r < 0) {
            close(fd);
            return error_sys(err, -r, "KVM refuses an irqfd");
        }
        irq->msi_fd[irq->msi_count++] = fd;
    }
    return 0;
}

/* The whole table goes to KVM each time: callers change routes only when a message really changed.
 */
static void upload(struct irq_controller *irq)
{
    uint32_t n = 0;
    for (unsigned gsi = 0; gsi < LAYOUT_IOAPIC_PINS + irq->msi_count; gsi++) {
        if (!irq->route[gsi].routed)
            continue;
        irq->table.entry[n++] = (struct kvm_irq_routing_entry){
            .gsi = gsi,
            .type = KVM_IRQ_ROUTING_MSI,
            .u.msi = {.address_lo = (uint32_t)irq->route[gsi].msg.address,
                      .address_hi = (uint32_t)(irq->route[gsi].msg.address >> 32),
                      .data = irq->route[gsi].msg.data},
        };
    }
    irq->table.head.nr = n;
    uint32_t suppressed;
    int r = kvm_vm_set_gsi_routing(irq->vm_fd, &irq->table);
    if (r < 0 && log_ratelimit_allow(&irq->refusal_log, &suppressed))
        log_warn("irq", "KVM refuses an interrupt route the guest asked for: %s", strerror(-r));
}

static void set_route(struct irq_controller *irq, unsigned gsi, const struct msi_message *msg)
{
    pthread_mutex_lock(&irq->lock);
    bool changed;
    if (msg == NULL) {
        changed = irq->route[gsi].routed;
        irq->route[gsi].routed = false;
    } else {
        changed = !irq->route[gsi].routed || irq->route[gsi].msg.address != msg->address ||
                  irq->route[gsi].msg.data != msg->data;
        irq->route[gsi].routed = true;
        irq->route[gsi].msg = *msg;
    }
    if (changed)
        upload(irq);
    pthread_mutex_unlock(&irq->lock);
}

/*
 * A masked vector keeps its route: the function holds back its interrupts itself (the pending
 * bits), and a guest that masks and unmasks around every change of affinity would cost two uploads
 * for none.
 */
static void function_route(void *ctx, unsigned vector, const struct msi_message *msg)
{
    struct irq_function *fn = ctx;
    if (vector < fn->count && msg != NULL)
        set_route(fn->irq, LAYOUT_GSI_MSI + fn->first + vector, msg);
}

static void function_raise(void *ctx, unsigned vector)
{
    struct irq_function *fn = ctx;
    if (vector >= fn->count)
        return;
    uint64_t one = 1;
    /* KVM drains the counter; EAGAIN would mean 2^64 - 2 interrupts wait already. */
    (void)!write(fn->irq->msi_fd[fn->first + vector], &one, sizeof(one));
}

const struct pci_irq_ops irq_function_ops = {
    .route = function_route,
    .raise = function_raise,
};

void irq_route_pin(struct irq_controller *irq, unsigned pin, const struct msi_message *msg)
{
    if (pin < LAYOUT_IOAPIC_PINS)
        set_route(irq, pin, msg);
}

void irq_deliver(struct irq_controller *irq, const struct msi_message *msg)
{
    /* 0: the guest's APIC took none (disabled, bad destination): its own affair, as on hardware. */
    (void)kvm_vm_signal_msi(irq->vm_fd, msg->address, msg->data);
}

void irq_reset(struct irq_controller *irq)
{
    pthread_mutex_lock(&irq->lock);
    for (unsigned gsi = 0; gsi < LAYOUT_IOAPIC_PINS + irq->msi_count; gsi++)
        irq->route[gsi].routed = false;
    upload(irq);
    pthread_mutex_unlock(&irq->lock);
}

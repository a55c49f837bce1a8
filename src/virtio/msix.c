// SPDX-License-Identifier: Apache-2.0
/*
 * MSI-X of a PCI function: PCI Local Bus 3.0 §6.8.2. Owns fn->msix. Table and PBA are accessed by
 * any vCPU thread, vectors are raised by any thread; msix.lock orders them, so that after a write
 * that masks a vector no message of it leaves any more.
 *
 * A route is set up when it is first needed, not while the guest still fills in the entry: each
 * change costs the machine a rewrite of its whole routing table.
 */
#include "msix.h"
#include <linux/pci_regs.h>
#include <string.h>

#define PBA_WORD_BYTES 8

enum entry_word { ENTRY_ADDRESS_LOW, ENTRY_ADDRESS_HIGH, ENTRY_DATA, ENTRY_CONTROL };

void pci_add_msix(struct pci_function *fn, unsigned vector_count, unsigned bar,
                  uint32_t table_offset, uint32_t pba_offset, const struct pci_irq_ops *irq_ops,
                  void *irq_ctx)
{
    struct {
        uint16_t control;
        uint32_t table, pba;
    } __attribute__((packed)) body = {
        .control = (uint16_t)(vector_count - 1),
        .table = table_offset | bar,
        .pba = pba_offset | bar,
    };
    uint8_t capability = pci_add_capability(fn, PCI_CAP_ID_MSIX, &body, sizeof(body));
    if (capability == 0)
        return;
    uint16_t writable = PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL;
    fn->write_mask[capability + PCI_MSIX_FLAGS + 1] = (uint8_t)(writable >> 8);

    fn->msix.bar = bar;
    fn->msix.table_offset = table_offset;
    fn->msix.pba_offset = pba_offset;
    fn->msix.vector_count = vector_count;
    fn->msix.irq_ops = irq_ops;
    fn->msix.irq_ctx = irq_ctx;
    pthread_mutex_init(&fn->msix.lock, NULL);
    fn->msix.capability = capability;
    msix_reset(fn);
}

/* The functions from here to the entry points run with msix.lock held. */

static bool deliverable(const struct pci_function *fn, unsigned v)
{
    return fn->msix.enabled && !fn->msix.function_masked && !fn->msix.vector[v].masked;
}

static bool same_message(const struct msi_message *a, const struct msi_message *b)
{
    return a->address == b->address && a->data == b->data;
}

/* Something about vector `v` changed: route and deliver what became possible. */
static void follow_vector(struct pci_function *fn, unsigned v)
{
    struct pci_msix_vector *vec = &fn->msix.vector[v];
    if (!deliverable(fn, v))
        return;
    if (!vec->routed || !same_message(&vec->msg, &vec->routed_msg)) {
        vec->routed = true;
        vec->routed_msg = vec->msg;
        fn->msix.irq_ops->route(fn->msix.irq_ctx, v, &vec->msg);
    }
    uint64_t bit = UINT64_C(1) << v;
    if ((fn->msix.pending & bit) != 0) {
        fn->msix.pending &= ~bit;
        fn->msix.irq_ops->raise(fn->msix.irq_ctx, v);
    }
}

static void disable(struct pci_function *fn)
{
    fn->msix.enabled = false;
    fn->msix.pending = 0;
    for (unsigned v = 0; v < fn->msix.vector_count; v++) {
        if (!fn->msix.vector[v].routed)
            continue;
        fn->msix.vector[v].routed = false;
        fn->msix.irq_ops->route(fn->msix.irq_ctx, v, NULL);
    }
}

static uint32_t entry_read(const struct pci_msix_vector *vec, unsigned word)
{
    switch ((enum entry_word)word) {
    case ENTRY_ADDRESS_LOW:
        return (uint32_t)vec->msg.address;
    case ENTRY_ADDRESS_HIGH:
        return (uint32_t)(vec->msg.address >> 32);
    case ENTRY_DATA:
        return vec->msg.data;
    case ENTRY_CONTROL:
        return vec->masked ? PCI_MSIX_ENTRY_CTRL_MASKBIT : 0;
    }
    return 0;
}

static void entry_write(struct pci_msix_vector *vec, unsigned word, uint32_t value)
{
    switch ((enum entry_word)word) {
    case ENTRY_ADDRESS_LOW: /* a double word's address: the low bits are always 0 */
        vec->msg.address = (vec->msg.address & ~UINT64_C(0xffffffff)) | (value & ~3u);
        break;
    case ENTRY_ADDRESS_HIGH:
        vec->msg.address = (vec->msg.address & UINT32_MAX) | (uint64_t)value << 32;
        break;
    case ENTRY_DATA:
        vec->msg.data = value;
        break;
    case ENTRY_CONTROL:
        vec->masked = (value & PCI_MSIX_ENTRY_CTRL_MASKBIT) != 0;
        break;
    }
}

static uint32_t table_word(const struct pci_function *fn, uint64_t offset)
{
    return entry_read(&fn->msix.vector[offset / PCI_MSIX_ENTRY_SIZE],
                      (unsigned)(offset % PCI_MSIX_ENTRY_SIZE) / 4);
}

/* ---- entry points ---- */

void msix_control_written(struct pci_function *fn)
{
    uint8_t high = fn->config[fn->msix.capability + PCI_MSIX_FLAGS + 1];
    bool enable = (high & (PCI_MSIX_FLAGS_ENABLE >> 8)) != 0;
    pthread_mutex_lock(&fn->msix.lock);
    fn->msix.function_masked = (high & (PCI_MSIX_FLAGS_MASKALL >> 8)) != 0;
    if (!enable) {
        disable(fn);
    } else {
        fn->msix.enabled = true;
        for (unsigned v = 0; v < fn->msix.vector_count; v++)
            follow_vector(fn, v);
    }
    pthread_mutex_unlock(&fn->msix.lock);
}

void msix_reset(struct pci_function *fn)
{
    pthread_mutex_lock(&fn->msix.lock);
    disable(fn);
    fn->msix.function_masked = false;
    for (unsigned v = 0; v < fn->msix.vector_count; v++)
        fn->msix.vector[v] = (struct pci_msix_vector){.masked = true};
    pthread_mutex_unlock(&fn->msix.lock);
}

/* Where an access falls: offset within the area, which has `size` bytes. */
static bool within(uint64_t offset, uint64_t start, uint64_t size, uint64_t *ret_offset)
{
    if (offset < start || offset - start >= size)
        return false;
    *ret_offset = offset - start;
    return true;
}

static bool in_table(const struct pci_function *fn, uint64_t offset, uint64_t *ret_offset)
{
    return within(offset, fn->msix.table_offset,
                  (uint64_t)fn->msix.vector_count * PCI_MSIX_ENTRY_SIZE, ret_offset);
}

static bool in_pba(const struct pci_function *fn, uint64_t offset, uint64_t *ret_offset)
{
    return within(offset, fn->msix.pba_offset, PBA_WORD_BYTES, ret_offset);
}

static bool bar_matches(const struct pci_function *fn, unsigned bar)
{
    return fn->msix.capability != 0 && fn->msix.bar == bar;
}

/* Software must use aligned 4- and 8-byte accesses (§6.8.2). */
static bool well_formed(uint64_t offset, unsigned len)
{
    return (len == 4 || len == 8) && offset % len == 0;
}

bool pci_msix_bar_read(struct pci_function *fn, unsigned bar, uint64_t offset, void *data,
                       unsigned len)
{
    uint64_t at;
    if (!bar_matches(fn, bar))
        return false;
    bool table = in_table(fn, offset, &at);
    if (!table && !in_pba(fn, offset, &at))
        return false;
    uint64_t value = UINT64_MAX;
    if (well_formed(offset, len)) {
        pthread_mutex_lock(&fn->msix.lock);
        if (!table)
            value = fn->msix.pending >> (8 * at);
        else if (len == 4)
            value = table_word(fn, at);
        else
            value = table_word(fn, at) | (uint64_t)table_word(fn, at + 4) << 32;
        pthread_mutex_unlock(&fn->msix.lock);
    }
    memcpy(data, &value, len);
    return true;
}

bool pci_msix_bar_write(struct pci_function *fn, unsigned bar, uint64_t offset, const void *data,
                        unsigned len)
{
    uint64_t at;
    if (!bar_matches(fn, bar))
        return false;
    if (!in_table(fn, offset, &at))
        return in_pba(fn, offset, &at); /* read-only */
    if (!well_formed(offset, len))
        return true;

    uint32_t word[2];
    memcpy(word, data, len);
    unsigned v = (unsigned)(at / PCI_MSIX_ENTRY_SIZE);
    unsigned first = (unsigned)(at % PCI_MSIX_ENTRY_SIZE) / 4;
    pthread_mutex_lock(&fn->msix.lock);
    for (unsigned i = 0; i < len / 4; i++)
        entry_write(&fn->msix.vector[v], first + i, word[i]);
    follow_vector(fn, v);
    pthread_mutex_unlock(&fn->msix.lock);
    return true;
}

void pci_msix_raise(struct pci_function *fn, unsigned vector)
{
    if (vector >= fn->msix.vector_count)
        return;
    pthread_mutex_lock(&fn->msix.lock);
    if (deliverable(fn, vector))
        fn->msix.irq_ops->raise(fn->msix.irq_ctx, vector);
    else if (fn->msix.enabled)
        fn->msix.pending |= UINT64_C(1) << vector;
    pthread_mutex_unlock(&fn->msix.lock);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Virtio over PCI: virtio 1.2 §4.1. Turns BAR accesses of vCPU threads into operations of the
 * device core and the device's interrupts into MSI-X vectors. The registers here and the core's are
 * guarded by one lock, dev->lock, so a driver on two vCPUs sees whole operations.
 *
 * Common configuration (§4.1.4.3) is handled as an image: a read copies out of it; a write is laid
 * over it, then every writable field that it touched is set. So bytes, words, double words and
 * quad words at any offset all mean what they mean in memory, and no width needs code of its own.
 */
#include "virtio_pci.h"
#include <endian.h>
#include <linux/pci_regs.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <podvisor/cleanup.h>
#include <string.h>
#include <unistd.h>

#define VENDOR_ID         0x1af4
#define DEVICE_ID_BASE    0x1040 /* §4.1.2 */
#define SUBSYSTEM_ID_BASE 0x1100
#define REVISION          1

/* Class and subclass: PCI Code and ID Assignment Specification. */
#define CLASS_STORAGE_OTHER       0x0180
#define CLASS_NETWORK_ETHERNET    0x0200
#define CLASS_COMMUNICATION_OTHER 0x0780
#define CLASS_NONE                0xff00

#define ISR_QUEUE  1u /* §4.1.4.5 */
#define ISR_CONFIG 2u

/* Offsets inside the VIRTIO_PCI_CAP_PCI_CFG capability. */
#define WINDOW_BAR    offsetof(struct virtio_pci_cap, bar)
#define WINDOW_OFFSET offsetof(struct virtio_pci_cap, offset)
#define WINDOW_LENGTH offsetof(struct virtio_pci_cap, length)
#define WINDOW_DATA   offsetof(struct virtio_pci_cfg_cap, pci_cfg_data)
#define WINDOW_END    sizeof(struct virtio_pci_cfg_cap)

static struct virtio_pci *of_function(struct pci_function *fn)
{
    return container_of(fn, struct virtio_pci, fn);
}

/* ---- common configuration ---- */

/* The queue that queue_select names, or NULL. Lock held. */
static struct virtio_queue_slot *selected_queue(struct virtio_pci *vp)
{
    return vp->queue_select < vp->dev->queue_count ? &vp->dev->queue[vp->queue_select] : NULL;
}

static uint32_t feature_half(uint64_t features, uint32_t select)
{
    return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

/* Lock held: all registers as the driver would read them now. */
static void make_image(struct virtio_pci *vp, struct virtio_pci_common_cfg *cfg)
{
    const struct virtio_device *dev = vp->dev;
    memset(cfg, 0, sizeof(*cfg));
    cfg->device_feature_select = htole32(vp->device_feature_select);
    cfg->device_feature = htole32(feature_half(dev->features, vp->device_feature_select));
    cfg->guest_feature_select = htole32(vp->driver_feature_select);
    cfg->guest_feature = htole32(feature_half(dev->driver_features, vp->driver_feature_select));
    cfg->msix_config = htole16((uint16_t)atomic_load(&vp->config_vector));
    cfg->num_queues = htole16((uint16_t)dev->queue_count);
    cfg->device_status = dev->status;
    cfg->config_generation = dev->config_generation;
    cfg->queue_select = htole16(vp->queue_select);
    const struct virtio_queue_slot *slot = selected_queue(vp);
    if (slot == NULL)
        return; /* size 0: there is no such queue */
    cfg->queue_size = htole16(slot->layout.size);
    cfg->queue_msix_vector = htole16(slot->msix_vector);
    cfg->queue_enable = htole16(slot->enabled);
    cfg->queue_notify_off = htole16(vp->queue_select);
    cfg->queue_desc_lo = htole32((uint32_t)slot->layout.desc);
    cfg->queue_desc_hi = htole32((uint32_t)(slot->layout.desc >> 32));
    cfg->queue_avail_lo = htole32((uint32_t)slot->layout.avail);
    cfg->queue_avail_hi = htole32((uint32_t)(slot->layout.avail >> 32));
    cfg->queue_used_lo = htole32((uint32_t)slot->layout.used);
    cfg->queue_used_hi = htole32((uint32_t)(slot->layout.used >> 32));
}

static uint64_t address(uint32_t low, uint32_t high)
{
    return (uint64_t)le32toh(high) << 32 | le32toh(low);
}

/* §4.1.5.1.2.1: a vector that the device has not reads back as none. */
static uint16_t valid_vector(const struct virtio_pci *vp, uint16_t le_vector)
{
    uint16_t vector = le16toh(le_vector);
    return vector < vp->fn.msix.vector_count ? vector : VIRTIO_NO_VECTOR;
}

/* A write in progress: which bytes of the image it touched. */
struct touched {
    uint32_t first, end;
};

static bool touches(const struct touched *t, size_t offset, size_t len)
{
    return offset < t->end && offset + len > t->first;
}

#define TOUCHES(t, field)                                       \
    touches((t), offsetof(struct virtio_pci_common_cfg, field), \
            sizeof(((struct virtio_pci_common_cfg *)0)->field))

/* Lock held: registers of the selected queue, which DRIVER_OK freezes. */
static void write_queue(struct virtio_pci *vp, const struct virtio_pci_common_cfg *cfg,
                        const struct touched *t)
{
    struct virtio_queue_slot *slot = selected_queue(vp);
    if (slot == NULL || virtio_device_frozen(vp->dev))
        return;
    uint16_t size = le16toh(cfg->queue_size);
    /* A driver may only make it smaller, to another power of two (§4.1.5.1.3); all else is ignored.
     */
    if (TOUCHES(t, queue_size) && size != 0 && size <= slot->max_size && (size & (size - 1)) == 0)
        slot->layout.size = size;
    if (TOUCHES(t, queue_msix_vector))
        slot->msix_vector = valid_vector(vp, cfg->queue_msix_vector);
    if (TOUCHES(t, queue_desc_lo) || TOUCHES(t, queue_desc_hi))
        slot->layout.desc = address(cfg->queue_desc_lo, cfg->queue_desc_hi);
    if (TOUCHES(t, queue_avail_lo) || TOUCHES(t, queue_avail_hi))
        slot->layout.avail = address(cfg->queue_avail_lo, cfg->queue_avail_hi);
    if (TOUCHES(t, queue_used_lo) || TOUCHES(t, queue_used_hi))
        slot->layout.used = address(cfg->queue_used_lo, cfg->queue_used_hi);
    /* Only 1 means something; a driver must not write 0 (§4.1.4.3.2). */
    if (TOUCHES(t, queue_enable) && le16toh(cfg->queue_enable) == 1)
        slot->enabled = true;
}

static void common_read(struct virtio_pci *vp, uint32_t offset, void *data, uint32_t len)
{
    struct virtio_pci_common_cfg cfg;
    pthread_mutex_lock(&vp->dev->lock);
    make_image(vp, &cfg);
    pthread_mutex_unlock(&vp->dev->lock);
    memcpy(data, (const uint8_t *)&cfg + offset, len);
}

static void common_write(struct virtio_pci *vp, uint32_t offset, const void *data, uint32_t len)
{
    struct virtio_pci_common_cfg cfg;
    const struct touched t = {.first = offset, .end = offset + len};
    pthread_mutex_lock(&vp->dev->lock);
    make_image(vp, &cfg);
    memcpy((uint8_t *)&cfg + offset, data, len);
    /* Selectors first: an access that covers a selector and what it selects means the new one. */
    if (TOUCHES(&t, device_feature_select))
        vp->device_feature_select = le32toh(cfg.device_feature_select);
    if (TOUCHES(&t, guest_feature_select))
        vp->driver_feature_select = le32toh(cfg.guest_feature_select);
    if (TOUCHES(&t, msix_config))
        atomic_store(&vp->config_vector, valid_vector(vp, cfg.msix_config));
    if (TOUCHES(&t, queue_select))
        vp->queue_select = le16toh(cfg.queue_select);
    write_queue(vp, &cfg, &t);
    uint32_t select = vp->driver_feature_select;
    pthread_mutex_unlock(&vp->dev->lock);

    if (TOUCHES(&t, guest_feature))
        virtio_device_set_features(vp->dev, select, le32toh(cfg.guest_feature));
    if (TOUCHES(&t, device_status))
        virtio_device_set_status(vp->dev, cfg.device_status);
}

/* ---- the BAR ---- */

/* True when [offset, offset + len) lies in the area of `size` bytes at `start`. */
static bool in_area(uint64_t offset, unsigned len, uint64_t start, uint64_t size)
{
    return offset >= start && offset - start <= size && len <= size - (offset - start);
}

/* Without an ioeventfd, or through the configuration window: the queue is named by the address. */
static void notify_write(struct virtio_pci *vp, uint64_t offset)
{
    uint64_t index = offset / VIRTIO_PCI_NOTIFY_MULTIPLIER;
    if (offset % VIRTIO_PCI_NOTIFY_MULTIPLIER == 0 && index < vp->dev->queue_count)
        virtio_device_rekick(vp->dev, (unsigned)index);
}

static void bar_read(struct pci_function *fn, unsigned bar, uint64_t offset, void *data,
                     unsigned len)
{
    struct virtio_pci *vp = of_function(fn);
    memset(data, 0, len);
    if (in_area(offset, len, VIRTIO_PCI_AT_COMMON, sizeof(struct virtio_pci_common_cfg))) {
        common_read(vp, (uint32_t)offset, data, len);
    } else if (in_area(offset, len, VIRTIO_PCI_AT_DEVICE, VIRTIO_CONFIG_MAX)) {
        virtio_device_config_read(vp->dev, (uint32_t)(offset - VIRTIO_PCI_AT_DEVICE), data, len);
    } else if (offset == VIRTIO_PCI_AT_ISR) {
        uint8_t isr = (uint8_t)atomic_exchange(&vp->isr, 0); /* reading acknowledges, §4.1.4.5 */
        memcpy(data, &isr, 1);
    } else {
        pci_msix_bar_read(fn, bar, offset, data, len);
    }
}

static void bar_write(struct pci_function *fn, unsigned bar, uint64_t offset, const void *data,
                      unsigned len)
{
    struct virtio_pci *vp = of_function(fn);
    if (in_area(offset, len, VIRTIO_PCI_AT_COMMON, sizeof(struct virtio_pci_common_cfg)))
        common_write(vp, (uint32_t)offset, data, len);
    else if (in_area(offset, len, VIRTIO_PCI_AT_DEVICE, VIRTIO_CONFIG_MAX))
        virtio_device_config_write(vp->dev, (uint32_t)(offset - VIRTIO_PCI_AT_DEVICE), data, len);
    else if (offset >= VIRTIO_PCI_AT_NOTIFY && offset < VIRTIO_PCI_AT_MSIX_TABLE)
        notify_write(vp, offset - VIRTIO_PCI_AT_NOTIFY);
    else
        pci_msix_bar_write(fn, bar, offset, data, len);
}

static void set_kicks(struct virtio_pci *vp, bool add, uint64_t bar_gpa)
{
    for (unsigned i = 0; i < vp->dev->queue_count; i++)
        vp->kick_ops->set(vp->kick_ctx, add,
                          bar_gpa + VIRTIO_PCI_AT_NOTIFY +
                              (uint64_t)VIRTIO_PCI_NOTIFY_MULTIPLIER * i,
                          vp->dev->queue[i].kick_fd);
}

static void bar_moved(struct pci_function *fn, unsigned bar, bool mapped, uint64_t gpa)
{
    (void)bar; /* there is only one */
    struct virtio_pci *vp = of_function(fn);
    if (vp->kick_ops == NULL)
        return;
    if (vp->kick_gpa != 0)
        set_kicks(vp, false, vp->kick_gpa);
    vp->kick_gpa = mapped ? gpa : 0;
    if (mapped)
        set_kicks(vp, true, gpa);
}

/* ---- access to the BAR through configuration space, §4.1.4.9 ---- */

/* What the driver programmed, if it may be accessed: returns its length, or 0. */
static unsigned window_target(const struct virtio_pci *vp, uint32_t *ret_offset)
{
    const uint8_t *cap = &vp->fn.config[vp->window_cap];
    uint32_t offset, length;
    memcpy(&offset, cap + WINDOW_OFFSET, sizeof(offset));
    memcpy(&length, cap + WINDOW_LENGTH, sizeof(length));
    offset = le32toh(offset);
    length = le32toh(length);
    if (cap[WINDOW_BAR] != VIRTIO_PCI_BAR || (length != 1 && length != 2 && length != 4) ||
        offset % length != 0 || !in_area(offset, length, 0, VIRTIO_PCI_BAR_SIZE))
        return 0;
    *ret_offset = offset;
    return length;
}

static bool hits_window(const struct virtio_pci *vp, unsigned offset, unsigned len)
{
    return offset < vp->window_cap + WINDOW_END && offset + len > vp->window_cap + WINDOW_DATA;
}

static void config_before_read(struct pci_function *fn, unsigned offset, unsigned len)
{
    struct virtio_pci *vp = of_function(fn);
    uint32_t target;
    if (!hits_window(vp, offset, len))
        return;
    unsigned target_len = window_target(vp, &target);
    if (target_len > 0)
        bar_read(fn, VIRTIO_PCI_BAR, target, &fn->config[vp->window_cap + WINDOW_DATA], target_len);
}

static void config_after_write(struct pci_function *fn, unsigned offset, unsigned len)
{
    struct virtio_pci *vp = of_function(fn);
    uint32_t target;
    if (!hits_window(vp, offset, len))
        return;
    unsigned target_len = window_target(vp, &target);
    if (target_len > 0)
        bar_write(fn, VIRTIO_PCI_BAR, target, &fn->config[vp->window_cap + WINDOW_DATA],
                  target_len);
}

static const struct pci_function_ops function_ops = {
    .bar_read = bar_read,
    .bar_write = bar_write,
    .bar_moved = bar_moved,
    .config_before_read = config_before_read,
    .config_after_write = config_after_write,
};

/* ---- the device's side ---- */

/* The driver reads ISR only without MSI-X, so with it the bit stays set and costs nothing. */
static void set_isr(struct virtio_pci *vp, unsigned bit)
{
    if ((atomic_load_explicit(&vp->isr, memory_order_relaxed) & bit) == 0)
        atomic_fetch_or(&vp->isr, bit);
}

static void interrupt_queue(struct virtio_device *dev, unsigned index)
{
    struct virtio_pci *vp = dev->transport_ctx;
    set_isr(vp, ISR_QUEUE);
    pci_msix_raise(&vp->fn, dev->queue[index].msix_vector);
}

static void interrupt_config(struct virtio_device *dev)
{
    struct virtio_pci *vp = dev->transport_ctx;
    set_isr(vp, ISR_CONFIG);
    pci_msix_raise(&vp->fn, atomic_load(&vp->config_vector));
}

static void transport_reset(struct virtio_device *dev)
{
    struct virtio_pci *vp = dev->transport_ctx;
    atomic_store(&vp->isr, 0);
    atomic_store(&vp->config_vector, VIRTIO_NO_VECTOR);
    vp->device_feature_select = 0;
    vp->driver_feature_select = 0;
    vp->queue_select = 0;
}

static const struct virtio_transport_ops transport_ops = {
    .interrupt_queue = interrupt_queue,
    .interrupt_config = interrupt_config,
    .reset = transport_reset,
};

/* ---- start-up ---- */

static uint32_t class_of(uint16_t type)
{
    switch (type) {
    case VIRTIO_ID_NET:
        return CLASS_NETWORK_ETHERNET << 8;
    case VIRTIO_ID_BLOCK:
        return CLASS_STORAGE_OTHER << 8;
    case VIRTIO_ID_CONSOLE:
        return CLASS_COMMUNICATION_OTHER << 8;
    default:
        return CLASS_NONE << 8;
    }
}

/* Adds one of the capabilities of §4.1.4; `extra` is what some have behind the common part. */
static uint8_t add_capability(struct virtio_pci *vp, uint8_t type, uint32_t offset, uint32_t length,
                              uint32_t extra, uint8_t cap_len)
{
    struct {
        struct virtio_pci_cap common;
        uint32_t extra;
    } cap = {
        .common = {.cap_len = cap_len,
                   .cfg_type = type,
                   .bar = VIRTIO_PCI_BAR,
                   .offset = htole32(offset),
                   .length = htole32(length)},
        .extra = htole32(extra),
    };
    return pci_add_capability(&vp->fn, PCI_CAP_ID_VNDR, (const uint8_t *)&cap + PCI_CAP_FLAGS,
                              (uint8_t)(cap_len - PCI_CAP_FLAGS));
}

static void add_window(struct virtio_pci *vp)
{
    vp->window_cap = add_capability(vp, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 0, WINDOW_END);
    uint8_t *mask = &vp->fn.write_mask[vp->window_cap];
    mask[WINDOW_BAR] = 0xff;
    memset(mask + WINDOW_OFFSET, 0xff, WINDOW_END - WINDOW_OFFSET);
}

int virtio_pci_init(struct virtio_pci *vp, struct virtio_device *dev,
                    const struct pci_irq_ops *irq_ops, void *irq_ctx,
                    const struct virtio_pci_kick_ops *kick_ops, void *kick_ctx, struct error *err)
{
    const uint8_t cap_len = sizeof(struct virtio_pci_cap);
    memset(vp, 0, sizeof(*vp));
    if (dev->queue_count + 1 > PCI_MSIX_VEC_MAX)
        return error_set(err, EINVAL, "%s has too many queues for its interrupts", dev->name);
    vp->dev = dev;
    vp->kick_ops = kick_ops;
    vp->kick_ctx = kick_ctx;

    pci_function_init(&vp->fn, dev->name, &function_ops, VENDOR_ID,
                      (uint16_t)(DEVICE_ID_BASE + dev->type), class_of(dev->type), REVISION,
                      VENDOR_ID, (uint16_t)(SUBSYSTEM_ID_BASE + dev->type));
    pci_add_bar(&vp->fn, VIRTIO_PCI_BAR, VIRTIO_PCI_BAR_SIZE, true, false);
    add_capability(vp, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_AT_COMMON,
                   sizeof(struct virtio_pci_common_cfg), 0, cap_len);
    add_capability(vp, VIRTIO_PCI_CAP_NOTIFY_CFG, VIRTIO_PCI_AT_NOTIFY,
                   VIRTIO_PCI_NOTIFY_MULTIPLIER * dev->queue_count, VIRTIO_PCI_NOTIFY_MULTIPLIER,
                   sizeof(struct virtio_pci_notify_cap));
    add_capability(vp, VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_PCI_AT_ISR, 1, 0, cap_len);
    if (dev->config_len > 0)
        add_capability(vp, VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_AT_DEVICE, dev->config_len, 0,
                       cap_len);
    add_window(vp);
    pci_add_msix(&vp->fn, dev->queue_count + 1, VIRTIO_PCI_BAR, VIRTIO_PCI_AT_MSIX_TABLE,
                 VIRTIO_PCI_AT_MSIX_PBA, irq_ops, irq_ctx);

    dev->transport_ctx = vp;
    dev->transport = &transport_ops;
    pthread_mutex_lock(&dev->lock);
    transport_reset(dev);
    pthread_mutex_unlock(&dev->lock);
    return 0;
}

void virtio_pci_reset(struct virtio_pci *vp)
{
    pci_function_reset(&vp->fn);
    virtio_device_reset(vp->dev);
}

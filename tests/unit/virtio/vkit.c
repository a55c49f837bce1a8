// SPDX-License-Identifier: Apache-2.0
/*
 * The device test kit of vkit.h: virtio 1.2 §2.7 and §3.1.1 from the driver's side. Everything
 * belongs to the test's thread but the interrupt counters, the loop while threaded, and ring
 * memory, which device and driver share with the ordering that §2.7 asks for.
 */
#include "vkit.h"
#include <podvisor/clock.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAGE     UINT64_C(4096)
#define NO_CHAIN 0xffff

/* Not an assertion: the kit serves fuzz targets in release builds too. */
#define require(cond)                                                \
    do {                                                             \
        if (!(cond)) {                                               \
            fprintf(stderr, "vkit:%d: needs %s\n", __LINE__, #cond); \
            abort();                                                 \
        }                                                            \
    } while (0)

static uint16_t load16(const void *p)
{
    return __atomic_load_n((const uint16_t *)p, __ATOMIC_SEQ_CST);
}

static void store16(void *p, uint16_t value)
{
    __atomic_store_n((uint16_t *)p, value, __ATOMIC_SEQ_CST);
}

/* ---- ring fields; the layouts may be bad, but then only as far as vkit_at() allows ---- */

static uint64_t avail_size(uint16_t size)
{
    return 6 + 2 * (uint64_t)size;
}

static uint64_t used_size(uint16_t size)
{
    return 6 + 8 * (uint64_t)size;
}

static uint8_t *avail_at(struct vkit *kit, unsigned index, uint64_t offset)
{
    const struct virtq_layout *l = &kit->queue[index].layout;
    return (uint8_t *)vkit_at(kit, l->avail, avail_size(l->size)) + offset;
}

static uint8_t *used_at(struct vkit *kit, unsigned index, uint64_t offset)
{
    const struct virtq_layout *l = &kit->queue[index].layout;
    return (uint8_t *)vkit_at(kit, l->used, used_size(l->size)) + offset;
}

static void store_desc(void *where, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
    struct vring_desc desc = {.addr = addr, .len = len, .flags = flags, .next = next};
    uint64_t half[2];
    memcpy(half, &desc, sizeof(half));
    if ((uintptr_t)where % sizeof(uint64_t) == 0) {
        __atomic_store_n((uint64_t *)where, half[0], __ATOMIC_RELAXED);
        __atomic_store_n((uint64_t *)where + 1, half[1], __ATOMIC_RELAXED);
    } else {
        memcpy(where, half, sizeof(half));
    }
}

void vkit_desc_write(struct vkit *kit, unsigned index, uint16_t i, uint64_t addr, uint32_t len,
                     uint16_t flags, uint16_t next)
{
    gpa_t at = kit->queue[index].layout.desc + sizeof(struct vring_desc) * (uint64_t)i;
    store_desc(vkit_at(kit, at, sizeof(struct vring_desc)), addr, len, flags, next);
}

void vkit_avail_write(struct vkit *kit, unsigned index, uint16_t slot, uint16_t head)
{
    uint16_t size = kit->queue[index].layout.size;
    store16(avail_at(kit, index, 4 + 2 * (uint64_t)(slot % size)), head);
}

void vkit_avail_set_idx(struct vkit *kit, unsigned index, uint16_t idx)
{
    kit->queue[index].avail_idx = idx;
    store16(avail_at(kit, index, 2), idx);
}

void vkit_avail_set_flags(struct vkit *kit, unsigned index, uint16_t flags)
{
    store16(avail_at(kit, index, 0), flags);
}

void vkit_set_used_event(struct vkit *kit, unsigned index, uint16_t event)
{
    store16(avail_at(kit, index, avail_size(kit->queue[index].layout.size) - 2), event);
}

void vkit_avail_push(struct vkit *kit, unsigned index, uint16_t head)
{
    uint16_t idx = kit->queue[index].avail_idx;
    vkit_avail_write(kit, index, idx, head);
    vkit_avail_set_idx(kit, index, (uint16_t)(idx + 1));
}

uint16_t vkit_used_flags(struct vkit *kit, unsigned index)
{
    return load16(used_at(kit, index, 0));
}

uint16_t vkit_used_idx(struct vkit *kit, unsigned index)
{
    return load16(used_at(kit, index, 2));
}

uint16_t vkit_avail_event(struct vkit *kit, unsigned index)
{
    return load16(used_at(kit, index, used_size(kit->queue[index].layout.size) - 2));
}

/* ---- memory ---- */

void vkit_init(struct vkit *kit)
{
    memset(kit, 0, sizeof(*kit));
    require(loop_init(&kit->loop, NULL) == 0);
    /* Heap, not mmap: AddressSanitizer watches both ends. */
    const struct guest_memory_region region[] = {
        {.base = 0, .size = VKIT_LOW_SIZE, .hva = aligned_alloc(PAGE, VKIT_LOW_SIZE)},
        {.base = VKIT_HIGH_BASE,
         .size = VKIT_HIGH_SIZE,
         .hva = aligned_alloc(PAGE, VKIT_HIGH_SIZE)},
    };
    for (unsigned i = 0; i < 2; i++) {
        require(region[i].hva != NULL);
        memset(region[i].hva, 0, region[i].size);
        kit->mem.region[i] = region[i];
    }
    kit->mem.region_count = 2;
    kit->alloc_next = PAGE; /* address 0 stays unused, so that a forgotten address shows */
}

void vkit_done(struct vkit *kit)
{
    vkit_thread_stop(kit);
    loop_done(&kit->loop);
    for (unsigned i = 0; i < kit->mem.region_count; i++)
        free(kit->mem.region[i].hva);
}

void *vkit_at(struct vkit *kit, gpa_t gpa, uint64_t len)
{
    void *p = guest_memory_at(&kit->mem, gpa, len);
    require(p != NULL);
    return p;
}

gpa_t vkit_alloc(struct vkit *kit, uint64_t len, uint64_t align)
{
    gpa_t gpa = (kit->alloc_next + align - 1) & ~(align - 1);
    memset(vkit_at(kit, gpa, len), 0, len);
    kit->alloc_next = gpa + len;
    return gpa;
}

void vkit_alloc_reset(struct vkit *kit)
{
    kit->alloc_next = PAGE;
}

/* ---- transport ---- */

static void interrupt_queue(struct virtio_device *dev, unsigned index)
{
    struct vkit *kit = dev->transport_ctx;
    atomic_fetch_add(&kit->queue_interrupts[index], 1);
}

static void interrupt_config(struct virtio_device *dev)
{
    struct vkit *kit = dev->transport_ctx;
    atomic_fetch_add(&kit->config_interrupts, 1);
}

static void transport_reset(struct virtio_device *dev)
{
    struct vkit *kit = dev->transport_ctx;
    atomic_fetch_add(&kit->transport_resets, 1);
}

void vkit_attach(struct vkit *kit, struct virtio_device *dev)
{
    static const struct virtio_transport_ops ops = {
        .interrupt_queue = interrupt_queue,
        .interrupt_config = interrupt_config,
        .reset = transport_reset,
    };
    kit->dev = dev;
    dev->transport = &ops;
    dev->transport_ctx = kit;
}

/* ---- running the loop ---- */

static bool loop_busy(struct loop *loop)
{
    struct pollfd p = {.fd = loop->epoll_fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

void vkit_run(struct vkit *kit)
{
    if (kit->threaded)
        return;
    do {
        require(loop_run_once(&kit->loop, 0) == 0);
    } while (loop_busy(&kit->loop));
}

static void *loop_thread(void *arg)
{
    struct vkit *kit = arg;
    require(loop_run(&kit->loop) == 0);
    return NULL;
}

void vkit_thread_start(struct vkit *kit)
{
    kit->threaded = true;
    atomic_store(&kit->loop.stopping, false);
    require(pthread_create(&kit->thread, NULL, loop_thread, kit) == 0);
}

void vkit_thread_stop(struct vkit *kit)
{
    if (!kit->threaded)
        return;
    loop_stop(&kit->loop);
    pthread_join(kit->thread, NULL);
    kit->threaded = false;
}

bool vkit_wait(struct vkit *kit, bool (*cond)(void *arg), void *arg)
{
    uint64_t deadline = clock_now_ns() + VKIT_TIMEOUT_MS * NSEC_PER_MSEC;
    while (!cond(arg)) {
        if (clock_now_ns() > deadline)
            return false;
        if (kit->threaded)
            nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
        else
            require(loop_run_once(&kit->loop, 10) == 0);
    }
    return true;
}

struct used_wait {
    struct vkit *kit;
    unsigned index, count;
};

static bool enough_used(void *arg)
{
    const struct used_wait *w = arg;
    return vkit_used_count(w->kit, w->index) >= w->count;
}

bool vkit_wait_used(struct vkit *kit, unsigned index, unsigned count)
{
    struct used_wait wait = {.kit = kit, .index = index, .count = count};
    return vkit_wait(kit, enough_used, &wait);
}

/* ---- driver initialisation ---- */

static void add_status(struct vkit *kit, uint8_t bits)
{
    virtio_device_set_status(kit->dev, virtio_device_get_status(kit->dev) | bits);
}

static bool status_is_zero(void *arg)
{
    struct vkit *kit = arg;
    return virtio_device_get_status(kit->dev) == 0;
}

bool vkit_reset(struct vkit *kit)
{
    virtio_device_set_status(kit->dev, 0);
    return vkit_wait(kit, status_is_zero, kit);
}

bool vkit_needs_reset(struct vkit *kit)
{
    return (virtio_device_get_status(kit->dev) & VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
}

bool vkit_negotiate(struct vkit *kit, uint64_t features)
{
    if (!vkit_reset(kit))
        return false;
    add_status(kit, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    add_status(kit, VIRTIO_CONFIG_S_DRIVER);
    virtio_device_set_features(kit->dev, 0, (uint32_t)features);
    virtio_device_set_features(kit->dev, 1, (uint32_t)(features >> 32));
    add_status(kit, VIRTIO_CONFIG_S_FEATURES_OK);
    return (virtio_device_get_status(kit->dev) & VIRTIO_CONFIG_S_FEATURES_OK) != 0;
}

struct virtq_layout vkit_ring_alloc(struct vkit *kit, uint16_t size)
{
    struct virtq_layout l = {.size = size};
    l.desc = vkit_alloc(kit, sizeof(struct vring_desc) * (uint64_t)size, 16);
    l.avail = vkit_alloc(kit, avail_size(size), 2);
    l.used = vkit_alloc(kit, used_size(size), 4);
    return l;
}

void vkit_queue_init(struct vkit *kit, unsigned index, const struct virtq_layout *layout)
{
    struct vkit_queue *q = &kit->queue[index];
    memset(q, 0, sizeof(*q));
    q->layout = *layout;
    q->free_count = layout->size;
    for (uint16_t i = 0; i < layout->size; i++) {
        q->next_free[i] = (uint16_t)(i + 1);
        q->chain_end[i] = NO_CHAIN;
    }
}

void vkit_setup_queue(struct vkit *kit, unsigned index, uint16_t size)
{
    struct virtio_queue_slot *slot = &kit->dev->queue[index];
    struct virtq_layout layout = vkit_ring_alloc(kit, size != 0 ? size : slot->max_size);
    vkit_queue_init(kit, index, &layout);
    pthread_mutex_lock(&kit->dev->lock);
    if (!virtio_device_frozen(kit->dev)) {
        slot->layout = layout;
        slot->msix_vector = (uint16_t)index;
        slot->enabled = true;
    }
    pthread_mutex_unlock(&kit->dev->lock);
}

static bool started(void *arg)
{
    struct vkit *kit = arg;
    pthread_mutex_lock(&kit->dev->lock);
    bool done = kit->dev->engine != VIRTIO_ENGINE_STARTING;
    pthread_mutex_unlock(&kit->dev->lock);
    return done;
}

bool vkit_driver_ok(struct vkit *kit)
{
    add_status(kit, VIRTIO_CONFIG_S_DRIVER_OK);
    if (!vkit_wait(kit, started, kit))
        return false;
    uint8_t status = virtio_device_get_status(kit->dev);
    return (status & VIRTIO_CONFIG_S_DRIVER_OK) != 0 && (status & VIRTIO_CONFIG_S_NEEDS_RESET) == 0;
}

bool vkit_start(struct vkit *kit, uint64_t features)
{
    if (!vkit_negotiate(kit, features))
        return false;
    for (unsigned i = 0; i < kit->dev->queue_count; i++)
        vkit_setup_queue(kit, i, 0);
    return vkit_driver_ok(kit);
}

/* ---- queue, well-behaved ---- */

static uint16_t buf_flags(const struct vkit_buf *buf, bool more)
{
    return (uint16_t)((buf->writable ? VRING_DESC_F_WRITE : 0) | (more ? VRING_DESC_F_NEXT : 0));
}

/* Takes `count` descriptors off the free list, in list order, which a free chain already has. */
static int take_free(struct vkit_queue *q, unsigned count)
{
    if (count == 0 || count > q->free_count)
        return -1;
    uint16_t head = q->free_head, last = head;
    for (unsigned i = 1; i < count; i++)
        last = q->next_free[last];
    q->free_head = q->next_free[last];
    q->free_count = (uint16_t)(q->free_count - count);
    q->chain_end[head] = last;
    return head;
}

static void give_back(struct vkit_queue *q, uint16_t head)
{
    uint16_t last = q->chain_end[head], count = 1;
    if (last == NO_CHAIN)
        return; /* made available by vkit_avail_push(): the test keeps its own books */
    q->chain_end[head] = NO_CHAIN;
    for (uint16_t i = head; i != last; i = q->next_free[i])
        count++;
    q->next_free[last] = q->free_head;
    q->free_head = head;
    q->free_count = (uint16_t)(q->free_count + count);
}

int vkit_add(struct vkit *kit, unsigned index, const struct vkit_buf *bufs, unsigned count)
{
    struct vkit_queue *q = &kit->queue[index];
    int head = take_free(q, count);
    if (head < 0)
        return -1;
    uint16_t d = (uint16_t)head;
    for (unsigned i = 0; i < count; i++, d = q->next_free[d])
        vkit_desc_write(kit, index, d, bufs[i].gpa, bufs[i].len, buf_flags(&bufs[i], i + 1 < count),
                        q->next_free[d]);
    vkit_avail_push(kit, index, (uint16_t)head);
    return head;
}

int vkit_add_indirect(struct vkit *kit, unsigned index, const struct vkit_buf *bufs, unsigned count,
                      unsigned direct)
{
    struct vkit_queue *q = &kit->queue[index];
    int head = take_free(q, direct + 1);
    if (head < 0)
        return -1;
    uint16_t d = (uint16_t)head;
    for (unsigned i = 0; i < direct; i++, d = q->next_free[d])
        vkit_desc_write(kit, index, d, bufs[i].gpa, bufs[i].len, buf_flags(&bufs[i], true),
                        q->next_free[d]);
    uint32_t rest = count - direct;
    uint32_t len = rest * (uint32_t)sizeof(struct vring_desc);
    gpa_t table = vkit_alloc(kit, len, 16);
    uint8_t *entries = vkit_at(kit, table, len);
    for (uint32_t i = 0; i < rest; i++)
        store_desc(entries + sizeof(struct vring_desc) * i, bufs[direct + i].gpa,
                   bufs[direct + i].len, buf_flags(&bufs[direct + i], i + 1 < rest),
                   (uint16_t)(i + 1));
    vkit_desc_write(kit, index, d, table, len, VRING_DESC_F_INDIRECT, 0);
    vkit_avail_push(kit, index, (uint16_t)head);
    return head;
}

void vkit_kick(struct vkit *kit, unsigned index)
{
    uint64_t one = 1;
    require(write(kit->dev->queue[index].kick_fd, &one, sizeof(one)) == sizeof(one));
}

bool vkit_kick_if_needed(struct vkit *kit, unsigned index)
{
    struct vkit_queue *q = &kit->queue[index];
    uint16_t before = q->kicked_idx, now = q->avail_idx;
    q->kicked_idx = now;
    bool wanted;
    if (virtio_device_has(kit->dev, VIRTIO_RING_F_EVENT_IDX))
        wanted = vring_need_event(vkit_avail_event(kit, index), now, before) != 0;
    else
        wanted = (vkit_used_flags(kit, index) & VRING_USED_F_NO_NOTIFY) == 0;
    if (wanted)
        vkit_kick(kit, index);
    return wanted;
}

uint16_t vkit_used_count(struct vkit *kit, unsigned index)
{
    return (uint16_t)(vkit_used_idx(kit, index) - kit->queue[index].last_used);
}

bool vkit_used(struct vkit *kit, unsigned index, uint32_t *ret_head, uint32_t *ret_len)
{
    struct vkit_queue *q = &kit->queue[index];
    if (vkit_used_count(kit, index) == 0)
        return false;
    const uint8_t *element = used_at(kit, index, 4 + 8 * (uint64_t)(q->last_used % q->layout.size));
    uint32_t head = __atomic_load_n((const uint32_t *)(const void *)element, __ATOMIC_RELAXED);
    uint32_t len = __atomic_load_n((const uint32_t *)(const void *)(element + 4), __ATOMIC_RELAXED);
    q->last_used++;
    if (head < q->layout.size) /* a hostile test may have had the ring overwritten */
        give_back(q, (uint16_t)head);
    *ret_head = head;
    *ret_len = len;
    return true;
}

bool vkit_request(struct vkit *kit, unsigned index, const struct vkit_buf *bufs, unsigned count,
                  uint32_t *ret_len)
{
    int head = vkit_add(kit, index, bufs, count);
    if (head < 0)
        return false;
    vkit_kick(kit, index);
    uint32_t used_head;
    if (!vkit_wait_used(kit, index, 1) || !vkit_used(kit, index, &used_head, ret_len))
        return false;
    return used_head == (uint32_t)head;
}

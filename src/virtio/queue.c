// SPDX-License-Identifier: Apache-2.0
/*
 * Split virtqueue, device side: virtio 1.2 §2.7. Owns every access to ring memory; runs in the
 * vCPU thread that writes DRIVER_OK (virtq_init) and from then on in the device's I/O loop.
 *
 * The guest may change ring memory at any time, so each value is loaded exactly once, into a
 * local, and only the local is checked and used. Ordering (§2.7.13, §2.7.7, §2.7.10):
 *  - avail.idx is loaded with acquire before the entries and descriptors that it publishes;
 *  - used elements are stored before used.idx, which is stored sequentially consistent, as is
 *    avail_event: the next thing done is to load what the other side stores before it looks at
 *    ours, and one of the two must see the other's value. On x86-64 that store is one XCHG, no
 *    dearer than a fence, and unlike a fence ThreadSanitizer understands it.
 */
#include "queue.h"
#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#define DESC_KNOWN_FLAGS (VRING_DESC_F_NEXT | VRING_DESC_F_WRITE | VRING_DESC_F_INDIRECT)

struct descriptor { /* one descriptor, copied out of guest memory */
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};

struct table { /* where a chain's descriptors come from */
    const uint8_t *base;
    uint32_t count;
    bool indirect;
};

struct walk { /* a chain being collected */
    const struct guest_memory *mem;
    struct iovec *iov;
    unsigned iov_max;
    bool writing; /* a device-writable descriptor was seen */
    struct virtq_chain chain;
};

/* Ring fields lie at fixed offsets: flags, idx, ring[size], then one event index. */
#define RING_FLAGS   0
#define RING_IDX     2
#define RING_ENTRIES 4

static uint64_t desc_bytes(uint16_t size)
{
    return sizeof(struct vring_desc) * (uint64_t)size;
}

static uint64_t avail_bytes(uint16_t size)
{
    return RING_ENTRIES + 2 * (uint64_t)size + 2;
}

static uint64_t used_bytes(uint16_t size)
{
    return RING_ENTRIES + sizeof(struct vring_used_elem) * (uint64_t)size + 2;
}

static inline uint16_t load16(const void *ring, size_t offset)
{
    const void *p = (const uint8_t *)ring + offset;
    return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED));
}

static inline uint16_t load16_seq_cst(const void *ring, size_t offset)
{
    const void *p = (const uint8_t *)ring + offset;
    return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_SEQ_CST));
}

static inline void store16(void *ring, size_t offset, uint16_t value)
{
    void *p = (uint8_t *)ring + offset;
    __atomic_store_n((uint16_t *)p, htole16(value), __ATOMIC_RELAXED);
}

static inline void store16_seq_cst(void *ring, size_t offset, uint16_t value)
{
    void *p = (uint8_t *)ring + offset;
    __atomic_store_n((uint16_t *)p, htole16(value), __ATOMIC_SEQ_CST);
}

static inline void store32(void *ring, size_t offset, uint32_t value)
{
    void *p = (uint8_t *)ring + offset;
    __atomic_store_n((uint32_t *)p, htole32(value), __ATOMIC_RELAXED);
}

static inline uint16_t load_avail_idx(const struct virtq *q)
{
    const void *p = (const uint8_t *)q->avail + RING_IDX;
    return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE));
}

/* The event indices follow the entries: used_event the available ring, avail_event the used ring.
 */
static inline size_t used_event_offset(const struct virtq *q)
{
    return RING_ENTRIES + 2 * (size_t)q->size;
}

static inline size_t avail_event_offset(const struct virtq *q)
{
    return RING_ENTRIES + sizeof(struct vring_used_elem) * (size_t)q->size;
}

/* Indirect tables need not be aligned, hence packed; volatile, so that each half is loaded once. */
struct desc_half {
    uint64_t value;
} __attribute__((packed));

static inline struct descriptor load_desc(const struct table *t, uint32_t index)
{
    const void *p = t->base + sizeof(struct vring_desc) * (size_t)index;
    const volatile struct desc_half *half = p;
    uint64_t addr = le64toh(half[0].value);
    uint64_t rest = le64toh(half[1].value);
    return (struct descriptor){.addr = addr,
                               .len = (uint32_t)rest,
                               .flags = (uint16_t)(rest >> 32),
                               .next = (uint16_t)(rest >> 48)};
}

static inline bool in_flight(const struct virtq *q, uint16_t head)
{
    return (q->in_flight_map[head / 64] >> (head % 64)) & 1;
}

static inline void flip_in_flight(struct virtq *q, uint16_t head)
{
    q->in_flight_map[head / 64] ^= UINT64_C(1) << (head % 64);
}

static int fault(struct virtq *q, const char *why)
{
    q->broken = true;
    q->fault = why;
    return -EPROTO;
}

static const char *layout_fault(const struct virtq_layout *l)
{
    if (l->size == 0 || l->size > VIRTQ_SIZE_MAX || (l->size & (l->size - 1)) != 0)
        return "queue size is not a power of two in range";
    if (l->desc % VRING_DESC_ALIGN_SIZE != 0)
        return "descriptor table is not 16-byte aligned";
    if (l->avail % VRING_AVAIL_ALIGN_SIZE != 0)
        return "available ring is not 2-byte aligned";
    if (l->used % VRING_USED_ALIGN_SIZE != 0)
        return "used ring is not 4-byte aligned";
    return NULL;
}

int virtq_init(struct virtq *q, const struct guest_memory *mem, const struct virtq_layout *layout,
               bool event_idx, bool indirect)
{
    memset(q, 0, sizeof(*q));
    q->mem = mem;
    q->event_idx = event_idx;
    q->indirect = indirect;
    q->broken = true;
    q->fault = layout_fault(layout);
    if (q->fault != NULL)
        return -EINVAL;

    q->desc = guest_memory_at(mem, layout->desc, desc_bytes(layout->size));
    q->avail = guest_memory_at(mem, layout->avail, avail_bytes(layout->size));
    q->used = guest_memory_at(mem, layout->used, used_bytes(layout->size));
    if (q->desc == NULL || q->avail == NULL || q->used == NULL) {
        q->fault = "ring is not wholly in RAM";
        return -EINVAL;
    }
    q->size = layout->size;
    q->broken = false;
    return 0;
}

/* Follows a descriptor into the indirect table that it names (§2.7.5.3); its WRITE flag means
 * nothing and is ignored (§2.7.5.3.2). */
static const char *enter_indirect(const struct virtq *q, struct table *t,
                                  const struct descriptor *d)
{
    if (!q->indirect)
        return "indirect descriptor without the feature";
    if (t->indirect)
        return "indirect descriptor in an indirect table";
    if ((d->flags & VRING_DESC_F_NEXT) != 0)
        return "indirect descriptor with a next one";
    if (d->len == 0 || d->len % sizeof(struct vring_desc) != 0)
        return "length of an indirect table is not a multiple of 16";
    if (d->len / sizeof(struct vring_desc) > q->size)
        return "indirect table longer than the queue";
    t->base = guest_memory_at(q->mem, d->addr, d->len);
    if (t->base == NULL)
        return "indirect table is not wholly in RAM";
    t->count = d->len / (uint32_t)sizeof(struct vring_desc);
    t->indirect = true;
    return NULL;
}

static inline const char *take_buffer(struct walk *w, const struct descriptor *d)
{
    bool writable = (d->flags & VRING_DESC_F_WRITE) != 0;
    if (w->writing && !writable)
        return "readable buffer behind a writable one";
    w->writing = writable;
    if (d->len == 0)
        return NULL;

    struct virtq_chain *c = &w->chain;
    /* Both sums are at most UINT32_MAX here, so 64 bits do not wrap. */
    if ((uint64_t)c->readable_len + c->writable_len + d->len > UINT32_MAX)
        return "chain of 4 GiB or more";
    unsigned count = (unsigned)c->readable_count + c->writable_count;
    if (count == w->iov_max)
        return "chain has more buffers than the device takes";
    void *hva = guest_memory_at(w->mem, d->addr, d->len);
    if (hva == NULL)
        return "buffer is not wholly in RAM";

    w->iov[count] = (struct iovec){.iov_base = hva, .iov_len = d->len};
    if (writable) {
        c->writable_count++;
        c->writable_len += d->len;
    } else {
        c->readable_count++;
        c->readable_len += d->len;
    }
    return NULL;
}

/*
 * Collects the chain that starts at `head`. An indirect table replaces the descriptor that names
 * it, so that one does not count towards the chain's length, which bounds loops (§2.7.5.3.1: a
 * chain is never longer than the queue).
 */
static const char *walk_chain(const struct virtq *q, uint16_t head, struct walk *w)
{
    struct table t = {.base = q->desc, .count = q->size};
    uint32_t index = head;
    for (unsigned length = 0;;) {
        if (index >= t.count)
            return "descriptor index outside its table";
        struct descriptor d = load_desc(&t, index);
        if ((d.flags & ~DESC_KNOWN_FLAGS) != 0)
            return "unknown descriptor flag";
        const char *why;
        if ((d.flags & VRING_DESC_F_INDIRECT) != 0) {
            why = enter_indirect(q, &t, &d);
            if (why != NULL)
                return why;
            index = 0;
            continue;
        }
        if (++length > q->size)
            return "chain longer than the queue, or a loop";
        why = take_buffer(w, &d);
        if (why != NULL)
            return why;
        if ((d.flags & VRING_DESC_F_NEXT) == 0)
            return NULL;
        index = d.next;
    }
}

/* True when a chain is available; looks at shared memory only when the known ones are used up. */
static inline bool more_available(struct virtq *q)
{
    if (q->seen_avail != q->next_avail)
        return true;
    uint16_t idx = load_avail_idx(q);
    if ((uint16_t)(idx - q->next_avail) > q->size) {
        fault(q, "available index moved by more than the queue size");
        return false;
    }
    q->seen_avail = idx;
    return idx != q->next_avail;
}

int virtq_pop(struct virtq *q, struct iovec *iov, unsigned iov_max, struct virtq_chain *ret_chain)
{
    if (q->broken)
        return 0;
    if (!more_available(q))
        return q->broken ? -EPROTO : 0;

    uint16_t head = load16(q->avail, RING_ENTRIES + 2 * (size_t)(q->next_avail & (q->size - 1)));
    if (head >= q->size)
        return fault(q, "chain head outside the descriptor table");
    if (in_flight(q, head))
        return fault(q, "chain head is in flight already");
    struct walk w = {
        .mem = q->mem, .iov = iov, .iov_max = iov_max, .chain = {.head = head, .iov = iov}};
    const char *why = walk_chain(q, head, &w);
    if (why != NULL)
        return fault(q, why);

    flip_in_flight(q, head);
    q->in_flight++;
    q->next_avail++;
    *ret_chain = w.chain;
    return 1;
}

void virtq_unpop(struct virtq *q, const struct virtq_chain *chain)
{
    if (!in_flight(q, chain->head))
        abort();
    flip_in_flight(q, chain->head);
    q->in_flight--;
    q->next_avail--;
}

void virtq_push(struct virtq *q, uint16_t head, uint32_t written)
{
    /* Kept in release builds: completing a chain twice would hand the driver memory in use. */
    if (head >= q->size || !in_flight(q, head))
        abort();
    flip_in_flight(q, head);
    q->in_flight--;
    size_t element =
        RING_ENTRIES + sizeof(struct vring_used_elem) * (size_t)(q->next_used & (q->size - 1));
    store32(q->used, element, head);
    store32(q->used, element + 4, written);
    q->next_used++;
}

bool virtq_publish(struct virtq *q)
{
    uint16_t before = q->published_used, now = q->next_used;
    if (now == before)
        return false;
    q->published_used = now;
    store16_seq_cst(q->used, RING_IDX, now);
    if (!q->event_idx)
        return (load16_seq_cst(q->avail, RING_FLAGS) & VRING_AVAIL_F_NO_INTERRUPT) == 0;
    /* Did used.idx just move past used_event? In 16-bit arithmetic, so wrap-around needs no care.
     */
    uint16_t event = load16_seq_cst(q->avail, used_event_offset(q));
    return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

void virtq_suppress_kicks(struct virtq *q)
{
    /* With EVENT_IDX flags stay 0 (§2.7.10): an avail_event that fell behind suppresses by itself.
     */
    if (!q->event_idx)
        store16(q->used, RING_FLAGS, VRING_USED_F_NO_NOTIFY);
}

bool virtq_arm_kicks(struct virtq *q)
{
    if (q->broken)
        return false;
    if (q->event_idx)
        store16_seq_cst(q->used, avail_event_offset(q), q->next_avail);
    else
        store16_seq_cst(q->used, RING_FLAGS, 0);
    return load16_seq_cst(q->avail, RING_IDX) != q->next_avail;
}

uint16_t virtq_available(const struct virtq *q)
{
    if (q->broken)
        return 0;
    uint16_t distance = (uint16_t)(load_avail_idx(q) - q->next_avail);
    return distance < q->size ? distance : q->size;
}

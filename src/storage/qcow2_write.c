// SPDX-License-Identifier: Apache-2.0
/*
 * Writing. Any thread, many at once; on the I/O loop only over clusters that are there. One call
 * does one extent: the caller continues short writes anyway.
 *
 * A cluster that the image does not have alone (none, zeroes, compressed, shared with a snapshot)
 * is allocated, then written as a whole with alloc_lock released, then linked. Meanwhile it is in
 * the list of pending allocations, for which others that want to change it wait; readers have what
 * was there before.
 */
#include "qcow2.h"
#include <podvisor/iov.h>

/* What one allocation takes, bytes: others wait for it. */
#define ALLOCATION_MAX (UINT64_C(4) << 20)

struct allocation {
    struct qcow2_pending pending; /* guest clusters */
    uint64_t host;                /* the first cluster's place in the file */
    bool reused;                  /* its cluster waited for data: QCOW2_KIND_RESERVED */
    bool zeroes_before;           /* the first cluster, and the last, read as zeroes */
    bool zeroes_after;
    bool fresh;     /* the place in the file reads as zeroes */
    uint64_t guest; /* first byte to write */
    uint64_t len;
};

static ssize_t write_in_place(struct qcow2 *q, const struct iovec *iov, unsigned count,
                              uint64_t host, bool nowait)
{
    ssize_t n;
    do
        n = pwritev2(q->img->fd, iov, (int)count, (off_t)host, nowait ? RWF_NOWAIT : 0);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* Whether data at a place that an L2 entry gave would overwrite metadata. */
static bool hits_metadata(const struct qcow2 *q, uint64_t host, uint64_t len)
{
    for (uint64_t at = host & ~(uint64_t)(q->cluster_size - 1); at < host + len;
         at += q->cluster_size) {
        if (qcow2_is_metadata(q, at))
            return true;
    }
    return false;
}

/*
 * Takes a reference to what is at `offset` when it can be written in place: *ret->len bytes.
 * -EAGAIN when it cannot.
 */
static int find_in_place(struct qcow2 *q, uint64_t offset, uint64_t len, bool nowait,
                         struct qcow2_extent *ret, unsigned *ret_phase)
{
    const char *bad = NULL;
    if (!nowait)
        pthread_mutex_lock(&q->map_lock);
    else if (pthread_mutex_trylock(&q->map_lock) != 0)
        return -EAGAIN;
    int r = qcow2_lookup(q, offset, len, nowait, ret, &bad);
    if (r == 0 && (ret->kind != QCOW2_KIND_DATA || !ret->copied))
        r = -EAGAIN;
    if (r == 0 && hits_metadata(q, ret->host, ret->len)) {
        bad = "data in the place of metadata";
        r = -EIO;
    }
    if (r == 0)
        *ret_phase = qcow2_io_begin(q);
    pthread_mutex_unlock(&q->map_lock);
    if (r == -EIO && bad != NULL)
        return nowait ? -EAGAIN : qcow2_corrupt(q, bad, offset);
    return r;
}

/* ---- allocation ---- */

static bool reads_as_zeroes(const struct qcow2 *q, const struct qcow2_extent *e, uint64_t guest)
{
    if (e->kind == QCOW2_KIND_NONE)
        return q->img->backing == NULL || guest >= q->img->backing->geometry.size;
    return e->kind == QCOW2_KIND_ZERO || e->kind == QCOW2_KIND_RESERVED;
}

static int look(struct qcow2 *q, uint64_t cluster, uint64_t len, struct qcow2_extent *ret)
{
    const char *bad = NULL;
    pthread_mutex_lock(&q->map_lock);
    int r = qcow2_lookup(q, cluster << q->cluster_bits, len, false, ret, &bad);
    pthread_mutex_unlock(&q->map_lock);
    return r == -EIO && bad != NULL ? qcow2_corrupt(q, bad, cluster) : r;
}

/*
 * How many clusters from the first on are to be allocated together: those that the write touches,
 * up to one that needs no allocation, up to the end of the L2 table, and to what others are at. One
 * buffer serves for what surrounds the data, so unless it all is one cluster, only one end may be a
 * part of one.
 */
static int measure(struct qcow2 *q, struct allocation *a, struct qcow2_extent *ret_first)
{
    uint64_t first = a->pending.first, table_end = ((first >> q->l2_bits) + 1) << q->l2_bits;
    uint64_t end = qcow2_clusters(q, a->guest + a->len), at = first;
    if (end > table_end)
        end = table_end;
    struct qcow2_extent e;
    for (; at < end; at += qcow2_clusters(q, e.len)) {
        int r = look(q, at, (end - at) << q->cluster_bits, &e);
        if (r < 0)
            return r;
        if (at == first)
            *ret_first = e;
        bool reserved = e.kind == QCOW2_KIND_RESERVED && e.copied;
        if ((e.kind == QCOW2_KIND_DATA && e.copied) || (at > first && (reserved || a->reused)))
            break;
        a->reused = reserved;
    }
    if (at < end)
        end = at;
    for (const struct qcow2_pending *p = q->pending; p != NULL; p = p->next) {
        if (p->first > first && p->first < end)
            end = p->first;
    }
    a->pending.end = end;
    return 0;
}

/* Cuts the write to whole clusters at its end when its beginning is not one, and to `end`. */
static void trim(const struct qcow2 *q, struct allocation *a)
{
    uint64_t mask = q->cluster_size - 1, end = a->guest + a->len;
    uint64_t limit = a->pending.end << q->cluster_bits;
    if (end > limit)
        end = limit;
    if ((a->guest & mask) != 0 && (end & mask) != 0 && a->pending.end - a->pending.first > 1)
        end &= ~mask;
    a->len = end - a->guest;
    a->pending.end = qcow2_clusters(q, end);
}

static int reserve(struct qcow2 *q, struct allocation *a, const struct qcow2_extent *first)
{
    uint64_t table, cluster, count;
    int r = qcow2_l2_own(q, a->pending.first, true, &table);
    if (r < 0)
        return r;
    if (a->reused) {
        a->host = first->host;
        return hits_metadata(q, a->host, a->len)
                   ? qcow2_corrupt(q, "data in the place of metadata", a->pending.first)
                   : 0;
    }
    r = qcow2_alloc(q, a->pending.end - a->pending.first, &cluster, &count, &a->fresh);
    if (r < 0)
        return r;
    a->host = cluster << q->cluster_bits;
    if (a->pending.first + count < a->pending.end) {
        a->pending.end = a->pending.first + count;
        trim(q, a);
    }
    return 0;
}

/* What the clusters' ends read as now; the last one's is looked at when the first differs. */
static int examine_ends(struct qcow2 *q, struct allocation *a, const struct qcow2_extent *first)
{
    struct qcow2_extent last = *first;
    uint64_t last_cluster = a->pending.end - 1;
    int r = last_cluster == a->pending.first ? 0 : look(q, last_cluster, q->cluster_size, &last);
    a->zeroes_before = reads_as_zeroes(q, first, a->pending.first << q->cluster_bits);
    a->zeroes_after = reads_as_zeroes(q, &last, last_cluster << q->cluster_bits);
    return r;
}

/* alloc_lock held; it may be released in between. */
static int begin_allocation(struct qcow2 *q, struct allocation *a)
{
    struct qcow2_extent first = {.kind = QCOW2_KIND_NONE};
    a->pending.first = a->guest >> q->cluster_bits;
    (void)qcow2_wait_pending(q, a->pending.first, a->pending.first + 1);
    int r = measure(q, a, &first);
    if (r < 0)
        return r;
    if (a->pending.end == a->pending.first)
        return -EAGAIN; /* somebody else allocated it meanwhile */
    trim(q, a);
    r = reserve(q, a, &first);
    if (r < 0)
        return r;
    r = examine_ends(q, a, &first);
    if (r < 0 && !a->reused)
        qcow2_unalloc(q, a->host >> q->cluster_bits, a->pending.end - a->pending.first);
    if (r < 0)
        return r;
    a->pending.next = q->pending;
    q->pending = &a->pending;
    return 0;
}

/* What is around the data in its clusters: as it was, or zeroes. */
static int fill_around(struct qcow2 *q, const struct allocation *a, uint8_t *before, uint64_t head,
                       uint8_t *after, uint64_t tail)
{
    int r = 0;
    if (a->zeroes_before)
        memset(before, 0, head);
    else if (head > 0)
        r = qcow2_read_all(q, before, head, a->guest - head);
    /* The disk may end inside its last cluster. */
    uint64_t end = a->guest + a->len, size = q->img->geometry.size;
    uint64_t inside = tail < size - end ? tail : size - end;
    if (a->zeroes_after)
        inside = 0;
    if (r == 0 && inside > 0)
        r = qcow2_read_all(q, after, inside, end);
    memset(after + inside, 0, tail - inside);
    return r;
}

/* Writes the clusters; alloc_lock not held. */
static int write_clusters(struct qcow2 *q, const struct allocation *a, const struct iovec *iov,
                          unsigned count)
{
    uint64_t mask = q->cluster_size - 1;
    uint64_t head = a->guest & mask, tail = -(a->guest + a->len) & mask, len;
    struct iovec part[QCOW2_IOV_MAX + 2];
    unsigned n = qcow2_iov_slice(iov, count, a->len, part + 1, QCOW2_IOV_MAX, &len);
    if (a->fresh && a->zeroes_before)
        head = 0;
    if (a->fresh && a->zeroes_after)
        tail = 0;
    uint64_t start = a->host + (a->guest & mask) - head;
    if (head + tail == 0)
        return qcow2_file_writev(q->img, part + 1, n, start);
    struct qcow2_buffer *buffer = qcow2_buffer_take(&q->copy, 0);
    uint8_t *after = buffer->cluster + q->cluster_size - tail;
    part[0] = (struct iovec){.iov_base = buffer->cluster, .iov_len = head};
    part[n + 1] = (struct iovec){.iov_base = after, .iov_len = tail};
    int r = fill_around(q, a, buffer->cluster, head, after, tail);
    if (r == 0)
        r = qcow2_file_writev(q->img, part, n + 2, start);
    qcow2_buffer_give(&q->copy, buffer);
    return r;
}

static uint64_t link_entry(struct qcow2 *q, uint64_t cluster, const struct qcow2_extent *old,
                           uint64_t entry, void *ctx)
{
    const struct allocation *a = ctx;
    (void)old;
    (void)entry;
    return (a->host + ((cluster - a->pending.first) << q->cluster_bits)) | QCOW2_COPIED;
}

/* alloc_lock held. */
static int end_allocation(struct qcow2 *q, struct allocation *a, int r)
{
    uint64_t clusters = a->pending.end - a->pending.first, linked = 0;
    if (r == 0 && atomic_load(&q->corrupt))
        r = -EIO;
    if (r == 0)
        r = qcow2_change_entries(q, a->pending.first, a->pending.end, link_entry, a, &linked);
    if (!a->reused && linked < clusters)
        qcow2_unalloc(q, (a->host >> q->cluster_bits) + linked, clusters - linked);
    struct qcow2_pending **p = &q->pending;
    while (*p != &a->pending)
        p = &(*p)->next;
    *p = a->pending.next;
    pthread_cond_broadcast(&q->pending_ended);
    return r;
}

static ssize_t write_allocating(struct qcow2 *q, const struct iovec *iov, unsigned count,
                                uint64_t offset, uint64_t len)
{
    struct allocation a = {.guest = offset, .len = len < ALLOCATION_MAX ? len : ALLOCATION_MAX};
    pthread_mutex_lock(&q->alloc_lock);
    int r = begin_allocation(q, &a);
    if (r < 0) {
        pthread_mutex_unlock(&q->alloc_lock);
        return r;
    }
    pthread_mutex_unlock(&q->alloc_lock);
    r = write_clusters(q, &a, iov, count);
    pthread_mutex_lock(&q->alloc_lock);
    r = end_allocation(q, &a, r);
    pthread_mutex_unlock(&q->alloc_lock);
    return r < 0 ? r : (ssize_t)a.len;
}

ssize_t qcow2_write(struct image *img, const struct iovec *iov, unsigned count, uint64_t offset,
                    bool nowait)
{
    struct qcow2 *q = img->qcow2;
    struct iovec part[QCOW2_IOV_MAX];
    uint64_t len;
    if (offset >= img->geometry.size)
        return -EINVAL;
    if (atomic_load_explicit(&q->corrupt, memory_order_relaxed))
        return -EIO;
    if (!atomic_load_explicit(&q->write_begun, memory_order_acquire)) {
        int r = nowait ? -EAGAIN : qcow2_begin_writing(q);
        if (r < 0)
            return r;
    }
    count = qcow2_iov_slice(iov, count, img->geometry.size - offset, part, QCOW2_IOV_MAX, &len);
    for (;;) {
        struct qcow2_extent e;
        unsigned phase = 0;
        int r = find_in_place(q, offset, len, nowait, &e, &phase);
        if (r == 0) {
            count = qcow2_iov_slice(part, count, e.len, part, QCOW2_IOV_MAX, &len);
            ssize_t n = write_in_place(q, part, count, e.host, nowait);
            qcow2_io_end(q, phase);
            return n;
        }
        if (r != -EAGAIN || nowait)
            return r;
        ssize_t n = write_allocating(q, part, count, offset, len);
        if (n != -EAGAIN)
            return n;
    }
}

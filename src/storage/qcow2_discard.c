// SPDX-License-Identifier: Apache-2.0
/*
 * Discard and write-zeroes: whole clusters change their mapping only, parts of one are written.
 * Any thread but the I/O loop.
 */
#include "qcow2.h"

/* Never written, so the pages behind it are the kernel's zero page. */
static uint8_t zeroes[65536] __attribute__((aligned(4096)));

enum clear { CLEAR_DISCARD, CLEAR_KEEP, CLEAR_UNMAP };

/* What an entry becomes that reads as zeroes and has no cluster. */
static uint64_t plain_zero(const struct qcow2 *q)
{
    return q->img->backing != NULL ? QCOW2_ZERO : 0;
}

static uint64_t clear_entry(struct qcow2 *q, uint64_t cluster, const struct qcow2_extent *old,
                            uint64_t entry, void *ctx)
{
    enum clear how = *(enum clear *)ctx;
    bool v3 = q->header.version >= 3;
    (void)cluster;
    switch (old->kind) {
    case QCOW2_KIND_NONE:
        return how == CLEAR_DISCARD ? entry : plain_zero(q);
    case QCOW2_KIND_ZERO:
        return entry;
    case QCOW2_KIND_RESERVED:
        return how == CLEAR_KEEP && old->copied ? entry : plain_zero(q);
    case QCOW2_KIND_DATA:
        return how == CLEAR_KEEP && old->copied && v3 ? entry | QCOW2_ZERO : plain_zero(q);
    case QCOW2_KIND_PACKED:
        return plain_zero(q);
    }
    return entry;
}

/*
 * Clears guest clusters from `first` on, up to `end` or the end of the L2 table; *ret_next is where
 * to go on.
 */
static int clear_table(struct qcow2 *q, uint64_t first, uint64_t end, enum clear how,
                       uint64_t *ret_next)
{
    uint64_t table_end = ((first >> q->l2_bits) + 1) << q->l2_bits, table, done;
    if (end > table_end)
        end = table_end;
    pthread_mutex_lock(&q->alloc_lock);
    (void)qcow2_wait_pending(q, first, end);
    bool create = how != CLEAR_DISCARD && q->img->backing != NULL;
    int r = atomic_load(&q->corrupt) ? -EIO : qcow2_l2_own(q, first, create, &table);
    if (r == 0 && table != 0)
        r = qcow2_change_entries(q, first, end, clear_entry, &how, &done);
    pthread_mutex_unlock(&q->alloc_lock);
    *ret_next = end;
    return r;
}

/* Whole clusters; the disk's last one may be a part. */
static int clear_clusters(struct qcow2 *q, uint64_t first, uint64_t end, enum clear how)
{
    int r = 0;
    while (r == 0 && first < end)
        r = clear_table(q, first, end, how, &first);
    return r;
}

/* Whether the bytes read as zeroes already, so that no cluster is taken for them. */
static bool is_zero(struct qcow2 *q, uint64_t offset, uint64_t len)
{
    struct qcow2_extent e;
    const char *bad;
    pthread_mutex_lock(&q->map_lock);
    int r = qcow2_lookup(q, offset, len, false, &e, &bad);
    pthread_mutex_unlock(&q->map_lock);
    if (r < 0 || e.len < len)
        return false;
    return e.kind == QCOW2_KIND_ZERO || e.kind == QCOW2_KIND_RESERVED ||
           (e.kind == QCOW2_KIND_NONE && q->img->backing == NULL);
}

static int write_zero_data(struct qcow2 *q, uint64_t offset, uint64_t len)
{
    while (len > 0) {
        uint64_t piece = q->cluster_size - (offset & (q->cluster_size - 1));
        if (piece > len)
            piece = len;
        if (piece > sizeof(zeroes))
            piece = sizeof(zeroes);
        struct iovec iov = {.iov_base = zeroes, .iov_len = piece};
        ssize_t n = is_zero(q, offset, piece) ? (ssize_t)piece
                                              : qcow2_write(q->img, &iov, 1, offset, false);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        offset += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return 0;
}

/* The whole clusters in a range: [first, end), empty when there is none. */
static void whole_clusters(const struct qcow2 *q, uint64_t offset, uint64_t len,
                           uint64_t *ret_first, uint64_t *ret_end)
{
    uint64_t end = offset + len;
    *ret_first = qcow2_clusters(q, offset);
    *ret_end = end == q->img->geometry.size ? qcow2_clusters(q, end) : end >> q->cluster_bits;
    if (*ret_end < *ret_first)
        *ret_end = *ret_first;
}

static int check_range(struct image *img, uint64_t offset, uint64_t len)
{
    struct qcow2 *q = img->qcow2;
    if (offset > img->geometry.size || len > img->geometry.size - offset)
        return -EINVAL;
    return atomic_load(&q->corrupt) ? -EIO : qcow2_begin_writing(q);
}

/* Without the zero flag of version 3 the backing image would show again. */
static bool can_clear(const struct qcow2 *q)
{
    return q->header.version >= 3 || q->img->backing == NULL;
}

int qcow2_discard(struct image *img, uint64_t offset, uint64_t len)
{
    struct qcow2 *q = img->qcow2;
    uint64_t first, end;
    int r = check_range(img, offset, len);
    if (r < 0 || !can_clear(q))
        return r;
    whole_clusters(q, offset, len, &first, &end);
    return clear_clusters(q, first, end, CLEAR_DISCARD);
}

int qcow2_write_zeroes(struct image *img, uint64_t offset, uint64_t len, bool unmap)
{
    struct qcow2 *q = img->qcow2;
    uint64_t first, end;
    int r = check_range(img, offset, len);
    if (r < 0)
        return r;
    if (((offset | len) & (img->geometry.offset_align - 1)) != 0)
        return -EOPNOTSUPP; /* direct I/O: the caller has a buffer for parts of blocks */
    whole_clusters(q, offset, len, &first, &end);
    if (first == end || !can_clear(q))
        return write_zero_data(q, offset, len);
    uint64_t start = first << q->cluster_bits, stop = end << q->cluster_bits;
    r = write_zero_data(q, offset, start - offset);
    if (r == 0)
        r = clear_clusters(q, first, end, unmap && img->discard ? CLEAR_UNMAP : CLEAR_KEEP);
    if (r == 0 && stop < offset + len)
        r = write_zero_data(q, stop, offset + len - stop);
    return r;
}

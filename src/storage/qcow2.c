// SPDX-License-Identifier: Apache-2.0
/*
 * qcow2 images: opening, the header while the image is open, flush, and the ops table. The rest is
 * in qcow2_*.c; qcow2.h says how they work together. Opening runs on one thread; the other
 * functions on any.
 *
 * Memory, allocated when an image is opened, resident once it is used: the L1 table (8 bytes for
 * 512 MiB of disk with clusters of 64 KiB), up to 4 MiB of L2 tables (32 GiB of disk), and of an
 * image that is written up to 512 KiB of refcounts, the refcount table, and a set of 8 bytes for
 * every L2 table and refcount block, with room; and buffers, four of a cluster to copy with and
 * four of three clusters to unpack with, fewer of clusters of more than 256 KiB.
 * src/operator/overhead.c counts on it: what is larger here is larger there.
 */
#include "qcow2.h"
#include "qcow2_open.h"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define SLICE_SIZE         4096
#define L2_CACHE_MAX       (UINT64_C(4) << 20)
#define REFCOUNT_CACHE_MAX (UINT64_C(512) << 10)

/* ---- the header while the image is open ---- */

static int write_header(struct qcow2 *q)
{
    return qcow2_file_write(q->img, q->header_block, q->header_block_size, 0);
}

int qcow2_corrupt(struct qcow2 *q, const char *what, uint64_t where)
{
    uint32_t suppressed;
    if (log_ratelimit_allow(&q->log, &suppressed))
        log_error("qcow2", "the image is corrupt: %s (0x%llx)%s", what, (unsigned long long)where,
                  q->img->readonly ? "" : "; nothing is written to it any more");
    if (q->img->readonly || atomic_exchange(&q->corrupt, true) || q->header.version < 3)
        return -EIO;
    pthread_mutex_lock(&q->header_lock);
    uint64_t features = get_be64(q->header_block + QCOW2_OFFSET_INCOMPATIBLE);
    put_be64(q->header_block + QCOW2_OFFSET_INCOMPATIBLE, features | QCOW2_INCOMPATIBLE_CORRUPT);
    (void)write_header(q);
    pthread_mutex_unlock(&q->header_lock);
    return -EIO;
}

/* Bitmaps and whatever else belongs to the content will be out of date: nobody may trust them. */
int qcow2_begin_writing(struct qcow2 *q)
{
    if (atomic_load_explicit(&q->write_begun, memory_order_acquire))
        return 0;
    int r = 0;
    pthread_mutex_lock(&q->header_lock);
    if (q->header.version >= 3 && get_be64(q->header_block + QCOW2_OFFSET_AUTOCLEAR) != 0) {
        put_be64(q->header_block + QCOW2_OFFSET_AUTOCLEAR, 0);
        r = write_header(q);
        if (r == 0)
            r = image_sync(q->img);
        if (r < 0)
            put_be64(q->header_block + QCOW2_OFFSET_AUTOCLEAR, q->header.autoclear);
    }
    if (r == 0)
        atomic_store_explicit(&q->write_begun, true, memory_order_release);
    pthread_mutex_unlock(&q->header_lock);
    return r;
}

int qcow2_header_move_refcounts(struct qcow2 *q, uint64_t offset, uint32_t clusters)
{
    pthread_mutex_lock(&q->header_lock);
    put_be64(q->header_block + QCOW2_OFFSET_REFCOUNT_TABLE, offset);
    put_be32(q->header_block + QCOW2_OFFSET_REFCOUNT_TABLE + 8, clusters);
    int r = write_header(q);
    if (r == 0)
        r = image_sync(q->img);
    /* Which of the two tables the file has now nobody knows: neither may be changed. */
    if (r < 0)
        atomic_store(&q->img->flush_error, r);
    pthread_mutex_unlock(&q->header_lock);
    return r;
}

/* ---- operations ---- */

static int flush(struct image *img)
{
    struct qcow2 *q = img->qcow2;
    if (img->readonly)
        return 0;
    pthread_mutex_lock(&q->alloc_lock);
    int r = qcow2_commit(q);
    pthread_mutex_unlock(&q->alloc_lock);
    return r == 0 ? image_sync(img) : r;
}

static void done(struct image *img)
{
    struct qcow2 *q = img->qcow2;
    qcow2_buffers_done(&q->copy);
    qcow2_buffers_done(&q->unpack);
    qcow2_cache_done(&q->l2_cache);
    qcow2_cache_done(&q->refcount_cache);
    free(q->l1.entry);
    free(q->refcount_table.entry);
    free(q->metadata);
    free(q->header_block);
    free(q);
    img->qcow2 = NULL;
}

static const struct image_ops qcow2_ops = {
    .read = qcow2_read,
    .write = qcow2_write,
    .flush = flush,
    .discard = qcow2_discard,
    .write_zeroes = qcow2_write_zeroes,
    .done = done,
};

/* ---- opening ---- */

static void init_locks(struct qcow2 *q)
{
    pthread_mutex_init(&q->alloc_lock, NULL);
    pthread_mutex_init(&q->map_lock, NULL);
    pthread_mutex_init(&q->refcount_lock, NULL);
    pthread_mutex_init(&q->header_lock, NULL);
    pthread_cond_init(&q->io_ended, NULL);
    pthread_cond_init(&q->pending_ended, NULL);
}

static int file_size(struct image *img, uint64_t *ret, struct error *err)
{
    off_t size = lseek(img->fd, 0, SEEK_END);
    if (size < 0)
        return error_sys(err, errno, "cannot ask for its size");
    *ret = (uint64_t)size;
    return 0;
}

/*
 * How large the file can become: what it has, all of the guest's disk once more, and the refcounts
 * of all that; but no more than the largest refcount table describes. Tables of that size are what
 * memory is needed for.
 */
static void set_limits(struct qcow2 *q, uint64_t bytes)
{
    uint64_t per_block = UINT64_C(1) << q->refcount_bits;
    uint64_t used = qcow2_clusters(q, bytes);
    uint64_t most = used + qcow2_clusters(q, q->header.virtual_size) + q->header.l1_entries;
    most += 2 * (most / per_block) + 4096;
    uint64_t described = (uint64_t)(QCOW2_REFCOUNT_TABLE_BYTES_MAX / 8) * per_block;
    if (most > described)
        most = described;
    if (most > (uint64_t)INT64_MAX >> q->cluster_bits)
        most = (uint64_t)INT64_MAX >> q->cluster_bits;
    q->high_water = used;
    if (q->img->geometry.block_device) {
        most = bytes >> q->cluster_bits;
        q->high_water = UINT64_MAX;
    }
    q->max_clusters = most;
}

static uint32_t slice_size(const struct qcow2 *q)
{
    uint32_t align = q->img->geometry.offset_align;
    uint32_t size = align > SLICE_SIZE ? align : SLICE_SIZE;
    return size < q->cluster_size ? size : q->cluster_size;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int open_header(struct qcow2 *q, bool has_backing, struct error *err)
{
    struct image *img = q->img;
    uint64_t bytes = 0;
    int r = file_size(img, &bytes, err);
    if (r == 0)
        r = qcow2_header_check_use(&q->header, img->readonly, has_backing, err);
    if (r < 0)
        return r;
    q->cluster_bits = q->header.cluster_bits;
    q->cluster_size = UINT32_C(1) << q->cluster_bits;
    q->l2_bits = q->cluster_bits - 3;
    q->refcount_bits = q->cluster_bits + 3 - q->header.refcount_order;
    set_limits(q, bytes);
    uint32_t align = img->geometry.offset_align;
    q->header_block_size = align > QCOW2_SECTOR ? align : QCOW2_SECTOR;
    q->header_block = qcow2_file_buffer(img, q->header_block_size);
    r = q->header_block == NULL ? -ENOMEM
                                : qcow2_file_read(img, q->header_block, q->header_block_size, 0);
    return r < 0 ? error_sys(err, -r, "cannot read its header") : 0;
}

/* What reading needs. */
static int open_mapping(struct qcow2 *q)
{
    uint64_t l2_bytes = (uint64_t)q->header.l1_entries << q->cluster_bits;
    int r = qcow2_table_read(q, &q->l1, q->header.l1_offset, q->header.l1_entries, 0);
    if (r == 0)
        r = qcow2_cache_init(&q->l2_cache, q->img, &q->map_lock, slice_size(q),
                             least(l2_bytes, L2_CACHE_MAX));
    if (r == 0)
        r = qcow2_buffers_init(q, &q->unpack, true);
    return r;
}

/* What writing needs beside. */
static int open_refcounts(struct qcow2 *q, struct error *err)
{
    uint32_t count =
        (uint32_t)(((uint64_t)q->header.refcount_table_clusters << q->cluster_bits) / 8);
    uint64_t blocks = (q->max_clusters >> q->refcount_bits) + 1;
    /* A table grows by half and by whole clusters. */
    uint64_t room = blocks + blocks / 2 + (uint64_t)q->cluster_size / 4;
    room = least(room, QCOW2_REFCOUNT_TABLE_BYTES_MAX / 8);
    int r = qcow2_table_read(q, &q->refcount_table, q->header.refcount_table_offset, count,
                             (uint32_t)room);
    if (r == 0)
        r = qcow2_cache_init(&q->refcount_cache, q->img, &q->refcount_lock, slice_size(q),
                             least(blocks << q->cluster_bits, REFCOUNT_CACHE_MAX));
    q->refcount_cache.unordered = true;
    if (r == 0)
        r = qcow2_buffers_init(q, &q->copy, false);
    if (r < 0)
        return error_sys(err, -r, "cannot read its refcount table");
    return qcow2_metadata_collect(q, err);
}

int qcow2_open(struct image *img, const struct qcow2_header *header, bool has_backing,
               struct error *err)
{
    struct qcow2 *q = calloc(1, sizeof(*q));
    if (q == NULL)
        return error_sys(err, ENOMEM, "cannot open the image");
    q->img = img;
    q->header = *header;
    img->qcow2 = q;
    img->ops = &qcow2_ops;
    init_locks(q);
    int r = open_header(q, has_backing, err);
    if (r == 0) {
        r = open_mapping(q);
        if (r < 0)
            error_sys(err, -r, "cannot read its L1 table");
    }
    if (r == 0 && !img->readonly)
        r = open_refcounts(q, err);
    if (r < 0)
        done(img);
    return r;
}

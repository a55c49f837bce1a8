// SPDX-License-Identifier: Apache-2.0
/*
 * The order in which metadata reaches the file: see qcow2.h, "Crash consistency". Under alloc_lock,
 * on whichever thread runs into it.
 */
#include "qcow2.h"

/* Room that one changed entry may need: a compressed cluster can lie in three clusters. */
#define FREED_MARGIN 4

/* ---- clusters out of use ---- */

static void free_cluster(struct qcow2 *q, uint64_t cluster)
{
    struct qcow2_freed *last = q->freed_count > 0 ? &q->freed[q->freed_count - 1] : NULL;
    if (last != NULL && last->first + last->count == cluster && last->count < UINT32_MAX)
        last->count++;
    else
        q->freed[q->freed_count++] = (struct qcow2_freed){.first = cluster, .count = 1};
}

void qcow2_free_cluster(struct qcow2 *q, uint64_t cluster)
{
    free_cluster(q, cluster);
}

void qcow2_free_entry(struct qcow2 *q, const struct qcow2_extent *old)
{
    if (old->kind == QCOW2_KIND_DATA || old->kind == QCOW2_KIND_RESERVED) {
        free_cluster(q, old->host >> q->cluster_bits);
    } else if (old->kind == QCOW2_KIND_PACKED) {
        uint64_t offset, len;
        qcow2_packed_place(q, old->entry, &offset, &len);
        for (uint64_t c = offset >> q->cluster_bits; c <= (offset + len - 1) >> q->cluster_bits;
             c++)
            free_cluster(q, c);
    }
}

int qcow2_freed_room(struct qcow2 *q)
{
    return q->freed_count + FREED_MARGIN > QCOW2_FREED_MAX ? qcow2_commit(q) : 0;
}

/* A row of clusters that nobody refers to any more, so that holes are punched in few calls. */
struct hole {
    uint64_t first, count;
};

static void punch(struct qcow2 *q, struct hole *hole)
{
    if (hole->count > 0 && q->img->discard)
        qcow2_file_punch(q->img, hole->first << q->cluster_bits, hole->count << q->cluster_bits);
    hole->count = 0;
}

static int release(struct qcow2 *q, uint64_t cluster, struct hole *hole)
{
    uint64_t left;
    int r = qcow2_refcount_add(q, cluster, -1, &left);
    if (r < 0 || left > 0)
        return r;
    if (qcow2_is_metadata(q, cluster << q->cluster_bits))
        return qcow2_corrupt(q, "metadata that was also data", cluster);
    if (cluster != hole->first + hole->count || hole->count == 0) {
        punch(q, hole);
        hole->first = cluster;
    }
    hole->count++;
    if (cluster < q->free_hint)
        q->free_hint = cluster;
    return 0;
}

/* The mapping on disk is free of them: now nobody may still be moving data there. */
static int release_freed(struct qcow2 *q)
{
    struct hole hole = {.count = 0};
    qcow2_io_grace(q);
    int r = 0;
    for (unsigned i = 0; r == 0 && i < q->freed_count; i++) {
        for (uint32_t k = 0; r == 0 && k < q->freed[i].count; k++)
            r = release(q, q->freed[i].first + k, &hole);
    }
    punch(q, &hole);
    /* After an error the rest is leaked: the file is damaged, or cannot be read. */
    q->freed_count = 0;
    return r;
}

/* ---- the order ---- */

static int write_refcounts(struct qcow2 *q)
{
    pthread_mutex_lock(&q->refcount_lock);
    int r = qcow2_cache_write(&q->refcount_cache);
    pthread_mutex_unlock(&q->refcount_lock);
    if (r < 0 || q->refcount_table.dirty_end == 0)
        return r;
    r = image_sync(q->img);
    return r == 0 ? qcow2_table_write(q, &q->refcount_table) : r;
}

static int write_mapping(struct qcow2 *q)
{
    /* L2 tables name clusters: their refcounts, and their data, are there first. */
    int r = image_sync(q->img);
    pthread_mutex_lock(&q->map_lock);
    if (r == 0)
        r = qcow2_cache_write(&q->l2_cache);
    pthread_mutex_unlock(&q->map_lock);
    if (r < 0 || q->l1.dirty_end == 0)
        return r;
    r = image_sync(q->img);
    return r == 0 ? qcow2_table_write(q, &q->l1) : r;
}

int qcow2_commit(struct qcow2 *q)
{
    if (atomic_load(&q->corrupt))
        return -EIO;
    /* Who dirties holds alloc_lock, as we do. */
    bool mapping = q->l2_cache.dirty > 0 || q->l1.dirty_end > 0;
    int r = write_refcounts(q);
    if (r == 0 && mapping)
        r = write_mapping(q);
    if (r < 0 || q->freed_count == 0)
        return r;
    r = image_sync(q->img);
    if (r == 0)
        r = release_freed(q);
    return r == 0 ? write_refcounts(q) : r;
}

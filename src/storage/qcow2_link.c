// SPDX-License-Identifier: Apache-2.0
/* Changing what the image maps: L2 tables and their entries. Under alloc_lock. */
#include "qcow2.h"

/* A table that a snapshot has too is copied as it is: data clusters stay shared, as they say. */
static int copy_table(struct qcow2 *q, uint64_t from, uint64_t to)
{
    struct qcow2_buffer *buffer = qcow2_buffer_take(&q->copy, 0);
    int r = qcow2_file_read(q->img, buffer->cluster, q->cluster_size, from);
    if (r == 0)
        r = qcow2_file_write(q->img, buffer->cluster, q->cluster_size, to);
    qcow2_buffer_give(&q->copy, buffer);
    return r;
}

static int make_table(struct qcow2 *q, uint64_t old, uint64_t *ret_table)
{
    uint64_t cluster, count;
    bool fresh;
    int r = qcow2_alloc(q, 1, &cluster, &count, &fresh);
    if (r < 0)
        return r;
    uint64_t table = cluster << q->cluster_bits;
    /* The place may have been a table before. */
    pthread_mutex_lock(&q->map_lock);
    qcow2_cache_forget(&q->l2_cache, table, q->cluster_size);
    pthread_mutex_unlock(&q->map_lock);
    if (old != 0)
        r = copy_table(q, old, table);
    else if (!fresh)
        r = qcow2_file_zero(q->img, table, q->cluster_size);
    if (r < 0) {
        qcow2_unalloc(q, cluster, 1);
        return r;
    }
    *ret_table = table;
    return 0;
}

int qcow2_l2_own(struct qcow2 *q, uint64_t cluster, bool create, uint64_t *ret_table)
{
    uint64_t old;
    bool copied;
    const char *bad = qcow2_l2_place(q, cluster, &old, &copied);
    if (bad != NULL)
        return qcow2_corrupt(q, bad, cluster);
    if ((old != 0 && copied) || (old == 0 && !create)) {
        *ret_table = old;
        return 0;
    }
    int r = qcow2_freed_room(q);
    if (r == 0)
        r = make_table(q, old, ret_table);
    if (r < 0)
        return r;
    pthread_mutex_lock(&q->map_lock);
    qcow2_metadata_remove(q, old);
    (void)qcow2_metadata_add(q, *ret_table);
    qcow2_table_set(&q->l1, (uint32_t)(cluster >> q->l2_bits), *ret_table | QCOW2_COPIED);
    pthread_mutex_unlock(&q->map_lock);
    if (old != 0)
        qcow2_free_cluster(q, old >> q->cluster_bits);
    return 0;
}

static int change_entry(struct qcow2 *q, uint64_t cluster, qcow2_change change, void *ctx)
{
    uint64_t table = 0;
    bool copied;
    unsigned index;
    uint8_t *slice;
    (void)qcow2_l2_place(q, cluster, &table, &copied);
    uint64_t place = qcow2_l2_slice(q, table, cluster, &index);
    pthread_mutex_lock(&q->map_lock);
    int r = qcow2_cache_get(&q->l2_cache, place, &slice);
    if (r < 0) {
        pthread_mutex_unlock(&q->map_lock);
        return r;
    }
    struct qcow2_extent old;
    uint64_t entry = get_be64(slice + (size_t)index * 8), new_entry = entry;
    const char *bad = qcow2_decode(q, entry, &old);
    if (bad == NULL)
        new_entry = change(q, cluster, &old, entry, ctx);
    if (new_entry != entry) {
        put_be64(slice + (size_t)index * 8, new_entry);
        qcow2_cache_dirty(&q->l2_cache, place);
    }
    pthread_mutex_unlock(&q->map_lock);
    if (bad != NULL)
        return qcow2_corrupt(q, bad, cluster);
    if (((new_entry ^ entry) & QCOW2_OFFSET_MASK) != 0 || (entry & QCOW2_COMPRESSED) != 0) {
        if (new_entry != entry)
            qcow2_free_entry(q, &old);
    }
    return 0;
}

static int make_room(struct qcow2 *q, uint64_t cluster)
{
    uint64_t table = 0;
    bool copied;
    unsigned index;
    (void)qcow2_l2_place(q, cluster, &table, &copied);
    uint64_t place = qcow2_l2_slice(q, table, cluster, &index);
    pthread_mutex_lock(&q->map_lock);
    bool full = qcow2_cache_full(&q->l2_cache, place);
    pthread_mutex_unlock(&q->map_lock);
    return full ? qcow2_commit(q) : qcow2_freed_room(q);
}

int qcow2_change_entries(struct qcow2 *q, uint64_t first, uint64_t end, qcow2_change change,
                         void *ctx, uint64_t *ret_done)
{
    int r = 0;
    *ret_done = 0;
    for (uint64_t cluster = first; r == 0 && cluster < end; cluster++) {
        r = make_room(q, cluster);
        if (r == 0)
            r = change_entry(q, cluster, change, ctx);
        *ret_done += r == 0;
    }
    return r;
}

bool qcow2_wait_pending(struct qcow2 *q, uint64_t first, uint64_t end)
{
    bool waited = false;
    for (struct qcow2_pending *p = q->pending; p != NULL;) {
        if (p->first >= end || p->end <= first) {
            p = p->next;
            continue;
        }
        pthread_cond_wait(&q->pending_ended, &q->alloc_lock);
        waited = true;
        p = q->pending;
    }
    return waited;
}

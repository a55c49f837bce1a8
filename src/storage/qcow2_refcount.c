// SPDX-License-Identifier: Apache-2.0
/*
 * Refcounts and allocation. Under alloc_lock; the cache's own lock, refcount_lock, is never waited
 * for. Clusters are taken from the lowest place that is free, in rows as long as there are.
 *
 * A range of the file that has no refcount block yet gets one when its first cluster is wanted; the
 * block is put there, and so describes itself.
 */
#include "qcow2.h"

/* ---- single refcounts: width 1 to 64 bits, in a slice ---- */

static uint64_t get_count(const struct qcow2 *q, const uint8_t *slice, unsigned i)
{
    unsigned order = q->header.refcount_order;
    if (order < 3) {
        unsigned per_byte = 8u >> order, bits = 1u << order;
        return (unsigned)slice[i / per_byte] >> (i % per_byte * bits) & ((1u << bits) - 1);
    }
    const uint8_t *p = slice + ((size_t)i << (order - 3));
    uint64_t value = 0;
    for (unsigned k = 0; k < 1u << (order - 3); k++)
        value = value << 8 | p[k];
    return value;
}

static void set_count(const struct qcow2 *q, uint8_t *slice, unsigned i, uint64_t value)
{
    unsigned order = q->header.refcount_order;
    if (order < 3) {
        unsigned per_byte = 8u >> order, bits = 1u << order, shift = i % per_byte * bits;
        unsigned others = slice[i / per_byte] & ~(((1u << bits) - 1) << shift);
        slice[i / per_byte] = (uint8_t)(others | (unsigned)value << shift);
        return;
    }
    uint8_t *p = slice + ((size_t)i << (order - 3));
    for (unsigned k = 1u << (order - 3); k-- > 0; value >>= 8)
        p[k] = (uint8_t)value;
}

static uint64_t largest_count(const struct qcow2 *q)
{
    return q->header.refcount_order == 6 ? UINT64_MAX
                                         : (UINT64_C(1) << (1u << q->header.refcount_order)) - 1;
}

/* Refcounts in a slice. */
static unsigned counts_per_slice(const struct qcow2 *q)
{
    return q->refcount_cache.slice_size * 8 >> q->header.refcount_order;
}

/*
 * The slice with a cluster's refcount, and where it is in it; NULL: there is no refcount block. The
 * table was checked when the image was opened. Afterwards refcount_lock is held unless it fails.
 */
static int get_slice(struct qcow2 *q, uint64_t cluster, uint8_t **ret_slice, uint64_t *ret_place,
                     unsigned *ret_index)
{
    uint64_t block = cluster >> q->refcount_bits;
    *ret_slice = NULL;
    pthread_mutex_lock(&q->refcount_lock);
    uint64_t table =
        block < q->refcount_table.count ? qcow2_table_get(&q->refcount_table, block) : 0;
    if (table == 0)
        return 0;
    uint64_t in_block = cluster & ((UINT64_C(1) << q->refcount_bits) - 1);
    unsigned per_slice = counts_per_slice(q);
    *ret_place = table + in_block / per_slice * q->refcount_cache.slice_size;
    *ret_index = (unsigned)(in_block % per_slice);
    int r = qcow2_cache_get(&q->refcount_cache, *ret_place, ret_slice);
    if (r < 0)
        pthread_mutex_unlock(&q->refcount_lock);
    return r;
}

int qcow2_refcount_add(struct qcow2 *q, uint64_t cluster, int delta, uint64_t *ret_new)
{
    uint8_t *slice;
    uint64_t place = 0;
    unsigned index = 0;
    int r = get_slice(q, cluster, &slice, &place, &index);
    if (r < 0)
        return r;
    uint64_t count = slice != NULL ? get_count(q, slice, index) : 0;
    bool wrong = slice == NULL || (delta < 0 ? count == 0 : count == largest_count(q));
    if (!wrong) {
        *ret_new = count + (uint64_t)(int64_t)delta;
        set_count(q, slice, index, *ret_new);
        qcow2_cache_dirty(&q->refcount_cache, place);
    }
    pthread_mutex_unlock(&q->refcount_lock);
    return wrong ? qcow2_corrupt(q, "refcount that disagrees with the tables", cluster) : 0;
}

/* ---- finding free clusters ---- */

/* What is known of a cluster: it may have no refcount block. */
struct candidate {
    bool free, has_block;
};

static int examine(struct qcow2 *q, uint64_t cluster, struct candidate *ret)
{
    uint8_t *slice;
    uint64_t place = 0;
    unsigned index = 0;
    int r = get_slice(q, cluster, &slice, &place, &index);
    if (r < 0)
        return r;
    ret->has_block = slice != NULL;
    ret->free = slice == NULL || get_count(q, slice, index) == 0;
    pthread_mutex_unlock(&q->refcount_lock);
    if (ret->free && qcow2_is_metadata(q, cluster << q->cluster_bits))
        return qcow2_corrupt(q, "metadata that counts as free", cluster);
    return 0;
}

/* From free_hint on, a slice at a time. */
static int find_free(struct qcow2 *q, uint64_t *ret_cluster)
{
    uint64_t cluster = q->free_hint;
    while (cluster < q->max_clusters) {
        uint8_t *slice;
        uint64_t place = 0;
        unsigned index = 0;
        int r = get_slice(q, cluster, &slice, &place, &index);
        if (r < 0)
            return r;
        unsigned end = counts_per_slice(q);
        while (slice != NULL && index < end && get_count(q, slice, index) != 0) {
            index++;
            cluster++;
        }
        pthread_mutex_unlock(&q->refcount_lock);
        if (slice == NULL || index < end)
            break;
    }
    q->free_hint = cluster;
    *ret_cluster = cluster;
    return cluster < q->max_clusters ? 0 : -ENOSPC;
}

static bool is_fresh(const struct qcow2 *q, uint64_t cluster)
{
    return cluster >= q->high_water;
}

static void mark_used(struct qcow2 *q, uint64_t end)
{
    if (end > q->high_water)
        q->high_water = end;
}

/* Zeroes in a cluster that becomes metadata; nothing of it may be left in a cache. */
static int clear_cluster(struct qcow2 *q, uint64_t cluster)
{
    uint64_t offset = cluster << q->cluster_bits;
    pthread_mutex_lock(&q->refcount_lock);
    qcow2_cache_forget(&q->refcount_cache, offset, q->cluster_size);
    pthread_mutex_unlock(&q->refcount_lock);
    bool fresh = is_fresh(q, cluster);
    mark_used(q, cluster + 1);
    return fresh ? 0 : qcow2_file_zero(q->img, offset, q->cluster_size);
}

/* ---- growing ---- */

/*
 * A larger refcount table, behind everything that the old one describes, and behind it the blocks
 * that describe the two. The header names it when all of it is on stable storage.
 */
struct growth {
    uint64_t first;     /* cluster of the new table */
    uint64_t table;     /* its clusters */
    uint64_t blocks;    /* new refcount blocks, in the clusters behind */
    uint32_t count;     /* entries of the new table */
    uint32_t old_count; /* and what was before */
    uint64_t old_offset;
};

static int plan_growth(struct qcow2 *q, struct growth *g)
{
    struct qcow2_table *t = &q->refcount_table;
    uint64_t per_cluster = q->cluster_size / 8;
    *g = (struct growth){.old_count = t->count, .old_offset = t->offset, .blocks = 1};
    g->first = (uint64_t)t->count << q->refcount_bits;
    for (uint64_t before = 0; before != g->blocks;) {
        before = g->blocks;
        uint64_t count = (uint64_t)t->count + t->count / 2 + g->blocks;
        g->table = (count + per_cluster - 1) / per_cluster;
        uint64_t used = g->table + g->blocks;
        g->blocks = (used + (UINT64_C(1) << q->refcount_bits) - 1) >> q->refcount_bits;
    }
    uint64_t count = g->table * per_cluster;
    if (count > t->room || g->first + g->table + g->blocks > q->max_clusters)
        return -ENOSPC;
    g->count = (uint32_t)count;
    return 0;
}

static void set_table(struct qcow2 *q, uint64_t offset, uint32_t count)
{
    pthread_mutex_lock(&q->map_lock);
    q->refcount_table.offset = offset;
    q->refcount_table.file_count = q->refcount_table.count = count;
    pthread_mutex_unlock(&q->map_lock);
}

static void add_metadata(struct qcow2 *q, uint64_t cluster)
{
    pthread_mutex_lock(&q->map_lock);
    (void)qcow2_metadata_add(q, cluster << q->cluster_bits);
    pthread_mutex_unlock(&q->map_lock);
}

static int write_growth(struct qcow2 *q, const struct growth *g)
{
    struct qcow2_table *t = &q->refcount_table;
    uint64_t end = g->first + g->table + g->blocks, ignored;
    int r = 0;
    for (uint64_t c = g->first; r == 0 && c < end; c++) {
        if (qcow2_is_metadata(q, c << q->cluster_bits))
            r = qcow2_corrupt(q, "metadata behind what has refcounts", c);
        else
            r = clear_cluster(q, c);
    }
    memset(t->entry + t->count, 0, (size_t)(g->count - t->count) * 8);
    t->count = g->count; /* where it is remains: others ask for that, with map_lock only */
    for (uint64_t i = 0; i < g->blocks; i++)
        t->entry[g->old_count + i] = htobe64((g->first + g->table + i) << q->cluster_bits);
    for (uint64_t c = g->first; r == 0 && c < end; c++)
        r = qcow2_refcount_add(q, c, 1, &ignored);
    pthread_mutex_lock(&q->refcount_lock);
    if (r == 0)
        r = qcow2_cache_write(&q->refcount_cache);
    pthread_mutex_unlock(&q->refcount_lock);
    if (r == 0)
        r = qcow2_file_write(q->img, (uint8_t *)t->entry, g->table << q->cluster_bits,
                             g->first << q->cluster_bits);
    return r == 0 ? image_sync(q->img) : r;
}

static void undo_growth(struct qcow2 *q, const struct growth *g)
{
    set_table(q, g->old_offset, g->old_count);
    pthread_mutex_lock(&q->refcount_lock);
    qcow2_cache_forget(&q->refcount_cache, (g->first + g->table) << q->cluster_bits,
                       g->blocks << q->cluster_bits);
    pthread_mutex_unlock(&q->refcount_lock);
}

static int grow_table(struct qcow2 *q)
{
    struct growth g;
    int r = plan_growth(q, &g);
    /* Entries that only memory has must be in the file before it is copied by rewriting. */
    if (r == 0)
        r = qcow2_commit(q);
    if (r < 0)
        return r;
    r = write_growth(q, &g);
    if (r == 0)
        r = qcow2_header_move_refcounts(q, g.first << q->cluster_bits, (uint32_t)g.table);
    if (r < 0) {
        undo_growth(q, &g);
        return r;
    }
    set_table(q, g.first << q->cluster_bits, g.count);
    for (uint64_t i = 0; i < g.blocks; i++)
        add_metadata(q, g.first + g.table + i);
    qcow2_unalloc(q, g.old_offset >> q->cluster_bits, qcow2_clusters(q, (uint64_t)g.old_count * 8));
    return 0;
}

/* A refcount block in the first free cluster of the range that it describes. */
static int add_block(struct qcow2 *q, uint64_t cluster)
{
    uint64_t block = cluster >> q->refcount_bits, ignored;
    if (block >= q->refcount_table.count)
        return grow_table(q);
    int r = clear_cluster(q, cluster);
    if (r < 0)
        return r;
    qcow2_table_set(&q->refcount_table, (uint32_t)block, cluster << q->cluster_bits);
    r = qcow2_refcount_add(q, cluster, 1, &ignored);
    if (r < 0) {
        qcow2_table_set(&q->refcount_table, (uint32_t)block, 0);
        return r;
    }
    add_metadata(q, cluster);
    return 0;
}

/* ---- entry points ---- */

static int find_start(struct qcow2 *q, uint64_t *ret_first)
{
    struct candidate c = {.free = false};
    int r = 0;
    while (r == 0 && !(c.free && c.has_block)) {
        r = find_free(q, ret_first);
        if (r == 0)
            r = examine(q, *ret_first, &c);
        if (r == 0 && !c.has_block)
            r = add_block(q, *ret_first);
    }
    return r;
}

int qcow2_alloc(struct qcow2 *q, uint64_t want, uint64_t *ret_first, uint64_t *ret_count,
                bool *ret_fresh)
{
    uint64_t first = 0, count = 0, ignored;
    int r = find_start(q, &first);
    if (r < 0)
        return r;
    bool fresh = is_fresh(q, first);
    while (r == 0 && count < want && first + count < q->max_clusters) {
        struct candidate c;
        r = examine(q, first + count, &c);
        if (r < 0 || !c.free || !c.has_block || is_fresh(q, first + count) != fresh)
            break;
        r = qcow2_refcount_add(q, first + count, 1, &ignored);
        count += r == 0;
    }
    if (r < 0) {
        qcow2_unalloc(q, first, count);
        return r;
    }
    mark_used(q, first + count);
    q->free_hint = first + count;
    *ret_first = first;
    *ret_count = count;
    *ret_fresh = fresh;
    return 0;
}

void qcow2_unalloc(struct qcow2 *q, uint64_t first, uint64_t count)
{
    uint64_t left;
    for (uint64_t i = 0; i < count; i++) {
        if (qcow2_refcount_add(q, first + i, -1, &left) < 0)
            return; /* a leak */
        if (left == 0 && first + i < q->free_hint)
            q->free_hint = first + i;
    }
}

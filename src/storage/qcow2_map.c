// SPDX-License-Identifier: Apache-2.0
/*
 * From the guest's disk to the file: L1 and L2 tables, and who is using what they say. Any thread,
 * under map_lock. Every entry is checked each time it is read: the file's author may be hostile,
 * and in an image that nobody writes it can change under our feet.
 */
#include "qcow2.h"

const char *qcow2_decode(const struct qcow2 *q, uint64_t entry, struct qcow2_extent *ret)
{
    *ret = (struct qcow2_extent){.kind = QCOW2_KIND_PACKED, .entry = entry};
    if (entry & QCOW2_COMPRESSED) {
        uint64_t offset, len;
        qcow2_packed_place(q, entry, &offset, &len);
        if (entry & QCOW2_COPIED)
            return "compressed cluster with a wrong flag";
        return (offset + len - 1) >> q->cluster_bits >= q->max_clusters
                   ? "compressed cluster in an impossible place"
                   : NULL;
    }
    ret->host = entry & QCOW2_OFFSET_MASK;
    ret->copied = (entry & QCOW2_COPIED) != 0;
    if (entry & QCOW2_L2_RESERVED)
        return "L2 entry with reserved bits";
    if ((ret->host & (q->cluster_size - 1)) != 0 || ret->host >> q->cluster_bits >= q->max_clusters)
        return "cluster in an impossible place";
    if ((entry & QCOW2_ZERO) != 0) {
        ret->kind = ret->host != 0 ? QCOW2_KIND_RESERVED : QCOW2_KIND_ZERO;
        return q->header.version < 3 ? "zero cluster in version 2" : NULL;
    }
    ret->kind = ret->host != 0 ? QCOW2_KIND_DATA : QCOW2_KIND_NONE;
    return NULL;
}

const char *qcow2_l2_place(const struct qcow2 *q, uint64_t cluster, uint64_t *ret_offset,
                           bool *ret_copied)
{
    if (cluster >> q->l2_bits >= q->l1.count)
        return "L1 table that is too short";
    uint64_t entry = qcow2_table_get(&q->l1, cluster >> q->l2_bits);
    *ret_offset = entry & QCOW2_OFFSET_MASK;
    *ret_copied = (entry & QCOW2_COPIED) != 0;
    if (entry & QCOW2_L1_RESERVED)
        return "L1 entry with reserved bits";
    if ((*ret_offset & (q->cluster_size - 1)) != 0 ||
        *ret_offset >> q->cluster_bits >= q->max_clusters)
        return "L2 table in an impossible place";
    return NULL;
}

uint64_t qcow2_l2_slice(const struct qcow2 *q, uint64_t table, uint64_t cluster,
                        unsigned *ret_index)
{
    uint64_t in_table = (cluster & ((UINT64_C(1) << q->l2_bits) - 1)) * 8;
    uint64_t in_slice = in_table & (q->l2_cache.slice_size - 1);
    *ret_index = (unsigned)(in_slice / 8);
    return table + in_table - in_slice;
}

/* Whether the next cluster's extent goes on where `so_far` ends. */
static bool continues(const struct qcow2 *q, const struct qcow2_extent *so_far, uint64_t clusters,
                      const struct qcow2_extent *next)
{
    if (next->kind != so_far->kind || next->kind == QCOW2_KIND_PACKED)
        return false;
    if (next->kind == QCOW2_KIND_NONE || next->kind == QCOW2_KIND_ZERO)
        return true;
    return next->copied == so_far->copied &&
           next->host == so_far->host + (clusters << q->cluster_bits);
}

/* No L2 table: nothing is allocated as far as the L1 entry reaches. */
static void describe_hole(const struct qcow2 *q, uint64_t offset, uint64_t len,
                          struct qcow2_extent *ret)
{
    uint64_t span = UINT64_C(1) << (q->l2_bits + q->cluster_bits);
    uint64_t left = span - (offset & (span - 1));
    *ret = (struct qcow2_extent){.kind = QCOW2_KIND_NONE, .len = len < left ? len : left};
}

/* A whole run of entries of one slice. */
static const char *describe_run(const struct qcow2 *q, const uint8_t *slice, unsigned index,
                                uint64_t offset, uint64_t len, struct qcow2_extent *ret)
{
    uint64_t in_cluster = offset & (q->cluster_size - 1);
    unsigned entries = q->l2_cache.slice_size / 8;
    const char *bad = qcow2_decode(q, get_be64(slice + (size_t)index * 8), ret);
    if (bad != NULL)
        return bad;
    uint64_t clusters = 1;
    while ((clusters << q->cluster_bits) - in_cluster < len && index + clusters < entries) {
        struct qcow2_extent next;
        uint64_t entry = get_be64(slice + (index + clusters) * 8);
        if (qcow2_decode(q, entry, &next) != NULL || !continues(q, ret, clusters, &next))
            break;
        clusters++;
    }
    uint64_t run = (clusters << q->cluster_bits) - in_cluster;
    ret->len = len < run ? len : run;
    if (ret->kind == QCOW2_KIND_DATA || ret->kind == QCOW2_KIND_RESERVED)
        ret->host += in_cluster;
    return NULL;
}

/*
 * The slice with a cluster's entry; NULL: there is no L2 table. It is looked for again after the
 * lock was released, as the table may have moved meanwhile.
 */
static int find_slice(struct qcow2 *q, uint64_t cluster, bool nowait, uint8_t **ret_slice,
                      unsigned *ret_index, const char **ret_bad)
{
    for (;;) {
        uint64_t table;
        bool copied;
        *ret_slice = NULL;
        *ret_bad = qcow2_l2_place(q, cluster, &table, &copied);
        if (*ret_bad != NULL)
            return -EIO;
        if (table == 0)
            return 0;
        uint64_t place = qcow2_l2_slice(q, table, cluster, ret_index);
        *ret_slice = qcow2_cache_peek(&q->l2_cache, place);
        if (*ret_slice != NULL)
            return 0;
        int r = nowait ? -EAGAIN : qcow2_cache_get(&q->l2_cache, place, ret_slice);
        if (r < 0)
            return r;
    }
}

int qcow2_lookup(struct qcow2 *q, uint64_t offset, uint64_t len, bool nowait,
                 struct qcow2_extent *ret, const char **ret_bad)
{
    unsigned index = 0;
    uint8_t *slice;
    int r = find_slice(q, offset >> q->cluster_bits, nowait, &slice, &index, ret_bad);
    if (r < 0)
        return r;
    if (slice == NULL) {
        describe_hole(q, offset, len, ret);
        return 0;
    }
    *ret_bad = describe_run(q, slice, index, offset, len, ret);
    return *ret_bad != NULL ? -EIO : 0;
}

/* ---- who is moving data ---- */

unsigned qcow2_io_begin(struct qcow2 *q)
{
    q->io_count[q->io_phase]++;
    return q->io_phase;
}

void qcow2_io_end(struct qcow2 *q, unsigned phase)
{
    pthread_mutex_lock(&q->map_lock);
    if (--q->io_count[phase] == 0 && phase != q->io_phase)
        pthread_cond_broadcast(&q->io_ended);
    pthread_mutex_unlock(&q->map_lock);
}

/* Only one waits at a time, so the phase that begins here has nobody left from its last turn. */
void qcow2_io_grace(struct qcow2 *q)
{
    pthread_mutex_lock(&q->map_lock);
    unsigned ending = q->io_phase;
    q->io_phase = 1 - ending;
    while (q->io_count[ending] > 0)
        pthread_cond_wait(&q->io_ended, &q->map_lock);
    pthread_mutex_unlock(&q->map_lock);
}

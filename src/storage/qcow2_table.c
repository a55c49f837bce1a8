// SPDX-License-Identifier: Apache-2.0
/*
 * The tables that are in memory as a whole, L1 and refcount table, and the set of clusters that
 * hold metadata. Start-up, then any thread under alloc_lock; the L1 table also under map_lock.
 */
#include "qcow2.h"
#include <stdlib.h>

/* Rounded out to this, so that direct I/O takes it. */
static uint32_t entries_per_block(const struct qcow2 *q)
{
    return q->header_block_size / 8;
}

int qcow2_table_read(struct qcow2 *q, struct qcow2_table *table, uint64_t offset, uint32_t count,
                     uint32_t room)
{
    uint32_t block = entries_per_block(q);
    uint64_t entries = ((uint64_t)(room > count ? room : count) + block - 1) / block * block;
    table->entry = qcow2_file_buffer(q->img, entries * 8);
    if (table->entry == NULL)
        return -ENOMEM;
    table->offset = offset;
    table->file_count = table->count = count;
    table->room = (uint32_t)entries;
    uint64_t bytes = ((uint64_t)count + block - 1) / block * block * 8;
    return qcow2_file_read(q->img, (uint8_t *)table->entry, bytes, offset);
}

void qcow2_table_set(struct qcow2_table *table, uint32_t i, uint64_t value)
{
    table->entry[i] = htobe64(value);
    if (table->dirty_end == 0 || i < table->dirty_first)
        table->dirty_first = i;
    if (i >= table->dirty_end)
        table->dirty_end = i + 1;
}

int qcow2_table_write(struct qcow2 *q, struct qcow2_table *table)
{
    uint32_t block = entries_per_block(q);
    uint64_t first = (uint64_t)table->dirty_first / block * block;
    uint64_t end = ((uint64_t)table->dirty_end + block - 1) / block * block;
    int r = qcow2_file_write(q->img, (uint8_t *)(table->entry + first), (end - first) * 8,
                             table->offset + first * 8);
    if (r == 0)
        table->dirty_first = table->dirty_end = 0;
    return r;
}

/* ---- the set of metadata ---- */

static uint64_t *metadata_slot(const struct qcow2 *q, uint64_t offset)
{
    uint64_t mask = q->metadata_size - 1;
    uint64_t i = (offset >> q->cluster_bits) * UINT64_C(0x9e3779b97f4a7c15) >> 20 & mask;
    while (q->metadata[i] != 0 && q->metadata[i] != offset)
        i = (i + 1) & mask;
    return &q->metadata[i];
}

/* In a slot whose cluster was removed; no cluster is there. */
#define REMOVED 1

void qcow2_metadata_remove(struct qcow2 *q, uint64_t offset)
{
    uint64_t *slot = metadata_slot(q, offset);
    if (*slot == offset && offset != 0)
        *slot = REMOVED; /* a slot that nobody uses stays so */
}

bool qcow2_metadata_add(struct qcow2 *q, uint64_t offset)
{
    uint64_t *slot = metadata_slot(q, offset);
    bool is_new = *slot == 0;
    *slot = offset;
    return is_new;
}

static bool in_table(const struct qcow2 *q, const struct qcow2_table *table, uint64_t offset)
{
    uint64_t bytes = qcow2_clusters(q, (uint64_t)table->file_count * 8) << q->cluster_bits;
    return offset >= table->offset && offset - table->offset < bytes;
}

bool qcow2_is_metadata(const struct qcow2 *q, uint64_t offset)
{
    return offset < q->cluster_size || in_table(q, &q->l1, offset) ||
           in_table(q, &q->refcount_table, offset) || *metadata_slot(q, offset) == offset;
}

/*
 * Twice as many slots as can ever be used: each L2 table is moved once at most, when it is shared
 * with a snapshot.
 */
static int metadata_init(struct qcow2 *q)
{
    uint64_t most = 2 * (uint64_t)q->l1.room + q->refcount_table.room;
    q->metadata_size = 64;
    while (q->metadata_size < 2 * most)
        q->metadata_size *= 2;
    q->metadata = calloc(q->metadata_size, sizeof(*q->metadata));
    return q->metadata == NULL ? -ENOMEM : 0;
}

static int collect(struct qcow2 *q, const struct qcow2_table *table, uint64_t reserved,
                   const char *what, struct error *err)
{
    for (uint32_t i = 0; i < table->count; i++) {
        uint64_t entry = qcow2_table_get(table, i);
        uint64_t offset = entry & ~(reserved | QCOW2_COPIED);
        if (table == &q->refcount_table)
            offset = entry & ~reserved;
        if ((entry & reserved) == 0 && offset == 0)
            continue;
        if ((entry & reserved) == 0 && (offset & (q->cluster_size - 1)) == 0 &&
            offset >> q->cluster_bits < q->max_clusters && !qcow2_is_metadata(q, offset) &&
            qcow2_metadata_add(q, offset))
            continue;
        error_set(err, EINVAL, "is corrupt: its %s %u cannot be at 0x%llx", what, i,
                  (unsigned long long)entry);
        return error_hint(err, "run `qemu-img check -r all` on it, or use it read-only");
    }
    return 0;
}

int qcow2_metadata_collect(struct qcow2 *q, struct error *err)
{
    if (metadata_init(q) < 0)
        return error_sys(err, ENOMEM, "cannot open its tables");
    int r = collect(q, &q->l1, QCOW2_L1_RESERVED, "L2 table", err);
    if (r == 0)
        r = collect(q, &q->refcount_table, QCOW2_REFCOUNT_TABLE_RESERVED, "refcount block", err);
    return r;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * The inside of an open qcow2 image; private to qcow2*.c. Specification: docs/interop/qcow2.rst of
 * QEMU.
 *
 * Locks, in this order:
 *   alloc_lock   who changes what the image maps: allocation, linking, discard, commit. Held for
 *                metadata only: data moves without it.
 *   map_lock     the L2 cache, the L1 table, and who is moving data in clusters that are mapped.
 *                Short; nobody does I/O with it (the cache releases it).
 *   refcount_lock  the refcount cache's; whoever holds alloc_lock has it alone.
 *   header_lock  the block of the header.
 * A mapping changes under alloc_lock and map_lock both, so either is enough to read it.
 *
 * Crash consistency. Whatever is written, at any moment, the file on disk has refcounts at least as
 * large as its mapping needs: too large is a leak, which harms nobody. What dirties memory (an L2
 * entry, a refcount) reaches the file in qcow2_commit() only, in this order, with a barrier where
 * one depends on the other:
 *   refcount blocks (only grown) - refcount table - L2 tables (their data was written before) - L1
 *   table - and then only are refcounts of clusters that went out of use lowered, the holes
 *   punched, and the clusters used again; see struct qcow2_freed.
 * Evicting a refcount block early is harmless for the same reason.
 *
 * Moving data in place takes a reference (qcow2_io_begin()); freed clusters are used again after
 * all who might still be moving data in them have ended.
 */
#ifndef PODVISOR_STORAGE_QCOW2_H
#define PODVISOR_STORAGE_QCOW2_H

#include "image.h"
#include "qcow2_cache.h"
#include "qcow2_file.h"
#include "qcow2_format.h"
#include "qcow2_header.h"
#include <podvisor/log.h>

/* Parts of one transfer; a longer list is done in pieces. */
#define QCOW2_IOV_MAX 64

/*
 * Buffers of a cluster's size, of each kind: as many as fit, but one at least. Resident only once
 * they are used.
 */
#define QCOW2_BUFFERS       4
#define QCOW2_BUFFERS_BYTES (1u << 20)

/* L1 or refcount table: as in the file, big-endian, all in memory. */
struct qcow2_table {
    uint64_t *entry;
    uint64_t offset;                 /* in the file */
    uint32_t file_count;             /* entries there: changes with `offset` only */
    uint32_t count;                  /* entries in use: more than that while the table grows */
    uint32_t room;                   /* entries in memory */
    uint32_t dirty_first, dirty_end; /* what to write: [first, end); none when end is 0 */
};

/* Clusters whose refcount is to be lowered by one, once the L2 tables that say so are on disk. */
struct qcow2_freed {
    uint64_t first;
    uint32_t count;
};

#define QCOW2_FREED_MAX 1024

/* An allocation whose data is being written: guest clusters [first, end). On its owner's stack. */
struct qcow2_pending {
    uint64_t first, end;
    struct qcow2_pending *next;
};

/* A buffer, or a cluster that was unpacked: its L2 entry is the tag (0: none). */
struct qcow2_buffer {
    uint8_t *cluster;
    uint8_t *packed; /* 2 clusters and 2 alignments; unpacking only */
    void *workspace; /* the decompressor's; unpacking only */
    uint64_t tag;
    uint32_t used;
    bool busy;
};

struct qcow2_buffers {
    pthread_mutex_t lock;
    pthread_cond_t returned;
    uint32_t clock;
    unsigned count;
    struct qcow2_buffer buffer[QCOW2_BUFFERS];
};

struct qcow2 {
    struct image *img;
    struct qcow2_header header;
    uint32_t cluster_bits, cluster_size;
    uint32_t l2_bits;        /* an L2 table has 1 << l2_bits entries */
    uint32_t refcount_bits;  /* a refcount block has 1 << refcount_bits of them */
    uint64_t max_clusters;   /* the file grows no larger */
    atomic_bool corrupt;     /* nothing is written any more */
    atomic_bool write_begun; /* autoclear features are cleared */

    pthread_mutex_t alloc_lock, map_lock, refcount_lock, header_lock;
    struct qcow2_table l1, refcount_table;
    struct qcow2_cache l2_cache, refcount_cache;
    uint8_t *header_block; /* the file's first block, as large as direct I/O wants */
    uint32_t header_block_size;

    /* map_lock. */
    unsigned io_phase, io_count[2];
    pthread_cond_t io_ended;

    /* alloc_lock. */
    uint64_t free_hint;  /* no cluster below is free */
    uint64_t high_water; /* clusters from here on were never used, and are holes */
    struct qcow2_freed freed[QCOW2_FREED_MAX];
    unsigned freed_count;
    struct qcow2_pending *pending;
    pthread_cond_t pending_ended;
    /* Where L2 tables and refcount blocks are: file offsets, open addressing. And map_lock. */
    uint64_t *metadata;
    uint64_t metadata_size; /* slots, a power of two */

    struct qcow2_buffers copy, unpack;
    struct log_ratelimit log;
};

/* ---- qcow2.c: opening, header, corruption ---- */

/*
 * The file says what cannot be: logs `what` and, in an image that is written, stops all writing and
 * marks it corrupt. Call without map_lock. Returns -EIO.
 */
int qcow2_corrupt(struct qcow2 *q, const char *what, uint64_t where) __attribute__((cold));

/* Before the first change: clears autoclear features. 0 or a negative errno. */
int qcow2_begin_writing(struct qcow2 *q);

/* Where the refcount table is, on stable storage when it returns. 0 or a negative errno. */
int qcow2_header_move_refcounts(struct qcow2 *q, uint64_t offset, uint32_t clusters);

static inline uint64_t qcow2_clusters(const struct qcow2 *q, uint64_t bytes)
{
    return (bytes + q->cluster_size - 1) >> q->cluster_bits;
}

/* ---- qcow2_table.c ---- */

static inline uint64_t qcow2_table_get(const struct qcow2_table *table, uint64_t i)
{
    return be64toh(table->entry[i]);
}

/* Reads a table, with room for `room` entries. Start-up only. 0 or a negative errno. */
int qcow2_table_read(struct qcow2 *q, struct qcow2_table *table, uint64_t offset, uint32_t count,
                     uint32_t room);
void qcow2_table_set(struct qcow2_table *table, uint32_t i, uint64_t value);

/* Writes what was set. 0 or a negative errno, with which it remains to be written. */
int qcow2_table_write(struct qcow2 *q, struct qcow2_table *table);

/* Remembers a cluster with metadata. Whether it was not there before. */
bool qcow2_metadata_add(struct qcow2 *q, uint64_t offset);

/* The cluster is free for other things; 0: none is. */
void qcow2_metadata_remove(struct qcow2 *q, uint64_t offset);

/* Whether the cluster at `offset` has metadata, which no data may overwrite. */
bool qcow2_is_metadata(const struct qcow2 *q, uint64_t offset);

/*
 * Checks all tables that L1 and refcount table name, and remembers them: before an image is
 * written. Returns 0 or -EINVAL.
 */
int qcow2_metadata_collect(struct qcow2 *q, struct error *err);

/* ---- qcow2_map.c: from guest to file. map_lock held ---- */

enum qcow2_kind {
    QCOW2_KIND_NONE,     /* the backing image has it; without one it reads as zeroes */
    QCOW2_KIND_ZERO,     /* no cluster */
    QCOW2_KIND_RESERVED, /* zeroes, with a cluster that waits for data */
    QCOW2_KIND_DATA,
    QCOW2_KIND_PACKED, /* compressed */
};

struct qcow2_extent {
    enum qcow2_kind kind;
    bool copied;    /* DATA, RESERVED: nobody else refers to the clusters */
    uint64_t entry; /* PACKED: the L2 entry */
    uint64_t host;  /* DATA, RESERVED: where the first byte is in the file */
    uint64_t len;   /* bytes of the guest's disk that this says something about */
};

/*
 * What is at `offset` of the guest's disk, at most `len` bytes. Releases map_lock while it reads an
 * L2 table; `nowait`: -EAGAIN instead. -EIO for what cannot be; *ret_bad then says what.
 */
int qcow2_lookup(struct qcow2 *q, uint64_t offset, uint64_t len, bool nowait,
                 struct qcow2_extent *ret, const char **ret_bad);

/* Takes an L2 entry apart. NULL, or what is wrong with it. */
const char *qcow2_decode(const struct qcow2 *q, uint64_t entry, struct qcow2_extent *ret);

/* The L2 table of a guest cluster: its place (0: there is none) and whether it is nobody else's.
 * NULL, or what is wrong. */
const char *qcow2_l2_place(const struct qcow2 *q, uint64_t cluster, uint64_t *ret_offset,
                           bool *ret_copied);

/* The slice of the L2 table at `table` with a guest cluster's entry, and the entry's number in it.
 */
uint64_t qcow2_l2_slice(const struct qcow2 *q, uint64_t table, uint64_t cluster,
                        unsigned *ret_index);

/* From here to qcow2_io_end() the clusters just looked up are not used for anything else. */
unsigned qcow2_io_begin(struct qcow2 *q);
void qcow2_io_end(struct qcow2 *q, unsigned phase); /* takes map_lock itself */

/* Waits until all have ended who began before. map_lock not held, alloc_lock held. */
void qcow2_io_grace(struct qcow2 *q);

/* ---- qcow2_refcount.c: alloc_lock held ---- */

/*
 * Takes up to `want` clusters in a row. *ret_fresh: they were never used, and read as zeroes.
 * Returns 0 or a negative errno; -ENOSPC when the file is as large as it may be.
 */
int qcow2_alloc(struct qcow2 *q, uint64_t want, uint64_t *ret_first, uint64_t *ret_count,
                bool *ret_fresh);

/* Changes one refcount. 0 or a negative errno. */
int qcow2_refcount_add(struct qcow2 *q, uint64_t cluster, int delta, uint64_t *ret_new);

/* Gives back what nothing on disk ever referred to. */
void qcow2_unalloc(struct qcow2 *q, uint64_t first, uint64_t count);

/* ---- qcow2_commit.c: alloc_lock held ---- */

/* Writes all metadata that is dirty, and frees clusters. Returns 0 or a negative errno. */
int qcow2_commit(struct qcow2 *q);

/* Notes that the mapping refers no longer to what `entry` says. Room: qcow2_freed_room(). */
void qcow2_free_entry(struct qcow2 *q, const struct qcow2_extent *old);
void qcow2_free_cluster(struct qcow2 *q, uint64_t cluster);

/* Commits when the list of freed clusters is nearly full. 0 or a negative errno. */
int qcow2_freed_room(struct qcow2 *q);

/* ---- qcow2_link.c: alloc_lock held ---- */

/*
 * Sees to it that a guest cluster's L2 table may be changed: makes or copies it. `create` false:
 * *ret_table is 0 when there is none. Returns 0 or a negative errno.
 */
int qcow2_l2_own(struct qcow2 *q, uint64_t cluster, bool create, uint64_t *ret_table);

/* One L2 entry to be changed; the function may return it as it is. */
typedef uint64_t (*qcow2_change)(struct qcow2 *q, uint64_t cluster, const struct qcow2_extent *old,
                                 uint64_t entry, void *ctx);

/*
 * Changes the entries of guest clusters [first, end), all of one L2 table, which exists, and frees
 * what they referred to if they do no more. Stops at an error: *ret_done says how many clusters are
 * done. Returns 0 or a negative errno.
 */
int qcow2_change_entries(struct qcow2 *q, uint64_t first, uint64_t end, qcow2_change change,
                         void *ctx, uint64_t *ret_done);

/* Waits until no allocation is pending in [first, end). Whether it waited, and released the lock.
 */
bool qcow2_wait_pending(struct qcow2 *q, uint64_t first, uint64_t end);

/* ---- data: qcow2_read.c, qcow2_unpack.c, qcow2_write.c, qcow2_discard.c ---- */

ssize_t qcow2_read(struct image *img, const struct iovec *iov, unsigned count, uint64_t offset,
                   bool nowait);
ssize_t qcow2_write(struct image *img, const struct iovec *iov, unsigned count, uint64_t offset,
                    bool nowait);
int qcow2_discard(struct image *img, uint64_t offset, uint64_t len);
int qcow2_write_zeroes(struct image *img, uint64_t offset, uint64_t len, bool unmap);

/* Reads all of `len` bytes of the guest's disk. 0 or a negative errno. */
int qcow2_read_all(struct qcow2 *q, uint8_t *buf, uint64_t len, uint64_t offset);

/* The first `len` bytes of a list, at most `max` entries. Returns their number, and the bytes. */
unsigned qcow2_iov_slice(const struct iovec *iov, unsigned count, uint64_t len, struct iovec *ret,
                         unsigned max, uint64_t *ret_len);

/* Buffers: start-up, and any thread. */
int qcow2_buffers_init(struct qcow2 *q, struct qcow2_buffers *buffers, bool unpack);
void qcow2_buffers_done(struct qcow2_buffers *buffers);

/* Waits for a buffer; one with this tag (not 0) if there is one, else its tag is cleared. */
struct qcow2_buffer *qcow2_buffer_take(struct qcow2_buffers *buffers, uint64_t tag);
void qcow2_buffer_give(struct qcow2_buffers *buffers, struct qcow2_buffer *buffer);

/* Where a compressed cluster is in the file: bytes, the last of which may not belong to it. */
void qcow2_packed_place(const struct qcow2 *q, uint64_t entry, uint64_t *ret_offset,
                        uint64_t *ret_len);

/* Reads out of a compressed cluster. Returns the bytes read or a negative errno. */
ssize_t qcow2_unpack(struct qcow2 *q, uint64_t entry, const struct iovec *iov, unsigned count,
                     uint64_t offset, uint64_t len);

/* What the decompressor needs beside its buffers, bytes. */
size_t qcow2_workspace_size(const struct qcow2 *q);

#endif

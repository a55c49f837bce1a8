// SPDX-License-Identifier: Apache-2.0
/*
 * A cache of metadata: slices of L2 tables, or of refcount blocks, by their place in the file.
 * Set-associative, allocated once. Its lock is the user's; functions are called with it held, and
 * those that say so release it while they read or write the file.
 */
#ifndef PODVISOR_STORAGE_QCOW2_CACHE_H
#define PODVISOR_STORAGE_QCOW2_CACHE_H

#include "image.h"

#define QCOW2_CACHE_WAYS 16
/* A set with so many dirty slots wants a commit: the others are for readers, who evict nothing
 * dirty. */
#define QCOW2_CACHE_DIRTY_MAX 12

enum qcow2_slot_state { QCOW2_SLOT_EMPTY, QCOW2_SLOT_LOADING, QCOW2_SLOT_VALID };

struct qcow2_slot {
    uint64_t offset; /* of the slice in the file */
    uint32_t used;   /* the cache's clock when it was last wanted */
    enum qcow2_slot_state state;
    bool dirty;
};

struct qcow2_cache {
    struct image *img;
    pthread_mutex_t *lock;
    pthread_cond_t loaded;
    uint32_t slice_size; /* bytes, a power of two */
    uint32_t sets;
    uint32_t clock;
    unsigned dirty; /* slots */
    /*
     * Whether a dirty slice may be written at any time, so that it can be evicted (refcounts);
     * otherwise only qcow2_cache_write() writes (L2 tables).
     */
    bool unordered;
    struct qcow2_slot *slot; /* sets * QCOW2_CACHE_WAYS */
    uint8_t *data;           /* as many slices */
};

/* Start-up only: allocates at most `bytes`, but one set at least. Returns 0 or a negative errno. */
int qcow2_cache_init(struct qcow2_cache *cache, struct image *img, pthread_mutex_t *lock,
                     uint32_t slice_size, uint64_t bytes);
void qcow2_cache_done(struct qcow2_cache *cache);

/* The slice at `offset` (a multiple of its size) if it is there, else NULL. Waits for nothing. */
uint8_t *qcow2_cache_peek(struct qcow2_cache *cache, uint64_t offset);

/*
 * The same, read from the file if need be; releases the lock meanwhile. The pointer is good as long
 * as the lock is held after. Returns 0 or a negative errno.
 */
int qcow2_cache_get(struct qcow2_cache *cache, uint64_t offset, uint8_t **ret_slice);

/* The slice at `offset`, which the caller has from qcow2_cache_get(), was changed. */
void qcow2_cache_dirty(struct qcow2_cache *cache, uint64_t offset);

/* Whether the set of `offset` can take no more dirty slices. */
bool qcow2_cache_full(struct qcow2_cache *cache, uint64_t offset);

/*
 * Writes what is dirty; releases the lock meanwhile: the caller sees to it that nobody changes a
 * slice. What could not be written stays dirty. Returns 0 or a negative errno.
 */
int qcow2_cache_write(struct qcow2_cache *cache);

/*
 * Forgets what is cached of `len` bytes at `offset`, also what is dirty: before the place is used
 * for something new. Releases the lock while somebody loads it.
 */
void qcow2_cache_forget(struct qcow2_cache *cache, uint64_t offset, uint64_t len);

#endif

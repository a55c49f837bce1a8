// SPDX-License-Identifier: Apache-2.0
/* See qcow2_cache.h. Any thread, under the cache's lock; owns the slots. */
#include "qcow2_cache.h"
#include "qcow2_file.h"
#include <stdlib.h>
#include <string.h>

int qcow2_cache_init(struct qcow2_cache *cache, struct image *img, pthread_mutex_t *lock,
                     uint32_t slice_size, uint64_t bytes)
{
    uint64_t set_size = (uint64_t)slice_size * QCOW2_CACHE_WAYS;
    *cache = (struct qcow2_cache){.img = img, .lock = lock, .slice_size = slice_size};
    cache->sets = bytes > set_size ? (uint32_t)(bytes / set_size) : 1;
    pthread_cond_init(&cache->loaded, NULL);
    cache->slot = calloc((size_t)cache->sets * QCOW2_CACHE_WAYS, sizeof(*cache->slot));
    cache->data = qcow2_file_buffer(img, cache->sets * set_size);
    return cache->slot == NULL || cache->data == NULL ? -ENOMEM : 0;
}

void qcow2_cache_done(struct qcow2_cache *cache)
{
    if (cache->lock == NULL)
        return;
    free(cache->slot);
    free(cache->data);
    pthread_cond_destroy(&cache->loaded);
}

/* Slices of one table are neighbours and tables are far apart, so the numbers are mixed. */
static struct qcow2_slot *set_of(struct qcow2_cache *cache, uint64_t offset)
{
    uint64_t hash = offset / cache->slice_size * UINT64_C(0x9e3779b97f4a7c15);
    return &cache->slot[(hash >> 32) % cache->sets * QCOW2_CACHE_WAYS];
}

static uint8_t *data_of(struct qcow2_cache *cache, const struct qcow2_slot *slot)
{
    return cache->data + (size_t)(slot - cache->slot) * cache->slice_size;
}

static struct qcow2_slot *find(struct qcow2_cache *cache, uint64_t offset)
{
    struct qcow2_slot *set = set_of(cache, offset);
    for (unsigned i = 0; i < QCOW2_CACHE_WAYS; i++) {
        if (set[i].state != QCOW2_SLOT_EMPTY && set[i].offset == offset)
            return &set[i];
    }
    return NULL;
}

uint8_t *qcow2_cache_peek(struct qcow2_cache *cache, uint64_t offset)
{
    struct qcow2_slot *slot = find(cache, offset);
    if (slot == NULL || slot->state != QCOW2_SLOT_VALID)
        return NULL;
    slot->used = ++cache->clock;
    return data_of(cache, slot);
}

/* The slot that was wanted longest ago; NULL: all are being loaded, or dirty. */
static struct qcow2_slot *find_victim(struct qcow2_cache *cache, uint64_t offset)
{
    struct qcow2_slot *set = set_of(cache, offset), *victim = NULL;
    for (unsigned i = 0; i < QCOW2_CACHE_WAYS; i++) {
        if (set[i].state == QCOW2_SLOT_EMPTY)
            return &set[i];
        if (set[i].state == QCOW2_SLOT_LOADING || (set[i].dirty && !cache->unordered))
            continue;
        if (victim == NULL || cache->clock - set[i].used > cache->clock - victim->used)
            victim = &set[i];
    }
    return victim;
}

/* Writes one slice without the lock; LOADING keeps others from it. */
static int evict(struct qcow2_cache *cache, struct qcow2_slot *slot)
{
    slot->state = QCOW2_SLOT_LOADING;
    pthread_mutex_unlock(cache->lock);
    int r = qcow2_file_write(cache->img, data_of(cache, slot), cache->slice_size, slot->offset);
    pthread_mutex_lock(cache->lock);
    slot->state = QCOW2_SLOT_VALID;
    if (r == 0) {
        slot->dirty = false;
        cache->dirty--;
    }
    pthread_cond_broadcast(&cache->loaded);
    return r;
}

static int load(struct qcow2_cache *cache, struct qcow2_slot *slot, uint64_t offset)
{
    slot->state = QCOW2_SLOT_LOADING;
    slot->offset = offset;
    pthread_mutex_unlock(cache->lock);
    int r = qcow2_file_read(cache->img, data_of(cache, slot), cache->slice_size, offset);
    pthread_mutex_lock(cache->lock);
    slot->state = r < 0 ? QCOW2_SLOT_EMPTY : QCOW2_SLOT_VALID;
    pthread_cond_broadcast(&cache->loaded);
    return r;
}

int qcow2_cache_get(struct qcow2_cache *cache, uint64_t offset, uint8_t **ret_slice)
{
    int r = 0;
    while (r == 0) {
        struct qcow2_slot *slot = find(cache, offset);
        if (slot != NULL && slot->state == QCOW2_SLOT_VALID) {
            slot->used = ++cache->clock;
            *ret_slice = data_of(cache, slot);
            return 0;
        }
        if (slot == NULL)
            slot = find_victim(cache, offset);
        else
            slot = NULL; /* somebody else is loading it */
        if (slot == NULL)
            pthread_cond_wait(&cache->loaded, cache->lock);
        else if (slot->dirty)
            r = evict(cache, slot);
        else
            r = load(cache, slot, offset);
    }
    return r;
}

void qcow2_cache_dirty(struct qcow2_cache *cache, uint64_t offset)
{
    struct qcow2_slot *slot = find(cache, offset);
    if (slot == NULL || slot->dirty)
        return;
    slot->dirty = true;
    cache->dirty++;
}

bool qcow2_cache_full(struct qcow2_cache *cache, uint64_t offset)
{
    struct qcow2_slot *set = set_of(cache, offset);
    unsigned dirty = 0;
    for (unsigned i = 0; i < QCOW2_CACHE_WAYS; i++)
        dirty += set[i].dirty;
    return dirty >= QCOW2_CACHE_DIRTY_MAX;
}

int qcow2_cache_write(struct qcow2_cache *cache)
{
    size_t count = (size_t)cache->sets * QCOW2_CACHE_WAYS;
    int r = 0;
    for (size_t i = 0; r == 0 && cache->dirty > 0 && i < count; i++) {
        struct qcow2_slot *slot = &cache->slot[i];
        if (!slot->dirty)
            continue;
        /* A dirty slot stays where it is, and readers may have it meanwhile. */
        pthread_mutex_unlock(cache->lock);
        r = qcow2_file_write(cache->img, data_of(cache, slot), cache->slice_size, slot->offset);
        pthread_mutex_lock(cache->lock);
        if (r == 0) {
            slot->dirty = false;
            cache->dirty--;
        }
    }
    return r;
}

void qcow2_cache_forget(struct qcow2_cache *cache, uint64_t offset, uint64_t len)
{
    for (uint64_t at = offset; at < offset + len; at += cache->slice_size) {
        struct qcow2_slot *slot = find(cache, at);
        while (slot != NULL && slot->state == QCOW2_SLOT_LOADING) {
            pthread_cond_wait(&cache->loaded, cache->lock);
            slot = find(cache, at);
        }
        if (slot == NULL)
            continue;
        cache->dirty -= slot->dirty;
        slot->dirty = false;
        slot->state = QCOW2_SLOT_EMPTY;
    }
}

// SPDX-License-Identifier: Apache-2.0
/*
 * The work queue of podvisor/kube_queue.h, after client-go's workqueue. Any thread; one mutex.
 *
 * One item for each key that matters: because it waits (dirty, in the list), is worked on
 * (processing), is to come (in the heap) or has failed (failures). A key that is added while it is
 * worked on stays dirty and is listed again by kube_queue_done(): so no key runs twice at a time
 * and no wake-up is lost. An item with none of these is freed: memory follows the work.
 */
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/kube_queue.h>
#include <podvisor/log.h>
#include <podvisor/str.h>
#include <podvisor/vec.h>
#include <pthread.h>
#include <string.h>

#define FIRST_DELAY_NS (5 * NSEC_PER_MSEC)
#define NOT_IN_HEAP    SIZE_MAX
#define FIRST_BUCKETS  64 /* a power of two */

struct item {
    struct item *hash_next;
    struct item *list_next; /* while listed */
    uint32_t hash;
    bool dirty;      /* wants to run: listed, or will be when it is done */
    bool processing; /* taken by kube_queue_get(), not done yet */
    unsigned failures;
    size_t heap_index; /* NOT_IN_HEAP, or its place in queue->heap */
    uint64_t ready_ns; /* while in the heap */
    uint64_t since_ns; /* listed, or taken, at this time */
    char key[];
};

struct kube_queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t (*now_ns)(void);
    char *name;
    struct item **bucket;
    size_t bucket_count, item_count;
    struct item *head, **tail; /* listed items, first to be taken first */
    VEC(struct item *) heap;   /* delayed items, earliest at 0 */
    bool shut_down;
    struct kube_queue_stats stats;
};

static uint32_t hash_key(const char *key)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (const char *c = key; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    return hash;
}

static struct item **find_slot(struct kube_queue *q, uint32_t hash, const char *key)
{
    struct item **slot = &q->bucket[hash & (q->bucket_count - 1)];
    while (*slot != NULL && ((*slot)->hash != hash || strcmp((*slot)->key, key) != 0))
        slot = &(*slot)->hash_next;
    return slot;
}

static struct item *find_item(struct kube_queue *q, const char *key)
{
    return *find_slot(q, hash_key(key), key);
}

static void grow_buckets(struct kube_queue *q)
{
    size_t old_count = q->bucket_count;
    struct item **old = q->bucket;
    q->bucket_count = old_count * 2;
    q->bucket = xcalloc(q->bucket_count, sizeof(struct item *));
    for (size_t i = 0; i < old_count; i++) {
        while (old[i] != NULL) {
            struct item *item = old[i];
            struct item **slot = &q->bucket[item->hash & (q->bucket_count - 1)];
            old[i] = item->hash_next;
            item->hash_next = *slot;
            *slot = item;
        }
    }
    free(old);
}

/* The item of a key, made when there is none. */
static struct item *take_item(struct kube_queue *q, const char *key)
{
    uint32_t hash = hash_key(key);
    struct item **slot = find_slot(q, hash, key);
    if (*slot != NULL)
        return *slot;
    size_t len = strlen(key);
    struct item *item = xcalloc(1, sizeof(*item) + len + 1);
    memcpy(item->key, key, len);
    item->hash = hash;
    item->heap_index = NOT_IN_HEAP;
    *slot = item;
    if (++q->item_count > q->bucket_count)
        grow_buckets(q);
    return item;
}

/* Frees the item when nothing is to be remembered of it. */
static void drop_idle(struct kube_queue *q, struct item *item)
{
    if (item->dirty || item->processing || item->failures > 0 || item->heap_index != NOT_IN_HEAP)
        return;
    *find_slot(q, item->hash, item->key) = item->hash_next;
    q->item_count--;
    free(item);
}

static void heap_put(struct kube_queue *q, size_t index, struct item *item)
{
    q->heap.item[index] = item;
    item->heap_index = index;
}

static void heap_up(struct kube_queue *q, size_t index)
{
    struct item *item = q->heap.item[index];
    while (index > 0 && item->ready_ns < q->heap.item[(index - 1) / 2]->ready_ns) {
        heap_put(q, index, q->heap.item[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    heap_put(q, index, item);
}

static void heap_down(struct kube_queue *q, size_t index)
{
    struct item *item = q->heap.item[index];
    for (;;) {
        size_t child = 2 * index + 1;
        if (child + 1 < q->heap.count &&
            q->heap.item[child + 1]->ready_ns < q->heap.item[child]->ready_ns)
            child++;
        if (child >= q->heap.count || item->ready_ns <= q->heap.item[child]->ready_ns)
            break;
        heap_put(q, index, q->heap.item[child]);
        index = child;
    }
    heap_put(q, index, item);
}

static struct item *heap_pop(struct kube_queue *q)
{
    struct item *first = q->heap.item[0];
    struct item *last = q->heap.item[--q->heap.count];
    first->heap_index = NOT_IN_HEAP;
    if (q->heap.count > 0) {
        heap_put(q, 0, last);
        heap_down(q, 0);
    }
    return first;
}

static void append(struct kube_queue *q, struct item *item)
{
    item->list_next = NULL;
    item->since_ns = q->now_ns();
    *q->tail = item;
    q->tail = &item->list_next;
    q->stats.depth++;
    pthread_cond_signal(&q->changed);
}

static void mark_dirty(struct kube_queue *q, struct item *item)
{
    if (item->dirty)
        return;
    item->dirty = true;
    q->stats.adds++;
    if (!item->processing)
        append(q, item);
}

static void delay(struct kube_queue *q, const char *key, uint64_t delay_ns)
{
    struct item *item = take_item(q, key);
    if (delay_ns == 0) {
        mark_dirty(q, item);
        return;
    }
    uint64_t now = q->now_ns();
    uint64_t ready = delay_ns < UINT64_MAX - now ? now + delay_ns : UINT64_MAX;
    if (item->heap_index == NOT_IN_HEAP) {
        item->ready_ns = ready;
        *vec_add(&q->heap) = item;
        item->heap_index = q->heap.count - 1;
    } else if (ready < item->ready_ns) {
        item->ready_ns = ready;
    } else {
        return;
    }
    heap_up(q, item->heap_index);
    /* One who waits for the former earliest has to wait for this one. */
    if (item->heap_index == 0)
        pthread_cond_signal(&q->changed);
}

static void list_due(struct kube_queue *q)
{
    uint64_t now = q->now_ns();
    while (q->heap.count > 0 && q->heap.item[0]->ready_ns <= now)
        mark_dirty(q, heap_pop(q));
}

/* Until something changed or the earliest delayed key is due. */
static void wait_for_change(struct kube_queue *q)
{
    if (q->heap.count == 0) {
        pthread_cond_wait(&q->changed, &q->lock);
        return;
    }
    uint64_t now = q->now_ns(), ready = q->heap.item[0]->ready_ns;
    uint64_t until = clock_now_ns() + (ready > now ? ready - now : 0);
    struct timespec at = {.tv_sec = (time_t)(until / NSEC_PER_SEC),
                          .tv_nsec = (long)(until % NSEC_PER_SEC)};
    pthread_cond_timedwait(&q->changed, &q->lock, &at);
}

/* A key longer than the contract's bound is nobody's object; it is refused, not cut. */
static bool lock_for_add(struct kube_queue *q, const char *key)
{
    if (strlen(key) >= KUBE_KEY_MAX) {
        log_warn("queue", "%s: refusing a key of %zu characters", q->name, strlen(key));
        return false;
    }
    pthread_mutex_lock(&q->lock);
    if (!q->shut_down)
        return true;
    pthread_mutex_unlock(&q->lock);
    return false;
}

struct kube_queue *kube_queue_new(const char *name, uint64_t (*now_ns)(void))
{
    struct kube_queue *q = xcalloc(1, sizeof(*q));
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&q->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&q->lock, NULL);
    q->now_ns = now_ns != NULL ? now_ns : clock_now_ns;
    q->name = xstrdup(name);
    q->bucket_count = FIRST_BUCKETS;
    q->bucket = xcalloc(q->bucket_count, sizeof(struct item *));
    q->tail = &q->head;
    return q;
}

void kube_queue_free(struct kube_queue *q)
{
    if (q == NULL)
        return;
    for (size_t i = 0; i < q->bucket_count; i++) {
        while (q->bucket[i] != NULL) {
            struct item *item = q->bucket[i];
            q->bucket[i] = item->hash_next;
            free(item);
        }
    }
    free(q->bucket);
    vec_free(&q->heap);
    free(q->name);
    pthread_cond_destroy(&q->changed);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

void kube_queue_add(struct kube_queue *q, const char *key)
{
    kube_queue_add_after(q, key, 0);
}

void kube_queue_add_after(struct kube_queue *q, const char *key, uint64_t delay_ns)
{
    if (!lock_for_add(q, key))
        return;
    delay(q, key, delay_ns);
    pthread_mutex_unlock(&q->lock);
}

void kube_queue_add_limited(struct kube_queue *q, const char *key)
{
    if (!lock_for_add(q, key))
        return;
    struct item *item = take_item(q, key);
    uint64_t delay_ns = FIRST_DELAY_NS;
    for (unsigned i = 0; i < item->failures && delay_ns < KUBE_QUEUE_DELAY_MAX_NS; i++)
        delay_ns *= 2;
    if (delay_ns > KUBE_QUEUE_DELAY_MAX_NS)
        delay_ns = KUBE_QUEUE_DELAY_MAX_NS;
    item->failures++;
    q->stats.retries++;
    delay(q, key, delay_ns);
    pthread_mutex_unlock(&q->lock);
}

void kube_queue_forget(struct kube_queue *q, const char *key)
{
    pthread_mutex_lock(&q->lock);
    struct item *item = find_item(q, key);
    if (item != NULL) {
        item->failures = 0;
        drop_idle(q, item);
    }
    pthread_mutex_unlock(&q->lock);
}

unsigned kube_queue_failures(struct kube_queue *q, const char *key)
{
    pthread_mutex_lock(&q->lock);
    const struct item *item = find_item(q, key);
    unsigned failures = item != NULL ? item->failures : 0;
    pthread_mutex_unlock(&q->lock);
    return failures;
}

bool kube_queue_get(struct kube_queue *q, char ret_key[KUBE_KEY_MAX])
{
    pthread_mutex_lock(&q->lock);
    for (;;) {
        if (!q->shut_down)
            list_due(q);
        if (q->head != NULL || q->shut_down)
            break;
        wait_for_change(q);
    }
    struct item *item = q->head;
    if (item != NULL) {
        uint64_t now = q->now_ns();
        q->head = item->list_next;
        if (q->head == NULL)
            q->tail = &q->head;
        item->dirty = false;
        item->processing = true;
        q->stats.wait_ns += now - item->since_ns;
        item->since_ns = now;
        q->stats.depth--;
        q->stats.processing++;
        memcpy(ret_key, item->key, strlen(item->key) + 1);
    }
    /* The signal of a delayed key may have woken this thread for another's key. */
    if (q->head != NULL || q->heap.count > 0)
        pthread_cond_signal(&q->changed);
    pthread_mutex_unlock(&q->lock);
    return item != NULL;
}

void kube_queue_done(struct kube_queue *q, const char *key)
{
    pthread_mutex_lock(&q->lock);
    struct item *item = find_item(q, key);
    if (item != NULL && item->processing) {
        item->processing = false;
        q->stats.processing--;
        q->stats.work_ns += q->now_ns() - item->since_ns;
        if (item->dirty)
            append(q, item);
        drop_idle(q, item);
    }
    pthread_mutex_unlock(&q->lock);
}

void kube_queue_shut_down(struct kube_queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->shut_down = true;
    while (q->heap.count > 0)
        drop_idle(q, heap_pop(q));
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

void kube_queue_stats(struct kube_queue *q, struct kube_queue_stats *ret)
{
    pthread_mutex_lock(&q->lock);
    *ret = q->stats;
    ret->delayed = q->heap.count;
    pthread_mutex_unlock(&q->lock);
}

void kube_key(char ret[KUBE_KEY_MAX], const char *namespace_, const char *name)
{
    bool has_namespace = namespace_ != NULL && *namespace_ != '\0';
    snprintf(ret, KUBE_KEY_MAX, "%s%s%s", has_namespace ? namespace_ : "", has_namespace ? "/" : "",
             name);
}

void kube_key_split(const char *key, char ret_namespace[KUBE_KEY_MAX], char ret_name[KUBE_KEY_MAX])
{
    const char *slash = strchr(key, '/');
    const char *name = slash != NULL ? slash + 1 : key;
    snprintf(ret_namespace, KUBE_KEY_MAX, "%.*s", slash != NULL ? (int)(slash - key) : 0, key);
    snprintf(ret_name, KUBE_KEY_MAX, "%s", name);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * The store of one kind; see store.h. One hash table of entries by key, and for each index (and for
 * the namespace) a table of chains in which an entry is linked by the value of the object that it
 * shows. An entry lives while the watch has shown its object or a write of ours was learnt.
 */
#include "store.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <podvisor/vec.h>
#include <pthread.h>
#include <string.h>
#include <sys/queue.h>

#define FIRST_BUCKETS 64 /* a power of two */
#define BY_NAMESPACE  KUBE_INDEX_MAX
#define CHAINS        (KUBE_INDEX_MAX + 1)

struct entry {
    LIST_ENTRY(entry) same_key;
    LIST_ENTRY(entry) same_value[CHAINS];
    TAILQ_ENTRY(entry) awaited; /* while `learnt` */
    struct kube_object *seen;   /* as the watch showed it last; NULL: not there */
    struct kube_object *learnt; /* our write, until the watch shows it; NULL: none */
    struct kube_object *shown;  /* learnt, else seen: what the chains go by; no reference */
    uint64_t learnt_until_ns;
    uint32_t hash;
    bool listed; /* of the list that replaces */
};

LIST_HEAD(bucket, entry);
TAILQ_HEAD(entry_queue, entry);

struct change {
    struct kube_object *old, *now;
};
typedef VEC(struct change) changes;

struct kube_store {
    pthread_mutex_t lock;
    void (*changed)(void *user, struct kube_object *old, struct kube_object *now);
    void *user;
    uint64_t (*now_ns)(void);
    struct bucket *by_key, *by_value[CHAINS]; /* bucket_count each */
    size_t bucket_count, count;
    struct entry_queue awaited;         /* earliest first: all wait equally long */
    uint64_t recent[KUBE_STORE_RECENT]; /* hashes of versions seen and of uids deleted */
    unsigned recent_next;
};

static uint64_t hash_more(uint64_t hash, const char *str)
{
    for (; *str != '\0'; str++)
        hash = (hash ^ (unsigned char)*str) * 1099511628211u; /* FNV-1a */
    return (hash ^ 0xff) * 1099511628211u;
}

static uint64_t hash_string(const char *str)
{
    return hash_more(14695981039346656037u, str);
}

static uint32_t hash_key(const char *namespace_, const char *name)
{
    uint64_t hash = hash_more(hash_string(namespace_), name);
    return (uint32_t)(hash ^ hash >> 32);
}

static size_t bucket_of(const struct kube_store *store, uint64_t hash)
{
    return (size_t)((hash ^ hash >> 32) & (store->bucket_count - 1));
}

static const char *chain_value(const struct kube_object *object, unsigned chain)
{
    return chain == BY_NAMESPACE ? kube_object_namespace(object) : kube_object_index(object, chain);
}

/* Objects without a value are in no chain of that index. */
static void link_chains(struct kube_store *store, struct entry *entry)
{
    for (unsigned i = 0; i < CHAINS; i++) {
        const char *value = chain_value(entry->shown, i);
        size_t bucket = bucket_of(store, hash_string(value));
        if (*value != '\0')
            LIST_INSERT_HEAD(&store->by_value[i][bucket], entry, same_value[i]);
    }
}

static void unlink_chains(struct entry *entry)
{
    for (unsigned i = 0; i < CHAINS; i++) {
        if (*chain_value(entry->shown, i) != '\0')
            LIST_REMOVE(entry, same_value[i]);
    }
}

static void allocate_buckets(struct kube_store *store, size_t count)
{
    store->bucket_count = count;
    store->by_key = xcalloc(count, sizeof(struct bucket));
    for (unsigned i = 0; i < CHAINS; i++)
        store->by_value[i] = xcalloc(count, sizeof(struct bucket));
}

static void free_chains(struct kube_store *store)
{
    for (unsigned i = 0; i < CHAINS; i++)
        free(store->by_value[i]);
}

static void grow(struct kube_store *store)
{
    struct bucket *old = store->by_key;
    size_t old_count = store->bucket_count;
    free_chains(store);
    allocate_buckets(store, old_count * 2);
    for (size_t i = 0; i < old_count; i++) {
        struct entry *entry;
        while ((entry = LIST_FIRST(&old[i])) != NULL) {
            LIST_REMOVE(entry, same_key);
            LIST_INSERT_HEAD(&store->by_key[bucket_of(store, entry->hash)], entry, same_key);
            link_chains(store, entry);
        }
    }
    free(old);
}

static struct entry *find(const struct kube_store *store, const char *namespace_, const char *name)
{
    uint32_t hash = hash_key(namespace_, name);
    struct entry *entry;
    LIST_FOREACH (entry, &store->by_key[bucket_of(store, hash)], same_key) {
        if (entry->hash == hash && strcmp(kube_object_name(entry->shown), name) == 0 &&
            strcmp(kube_object_namespace(entry->shown), namespace_) == 0)
            return entry;
    }
    return NULL;
}

static struct entry *find_like(const struct kube_store *store, const struct kube_object *object)
{
    return find(store, kube_object_namespace(object), kube_object_name(object));
}

/* The entry for an object; a new one shows nothing yet: the caller sets it and calls show(). */
static struct entry *take_entry(struct kube_store *store, const struct kube_object *object)
{
    struct entry *entry = find_like(store, object);
    if (entry != NULL)
        return entry;
    if (store->count >= store->bucket_count)
        grow(store);
    entry = xcalloc(1, sizeof(*entry));
    entry->hash = hash_key(kube_object_namespace(object), kube_object_name(object));
    LIST_INSERT_HEAD(&store->by_key[bucket_of(store, entry->hash)], entry, same_key);
    store->count++;
    return entry;
}

/*
 * Brings an entry up to date with what it has now; an empty one goes. The caller drops its
 * reference of what was shown before only after this.
 */
static void show(struct kube_store *store, struct entry *entry)
{
    if (entry->shown != NULL)
        unlink_chains(entry);
    entry->shown = entry->learnt != NULL ? entry->learnt : entry->seen;
    if (entry->shown != NULL) {
        link_chains(store, entry);
        return;
    }
    LIST_REMOVE(entry, same_key);
    store->count--;
    free(entry);
}

/* Takes the learnt state out of an entry; the caller calls show() and drops the reference. */
static struct kube_object *take_learnt(struct kube_store *store, struct entry *entry)
{
    if (entry->learnt != NULL)
        TAILQ_REMOVE(&store->awaited, entry, awaited);
    return steal_ptr(entry->learnt);
}

static void remember(struct kube_store *store, const char *version_or_uid)
{
    store->recent[store->recent_next++ % KUBE_STORE_RECENT] = hash_string(version_or_uid);
}

static bool is_recent(const struct kube_store *store, const char *version_or_uid)
{
    uint64_t hash = hash_string(version_or_uid);
    for (unsigned i = 0; i < KUBE_STORE_RECENT; i++) {
        if (store->recent[i] == hash)
            return true;
    }
    return false;
}

static struct kube_object *ref_or_null(struct kube_object *object)
{
    return object != NULL ? kube_object_ref(object) : NULL;
}

/* Notes a change for `changed`. Another uid under the same name is two: one goes, one comes. */
static void note(changes *list, struct kube_object *old, struct kube_object *now)
{
    if (old != NULL && now != NULL && strcmp(kube_object_uid(old), kube_object_uid(now)) != 0) {
        *vec_add(list) = (struct change){.old = kube_object_ref(old)};
        old = NULL;
    }
    *vec_add(list) = (struct change){.old = ref_or_null(old), .now = ref_or_null(now)};
}

static void unlock_and_tell(struct kube_store *store, changes *list)
{
    pthread_mutex_unlock(&store->lock);
    for (size_t i = 0; i < list->count; i++) {
        if (store->changed != NULL)
            store->changed(store->user, list->item[i].old, list->item[i].now);
        kube_object_unref(list->item[i].old);
        kube_object_unref(list->item[i].now);
    }
    vec_free(list);
}

/* The watch, or a list, shows an object. Takes the reference. */
static void see(struct kube_store *store, struct entry *entry, struct kube_object *object,
                changes *list)
{
    struct kube_object *old = entry->seen;
    struct kube_object *learnt = NULL;
    if (old == NULL || !kube_object_same(old, object))
        note(list, old, object);
    if (entry->learnt != NULL && kube_object_same(entry->learnt, object))
        learnt = take_learnt(store, entry);
    entry->seen = object;
    show(store, entry);
    kube_object_unref(old);
    kube_object_unref(learnt);
}

/*
 * The watch, or a list, shows that an object is gone; `last` is its last state. A uid never comes
 * back, so neither may a write to it that is learnt late.
 */
static void see_gone(struct kube_store *store, struct entry *entry, struct kube_object *last,
                     changes *list)
{
    struct kube_object *old = steal_ptr(entry->seen);
    struct kube_object *learnt = NULL;
    remember(store, kube_object_uid(last));
    if (old != NULL)
        note(list, last, NULL);
    if (entry->learnt != NULL && strcmp(kube_object_uid(entry->learnt), kube_object_uid(last)) == 0)
        learnt = take_learnt(store, entry);
    show(store, entry);
    kube_object_unref(old);
    kube_object_unref(learnt);
}

struct kube_store *kube_store_new(void (*changed)(void *user, struct kube_object *old,
                                                  struct kube_object *now),
                                  void *user, uint64_t (*now_ns)(void))
{
    struct kube_store *store = xcalloc(1, sizeof(*store));
    pthread_mutex_init(&store->lock, NULL);
    store->changed = changed;
    store->user = user;
    store->now_ns = now_ns != NULL ? now_ns : clock_now_ns;
    TAILQ_INIT(&store->awaited);
    allocate_buckets(store, FIRST_BUCKETS);
    return store;
}

void kube_store_free(struct kube_store *store)
{
    if (store == NULL)
        return;
    for (size_t i = 0; i < store->bucket_count; i++) {
        struct entry *entry;
        while ((entry = LIST_FIRST(&store->by_key[i])) != NULL) {
            LIST_REMOVE(entry, same_key);
            kube_object_unref(entry->seen);
            kube_object_unref(entry->learnt);
            free(entry);
        }
    }
    free(store->by_key);
    free_chains(store);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

void kube_store_put(struct kube_store *store, struct kube_object *object)
{
    changes list = {0};
    pthread_mutex_lock(&store->lock);
    remember(store, kube_object_version(object));
    see(store, take_entry(store, object), object, &list);
    unlock_and_tell(store, &list);
}

void kube_store_delete(struct kube_store *store, struct kube_object *object)
{
    changes list = {0};
    pthread_mutex_lock(&store->lock);
    remember(store, kube_object_version(object));
    struct entry *entry = find_like(store, object);
    if (entry != NULL)
        see_gone(store, entry, object, &list);
    else
        remember(store, kube_object_uid(object));
    unlock_and_tell(store, &list);
    kube_object_unref(object);
}

/* What was seen before and is not in the list is gone. */
static void sweep(struct kube_store *store, changes *list)
{
    for (size_t i = 0; i < store->bucket_count; i++) {
        struct entry *entry = LIST_FIRST(&store->by_key[i]);
        while (entry != NULL) {
            struct entry *next = LIST_NEXT(entry, same_key);
            if (!entry->listed && entry->seen != NULL) {
                struct kube_object *last = kube_object_ref(entry->seen);
                see_gone(store, entry, last, list);
                kube_object_unref(last);
            } else {
                entry->listed = false;
            }
            entry = next;
        }
    }
}

void kube_store_replace(struct kube_store *store, struct kube_object *const *objects, size_t count)
{
    changes list = {0};
    pthread_mutex_lock(&store->lock);
    for (size_t i = 0; i < count; i++) {
        struct entry *entry = take_entry(store, objects[i]);
        entry->listed = true;
        /* The object that is there already stays: whoever holds it shares its memory. */
        if (entry->seen != NULL && kube_object_same(entry->seen, objects[i]))
            kube_object_unref(objects[i]);
        else
            see(store, entry, objects[i], &list);
    }
    sweep(store, &list);
    unlock_and_tell(store, &list);
}

/* True when the watch has shown this write, or something later, already. */
static bool is_known(const struct kube_store *store, const struct entry *entry,
                     const struct kube_object *object)
{
    if (is_recent(store, kube_object_version(object)) || is_recent(store, kube_object_uid(object)))
        return true;
    if (entry == NULL)
        return false;
    return (entry->seen != NULL && kube_object_same(entry->seen, object)) ||
           (entry->learnt != NULL && kube_object_same(entry->learnt, object));
}

bool kube_store_learn(struct kube_store *store, struct kube_object *object)
{
    struct kube_object *unused = object;
    pthread_mutex_lock(&store->lock);
    bool first = TAILQ_EMPTY(&store->awaited);
    if (!is_known(store, find_like(store, object), object)) {
        struct entry *entry = take_entry(store, object);
        unused = take_learnt(store, entry);
        entry->learnt = object;
        entry->learnt_until_ns = store->now_ns() + KUBE_STORE_LEARNT_NS;
        TAILQ_INSERT_TAIL(&store->awaited, entry, awaited);
        show(store, entry);
    }
    first = first && !TAILQ_EMPTY(&store->awaited);
    pthread_mutex_unlock(&store->lock);
    kube_object_unref(unused);
    return first;
}

uint64_t kube_store_expire(struct kube_store *store, bool live)
{
    changes list = {0};
    struct entry *later;
    pthread_mutex_lock(&store->lock);
    uint64_t now = store->now_ns();
    for (struct entry *entry = TAILQ_FIRST(&store->awaited);
         entry != NULL && entry->learnt_until_ns <= now; entry = later) {
        later = TAILQ_NEXT(entry, awaited);
        TAILQ_REMOVE(&store->awaited, entry, awaited);
        if (!live) {
            entry->learnt_until_ns = now + KUBE_STORE_LEARNT_NS;
            TAILQ_INSERT_TAIL(&store->awaited, entry, awaited);
            continue;
        }
        struct kube_object *learnt = steal_ptr(entry->learnt);
        note(&list, learnt, entry->seen);
        show(store, entry);
        kube_object_unref(learnt);
    }
    const struct entry *first = TAILQ_FIRST(&store->awaited);
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it does not see TAILQ_REMOVE() of the last */
    uint64_t next = first != NULL ? first->learnt_until_ns : UINT64_MAX;
    unlock_and_tell(store, &list);
    return next;
}

struct kube_object *kube_store_get(struct kube_store *store, const char *namespace_,
                                   const char *name)
{
    pthread_mutex_lock(&store->lock);
    const struct entry *entry = find(store, namespace_ != NULL ? namespace_ : "", name);
    struct kube_object *object = entry != NULL ? kube_object_ref(entry->shown) : NULL;
    pthread_mutex_unlock(&store->lock);
    return object;
}

typedef VEC(struct kube_object *) object_list;

static void list_chain(struct kube_store *store, unsigned chain, const char *value,
                       const char *namespace_, object_list *list)
{
    const struct entry *entry;
    size_t bucket = bucket_of(store, hash_string(value));
    LIST_FOREACH (entry, &store->by_value[chain][bucket], same_value[chain]) {
        if (strcmp(chain_value(entry->shown, chain), value) == 0 &&
            (namespace_ == NULL || strcmp(kube_object_namespace(entry->shown), namespace_) == 0))
            *vec_add(list) = kube_object_ref(entry->shown);
    }
}

static void list_all(struct kube_store *store, object_list *list)
{
    for (size_t i = 0; i < store->bucket_count; i++) {
        const struct entry *entry;
        LIST_FOREACH (entry, &store->by_key[i], same_key)
            *vec_add(list) = kube_object_ref(entry->shown);
    }
}

size_t kube_store_list(struct kube_store *store, const char *namespace_, int index,
                       const char *value, struct kube_object ***ret)
{
    object_list list = {0};
    pthread_mutex_lock(&store->lock);
    if (index >= 0)
        list_chain(store, (unsigned)index, value, namespace_, &list);
    else if (namespace_ != NULL && *namespace_ != '\0')
        list_chain(store, BY_NAMESPACE, namespace_, NULL, &list);
    else
        list_all(store, &list);
    pthread_mutex_unlock(&store->lock);
    *ret = list.item;
    return list.count;
}

size_t kube_store_count(struct kube_store *store)
{
    pthread_mutex_lock(&store->lock);
    size_t count = store->count;
    pthread_mutex_unlock(&store->lock);
    return count;
}

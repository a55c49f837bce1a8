// SPDX-License-Identifier: Apache-2.0
/*
 * Informers (client-go tools/cache: reflector, store and indices): one thread
 * lists and watches every kind that was added, and keeps what it learnt as text with a few index
 * fields, not as trees. Workers take snapshots of objects and parse those they reconcile.
 *
 * Threads: kube_caches_* set-up before start; handlers run on the caches' thread and only compute
 * keys; look-ups are for any thread.
 */
#ifndef PODVISOR_KUBE_CACHE_H
#define PODVISOR_KUBE_CACHE_H

#include <podvisor/kube.h>

#define KUBE_INDEX_MAX 3

/* An object as it was at one resourceVersion: immutable, counted. */
struct kube_object;
struct kube_object *kube_object_ref(struct kube_object *object);
void kube_object_unref(struct kube_object *object); /* NULL is allowed */
const char *kube_object_namespace(const struct kube_object *object);
const char *kube_object_name(const struct kube_object *object);
const char *kube_object_uid(const struct kube_object *object);
const char *kube_object_version(const struct kube_object *object); /* resourceVersion */
/* The value of an index of the kind; "" when the object has none. */
const char *kube_object_index(const struct kube_object *object, unsigned index);
/* Parses the text. The tree is the caller's. */
int kube_object_parse(const struct kube_object *object, cJSON **ret, struct error *err);

struct kube_caches;
struct kube_cache; /* one kind */

struct kube_cache_options {
    const struct kube_resource *resource;
    const char *namespace_;     /* NULL: all */
    const char *label_selector; /* NULL: none */
    const char *field_selector; /* NULL: none */
    /* Cuts an object before it is kept (managedFields are always cut). May be NULL. */
    void (*transform)(cJSON *object);
    /* The value an index has for an object, borrowed from it or static; NULL: none. */
    const char *(*index[KUBE_INDEX_MAX])(const cJSON *object);
    /*
     * Called on the caches' thread for each change that the server shows, after the store has it;
     * `old` NULL: added, `now` NULL: deleted (`old` is then its last state, as far as it is known).
     * An object that was deleted and created again is a deletion, then an addition, also when only
     * a list showed it. A look-up may find something newer: what was learnt.
     */
    void (*changed)(void *user, struct kube_object *old, struct kube_object *now);
    void *user;
};

int kube_caches_new(struct kube_client *client, struct kube_caches **ret, struct error *err);
/* Before start. The cache lives as long as `caches`. */
struct kube_cache *kube_caches_add(struct kube_caches *caches,
                                   const struct kube_cache_options *options);
/* Starts the thread. */
int kube_caches_start(struct kube_caches *caches, struct error *err);
/* True when every kind was listed once and its handlers have seen it. Waits at most `timeout_ns`.
 */
bool kube_caches_wait_synced(struct kube_caches *caches, uint64_t timeout_ns);
/* Ends the thread and frees everything. */
void kube_caches_free(struct kube_caches *caches);

/* A reference to the object, or NULL. */
struct kube_object *kube_cache_get(struct kube_cache *cache, const char *namespace_,
                                   const char *name);
/*
 * References to all objects of a namespace (NULL: all) whose index has the value (index < 0: all).
 * *ret is an array for free() after unref of each; returns the number.
 */
size_t kube_cache_list(struct kube_cache *cache, const char *namespace_, int index,
                       const char *value, struct kube_object ***ret);
size_t kube_cache_count(struct kube_cache *cache);

/*
 * The answer of a write that a thread of ours made: look-ups find it at once, although the watch
 * has not shown it yet. Versions are opaque, so "newer" is recognised, not compared: an answer that
 * the watch has shown already is ignored; else it hides what the watch shows of the object until
 * the watch shows this very version or the object's end, for 5 s of a working watch at most.
 * `changed` is not called for it: the watch's event comes. Any thread; the tree stays the caller's.
 * Deletions need not be learnt.
 */
void kube_cache_learn(struct kube_cache *cache, const cJSON *object);

#endif

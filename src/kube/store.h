// SPDX-License-Identifier: Apache-2.0
/*
 * The objects of one kind (client-go tools/cache/thread_safe_store.go): immutable,
 * counted texts with a few fields beside them, found by namespace/name, by namespace, and by the
 * values of the kind's indices.
 *
 * What the watch has shown and what our own writes were answered are kept apart. A write's answer
 * (kube_store_learn()) hides what was seen of the object until the watch shows that very version,
 * shows that the object is gone, or KUBE_STORE_LEARNT_NS have passed: versions are opaque, so an
 * older event and a newer one cannot be told apart, only the same one recognised. A write whose
 * event was seen before it was learnt is recognised by the last KUBE_STORE_RECENT events.
 *
 * Threads: changes come from the reflector's thread, but for kube_store_learn(); all functions
 * lock. `changed` is called on the thread that makes the change, without the lock.
 */
#ifndef PODVISOR_KUBE_STORE_H
#define PODVISOR_KUBE_STORE_H

#include <podvisor/clock.h>
#include <podvisor/kube_cache.h>

#define KUBE_OBJECT_BYTES_MAX ((size_t)16 << 20) /* etcd keeps 1.5 MiB; conversion adds to it */
#define KUBE_VERSION_SIZE     128                /* a resourceVersion, with NUL */
#define KUBE_STORE_LEARNT_NS  (5 * NSEC_PER_SEC)
#define KUBE_STORE_RECENT     1024

/*
 * Makes an object of a tree, which is cut on the way: managedFields, then the kind's transform.
 * `kind` and `apiVersion`, which lists leave out of their items, are put in. Returns 0, or -EINVAL
 * for a tree that is no object of this kind.
 */
int kube_object_new(const struct kube_cache_options *options, cJSON *tree, struct kube_object **ret,
                    struct error *err);

/* Parses a text first. */
int kube_object_from_text(const struct kube_cache_options *options, const char *text, size_t len,
                          struct kube_object **ret, struct error *err);

/* The same object (uid) at the same version. */
bool kube_object_same(const struct kube_object *a, const struct kube_object *b);

struct kube_store;

/* `changed` may be NULL, `now_ns` too (CLOCK_MONOTONIC). */
struct kube_store *kube_store_new(void (*changed)(void *user, struct kube_object *old,
                                                  struct kube_object *now),
                                  void *user, uint64_t (*now_ns)(void));
void kube_store_free(struct kube_store *store);

/* ADDED or MODIFIED. An object under the name of one with another uid is its deletion first. */
void kube_store_put(struct kube_store *store, struct kube_object *object_take);

/* DELETED, with the object's last state, which `changed` gets. */
void kube_store_delete(struct kube_store *store, struct kube_object *object_take);

/*
 * A whole list. Takes the references (the array stays the caller's). Objects of the same version
 * are no change; `changed` is called when all of the list is in the store.
 */
void kube_store_replace(struct kube_store *store, struct kube_object *const *objects, size_t count);

/* Our own write's answer. True: kube_store_expire() is to be called sooner than it said. */
bool kube_store_learn(struct kube_store *store, struct kube_object *object_take);

/*
 * Gives up waiting for the events of writes that were learnt too long ago: what the watch showed
 * counts again, which is a change. While the watch is not `live` they are waited for longer.
 * Returns when to call again (UINT64_MAX: nothing is waited for).
 */
uint64_t kube_store_expire(struct kube_store *store, bool live);

struct kube_object *kube_store_get(struct kube_store *store, const char *namespace_,
                                   const char *name);
size_t kube_store_list(struct kube_store *store, const char *namespace_, int index,
                       const char *value, struct kube_object ***ret);
size_t kube_store_count(struct kube_store *store);

#endif

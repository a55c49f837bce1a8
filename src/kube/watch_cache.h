// SPDX-License-Identifier: Apache-2.0
/*
 * One kind's cache on the caches' thread: it makes the requests that its reflector wants, one at a
 * time, and feeds its store. Each kind has an easy handle of its own and, while it watches, a
 * connection of its own: watches fail independently.
 */
#ifndef PODVISOR_KUBE_WATCH_CACHE_H
#define PODVISOR_KUBE_WATCH_CACHE_H

#include "internal.h"
#include "reflector.h"
#include "store.h"
#include "watch_lines.h"
#include <podvisor/vec.h>
#include <stdatomic.h>

/* Other times than the defaults, for tests; before kube_caches_start(). `times` is borrowed. */
void kube_caches_set_times(struct kube_caches *caches, const struct reflector_times *times);

struct kube_cache {
    struct kube_caches *caches;
    struct kube_client *client;
    struct kube_cache_options options; /* its strings are those below */
    char *namespace_, *label_selector, *field_selector;
    struct kube_store *store;
    struct reflector reflector;
    atomic_bool synced; /* handlers have seen the first list */

    CURL *easy;
    struct kube_easy state; /* while `active` */
    bool active;            /* a transfer is under way, in the multi handle */
    enum reflector_step doing;

    /* The response. */
    int status; /* 0: headers have not come */
    unsigned retry_after;
    char *body; /* of a list or of a refusal */
    size_t body_len, body_size;
    struct kube_watch_lines lines;
    struct kube_status event_error; /* of an ERROR event; code 0: none came */
    struct error broken;            /* why we cut the response off; code 0: we did not */

    VEC(struct kube_object *) listed; /* of the pages so far */
};

/* Copies the options. The store's handlers are the options' own. */
void kube_cache_init(struct kube_cache *cache, struct kube_caches *caches,
                     struct kube_client *client, const struct kube_cache_options *options);
void kube_cache_done(struct kube_cache *cache);

/*
 * Does what is due: begins the next request, gives up a silent watch, lets learnt writes expire.
 * Returns when to call again (CLOCK_MONOTONIC).
 */
uint64_t kube_cache_step(struct kube_cache *cache, CURLM *multi);

/* libcurl is through with the transfer. True when this was the first list to be complete. */
bool kube_cache_finished(struct kube_cache *cache, CURLM *multi, CURLcode code);

/* Drops the transfer; the next step makes the same request again (new credentials, or the end). */
void kube_cache_interrupt(struct kube_cache *cache, CURLM *multi);

#endif

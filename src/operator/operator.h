// SPDX-License-Identifier: Apache-2.0
/*
 * The operator's parts put together: caches of the kinds it watches, a queue and workers for each
 * of its two controllers, events. Workers take a key, make a plan (vm_plan.h, vmi_plan.h) and carry
 * it out with blocking calls.
 *
 * Threads: set-up and shut-down belong to main; reconcile functions run on the workers.
 */
#ifndef PODVISOR_OPERATOR_OPERATOR_H
#define PODVISOR_OPERATOR_OPERATOR_H

#include "conditions.h"
#include "pod.h"
#include <podvisor/kube.h>
#include <podvisor/kube_cache.h>
#include <podvisor/kube_event.h>
#include <podvisor/kube_queue.h>
#include <pthread.h>
#include <stdatomic.h>

#define WORKERS_MAX 32

struct operator;

/* One of the two controllers: keys in, reconciles out. */
struct controller {
    const char *name;
    struct operator* op;
    /* 0: done; -errno: again later, with back-off. */
    int (*reconcile)(struct operator* op, const char *namespace_, const char *name,
                     struct error *err);
    struct kube_queue *queue;
    pthread_t worker[WORKERS_MAX];
    unsigned worker_count;
    atomic_uint_fast64_t succeeded, failed, time_ns;
};

struct operator
{
    struct pod_config pod;
    struct kube_client *client;
    struct kube_caches *caches;
    struct kube_cache *vms, *vmis, *pods, *claims, *nodes;
    struct kube_events *events;
    struct controller vm, vmi;
};

/* Indices of the caches. */
enum { INDEX_VMI_PHASE, INDEX_VMI_NODE };
enum { INDEX_POD_VMI_UID, INDEX_POD_VMI_NAME };
enum { INDEX_NODE_READY };

/* Adds the kinds to op->caches (made by the caller), with the handlers that fill the queues. */
void operator_add_caches(struct operator* op);

/* Makes the queues; workers come with controller_start(). */
void controllers_init(struct operator* op);
/* Starts `workers` threads. Returns 0 or a negative errno. */
int controller_start(struct controller *controller, unsigned workers, struct error *err);
/* No new keys; waits for what the workers of both controllers are at. */
void controllers_stop(struct operator* op);
void controllers_done(struct operator* op);

int vm_reconcile(struct operator* op, const char *namespace_, const char *name, struct error *err);
int vmi_reconcile(struct operator* op, const char *namespace_, const char *name, struct error *err);

/* The tree of a cached object; *ret NULL when there is none. Any thread. */
int operator_look_up(struct kube_cache *cache, const char *namespace_, const char *name,
                     cJSON **ret, struct error *err);

/* Wall time, ns. */
int64_t operator_now(void);

/* Sends what a plan says. */
void operator_send_events(struct operator* op, const struct kube_resource *kind,
                          const cJSON *regarding, const struct planned_events *events);

/*
 * Writes `to` where it differs from `from`, which the server must still have (resourceVersion).
 * `subresource` NULL: the object itself. No difference, no call. *ret is the answer, or NULL when
 * there was no call; the caller's. An update, not a patch: the API server need not
 * encode, patch and decode the object once more; with a version both overwrite nothing of others.
 */
int operator_update(struct operator* op, const struct kube_resource *kind, const char *subresource,
                    const cJSON *from, const cJSON *to, cJSON **ret, struct error *err);

#endif

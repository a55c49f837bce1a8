// SPDX-License-Identifier: Apache-2.0
/*
 * The work queue of a controller (client-go util/workqueue): keys that are due,
 * each at most once, never twice at a time, none lost; delayed and rate-limited adds. Any thread.
 */
#ifndef PODVISOR_KUBE_QUEUE_H
#define PODVISOR_KUBE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KUBE_KEY_MAX 512 /* "namespace/name", with NUL */

struct kube_queue;

/* `now_ns` may be NULL: CLOCK_MONOTONIC. `name` is for metrics and is copied. */
struct kube_queue *kube_queue_new(const char *name, uint64_t (*now_ns)(void));
void kube_queue_free(struct kube_queue *queue);

void kube_queue_add(struct kube_queue *queue, const char *key);
/* The earlier of two delays for a key counts. */
void kube_queue_add_after(struct kube_queue *queue, const char *key, uint64_t delay_ns);
/* After a failure: 5 ms x 2^n, at most `KUBE_QUEUE_DELAY_MAX`; kube_queue_forget() resets n. */
#define KUBE_QUEUE_DELAY_MAX_NS (300ull * 1000000000)
void kube_queue_add_limited(struct kube_queue *queue, const char *key);
void kube_queue_forget(struct kube_queue *queue, const char *key);
unsigned kube_queue_failures(struct kube_queue *queue, const char *key);

/* Waits for a due key; false: shut down and drained. Pair with kube_queue_done(). */
bool kube_queue_get(struct kube_queue *queue, char ret_key[KUBE_KEY_MAX]);
void kube_queue_done(struct kube_queue *queue, const char *key);
/* Refuses new keys, wakes all. */
void kube_queue_shut_down(struct kube_queue *queue);

struct kube_queue_stats {
    size_t depth, processing, delayed;
    uint64_t adds, retries;
    uint64_t wait_ns, work_ns; /* sums, for means */
};
void kube_queue_stats(struct kube_queue *queue, struct kube_queue_stats *ret);

/* "namespace/name" and back; a key without '/' has no namespace. */
void kube_key(char ret[KUBE_KEY_MAX], const char *namespace_, const char *name);
void kube_key_split(const char *key, char ret_namespace[KUBE_KEY_MAX], char ret_name[KUBE_KEY_MAX]);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * A token bucket in its other form (GCRA): the time at which the bucket would be full again. Any
 * thread.
 */
#ifndef PODVISOR_KUBE_CLIENT_LIMIT_H
#define PODVISOR_KUBE_CLIENT_LIMIT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct kube_limit {
    pthread_mutex_t lock;
    uint64_t interval_ns, window_ns; /* between calls; how far ahead of it a burst may be */
    uint64_t full_at_ns;
};

void kube_limit_init(struct kube_limit *limit, unsigned qps, unsigned burst);
void kube_limit_done(struct kube_limit *limit);

/* Takes a place and stores how long to wait for it. False, and nothing taken, when that is more
 * than `max_wait_ns`. */
bool kube_limit_take(struct kube_limit *limit, uint64_t now_ns, uint64_t max_wait_ns,
                     uint64_t *ret_wait_ns);

#endif

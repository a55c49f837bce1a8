// SPDX-License-Identifier: Apache-2.0
/* The client's rate limit; see client_limit.h. */
#include "client_limit.h"
#include <podvisor/clock.h>

void kube_limit_init(struct kube_limit *limit, unsigned qps, unsigned burst)
{
    uint64_t interval = NSEC_PER_SEC / qps;
    *limit = (struct kube_limit){.lock = PTHREAD_MUTEX_INITIALIZER,
                                 .interval_ns = interval,
                                 .window_ns = interval * (burst - 1)};
}

void kube_limit_done(struct kube_limit *limit)
{
    pthread_mutex_destroy(&limit->lock);
}

bool kube_limit_take(struct kube_limit *limit, uint64_t now_ns, uint64_t max_wait_ns,
                     uint64_t *ret_wait_ns)
{
    pthread_mutex_lock(&limit->lock);
    uint64_t full_at = limit->full_at_ns > now_ns ? limit->full_at_ns : now_ns;
    uint64_t ahead = full_at - now_ns;
    uint64_t wait = ahead > limit->window_ns ? ahead - limit->window_ns : 0;
    bool fits = wait <= max_wait_ns;
    if (fits) {
        limit->full_at_ns = full_at + limit->interval_ns;
        *ret_wait_ns = wait;
    }
    pthread_mutex_unlock(&limit->lock);
    return fits;
}

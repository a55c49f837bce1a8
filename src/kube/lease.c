// SPDX-License-Identifier: Apache-2.0
/*
 * Leader election (podvisor/kube_lease.h): the thread that gets, takes, renews and gives back the
 * Lease. Its calls block this thread alone, on its own connection, outside the rate limit, for 5 s
 * at most. Time is CLOCK_BOOTTIME: a machine that slept has lost its lease, and must know.
 */
#include "internal.h"
#include "lease_record.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/log.h>
#include <podvisor/str.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

#define CALL_NS       (5 * NSEC_PER_SEC)
#define CALL_LEAST_NS (10 * NSEC_PER_MSEC)
#define FAILED_NS     (2 * NSEC_PER_SEC) /* a leader that could not renew tries again after this */

static const struct kube_resource leases = {
    .group = "coordination.k8s.io", .version = "v1", .plural = "leases", .kind = "Lease"};

struct kube_lease {
    struct kube_client *client;
    struct kube_lease_options options;
    char *namespace_, *name, *identity;
    struct lease_record record; /* of the thread */
    atomic_bool held;
    atomic_uint_fast64_t renewed_ns; /* of the last renewal, while held */
    pthread_t thread;
    pthread_mutex_t lock; /* with `wake`: stopping */
    pthread_cond_t wake;
    bool stopping;
};

static uint64_t boot_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static int64_t wall_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * (int64_t)NSEC_PER_SEC + ts.tv_nsec;
}

static void publish(struct kube_lease *lease)
{
    atomic_store(&lease->renewed_ns, lease->record.renewed_ns);
    atomic_store(&lease->held, lease->record.held);
}

/* One request within what is left of the deadline. */
static int call(struct kube_lease *lease, enum kube_verb verb, const cJSON *object, cJSON **ret,
                struct error *err)
{
    uint64_t left = lease_record_left(&lease->record, boot_now_ns());
    uint64_t timeout = left < CALL_NS ? left : CALL_NS;
    const struct kube_call_options options = {
        .unlimited = true,
        .no_retry = true,
        .timeout_ns = timeout > CALL_LEAST_NS ? timeout : CALL_LEAST_NS,
    };
    const struct kube_call c = {.client = lease->client,
                                .resource = &leases,
                                .namespace_ = lease->namespace_,
                                .name = verb == KUBE_VERB_POST ? NULL : lease->name};
    return kube_call_with(&c, &options, verb, object, ret, err);
}

static int write_lease(struct kube_lease *lease, enum kube_verb verb, bool release,
                       struct error *err)
{
    cleanup_json cJSON *object = lease_record_make(&lease->record, release, wall_now_ns());
    cJSON *answer = NULL;
    uint64_t begun = boot_now_ns();
    int r = call(lease, verb, object, &answer, err);
    if (r < 0)
        return r;
    lease_record_written(&lease->record, answer, begun, boot_now_ns());
    publish(lease);
    return 0;
}

/*
 * One attempt to take or renew it. Returns 1 when it is ours, 0 when another's, -ESTALE when it was
 * ours and is another's now, or what failed.
 */
static int try_once(struct kube_lease *lease, struct error *err)
{
    int r;
    if (lease->record.held) {
        /* The leader's usual way: one PUT with the version that we know. Only a server that
         * answers "conflict" or "not found" has something newer to show. */
        r = write_lease(lease, KUBE_VERB_PUT, false, err);
        if (r != -EAGAIN && r != -ENOENT)
            return r < 0 ? r : 1;
        *err = ERROR_INIT;
    }
    cJSON *seen = NULL;
    r = call(lease, KUBE_VERB_GET, NULL, &seen, err);
    if (r < 0 && r != -ENOENT)
        return r;
    lease_record_observe(&lease->record, seen, boot_now_ns());
    switch (lease_record_decide(&lease->record, boot_now_ns())) {
    case LEASE_LOST:
        return error_set(err, ESTALE, "another has taken the lease");
    case LEASE_WAIT:
        return 0;
    case LEASE_CREATE:
        r = write_lease(lease, KUBE_VERB_POST, false, err);
        break;
    case LEASE_UPDATE:
        r = write_lease(lease, KUBE_VERB_PUT, false, err);
        break;
    }
    return r < 0 ? r : 1;
}

/* Sleeps; true: it is time to stop. */
static bool sleep_ns(struct kube_lease *lease, uint64_t ns)
{
    uint64_t until = clock_now_ns() + ns;
    struct timespec at = {.tv_sec = (time_t)(until / NSEC_PER_SEC),
                          .tv_nsec = (long)(until % NSEC_PER_SEC)};
    int r = 0;
    pthread_mutex_lock(&lease->lock);
    while (!lease->stopping && r == 0)
        r = pthread_cond_timedwait(&lease->wake, &lease->lock, &at);
    bool stopping = lease->stopping;
    pthread_mutex_unlock(&lease->lock);
    return stopping;
}

/* Candidates try at different times: 1 to 2.2 times the interval. */
static uint64_t jitter(uint64_t ns)
{
    uint32_t random = 0;
    (void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
    return ns + (ns / 1000 * 1200 / 1000) * (random >> 16) / 65536 * 1000;
}

/* Until it is ours; false: stopped before. */
static bool acquire(struct kube_lease *lease)
{
    for (;;) {
        struct error err = ERROR_INIT;
        int r = try_once(lease, &err);
        if (r > 0)
            return true;
        if (r < 0 && r != -EAGAIN && r != -EEXIST) /* another was faster */
            log_warn("lease", "cannot take lease %s/%s: %s", lease->namespace_, lease->name,
                     err.text);
        if (sleep_ns(lease, jitter(lease->options.retry_ns)))
            return false;
    }
}

/* While it is ours. True: stopped; false: lost. */
static bool renew(struct kube_lease *lease)
{
    uint64_t pause = lease->options.retry_ns;
    for (;;) {
        uint64_t left = lease_record_left(&lease->record, boot_now_ns());
        if (sleep_ns(lease, left < pause ? left : pause))
            return true;
        pause = lease->options.retry_ns;
        struct error err = ERROR_INIT;
        int r = lease_record_left(&lease->record, boot_now_ns()) > 0
                    ? try_once(lease, &err)
                    : error_set(&err, ETIMEDOUT, "it could not be renewed in time");
        if (r > 0)
            continue;
        log_warn("lease", "cannot renew lease %s/%s: %s", lease->namespace_, lease->name, err.text);
        if (r == -ESTALE || lease_record_left(&lease->record, boot_now_ns()) == 0)
            return false;
        pause = pause < FAILED_NS ? pause : FAILED_NS;
    }
}

static void release(struct kube_lease *lease)
{
    struct error err = ERROR_INIT;
    if (write_lease(lease, KUBE_VERB_PUT, true, &err) < 0)
        log_warn("lease", "cannot give lease %s/%s back: %s", lease->namespace_, lease->name,
                 err.text);
    lease->record.held = false;
    publish(lease);
}

static void *run(void *arg)
{
    struct kube_lease *lease = arg;
    if (!acquire(lease))
        return NULL;
    log_info("lease", "%s leads: it holds lease %s/%s", lease->identity, lease->namespace_,
             lease->name);
    if (lease->options.acquired != NULL)
        lease->options.acquired(lease->options.user);
    if (renew(lease)) {
        release(lease);
        return NULL;
    }
    lease->record.held = false;
    publish(lease);
    log_error("lease", "%s does not lead any more: it lost lease %s/%s", lease->identity,
              lease->namespace_, lease->name);
    if (lease->options.lost != NULL)
        lease->options.lost(lease->options.user);
    return NULL;
}

static void set_default(uint64_t *ns, uint64_t seconds)
{
    if (*ns == 0)
        *ns = seconds * NSEC_PER_SEC;
}

static int check_times(const struct kube_lease_options *options, struct error *err)
{
    /* A candidate waits up to 2.2 times the interval, a leader's interval must fit its deadline. */
    if (options->duration_ns <= options->renew_deadline_ns ||
        options->renew_deadline_ns <= options->retry_ns + options->retry_ns / 5)
        return error_set(err, EINVAL,
                         "the lease's duration must be longer than its renewal deadline, and that "
                         "longer than 1.2 times the retry interval");
    return 0;
}

static void free_lease(struct kube_lease *lease)
{
    lease_record_done(&lease->record);
    pthread_cond_destroy(&lease->wake);
    pthread_mutex_destroy(&lease->lock);
    free(lease->namespace_);
    free(lease->name);
    free(lease->identity);
    free(lease);
}

static struct kube_lease *new_lease(struct kube_client *client,
                                    const struct kube_lease_options *options)
{
    struct kube_lease *lease = xcalloc(1, sizeof(*lease));
    lease->client = client;
    lease->options = *options;
    lease->options.namespace_ = lease->namespace_ = xstrdup(options->namespace_);
    lease->options.name = lease->name = xstrdup(options->name);
    lease->options.identity = lease->identity = xstrdup(options->identity);
    lease->record.options = &lease->options;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&lease->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&lease->lock, NULL);
    return lease;
}

int kube_lease_start(struct kube_client *client, const struct kube_lease_options *given,
                     struct kube_lease **ret, struct error *err)
{
    struct kube_lease_options options = *given;
    set_default(&options.duration_ns, 30);
    set_default(&options.renew_deadline_ns, 20);
    set_default(&options.retry_ns, 8);
    int r = check_times(&options, err);
    if (r < 0)
        return r;
    struct kube_lease *lease = new_lease(client, &options);
    sigset_t all, before;
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&lease->thread, NULL, run, lease);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        free_lease(lease);
        return error_sys(err, error, "cannot start the lease's thread");
    }
    pthread_setname_np(lease->thread, "kube-lease");
    *ret = lease;
    return 0;
}

static uint64_t renewal_age(const struct kube_lease *lease)
{
    uint64_t now = boot_now_ns(), renewed = atomic_load(&lease->renewed_ns);
    return now > renewed ? now - renewed : 0;
}

bool kube_lease_held(const struct kube_lease *lease)
{
    return atomic_load(&lease->held) && renewal_age(lease) < lease->options.renew_deadline_ns;
}

bool kube_lease_healthy(const struct kube_lease *lease)
{
    /* The tolerance is what another candidate would wait beyond our deadline. */
    return !atomic_load(&lease->held) || renewal_age(lease) < lease->options.duration_ns;
}

void kube_lease_stop(struct kube_lease *lease)
{
    if (lease == NULL)
        return;
    pthread_mutex_lock(&lease->lock);
    lease->stopping = true;
    pthread_cond_signal(&lease->wake);
    pthread_mutex_unlock(&lease->lock);
    pthread_join(lease->thread, NULL);
    free_lease(lease);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Events (podvisor/kube_event.h): callers note them in the book (event_series.h) under a lock that
 * is never held for long; a thread of their own sends them, one at a time, and tries each for two
 * minutes while the server does not answer.
 */
#include "client_limit.h"
#include "event_series.h"
#include "internal.h"
#include <podvisor/cleanup.h>
#include <podvisor/log.h>
#include <podvisor/str.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define TRIES       12
#define RETRY_NS    (10 * NSEC_PER_SEC)
#define CALL_NS     (5 * NSEC_PER_SEC) /* also bounds kube_events_stop() */
#define TICK_MIN_NS NSEC_PER_SEC       /* series need not end to the millisecond */
/*
 * People read events, controllers do not: while a thousand objects start at once, the API server's
 * time is better spent on their state. A burst that anybody watches goes out at once, and what is
 * left of a greater one when no other calls are made.
 */
#define PACE_QPS   20
#define PACE_BURST 200
#define YIELD_NS   (5 * NSEC_PER_MSEC)

static const struct kube_resource event_kind = {
    .group = "events.k8s.io", .version = "v1", .plural = "events", .kind = "Event"};

struct kube_events {
    struct kube_client *client;
    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    struct event_book *book;
    struct kube_limit pace;
    bool stopping;
    uint64_t stop_ns; /* when to give up sending */
};

static int64_t wall_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * (int64_t)NSEC_PER_SEC + ts.tv_nsec;
}

/* Under the lock: until `until_ns` or a change. */
static void wait_until(struct kube_events *events, uint64_t until_ns)
{
    struct timespec at = {.tv_sec = (time_t)(until_ns / NSEC_PER_SEC),
                          .tv_nsec = (long)(until_ns % NSEC_PER_SEC)};
    if (until_ns == UINT64_MAX)
        pthread_cond_wait(&events->changed, &events->lock);
    else
        pthread_cond_timedwait(&events->changed, &events->lock, &at);
}

static bool given_up(const struct kube_events *events)
{
    return events->stopping && clock_now_ns() >= events->stop_ns;
}

/* Under the lock, which others get meanwhile. What is left when it is time to stop has no pace. */
static void keep_pace(struct kube_events *events)
{
    uint64_t wait_ns;
    while (!events->stopping && kube_client_busy(events->client) &&
           !kube_limit_take(&events->pace, clock_now_ns(), 0, &wait_ns))
        wait_until(events, clock_now_ns() + YIELD_NS);
}

/* Between two tries: 10 s, give or take a half, less when it is time to stop. */
static bool pause_before_retry(struct kube_events *events)
{
    uint32_t random = 0;
    (void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
    uint64_t until = clock_now_ns() + RETRY_NS / 2 + RETRY_NS / UINT16_MAX * (random >> 16);
    pthread_mutex_lock(&events->lock);
    while (!events->stopping && clock_now_ns() < until)
        wait_until(events, until);
    bool go_on = !events->stopping;
    pthread_mutex_unlock(&events->lock);
    return go_on;
}

static int call(struct kube_events *events, const struct event_job *job, struct error *err)
{
    const struct kube_call c = {.client = events->client,
                                .resource = &event_kind,
                                .namespace_ = job->namespace_,
                                .name = job->create ? NULL : job->name};
    const struct kube_call_options options = {.timeout_ns = CALL_NS, .background = true};
    return kube_call_with(&c, &options, job->create ? KUBE_VERB_POST : KUBE_VERB_PATCH, job->body,
                          NULL, err);
}

static enum event_result send_job(struct kube_events *events, const struct event_job *job)
{
    struct error err = ERROR_INIT;
    for (unsigned i = 0; i < TRIES; i++) {
        err = ERROR_INIT;
        int r = call(events, job, &err);
        if (r == 0 || r == -EEXIST) /* an answer to an earlier try was lost */
            return EVENT_SENT;
        if (r == -ENOENT && !job->create)
            return EVENT_GONE;
        bool transient = r == -EBUSY || r == -EIO || r == -ETIMEDOUT;
        if (!transient || !pause_before_retry(events))
            break;
    }
    log_warn("event", "dropping event %s/%s: %s", job->namespace_, job->name, err.text);
    return EVENT_REFUSED;
}

static void *run(void *arg)
{
    struct kube_events *events = arg;
    uint64_t tick_ns = UINT64_MAX;
    pthread_mutex_lock(&events->lock);
    while (!given_up(events)) {
        struct event_job job;
        uint64_t now = clock_now_ns();
        if (event_book_next(events->book, &job, now)) {
            keep_pace(events);
            pthread_mutex_unlock(&events->lock);
            enum event_result result = send_job(events, &job);
            cJSON_Delete(job.body);
            pthread_mutex_lock(&events->lock);
            event_book_sent(events->book, &job, result);
            /* Its quiet time has begun. */
            tick_ns = tick_ns < now + EVENT_QUIET_NS ? tick_ns : now + EVENT_QUIET_NS;
            continue;
        }
        if (events->stopping)
            break;
        if (now >= tick_ns) {
            tick_ns = event_book_tick(events->book, now);
            if (tick_ns != UINT64_MAX && tick_ns < now + TICK_MIN_NS)
                tick_ns = now + TICK_MIN_NS;
            continue;
        }
        wait_until(events, tick_ns);
    }
    pthread_mutex_unlock(&events->lock);
    return NULL;
}

static void free_events(struct kube_events *events)
{
    event_book_free(events->book);
    kube_limit_done(&events->pace);
    pthread_cond_destroy(&events->changed);
    pthread_mutex_destroy(&events->lock);
    free(events);
}

int kube_events_start(struct kube_client *client, const char *controller, const char *instance,
                      struct kube_events **ret, struct error *err)
{
    struct kube_events *events = xcalloc(1, sizeof(*events));
    events->client = client;
    events->book = event_book_new(controller, instance);
    kube_limit_init(&events->pace, PACE_QPS, PACE_BURST);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&events->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&events->lock, NULL);
    sigset_t all, before;
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&events->thread, NULL, run, events);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        free_events(events);
        return error_sys(err, error, "cannot start the events' thread");
    }
    pthread_setname_np(events->thread, "kube-events");
    *ret = events;
    return 0;
}

void kube_events_stop(struct kube_events *events, uint64_t drain_ns)
{
    if (events == NULL)
        return;
    pthread_mutex_lock(&events->lock);
    events->stopping = true;
    events->stop_ns = clock_now_ns() + drain_ns;
    pthread_cond_signal(&events->changed);
    pthread_mutex_unlock(&events->lock);
    pthread_join(events->thread, NULL);
    free_events(events);
}

void kube_event(struct kube_events *events, const struct kube_resource *kind,
                const cJSON *regarding, bool warning, const char *reason, const char *action,
                const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    cleanup_free char *note = xvasprintf(fmt, ap);
    va_end(ap);
    const struct event_what what = {.kind = kind,
                                    .regarding = regarding,
                                    .warning = warning,
                                    .reason = reason,
                                    .action = action != NULL ? action : "",
                                    .note = note};
    pthread_mutex_lock(&events->lock);
    if (!events->stopping && event_book_record(events->book, &what, clock_now_ns(), wall_now_ns()))
        pthread_cond_signal(&events->changed);
    pthread_mutex_unlock(&events->lock);
}

uint64_t kube_events_dropped(const struct kube_events *events)
{
    return event_book_dropped(events->book);
}

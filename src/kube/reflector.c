// SPDX-License-Identifier: Apache-2.0
/* The reflector's state machine; see reflector.h. */
#include "reflector.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <stdio.h>
#include <string.h>

#define PAGES_MAX 10000 /* five million objects: a server that never ends its list */

const struct reflector_times reflector_default_times = {
    .backoff_first = 800 * NSEC_PER_MSEC,
    .backoff_least = 100 * NSEC_PER_MSEC,
    .backoff_max = 30 * NSEC_PER_SEC,
    .backoff_reset = 120 * NSEC_PER_SEC,
    .short_watch = NSEC_PER_SEC,
    .answer = 30 * NSEC_PER_SEC,
    .idle = 150 * NSEC_PER_SEC,
    .internal = 30 * NSEC_PER_SEC,
    .list = 120 * NSEC_PER_SEC, /* the server ends its part after 60 s */
};

static void set_version(char to[KUBE_VERSION_SIZE], const char *version)
{
    snprintf(to, KUBE_VERSION_SIZE, "%s", version);
}

/* xorshift64: who reconnects when need not be a secret, only differ between clients. */
static uint64_t next_random(struct reflector *r)
{
    r->random ^= r->random << 13;
    r->random ^= r->random >> 7;
    r->random ^= r->random << 17;
    return r->random;
}

static void forget_pages(struct reflector *r)
{
    free(r->continue_);
    r->continue_ = NULL;
    r->pages = 0;
    r->whole = false;
}

static void begin_list(struct reflector *r)
{
    forget_pages(r);
    r->step = REFLECTOR_LIST;
    /* Never seen anything: any version will do, from the server's memory. */
    const char *version = r->version[0] != '\0' ? r->version : "0";
    set_version(r->asked_version, r->version_unavailable ? "" : version);
}

void reflector_init(struct reflector *r, uint64_t seed)
{
    memset(r, 0, sizeof(*r));
    r->times = &reflector_default_times;
    r->random = seed != 0 ? seed : 1;
    r->page = REFLECTOR_PAGE;
    begin_list(r);
}

void reflector_done(struct reflector *r)
{
    forget_pages(r);
}

/*
 * A list at a version that is neither "" nor "0" goes without limit: pages would pass by the
 * server's watch cache and read etcd.
 */
static unsigned page_size(const struct reflector *r)
{
    if (r->whole)
        return 0;
    bool cached = r->asked_version[0] != '\0' && strcmp(r->asked_version, "0") != 0;
    return cached && !r->paged_before ? 0 : r->page;
}

struct reflector_request reflector_next(struct reflector *r, uint64_t now_ns)
{
    if (r->step == REFLECTOR_WAIT && now_ns >= r->until_ns) {
        r->step = r->after_wait;
        if (r->step == REFLECTOR_LIST) {
            r->asked_newest = false;
            begin_list(r);
        }
    }
    struct reflector_request request = {.step = r->step};
    if (r->step == REFLECTOR_WAIT) {
        request.until_ns = r->until_ns;
    } else if (r->step == REFLECTOR_LIST) {
        request.version = r->continue_ != NULL ? NULL : r->asked_version;
        request.continue_ = r->continue_;
        request.limit = page_size(r);
    } else {
        r->timeout_seconds =
            REFLECTOR_TIMEOUT_MIN +
            (unsigned)(next_random(r) % (REFLECTOR_TIMEOUT_MAX - REFLECTOR_TIMEOUT_MIN + 1));
        request.version = r->version;
        request.timeout_seconds = r->timeout_seconds;
    }
    return request;
}

/* Waits, longer after each failure, at least as long as the server asked for. */
static void back_off(struct reflector *r, enum reflector_step then, unsigned retry_after_seconds,
                     uint64_t now_ns)
{
    if (r->failures > 0 && now_ns - r->last_failure_ns > r->times->backoff_reset)
        r->failures = 0;
    uint64_t most = r->times->backoff_first;
    for (unsigned i = 0; i < r->failures && most < r->times->backoff_max; i++)
        most *= 2;
    if (most > r->times->backoff_max)
        most = r->times->backoff_max;
    uint64_t delay = next_random(r) % (most + 1);
    if (delay < r->times->backoff_least)
        delay = r->times->backoff_least;
    uint64_t asked = (uint64_t)retry_after_seconds * NSEC_PER_SEC;
    if (asked > r->times->backoff_max)
        asked = r->times->backoff_max;
    r->failures++;
    r->last_failure_ns = now_ns;
    r->step = REFLECTOR_WAIT;
    r->after_wait = then;
    r->until_ns = now_ns + (delay > asked ? delay : asked);
}

bool reflector_listed(struct reflector *r, const char *version, const char *continue_,
                      uint64_t now_ns)
{
    if (r->pages++ == 0)
        set_version(r->list_version, version);
    if (*continue_ != '\0') {
        if (r->pages >= PAGES_MAX ||
            (r->continue_ != NULL && strcmp(r->continue_, continue_) == 0)) {
            reflector_list_failed(r, REFLECTOR_OTHER, 0, now_ns);
            return false;
        }
        free(r->continue_);
        r->continue_ = xstrdup(continue_);
        return false;
    }
    if (r->pages > 1 && strcmp(r->asked_version, "0") == 0)
        r->paged_before = true;
    set_version(r->version, r->list_version);
    r->version_unavailable = false;
    r->asked_newest = false;
    forget_pages(r);
    r->step = REFLECTOR_WATCH;
    return true;
}

void reflector_list_failed(struct reflector *r, enum reflector_failure failure,
                           unsigned retry_after_seconds, uint64_t now_ns)
{
    /* A later page: its token died. All of it again, in one, at the version that was asked for. */
    if (failure == REFLECTOR_EXPIRED && r->continue_ != NULL && !r->whole) {
        forget_pages(r);
        r->whole = true;
        return;
    }
    /* Not even a page: whoever fills objects with all that etcd takes must not make us blind. */
    if (failure == REFLECTOR_TOO_LARGE && r->asked_version[0] == '\0')
        r->page = r->page / 4 > REFLECTOR_PAGE_LEAST ? r->page / 4 : REFLECTOR_PAGE_LEAST;
    if (failure == REFLECTOR_EXPIRED || failure == REFLECTOR_TOO_LARGE) {
        r->version_unavailable = true;
        if (!r->asked_newest) {
            r->asked_newest = true;
            begin_list(r);
            return;
        }
    }
    back_off(r, REFLECTOR_LIST, retry_after_seconds, now_ns);
}

void reflector_watch_started(struct reflector *r, uint64_t now_ns)
{
    r->started_ns = r->last_byte_ns = now_ns;
    r->answered = r->bookmarked = false;
    r->events = 0;
}

void reflector_watch_answered(struct reflector *r, uint64_t now_ns)
{
    r->answered = true;
    r->last_byte_ns = now_ns;
}

void reflector_watch_bytes(struct reflector *r, uint64_t now_ns)
{
    r->last_byte_ns = now_ns;
}

void reflector_watch_event(struct reflector *r, const char *version)
{
    set_version(r->version, version);
    r->events++;
    r->internal_since_ns = 0;
}

void reflector_watch_bookmark(struct reflector *r, const char *version)
{
    r->bookmarked = true;
    reflector_watch_event(r, version);
}

uint64_t reflector_watch_deadline(const struct reflector *r)
{
    if (!r->answered)
        return r->last_byte_ns + r->times->answer;
    return r->bookmarked ? r->last_byte_ns + r->times->idle : UINT64_MAX;
}

void reflector_watch_ended(struct reflector *r, uint64_t now_ns)
{
    if (!r->answered) {
        reflector_watch_failed(r, REFLECTOR_NO_ANSWER, 0, now_ns);
        return;
    }
    /* Answered and ended at once: some servers do so instead of saying 410 (kubernetes#104171). */
    if (r->events == 0 && now_ns - r->started_ns < r->times->short_watch) {
        back_off(r, REFLECTOR_LIST, 0, now_ns);
        return;
    }
    r->step = REFLECTOR_WATCH;
}

/* 500s are the server's own trouble and say nothing about our version, for a while. */
static bool may_repeat_after_internal(struct reflector *r, uint64_t now_ns)
{
    if (r->internal_since_ns == 0)
        r->internal_since_ns = now_ns;
    return now_ns - r->internal_since_ns < r->times->internal;
}

void reflector_watch_failed(struct reflector *r, enum reflector_failure failure,
                            unsigned retry_after_seconds, uint64_t now_ns)
{
    bool same_watch = failure == REFLECTOR_NO_ANSWER || failure == REFLECTOR_TOO_MANY ||
                      (failure == REFLECTOR_INTERNAL && may_repeat_after_internal(r, now_ns));
    if (failure == REFLECTOR_INTERNAL && !same_watch)
        r->internal_since_ns = 0;
    /* 410 too lists from the last version first: "at least as new as that" is enough. */
    back_off(r, same_watch ? REFLECTOR_WATCH : REFLECTOR_LIST, retry_after_seconds, now_ns);
}

void reflector_again(struct reflector *r)
{
    if (r->step == REFLECTOR_LIST)
        begin_list(r);
}

enum reflector_failure reflector_classify(const struct kube_status *status)
{
    if (status->code == 0 || status->code == 401)
        return REFLECTOR_NO_ANSWER;
    /* "Gone" before Kubernetes 1.18. */
    if (status->code == 410 || strcmp(status->reason, "Expired") == 0 ||
        strcmp(status->reason, "Gone") == 0)
        return REFLECTOR_EXPIRED;
    if (strstr(status->message, "Too large resource version") != NULL)
        return REFLECTOR_TOO_LARGE;
    if (status->code == 429)
        return REFLECTOR_TOO_MANY;
    if (status->code == 500)
        return REFLECTOR_INTERNAL;
    return REFLECTOR_OTHER;
}

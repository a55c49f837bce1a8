// SPDX-License-Identifier: Apache-2.0
/*
 * Which events go to the API server (events.k8s.io/v1; client-go tools/events). The first of a kind
 * is created; when the same comes again, the object becomes a series, which is patched at its
 * second occurrence, every half an hour and at its end, after 6 quiet minutes; between them
 * occurrences only count. "The same": type, reason, action and the object it is about. An object
 * may have 25 events at once and one more every 5 minutes.
 *
 * No input or output; the caller locks. Times: `now_ns` is monotonic, `wall_ns` since 1970.
 */
#ifndef PODVISOR_KUBE_EVENT_SERIES_H
#define PODVISOR_KUBE_EVENT_SERIES_H

#include <podvisor/clock.h>
#include <podvisor/kube_event.h>

#define EVENT_SERIES_MAX   8192 /* kinds of events remembered */
#define EVENT_PENDING_MAX  4096 /* ... of which wait to be sent */
#define EVENT_BURST        25
#define EVENT_REFILL_NS    (300 * NSEC_PER_SEC)
#define EVENT_QUIET_NS     (360 * NSEC_PER_SEC)
#define EVENT_HEARTBEAT_NS (1800 * NSEC_PER_SEC)
#define EVENT_NOTE_MAX     1024 /* bytes; the API's bound */
#define EVENT_WORD_MAX     128  /* of reason, action, reportingInstance */
#define EVENT_OBJECT_NAME  236  /* leaves room for ".<hex unixnano>" in 253 */

struct event_book;
struct event_series;

struct event_book *event_book_new(const char *controller, const char *instance);
void event_book_free(struct event_book *book);

struct event_what {
    const struct kube_resource *kind;
    const cJSON *regarding;
    bool warning;
    const char *reason, *action, *note;
};

/* Returns false when the event was dropped. */
bool event_book_record(struct event_book *book, const struct event_what *what, uint64_t now_ns,
                       int64_t wall_ns);

/* Series that are silent or due for a heartbeat; returns when to call again, UINT64_MAX: never. */
uint64_t event_book_tick(struct event_book *book, uint64_t now_ns);

struct event_job {
    struct event_series *series; /* stays until event_book_sent() */
    bool create;                 /* else: a merge patch */
    const char *namespace_, *name;
    cJSON *body; /* the caller's */
};

/* Takes the next event to send. False: there is none. */
bool event_book_next(struct event_book *book, struct event_job *ret, uint64_t now_ns);

enum event_result {
    EVENT_SENT,
    EVENT_GONE,    /* the object to patch is not there any more: create it again */
    EVENT_REFUSED, /* nothing will help */
};
void event_book_sent(struct event_book *book, const struct event_job *job,
                     enum event_result result);

uint64_t event_book_dropped(const struct event_book *book);
size_t event_book_pending(const struct event_book *book);
size_t event_book_count(const struct event_book *book);

#endif

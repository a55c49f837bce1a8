// SPDX-License-Identifier: Apache-2.0
/*
 * What a reflector does next (client-go tools/cache/reflector.go, tools/pager):
 * a state machine that is told what happened, with its time, and does no input or output itself.
 *
 *     LIST --pages--> WATCH --ended--> WATCH ...
 *       ^               | expired, refused: from the last version; "" when that one is gone
 *       +--- WAIT ------+ after a failure, 0.8 s x 2^n, full jitter, at most 30 s
 *
 * resourceVersions are opaque: kept, sent back, never compared. One thread.
 */
#ifndef PODVISOR_KUBE_REFLECTOR_H
#define PODVISOR_KUBE_REFLECTOR_H

#include "store.h"

#define REFLECTOR_PAGE        500
#define REFLECTOR_PAGE_LEAST  8   /* of objects as large as etcd takes them */
#define REFLECTOR_TIMEOUT_MIN 300 /* seconds; of a watch, uniform between the two */
#define REFLECTOR_TIMEOUT_MAX 600

/* Nanoseconds. Tests have shorter ones. */
struct reflector_times {
    uint64_t backoff_first; /* the most to wait after one failure: x 2^n */
    uint64_t backoff_least;
    uint64_t backoff_max;
    uint64_t backoff_reset; /* without a failure for so long: n is 0 again */
    uint64_t short_watch;   /* a watch that ended before, without an event, has failed */
    uint64_t answer;        /* until a watch's response begins */
    uint64_t idle;          /* of a watch that gets bookmarks, which come every minute */
    uint64_t internal;      /* how long 500s only repeat the watch */
    uint64_t list;          /* for all of a list, or of a page */
};
extern const struct reflector_times reflector_default_times;

enum reflector_step { REFLECTOR_LIST, REFLECTOR_WATCH, REFLECTOR_WAIT };

/* The request to make, or the time to wait for. Strings are borrowed until the next call. */
struct reflector_request {
    enum reflector_step step;
    const char *version;      /* LIST: "" any newest, NULL on later pages; WATCH: where to go on */
    const char *continue_;    /* LIST: the page; NULL: the first: collect anew */
    unsigned limit;           /* LIST: 0: without */
    unsigned timeout_seconds; /* WATCH */
    uint64_t until_ns;        /* WAIT */
};

enum reflector_failure {
    REFLECTOR_NO_ANSWER, /* refused, reset, timed out before a status; or who we are is not known */
    REFLECTOR_EXPIRED,   /* 410: the version, or the page, is gone */
    REFLECTOR_TOO_LARGE, /* 504 "Too large resource version": the server is behind it; or the list
                            at that version is too large for us */
    REFLECTOR_TOO_MANY,  /* 429 */
    REFLECTOR_INTERNAL,  /* 500 */
    REFLECTOR_OTHER,     /* any other refusal, or an answer that is none */
};

struct reflector {
    const struct reflector_times *times;
    enum reflector_step step, after_wait;
    char version[KUBE_VERSION_SIZE]; /* last seen; "" nothing was */
    bool version_unavailable;        /* lists must not ask for it */
    bool paged_before;               /* the list of version 0 came in pages: keep to them */
    unsigned page;                   /* objects of one; less once they were too large */
    /* The list that is under way. */
    char *continue_;                      /* NULL: its first page */
    char list_version[KUBE_VERSION_SIZE]; /* its first page's: of all of it */
    char asked_version[KUBE_VERSION_SIZE];
    bool asked_newest; /* it is the second try of this list, with version "" */
    bool whole;        /* ... or without pages, since a page had expired */
    unsigned pages;
    /* The watch that is under way. */
    uint64_t started_ns, last_byte_ns;
    bool answered, bookmarked;
    unsigned timeout_seconds;
    uint64_t events;
    uint64_t internal_since_ns; /* first of a row of 500s; 0: none */
    /* Back-off. */
    unsigned failures;
    uint64_t last_failure_ns, until_ns;
    uint64_t random; /* state of the generator, not 0 */
};

/* Begins with a list. `seed` is any number. */
void reflector_init(struct reflector *r, uint64_t seed);
void reflector_done(struct reflector *r);

/* What to do now. */
struct reflector_request reflector_next(struct reflector *r, uint64_t now_ns);

/*
 * A page has come, and was read to its end. Returns true when the list is complete: the caller
 * replaces the store.
 */
bool reflector_listed(struct reflector *r, const char *version, const char *continue_,
                      uint64_t now_ns);
void reflector_list_failed(struct reflector *r, enum reflector_failure failure,
                           unsigned retry_after_seconds, uint64_t now_ns);

/* The watch is requested; is answered with 200; gave bytes; gave an event with this version. */
void reflector_watch_started(struct reflector *r, uint64_t now_ns);
void reflector_watch_answered(struct reflector *r, uint64_t now_ns);
void reflector_watch_bytes(struct reflector *r, uint64_t now_ns);
void reflector_watch_event(struct reflector *r, const char *version);
void reflector_watch_bookmark(struct reflector *r, const char *version);

/*
 * When the watch counts as dead unless bytes come; then call reflector_watch_ended(). Silence says
 * that only of a watch that has had a bookmark: an API server before 1.21, or without etcd's
 * progress notifications, sends none for a kind of which nothing has changed since it started
 * (apiserver storage/cacher). UINT64_MAX then: TCP notices a peer that is gone, and the watch's own
 * timeout one that is stuck.
 */
uint64_t reflector_watch_deadline(const struct reflector *r);

/* The stream is over, by its regular end or a lost connection; or it never was answered. */
void reflector_watch_ended(struct reflector *r, uint64_t now_ns);

/* The watch was refused, or an ERROR event came. */
void reflector_watch_failed(struct reflector *r, enum reflector_failure failure,
                            unsigned retry_after_seconds, uint64_t now_ns);

/* A connection was given up for our own reasons (new credentials): the same request again. */
void reflector_again(struct reflector *r);

/* What a refusal means. */
enum reflector_failure reflector_classify(const struct kube_status *status);

#endif

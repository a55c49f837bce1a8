// SPDX-License-Identifier: Apache-2.0
/*
 * A watch's bytes into lines: one JSON object each. A JSON string never
 * holds a raw newline, so the split needs no parser. One thread.
 */
#ifndef PODVISOR_KUBE_WATCH_LINES_H
#define PODVISOR_KUBE_WATCH_LINES_H

#include <podvisor/error.h>
#include <podvisor/json.h>
#include <stdbool.h>
#include <stddef.h>

#define KUBE_WATCH_LINE_MAX ((size_t)16 << 20) /* an object and the event around it */

struct kube_watch_lines {
    char *buf; /* the line that has begun; zero-initialised: none */
    size_t len, size;
    size_t max; /* 0: KUBE_WATCH_LINE_MAX */
};

/* One line without its newline; not 0: stop, and feed returns it. */
typedef int kube_watch_line(void *user, const char *line, size_t len);

/*
 * Passes each line that is complete now to `line`; empty lines are skipped. Returns 0, what `line`
 * returned, or -E2BIG for a line over the bound; after these two the stream is of no more use.
 */
int kube_watch_lines_feed(struct kube_watch_lines *lines, const char *bytes, size_t len,
                          kube_watch_line *line, void *user);

/* Forgets the line that has begun: the stream is over. */
void kube_watch_lines_done(struct kube_watch_lines *lines);

enum kube_watch_type {
    KUBE_WATCH_ADDED,
    KUBE_WATCH_MODIFIED,
    KUBE_WATCH_DELETED,
    KUBE_WATCH_BOOKMARK,
    KUBE_WATCH_ERROR,
    KUBE_WATCH_UNKNOWN, /* of a later API: to be skipped */
};

/*
 * Reads {"type": ..., "object": {...}}. The tree is the caller's. Returns 0 or -EINVAL. *ret_object
 * is NULL, with `err`, for an object that json_parse() refuses: anybody may have written it. Of one
 * that was deleted it has the members of metadata that say which, if they can be found.
 */
int kube_watch_event_read(const char *line, size_t len, enum kube_watch_type *ret_type,
                          cJSON **ret_object, struct error *err);

#endif

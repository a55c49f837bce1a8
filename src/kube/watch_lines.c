// SPDX-License-Identifier: Apache-2.0
/* Lines and events of a watch; see watch_lines.h. Lines that arrive whole are not copied. */
#include "watch_lines.h"
#include "store.h"
#include <podvisor/cleanup.h>
#include <podvisor/json_scan.h>
#include <podvisor/str.h>
#include <string.h>

#define KEPT_SIZE ((size_t)64 << 10) /* a buffer beyond it is given back after its line */

static int append(struct kube_watch_lines *lines, const char *bytes, size_t len)
{
    size_t max = lines->max != 0 ? lines->max : KUBE_WATCH_LINE_MAX;
    if (len > max - lines->len)
        return -E2BIG;
    if (lines->size - lines->len < len) {
        size_t size = lines->size != 0 ? lines->size : 4096;
        while (size - lines->len < len)
            size *= 2;
        char *buf = realloc(lines->buf, size);
        if (buf == NULL)
            out_of_memory();
        lines->buf = buf;
        lines->size = size;
    }
    memcpy(lines->buf + lines->len, bytes, len);
    lines->len += len;
    return 0;
}

static int pass(const char *text, size_t len, kube_watch_line *line, void *user)
{
    if (len > 0 && text[len - 1] == '\r')
        len--;
    return len > 0 ? line(user, text, len) : 0;
}

/* The line that has begun ends with these bytes. */
static int pass_buffered(struct kube_watch_lines *lines, const char *bytes, size_t len,
                         kube_watch_line *line, void *user)
{
    int r = append(lines, bytes, len);
    if (r == 0)
        r = pass(lines->buf, lines->len, line, user);
    lines->len = 0;
    if (lines->size > KEPT_SIZE)
        kube_watch_lines_done(lines);
    return r;
}

int kube_watch_lines_feed(struct kube_watch_lines *lines, const char *bytes, size_t len,
                          kube_watch_line *line, void *user)
{
    const char *newline;
    size_t max = lines->max != 0 ? lines->max : KUBE_WATCH_LINE_MAX;
    while (len > 0 && (newline = memchr(bytes, '\n', len)) != NULL) {
        size_t n = (size_t)(newline - bytes);
        int r = n > max          ? -E2BIG
                : lines->len > 0 ? pass_buffered(lines, bytes, n, line, user)
                                 : pass(bytes, n, line, user);
        if (r != 0)
            return r;
        bytes += n + 1;
        len -= n + 1;
    }
    return len > 0 ? append(lines, bytes, len) : 0;
}

void kube_watch_lines_done(struct kube_watch_lines *lines)
{
    free(lines->buf);
    lines->buf = NULL;
    lines->len = lines->size = 0;
}

static enum kube_watch_type read_type(const struct json_token *token)
{
    static const char *const name[] = {
        [KUBE_WATCH_ADDED] = "ADDED",     [KUBE_WATCH_MODIFIED] = "MODIFIED",
        [KUBE_WATCH_DELETED] = "DELETED", [KUBE_WATCH_BOOKMARK] = "BOOKMARK",
        [KUBE_WATCH_ERROR] = "ERROR",
    };
    for (unsigned i = 0; i < ARRAY_SIZE(name); i++) {
        if (json_token_is(token, name[i]))
            return (enum kube_watch_type)i;
    }
    return KUBE_WATCH_UNKNOWN;
}

/* Copies the members of metadata that say which object it is. */
static int read_metadata(struct json_scan *scan, cJSON *ret)
{
    static const char *const wanted[] = {"name", "namespace", "uid", "resourceVersion"};
    struct json_token name, value;
    int r;
    while ((r = json_scan_member(scan, &name, &value, NULL)) > 0) {
        for (size_t i = 0; i < ARRAY_SIZE(wanted) && value.type == JSON_STRING; i++) {
            if (!json_token_is(&name, wanted[i]))
                continue;
            cleanup_free char *text = xcalloc(value.len + 1, 1);
            (void)json_token_string(&value, text, value.len + 1, NULL, NULL);
            if (cJSON_AddStringToObject(ret, wanted[i], text) == NULL)
                out_of_memory();
        }
        r = json_scan_pass(scan, &value, NULL);
        if (r < 0)
            return r;
    }
    return r;
}

/*
 * Which object it was, without the rest, which cannot be read. NULL: not even that. Without it
 * whoever makes and deletes such objects would have all of their kind listed anew each time.
 */
static cJSON *read_identity(const char *object, size_t len)
{
    const struct json_scan_limits limits = {.bytes = KUBE_WATCH_LINE_MAX, .names_by_caller = true};
    struct json_scan scan;
    struct json_token name, value;
    cleanup_json cJSON *tree = cJSON_CreateObject();
    cJSON *metadata = cJSON_AddObjectToObject(tree, "metadata");
    if (metadata == NULL)
        out_of_memory();
    json_scan_init(&scan, object, len, &limits);
    int r = json_scan_object(&scan, NULL);
    while (r == 0 && json_scan_member(&scan, &name, &value, NULL) > 0) {
        bool found = value.type == JSON_OBJECT && json_token_is(&name, "metadata");
        r = found ? read_metadata(&scan, metadata) : json_scan_pass(&scan, &value, NULL);
        if (r == 0 && found)
            return metadata->child != NULL ? steal_ptr(tree) : NULL;
    }
    return NULL;
}

int kube_watch_event_read(const char *line, size_t len, enum kube_watch_type *ret_type,
                          cJSON **ret_object, struct error *err)
{
    /* Names are checked here for the event and by json_parse() for its object. */
    const struct json_scan_limits scan_limits = {.bytes = KUBE_WATCH_LINE_MAX,
                                                 .names_by_caller = true};
    const struct json_limits limits = {.bytes = KUBE_WATCH_LINE_MAX};
    struct json_scan scan;
    struct json_token name, value;
    enum kube_watch_type type = KUBE_WATCH_UNKNOWN;
    const char *object = NULL;
    size_t object_len = 0;
    bool typed = false;
    json_scan_init(&scan, line, len, &scan_limits);
    int r = json_scan_object(&scan, err);
    while (r == 0 && (r = json_scan_member(&scan, &name, &value, err)) > 0) {
        r = json_scan_pass(&scan, &value, err);
        if (r < 0)
            return r;
        if (json_token_is(&name, "type")) {
            if (typed || value.type != JSON_STRING)
                return error_set(err, EINVAL, "the event's type is there twice, or no string");
            type = read_type(&value);
            typed = true;
        } else if (json_token_is(&name, "object")) {
            if (object != NULL || value.type != JSON_OBJECT)
                return error_set(err, EINVAL, "the event's object is there twice, or no object");
            object = line + value.offset;
            object_len = scan.pos - value.offset;
        }
    }
    if (r < 0)
        return r;
    if (!typed || object == NULL)
        return error_set(err, EINVAL, "the event has no %s", typed ? "object" : "type");
    cJSON *tree = NULL;
    r = json_parse(object, object_len, &limits, &tree, err);
    if (r == -ENOMEM)
        return r;
    if (r < 0 && type == KUBE_WATCH_DELETED)
        tree = read_identity(object, object_len);
    *ret_type = type;
    *ret_object = tree;
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * The caches' thread against a scripted API server: lists, pages and watches; streams and bodies
 * cut at every byte; refusals, silence, slowness; what was learnt. Waits are short here, the
 * decisions between them are tested in test_reflector.c.
 */
#include "kube_server.h"
#include "reflector_list.h"
#include "run_suite.h"
#include "watch_cache.h"
#include <check.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static const struct kube_resource maps = {
    .group = "", .version = "v1", .plural = "configmaps", .kind = "ConfigMap"};
static const struct kube_resource nodes = {
    .group = "", .version = "v1", .plural = "nodes", .kind = "Node", .cluster_scoped = true};

#define LIST  "GET /api/v1/namespaces/ns/configmaps?limit=500&resourceVersion=0"
#define WATCH "GET /api/v1/namespaces/ns/configmaps?watch=true"
#define FROM  WATCH "&allowWatchBookmarks=true&resourceVersion="
#define RE    "GET /api/v1/namespaces/ns/configmaps?resourceVersion="
#define BOOKMARK                                                               \
    "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"ConfigMap\",\"metadata\":{" \
    "\"resourceVersion\":\"20\"}}}\n"
#define EMPTY "{\"metadata\":{\"resourceVersion\":\"10\"},\"items\":[]}"

static const struct reflector_times quick = {
    .backoff_first = 2 * NSEC_PER_MSEC,
    .backoff_least = NSEC_PER_MSEC,
    .backoff_max = 4 * NSEC_PER_MSEC,
    .backoff_reset = 120 * NSEC_PER_SEC,
    .short_watch = 0,
    .answer = 10 * NSEC_PER_SEC,
    .idle = 20 * NSEC_PER_SEC,
    .internal = 30 * NSEC_PER_SEC,
    .list = 10 * NSEC_PER_SEC,
};

static struct kube_server *server;
static struct kube_client *client;
static struct kube_caches *caches;
static struct kube_cache *cache;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char changes[4096]; /* "+a@1 a@1>2 -a@2" */

static void changed(void *user, struct kube_object *old, struct kube_object *now)
{
    (void)user;
    pthread_mutex_lock(&lock);
    size_t at = strlen(changes);
    const struct kube_object *any = now != NULL ? now : old;
    snprintf(changes + at, sizeof(changes) - at, "%s%s%s@%s%s%s", at > 0 ? " " : "",
             old == NULL   ? "+"
             : now == NULL ? "-"
                           : "",
             kube_object_name(any), old != NULL ? kube_object_version(old) : "",
             old != NULL && now != NULL ? ">" : "", now != NULL ? kube_object_version(now) : "");
    pthread_mutex_unlock(&lock);
}

static void set_up_as(const char *user)
{
    struct error err = ERROR_INIT;
    server = kube_server_start(NULL);
    struct kube_config_options options = {.kubeconfig = kube_server_kubeconfig(server, NULL, user),
                                          .user_agent = "test/1"};
    ck_assert_msg(kube_client_new(&options, 0, 0, &client, &err) == 0, "%s", err.text);
    ck_assert_int_eq(kube_caches_new(client, &caches, NULL), 0);
    cache = kube_caches_add(caches, &(struct kube_cache_options){
                                        .resource = &maps, .namespace_ = "ns", .changed = changed});
    changes[0] = '\0';
}

static void set_up(void)
{
    set_up_as(NULL);
}

static void tear_down(void)
{
    kube_caches_free(caches);
    kube_client_free(client);
    kube_server_stop(server);
}

static void start(const struct reflector_times *times)
{
    kube_caches_set_times(caches, times);
    ck_assert_int_eq(kube_caches_start(caches, NULL), 0);
}

static void reply(const char *request, int status, const char *body)
{
    kube_server_add(server,
                    &(struct kube_reply){.request = request, .status = status, .body = body});
}

/* Streams for every watch that nothing else in the script answers. */
static void stream_always(void)
{
    kube_server_add(server, &(struct kube_reply){.request = WATCH,
                                                 .kind = KUBE_REPLY_STREAM,
                                                 .times = KUBE_REPLY_ALWAYS});
}

/* Listed at version 10 with nothing, and watching. */
static void start_watching(const struct reflector_times *times)
{
    reply(LIST, 200, EMPTY);
    stream_always();
    start(times);
    ck_assert(kube_caches_wait_synced(caches, 10 * NSEC_PER_SEC));
    ck_assert(kube_server_wait_streams(server, 1, 10000));
}

static void push(const char *text)
{
    ck_assert(kube_server_push(server, NULL, text));
}

static char *event(const char *type, const char *name, unsigned version)
{
    return xasprintf("{\"type\":\"%s\",\"object\":{\"kind\":\"ConfigMap\",\"metadata\":{\"name\":"
                     "\"%s\",\"namespace\":\"ns\",\"uid\":\"u-%s\",\"resourceVersion\":\"%u\"}}}\n",
                     type, name, name, version);
}

static void push_event(const char *type, const char *name, unsigned version)
{
    cleanup_free char *text = event(type, name, version);
    push(text);
}

/* The request after the first `seen`, waited for; its line. */
static const char *next_request(size_t seen)
{
    ck_assert_msg(kube_server_wait(server, seen + 1, 10000), "no request %zu", seen);
    return kube_server_request(server, seen).line;
}

static void expect_request(size_t index, const char *prefix)
{
    const char *line = next_request(index);
    ck_assert_msg(str_starts_with(line, prefix), "request %zu is '%s', not '%s'", index, line,
                  prefix);
}

static void expect_changes(const char *expected)
{
    char now[sizeof(changes)] = "";
    uint64_t until = clock_now_ns() + 10 * NSEC_PER_SEC;
    while (clock_now_ns() < until) {
        pthread_mutex_lock(&lock);
        memcpy(now, changes, sizeof(now));
        pthread_mutex_unlock(&lock);
        if (strcmp(now, expected) == 0)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    ck_assert_str_eq(now, expected);
}

static void expect_shown(const char *name, const char *version)
{
    struct kube_object *object = kube_cache_get(cache, "ns", name);
    if (version == NULL)
        ck_assert_ptr_null(object);
    else
        ck_assert_str_eq(kube_object_version(object), version);
    kube_object_unref(object);
}

#define TWO                                                                                        \
    "{\"kind\":\"ConfigMapList\",\"metadata\":{\"resourceVersion\":\"10\"},\"items\":["            \
    "{\"metadata\":{\"name\":\"a\",\"namespace\":\"ns\",\"uid\":\"ua\",\"resourceVersion\":\"1\"}" \
    "},"                                                                                           \
    "{\"metadata\":{\"name\":\"b\",\"namespace\":\"ns\",\"uid\":\"ub\",\"resourceVersion\":\"2\"}" \
    "}]}"

START_TEST(lists_and_watches)
{
    reply(LIST, 200, TWO);
    stream_always();
    ck_assert(!kube_caches_wait_synced(caches, NSEC_PER_MSEC));
    start(&reflector_default_times);
    ck_assert(kube_caches_wait_synced(caches, 10 * NSEC_PER_SEC));
    expect_changes("+a@1 +b@2");
    ck_assert_uint_eq(kube_cache_count(cache), 2);
    ck_assert(kube_server_wait_streams(server, 1, 10000));
    push_event("MODIFIED", "a", 11); /* another uid than the list's */
    push_event("ADDED", "c", 12);
    push_event("DELETED", "c", 13);
    expect_changes("+a@1 +b@2 -a@1 +a@11 +c@12 -c@13");
    expect_shown("a", "11");
    struct kube_recorded list = kube_server_request(server, 0);
    struct kube_recorded watch = kube_server_request(server, 1);
    ck_assert_str_eq(list.line, LIST);
    ck_assert(str_starts_with(watch.line, FROM "10&timeoutSeconds="));
    unsigned seconds = (unsigned)atoi(strrchr(watch.line, '=') + 1);
    ck_assert(seconds >= REFLECTOR_TIMEOUT_MIN && seconds <= REFLECTOR_TIMEOUT_MAX);
    ck_assert(kube_recorded_has(&list, "Accept-Encoding", "gzip"));
    ck_assert_ptr_null(strstr(watch.headers, "Accept-Encoding"));
    ck_assert_uint_eq(kube_server_unexpected(server), 0);
    struct kube_client_stats stats;
    kube_client_stats(client, &stats);
    ck_assert_uint_eq(stats.requests[KUBE_VERB_LIST][2], 1);
}
END_TEST

START_TEST(kinds_have_connections_of_their_own)
{
    struct kube_cache *other = kube_caches_add(
        caches, &(struct kube_cache_options){.resource = &nodes,
                                             .label_selector = "a=b,c in (d)",
                                             .field_selector = "metadata.name=x/y"});
    reply(LIST, 200, EMPTY);
    reply("GET /api/v1/nodes?labelSelector=a%3Db%2Cc%20in%20%28d%29&fieldSelector=metadata.name%3D"
          "x%2Fy&limit=500&resourceVersion=0",
          200,
          "{\"metadata\":{\"resourceVersion\":\"7\"},\"items\":[{\"metadata\":{\"name\":\"n\","
          "\"uid\":\"un\",\"resourceVersion\":\"1\"}}]}");
    kube_server_add(server,
                    &(struct kube_reply){.kind = KUBE_REPLY_STREAM, .times = KUBE_REPLY_ALWAYS});
    start(&reflector_default_times);
    ck_assert(kube_caches_wait_synced(caches, 10 * NSEC_PER_SEC));
    ck_assert(kube_server_wait_streams(server, 2, 10000));
    ck_assert_uint_eq(kube_cache_count(other), 1);
    ck_assert_uint_eq(kube_cache_count(cache), 0);
    struct kube_object *node = kube_cache_get(other, NULL, "n");
    ck_assert_ptr_nonnull(node);
    kube_object_unref(node);
    unsigned of_watch[4] = {0}, watches = 0;
    for (size_t i = 0; i < 4; i++) {
        struct kube_recorded r = kube_server_request(server, i);
        if (strstr(r.line, "watch=true") != NULL)
            of_watch[watches++] = r.connection;
    }
    ck_assert_uint_eq(watches, 2);
    ck_assert_uint_ne(of_watch[0], of_watch[1]);
}
END_TEST

#define PAGE(name, more)                                                               \
    "{\"metadata\":{\"resourceVersion\":\"10\",\"continue\":\"" more "\"},\"items\":[" \
    "{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"ns\",\"uid\":\"u" name       \
    "\",\"resourceVersion\":\"1\"}}]}"

START_TEST(pages)
{
    reply(LIST, 200, PAGE("a", "C/1"));
    reply("GET /api/v1/namespaces/ns/configmaps?limit=500&continue=C%2F1", 200, PAGE("b", "C2"));
    reply("GET /api/v1/namespaces/ns/configmaps?limit=500&continue=C2", 200, PAGE("c", ""));
    stream_always();
    start(&quick);
    ck_assert(kube_caches_wait_synced(caches, 10 * NSEC_PER_SEC));
    expect_changes("+a@1 +b@1 +c@1");
    expect_request(3, FROM "10&");
    ck_assert_uint_eq(kube_server_unexpected(server), 0);
}
END_TEST

START_TEST(page_expires)
{
    reply(LIST, 200, PAGE("a", "C1"));
    reply("GET /api/v1/namespaces/ns/configmaps?limit=500&continue=C1", 410, NULL);
    reply(RE "0", 200, PAGE("b", ""));
    stream_always();
    start(&quick);
    ck_assert(kube_caches_wait_synced(caches, 10 * NSEC_PER_SEC));
    expect_changes("+b@1"); /* and nothing of the page that came before */
    ck_assert_uint_eq(kube_server_unexpected(server), 0);
}
END_TEST

/* A list that ended early, wherever, is none: no handler hears of it. */
START_TEST(list_cut_at_every_byte)
{
    size_t len = strlen("HTTP/1.1 200 Scripted\r\nContent-Type: application/json\r\n"
                        "Content-Length: 000\r\n\r\n") +
                 strlen(TWO);
    for (size_t at = 1; at <= len; at++)
        kube_server_add(
            server, &(struct kube_reply){
                        .request = LIST, .body = TWO, .cut_at = at, .cut_with_reset = at % 2 == 0});
    reply(LIST, 200, EMPTY);
    stream_always();
    start(&quick);
    ck_assert(kube_caches_wait_synced(caches, 60 * NSEC_PER_SEC));
    expect_changes("");
    ck_assert_uint_eq(kube_server_unexpected(server), 0);
    ck_assert_uint_ge(kube_server_requests(server), len + 1);
}
END_TEST

/* Without a length the end of the connection is the end of the body: the last brace decides. */
START_TEST(list_without_a_length)
{
    for (size_t at = 0; at < strlen(TWO); at += 7) {
        cleanup_free char *body = xasprintf("%.*s", (int)at, TWO);
        reply(LIST, 200, body);
    }
    reply(LIST, 200, TWO);
    stream_always();
    start(&quick);
    ck_assert(kube_caches_wait_synced(caches, 60 * NSEC_PER_SEC));
    expect_changes("+a@1 +b@2");
}
END_TEST

/* The stream ends after any byte: what was whole counts, and the next watch goes on from there. */
START_TEST(watch_cut_at_every_byte)
{
    start_watching(&quick);
    cleanup_free char *first = event("ADDED", "a", 11);
    cleanup_free char *second = event("MODIFIED", "a", 12);
    cleanup_free char *third = event("DELETED", "a", 13);
    cleanup_free char *all = xasprintf("%s%s%s", first, second, third);
    const char *last = "10";
    size_t requests = 2; /* the list, the watch */
    for (size_t n = 0; n <= strlen(all); n++) {
        cleanup_free char *part = xasprintf("%.*s", (int)n, all);
        if (n > 0)
            push(part);
        ck_assert(kube_server_end_stream(server, NULL, n % 3 != 0));
        last = n == strlen(all)                      ? "13"
               : n >= strlen(first) + strlen(second) ? "12"
               : n >= strlen(first)                  ? "11"
                                                     : "10";
        cleanup_free char *expected = xasprintf(FROM "%s&", last);
        expect_request(requests++, expected);
        ck_assert(kube_server_wait_streams(server, 1, 10000));
    }
    expect_shown("a", NULL);
    ck_assert_uint_eq(kube_server_unexpected(server), 0);
}
END_TEST

/* Every cut of the response's head and chunk frames too, with FIN and RST. */
START_TEST(watch_response_cut_at_every_byte)
{
    cleanup_free char *one = event("ADDED", "a", 10); /* the version stays: one script fits all */
    size_t len = strlen("HTTP/1.1 200 Scripted\r\nContent-Type: application/json\r\n"
                        "Content-Length: 000\r\n\r\n") +
                 strlen(one);
    reply(LIST, 200, EMPTY);
    for (size_t at = 1; at <= len; at++)
        kube_server_add(server, &(struct kube_reply){.request = FROM "10&",
                                                     .body = one,
                                                     .cut_at = at,
                                                     .cut_with_reset = at % 2 == 0});
    stream_always();
    start(&quick);
    ck_assert(kube_server_wait(server, len + 2, 60000));
    ck_assert(kube_server_wait_streams(server, 1, 10000));
    ck_assert_uint_eq(kube_server_unexpected(server), 0);
    for (size_t i = 1; i < kube_server_requests(server); i++)
        expect_request(i, FROM "10&");
}
END_TEST

#define STATUS(code, reason, message)                                                   \
    "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"code\":" #code \
    ",\"reason\":\"" reason "\",\"message\":\"" message "\"}"

/* How a watch is refused, by the response or by an event, and what is asked next. */
static const struct {
    int code;
    const char *status, *then;
} refusals[] = {
    {410, STATUS(410, "Expired", "too old resource version: 10 (99)"), RE "10"},
    {410, STATUS(410, "Gone", "too old resource version"), RE "10"},
    {429, STATUS(429, "TooManyRequests", "try later"), FROM "10&"},
    {500, STATUS(500, "InternalError", "etcd is away"), FROM "10&"},
    {401, STATUS(401, "Unauthorized", "who are you?"), FROM "10&"},
    {403, STATUS(403, "Forbidden", "no"), RE "10"},
    {503, STATUS(503, "ServiceUnavailable", "not yet"), RE "10"},
};

START_TEST(watch_refused)
{
    reply(LIST, 200, EMPTY);
    reply(WATCH, refusals[_i].code, refusals[_i].status);
    stream_always();
    reply(RE "10", 200, EMPTY);
    start(&quick);
    expect_request(2, refusals[_i].then);
    ck_assert(kube_server_wait_streams(server, 1, 10000));
}
END_TEST

START_TEST(watch_ended_by_an_event)
{
    start_watching(&quick);
    reply(RE "10", 200, EMPTY);
    cleanup_free char *text =
        xasprintf("{\"type\":\"ERROR\",\"object\":%s}\n", refusals[_i].status);
    push(text);
    expect_request(2, refusals[_i].then);
    ck_assert(kube_server_wait_streams(server, 1, 10000));
}
END_TEST

/* 410 for the version that we know, then the newest: deletions in between come out. */
START_TEST(lists_anew_after_410)
{
    reply(LIST, 200, TWO);
    reply(WATCH, 410, STATUS(410, "Expired", ""));
    reply(RE "10", 504, STATUS(504, "Timeout", "Timeout: Too large resource version: 10"));
    reply("GET /api/v1/namespaces/ns/configmaps?limit=500", 200,
          "{\"metadata\":{\"resourceVersion\":\"3\"},\"items\":[{\"metadata\":{\"name\":\"a\","
          "\"namespace\":\"ns\",\"uid\":\"ua\",\"resourceVersion\":\"3\"}}]}");
    stream_always();
    start(&quick);
    expect_changes("+a@1 +b@2 a@1>3 -b@2");
    expect_request(4, FROM "3&");
    ck_assert_uint_eq(kube_server_unexpected(server), 0);
}
END_TEST

START_TEST(list_refused_until_it_is_not)
{
    static const int codes[] = {429, 500, 503, 403, 404, 401};
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
        reply(LIST, codes[i], "{}");
    reply(LIST, 200, "this is no list");
    reply(LIST, 200, "{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[{}]}");
    kube_server_add(server, &(struct kube_reply){.request = LIST, .kind = KUBE_REPLY_CLOSE});
    kube_server_add(server, &(struct kube_reply){.request = LIST, .kind = KUBE_REPLY_RESET});
    reply(LIST, 200, EMPTY);
    stream_always();
    start(&quick);
    ck_assert(kube_caches_wait_synced(caches, 10 * NSEC_PER_SEC));
    ck_assert_uint_eq(kube_server_unexpected(server), 0);
}
END_TEST

/* Half-open: a server that takes requests and says nothing, or nothing any more. */
START_TEST(silence)
{
    struct reflector_times times = quick;
    times.answer = times.idle = times.list = 100 * NSEC_PER_MSEC;
    kube_server_add(server, &(struct kube_reply){.request = LIST, .kind = KUBE_REPLY_HANG});
    reply(LIST, 200, EMPTY);
    kube_server_add(server, &(struct kube_reply){.request = WATCH, .kind = KUBE_REPLY_HANG});
    kube_server_add(server, &(struct kube_reply){.request = WATCH,
                                                 .kind = KUBE_REPLY_STREAM,
                                                 .body = BOOKMARK,
                                                 .times = KUBE_REPLY_ALWAYS});
    start(&times);
    ck_assert(kube_caches_wait_synced(caches, 10 * NSEC_PER_SEC));
    expect_request(2, FROM "10&"); /* never answered */
    expect_request(3, FROM "10&");
    for (size_t i = 4; i < 7; i++) /* a bookmark each, and then silence */
        expect_request(i, FROM "20&");
    ck_assert_uint_eq(kube_server_unexpected(server), 0);
}
END_TEST

/* Without bookmarks a quiet watch is like any other; what comes late is taken. */
START_TEST(quiet_without_bookmarks)
{
    struct reflector_times times = quick;
    times.idle = 20 * NSEC_PER_MSEC;
    start_watching(&times);
    push_event("ADDED", "a", 11);
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    push_event("MODIFIED", "a", 12);
    expect_changes("+a@11 a@11>12");
    ck_assert_uint_eq(kube_server_requests(server), 2);
}
END_TEST

START_TEST(slow_bodies)
{
    kube_server_add(
        server, &(struct kube_reply){
                    .request = LIST, .body = TWO, .piece = 3, .piece_delay_ms = 1, .delay_ms = 50});
    stream_always();
    start(&quick);
    ck_assert(kube_caches_wait_synced(caches, 10 * NSEC_PER_SEC));
    expect_changes("+a@1 +b@2");
    ck_assert(kube_server_wait_streams(server, 1, 10000));
    cleanup_free char *text = event("ADDED", "c", 11);
    for (size_t i = 0; i < strlen(text); i++) {
        char byte[2] = {text[i], '\0'};
        push(byte);
    }
    expect_changes("+a@1 +b@2 +c@11");
}
END_TEST

/* Bookmarks move the version; what is unknown or broken inside an event is passed over. */
START_TEST(bookmarks_and_strange_events)
{
    start_watching(&quick);
    push("{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"ConfigMap\",\"metadata\":{"
         "\"resourceVersion\":\"20\"}}}\n");
    push("{\"type\":\"RENAMED\",\"object\":{\"metadata\":{\"resourceVersion\":\"21\"}}}\n"
         "{\"type\":\"ADDED\",\"object\":{\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\","
         "\"uid\":\"u\",\"resourceVersion\":\"22\"}}}\n"
         "{\"type\":\"ADDED\",\"object\":{\"metadata\":{}}}\n"
         "{\"type\":\"BOOKMARK\",\"object\":{}}\n\n");
    push_event("ADDED", "a", 23);
    expect_changes("+a@23");
    push("{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"30\"}}}\n");
    ck_assert(kube_server_end_stream(server, NULL, false));
    expect_request(2, FROM "30&");
}
END_TEST

/* What a server lists from its memory, without pages, is asked for in pages when it is too much. */
START_TEST(a_list_too_large)
{
    size_t len = KUBE_LIST_BYTES_MAX + 1;
    cleanup_free char *spaces = xcalloc(1, len + 1);
    memset(spaces, ' ', len);
    reply(LIST, 200, spaces);
    reply("GET /api/v1/namespaces/ns/configmaps?limit=500", 200, TWO);
    stream_always();
    start(&quick);
    expect_changes("+a@1 +b@2");
    ck_assert_str_eq(kube_server_request(server, 1).line,
                     "GET /api/v1/namespaces/ns/configmaps?limit=500");
}
END_TEST

/* Anybody who may write an object can make it unreadable to us, but only that one. */
START_TEST(unreadable_objects)
{
    static const char list[] = "{\"metadata\":{\"resourceVersion\":\"10\"},\"items\":["
                               "{\"metadata\":{\"name\":\"p\",\"namespace\":\"ns\",\"uid\":\"p\","
                               "\"resourceVersion\":\"3\","
                               "\"annotations\":{\"a\":\"\\u0000\"}}},"
                               "{\"metadata\":{\"name\":\"a\",\"namespace\":\"ns\",\"uid\":\"a\","
                               "\"resourceVersion\":\"4\"}}]}";
    cleanup_free char *deep = xcalloc(1, 4096);
    strcpy(deep, "{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{\"name\":\"a\"},\"x\":");
    memset(deep + strlen(deep), '[', 200);
    memset(deep + strlen(deep), ']', 200);
    strcat(deep, "}}\n");
    reply(LIST, 200, list);
    stream_always();
    start(&quick);
    expect_changes("+a@4");
    ck_assert(kube_server_wait_streams(server, 1, 10000));
    push(deep);
    push_event("ADDED", "b", 23);
    expect_changes("+a@4 +b@23");
    /* It says which one is gone, and nobody lists all the others for that. */
    push("{\"type\":\"DELETED\",\"object\":{\"kind\":\"ConfigMap\",\"data\":{\"x\":\"\\u0000\"},"
         "\"metadata\":{\"annotations\":{\"x\":\"\\u0000\"},\"name\":\"b\",\"namespace\":\"ns\","
         "\"uid\":\"u-b\",\"resourceVersion\":\"24\"}}}\n");
    expect_changes("+a@4 +b@23 -b@23"); /* as it was seen last: indices are of that */
    ck_assert_uint_eq(kube_server_requests(server), 2);
    /* Here only a list can tell. */
    reply(RE "24", 200, TWO);
    push("{\"type\":\"DELETED\",\"object\":{\"x\":\"\\u0000\"}}\n");
    expect_request(2, RE "24");
}
END_TEST

/* A line that is no event: the stream cannot be trusted any more, the list can. */
START_TEST(no_json)
{
    start_watching(&quick);
    reply(RE "10", 200, TWO);
    push("{\"type\":\"ADDED\",\"object\":{}]\n");
    expect_request(2, RE "10");
    expect_changes("+a@1 +b@2");
}
END_TEST

START_TEST(compressed_list)
{
    static const char body[] =
        "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x65\x8d\xb9\x0e\xc2\x30\x10\x44\xff\x65\xea\x14"
        "\xa4\xc4\x2d\x2d\x69\x69\x10\xc5\x2a\x59\xd0\x2a\xf2\x21\xaf\x4d\x81\xe5\x7f\xcf\xba\x42"
        "\x88\x6e\x8e\xa7\x99\x86\x5d\xc2\x06\x87\x4b\x0c\x4f\x79\x2d\x94\xae\xa2\x05\x13\x28\xc9"
        "\x8d\xb3\x4a\x0c\x56\xbe\x67\x4b\x3c\x17\xda\xa8\x10\x5c\x43\x66\x8d\x35\xaf\xfc\x45\xe6"
        "\x13\xfa\x04\x29\xec\x15\xee\xde\x7e\xe8\x40\x9e\x0d\xf9\xd8\xc8\x90\x9a\x68\x1d\x3e\xa8"
        "\x05\x55\xc6\x7b\x1d\xdd\xff\xe8\x19\xbd\x3f\xfa\x01\x15\xb2\x34\xd4\xa4\x00\x00\x00";
    kube_server_add(server, &(struct kube_reply){.request = LIST,
                                                 .headers = "Content-Encoding: gzip\r\n",
                                                 .body = body,
                                                 .body_len = sizeof(body) - 1});
    stream_always();
    start(&quick);
    ck_assert(kube_caches_wait_synced(caches, 10 * NSEC_PER_SEC));
    expect_changes("+z@9");
}
END_TEST

static cJSON *map(const char *name, unsigned version)
{
    cJSON *json = NULL;
    cleanup_free char *text =
        xasprintf("{\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"%s\",\"namespace\":\"ns\","
                  "\"uid\":\"u-%s\",\"resourceVersion\":\"%u\",\"managedFields\":[]}}",
                  name, name, version);
    ck_assert_int_eq(json_parse(text, strlen(text), NULL, &json, NULL), 0);
    return json;
}

START_TEST(own_writes_are_seen_at_once)
{
    start_watching(&quick);
    cleanup_json cJSON *made = map("a", 12);
    kube_cache_learn(cache, made);
    expect_shown("a", "12");
    cleanup_json cJSON *broken = cJSON_CreateObject();
    kube_cache_learn(cache, broken);
    push_event("ADDED", "a", 11);
    expect_changes("+a@11");
    expect_shown("a", "12");
    push_event("MODIFIED", "a", 12);
    push_event("MODIFIED", "a", 13);
    expect_changes("+a@11 a@11>12 a@12>13");
    expect_shown("a", "13");
}
END_TEST

/* Its event never comes: after 5 s of a live watch what the server showed counts. */
START_TEST(own_writes_expire)
{
    start_watching(&quick);
    cleanup_json cJSON *made = map("a", 12);
    uint64_t before = clock_now_ns();
    kube_cache_learn(cache, made);
    expect_changes("-a@12");
    expect_shown("a", NULL);
    ck_assert_uint_ge(clock_now_ns() - before, KUBE_STORE_LEARNT_NS);
}
END_TEST

/* Ends while it lists, while it waits, and before it began. */
START_TEST(ends_at_any_time)
{
    kube_server_add(
        server,
        &(struct kube_reply){.request = LIST, .kind = KUBE_REPLY_HANG, .times = KUBE_REPLY_ALWAYS});
    if (_i > 0)
        start(&reflector_default_times);
    if (_i > 1)
        ck_assert(kube_server_wait(server, 1, 10000));
    ck_assert(!kube_caches_wait_synced(caches, NSEC_PER_MSEC));
}
END_TEST

/* ECONNREFUSED: the thread waits and does not spin. */
START_TEST(nobody_listens)
{
    kube_server_stop(server);
    start(&reflector_default_times);
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
    struct timespec after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    int64_t used =
        (after.tv_sec - cpu.tv_sec) * (int64_t)NSEC_PER_SEC + after.tv_nsec - cpu.tv_nsec;
    ck_assert_int_lt(used, 100 * (int64_t)NSEC_PER_MSEC);
    server = kube_server_start(NULL);
}
END_TEST

/* --- a token that is replaced, as the kubelet does for a service account --- */

static char token_path[] = "/tmp/podvisor-token-XXXXXX";

static void write_token(const char *token)
{
    cleanup_free char *fresh = xasprintf("%s.fresh", token_path);
    FILE *file = fopen(fresh, "w");
    ck_assert_ptr_nonnull(file);
    fputs(token, file);
    fclose(file);
    ck_assert_int_eq(rename(fresh, token_path), 0);
}

static void set_up_token(void)
{
    strcpy(token_path + strlen(token_path) - 6, "XXXXXX");
    close(mkstemp(token_path));
    write_token("old");
    cleanup_free char *user = xasprintf("tokenFile: %s", token_path);
    set_up_as(user);
}

static void tear_down_token(void)
{
    tear_down();
    unlink(token_path);
}

static void expect_token(size_t index, const char *prefix, const char *authorization)
{
    expect_request(index, prefix);
    struct kube_recorded request = kube_server_request(server, index);
    ck_assert_msg(kube_recorded_has(&request, "Authorization", authorization), "%s is not in\n%s",
                  authorization, request.headers);
}

/* Watching with a token that is not the file's any more. */
static void begin_with_old_token(void)
{
    reply(LIST, 200, EMPTY);
    kube_server_add(server, &(struct kube_reply){.request = WATCH, .kind = KUBE_REPLY_STREAM});
    start(&quick);
    ck_assert(kube_server_wait_streams(server, 1, 10000));
    push_event("ADDED", "a", 11);
    expect_changes("+a@11");
    expect_token(1, FROM "10&", "Bearer old");
    write_token("new");
    push_event("MODIFIED", "a", 12); /* a watch that is open goes on */
    expect_changes("+a@11 a@11>12");
}

START_TEST(token_replaced_under_a_watch)
{
    begin_with_old_token();
    reply(WATCH, 401, NULL);
    stream_always();
    ck_assert(kube_server_end_stream(server, NULL, true));
    expect_token(2, FROM "12&", "Bearer old"); /* read a moment ago, and not accepted any more */
    expect_token(3, FROM "12&", "Bearer new");
    ck_assert(kube_server_wait_streams(server, 1, 10000));
    push_event("MODIFIED", "a", 13);
    expect_changes("+a@11 a@11>12 a@12>13");
    ck_assert_uint_eq(kube_server_requests(server), 4);
}
END_TEST

/* What happened while nobody was let in is in the list, when the watch's version has expired. */
START_TEST(token_replaced_and_version_expired)
{
    begin_with_old_token();
    reply(WATCH, 410, NULL);
    reply(RE "12", 401, NULL);
    reply(RE "12", 200,
          "{\"metadata\":{\"resourceVersion\":\"15\"},\"items\":[{\"metadata\":{\"name\":\"b\","
          "\"namespace\":\"ns\",\"uid\":\"u-b\",\"resourceVersion\":\"14\"}}]}");
    stream_always();
    ck_assert(kube_server_end_stream(server, NULL, true));
    expect_token(3, RE "12", "Bearer old");
    expect_token(4, RE "12", "Bearer new");
    expect_token(5, FROM "15&", "Bearer new");
    ck_assert(kube_server_wait_streams(server, 1, 10000));
    push_event("MODIFIED", "b", 16);
    expect_shown("a", NULL);
    expect_changes("+a@11 a@11>12 +b@14 -a@12 b@14>16");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kube-watch");
    TCase *tc = tcase_create("watch");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 100);
    tcase_add_test(tc, lists_and_watches);
    tcase_add_test(tc, kinds_have_connections_of_their_own);
    tcase_add_test(tc, pages);
    tcase_add_test(tc, page_expires);
    tcase_add_test(tc, list_cut_at_every_byte);
    tcase_add_test(tc, list_without_a_length);
    tcase_add_test(tc, watch_cut_at_every_byte);
    tcase_add_test(tc, watch_response_cut_at_every_byte);
    tcase_add_loop_test(tc, watch_refused, 0, (int)ARRAY_SIZE(refusals));
    tcase_add_loop_test(tc, watch_ended_by_an_event, 0, (int)ARRAY_SIZE(refusals));
    tcase_add_test(tc, lists_anew_after_410);
    tcase_add_test(tc, list_refused_until_it_is_not);
    tcase_add_test(tc, silence);
    tcase_add_test(tc, quiet_without_bookmarks);
    tcase_add_test(tc, slow_bodies);
    tcase_add_test(tc, bookmarks_and_strange_events);
    tcase_add_test(tc, a_list_too_large);
    tcase_add_test(tc, unreadable_objects);
    tcase_add_test(tc, no_json);
    tcase_add_test(tc, compressed_list);
    tcase_add_test(tc, own_writes_are_seen_at_once);
    tcase_add_test(tc, own_writes_expire);
    tcase_add_loop_test(tc, ends_at_any_time, 0, 3);
    tcase_add_test(tc, nobody_listens);
    suite_add_tcase(suite, tc);
    TCase *token = tcase_create("token");
    tcase_add_checked_fixture(token, set_up_token, tear_down_token);
    tcase_set_timeout(token, 100);
    tcase_add_test(token, token_replaced_under_a_watch);
    tcase_add_test(token, token_replaced_and_version_expired);
    suite_add_tcase(suite, token);
    return run_suite(suite);
}

// SPDX-License-Identifier: Apache-2.0
/* Watch bytes into lines and events, cut at every place; LIST bodies item by item, cut likewise. */
#include "reflector_list.h"
#include "run_suite.h"
#include "watch_lines.h"
#include <check.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>

static char got[4096];

static int take(void *user, const char *line, size_t len)
{
    const int *stop_after = user;
    size_t at = strlen(got);
    snprintf(got + at, sizeof(got) - at, "[%.*s]", (int)len, line);
    return stop_after != NULL && at >= (size_t)*stop_after ? -EREMOTEIO : 0;
}

START_TEST(any_split_gives_the_same_lines)
{
    static const char stream[] = "{\"a\":1}\n\n{\"b\":\"x\\n\"}\r\n{}\n{\"unfinished\":";
    size_t len = strlen(stream);
    for (size_t first = 0; first <= len; first++) {
        for (size_t second = first; second <= len; second++) {
            struct kube_watch_lines lines = {.buf = NULL};
            got[0] = '\0';
            ck_assert_int_eq(kube_watch_lines_feed(&lines, stream, first, take, NULL), 0);
            ck_assert_int_eq(
                kube_watch_lines_feed(&lines, stream + first, second - first, take, NULL), 0);
            ck_assert_int_eq(
                kube_watch_lines_feed(&lines, stream + second, len - second, take, NULL), 0);
            ck_assert_str_eq(got, "[{\"a\":1}][{\"b\":\"x\\n\"}][{}]");
            ck_assert_uint_eq(lines.len, strlen("{\"unfinished\":"));
            kube_watch_lines_done(&lines);
        }
    }
}
END_TEST

START_TEST(a_line_over_the_bound)
{
    struct kube_watch_lines lines = {.max = 8};
    got[0] = '\0';
    ck_assert_int_eq(kube_watch_lines_feed(&lines, "12345678\n", 9, take, NULL), 0);
    ck_assert_int_eq(kube_watch_lines_feed(&lines, "123456789\n", 10, take, NULL), -E2BIG);
    ck_assert_int_eq(kube_watch_lines_feed(&lines, "12345", 5, take, NULL), 0);
    ck_assert_int_eq(kube_watch_lines_feed(&lines, "6789", 4, take, NULL), -E2BIG);
    ck_assert_str_eq(got, "[12345678]");
    kube_watch_lines_done(&lines);
}
END_TEST

START_TEST(the_reader_may_stop)
{
    struct kube_watch_lines lines = {.buf = NULL};
    int stop_after = 1;
    got[0] = '\0';
    ck_assert_int_eq(kube_watch_lines_feed(&lines, "a\nb\nc\n", 6, take, &stop_after), -EREMOTEIO);
    ck_assert_str_eq(got, "[a][b]");
    kube_watch_lines_done(&lines);
}
END_TEST

/* An event of 1.5 MB in pieces; the memory goes back after it. */
START_TEST(a_large_line)
{
    struct kube_watch_lines lines = {.buf = NULL};
    size_t len = 1500000;
    cleanup_free char *text = xcalloc(1, len + 1);
    memset(text, 'x', len);
    text[len - 1] = '\n';
    for (size_t at = 0; at < len; at += 16384) {
        size_t n = len - at < 16384 ? len - at : 16384;
        got[0] = '\0';
        ck_assert_int_eq(kube_watch_lines_feed(&lines, text + at, n, take, NULL), 0);
    }
    ck_assert_uint_eq(strlen(got), sizeof(got) - 1);
    ck_assert_ptr_null(lines.buf);
}
END_TEST

static const struct {
    const char *line;
    int type; /* -1: refused */
} events[] = {
    {"{\"type\":\"ADDED\",\"object\":{}}", KUBE_WATCH_ADDED},
    {"{\"object\":{\"type\":\"x\"},\"type\":\"MODIFIED\"}", KUBE_WATCH_MODIFIED},
    {" {\"type\":\"DELETED\" , \"object\":{\"a\":[1,{}]} , \"more\":{\"b\":[]}} ",
     KUBE_WATCH_DELETED},
    {"{\"type\":\"BOOKMARK\",\"object\":{}}", KUBE_WATCH_BOOKMARK},
    {"{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\"}}", KUBE_WATCH_ERROR},
    {"{\"type\":\"\\u0041DDED\",\"object\":{}}", KUBE_WATCH_ADDED},
    {"{\"type\":\"RENAMED\",\"object\":{}}", KUBE_WATCH_UNKNOWN},
    {"{\"type\":\"added\",\"object\":{}}", KUBE_WATCH_UNKNOWN},
    {"", -1},
    {"[]", -1},
    {"null", -1},
    {"{}", -1},
    {"{\"type\":\"ADDED\"}", -1},
    {"{\"object\":{}}", -1},
    {"{\"type\":7,\"object\":{}}", -1},
    {"{\"type\":\"ADDED\",\"object\":[]}", -1},
    {"{\"type\":\"ADDED\",\"object\":{}} {}", -1},
    {"{\"type\":\"ADDED\",\"object\":{}", -1},
    {"{\"type\":\"ADDED\",\"type\":\"DELETED\",\"object\":{}}", -1},
    {"{\"type\":\"ADDED\",\"object\":{},\"object\":{}}", -1},
};

/* What an author can write into an object and our JSON refuses: the event is one all the same. */
static const char *const unreadable[] = {"{\"a\":1,\"a\":2}", "{\"a\":\"x\\u0000y\"}",
                                         "{\"a\":\"}\\\"\\\\\",\"b\":\"\\ud800\"}"};

START_TEST(objects_that_cannot_be_read)
{
    enum kube_watch_type type = KUBE_WATCH_UNKNOWN;
    cJSON *object = NULL;
    struct error err = ERROR_INIT;
    cleanup_free char *line = xasprintf("{\"object\":%s,\"type\":\"DELETED\"}", unreadable[_i]);
    ck_assert_int_eq(kube_watch_event_read(line, strlen(line), &type, &object, &err), 0);
    ck_assert_int_eq((int)type, KUBE_WATCH_DELETED);
    ck_assert_ptr_null(object);
    ck_assert_int_ne(err.code, 0);
}
END_TEST

START_TEST(read_events)
{
    enum kube_watch_type type = KUBE_WATCH_UNKNOWN;
    cleanup_json cJSON *object = NULL;
    int r = kube_watch_event_read(events[_i].line, strlen(events[_i].line), &type, &object, NULL);
    if (events[_i].type < 0) {
        ck_assert_int_eq(r, -EINVAL);
        ck_assert_ptr_null(object);
        return;
    }
    ck_assert_int_eq(r, 0);
    ck_assert_int_eq((int)type, events[_i].type);
    ck_assert(cJSON_IsObject(object));
}
END_TEST

static int take_item(void *user, const char *text, size_t len, struct error *err)
{
    (void)err;
    return take(user, text, len);
}

static int read_list(const char *body, size_t len, struct kube_list_meta *meta)
{
    got[0] = '\0';
    return kube_list_read(body, len, take_item, NULL, meta, NULL);
}

static const struct {
    const char *body, *items, *version, *continue_; /* items NULL: refused */
} lists[] = {
    {"{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"12\"},"
     "\"items\":[{\"a\":1}, {\"b\":[2,{}]}]}",
     "[{\"a\":1}][{\"b\":[2,{}]}]", "12", ""},
    {"{\"items\":[{}],\"metadata\":{\"continue\":\"abc\\/=\",\"remainingItemCount\":7,"
     "\"resourceVersion\":\"12\",\"x\":{\"y\":[]}}}",
     "[{}]", "12", "abc/="},
    {"{\"items\":[{\"a\":\"\\u0000]\"},{\"b\":\"\\\\\"}],\"metadata\":{\"resourceVersion\":\"1\"}}",
     "[{\"a\":\"\\u0000]\"}][{\"b\":\"\\\\\"}]", "1", ""},
    {"{\"metadata\":{\"resourceVersion\":\"1\",\"continue\":null},\"items\":null}", "", "1", ""},
    {"{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[]}", "", "1", ""},
    {"{\"metadata\":{\"resourceVersion\":\"1\"}}", NULL, NULL, NULL},
    {"{\"metadata\":{},\"items\":[]}", NULL, NULL, NULL},
    {"{\"metadata\":{\"resourceVersion\":\"\"},\"items\":[]}", NULL, NULL, NULL},
    {"{\"metadata\":{\"resourceVersion\":1},\"items\":[]}", NULL, NULL, NULL},
    {"{\"metadata\":null,\"items\":[]}", NULL, NULL, NULL},
    {"{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":{}}", NULL, NULL, NULL},
    {"{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[{}],\"items\":[]}", NULL, NULL, NULL},
    {"{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[]}{}", NULL, NULL, NULL},
    {"{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[],\"x\":\"\\ud800\"}", NULL, NULL, NULL},
    {"[]", NULL, NULL, NULL},
    {"", NULL, NULL, NULL},
};

START_TEST(read_lists)
{
    struct kube_list_meta meta;
    const char *body = lists[_i].body;
    int r = read_list(body, strlen(body), &meta);
    if (lists[_i].items == NULL) {
        ck_assert_int_eq(r, -EINVAL);
        return;
    }
    ck_assert_int_eq(r, 0);
    ck_assert_str_eq(got, lists[_i].items);
    ck_assert_str_eq(meta.version, lists[_i].version);
    ck_assert_str_eq(meta.continue_, lists[_i].continue_);
}
END_TEST

/* A body that ended early is no list, wherever it ended. */
START_TEST(a_list_cut_anywhere)
{
    const char *body = lists[0].body;
    struct kube_list_meta meta;
    for (size_t len = 0; len < strlen(body); len++)
        ck_assert_int_eq(read_list(body, len, &meta), -EINVAL);
}
END_TEST

static int refuse_second(void *user, const char *text, size_t len, struct error *err)
{
    unsigned *count = user;
    (void)text;
    (void)len;
    return ++*count == 2 ? error_set(err, EINVAL, "no object") : 0;
}

START_TEST(an_item_that_is_refused)
{
    static const char body[] = "{\"items\":[{},{},{}],\"metadata\":{\"resourceVersion\":\"1\"}}";
    struct kube_list_meta meta;
    struct error err = ERROR_INIT;
    unsigned count = 0;
    ck_assert_int_eq(kube_list_read(body, strlen(body), refuse_second, &count, &meta, &err),
                     -EINVAL);
    ck_assert_str_eq(err.text, "items[1]: no object");
    ck_assert_uint_eq(count, 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kube-watch-lines");
    TCase *tc = tcase_create("lines");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, any_split_gives_the_same_lines);
    tcase_add_test(tc, a_line_over_the_bound);
    tcase_add_test(tc, the_reader_may_stop);
    tcase_add_test(tc, a_large_line);
    tcase_add_loop_test(tc, read_events, 0, (int)ARRAY_SIZE(events));
    tcase_add_loop_test(tc, objects_that_cannot_be_read, 0,
                        (int)(sizeof(unreadable) / sizeof(unreadable[0])));
    tcase_add_loop_test(tc, read_lists, 0, (int)ARRAY_SIZE(lists));
    tcase_add_test(tc, a_list_cut_anywhere);
    tcase_add_test(tc, an_item_that_is_refused);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Log lines, read back from a pipe: each is one line and, as JSON, one valid object with what was
 * said in it, however long the parts are and whatever bytes a guest put there.
 */
#include "run_suite.h"
#include <check.h>
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/json.h>
#include <podvisor/log.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MOST 4096 /* with its newline: a pipe takes that many bytes in one piece */

static int reader = -1, writer = -1;
static char line[2 * LINE_MOST];

static void setup(void)
{
    int fds[2];
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    reader = fds[0];
    writer = fds[1];
    log_setup("test", writer, LOG_FORMAT_JSON, LOG_LEVEL_INFO);
}

static void teardown(void)
{
    close(reader);
    close(writer);
}

/* The one line that was written; its length without the newline. */
static size_t read_line(void)
{
    ssize_t n = read(reader, line, sizeof(line));
    ck_assert_int_gt(n, 0);
    ck_assert_int_le(n, LINE_MOST);
    ck_assert_ptr_eq(memchr(line, '\n', (size_t)n), line + n - 1);
    line[n - 1] = '\0';
    return (size_t)n - 1;
}

static cJSON *read_object(void)
{
    size_t len = read_line();
    cJSON *json = NULL;
    struct error err = ERROR_INIT;
    ck_assert_msg(json_parse(line, len, NULL, &json, &err) == 0, "%s: %s", err.text, line);
    ck_assert(cJSON_IsObject(json));
    return json;
}

static const char *string_of(const cJSON *json, const char *key)
{
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, key));
    ck_assert_msg(s != NULL, "no %s in %s", key, line);
    return s;
}

static bool is_cut(const cJSON *json)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "cut"));
}

/* `len` times `byte`. */
static const char *many(char byte, size_t len)
{
    static char text[2 * LINE_MOST];
    memset(text, byte, len);
    text[len] = '\0';
    return text;
}

START_TEST(test_line)
{
    const struct log_field fields[] = {LOG_STR("disk", "a \"b\"\\"), LOG_INT("sector", -7)};
    log_write(LOG_LEVEL_WARN, "blk", fields, ARRAY_SIZE(fields), "line\n\x1b[%d", 1);
    cleanup_json cJSON *json = read_object();
    ck_assert_str_eq(string_of(json, "level"), "warning");
    ck_assert_str_eq(string_of(json, "component"), "blk");
    ck_assert_str_eq(string_of(json, "msg"), "line\n\x1b[1");
    ck_assert_str_eq(string_of(json, "disk"), "a \"b\"\\");
    int64_t sector = 0;
    ck_assert(json_int64(cJSON_GetObjectItemCaseSensitive(json, "sector"), &sector));
    ck_assert_int_eq(sector, -7);
    ck_assert(!is_cut(json));
}
END_TEST

/* Bytes that take one, two or six characters each, around every length at which something ends. */
START_TEST(test_long_text)
{
    static const char byte[] = {'x', '"', '\\', '\n', '\x01', '\x80'};
    for (size_t i = 0; i < ARRAY_SIZE(byte); i++) {
        for (size_t len = 300; len<2100; len += len> 600 && len < 2000 ? 50 : 1) {
            log_info("guest", "%s", many(byte[i], len));
            cleanup_json cJSON *json = read_object();
            size_t said = strlen(string_of(json, "msg")) / (byte[i] == '\x80' ? 2 : 1);
            ck_assert_uint_le(said, len);
            ck_assert_msg(is_cut(json) == (said < len), "%zu of %zu bytes: %s", said, len, line);
            ck_assert_uint_gt(said, 290);
        }
    }
}
END_TEST

START_TEST(test_long_fields)
{
    for (size_t len = 1000; len<4100; len += len> 1100 && len < 3600 ? 50 : 1) {
        const struct log_field fields[] = {LOG_INT("first", 1), LOG_STR("long", many('"', len / 2)),
                                           LOG_INT("last", 2)};
        log_write(LOG_LEVEL_INFO, "guest", fields, ARRAY_SIZE(fields), "a device");
        cleanup_json cJSON *json = read_object();
        ck_assert_str_eq(string_of(json, "msg"), "a device");
        ck_assert(cJSON_HasObjectItem(json, "first"));
        const cJSON *field = cJSON_GetObjectItemCaseSensitive(json, "long");
        ck_assert(field == NULL || strlen(field->valuestring) == len / 2);
        ck_assert_msg(is_cut(json) == !cJSON_HasObjectItem(json, "last"), "%s", line);
        ck_assert(field != NULL || is_cut(json));
        ck_assert(field == NULL || len < 4000);
    }
}
END_TEST

START_TEST(test_text_form)
{
    log_setup("test", writer, LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
    const struct log_field fields[] = {LOG_STR("long", many('\x01', 4000)), LOG_INT("last", 2)};
    log_write(LOG_LEVEL_ERROR, "guest", fields, ARRAY_SIZE(fields), "a\nb");
    size_t len = read_line();
    ck_assert_int_eq(strncmp(line, "test: error: guest: a\\nb long=\\u0001", 36), 0);
    ck_assert_uint_gt(len, LINE_MOST - 8);
    ck_assert_str_eq(line + len - 6, "\\u0001");
}
END_TEST

START_TEST(test_level)
{
    log_debug("guest", "nothing");
    ck_assert_int_eq(read(reader, line, sizeof(line)), -1);
    ck_assert_int_eq(errno, EAGAIN);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("log");
    TCase *t = tcase_create("log");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_line);
    tcase_add_test(t, test_long_text);
    tcase_add_test(t, test_long_fields);
    tcase_add_test(t, test_text_form);
    tcase_add_test(t, test_level);
    suite_add_tcase(s, t);
    return run_suite(s);
}

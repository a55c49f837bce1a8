// SPDX-License-Identifier: Apache-2.0
/* The JSON writer: every value type, escaping, and running out of room at every byte. */
#include "run_suite.h"
#include <check.h>
#include <math.h>
#include <podvisor/json_scan.h>
#include <podvisor/json_write.h>
#include <stdlib.h>
#include <string.h>

static int write_sample(char *buf, size_t size, size_t *len)
{
    struct json_writer w;
    json_write_init(&w, buf, size);
    json_write_object(&w, NULL);
    json_write_int64(&w, "min", INT64_MIN);
    json_write_uint64(&w, "max", UINT64_MAX);
    json_write_bool(&w, "yes", true);
    json_write_string(&w, "none", NULL);
    json_write_array(&w, "list");
    json_write_double(&w, NULL, 0.1);
    json_write_object(&w, NULL);
    json_write_end(&w);
    json_write_string(&w, NULL, "a\"b");
    json_write_end(&w);
    json_write_bool(&w, "no", false);
    json_write_end(&w);
    return json_write_finish(&w, len);
}

static const char sample[] =
    "{\"min\":-9223372036854775808,\"max\":18446744073709551615,\"yes\":true,"
    "\"none\":null,\"list\":[0.1,{},\"a\\\"b\"],\"no\":false}";

START_TEST(writes_every_type)
{
    char buf[256];
    size_t len = 0;
    ck_assert_int_eq(write_sample(buf, sizeof(buf), &len), 0);
    ck_assert_str_eq(buf, sample);
    ck_assert_uint_eq(len, strlen(sample));
    ck_assert_int_eq(json_check(buf, len, NULL, NULL), 0);
}
END_TEST

START_TEST(notices_a_buffer_that_is_too_small)
{
    size_t len = 0;
    for (size_t size = 1; size < sizeof(sample); size++) {
        char *buf = malloc(size);
        ck_assert_int_eq(write_sample(buf, size, &len), -ENOSPC);
        ck_assert_uint_lt(strlen(buf), size);
        ck_assert_int_eq(strncmp(buf, sample, strlen(buf)), 0);
        free(buf);
    }
    char *buf = malloc(sizeof(sample));
    ck_assert_int_eq(write_sample(buf, sizeof(sample), &len), 0);
    ck_assert_str_eq(buf, sample);
    free(buf);
}
END_TEST

static const struct {
    const char *bytes, *json;
} strings[] = {
    {"", "\"\""},
    {"\\ / \b\f\n\r\t", "\"\\\\ / \\b\\f\\n\\r\\t\""},
    {"\x01\x1f\x7f", "\"\\u0001\\u001f\\u007f\""},
    {"\xc3\xa9\xf0\x9f\x98\x80", "\"\xc3\xa9\xf0\x9f\x98\x80\""},
    {"a\x80z", "\"a\\ufffdz\""},
    {"\xe2\x82", "\"\\ufffd\\ufffd\""},
    {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
};

START_TEST(escapes_strings)
{
    struct json_writer w;
    char buf[64];
    size_t len = 0;
    json_write_init(&w, buf, sizeof(buf));
    json_write_string(&w, NULL, strings[_i].bytes);
    ck_assert_int_eq(json_write_finish(&w, &len), 0);
    ck_assert_str_eq(buf, strings[_i].json);
    ck_assert_int_eq(json_check(buf, len, NULL, NULL), 0);
}
END_TEST

START_TEST(escapes_nul)
{
    struct json_writer w;
    char buf[64];
    size_t len = 0;
    json_write_init(&w, buf, sizeof(buf));
    json_write_string_n(&w, NULL, "a\0b", 3);
    ck_assert_int_eq(json_write_finish(&w, &len), 0);
    ck_assert_str_eq(buf, "\"a\\u0000b\"");
}
END_TEST

static const struct {
    double value;
    const char *json;
} doubles[] = {
    {0, "0"},          {0.1, "0.1"},       {1.0 / 3, "0.3333333333333333"},
    {1e300, "1e+300"}, {-2.5, "-2.5"},     {5e-324, "4.94065645841247e-324"},
    {NAN, "null"},     {INFINITY, "null"}, {123456789012345680.0, "1.2345678901234568e+17"},
};

START_TEST(writes_doubles_that_read_back)
{
    struct json_writer w;
    char buf[64];
    size_t len = 0;
    json_write_init(&w, buf, sizeof(buf));
    json_write_double(&w, NULL, doubles[_i].value);
    ck_assert_int_eq(json_write_finish(&w, &len), 0);
    ck_assert_str_eq(buf, doubles[_i].json);
    if (isfinite(doubles[_i].value))
        ck_assert(strtod(buf, NULL) == doubles[_i].value);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json_write");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, writes_every_type);
    tcase_add_test(tcase, notices_a_buffer_that_is_too_small);
    tcase_add_test(tcase, escapes_nul);
    tcase_add_loop_test(tcase, escapes_strings, 0, sizeof(strings) / sizeof(strings[0]));
    tcase_add_loop_test(tcase, writes_doubles_that_read_back, 0,
                        sizeof(doubles) / sizeof(doubles[0]));
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

// SPDX-License-Identifier: Apache-2.0
/* The strict scanner: RFC 8259's grammar, our stricter rules, token getters, the flat reader. */
#include "run_suite.h"
#include <check.h>
#include <podvisor/json_scan.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_text(const char *text, struct error *err)
{
    /* A copy of exactly its length, so that ASan sees a read past the end. */
    size_t len = strlen(text);
    char *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, text, len);
    int r = json_check(copy, len, NULL, err);
    free(copy);
    return r;
}

static const char *const valid[] = {
    "{}",
    "[]",
    "0",
    "-0",
    "\"\"",
    " \t\r\n[1 , 2]\n",
    "{\"a\":{\"a\":[{\"a\":null}]},\"b\":true}",
    "1e5",
    "-1.5E-10",
    "1000000000000000",
    "9007199254740993",
    "123456789012345678901234567890",
    "\"\\u00e9 \\ud83d\\ude00 \\\" \\\\ \\/ \\b\\f\\n\\r\\t\"",
    "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
    "1e-999",
};

START_TEST(accepts_valid_text)
{
    struct error err = ERROR_INIT;
    ck_assert_msg(check_text(valid[_i], &err) == 0, "%s: %s", valid[_i], err.text);
}
END_TEST

static const struct {
    const char *text, *message;
} invalid[] = {
    {"", "line 1, column 1: the text ends where a value must come"},
    {"  \n ", "line 2, column 2: the text ends where a value must come"},
    {"{\"a\":1}junk", "line 1, column 8: more text after the value"},
    {"1 2", "line 1, column 3: more text after the value"},
    {"\"x\\u0000y\"", "line 1, column 3: the character \\u0000 is not allowed"},
    {"\"\x80\"", "line 1, column 2: invalid UTF-8"},
    {"\"\xc0\xaf\"", "line 1, column 2: invalid UTF-8"},         /* overlong '/' */
    {"\"\xed\xa0\x80\"", "line 1, column 2: invalid UTF-8"},     /* U+D800 */
    {"\"\xf4\x90\x80\x80\"", "line 1, column 2: invalid UTF-8"}, /* U+110000 */
    {"\"\xe2\x82\"", "line 1, column 2: invalid UTF-8"},         /* cut off */
    {"\"a\nb\"", "line 1, column 3: control character in a string; escape it"},
    {"\"a\x01\"", "line 1, column 3: control character in a string; escape it"},
    {"01", "line 1, column 2: a number must not begin with 0"},
    {"1.", "line 1, column 3: a digit must follow the decimal point"},
    {".5", "line 1, column 1: a value is missing"},
    {"+1", "line 1, column 1: a value is missing"},
    {"-", "line 1, column 2: a digit is missing in a number"},
    {"1e", "line 1, column 3: a digit is missing in an exponent"},
    {"1e999", "line 1, column 1: the number is out of range"},
    {"NaN", "line 1, column 1: a value is missing"},
    {"nul", "line 1, column 1: a value is missing"},
    {"\"\\ud800\"", "line 1, column 2: unpaired surrogate in a string"},
    {"\"\\udc00\"", "line 1, column 2: unpaired surrogate in a string"},
    {"\"\\ud800\\u0041\"", "line 1, column 2: unpaired surrogate in a string"},
    {"\"\\x\"", "line 1, column 2: invalid escape in a string"},
    {"\"\\u12g4\"", "line 1, column 2: \\u must be followed by four hexadecimal digits"},
    {"\"abc", "line 1, column 5: the text ends inside a string"},
    {"\"abc\\", "line 1, column 5: invalid escape in a string"},
    {"{\"a\":1,\"a\":2}", "line 1, column 8: duplicate member name"},
    {"{\"a\":1,\n \"\\u0061\":2}", "line 2, column 2: duplicate member name"},
    {"[1,]", "line 1, column 4: a value is missing"},
    {"[1 2]", "line 1, column 4: a ',' or ']' must come here"},
    {"{\"a\":1,}", "line 1, column 8: a member's name in double quotes must come here"},
    {"{\"a\" 1}", "line 1, column 6: a ':' must follow a member's name"},
    {"{\"a\":1]", "line 1, column 7: a ',' or '}' must come here"},
    {"{a:1}", "line 1, column 2: a member's name in double quotes must come here"},
    {"{'a':1}", "line 1, column 2: a member's name in double quotes must come here"},
    {"[", "line 1, column 2: the text ends where a value must come"},
    {"[1", "line 1, column 3: a ',' or ']' must come here"},
    {"]", "line 1, column 1: a value is missing"},
    {"// c\n1", "line 1, column 1: a value is missing"},
    {"\xef\xbb\xbf{}", "line 1, column 1: a value is missing"}, /* byte order mark */
};

START_TEST(refuses_invalid_text)
{
    struct error err = ERROR_INIT;
    ck_assert_int_eq(check_text(invalid[_i].text, &err), -EINVAL);
    ck_assert_str_eq(err.text, invalid[_i].message);
}
END_TEST

START_TEST(refuses_nul_inside_the_text)
{
    ck_assert_int_eq(json_check("\"a\0b\"", 5, NULL, NULL), -EINVAL);
    ck_assert_int_eq(json_check("1\0", 2, NULL, NULL), -EINVAL);
}
END_TEST

START_TEST(bounds_depth)
{
    char text[2 * (JSON_DEPTH_MAX + 1)];
    for (unsigned depth = 1; depth <= JSON_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        ck_assert_int_eq(json_check(text, (size_t)2 * depth, NULL, NULL),
                         depth <= JSON_DEPTH_MAX ? 0 : -E2BIG);
    }
    struct json_scan_limits limits = {.depth = 2};
    ck_assert_int_eq(json_check("[[]]", 4, &limits, NULL), 0);
    ck_assert_int_eq(json_check("[[[]]]", 6, &limits, NULL), -E2BIG);
}
END_TEST

START_TEST(bounds_size_numbers_and_members)
{
    struct json_scan_limits limits = {.bytes = 4};
    struct error err = ERROR_INIT;
    ck_assert_int_eq(json_check("1234", 4, &limits, NULL), 0);
    ck_assert_int_eq(json_check("12345", 5, &limits, &err), -E2BIG);
    ck_assert_str_eq(err.text, "the text of 5 bytes is larger than the limit of 4");

    char digits[JSON_NUMBER_MAX + 1];
    memset(digits, '1', sizeof(digits));
    ck_assert_int_eq(json_check(digits, JSON_NUMBER_MAX, NULL, NULL), 0);
    ck_assert_int_eq(json_check(digits, JSON_NUMBER_MAX + 1, NULL, NULL), -E2BIG);

    char text[JSON_SCAN_NAMES_MAX * 16], *p = text;
    for (int i = 0; i <= JSON_SCAN_NAMES_MAX; i++) {
        p = text;
        *p++ = '{';
        for (int j = 0; j < i; j++)
            p += sprintf(p, "%s\"k%d\":0", j > 0 ? "," : "", j);
        *p++ = '}';
        ck_assert_int_eq(json_check(text, (size_t)(p - text), NULL, NULL), 0);
    }
    p += sprintf(p - 1, ",\"more\":0}") - 1;
    ck_assert_int_eq(json_check(text, (size_t)(p - text), NULL, NULL), -E2BIG);
    struct json_scan_limits names_by_caller = {.names_by_caller = true};
    ck_assert_int_eq(json_check(text, (size_t)(p - text), &names_by_caller, NULL), 0);
}
END_TEST

/* Names of closed objects are forgotten: many small objects are no problem. */
START_TEST(names_are_counted_while_open)
{
    char text[4 * JSON_SCAN_NAMES_MAX * 16], *p = text;
    *p++ = '[';
    for (int i = 0; i < 4 * JSON_SCAN_NAMES_MAX; i++)
        p += sprintf(p, "%s{\"a\":0}", i > 0 ? "," : "");
    *p++ = ']';
    ck_assert_int_eq(json_check(text, (size_t)(p - text), NULL, NULL), 0);
}
END_TEST

static struct json_token first_token(const char *text)
{
    static struct json_scan scan;
    struct json_token token;
    json_scan_init(&scan, text, strlen(text), NULL);
    ck_assert_int_eq(json_scan_next(&scan, &token, NULL), 0);
    return token;
}

static const struct {
    const char *text;
    int r;
    int64_t value;
} int64s[] = {
    {"0", 0, 0},
    {"-0", 0, 0},
    {"42", 0, 42},
    {"-42", 0, -42},
    {"9007199254740993", 0, 9007199254740993},
    {"9223372036854775807", 0, INT64_MAX},
    {"-9223372036854775808", 0, INT64_MIN},
    {"9223372036854775808", -ERANGE, 0},
    {"-9223372036854775809", -ERANGE, 0},
    {"99999999999999999999999", -ERANGE, 0},
    {"1.0", -EINVAL, 0},
    {"1e3", -EINVAL, 0},
    {"\"1\"", -EINVAL, 0},
    {"true", -EINVAL, 0},
};

START_TEST(reads_int64_exactly)
{
    struct json_token token = first_token(int64s[_i].text);
    int64_t value = -7;
    ck_assert_int_eq(json_token_int64(&token, &value, NULL), int64s[_i].r);
    ck_assert_int_eq(value, int64s[_i].r == 0 ? int64s[_i].value : -7);
}
END_TEST

START_TEST(reads_uint64_exactly)
{
    uint64_t value = 7;
    struct json_token token = first_token("18446744073709551615");
    ck_assert_int_eq(json_token_uint64(&token, &value, NULL), 0);
    ck_assert_uint_eq(value, UINT64_MAX);
    token = first_token("18446744073709551616");
    ck_assert_int_eq(json_token_uint64(&token, &value, NULL), -ERANGE);
    token = first_token("-1");
    ck_assert_int_eq(json_token_uint64(&token, &value, NULL), -ERANGE);
    token = first_token("-0");
    ck_assert_int_eq(json_token_uint64(&token, &value, NULL), 0);
    ck_assert_uint_eq(value, 0);
}
END_TEST

START_TEST(reads_doubles_and_booleans)
{
    double value;
    struct json_token token = first_token("-1.5e3");
    ck_assert_int_eq(json_token_double(&token, &value, NULL), 0);
    ck_assert(value == -1500);
    token = first_token("1e-999");
    ck_assert_int_eq(json_token_double(&token, &value, NULL), 0);
    ck_assert(value == 0);

    bool flag = false;
    token = first_token("true");
    ck_assert_int_eq(json_token_bool(&token, &flag, NULL), 0);
    ck_assert(flag);
    struct error err = ERROR_INIT;
    token = first_token("1");
    ck_assert_int_eq(json_token_bool(&token, &flag, &err), -EINVAL);
    ck_assert_str_eq(err.text, "must be true or false, not a number");
    token = first_token("\"a\"");
    ck_assert_int_eq(json_token_double(&token, &value, NULL), -EINVAL);
}
END_TEST

START_TEST(unescapes_strings)
{
    struct json_token token =
        first_token("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20ac\\ud83d\\ude00z\"");
    const char *expected = "a\"\\/\b\f\n\r\t\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
    char buf[64];
    size_t len = 0;
    ck_assert(token.escaped);
    ck_assert_int_eq(json_token_string(&token, buf, sizeof(buf), &len, NULL), 0);
    ck_assert_str_eq(buf, expected);
    ck_assert_uint_eq(len, strlen(expected));
    ck_assert(json_token_is(&token, expected));
    ck_assert(!json_token_is(&token, "a"));

    /* Every size that is too small fails, the exact one does not. */
    for (size_t size = 0; size <= len; size++)
        ck_assert_int_eq(json_token_string(&token, buf, size, NULL, NULL), -E2BIG);
    ck_assert_int_eq(json_token_string(&token, buf, len + 1, NULL, NULL), 0);

    token = first_token("\"\"");
    ck_assert(!token.escaped);
    ck_assert(json_token_is(&token, ""));
    ck_assert(!json_token_is(&token, "a"));
    token = first_token("\"a\\\\n\"");
    ck_assert(json_token_is(&token, "a\\n"));
    token = first_token("1");
    ck_assert(!json_token_is(&token, "1"));
    ck_assert_int_eq(json_token_string(&token, buf, sizeof(buf), NULL, NULL), -EINVAL);
}
END_TEST

/* What the control socket does with a request. */
static int read_request(const char *text, char verb[16], int64_t *id, struct error *err)
{
    struct json_scan scan;
    struct json_token name, value;
    json_scan_init(&scan, text, strlen(text), NULL);
    int r = json_scan_object(&scan, err);
    while (r == 0 && (r = json_scan_member(&scan, &name, &value, err)) > 0) {
        if (json_token_is(&name, "execute"))
            r = json_token_string(&value, verb, 16, NULL, err);
        else if (json_token_is(&name, "id"))
            r = json_token_int64(&value, id, err);
        else
            r = json_scan_skip(&scan, &value, err);
    }
    return r;
}

START_TEST(reads_a_flat_request)
{
    char verb[16] = "";
    int64_t id = 0;
    struct error err = ERROR_INIT;
    const char *text = "{\"execute\":\"pause\",\"x\":{\"y\":[1,{\"z\":[]}]},\"l\":[],\"id\":7} \n";
    ck_assert_int_eq(read_request(text, verb, &id, &err), 0);
    ck_assert_str_eq(verb, "pause");
    ck_assert_int_eq(id, 7);

    ck_assert_int_eq(read_request("{}", verb, &id, &err), 0);
    ck_assert_int_eq(read_request("{} x", verb, &id, &err), -EINVAL);
    ck_assert_str_eq(err.text, "line 1, column 4: more text after the value");
    ck_assert_int_eq(read_request("[]", verb, &id, &err), -EINVAL);
    ck_assert_str_eq(err.text, "an object must come here, not an array");
    ck_assert_int_eq(read_request("{\"id\":\"7\"}", verb, &id, &err), -EINVAL);
    ck_assert_int_eq(read_request("{\"id\":1,\"id\":2}", verb, &id, &err), -EINVAL);
    ck_assert_int_eq(read_request("{\"x\":[1,}", verb, &id, &err), -EINVAL);
}
END_TEST

START_TEST(reads_an_object_in_an_object)
{
    const char *text = "{\"a\":{\"b\":1,\"c\":2},\"d\":3}";
    struct json_scan scan;
    struct json_token name, value;
    json_scan_init(&scan, text, strlen(text), NULL);
    ck_assert_int_eq(json_scan_object(&scan, NULL), 0);
    ck_assert_int_eq(json_scan_member(&scan, &name, &value, NULL), 1);
    ck_assert_int_eq(value.type, JSON_OBJECT);
    ck_assert_int_eq(json_scan_member(&scan, &name, &value, NULL), 1);
    ck_assert(json_token_is(&name, "b"));
    ck_assert_int_eq(json_scan_member(&scan, &name, &value, NULL), 1);
    ck_assert(json_token_is(&name, "c"));
    ck_assert_int_eq(json_scan_member(&scan, &name, &value, NULL), 0);
    ck_assert_int_eq(json_scan_member(&scan, &name, &value, NULL), 1);
    ck_assert(json_token_is(&name, "d"));
    ck_assert_int_eq(json_scan_member(&scan, &name, &value, NULL), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json_scan");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, accepts_valid_text, 0, sizeof(valid) / sizeof(valid[0]));
    tcase_add_loop_test(tcase, refuses_invalid_text, 0, sizeof(invalid) / sizeof(invalid[0]));
    tcase_add_loop_test(tcase, reads_int64_exactly, 0, sizeof(int64s) / sizeof(int64s[0]));
    tcase_add_test(tcase, refuses_nul_inside_the_text);
    tcase_add_test(tcase, bounds_depth);
    tcase_add_test(tcase, bounds_size_numbers_and_members);
    tcase_add_test(tcase, names_are_counted_while_open);
    tcase_add_test(tcase, reads_uint64_exactly);
    tcase_add_test(tcase, reads_doubles_and_booleans);
    tcase_add_test(tcase, unescapes_strings);
    tcase_add_test(tcase, reads_a_flat_request);
    tcase_add_test(tcase, reads_an_object_in_an_object);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

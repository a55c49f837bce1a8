// SPDX-License-Identifier: Apache-2.0
/*
 * cJSON trees behind the gate: the table of differences between JSON readers (what plain cJSON gets
 * wrong), exact integers there and back, typed access with paths.
 */
#include "run_suite.h"
#include <check.h>
#include <podvisor/json.h>
#include <podvisor/json_scan.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cJSON *parse(const char *text)
{
    cJSON *json = NULL;
    struct error err = ERROR_INIT;
    ck_assert_msg(json_parse(text, strlen(text), NULL, &json, &err) == 0, "%s: %s", text, err.text);
    return json;
}

static char *print(const cJSON *json)
{
    char *text = NULL;
    size_t len = 0;
    ck_assert_int_eq(json_print(json, &text, &len, NULL), 0);
    ck_assert_uint_eq(len, strlen(text));
    return text;
}

/* Text, and what it is printed as. */
static const struct {
    const char *text, *printed;
} round_trips[] = {
    {"{}", "{}"},
    {"[]", "[]"},
    {" { \"b\" : [ 1 , true , false , null ] , \"a\" : { } } ",
     "{\"b\":[1,true,false,null],\"a\":{}}"},
    {"1000000000000000", "1000000000000000"},
    {"9007199254740993", "9007199254740993"},
    {"-9007199254740993", "-9007199254740993"},
    {"9223372036854775807", "9223372036854775807"},
    {"-9223372036854775808", "-9223372036854775808"},
    {"18446744073709551615", "18446744073709551615"},
    {"123456789012345678901234567890", "123456789012345678901234567890"},
    {"[99999999999]", "[99999999999]"},
    {"-0", "0"},
    {"1.0", "1"},
    {"1e3", "1000"},
    {"0.1", "0.1"},
    {"1.5e300", "1.5e+300"},
    {"\"a\\u0041\\n\\ud83d\\ude00\"", "\"aA\\n\xf0\x9f\x98\x80\""},
    {"{\"a\\\"b\":\"\"}", "{\"a\\\"b\":\"\"}"},
};

START_TEST(prints_what_it_read)
{
    cleanup_json cJSON *json = parse(round_trips[_i].text);
    char *text = print(json);
    ck_assert_str_eq(text, round_trips[_i].printed);
    free(text);
    cleanup_json cJSON *copy = cJSON_Duplicate(json, true);
    text = print(copy);
    ck_assert_str_eq(text, round_trips[_i].printed);
    free(text);
}
END_TEST

static const struct {
    const char *text, *message;
} refused[] = {
    {"{\"a\":1}junk", "line 1, column 8: more text after the value"},
    {"\"x\\u0000y\"", "line 1, column 3: the character \\u0000 is not allowed"},
    {"\"\xff\"", "line 1, column 2: invalid UTF-8"},
    {"\"\t\"", "line 1, column 2: control character in a string; escape it"},
    {"01", "line 1, column 2: a number must not begin with 0"},
    {"1.", "line 1, column 3: a digit must follow the decimal point"},
    {"\"\\ud800\"", "line 1, column 2: unpaired surrogate in a string"},
    {"1e999", "line 1, column 1: the number is out of range"},
    {"{\"a\":1,\"b\":{},\"a\":2}", "line 1, column 15: duplicate member name"},
    {"{\"x\":[{\"a\":1,\n\"\\u0061\":2}]}", "line 2, column 1: duplicate member name"},
    {"[1,", "line 1, column 4: the text ends where a value must come"},
    {"{\"a\":", "line 1, column 6: the text ends where a value must come"},
    {"", "line 1, column 1: the text ends where a value must come"},
};

START_TEST(refuses_what_cjson_would_take)
{
    cJSON *json = NULL;
    struct error err = ERROR_INIT;
    const char *text = refused[_i].text;
    ck_assert_int_eq(json_parse(text, strlen(text), NULL, &json, &err), -EINVAL);
    ck_assert_str_eq(err.text, refused[_i].message);
    ck_assert_ptr_null(json);
}
END_TEST

START_TEST(holds_its_limits)
{
    cJSON *json = NULL;
    struct json_limits limits = {.bytes = 8, .depth = 2};
    ck_assert_int_eq(json_parse("[[1234]]", 8, &limits, &json, NULL), 0);
    cJSON_Delete(json);
    ck_assert_int_eq(json_parse("[[12345]]", 9, &limits, &json, NULL), -E2BIG);
    ck_assert_int_eq(json_parse("[[[]]]", 6, &limits, &json, NULL), -E2BIG);
}
END_TEST

/* Far more members than the scanner's own table would hold, and one of them twice. */
START_TEST(takes_large_objects)
{
    enum { MEMBERS = 20000 };
    char *text = malloc(MEMBERS * 16), *p = text;
    *p++ = '{';
    for (int i = 0; i < MEMBERS; i++)
        p += sprintf(p, "%s\"k%d\":%d", i > 0 ? "," : "", i, i);
    *p++ = '}';
    cJSON *json = NULL;
    ck_assert_int_eq(json_parse(text, (size_t)(p - text), NULL, &json, NULL), 0);
    ck_assert_int_eq(cJSON_GetArraySize(json), MEMBERS);
    cJSON_Delete(json);
    p += sprintf(p - 1, ",\"k77\":0}") - 1;
    ck_assert_int_eq(json_parse(text, (size_t)(p - text), NULL, &json, NULL), -EINVAL);
    free(text);
}
END_TEST

START_TEST(keeps_integers_exact)
{
    int64_t value = 0;
    cleanup_json cJSON *large = parse("9007199254740993");
    ck_assert(cJSON_IsNumber(large));
    ck_assert(json_int64(large, &value));
    ck_assert_int_eq(value, 9007199254740993);

    static const int64_t values[] = {0, -1, 1000000000000000, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        cleanup_json cJSON *item = json_create_int64(values[i]);
        ck_assert(json_int64(item, &value));
        ck_assert_int_eq(value, values[i]);
    }
    static const char *const none[] = {"1.5", "1e300", "18446744073709551615", "\"1\"", "true"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        cleanup_json cJSON *item = parse(none[i]);
        ck_assert(!json_int64(item, &value));
    }
}
END_TEST

START_TEST(refuses_to_print_what_is_no_json)
{
    char *text = NULL;
    cleanup_json cJSON *infinite = cJSON_CreateNumber(1e308 * 10);
    ck_assert_int_eq(json_print(infinite, &text, NULL, NULL), -EINVAL);
    cJSON *deep = cJSON_CreateArray();
    for (int i = 0; i < JSON_DEPTH_MAX; i++) {
        cJSON *outer = cJSON_CreateArray();
        cJSON_AddItemToArray(outer, deep);
        deep = outer;
    }
    ck_assert_int_eq(json_print(deep, &text, NULL, NULL), -EINVAL);
    char *inner = print(deep->child); /* one less is fine */
    free(inner);
    cJSON_Delete(deep);
    cleanup_json cJSON *nameless = cJSON_CreateObject();
    cJSON_AddItemToArray(nameless, cJSON_CreateNull());
    ck_assert_int_eq(json_print(nameless, &text, NULL, NULL), -EINVAL);
}
END_TEST

START_TEST(prints_a_member_without_its_name)
{
    cleanup_json cJSON *json = parse("{\"a\":{\"b\":1}}");
    char *text = print(json_get(json, "a"));
    ck_assert_str_eq(text, "{\"b\":1}");
    free(text);
}
END_TEST

START_TEST(reads_members_by_type)
{
    cleanup_json cJSON *json = parse(
        "{\"s\":\"x\",\"i\":9007199254740993,\"f\":1.5,\"b\":true,\"o\":{},\"l\":[],\"n\":null}");
    struct json_path spec = {.key = "spec"}, disks = {.parent = &spec, .key = "disks"},
                     disk = {.parent = &disks, .index = 3};
    struct error err = ERROR_INIT;
    const char *str = NULL;
    int64_t num = 0;
    bool flag = false;
    const cJSON *tree = NULL;
    ck_assert_int_eq(json_get_string(json, "s", &disk, &str, &err), 1);
    ck_assert_str_eq(str, "x");
    ck_assert_int_eq(json_get_int64(json, "i", &disk, &num, &err), 1);
    ck_assert_int_eq(num, 9007199254740993);
    ck_assert_int_eq(json_get_bool(json, "b", &disk, &flag, &err), 1);
    ck_assert(flag);
    ck_assert_int_eq(json_get_object(json, "o", &disk, &tree, &err), 1);
    ck_assert(cJSON_IsObject(tree));
    ck_assert_int_eq(json_get_array(json, "l", &disk, &tree, &err), 1);
    ck_assert(cJSON_IsArray(tree));

    ck_assert_int_eq(json_get_string(json, "n", &disk, &str, &err), 0);
    ck_assert_int_eq(json_get_string(json, "absent", &disk, &str, &err), 0);
    ck_assert_int_eq(json_get_string(json, "S", &disk, &str, &err), 0); /* case counts */
    ck_assert_int_eq(json_get_string(NULL, "s", &disk, &str, &err), 0);

    ck_assert_int_eq(json_get_string(json, "i", &disk, &str, &err), -EINVAL);
    ck_assert_str_eq(err.text, "spec.disks[3].i: must be a string, not a number");
    ck_assert_int_eq(json_get_int64(json, "f", &disk, &num, &err), -EINVAL);
    ck_assert_str_eq(err.text, "spec.disks[3].f: must be an integer of at most 64 bits");
    ck_assert_int_eq(json_get_int64(json, "s", &disk, &num, &err), -EINVAL);
    ck_assert_str_eq(err.text, "spec.disks[3].s: must be an integer, not a string");
    ck_assert_int_eq(json_get_bool(json, "s", NULL, &flag, &err), -EINVAL);
    ck_assert_str_eq(err.text, "s: must be true or false, not a string");
    ck_assert_int_eq(json_get_object(json, "l", &disk, &tree, &err), -EINVAL);
    ck_assert_str_eq(err.text, "spec.disks[3].l: must be an object, not an array");
    ck_assert_int_eq(json_get_array(json, "o", &disk, &tree, &err), -EINVAL);
    ck_assert_str_eq(err.text, "spec.disks[3].o: must be an array, not an object");
}
END_TEST

START_TEST(writes_paths)
{
    char buf[64];
    struct json_path metadata = {.key = "metadata"},
                     labels = {.parent = &metadata, .key = "labels"},
                     label = {.parent = &labels, .key = "kubevirt.io/vm"};
    ck_assert_str_eq(json_path_text(&label, buf, sizeof(buf)), "metadata.labels[kubevirt.io/vm]");
    ck_assert_str_eq(json_path_text(&label, buf, 12), "metadata...");
    ck_assert_str_eq(json_path_text(NULL, buf, sizeof(buf)), "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, prints_what_it_read, 0,
                        sizeof(round_trips) / sizeof(round_trips[0]));
    tcase_add_loop_test(tcase, refuses_what_cjson_would_take, 0,
                        sizeof(refused) / sizeof(refused[0]));
    tcase_add_test(tcase, holds_its_limits);
    tcase_add_test(tcase, takes_large_objects);
    tcase_add_test(tcase, keeps_integers_exact);
    tcase_add_test(tcase, refuses_to_print_what_is_no_json);
    tcase_add_test(tcase, prints_a_member_without_its_name);
    tcase_add_test(tcase, reads_members_by_type);
    tcase_add_test(tcase, writes_paths);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

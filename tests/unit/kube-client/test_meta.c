// SPDX-License-Identifier: Apache-2.0
/* Metadata accessors, paths, equality. */
#include "run_suite.h"
#include <podvisor/cleanup.h>
#include <podvisor/kube.h>
#include <string.h>

static cJSON *parse(const char *text)
{
    cJSON *json = NULL;
    struct error err = ERROR_INIT;
    ck_assert_msg(json_parse(text, strlen(text), NULL, &json, &err) == 0, "%s", err.text);
    return json;
}

START_TEST(reads_metadata)
{
    cleanup_json cJSON *o = parse(
        "{\"metadata\":{\"name\":\"n\",\"namespace\":\"s\",\"uid\":\"u\",\"resourceVersion\":\"7\","
        "\"labels\":{\"a/b\":\"c\"},\"annotations\":{\"x\":\"y\"},\"finalizers\":[\"f\",\"g\"],"
        "\"deletionTimestamp\":\"2026-01-02T03:04:05Z\",\"ownerReferences\":[{\"name\":\"p\"},"
        "{\"name\":\"q\",\"controller\":true}]}}");
    ck_assert_str_eq(kube_name(o), "n");
    ck_assert_str_eq(kube_namespace(o), "s");
    ck_assert_str_eq(kube_uid(o), "u");
    ck_assert_str_eq(kube_resource_version(o), "7");
    ck_assert_str_eq(kube_label(o, "a/b"), "c");
    ck_assert_ptr_null(kube_label(o, "A/b"));
    ck_assert_str_eq(kube_annotation(o, "x"), "y");
    ck_assert_ptr_null(kube_annotation(o, "z"));
    ck_assert(kube_deleting(o));
    ck_assert(kube_has_finalizer(o, "g"));
    ck_assert(!kube_has_finalizer(o, "h"));
    ck_assert_str_eq(json_get(kube_controller_ref(o), "name")->valuestring, "q");
}
END_TEST

static const char *const empty[] = {
    "{}",
    "[]",
    "null",
    "{\"metadata\":7}",
    "{\"metadata\":{\"name\":7,\"labels\":[],\"finalizers\":{},\"ownerReferences\":\"x\"}}",
    "{\"metadata\":{\"name\":null,\"finalizers\":[7],\"ownerReferences\":[7,{}],"
    "\"deletionTimestamp\":null}}",
};

START_TEST(bears_what_is_absent_or_wrong)
{
    cleanup_json cJSON *o = parse(empty[_i]);
    ck_assert_str_eq(kube_name(o), "");
    ck_assert_str_eq(kube_namespace(o), "");
    ck_assert_ptr_null(kube_label(o, "a"));
    ck_assert(!kube_deleting(o));
    ck_assert(!kube_has_finalizer(o, "a"));
    ck_assert_ptr_null(kube_controller_ref(o));
    ck_assert_str_eq(kube_name(NULL), "");
    ck_assert_ptr_null(kube_condition(o, "Ready"));
}
END_TEST

START_TEST(makes_owner_references)
{
    static const struct kube_resource vm = {"kubevirt.io", "v1", "virtualmachines",
                                            "VirtualMachine", false};
    static const struct kube_resource pod = {"", "v1", "pods", "Pod", false};
    cleanup_json cJSON *owner = parse("{\"metadata\":{\"name\":\"n\",\"uid\":\"u\"}}");
    cleanup_json cJSON *want =
        parse("{\"apiVersion\":\"kubevirt.io/v1\",\"kind\":\"VirtualMachine\",\"name\":\"n\","
              "\"uid\":\"u\",\"controller\":true,\"blockOwnerDeletion\":true}");
    cleanup_json cJSON *ref = kube_make_owner_ref(&vm, owner);
    cleanup_json cJSON *core = kube_make_owner_ref(&pod, owner);
    ck_assert(kube_equal(ref, want));
    ck_assert_str_eq(json_get(core, "apiVersion")->valuestring, "v1");
}
END_TEST

START_TEST(walks_paths)
{
    cleanup_json cJSON *o = parse("{\"a\":{\"b\":{\"c\":7}},\"n\":null,\"l\":[{\"c\":1}]}");
    ck_assert_int_eq(kube_path(o, "a.b.c")->valueint, 7);
    ck_assert_ptr_eq(kube_path(o, "a"), json_get(o, "a"));
    ck_assert_ptr_null(kube_path(o, "a.b.c.d"));
    ck_assert_ptr_null(kube_path(o, "a.x.c"));
    ck_assert_ptr_null(kube_path(o, "n"));
    ck_assert_ptr_null(kube_path(o, "l.c"));
    ck_assert_ptr_null(kube_path(o, "a..c"));
    ck_assert_ptr_null(kube_path(o, ""));
    ck_assert_ptr_null(kube_path(NULL, "a"));
    char longer[300];
    memset(longer, 'a', sizeof(longer));
    longer[299] = '\0';
    ck_assert_ptr_null(kube_path(o, longer));
}
END_TEST

START_TEST(finds_conditions)
{
    cleanup_json cJSON *list =
        parse("[7,{\"type\":\"A\",\"status\":\"False\"},{\"type\":\"B\",\"status\":\"True\"}]");
    ck_assert_str_eq(json_get(kube_condition(list, "B"), "status")->valuestring, "True");
    ck_assert_ptr_null(kube_condition(list, "C"));
    ck_assert_ptr_null(kube_condition(NULL, "A"));
}
END_TEST

#define SIXTY_THREE "a12345678901234567890123456789012345678901234567890123456789-_b"

static const struct {
    const char *text;
    bool valid;
} values[] = {
    {"", true},     {"n", true},         {"node-1.example.org", true},
    {"A_b", true},  {SIXTY_THREE, true}, {SIXTY_THREE "4", false},
    {"-n", false},  {"n.", false},       {".", false},
    {"a/b", false}, {"a b", false},      {"n\303\266", false},
};

START_TEST(knows_label_values)
{
    ck_assert_int_eq(kube_is_label_value(values[_i].text), values[_i].valid);
}
END_TEST

static const struct {
    const char *a, *b;
    bool equal;
} pairs[] = {
    {"{}", "{}", true},
    {"{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", true},
    {"{\"a\":1,\"b\":2,\"c\":3}", "{\"c\":3,\"a\":1,\"b\":2}", true},
    {"{\"a\":1}", "{\"a\":1,\"b\":2}", false},
    {"{\"a\":1,\"b\":2}", "{\"a\":1,\"c\":2}", false},
    {"{\"a\":null}", "{}", true},
    {"{\"a\":null,\"b\":1}", "{\"b\":1,\"c\":null}", true},
    {"{\"a\":1}", "{\"A\":1}", false},
    {"[1,2]", "[2,1]", false},
    {"[1,2]", "[1,2,3]", false},
    {"[1,null]", "[1]", false},
    {"[]", "{}", false},
    {"1", "1.0", true},
    {"1", "1e0", true},
    {"0", "-0", true},
    {"1", "2", false},
    {"1.5", "1.5", true},
    {"1.5", "1.25", false},
    {"9007199254740993", "9007199254740992", false},
    {"9007199254740993", "9007199254740993", true},
    {"99999999999999999999", "99999999999999999999", true},
    {"99999999999999999999", "99999999999999999998", false},
    {"1", "\"1\"", false},
    {"\"a\"", "\"a\"", true},
    {"\"a\"", "\"b\"", false},
    {"true", "true", true},
    {"true", "false", false},
    {"false", "null", false},
    {"null", "null", true},
    {"{\"a\":[{\"b\":{\"c\":[1]}}]}", "{\"a\":[{\"b\":{\"c\":[1]}}]}", true},
    {"{\"a\":[{\"b\":{\"c\":[1]}}]}", "{\"a\":[{\"b\":{\"c\":[2]}}]}", false},
};

START_TEST(compares)
{
    cleanup_json cJSON *a = parse(pairs[_i].a), *b = parse(pairs[_i].b);
    ck_assert_int_eq(kube_equal(a, b), pairs[_i].equal);
    ck_assert_int_eq(kube_equal(b, a), pairs[_i].equal);
    ck_assert(kube_equal(a, a));
}
END_TEST

START_TEST(compares_nothing)
{
    cleanup_json cJSON *null = parse("null"), *zero = parse("0");
    ck_assert(kube_equal(NULL, NULL));
    ck_assert(kube_equal(NULL, null));
    ck_assert(!kube_equal(NULL, zero));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kube-meta");
    TCase *tc = tcase_create("meta");
    tcase_add_test(tc, reads_metadata);
    tcase_add_loop_test(tc, bears_what_is_absent_or_wrong, 0, (int)ARRAY_SIZE(empty));
    tcase_add_test(tc, makes_owner_references);
    tcase_add_loop_test(tc, knows_label_values, 0, (int)ARRAY_SIZE(values));
    tcase_add_test(tc, walks_paths);
    tcase_add_test(tc, finds_conditions);
    tcase_add_loop_test(tc, compares, 0, (int)ARRAY_SIZE(pairs));
    tcase_add_test(tc, compares_nothing);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

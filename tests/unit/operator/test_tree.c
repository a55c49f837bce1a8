// SPDX-License-Identifier: Apache-2.0
#include "kit.h"
#include "run_suite.h"
#include "tree.h"
#include <podvisor/cleanup.h>
#include <podvisor/kube.h>

static const struct {
    const char *from, *to, *patch; /* patch "": equal */
} diffs[] = {
    {"{a: 1}", "{a: 1}", ""},
    {"{a: 1, b: 2}", "{b: 2, a: 1}", ""},
    {"{a: 1}", "{a: 2}", "{\"a\":2}"},
    {"{a: 1, b: 2}", "{a: 1}", "{\"b\":null}"},
    {"{a: 1}", "{a: 1, b: {}}", "{\"b\":{}}"},
    {"{a: {b: 1, c: 2}}", "{a: {b: 1, c: 3}}", "{\"a\":{\"c\":3}}"},
    {"{a: null, b: {c: null}}", "{a: null, b: {c: null, d: 1}}", "{\"b\":{\"d\":1}}"},
    {"{a: {b: 1}}", "{a: {}}", "{\"a\":{\"b\":null}}"},
    {"{a: [1, 2]}", "{a: [1, 2]}", ""},
    {"{a: [1, 2]}", "{a: [2, 1]}", "{\"a\":[2,1]}"},
    {"{a: [1]}", "{a: []}", "{\"a\":[]}"},
    {"{a: {b: 1}}", "{a: 7}", "{\"a\":7}"},
    {"{a: 7}", "{a: {b: 1}}", "{\"a\":{\"b\":1}}"},
    {"{a: false}", "{a: true}", "{\"a\":true}"},
    {"{a: 0}", "{a: \"0\"}", "{\"a\":\"0\"}"},
    {"{a: 9007199254740993}", "{a: 9007199254740992}", "{\"a\":9007199254740992}"},
};

START_TEST(test_merge_diff)
{
    cleanup_json cJSON *from = kit_yaml(diffs[_i].from), *to = kit_yaml(diffs[_i].to);
    cleanup_json cJSON *patch = tree_merge_diff(from, to);
    ck_assert_str_eq(patch != NULL ? kit_text(patch, "") : "", diffs[_i].patch);
}
END_TEST

START_TEST(test_put_replaces)
{
    cleanup_json cJSON *object = kit_yaml("{a: 1, b: 2}");
    tree_put_string(object, "a", "x");
    tree_put_int(object, "b", INT64_C(9007199254740993));
    tree_put_bool(object, "c", false);
    ck_assert_str_eq(kit_text(object, ""), "{\"a\":\"x\",\"b\":9007199254740993,\"c\":false}");
    cJSON *list = tree_need_array(object, "a"); /* no array: made one */
    tree_push_string(list, "y");
    ck_assert_ptr_eq(tree_need_array(object, "a"), list);
    ck_assert_str_eq(kit_text(object, "a"), "[\"y\"]");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("operator tree");
    TCase *tcase = tcase_create("tree");
    tcase_add_loop_test(tcase, test_merge_diff, 0, sizeof(diffs) / sizeof(diffs[0]));
    tcase_add_test(tcase, test_put_replaces);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

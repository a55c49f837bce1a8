// SPDX-License-Identifier: Apache-2.0
#include "kit.h"
#include "run_suite.h"
#include "tree.h"
#include <podvisor/cleanup.h>
#include <podvisor/kube.h>

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
    tcase_add_test(tcase, test_put_replaces);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

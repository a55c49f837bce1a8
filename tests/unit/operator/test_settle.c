// SPDX-License-Identifier: Apache-2.0
/* Which status changes of a starting machine may wait, and how long. */
#include "kit.h"
#include "run_suite.h"
#include "settle.h"
#include "tree.h"
#include <podvisor/cleanup.h>

#define SECOND INT64_C(1000000000)

static cJSON *young(cJSON *vmi_take)
{
    tree_put_string(tree_need_object(vmi_take, "metadata"), "creationTimestamp",
                    "2026-01-02T03:04:00Z"); /* five seconds before KIT_NOW */
    return vmi_take;
}

static const struct {
    const char *from, *to;
    bool waits;
} vmi_cases[] = {
    {"{phase: Scheduling}", "{phase: Scheduling, nodeName: n, activePods: {p: n}}", true},
    {"{phase: Scheduling, conditions: [{type: Ready, status: \"False\", reason: A}]}",
     "{phase: Scheduling, conditions: [{type: Ready, status: \"False\", reason: B}]}", true},
    {"{phase: Scheduling, conditions: []}",
     "{phase: Scheduling, conditions: [{type: PodScheduled, status: \"False\"}]}", false},
    {"{phase: Pending}", "{phase: Scheduling}", false},
    {"{phase: Scheduling}", "{phase: Running, nodeName: n}", false},
    {"{phase: Running}", "{phase: Running, nodeName: n}", false},
};

START_TEST(test_vmi)
{
    cleanup_json cJSON *from = young(kit_vmi(vmi_cases[_i].from));
    cleanup_json cJSON *to = young(kit_vmi(vmi_cases[_i].to));
    uint64_t wait = settle_vmi(from, to, KIT_NOW);
    ck_assert_uint_eq(wait, vmi_cases[_i].waits ? SETTLE_NS - 5 * SECOND : 0);
}
END_TEST

static const struct {
    const char *from, *to;
    bool waits;
} vm_cases[] = {
    {"{printableStatus: Starting, conditions: [{type: Ready, status: \"False\", reason: A}]}",
     "{printableStatus: Starting, conditions: [{type: Ready, status: \"False\", reason: B},"
     " {type: LiveMigratable, status: \"False\"}]}",
     true},
    {"{printableStatus: Starting, conditions: []}",
     "{printableStatus: Starting, conditions: [{type: Failure, status: \"True\"}]}", false},
    {"{printableStatus: Starting, stateChangeRequests: [{action: Start}]}",
     "{printableStatus: Starting}", false},
    {"{printableStatus: Starting, conditions: [{type: Ready, status: \"False\"}]}",
     "{printableStatus: Starting, conditions: [{type: Ready, status: \"True\"}]}", false},
    {"{printableStatus: Stopped}", "{printableStatus: Starting}", false},
    {"{printableStatus: Starting}", "{printableStatus: ErrImagePull}", false},
};

START_TEST(test_vm)
{
    cleanup_json cJSON *from = kit_vm("Always", vm_cases[_i].from);
    cleanup_json cJSON *to = kit_vm("Always", vm_cases[_i].to);
    cleanup_json cJSON *vmi = young(kit_vmi("{phase: Scheduling}"));
    uint64_t wait = settle_vm(from, to, vmi, KIT_NOW);
    ck_assert_uint_eq(wait, vm_cases[_i].waits ? SETTLE_NS - 5 * SECOND : 0);
    ck_assert_uint_eq(settle_vm(from, to, NULL, KIT_NOW), 0);
}
END_TEST

START_TEST(test_not_for_long)
{
    cleanup_json cJSON *from = young(kit_vmi("{phase: Scheduling}"));
    cleanup_json cJSON *to = young(kit_vmi("{phase: Scheduling, nodeName: n}"));
    ck_assert_uint_eq(settle_vmi(from, to, KIT_NOW + 24 * SECOND), 1 * SECOND);
    ck_assert_uint_eq(settle_vmi(from, to, KIT_NOW + 25 * SECOND), 0);
    ck_assert_uint_eq(settle_vmi(from, to, KIT_NOW - 6 * SECOND), 0); /* created in the future */
    tree_put_string(tree_need_object(to, "metadata"), "deletionTimestamp", "2026-01-02T03:04:04Z");
    ck_assert_uint_eq(settle_vmi(from, to, KIT_NOW), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("operator settle");
    TCase *tcase = tcase_create("settle");
    tcase_add_loop_test(tcase, test_vmi, 0, sizeof(vmi_cases) / sizeof(vmi_cases[0]));
    tcase_add_loop_test(tcase, test_vm, 0, sizeof(vm_cases) / sizeof(vm_cases[0]));
    tcase_add_test(tcase, test_not_for_long);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

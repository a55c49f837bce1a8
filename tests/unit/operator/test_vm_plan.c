// SPDX-License-Identifier: Apache-2.0
/* Run strategies, requests, crash loops and printable status: KubeVirt's
 * virt-controller/watch/vm/vm.go. */
#include "kinds.h"
#include "kit.h"
#include "run_suite.h"
#include "tree.h"
#include "vm_plan.h"
#include <podvisor/cleanup.h>
#include <podvisor/kube.h>
#include <podvisor/str.h>
#include <string.h>

static struct vm_view view;
static struct vm_plan plan;
static cJSON *vm, *vmi;
static struct vmspec *spec;
static struct vmspec_diagnostics diagnostics;
static bool claim_is_unbound;

static void set_up(void)
{
    vm = vmi = NULL;
    spec = NULL;
    claim_is_unbound = false;
    diagnostics = (struct vmspec_diagnostics){0};
}

static void tear_down(void)
{
    vm_plan_done(&plan);
    vmspec_free(spec);
    vmspec_diagnostics_done(&diagnostics);
    cJSON_Delete(vm);
    cJSON_Delete(vmi);
}

static void make(cJSON *the_vm, cJSON *the_vmi)
{
    struct error err = ERROR_INIT;
    vm = the_vm;
    vmi = the_vmi;
    (void)vmspec_from_object(vm, &spec, &diagnostics, &err);
    view = (struct vm_view){.vm = vm,
                            .vmi = vmi,
                            .spec = spec,
                            .diagnostics = &diagnostics,
                            .claim_is_unbound = claim_is_unbound,
                            .now = KIT_NOW,
                            .random = 7};
    vm_plan_make(&view, &plan);
}

/* The machine's own instance, with the phase (NULL: no instance). */
static cJSON *instance(const char *phase)
{
    if (phase == NULL)
        return NULL;
    cJSON *object = kit_vmi(NULL);
    tree_put(tree_need_object(object, "metadata"), "ownerReferences",
             kit_yaml("[{kind: VirtualMachine, name: box, uid: vm-1, controller: true}]"));
    tree_put(object, "spec", kit_yaml("{domain: {memory: {guest: 64Mi}, devices: {}}}"));
    tree_put_string(tree_put(object, "status", tree_object()), "phase", phase);
    return object;
}

static const char *printable(void)
{
    return kit_text(plan.vm, "status.printableStatus");
}

/* A machine whose strategy has been seen before, with these requests. */
#define RERUN(requests) "{runStrategy: RerunOnFailure, stateChangeRequests: " requests "}"

/* syncRunStrategy of KubeVirt's vm.go, case by case. */
static const struct {
    const char *strategy, *phase; /* phase NULL: no instance */
    const char *status;           /* of the VM before; NULL: none */
    bool creates, deletes;
    const char *printable;
} rows[] = {
    {"Always", NULL, NULL, true, false, "Starting"},
    {"Always", "Running", NULL, false, false, "Running"},
    {"Always", "Scheduling", NULL, false, false, "Starting"},
    {"Always", "Succeeded", NULL, false, true, "Stopped"},
    {"Always", "Failed", NULL, false, true, "CrashLoopBackOff"},
    {"RerunOnFailure", NULL, NULL, true, false, "Starting"},
    {"RerunOnFailure", "Failed", RERUN("[]"), false, true, "CrashLoopBackOff"},
    {"RerunOnFailure", "Succeeded", RERUN("[]"), false, true, "Stopped"},
    {"RerunOnFailure", "Running", RERUN("[{action: Stop, uid: uid-1}]"), false, true, "Stopping"},
    {"RerunOnFailure", "Running", RERUN("[{action: Stop, uid: uid-1}, {action: Start}]"), false,
     true, "Stopping"},
    {"RerunOnFailure", NULL, RERUN("[]"), false, false, "Stopped"},
    {"RerunOnFailure", NULL, RERUN("[{action: Stop, uid: uid-1}]"), false, false, "Stopped"},
    {"RerunOnFailure", NULL, RERUN("[{action: Stop, uid: uid-1}, {action: Start}]"), true, false,
     "Starting"},
    {"RerunOnFailure", NULL, "{runStrategy: Halted}", true, false, "Starting"},
    {"Once", NULL, NULL, true, false, "Starting"},
    {"Once", "Succeeded", NULL, false, false, "Stopped"},
    {"Once", "Failed", NULL, false, false, "CrashLoopBackOff"}, /* it never ran */
    {"Once", "Running", "{stateChangeRequests: [{action: Stop, uid: uid-1}]}", false, false,
     "Running"},
    {"Once", NULL, "{startFailure: {retryAfterTimestamp: \"2026-01-02T03:05:00Z\"}}", true, false,
     "Starting"},
    {"Manual", NULL, NULL, false, false, "Stopped"},
    {"Manual", "Running", NULL, false, false, "Running"},
    {"Manual", "Succeeded", NULL, false, false, "Stopped"},
    {"Manual", NULL, "{stateChangeRequests: [{action: Start}]}", true, false, "Starting"},
    /* Who asks for a start gets it at once; a back-off of years is nobody's. */
    {"Manual", NULL,
     "{stateChangeRequests: [{action: Start}], startFailure: {retryAfterTimestamp: "
     "\"2026-01-02T03:05:00Z\"}}",
     true, false, "Starting"},
    {"Always", NULL, "{startFailure: {retryAfterTimestamp: \"2126-01-02T03:05:00Z\"}}", true, false,
     "Starting"},
    {"Manual", "Running", "{stateChangeRequests: [{action: Stop, uid: uid-1}]}", false, true,
     "Stopping"},
    {"Manual", "Succeeded", "{stateChangeRequests: [{action: Start}]}", false, false, "Stopped"},
    {"Manual", "Succeeded", "{stateChangeRequests: [{action: Stop, uid: uid-1}, {action: Start}]}",
     false, true, "Stopped"},
    {"Manual", "Running", "{stateChangeRequests: [{action: Stop}]}", false, false, "Running"},
    {"Always", "Running", "{stateChangeRequests: [{action: Stop, uid: uid-1}, {action: Start}]}",
     false, true, "Stopping"},
    {"Halted", NULL, NULL, false, false, "Stopped"},
    {"Halted", "Running", NULL, false, true, "Stopping"},
    {"Halted", NULL, "{stateChangeRequests: [{action: Start}]}", false, false, "Stopped"},
};

START_TEST(test_strategies)
{
    make(kit_vm(rows[_i].strategy, rows[_i].status), instance(rows[_i].phase));
    ck_assert_int_eq(plan.create_vmi != NULL, rows[_i].creates);
    ck_assert_int_eq(plan.delete_vmi, rows[_i].deletes);
    ck_assert_str_eq(printable(), rows[_i].printable);
}
END_TEST

START_TEST(test_instance)
{
    make(kit_vm("Always", NULL), NULL);
    ck_assert_str_eq(kit_text(plan.create_vmi, "metadata.name"), "box");
    ck_assert_str_eq(kit_text(plan.create_vmi, "metadata.namespace"), "lab");
    ck_assert_str_eq(kit_text(plan.create_vmi, "metadata.labels.app"), "web");
    ck_assert_str_eq(
        kit_text(plan.create_vmi, "metadata.annotations.\"kubevirt.io/vm-generation\""), "3");
    ck_assert_str_eq(kit_text(plan.create_vmi, "metadata.ownerReferences[0].uid"), "vm-1");
    ck_assert(kube_has_finalizer(plan.create_vmi, FINALIZER_VMI));
    ck_assert_str_eq(kit_text(plan.create_vmi, "spec.domain.memory.guest"), "64Mi");
    ck_assert_str_eq(kit_text(plan.vm, "status.created"), "true");
    ck_assert_str_eq(kit_text(plan.vm, "status.observedGeneration"), "3");
    ck_assert_str_eq(kit_text(plan.vm, "status.runStrategy"), "Always");
}
END_TEST

START_TEST(test_running_field)
{
    cJSON *old = kit_vm("Always", NULL);
    cJSON *its_spec = tree_need_object(old, "spec");
    cJSON_DeleteItemFromObjectCaseSensitive(its_spec, "runStrategy");
    tree_put_bool(its_spec, "running", true);
    make(old, NULL);
    ck_assert_ptr_nonnull(plan.create_vmi);
}
END_TEST

START_TEST(test_both_or_neither)
{
    cJSON *bad = kit_vm("Always", NULL);
    cJSON *its_spec = tree_need_object(bad, "spec");
    if (_i == 0)
        tree_put_bool(its_spec, "running", true);
    else
        cJSON_DeleteItemFromObjectCaseSensitive(its_spec, "runStrategy");
    make(bad, NULL);
    ck_assert_ptr_null(plan.create_vmi);
    const cJSON *failure = kube_condition(kube_path(plan.vm, "status.conditions"), "Failure");
    ck_assert_ptr_nonnull(
        strstr(kit_text(failure, "message"), _i == 0 ? "mutually exclusive" : "must be specified"));
}
END_TEST

START_TEST(test_paused_start)
{
    make(kit_vm("Manual", "{stateChangeRequests: [{action: Start, data: {paused: \"true\"}}]}"),
         NULL);
    ck_assert_str_eq(kit_text(plan.create_vmi, "spec.startStrategy"), "Paused");
}
END_TEST

START_TEST(test_requests_are_cleared)
{
    make(kit_vm("Manual", "{stateChangeRequests: [{action: Start}]}"), instance("Scheduling"));
    ck_assert_str_eq(kit_text(plan.vm, "status.stateChangeRequests"), "");
    tear_down();
    set_up();
    make(kit_vm("Manual", "{stateChangeRequests: [{action: Stop, uid: another}]}"),
         instance("Running"));
    ck_assert_str_eq(kit_text(plan.vm, "status.stateChangeRequests"), "");
    ck_assert(!plan.delete_vmi);
}
END_TEST

/* virtctl start --paused writes a request; without it, it changes the strategy itself. */
START_TEST(test_start_of_a_halted_machine)
{
    cJSON *halted =
        kit_vm("Halted", "{stateChangeRequests: [{action: Start, data: {paused: \"true\"}}]}");
    if (_i == 1) {
        cJSON *its_spec = tree_need_object(halted, "spec");
        cJSON_DeleteItemFromObjectCaseSensitive(its_spec, "runStrategy");
        tree_put_bool(its_spec, "running", false);
    }
    make(halted, NULL);
    ck_assert_ptr_null(plan.create_vmi);
    ck_assert_str_eq(kit_text(plan.vm, _i == 0 ? "spec.runStrategy" : "spec.running"),
                     _i == 0 ? "Always" : "true");
    cJSON *switched = tree_copy(plan.vm);
    tear_down();
    set_up();
    make(switched, NULL);
    ck_assert_str_eq(kit_text(plan.create_vmi, "spec.startStrategy"), "Paused");
}
END_TEST

static const char *first_action(void)
{
    return kit_text(plan.vm, "status.stateChangeRequests[0].action");
}

/* What failed runs again, across the instance's end: the request remembers it. */
START_TEST(test_rerun_is_remembered)
{
    make(kit_vm("RerunOnFailure", RERUN("[]")), instance("Failed"));
    ck_assert_str_eq(first_action(), "Start");
    cJSON *asked = tree_copy(plan.vm);
    tear_down();
    set_up();
    make(asked, instance("Failed")); /* not gone yet: asked for once */
    ck_assert_int_eq(cJSON_GetArraySize(kube_path(plan.vm, "status.stateChangeRequests")), 1);
    tear_down();
    set_up();
    make(kit_vm("RerunOnFailure", RERUN("[{action: Stop, uid: uid-1}]")), instance("Failed"));
    ck_assert_int_eq(cJSON_GetArraySize(kube_path(plan.vm, "status.stateChangeRequests")), 1);
    ck_assert_str_eq(first_action(), "Stop");
}
END_TEST

/* Deleted by hand: nobody asked for another. */
START_TEST(test_rerun_of_a_deleted_instance)
{
    cJSON *going = instance("Failed");
    tree_put_string(tree_need_object(going, "metadata"), "deletionTimestamp",
                    "2026-01-02T03:04:00Z");
    make(kit_vm("RerunOnFailure", RERUN("[]")), going);
    ck_assert_str_eq(first_action(), "");
    ck_assert_str_eq(kit_text(plan.vm, "status.startFailure"), "");
}
END_TEST

/* A first start that failed, for a quota or a back-off, is still to come. */
START_TEST(test_rerun_starts_for_the_first_time)
{
    make(kit_vm("RerunOnFailure", "{runStrategy: Halted}"), NULL);
    ck_assert_str_eq(kit_text(plan.vm, "status.runStrategy"), "RerunOnFailure");
    vm_plan_failed_create(&view, &plan, "exceeded quota");
    ck_assert_str_eq(kit_text(plan.vm, "status.runStrategy"), "Halted");
    tear_down();
    set_up();
    make(
        kit_vm("RerunOnFailure", "{startFailure: {retryAfterTimestamp: \"2026-01-02T03:05:00Z\"}}"),
        NULL);
    ck_assert_uint_ne(plan.requeue_ns, 0);
    ck_assert_str_eq(kit_text(plan.vm, "status.runStrategy"), "");
}
END_TEST

START_TEST(test_crash_loop)
{
    make(kit_vm("Always", "{startFailure: {consecutiveFailCount: 1, lastFailedVMIUID: other}}"),
         instance("Failed"));
    ck_assert_str_eq(kit_text(plan.vm, "status.startFailure.consecutiveFailCount"), "2");
    ck_assert_str_eq(kit_text(plan.vm, "status.startFailure.lastFailedVMIUID"), "uid-1");
    /* 10 s x 2^2, and 7 of at most 20 s */
    ck_assert_str_eq(kit_text(plan.vm, "status.startFailure.retryAfterTimestamp"),
                     "2026-01-02T03:04:52Z");
    cJSON *after = tree_copy(plan.vm);
    tear_down();
    set_up();
    make(after, NULL);
    ck_assert_ptr_null(plan.create_vmi);
    ck_assert_str_eq(printable(), "CrashLoopBackOff");
    ck_assert_uint_eq(plan.requeue_ns, UINT64_C(47000000000));
}
END_TEST

/* A guest that crashes soon is a crash loop only where something would start it again. */
START_TEST(test_crash_loop_needs_a_loop)
{
    static const char *const strategies[] = {"Always", "RerunOnFailure", "Once", "Manual"};
    const char *count = _i < 2 ? "2" : "";
    cJSON *crashed = instance("Failed");
    tree_put(tree_need_object(crashed, "status"), "phaseTransitionTimestamps",
             kit_yaml("[{phase: Running, phaseTransitionTimestamp: \"2026-01-02T03:03:50Z\"},"
                      " {phase: Failed, phaseTransitionTimestamp: \"2026-01-02T03:04:00Z\"}]"));
    make(kit_vm(strategies[_i], "{startFailure: {consecutiveFailCount: 1}}"), crashed);
    if (_i < 2)
        ck_assert_str_eq(printable(), "CrashLoopBackOff");
    ck_assert_str_eq(kit_text(plan.vm, "status.startFailure.consecutiveFailCount"), count);
}
END_TEST

START_TEST(test_crash_loop_counts_once)
{
    make(kit_vm("Always", "{startFailure: {consecutiveFailCount: 3, lastFailedVMIUID: uid-1,"
                          " retryAfterTimestamp: \"2026-01-02T03:00:00Z\"}}"),
         instance("Failed"));
    ck_assert_str_eq(kit_text(plan.vm, "status.startFailure.consecutiveFailCount"), "3");
}
END_TEST

START_TEST(test_long_run_forgets)
{
    cJSON *up = instance("Running");
    tree_put(tree_need_object(up, "status"), "phaseTransitionTimestamps",
             kit_yaml("[{phase: Running, phaseTransitionTimestamp: \"2026-01-02T03:00:00Z\"}]"));
    make(kit_vm("Always", "{startFailure: {consecutiveFailCount: 3, lastFailedVMIUID: x}}"), up);
    ck_assert_str_eq(kit_text(plan.vm, "status.startFailure"), "");
}
END_TEST

START_TEST(test_deletion)
{
    cJSON *going = kit_vm("Always", NULL);
    tree_put_string(tree_need_object(going, "metadata"), "deletionTimestamp",
                    "2026-01-02T03:00:00Z");
    make(going, instance(_i == 0 ? "Running" : NULL));
    ck_assert_int_eq(plan.delete_vmi, _i == 0);
    ck_assert_int_eq(kube_has_finalizer(plan.vm, FINALIZER_VM), _i == 0);
    ck_assert_ptr_null(plan.create_vmi);
    ck_assert_str_eq(printable(), "Terminating");
}
END_TEST

/* The instance of another machine of this name, which is gone. */
static cJSON *others_instance(void)
{
    cJSON *object = kit_vmi("{phase: Running, conditions: [{type: Ready, status: \"True\"},"
                            " {type: Paused, status: \"True\"}]}");
    tree_put(tree_need_object(object, "metadata"), "ownerReferences",
             kit_yaml("[{kind: VirtualMachine, name: box, uid: vm-0, controller: true}]"));
    return object;
}

/* Nothing of it is this machine's: neither to stop nor to show. */
START_TEST(test_foreign_instance)
{
    static const char *const strategies[] = {"Halted", "Always", "Manual"};
    make(kit_vm(strategies[_i], "{stateChangeRequests: [{action: Stop, uid: uid-1}]}"),
         others_instance());
    const cJSON *conditions = kube_path(plan.vm, "status.conditions");
    ck_assert(!plan.delete_vmi);
    ck_assert(!plan.adopt_vmi);
    ck_assert_ptr_null(plan.create_vmi);
    ck_assert_str_eq(printable(), "Stopped");
    ck_assert_str_eq(condition_reason(conditions, "Ready"), "VMINotExists");
    ck_assert_ptr_null(kube_condition(conditions, "Paused"));
    ck_assert_str_eq(kit_text(plan.vm, "status.created"), "");
    ck_assert_str_eq(kit_text(plan.vm, "status.stateChangeRequests"), "");
    ck_assert_str_eq(condition_reason(conditions, "Failure"), _i == 1 ? "FailedCreate" : "");
}
END_TEST

START_TEST(test_foreign_instance_that_goes)
{
    cJSON *going = others_instance();
    tree_put_string(tree_need_object(going, "metadata"), "deletionTimestamp",
                    "2026-01-02T03:00:00Z");
    make(kit_vm("Always", NULL), going);
    ck_assert_ptr_null(plan.create_vmi);
    ck_assert_ptr_null(kube_condition(kube_path(plan.vm, "status.conditions"), "Failure"));
}
END_TEST

/* Nobody's: made by hand, or left by kubectl delete vm --cascade=orphan. */
START_TEST(test_orphan_is_adopted)
{
    cJSON *orphan = kit_vmi("{phase: Running}");
    if (_i == 1)
        tree_put_string(tree_need_object(orphan, "metadata"), "deletionTimestamp",
                        "2026-01-02T03:00:00Z");
    make(kit_vm("Always", NULL), orphan);
    ck_assert_int_eq(plan.adopt_vmi, _i == 0);
    ck_assert_ptr_null(plan.create_vmi);
    ck_assert(!plan.delete_vmi);
}
END_TEST

START_TEST(test_deletion_leaves_orphan)
{
    cJSON *going = kit_vm("Always", NULL), *meta = tree_need_object(going, "metadata");
    tree_put_string(meta, "deletionTimestamp", "2026-01-02T03:00:00Z");
    tree_push_string(tree_need_array(meta, "finalizers"), "orphan");
    make(going, instance("Running"));
    ck_assert(!plan.delete_vmi);
    ck_assert(!kube_has_finalizer(plan.vm, FINALIZER_VM));
    ck_assert(kube_has_finalizer(plan.vm, "orphan")); /* the garbage collector's */
}
END_TEST

START_TEST(test_bad_template)
{
    cJSON *bad = kit_vm("Always", NULL);
    cJSON *template = tree_need_object(tree_need_object(bad, "spec"), "template");
    tree_put(tree_need_object(tree_need_object(template, "spec"), "domain"), "memory",
             kit_yaml("{guest: 12XB}"));
    make(bad, NULL);
    ck_assert_ptr_null(plan.create_vmi);
    const cJSON *failure = kube_condition(kube_path(plan.vm, "status.conditions"), "Failure");
    ck_assert_ptr_nonnull(
        strstr(kit_text(failure, "message"), "spec.template.spec.domain.memory.guest"));
    ck_assert_uint_eq(plan.events.list.count, 1);
    cJSON *again = tree_copy(plan.vm);
    tear_down();
    set_up();
    make(again, NULL);
    ck_assert_uint_eq(plan.events.list.count, 0); /* said once */
}
END_TEST

START_TEST(test_bad_template_of_a_halted_machine)
{
    cJSON *bad = kit_vm("Halted", NULL);
    cJSON *template = tree_need_object(tree_need_object(bad, "spec"), "template");
    tree_put(tree_need_object(tree_need_object(template, "spec"), "domain"), "memory",
             kit_yaml("{guest: 12XB}"));
    make(bad, NULL);
    ck_assert_str_eq(condition_reason(kube_path(plan.vm, "status.conditions"), "Failure"),
                     "InvalidSpecification");
    ck_assert_str_eq(printable(), "Stopped");
}
END_TEST

START_TEST(test_corrected_template)
{
    make(
        kit_vm("Always", "{conditions: [{type: Failure, status: \"True\", reason: FailedCreate}]}"),
        NULL);
    ck_assert_ptr_nonnull(plan.create_vmi);
    ck_assert_ptr_null(kube_condition(kube_path(plan.vm, "status.conditions"), "Failure"));
}
END_TEST

/* A create that fails again a minute later is no change: a write would be the next try at once. */
START_TEST(test_failed_create_settles)
{
    make(kit_vm("Always", NULL), NULL);
    vm_plan_failed_create(&view, &plan, "exceeded quota");
    for (int i = 0; i < 2; i++) {
        cJSON *failed = tree_copy(plan.vm);
        tear_down();
        set_up();
        make(failed, NULL);
        ck_assert_ptr_nonnull(plan.create_vmi);
        view.now += INT64_C(60000000000);
        vm_plan_failed_create(&view, &plan, "exceeded quota");
    }
    ck_assert_msg(kube_equal(vm, plan.vm), "%s", kit_text(plan.vm, ""));
    ck_assert_str_eq(kit_text(plan.vm, "status.created"), "false");
}
END_TEST

START_TEST(test_restart_required)
{
    cJSON *changed = kit_vm("Always", NULL);
    cJSON *template = tree_need_object(tree_need_object(changed, "spec"), "template");
    tree_put(tree_need_object(tree_need_object(template, "spec"), "domain"), "memory",
             kit_yaml("{guest: 128Mi}"));
    make(changed, instance("Running"));
    ck_assert(condition_is(kube_path(plan.vm, "status.conditions"), "RestartRequired", "True"));
    ck_assert(!plan.delete_vmi);
}
END_TEST

/* A claim without a volume: KubeVirt's WaitingForVolumeBinding, while the machine is to start. */
START_TEST(test_unbound_claim)
{
    static const struct {
        const char *strategy, *phase, *printable;
    } cases[] = {
        {"Always", NULL, "WaitingForVolumeBinding"},
        {"Always", "Scheduling", "WaitingForVolumeBinding"},
        {"Always", "Running", "Running"},
        {"Halted", NULL, "Stopped"},
    };
    claim_is_unbound = true;
    make(kit_vm(cases[_i].strategy, NULL), instance(cases[_i].phase));
    ck_assert_str_eq(printable(), cases[_i].printable);
}
END_TEST

/* The generation that runs: a change of the strategy alone needs no restart. */
START_TEST(test_observed_generation)
{
    static const char *const memory[] = {"64Mi", "32Mi", "32Mi"}, *const observed[] = {"3", "2",
                                                                                       "3"};
    cleanup_free char *old = xasprintf("{domain: {memory: {guest: %s}, devices: {}}}", memory[_i]);
    cJSON *up = instance("Running");
    tree_put(up, "spec", kit_yaml(old));
    tree_put_string(tree_put(tree_need_object(up, "metadata"), "annotations", tree_object()),
                    ANNOTATION_VM_GENERATION, _i == 2 ? "many" : "2");
    make(kit_vm("Always", NULL), up);
    ck_assert_str_eq(kit_text(plan.vm, "status.observedGeneration"), observed[_i]);
    ck_assert_str_eq(kit_text(plan.vm, "status.desiredGeneration"), "3");
}
END_TEST

START_TEST(test_mirror)
{
    cJSON *up = instance("Running");
    tree_put(tree_need_object(up, "status"), "conditions",
             kit_yaml("[{type: Ready, status: \"True\"}, {type: LiveMigratable, status: \"False\","
                      " reason: NotMigratable}]"));
    make(kit_vm("Always", "{conditions: [{type: AgentConnected, status: \"True\"}]}"), up);
    const cJSON *conditions = kube_path(plan.vm, "status.conditions");
    ck_assert_str_eq(condition_reason(conditions, "LiveMigratable"), "NotMigratable");
    ck_assert_ptr_null(kube_condition(conditions, "AgentConnected"));
    ck_assert(condition_is(conditions, "Ready", "True"));
    ck_assert_str_eq(kit_text(plan.vm, "status.ready"), "true");
}
END_TEST

static const struct {
    const char *conditions, *phase, *printable;
} pictures[] = {
    {"[{type: Paused, status: \"True\"}]", "Running", "Paused"},
    {"[{type: Synchronized, status: \"False\", reason: FailedPvcNotFound}]", "Pending",
     "ErrorPvcNotFound"},
    {"[{type: PodScheduled, status: \"False\", reason: Unschedulable}]", "Scheduling",
     "ErrorUnschedulable"},
    {"[{type: Synchronized, status: \"False\", reason: ErrImagePull}]", "Scheduling",
     "ErrImagePull"},
    {"[{type: Synchronized, status: \"False\", reason: ImagePullBackOff}]", "Scheduling",
     "ImagePullBackOff"},
    {"[]", "Unknown", "Unknown"},
};

START_TEST(test_printable)
{
    cJSON *object = instance(pictures[_i].phase);
    tree_put(tree_need_object(object, "status"), "conditions", kit_yaml(pictures[_i].conditions));
    make(kit_vm("Always", NULL), object);
    ck_assert_str_eq(printable(), pictures[_i].printable);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("operator vm plan");
    TCase *tcase = tcase_create("vm");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_loop_test(tcase, test_strategies, 0, sizeof(rows) / sizeof(rows[0]));
    tcase_add_test(tcase, test_instance);
    tcase_add_test(tcase, test_running_field);
    tcase_add_loop_test(tcase, test_both_or_neither, 0, 2);
    tcase_add_test(tcase, test_paused_start);
    tcase_add_test(tcase, test_requests_are_cleared);
    tcase_add_loop_test(tcase, test_start_of_a_halted_machine, 0, 2);
    tcase_add_test(tcase, test_rerun_is_remembered);
    tcase_add_test(tcase, test_rerun_of_a_deleted_instance);
    tcase_add_test(tcase, test_rerun_starts_for_the_first_time);
    tcase_add_test(tcase, test_crash_loop);
    tcase_add_loop_test(tcase, test_crash_loop_needs_a_loop, 0, 4);
    tcase_add_test(tcase, test_crash_loop_counts_once);
    tcase_add_test(tcase, test_long_run_forgets);
    tcase_add_loop_test(tcase, test_deletion, 0, 2);
    tcase_add_loop_test(tcase, test_foreign_instance, 0, 3);
    tcase_add_test(tcase, test_foreign_instance_that_goes);
    tcase_add_loop_test(tcase, test_orphan_is_adopted, 0, 2);
    tcase_add_test(tcase, test_deletion_leaves_orphan);
    tcase_add_test(tcase, test_bad_template);
    tcase_add_test(tcase, test_bad_template_of_a_halted_machine);
    tcase_add_test(tcase, test_corrected_template);
    tcase_add_test(tcase, test_failed_create_settles);
    tcase_add_test(tcase, test_restart_required);
    tcase_add_loop_test(tcase, test_unbound_claim, 0, 4);
    tcase_add_loop_test(tcase, test_observed_generation, 0, 3);
    tcase_add_test(tcase, test_mirror);
    tcase_add_loop_test(tcase, test_printable, 0, sizeof(pictures) / sizeof(pictures[0]));
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

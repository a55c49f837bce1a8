// SPDX-License-Identifier: Apache-2.0
/* What is done about an instance, at every point of its life. */
#include "kinds.h"
#include "kit.h"
#include "run_suite.h"
#include "tree.h"
#include "vmi_plan.h"
#include <podvisor/kube.h>
#include <podvisor/str.h>
#include <string.h>

static const struct pod_config config = {
    .launcher_image = "launcher:1", .launcher_pull_policy = "Never", .cpu_allocation_ratio = 10};

static struct vmi_view view;
static struct vmi_plan plan;
static cJSON *vmi, *pod, *node;
static struct vmspec *spec;
static struct vmspec_diagnostics diagnostics;

static void make(cJSON *the_vmi, cJSON *the_pod)
{
    struct error err = ERROR_INIT;
    vmi = the_vmi;
    pod = the_pod;
    (void)vmspec_from_object(vmi, &spec, &diagnostics, &err);
    view = (struct vmi_view){.config = &config,
                             .vmi = vmi,
                             .pod = pod,
                             .node = node,
                             .spec = spec,
                             .diagnostics = &diagnostics,
                             .claims = view.claims,
                             .claim_count = view.claim_count,
                             .missing_claim = view.missing_claim,
                             .now = KIT_NOW};
    vmi_plan_make(&view, &plan);
}

static void set_up(void)
{
    view = (struct vmi_view){0};
    vmi = pod = node = NULL;
    spec = NULL;
    diagnostics = (struct vmspec_diagnostics){0};
}

static void tear_down(void)
{
    vmi_plan_done(&plan);
    vmspec_free(spec);
    vmspec_diagnostics_done(&diagnostics);
    cJSON_Delete(vmi);
    cJSON_Delete(pod);
    cJSON_Delete(node);
}

static const char *phase(void)
{
    return vmi_phase(plan.vmi);
}

static const cJSON *conditions(void)
{
    return kube_path(plan.vmi, "status.conditions");
}

static bool says(const char *reason)
{
    for (size_t i = 0; i < plan.events.list.count; i++) {
        if (strcmp(plan.events.list.item[i].reason, reason) == 0)
            return true;
    }
    return false;
}

static cJSON *deleting(cJSON *object)
{
    tree_put_string(tree_need_object(object, "metadata"), "deletionTimestamp",
                    "2026-01-02T03:00:00Z");
    return object;
}

#define RUNNING                                                                        \
    "{phase: Running, podIP: 10.1.2.3, podIPs: [{ip: 10.1.2.3}], qosClass: Burstable," \
    " containerStatuses: [{name: compute, state: {running: {}}}],"                     \
    " conditions: [{type: Ready, status: \"True\"}]}"
#define ENDED(code, message)                                                                  \
    "{phase: Running, containerStatuses: [{name: kernel-boot, state: {running: {}}}, {name: " \
    "compute, state: "                                                                        \
    "{terminated: {exitCode: " #code ", message: \"" message "\"}}}]}"

START_TEST(test_finalizer_first)
{
    cJSON *fresh = kit_vmi(NULL);
    cJSON_DeleteItemFromObjectCaseSensitive(tree_need_object(fresh, "metadata"), "finalizers");
    make(fresh, NULL);
    ck_assert(kube_has_finalizer(plan.vmi, FINALIZER_VMI));
    ck_assert_str_eq(phase(), "Pending");
    ck_assert_ptr_null(plan.create_pod);
}
END_TEST

START_TEST(test_pending_creates_pod)
{
    make(kit_vmi("{phase: Pending}"), NULL);
    ck_assert_ptr_nonnull(plan.create_pod);
    ck_assert_str_eq(phase(), "Scheduling");
    ck_assert(says("SuccessfulCreate"));
    ck_assert_str_eq(condition_reason(conditions(), "Ready"), "PodNotExists");
    ck_assert_str_eq(kit_text(plan.vmi, "status.phaseTransitionTimestamps[0].phase"), "Scheduling");
    ck_assert_str_eq(
        kit_text(plan.vmi, "status.phaseTransitionTimestamps[0].phaseTransitionTimestamp"),
        "2026-01-02T03:04:05Z");
}
END_TEST

/* Linux' names in the order of the disks, and what the API says of the claims. */
START_TEST(test_volume_status)
{
    cJSON *claim = kit_yaml("{spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: "
                            "5Gi}}}, status: {capacity: {storage: 6Gi}}}");
    const struct pod_claim claims[] = {{"data", false, UINT64_C(6) << 30, claim},
                                       {"blocks", true, 0, NULL}};
    cJSON *object = kit_vmi("{phase: Pending}");
    tree_put(tree_need_object(object, "spec"), "volumes",
             kit_yaml("- {name: os, containerDisk: {image: x}}\n"
                      "- {name: a, dataVolume: {name: data}}\n"
                      "- {name: b, ephemeral: {persistentVolumeClaim: {claimName: blocks}}}\n"));
    view.claims = claims;
    view.claim_count = 2;
    make(object, NULL);
    const cJSON *list = kube_path(plan.vmi, "status.volumeStatus");
    ck_assert_str_eq(kit_text(list, "[0]"),
                     "{\"name\":\"os\",\"target\":\"vda\",\"containerDiskVolume\":{}}");
    ck_assert_str_eq(kit_text(list, "[1].target"), "vdb");
    ck_assert_str_eq(
        kit_text(list, "[1].persistentVolumeClaimInfo"),
        "{\"claimName\":\"data\",\"volumeMode\":\"Filesystem\",\"accessModes\":["
        "\"ReadWriteOnce\"],\"requests\":{\"storage\":\"5Gi\"},\"capacity\":{\"storage\":"
        "\"6Gi\"},\"filesystemOverhead\":\"0.06\"}");
    ck_assert_str_eq(kit_text(list, "[2].persistentVolumeClaimInfo"),
                     "{\"claimName\":\"blocks\",\"volumeMode\":\"Block\"}");
    cJSON_Delete(claim);
}
END_TEST

START_TEST(test_failed_create_goes_back)
{
    make(kit_vmi("{phase: Pending}"), NULL);
    vmi_plan_failed_create(&view, &plan, "exceeded quota");
    ck_assert_str_eq(phase(), "Pending");
    ck_assert_str_eq(kit_text(plan.vmi, "status.phaseTransitionTimestamps"), "[]");
    ck_assert_str_eq(condition_reason(conditions(), "Synchronized"), "FailedCreate");
    ck_assert(says("FailedCreate"));
    ck_assert(!says("SuccessfulCreate"));
}
END_TEST

/* A create that fails again a minute later is no change: a write would be the next try at once. */
START_TEST(test_failed_create_settles)
{
    make(kit_vmi("{phase: Pending}"), NULL);
    vmi_plan_failed_create(&view, &plan, "exceeded quota");
    for (int i = 0; i < 2; i++) {
        cJSON *failed = tree_copy(plan.vmi);
        tear_down();
        set_up();
        make(failed, NULL);
        ck_assert_ptr_nonnull(plan.create_pod);
        view.now += INT64_C(60000000000);
        vmi_plan_failed_create(&view, &plan, "exceeded quota");
    }
    ck_assert_msg(kube_equal(vmi, plan.vmi), "%s", kit_text(plan.vmi, ""));
}
END_TEST

START_TEST(test_missing_claim)
{
    view.missing_claim = "data";
    make(kit_vmi("{phase: Pending}"), NULL);
    ck_assert_ptr_null(plan.create_pod);
    ck_assert_str_eq(phase(), "Pending");
    ck_assert_str_eq(condition_reason(conditions(), "Synchronized"), "FailedPvcNotFound");
    ck_assert(says("FailedPvcNotFound"));
}
END_TEST

START_TEST(test_running)
{
    make(kit_vmi("{phase: Scheduling}"), kit_pod(RUNNING));
    ck_assert_str_eq(phase(), "Running");
    ck_assert(says("Started"));
    ck_assert_str_eq(plan.gate, "True");
    ck_assert(condition_is(conditions(), "Ready", "True"));
    ck_assert(condition_is(conditions(), "LiveMigratable", "False"));
    ck_assert_str_eq(kit_text(plan.vmi, "status.nodeName"), "node1");
    ck_assert_str_eq(kit_text(plan.vmi, "metadata.labels.\"kubevirt.io/nodeName\""), "node1");
    ck_assert_str_eq(kit_text(plan.vmi, "status.interfaces[0].ipAddress"), "10.1.2.3");
    ck_assert_str_eq(kit_text(plan.vmi, "status.activePods.pod-1"), "node1");
    ck_assert_str_eq(kit_text(plan.vmi, "status.phaseTransitionTimestamps[0].phase"), "Scheduled");
    ck_assert_str_eq(kit_text(plan.vmi, "status.phaseTransitionTimestamps[1].phase"), "Running");
}
END_TEST

/* The same again is no write and no word. */
START_TEST(test_settles)
{
    make(kit_vmi("{phase: Scheduling}"), kit_pod(RUNNING));
    cJSON *settled = tree_copy(plan.vmi);
    tear_down();
    set_up();
    make(settled, kit_pod("{phase: Running, podIP: 10.1.2.3, podIPs: [{ip: 10.1.2.3}],"
                          " qosClass: Burstable,"
                          " containerStatuses: [{name: compute, state: {running: {}}}],"
                          " conditions: [{type: Ready, status: \"True\"},"
                          " {type: kubevirt.io/virtual-machine-unpaused, status: \"True\"}]}"));
    ck_assert_msg(kube_equal(vmi, plan.vmi), "%s", kit_text(plan.vmi, ""));
    ck_assert_uint_eq(plan.events.list.count, 0);
    ck_assert_ptr_null(plan.gate);
}
END_TEST

#define LONG_NAME "worker-17.rack-4.building-2.site-north.compute.cluster.example.org"

/* A label that the API server refuses would be the end of all news of this machine. */
START_TEST(test_node_of_a_long_name)
{
    cJSON *its_pod = kit_pod(RUNNING), *up = kit_vmi("{phase: Scheduling}");
    tree_put_string(tree_need_object(its_pod, "spec"), "nodeName", LONG_NAME);
    tree_put_string(tree_need_object(tree_need_object(up, "metadata"), "labels"), LABEL_NODE_NAME,
                    "elsewhere");
    make(up, its_pod);
    ck_assert_str_eq(phase(), "Running");
    ck_assert_ptr_null(kube_label(plan.vmi, LABEL_NODE_NAME));
    ck_assert_str_eq(kit_text(plan.vmi, "status.nodeName"), LONG_NAME);
}
END_TEST

static const struct {
    const char *pod_status;
    const char *phase;
    const char *synchronized, *scheduled; /* reasons */
} problems[] = {
    {"{phase: Pending, conditions: [{type: PodScheduled, status: \"False\", reason: Unschedulable,"
     " message: no node}]}",
     "Scheduling", "", "Unschedulable"},
    {"{phase: Pending, containerStatuses: [{name: compute, state: {waiting: {reason: "
     "ErrImagePull}}}]}",
     "Scheduling", "ErrImagePull", ""},
    {"{phase: Pending, containerStatuses: [{name: kernel-boot, state: {waiting: {reason: "
     "ImagePullBackOff}}}]}",
     "Scheduling", "ImagePullBackOff", ""},
    {"{phase: Pending, containerStatuses: [{name: kernel-boot, state: {waiting: {reason: "
     "ErrImageNeverPull}}}]}",
     "Scheduling", "ErrImagePull", ""},
    {"{phase: Pending, containerStatuses: [{name: compute, state: {running: {}}}, {name: "
     "kernel-boot, state: {waiting: {reason: ErrImageNeverPull}}}]}",
     "Scheduling", "ErrImagePull", ""},
    {"{phase: Pending, containerStatuses: [{name: compute, state: {running: {}}}, {name: "
     "kernel-boot, state: {waiting: {reason: ContainerCreating}}}]}",
     "Scheduling", "", ""},
    {"{phase: Pending, initContainerStatuses: [{name: podnet, state: {waiting: {reason: "
     "CreateContainerError}}}]}",
     "Scheduling", "CreateContainerError", ""},
    {"{phase: Pending, containerStatuses: [{name: compute, state: {waiting: {reason: "
     "ContainerCreating}}}]}",
     "Scheduling", "", ""},
};

START_TEST(test_problems)
{
    make(kit_vmi("{phase: Scheduling}"), kit_pod(problems[_i].pod_status));
    ck_assert_str_eq(phase(), problems[_i].phase);
    ck_assert_str_eq(condition_reason(conditions(), "Synchronized"), problems[_i].synchronized);
    ck_assert_str_eq(condition_reason(conditions(), "PodScheduled"), problems[_i].scheduled);
}
END_TEST

static const struct {
    const char *phase, *pod_status; /* pod NULL: gone */
    const char *becomes;
    bool deletes_pod;
} ends[] = {
    {"Running", ENDED(0, ""), "Succeeded", true},
    {"Running", ENDED(2, "guest crash"), "Failed", true},
    {"Scheduling", ENDED(1, "bad disk"), "Failed", true},
    {"Running",
     "{phase: Succeeded, containerStatuses: [{name: compute, state: {terminated: "
     "{exitCode: 0}}}]}",
     "Succeeded", false},
    {"Scheduling",
     "{phase: Failed, initContainerStatuses: [{name: podnet, state: {terminated: "
     "{exitCode: 1, message: no eth0}}}]}",
     "Failed", false},
    {"Running", "{phase: Failed, reason: Evicted, message: low on memory}", "Failed", false},
    {"Running", NULL, "Failed", false},
    {"Scheduling", NULL, "Failed", false},
    {"Succeeded", NULL, "Succeeded", false},
    {"Failed", RUNNING, "Failed", true},
};

START_TEST(test_ends)
{
    cJSON *with_phase = kit_vmi(NULL);
    tree_put_string(tree_put(with_phase, "status", tree_object()), "phase", ends[_i].phase);
    make(with_phase, ends[_i].pod_status != NULL ? kit_pod(ends[_i].pod_status) : NULL);
    ck_assert_str_eq(phase(), ends[_i].becomes);
    ck_assert_int_eq(plan.delete_pod, ends[_i].deletes_pod);
    ck_assert_ptr_null(plan.create_pod); /* an instance runs once */
    ck_assert(kube_has_finalizer(plan.vmi, FINALIZER_VMI));
}
END_TEST

static const struct {
    const char *pod_status, *reason, *message;
} failures[] = {
    {ENDED(
         1,
         "{\\\"exitCode\\\":1,\\\"reason\\\":\\\"ImageFailed\\\",\\\"message\\\":\\\"no disk\\\"}"),
     "ImageFailed", "no disk"},
    {"{phase: Failed, containerStatuses: [{name: compute, state: {terminated: {exitCode: 137,"
     " reason: OOMKilled}}}]}",
     "OOMKilled", "OOMKilled"},
    {"{phase: Failed, reason: Evicted, message: low on memory}", "Evicted", "low on memory"},
    {"{phase: Failed, containerStatuses: [{name: compute, state: {terminated: {exitCode: 1,"
     " reason: Error, message: \"{\\\"reason\\\":7}\"}}}]}",
     "Error", "{\"reason\":7}"},
    {"{phase: Failed}", "PodFailed", "the pod failed and does not say why"},
};

START_TEST(test_failure_is_told)
{
    make(kit_vmi("{phase: Running}"), kit_pod(failures[_i].pod_status));
    ck_assert_str_eq(phase(), "Failed");
    ck_assert_str_eq(kit_text(plan.vmi, "status.reason"), failures[_i].reason);
    const cJSON *told = kube_condition(conditions(), "Synchronized");
    ck_assert_str_eq(kit_text(told, "reason"), failures[_i].reason);
    ck_assert_str_eq(kit_text(told, "message"), failures[_i].message);
    ck_assert(says("Stopped"));
}
END_TEST

/* API servers of 1.20 that were built with a newer Go refuse empty strings. */
START_TEST(test_no_node_yet)
{
    cJSON *unbound = kit_pod("{phase: Pending}");
    cJSON_DeleteItemFromObjectCaseSensitive(unbound, "spec");
    make(kit_vmi("{phase: Scheduling}"), unbound);
    ck_assert_str_eq(kit_text(plan.vmi, "status.activePods"), "");
    ck_assert_str_eq(kit_text(plan.vmi, "status.nodeName"), "");
}
END_TEST

/* Without grace the pod would be gone from the API before its machine is gone from the node. */
START_TEST(test_delete_while_starting)
{
    make(deleting(kit_vmi("{phase: Scheduling}")), kit_pod("{phase: Pending}"));
    ck_assert(plan.delete_pod);
    ck_assert_int_ge(plan.delete_grace, 1);
    ck_assert(kube_has_finalizer(plan.vmi, FINALIZER_VMI));
}
END_TEST

/* Now is 03:04:05. */
static const struct {
    const char *volumes, *pod_status;
    bool reported, looks_again;
} waits[] = {
    {"[{name: a, secret: {secretName: s}}]", "{startTime: \"2026-01-02T03:03:35Z\"}", true, false},
    {"[{name: a, secret: {secretName: s}}]", "{startTime: \"2026-01-02T03:03:36Z\"}", false, true},
    {"[{name: a, secret: {secretName: s, optional: true}}]",
     "{startTime: \"2026-01-02T03:00:00Z\"}", false, false},
    {"[{name: a, secret: {secretName: s}}]", "{phase: Pending}", false, false},
    {"[{name: a, secret: {secretName: s}}]",
     "{startTime: \"2026-01-02T03:00:00Z\", initContainerStatuses: [{name: podnet, state: "
     "{terminated: {exitCode: 0}}}]}",
     false, false},
    {"[]", "{startTime: \"2026-01-02T03:00:00Z\"}", false, false},
};

START_TEST(test_missing_objects)
{
    cJSON *its_vmi = kit_vmi("{phase: Scheduling}");
    tree_put(tree_need_object(its_vmi, "spec"), "volumes", kit_yaml(waits[_i].volumes));
    make(its_vmi, kit_pod(waits[_i].pod_status));
    const cJSON *found = kube_condition(kube_path(plan.vmi, "status.conditions"), "Synchronized");
    ck_assert_str_eq(tree_text(json_get(found, "reason"), ""),
                     waits[_i].reported ? "ContainersNotStarted" : "");
    ck_assert_int_eq(plan.requeue_ns != 0, waits[_i].looks_again);
    if (waits[_i].reported)
        ck_assert_ptr_nonnull(strstr(tree_text(json_get(found, "message"), ""), "secret s"));
}
END_TEST

/* Deleted 5 s ago. */
static const struct {
    const char *pod_status;
    bool bound, deletes_pod;
} starts[] = {
    {"{phase: Pending}", false, true},
    {"{phase: Pending, containerStatuses: [{name: compute, state: {waiting: {reason: "
     "ContainerCreating}}}]}",
     true, false},
    {"{phase: Pending, containerStatuses: [{name: compute, state: {waiting: {reason: "
     "ErrImagePull}}}]}",
     true, true},
    {RUNNING, true, true},
};

START_TEST(test_delete_waits_for_start)
{
    cJSON *going = kit_vmi("{phase: Scheduling}"), *its_pod = kit_pod(starts[_i].pod_status);
    tree_put_string(tree_need_object(going, "metadata"), "deletionTimestamp",
                    "2026-01-02T03:04:00Z");
    if (!starts[_i].bound)
        cJSON_DeleteItemFromObjectCaseSensitive(its_pod, "spec");
    make(going, its_pod);
    ck_assert_int_eq(plan.delete_pod, starts[_i].deletes_pod);
    ck_assert_uint_eq(plan.requeue_ns, starts[_i].deletes_pod ? 0 : UINT64_C(10000000000));
    ck_assert(!plan.delete_pod || plan.delete_grace == 1); /* nobody has seen it run */
}
END_TEST

/* The API server's clock is ahead of ours. */
START_TEST(test_delete_does_not_wait_for_hours)
{
    cJSON *going = kit_vmi("{phase: Scheduling}");
    tree_put_string(tree_need_object(going, "metadata"), "deletionTimestamp",
                    "2026-01-02T09:00:00Z");
    make(going, kit_pod(starts[0].pod_status));
    ck_assert(plan.delete_pod);
    ck_assert_uint_eq(plan.requeue_ns, 0);
}
END_TEST

START_TEST(test_delete_before_pod)
{
    make(deleting(kit_vmi("{phase: Pending}")), NULL);
    ck_assert_str_eq(phase(), "Failed");
    ck_assert(!kube_has_finalizer(plan.vmi, FINALIZER_VMI));
    ck_assert_ptr_null(plan.create_pod);
}
END_TEST

START_TEST(test_delete_running)
{
    cJSON *going = deleting(kit_vmi("{phase: Running}"));
    tree_put_int(tree_need_object(going, "spec"), "terminationGracePeriodSeconds", 5);
    make(going, kit_pod(RUNNING));
    ck_assert(plan.delete_pod);
    ck_assert_int_eq(plan.delete_grace, 35);
    ck_assert_str_eq(phase(), "Running");
    ck_assert(kube_has_finalizer(plan.vmi, FINALIZER_VMI)); /* it still runs */
    ck_assert(says("SuccessfulDelete"));
    ck_assert(says("ShuttingDown"));
}
END_TEST

START_TEST(test_delete_waits_for_pod)
{
    make(deleting(kit_vmi("{phase: Running}")), deleting(kit_pod(RUNNING)));
    ck_assert(!plan.delete_pod);
    ck_assert(kube_has_finalizer(plan.vmi, FINALIZER_VMI));
    ck_assert_str_eq(condition_reason(conditions(), "Ready"), "PodTerminating");
}
END_TEST

START_TEST(test_delete_sees_the_end)
{
    make(deleting(kit_vmi("{phase: Running}")), deleting(kit_pod(ENDED(0, ""))));
    ck_assert_str_eq(phase(), "Succeeded");
    ck_assert(kube_has_finalizer(plan.vmi, FINALIZER_VMI));
}
END_TEST

START_TEST(test_lost_node)
{
    node = kit_yaml("{status: {conditions: [{type: Ready, status: Unknown}]}}");
    make(kit_vmi("{phase: Running}"), kit_pod(RUNNING));
    ck_assert_str_eq(phase(), "Unknown");
    ck_assert(says("NodeUnresponsive"));
    cJSON *unknown = tree_copy(plan.vmi);
    tear_down();
    set_up();
    node = kit_yaml("{status: {conditions: [{type: Ready, status: \"True\"}]}}");
    make(unknown, kit_pod(RUNNING));
    ck_assert_str_eq(phase(), "Running");
    ck_assert(!says("Started"));
    ck_assert_str_eq(kit_text(plan.vmi, "status.reason"), "");
}
END_TEST

START_TEST(test_bad_specification)
{
    cJSON *bad = kit_vmi("{phase: Pending}");
    tree_put(tree_need_object(bad, "spec"), "volumes",
             kit_yaml("[{name: a, emptyDisk: {capacity: 1Gi}}, {name: a, emptyDisk: {capacity: "
                      "1Gi}}]"));
    make(bad, NULL);
    ck_assert_str_eq(phase(), "Failed");
    ck_assert_ptr_null(plan.create_pod);
    ck_assert(says("FailedCreate"));
    ck_assert_ptr_nonnull(strstr(kit_text(conditions(), ""), "spec.volumes"));
}
END_TEST

/* Nothing keeps users from changing an instance's specification: its machine runs on regardless. */
START_TEST(test_running_specification_becomes_bad)
{
    cJSON *changed = kit_vmi("{phase: Running}");
    tree_put(tree_need_object(changed, "spec"), "domain", kit_yaml("{memory: {guest: much}}"));
    make(changed, kit_pod(RUNNING));
    ck_assert_ptr_null(spec);
    ck_assert_str_eq(phase(), "Running");
    ck_assert(!plan.delete_pod);
    ck_assert(condition_is(conditions(), "FieldsSupported", "False"));
}
END_TEST

START_TEST(test_delete_with_endless_grace)
{
    cJSON *forever = deleting(kit_vmi("{phase: Running}"));
    tree_put_int(tree_need_object(forever, "spec"), "terminationGracePeriodSeconds", INT64_MAX);
    make(forever, kit_pod(RUNNING));
    ck_assert(plan.delete_pod);
    ck_assert_int_eq(plan.delete_grace, UINT32_MAX + INT64_C(30));
}
END_TEST

/* virtctl stop --grace-period: seconds in the specification, and in the pod's (60 + 30). */
static const struct {
    int64_t given, left; /* left 0: the pod is not being deleted yet */
    bool deletes_pod;
    int64_t grace;
} cuts[] = {
    {60, 0, true, 90}, {5, 0, true, 5},  {0, 0, true, 1},    {600, 0, true, 630},
    {0, 90, true, 1},  {5, 5, false, 0}, {60, 90, false, 0}, {60, 600, false, 0},
};

START_TEST(test_grace_is_cut)
{
    cJSON *going = deleting(kit_vmi("{phase: Running}")), *its_pod = kit_pod(RUNNING);
    cJSON *meta = tree_need_object(its_pod, "metadata");
    tree_put_int(tree_need_object(going, "spec"), "terminationGracePeriodSeconds", cuts[_i].given);
    tree_put_int(tree_need_object(its_pod, "spec"), "terminationGracePeriodSeconds", 90);
    if (cuts[_i].left != 0) {
        (void)deleting(its_pod);
        tree_put_int(meta, "deletionGracePeriodSeconds", cuts[_i].left);
    }
    make(going, its_pod);
    ck_assert_int_eq(plan.delete_pod, cuts[_i].deletes_pod);
    ck_assert_int_eq(plan.delete_grace, cuts[_i].grace);
}
END_TEST

START_TEST(test_unsupported_field_is_named)
{
    cJSON *with_tablet = kit_vmi("{phase: Pending}");
    cJSON *devices = tree_need_object(
        tree_need_object(tree_need_object(with_tablet, "spec"), "domain"), "devices");
    tree_put(devices, "inputs", kit_yaml("[{name: t, type: tablet, bus: usb}]"));
    make(with_tablet, NULL);
    ck_assert_ptr_nonnull(plan.create_pod);
    ck_assert(condition_is(conditions(), "FieldsSupported", "False"));
    ck_assert_ptr_nonnull(strstr(kit_text(conditions(), ""), "spec.domain.devices.inputs"));
    ck_assert(says("UnsupportedFields"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("operator vmi plan");
    TCase *tcase = tcase_create("vmi");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, test_finalizer_first);
    tcase_add_test(tcase, test_pending_creates_pod);
    tcase_add_test(tcase, test_volume_status);
    tcase_add_test(tcase, test_failed_create_goes_back);
    tcase_add_test(tcase, test_failed_create_settles);
    tcase_add_test(tcase, test_missing_claim);
    tcase_add_test(tcase, test_running);
    tcase_add_test(tcase, test_node_of_a_long_name);
    tcase_add_test(tcase, test_settles);
    tcase_add_loop_test(tcase, test_missing_objects, 0, sizeof(waits) / sizeof(waits[0]));
    tcase_add_loop_test(tcase, test_problems, 0, sizeof(problems) / sizeof(problems[0]));
    tcase_add_loop_test(tcase, test_ends, 0, sizeof(ends) / sizeof(ends[0]));
    tcase_add_loop_test(tcase, test_failure_is_told, 0, sizeof(failures) / sizeof(failures[0]));
    tcase_add_test(tcase, test_no_node_yet);
    tcase_add_test(tcase, test_delete_while_starting);
    tcase_add_loop_test(tcase, test_delete_waits_for_start, 0, sizeof(starts) / sizeof(starts[0]));
    tcase_add_test(tcase, test_delete_does_not_wait_for_hours);
    tcase_add_test(tcase, test_delete_before_pod);
    tcase_add_test(tcase, test_delete_running);
    tcase_add_test(tcase, test_delete_waits_for_pod);
    tcase_add_test(tcase, test_delete_sees_the_end);
    tcase_add_test(tcase, test_lost_node);
    tcase_add_test(tcase, test_bad_specification);
    tcase_add_test(tcase, test_running_specification_becomes_bad);
    tcase_add_test(tcase, test_delete_with_endless_grace);
    tcase_add_loop_test(tcase, test_grace_is_cut, 0, sizeof(cuts) / sizeof(cuts[0]));
    tcase_add_test(tcase, test_unsupported_field_is_named);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}

// SPDX-License-Identifier: Apache-2.0
#include "vmi_plan.h"
#include "kinds.h"
#include "pod_state.h"
#include "tree.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>

/* What is carried from step to step while a plan is made. */
struct planner {
    const struct vmi_view *view;
    struct vmi_plan *plan;
    cJSON *status, *conditions;
    struct pod_state pod; /* when view->pod is not NULL */
};

bool vmi_phase_is_final(const char *phase)
{
    return strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0;
}

const char *vmi_phase(const cJSON *vmi)
{
    return tree_text(kube_path(vmi, "status.phase"), "");
}

static const char *phase_of(const struct planner *p)
{
    return tree_text(json_get(p->status, "phase"), "");
}

static bool phase_is(const struct planner *p, const char *phase)
{
    return strcmp(phase_of(p), phase) == 0;
}

static void set_phase(struct planner *p, const char *phase)
{
    char time[KUBE_TIME_SIZE];
    if (phase_is(p, phase))
        return;
    tree_put_string(p->status, "phase", phase);
    cJSON *stamps = tree_need_array(p->status, "phaseTransitionTimestamps");
    json_for_each (known, stamps) {
        if (str_equal(tree_text(json_get(known, "phase"), NULL), phase))
            return; /* the first time counts: a node that comes and goes adds no more */
    }
    cJSON *stamp = tree_push(stamps, tree_object());
    tree_put_string(stamp, "phase", phase);
    tree_put_string(stamp, "phaseTransitionTimestamp", kube_time(p->view->now, time));
}

static void set_condition(struct planner *p, const char *type, const char *status,
                          const char *reason, const char *message)
{
    struct condition condition = {type, status, reason, message};
    condition_set(p->conditions, &condition, p->view->now);
}

/* Not supported and not fatal: one condition names every field, one event when that changes. */
static void report_unsupported(struct planner *p)
{
    cleanup_free char *all = diagnostics_join(p->view->diagnostics, VMSPEC_ERROR);
    if (all == NULL) {
        condition_remove(p->conditions, "FieldsSupported");
        return;
    }
    const char *said =
        tree_text(json_get(kube_condition(p->conditions, "FieldsSupported"), "message"), "");
    if (strcmp(said, all) == 0)
        return;
    set_condition(p, "FieldsSupported", "False", "UnsupportedFields", all);
    plan_event(&p->plan->events, true, "UnsupportedFields", "Sync", "%s", all);
}

/* Final, as each instance's end is: who corrects it makes another. */
static void refuse(struct planner *p)
{
    char text[DIAGNOSTIC_TEXT_MAX];
    diagnostics_first_error(p->view->diagnostics, text);
    set_condition(p, "Synchronized", "False", "FailedCreate", text);
    tree_put_string(p->status, "reason", "InvalidSpecification");
    set_phase(p, "Failed");
    plan_event(&p->plan->events, true, "FailedCreate", "Create", "%s", text);
}

static void plan_pod(struct planner *p)
{
    const struct vmi_view *view = p->view;
    if (view->missing_claim != NULL) {
        cleanup_free char *text = xasprintf("PVC %s/%s does not exist, waiting for it to appear",
                                            kube_namespace(view->vmi), view->missing_claim);
        if (strcmp(condition_reason(p->conditions, "Synchronized"), "FailedPvcNotFound") != 0)
            plan_event(&p->plan->events, true, "FailedPvcNotFound", "Create", "%s", text);
        set_condition(p, "Synchronized", "False", "FailedPvcNotFound", text);
        return;
    }
    struct pod_input input = {view->config, view->vmi, view->spec, view->claims, view->claim_count};
    p->plan->create_pod = pod_render(&input);
    condition_remove(p->conditions, "Synchronized");
    set_phase(p, "Scheduling");
    plan_event(&p->plan->events, false, "SuccessfulCreate", "Create",
               "Created virtual machine pod %s", kube_name(p->plan->create_pod));
}

/* A failure in one word for programs, and in a sentence for people: docs/pod.md, "How it ends". */
static void plan_failure(struct planner *p, const char *reason, const char *message)
{
    set_phase(p, "Failed");
    tree_put_string(p->status, "reason", reason);
    set_condition(p, "Synchronized", "False", reason, message);
    plan_event(&p->plan->events, true, "Stopped", "Sync", "The VirtualMachineInstance crashed. %s",
               message);
}

/* The end as the pod tells it. vmm's termination message is JSON; others' may be anything. */
static void plan_end(struct planner *p)
{
    const char *text = p->pod.message;
    cleanup_json cJSON *said = NULL;
    if (p->pod.exit_code == 0) {
        set_phase(p, "Succeeded");
        condition_remove(p->conditions, "Synchronized");
        plan_event(&p->plan->events, false, "Stopped", "Sync",
                   "The VirtualMachineInstance was shut down.");
        return;
    }
    if (json_parse(text, strlen(text), NULL, &said, NULL) < 0)
        said = NULL;
    const char *reason = tree_text(json_get(said, "reason"), p->pod.reason);
    plan_failure(p, *reason != '\0' ? reason : "PodFailed",
                 tree_text(json_get(said, "message"),
                           *text != '\0' ? text : "the pod failed and does not say why"));
}

/*
 * Never with a grace period of 0: that takes the pod out of the API before its node has ended it,
 * and the next instance would start beside a machine that still runs.
 */
#define GRACE_LEAST 1

/* Sidecars, or a kubelet that has not noticed, must not keep the pod of an ended machine. */
static void plan_delete_pod(struct planner *p, int64_t grace)
{
    if (p->pod.deleting)
        return;
    p->plan->delete_pod = true;
    p->plan->delete_grace = grace;
}

/*
 * A node that waits for a secret or a config map which does not exist tells it in events of the
 * pod, and in nothing that we watch: so a pod that mounts some and takes long is a hint.
 */
#define MOUNT_PATIENCE (30 * INT64_C(1000000000))

static void report_wait(struct planner *p)
{
    const struct vmi_view *view = p->view;
    int64_t since, now = view->now;
    cleanup_free char *objects = view->spec != NULL ? pod_mounted_objects(view->spec) : NULL;
    if (objects == NULL || !p->pod.waits_for_all || p->pod.compute != COMPUTE_NONE ||
        kube_time_parse(p->pod.accepted, &since) < 0 || since > now) {
        condition_remove(p->conditions, "Synchronized");
        return;
    }
    if (now - since < MOUNT_PATIENCE) {
        condition_remove(p->conditions, "Synchronized");
        p->plan->requeue_ns = (uint64_t)(since + MOUNT_PATIENCE - now);
        return;
    }
    cleanup_free char *text =
        xasprintf("no container of pod %s has started within %d s, and it mounts %s: `kubectl "
                  "describe pod` says what is missing",
                  kube_name(view->pod), (int)(MOUNT_PATIENCE / 1000000000), objects);
    if (strcmp(condition_reason(p->conditions, "Synchronized"), "ContainersNotStarted") != 0)
        plan_event(&p->plan->events, true, "ContainersNotStarted", "Sync", "%s", text);
    set_condition(p, "Synchronized", "False", "ContainersNotStarted", text);
}

static void report_problem(struct planner *p)
{
    const struct pod_state *pod = &p->pod;
    if (pod->unschedulable != NULL)
        set_condition(p, "PodScheduled", "False",
                      tree_text(json_get(pod->unschedulable, "reason"), "Unschedulable"),
                      tree_text(json_get(pod->unschedulable, "message"), ""));
    else
        condition_remove(p->conditions, "PodScheduled");
    if (pod->waiting_reason != NULL) {
        const char *reason = strcmp(pod->waiting_reason, "ImagePullBackOff") == 0
                                 ? "ImagePullBackOff"
                                 : "ErrImagePull";
        bool image = strstr(pod->waiting_reason, "Image") != NULL;
        set_condition(p, "Synchronized", "False", image ? reason : pod->waiting_reason,
                      pod->waiting_message);
    } else {
        report_wait(p);
    }
}

static bool node_is_lost(const struct vmi_view *view)
{
    return view->node != NULL &&
           condition_is(kube_path(view->node, "status.conditions"), "Ready", "Unknown");
}

/*
 * kubectl get vmi -l kubevirt.io/nodeName=... A node may have a name that no label can have: then
 * only status.nodeName says it, and the API server takes the rest of the status.
 */
static void label_node(struct planner *p)
{
    cJSON *meta = tree_need_object(p->plan->vmi, "metadata");
    if (p->pod.node != NULL && kube_is_label_value(p->pod.node))
        tree_put_string(tree_need_object(meta, "labels"), LABEL_NODE_NAME, p->pod.node);
    else
        cJSON_DeleteItemFromObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(meta, "labels"),
                                                LABEL_NODE_NAME);
}

static void plan_running(struct planner *p)
{
    bool starts = !phase_is(p, "Running") && !phase_is(p, "Unknown");
    if (node_is_lost(p->view)) {
        if (!phase_is(p, "Unknown"))
            plan_event(&p->plan->events, true, "NodeUnresponsive", "Sync",
                       "node %s does not answer; the machine may be running there", p->pod.node);
        set_phase(p, "Unknown");
        tree_put_string(p->status, "reason", "NodeUnresponsive");
        return;
    }
    if (str_equal(tree_text(json_get(p->status, "reason"), NULL), "NodeUnresponsive"))
        cJSON_DeleteItemFromObjectCaseSensitive(p->status, "reason");
    if (starts)
        set_phase(p, "Scheduled");
    set_phase(p, "Running");
    label_node(p);
    if (starts)
        plan_event(&p->plan->events, false, "Started", "Sync", "VirtualMachineInstance started.");
}

static void plan_with_pod(struct planner *p)
{
    if (phase_is(p, "Pending"))
        set_phase(p, "Scheduling");
    report_problem(p);
    switch (p->pod.compute) {
    case COMPUTE_ENDED:
        plan_end(p);
        if (!p->pod.finished)
            plan_delete_pod(p, GRACE_LEAST);
        break;
    case COMPUTE_RUNNING:
        plan_running(p);
        break;
    case COMPUTE_NONE:
        if (p->pod.deleting) /* evicted, or deleted by hand, before it ran */
            plan_failure(p, "PodDeleted", "the pod was deleted before the machine started");
        break;
    }
}

/* Beyond the guest's time: for vmm, which ends the machine itself, and for the kubelet. */
#define GRACE_EXTRA 30

static int64_t guest_grace(const struct vmi_view *view)
{
    int64_t grace = 30;
    (void)json_get_int64(json_get(view->vmi, "spec"), "terminationGracePeriodSeconds", NULL, &grace,
                         NULL);
    return grace < 0 ? 0 : grace > UINT32_MAX ? UINT32_MAX : grace;
}

/* Less than the pod was made with: virtctl stop --grace-period. vmm would wait for the old one. */
static bool grace_was_cut(const struct vmi_view *view)
{
    int64_t given;
    return json_int64(kube_path(view->pod, "spec.terminationGracePeriodSeconds"), &given) &&
           guest_grace(view) + GRACE_EXTRA < given;
}

/* Seconds that a deletion leaves the pod. */
static int64_t grace_of(const struct vmi_view *view)
{
    int64_t grace = guest_grace(view);
    if (grace_was_cut(view))
        return grace > GRACE_LEAST ? grace : GRACE_LEAST;
    return grace + GRACE_EXTRA;
}

static void plan_life(struct planner *p)
{
    if (vmi_phase_is_final(phase_of(p))) {
        /* Whoever wrote the phase, a machine that has ended does not run. */
        if (p->view->pod != NULL && !p->pod.finished)
            plan_delete_pod(p, p->pod.compute == COMPUTE_RUNNING ? grace_of(p->view) : GRACE_LEAST);
        return;
    }
    /* A machine that was begun goes on, whatever its specification has become since. */
    if (p->view->spec == NULL && p->view->pod == NULL) {
        refuse(p);
        return;
    }
    report_unsupported(p);
    if (p->view->pod != NULL)
        plan_with_pod(p);
    else if (phase_is(p, "Pending"))
        plan_pod(p);
    else
        plan_failure(p, "PodGone", "the pod is gone");
}

/*
 * A kubelet before 1.22 forgets to end containers that it was starting when their pod was deleted;
 * so a pod that starts is left to it until it runs, has a problem, or takes too long.
 */
#define START_PATIENCE (15 * INT64_C(1000000000))

static bool wait_for_start(struct planner *p)
{
    int64_t since, now = p->view->now;
    const cJSON *stamp = kube_path(p->view->vmi, "metadata.deletionTimestamp");
    if (p->pod.compute != COMPUTE_NONE || p->pod.node == NULL || p->pod.waiting_reason != NULL)
        return false;
    /* Clocks differ a little; a time further to come could take hours. */
    if (kube_time_parse(tree_text(stamp, ""), &since) < 0 || since > now + START_PATIENCE ||
        since <= now - START_PATIENCE)
        return false;
    p->plan->requeue_ns = (uint64_t)(since + START_PATIENCE - now);
    return true;
}

/* Only a machine that was seen to run is asked to shut down. */
static int64_t deletion_grace(const struct planner *p)
{
    bool ran =
        p->pod.compute == COMPUTE_RUNNING && (phase_is(p, "Running") || phase_is(p, "Unknown"));
    return ran ? grace_of(p->view) : GRACE_LEAST;
}

/* A grace period cut while the guest shuts down; kubelets before 1.22 go on as they began. */
static void hurry(struct planner *p)
{
    int64_t left;
    if (p->pod.compute != COMPUTE_RUNNING || !grace_was_cut(p->view) ||
        !json_int64(kube_path(p->view->pod, "metadata.deletionGracePeriodSeconds"), &left) ||
        left <= grace_of(p->view))
        return;
    p->plan->delete_pod = true;
    p->plan->delete_grace = grace_of(p->view);
}

static void plan_deletion(struct planner *p)
{
    bool final = vmi_phase_is_final(phase_of(p));
    if (p->view->pod == NULL) {
        if (!final)
            set_phase(p, "Failed"); /* how it ended was not seen, or it never ran */
        finalizer_remove(p->plan->vmi, FINALIZER_VMI);
        return;
    }
    if (p->pod.compute == COMPUTE_ENDED && !final)
        plan_end(p);
    if (p->pod.deleting) {
        hurry(p);
        return;
    }
    if (wait_for_start(p))
        return;
    if (p->pod.compute == COMPUTE_RUNNING)
        plan_event(&p->plan->events, false, "ShuttingDown", "Delete", "Signaled Graceful Shutdown");
    plan_delete_pod(p, deletion_grace(p));
    plan_event(&p->plan->events, false, "SuccessfulDelete", "Delete",
               "Deleted virtual machine pod %s", kube_name(p->view->pod));
}

static void set_ready(struct planner *p)
{
    const cJSON *pod = p->view->pod;
    const cJSON *ready = kube_condition(kube_path(pod, "status.conditions"), "Ready");
    if (pod == NULL)
        set_condition(p, "Ready", "False", "PodNotExists",
                      "virt-launcher pod has not yet been scheduled");
    else if (p->pod.deleting)
        set_condition(p, "Ready", "False", "PodTerminating", "virt-launcher pod is terminating");
    else if (!phase_is(p, "Running"))
        set_condition(p, "Ready", "False", "GuestNotRunning",
                      "Guest VM is not reported as running");
    else if (ready == NULL)
        set_condition(p, "Ready", "False", "PodConditionMissing",
                      "virt-launcher pod is missing the Ready condition");
    else
        set_condition(p, "Ready", tree_text(json_get(ready, "status"), "False"),
                      tree_text(json_get(ready, "reason"), NULL),
                      tree_text(json_get(ready, "message"), NULL));
}

static bool starts_paused(const struct vmi_view *view)
{
    return view->spec != NULL && view->spec->start_paused;
}

static void set_paused(struct planner *p)
{
    bool starts = starts_paused(p->view), paused = starts && phase_is(p, "Running");
    if (paused)
        set_condition(p, "Paused", "True", "PausedByUser", "VMI was paused by user");
    else
        condition_remove(p->conditions, "Paused");
    if (p->view->pod == NULL || p->pod.compute == COMPUTE_ENDED || p->pod.deleting)
        return;
    const cJSON *conditions = kube_path(p->view->pod, "status.conditions");
    /* Said before the machine runs, so that the kubelet can say at once that its pod is ready. */
    const char *want = starts ? "False" : "True";
    if (!condition_is(conditions, READINESS_GATE, want))
        p->plan->gate = want;
}

static void set_migratable(struct planner *p)
{
    set_condition(p, "LiveMigratable", "False", "NotMigratable",
                  "podvisor does not migrate running machines");
}

void vmi_plan_make(const struct vmi_view *view, struct vmi_plan *ret)
{
    *ret = (struct vmi_plan){.vmi = tree_copy(view->vmi)};
    struct planner p = {.view = view, .plan = ret};
    p.status = tree_need_object(ret->vmi, "status");
    p.conditions = tree_need_array(p.status, "conditions");
    if (view->pod != NULL)
        pod_state_read(view->pod, &p.pod);
    if (*phase_of(&p) == '\0')
        set_phase(&p, "Pending");
    if (kube_deleting(view->vmi)) {
        plan_deletion(&p);
    } else if (!kube_has_finalizer(view->vmi, FINALIZER_VMI)) {
        finalizer_add(ret->vmi,
                      FINALIZER_VMI); /* before anything exists that would have to be cleaned up */
        return;
    } else {
        plan_life(&p);
    }
    set_ready(&p);
    set_paused(&p);
    set_migratable(&p);
    vmi_status_fill(view, p.status);
}

void vmi_plan_failed_create(const struct vmi_view *view, struct vmi_plan *plan, const char *message)
{
    cJSON *status = tree_need_object(plan->vmi, "status");
    cJSON *stamps = tree_need_array(status, "phaseTransitionTimestamps");
    struct condition condition = {"Synchronized", "False", "FailedCreate", message};
    condition_set_again(tree_need_array(status, "conditions"),
                        kube_path(view->vmi, "status.conditions"), &condition, view->now);
    planned_events_done(&plan->events);
    plan_event(&plan->events, true, "FailedCreate", "Create", "Error creating pod: %s", message);
    tree_put_string(status, "phase", "Pending");
    cJSON *last = cJSON_GetArrayItem(stamps, cJSON_GetArraySize(stamps) - 1);
    if (str_equal(tree_text(json_get(last, "phase"), NULL), "Scheduling"))
        cJSON_Delete(cJSON_DetachItemViaPointer(stamps, last));
}

void vmi_plan_done(struct vmi_plan *plan)
{
    cJSON_Delete(plan->vmi);
    cJSON_Delete(plan->create_pod);
    planned_events_done(&plan->events);
}

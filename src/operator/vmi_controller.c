// SPDX-License-Identifier: Apache-2.0
/*
 * The controller of VirtualMachineInstances: gathers what vmi_plan.h asks for and carries the plan
 * out. Safe to kill anywhere: the pod's name is that of the instance's uid, so it is made once, and
 * each write says which version it was made from.
 */
#include "kinds.h"
#include "kubevirt.h"
#include "operator.h"
#include "settle.h"
#include "tree.h"
#include "vmi_plan.h"
#include <podvisor/cleanup.h>
#include <podvisor/quantity.h>
#include <podvisor/str.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* All that one reconcile holds. */
struct work {
    struct operator* op;
    cJSON *vmi, *pod, *node;
    struct vmspec *spec;
    struct vmspec_diagnostics diagnostics;
    VEC(struct pod_claim) claims; /* names borrowed from `spec`, objects owned */
    const char *missing_claim;
    struct vmi_plan plan;
};

static void work_done(struct work *work)
{
    vmi_plan_done(&work->plan);
    for (size_t i = 0; i < work->claims.count; i++)
        cJSON_Delete(work->claims.item[i].object);
    vec_free(&work->claims);
    vmspec_diagnostics_done(&work->diagnostics);
    vmspec_free(work->spec);
    cJSON_Delete(work->vmi);
    cJSON_Delete(work->pod);
    cJSON_Delete(work->node);
}

static struct kube_call pod_call(const struct work *work, const char *name)
{
    return (struct kube_call){.client = work->op->client,
                              .resource = &kind_pod,
                              .namespace_ = kube_namespace(work->vmi),
                              .name = name};
}

/* A pod of that name which another made is not read, and above all not deleted. */
static void drop_foreign_pod(struct work *work)
{
    if (work->pod == NULL || pod_is_of(work->pod, work->vmi))
        return;
    cJSON_Delete(work->pod);
    work->pod = NULL;
}

/*
 * The pod from the cache; from the API when the cache has none although there was one: a cache may
 * be behind, and to take a machine for gone that runs would start it twice.
 */
static int find_pod(struct work *work, struct error *err)
{
    const char *phase = vmi_phase(work->vmi);
    cleanup_free char *name = pod_name(work->vmi);
    int r = operator_look_up(work->op->pods, kube_namespace(work->vmi), name, &work->pod, err);
    drop_foreign_pod(work);
    if (r < 0 || work->pod != NULL)
        return r;
    if (*phase == '\0' || (strcmp(phase, "Pending") == 0 && !kube_deleting(work->vmi)) ||
        (vmi_phase_is_final(phase) && !kube_deleting(work->vmi)))
        return 0;
    struct kube_call call = pod_call(work, name);
    r = kube_get(&call, &work->pod, err);
    if (r == -ENOENT)
        return 0;
    drop_foreign_pod(work);
    return r;
}

static uint64_t capacity_of(const cJSON *claim)
{
    uint64_t bytes = 0;
    const cJSON *text = kube_path(claim, "status.capacity.storage");
    if (text == NULL)
        text = kube_path(claim, "spec.resources.requests.storage");
    return cJSON_IsString(text) && quantity_parse(text->valuestring, &bytes, NULL) == 0 ? bytes : 0;
}

static int find_claims(struct work *work, struct error *err)
{
    for (size_t i = 0; i < work->spec->volumes.count; i++) {
        const struct vmspec_volume *volume = &work->spec->volumes.item[i];
        cJSON *claim = NULL;
        if (!pod_volume_is_claim(volume))
            continue;
        int r = operator_look_up(work->op->claims, kube_namespace(work->vmi), volume->claim.claim,
                                 &claim, err);
        if (r < 0)
            return r;
        if (claim == NULL) {
            work->missing_claim = volume->claim.claim;
            continue;
        }
        struct pod_claim *found = vec_add(&work->claims);
        found->name = volume->claim.claim;
        found->block = str_equal(tree_text(kube_path(claim, "spec.volumeMode"), NULL), "Block");
        found->capacity = capacity_of(claim);
        found->object = claim;
    }
    return 0;
}

static int gather(struct work *work, struct error *err)
{
    const char *node;
    struct error spec_error = ERROR_INIT; /* its content is in the diagnostics */
    if (vmspec_from_object(work->vmi, &work->spec, &work->diagnostics, &spec_error) == 0 &&
        !pod_check(&work->op->pod, work->spec, &work->diagnostics)) {
        vmspec_free(work->spec);
        work->spec = NULL;
    }
    int r = find_pod(work, err);
    if (r == 0 && work->spec != NULL)
        r = find_claims(work, err);
    node = tree_text(kube_path(work->pod, "spec.nodeName"), NULL);
    if (r == 0 && node != NULL)
        r = operator_look_up(work->op->nodes, NULL, node, &work->node, err);
    return r;
}

/* With the pod just made: what there is to say of it goes into the same write. */
static void plan_again(struct work *work, struct vmi_view *view, cJSON *pod_take)
{
    struct planned_events events = work->plan.events;
    work->plan.events = (struct planned_events){0};
    vmi_plan_done(&work->plan);
    view->pod = work->pod = pod_take;
    vmi_plan_make(view, &work->plan);
    planned_events_done(&work->plan.events);
    work->plan.events = events;
}

/* --- carrying out --- */

/* -EEXIST is success when the pod is ours: an earlier life of this operator made it. */
static int check_existing(struct work *work, struct error *err)
{
    cleanup_json cJSON *there = NULL;
    struct kube_call call = pod_call(work, kube_name(work->plan.create_pod));
    int r = kube_get(&call, &there, err);
    if (r < 0)
        return r;
    if (!pod_is_of(there, work->vmi))
        return error_set(err, EEXIST, "a pod %s exists that belongs to something else",
                         kube_name(there));
    kube_cache_learn(work->op->pods, there);
    return 0;
}

static int create_pod(struct work *work, struct vmi_view *view, struct error *err)
{
    cleanup_json cJSON *made = NULL;
    struct kube_call call = pod_call(work, NULL);
    if (work->plan.create_pod == NULL)
        return 0;
    int r = kube_create(&call, work->plan.create_pod, &made, err);
    if (r == -EEXIST)
        r = check_existing(work, err);
    if (made != NULL) {
        kube_cache_learn(work->op->pods, made);
        plan_again(work, view, steal_ptr(made));
    }
    if (r == 0)
        return 0;
    vmi_plan_failed_create(view, &work->plan, err->text);
    return r;
}

static int write_vmi(struct work *work, struct error *err)
{
    cleanup_json cJSON *answer = NULL;
    uint64_t wait = settle_vmi(work->vmi, work->plan.vmi, operator_now());
    if (wait != 0) {
        char key[KUBE_KEY_MAX];
        kube_key(key, kube_namespace(work->vmi), kube_name(work->vmi));
        kube_queue_add_after(work->op->vmi.queue, key, wait);
        return 0;
    }
    int r = operator_update(work->op, &kind_vmi, NULL, work->vmi, work->plan.vmi, &answer, err);
    if (answer != NULL && !kube_deleting(answer))
        kube_cache_learn(work->op->vmis, answer);
    return r == -ENOENT ? 0 : r; /* it was deleted, and this was about its status */
}

static int delete_pod(struct work *work, struct error *err)
{
    struct kube_delete_options options = {.uid = kube_uid(work->pod),
                                          .grace_seconds = work->plan.delete_grace};
    struct kube_call call = pod_call(work, kube_name(work->pod));
    if (!work->plan.delete_pod)
        return 0;
    int r = kube_delete(&call, &options, err);
    if (r < 0 && r != -EAGAIN) {
        planned_events_done(&work->plan.events);
        plan_event(&work->plan.events, true, "FailedDelete", "Delete", "Error deleting pod %s: %s",
                   kube_name(work->pod), err->text);
    }
    return r;
}

/* A paused machine's pod is not ready: services leave it out. */
static int set_gate(struct work *work, struct error *err)
{
    char time[KUBE_TIME_SIZE];
    cleanup_json cJSON *patch = tree_object(), *answer = NULL;
    if (work->plan.gate == NULL)
        return 0;
    struct kube_call call = pod_call(work, kube_name(work->pod));
    call.subresource = "status";
    cJSON *status = tree_put(patch, "status", tree_object());
    cJSON *gate = tree_push(tree_put(status, "conditions", tree_array()), tree_object());
    bool open = strcmp(work->plan.gate, "True") == 0;
    tree_put_string(gate, "type", READINESS_GATE);
    tree_put_string(gate, "status", work->plan.gate);
    tree_put_string(gate, "reason", open ? "NotPaused" : "Paused");
    tree_put_string(gate, "message",
                    open ? "the virtual machine is not paused" : "the virtual machine is paused");
    tree_put_string(gate, "lastTransitionTime", kube_time(operator_now(), time));
    int r = kube_patch(&call, KUBE_PATCH_STRATEGIC, patch, &answer, err);
    if (answer != NULL)
        kube_cache_learn(work->op->pods, answer);
    return r == -ENOENT ? 0 : r;
}

static int carry_out(struct work *work, struct vmi_view *view, struct error *err)
{
    struct error later = ERROR_INIT;
    int r = create_pod(work, view, err);
    int w = set_gate(work, &later);
    if (w == 0)
        w = delete_pod(work, &later);
    if (w == 0)
        w = write_vmi(work, &later);
    /* A conflict means that the plan was made from an old object: its events are not true yet. */
    if (w != -EAGAIN)
        operator_send_events(work->op, &kind_vmi, work->vmi, &work->plan.events);
    if (r == 0 && w < 0) {
        *err = later;
        r = w;
    }
    return r;
}

/* Whatever we wrote would be the start of a fight over it. */
static void leave_alone(struct operator* op, const cJSON *vmi, const char *pod)
{
    kube_event(
        op->events, &kind_vmi, vmi, true, "OtherController", "Sync",
        "pod %s was made by another controller, as KubeVirt's virt-controller does: podvisor "
        "leaves this instance alone; only one of the two can be in a cluster",
        pod);
    kill(getpid(), SIGUSR1); /* main looks for KubeVirt */
}

int vmi_reconcile(struct operator* op, const char *namespace_, const char *name, struct error *err)
{
    struct work work = {.op = op};
    char key[KUBE_KEY_MAX];
    int r = operator_look_up(op->vmis, namespace_, name, &work.vmi, err);
    if (r < 0 || work.vmi == NULL)
        return r;
    cleanup_free char *other = kubevirt_pod_of(op, work.vmi);
    if (other != NULL) {
        leave_alone(op, work.vmi, other);
        work_done(&work);
        return 0;
    }
    r = gather(&work, err);
    if (r == 0) {
        struct vmi_view view = {.config = &op->pod,
                                .vmi = work.vmi,
                                .pod = work.pod,
                                .node = work.node,
                                .spec = work.spec,
                                .diagnostics = &work.diagnostics,
                                .claims = work.claims.item,
                                .claim_count = work.claims.count,
                                .missing_claim = work.missing_claim,
                                .now = operator_now()};
        vmi_plan_make(&view, &work.plan);
        r = carry_out(&work, &view, err);
        if (r == 0 && work.plan.requeue_ns != 0) {
            kube_key(key, namespace_, name);
            kube_queue_add_after(op->vmi.queue, key, work.plan.requeue_ns);
        }
    }
    work_done(&work);
    return r;
}

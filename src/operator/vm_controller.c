// SPDX-License-Identifier: Apache-2.0
/* The controller of VirtualMachines: gathers what vm_plan.h asks for and carries the plan out. */
#include "kinds.h"
#include "operator.h"
#include "settle.h"
#include "tree.h"
#include "vm_plan.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>
#include <sys/random.h>

struct work {
    struct operator* op;
    cJSON *vm, *vmi;
    struct vmspec *spec;
    struct vmspec_diagnostics diagnostics;
    struct vm_plan plan;
};

static void work_done(struct work *work)
{
    vm_plan_done(&work->plan);
    vmspec_diagnostics_done(&work->diagnostics);
    vmspec_free(work->spec);
    cJSON_Delete(work->vm);
    cJSON_Delete(work->vmi);
}

static struct kube_call call_for(const struct work *work, const struct kube_resource *kind,
                                 const char *name)
{
    return (struct kube_call){.client = work->op->client,
                              .resource = kind,
                              .namespace_ = kube_namespace(work->vm),
                              .name = name};
}

/*
 * Finalizers, written before anything that they guard, and the run strategy, after which there is
 * nothing to do until the cache shows it. The plan's object gets the new version.
 */
static int write_object(struct work *work, bool *ret_done, struct error *err)
{
    cleanup_json cJSON *answer = NULL, *changed = tree_copy(work->vm);
    const cJSON *spec = json_get(work->plan.vm, "spec");
    bool switched = !kube_equal(json_get(work->vm, "spec"), spec);
    tree_put_copy(changed, "metadata", json_get(work->plan.vm, "metadata"));
    tree_put_copy(changed, "spec", spec);
    int r = operator_update(work->op, &kind_vm, NULL, work->vm, changed, &answer, err);
    *ret_done = r == -ENOENT || switched || (answer != NULL && kube_deleting(work->vm));
    if (r < 0 || answer == NULL)
        return r == -ENOENT ? 0 : r;
    tree_put_copy(work->vm, "metadata", json_get(answer, "metadata"));
    tree_put_copy(work->plan.vm, "metadata", json_get(answer, "metadata"));
    return 0;
}

/*
 * An owner that is gone would take the instance with it: an update that changes nothing says first
 * that the machine is still the one that the cache shows.
 */
static int adopt_vmi(struct work *work, struct error *err)
{
    cleanup_json cJSON *ours = tree_copy(work->vmi), *answer = NULL;
    struct kube_call call = call_for(work, &kind_vm, kube_name(work->vm));
    tree_push(tree_need_array(tree_need_object(ours, "metadata"), "ownerReferences"),
              kube_make_owner_ref(&kind_vm, work->vm));
    int r = kube_update(&call, work->vm, NULL, err);
    if (r == 0)
        r = operator_update(work->op, &kind_vmi, NULL, work->vmi, ours, &answer, err);
    if (answer != NULL)
        kube_cache_learn(work->op->vmis, answer);
    return r == -ENOENT ? 0 : r;
}

static int create_vmi(struct work *work, const struct vm_view *view, struct error *err)
{
    cleanup_json cJSON *made = NULL;
    struct kube_call call = call_for(work, &kind_vmi, NULL);
    if (work->plan.create_vmi == NULL)
        return 0;
    int r = kube_create(&call, work->plan.create_vmi, &made, err);
    if (r == 0) {
        kube_cache_learn(work->op->vmis, made);
        return 0;
    }
    if (r == -EEXIST) {
        *err = ERROR_INIT;
        return error_set(err, EAGAIN, "the instance is there already, the cache will show it");
    }
    vm_plan_failed_create(view, &work->plan, err->text);
    return r;
}

static int delete_vmi(struct work *work, struct error *err)
{
    if (!work->plan.delete_vmi)
        return 0;
    struct kube_delete_options options = {.uid = kube_uid(work->vmi), .grace_seconds = -1};
    struct kube_call call = call_for(work, &kind_vmi, kube_name(work->vmi));
    int r = kube_delete(&call, &options, err);
    if (r < 0 && r != -EAGAIN) {
        planned_events_done(&work->plan.events);
        plan_event(&work->plan.events, true, "FailedDelete", "Delete",
                   "Error deleting virtual machine instance %s: %s", kube_name(work->vmi),
                   err->text);
    }
    return r;
}

static int write_status(struct work *work, const char *key, struct error *err)
{
    cleanup_json cJSON *answer = NULL;
    uint64_t wait = settle_vm(work->vm, work->plan.vm, work->vmi, operator_now());
    if (wait != 0) {
        kube_queue_add_after(work->op->vm.queue, key, wait);
        return 0;
    }
    int r = operator_update(work->op, &kind_vm, "status", work->vm, work->plan.vm, &answer, err);
    if (answer != NULL)
        kube_cache_learn(work->op->vms, answer);
    return r == -ENOENT ? 0 : r;
}

/*
 * The status says what became of a create, so that goes before it; and it counts the failures and
 * the end of an instance, so a delete goes after it: killed in between, nothing is forgotten.
 */
static int carry_out(struct work *work, const struct vm_view *view, const char *key,
                     struct error *err)
{
    bool done = false;
    struct error later = ERROR_INIT;
    int r = write_object(work, &done, err);
    if (r < 0 || done)
        return r;
    if (work->plan.adopt_vmi)
        return adopt_vmi(work, err);
    r = create_vmi(work, view, err);
    if (r == -EAGAIN)
        return r;
    int w = write_status(work, key, &later);
    if (w == 0)
        w = delete_vmi(work, &later);
    if (w != -EAGAIN || work->plan.create_vmi != NULL)
        operator_send_events(work->op, &kind_vm, work->vm, &work->plan.events);
    if (r == 0 && w < 0) {
        *err = later;
        r = w;
    }
    if (r == 0 && work->plan.requeue_ns != 0)
        kube_queue_add_after(work->op->vm.queue, key, work->plan.requeue_ns);
    return r;
}

static int find_unbound(struct work *work, bool *ret, struct error *err)
{
    for (size_t i = 0; work->spec != NULL && i < work->spec->volumes.count && !*ret; i++) {
        const struct vmspec_volume *volume = &work->spec->volumes.item[i];
        cleanup_json cJSON *claim = NULL;
        if (!pod_volume_is_claim(volume))
            continue;
        int r = operator_look_up(work->op->claims, kube_namespace(work->vm), volume->claim.claim,
                                 &claim, err);
        if (r < 0)
            return r;
        const char *phase = tree_text(kube_path(claim, "status.phase"), "Pending");
        *ret = claim != NULL && strcmp(phase, "Bound") != 0;
    }
    return 0;
}

static int gather(struct work *work, struct vm_view *view, struct error *err)
{
    struct error spec_error = ERROR_INIT; /* its content is in the diagnostics */
    int r = operator_look_up(work->op->vmis, kube_namespace(work->vm), kube_name(work->vm),
                             &work->vmi, err);
    if (r < 0)
        return r;
    if (vmspec_from_object(work->vm, &work->spec, &work->diagnostics, &spec_error) == 0 &&
        !pod_check(&work->op->pod, work->spec, &work->diagnostics)) {
        vmspec_free(work->spec);
        work->spec = NULL;
    }
    *view = (struct vm_view){.vm = work->vm,
                             .vmi = work->vmi,
                             .spec = work->spec,
                             .diagnostics = &work->diagnostics,
                             .now = operator_now()};
    (void)!getrandom(&view->random, sizeof(view->random), 0);
    return find_unbound(work, &view->claim_is_unbound, err);
}

int vm_reconcile(struct operator* op, const char *namespace_, const char *name, struct error *err)
{
    struct work work = {.op = op};
    struct vm_view view;
    char key[KUBE_KEY_MAX];
    kube_key(key, namespace_, name);
    int r = operator_look_up(op->vms, namespace_, name, &work.vm, err);
    if (r < 0 || work.vm == NULL)
        return r;
    r = gather(&work, &view, err);
    if (r == 0) {
        vm_plan_make(&view, &work.plan);
        r = carry_out(&work, &view, key, err);
    }
    work_done(&work);
    return r;
}

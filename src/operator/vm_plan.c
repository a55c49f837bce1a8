// SPDX-License-Identifier: Apache-2.0
#include "vm_plan.h"
#include "kinds.h"
#include "tree.h"
#include "vmi_plan.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/str.h>
#include <string.h>

#define SECOND INT64_C(1000000000)

/* KubeVirt's crash loop: 10 s x failures^2, and up to half of it more; at most 5 minutes. */
#define BACK_OFF_UNIT 10
#define BACK_OFF_MAX  300

/* A machine that ran for less has failed to start: our guests run, in KubeVirt's words, at once. */
#define EARLY_FAILURE (60 * SECOND)

struct planner {
    const struct vm_view *view; /* its instance is the machine's own */
    const cJSON *other;         /* one of its name that is not; NULL: none */
    struct vm_plan *plan;
    cJSON *status, *conditions;
    const char *strategy;
    enum vm_intent intent;
    bool failed; /* a Failure condition was set in this plan */
};

const char *vm_run_strategy(const cJSON *vm)
{
    const cJSON *spec = json_get(vm, "spec");
    const char *strategy = tree_text(json_get(spec, "runStrategy"), NULL);
    const cJSON *running = json_get(spec, "running");
    if (strategy != NULL && running == NULL)
        return strategy;
    if (strategy == NULL && cJSON_IsBool(running))
        return cJSON_IsTrue(running) ? "Always" : "Halted";
    return NULL;
}

static bool strategy_is(const struct planner *p, const char *strategy)
{
    return strcmp(p->strategy, strategy) == 0;
}

/* --- requests --- */

static cJSON *first_request(struct planner *p)
{
    return cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(p->status, "stateChangeRequests"),
                              0);
}

static bool request_is(const cJSON *request, const char *action)
{
    return str_equal(tree_text(json_get(request, "action"), NULL), action);
}

static void drop_request(struct planner *p)
{
    cJSON *list = cJSON_GetObjectItemCaseSensitive(p->status, "stateChangeRequests");
    cJSON_DeleteItemFromArray(list, 0);
    if (cJSON_GetArraySize(list) == 0)
        cJSON_DeleteItemFromObjectCaseSensitive(p->status, "stateChangeRequests");
}

static bool vmi_is_final(const struct planner *p)
{
    return p->view->vmi != NULL && vmi_phase_is_final(vmi_phase(p->view->vmi));
}

/* Start is met once an instance runs, Stop once the one it names is gone. */
static void drop_met_requests(struct planner *p)
{
    const cJSON *request;
    while ((request = first_request(p)) != NULL) {
        const char *uid = tree_text(json_get(request, "uid"), "");
        bool there = p->view->vmi != NULL;
        bool met =
            request_is(request, "Start") ? there && !vmi_is_final(p) && !kube_deleting(p->view->vmi)
            : request_is(request, "Stop") ? !there || strcmp(uid, kube_uid(p->view->vmi)) != 0
                                          : true;
        if (!met)
            return;
        drop_request(p);
    }
}

/* What is asked for: requests that are met are dropped before, so a Stop names the instance. */
static bool is_requested(struct planner *p, const char *action)
{
    return request_is(first_request(p), action);
}

/* --- crash loop --- */

static int64_t stamp_of(const cJSON *vmi, const char *phase)
{
    int64_t at = -1;
    json_for_each (stamp, kube_path(vmi, "status.phaseTransitionTimestamps")) {
        if (str_equal(tree_text(json_get(stamp, "phase"), NULL), phase))
            (void)kube_time_parse(tree_text(json_get(stamp, "phaseTransitionTimestamp"), ""), &at);
    }
    return at;
}

/* Only these start another instance after one that failed. */
static bool restarts(const struct planner *p)
{
    return strategy_is(p, "Always") || strategy_is(p, "RerunOnFailure");
}

/* One that was told to go has not failed. */
static bool failed_early(struct planner *p)
{
    const cJSON *vmi = p->view->vmi;
    int64_t ran = stamp_of(vmi, "Running"), failed = stamp_of(vmi, "Failed");
    if (strcmp(vmi_phase(vmi), "Failed") != 0 || kube_deleting(vmi) || is_requested(p, "Stop"))
        return false;
    return ran < 0 || failed < 0 || failed - ran < EARLY_FAILURE;
}

/* KubeVirt forgets failures once an instance runs. Ours run at once: that has to last. */
static bool has_started(const struct planner *p)
{
    const cJSON *vmi = p->view->vmi;
    int64_t ran = stamp_of(vmi, "Running");
    if (strcmp(vmi_phase(vmi), "Succeeded") == 0)
        return true;
    return ran >= 0 && (!restarts(p) || (strcmp(vmi_phase(vmi), "Running") == 0 &&
                                         p->view->now - ran >= EARLY_FAILURE));
}

/* Counts each failed instance once, by its uid, and says when the next may start. */
static void count_failure(struct planner *p)
{
    const cJSON *vmi = p->view->vmi;
    char time[KUBE_TIME_SIZE];
    bool counted = restarts(p) || strategy_is(p, "Once");
    if (!counted || (vmi != NULL && has_started(p))) {
        cJSON_DeleteItemFromObjectCaseSensitive(p->status, "startFailure");
        return;
    }
    if (vmi == NULL || !failed_early(p))
        return;
    cJSON *failure = tree_need_object(p->status, "startFailure");
    if (str_equal(tree_text(json_get(failure, "lastFailedVMIUID"), NULL), kube_uid(vmi)))
        return;
    int64_t count = 0;
    (void)json_int64(json_get(failure, "consecutiveFailCount"), &count);
    count = count < 0 || count > 1000 ? 1000 : count + 1;
    int64_t delay = BACK_OFF_UNIT * count * count;
    delay += p->view->random % (uint32_t)(delay / 2 < BACK_OFF_MAX ? delay / 2 + 1 : BACK_OFF_MAX);
    if (delay > BACK_OFF_MAX)
        delay = BACK_OFF_MAX;
    tree_put_int(failure, "consecutiveFailCount", count);
    tree_put_string(failure, "lastFailedVMIUID", kube_uid(vmi));
    tree_put_string(failure, "retryAfterTimestamp", kube_time(p->view->now + delay * SECOND, time));
}

/* Turns a start into a wait while the back-off of the last failure lasts. */
static void hold_back(struct planner *p)
{
    int64_t after;
    const char *text = tree_text(kube_path(p->status, "startFailure.retryAfterTimestamp"), NULL);
    if (!restarts(p)) /* somebody asked for it */
        return;
    if (p->intent != VM_START || text == NULL || kube_time_parse(text, &after) < 0 ||
        after <= p->view->now || after - p->view->now > BACK_OFF_MAX * SECOND)
        return; /* a time further away is none of ours, or the clock has moved */
    p->intent = VM_BACK_OFF;
    p->plan->requeue_ns = (uint64_t)(after - p->view->now);
}

/* --- strategies --- */

static void add_start_request(struct planner *p)
{
    cJSON *list = tree_need_array(p->status, "stateChangeRequests");
    tree_put_string(tree_push(list, tree_object()), "action", "Start");
}

/*
 * Whether to start another one outlives the instance as a Start request. The request is written
 * before the instance is deleted, or an operator that is killed in between would forget it.
 */
static void follow_rerun_on_failure(struct planner *p)
{
    const cJSON *vmi = p->view->vmi;
    bool stop = is_requested(p, "Stop"), start = is_requested(p, "Start");
    const char *before = tree_text(json_get(p->status, "runStrategy"), NULL);
    if (vmi == NULL) {
        if (start || !str_equal(before, "RerunOnFailure"))
            p->intent = VM_START;
        return;
    }
    if (kube_deleting(vmi) || (!stop && !vmi_is_final(p)))
        return;
    /* Who asked for it to stop did not ask for another. */
    if (!stop && !start && strcmp(vmi_phase(vmi), "Failed") == 0)
        add_start_request(p);
    p->intent = VM_STOP;
}

/* Asked to start all the same (paused: else virt-api changes the strategy itself), it is Always. */
static void follow_halted(struct planner *p)
{
    cJSON *spec = tree_need_object(p->plan->vm, "spec");
    if (p->view->vmi != NULL)
        p->intent = VM_STOP;
    else if (is_requested(p, "Start") && json_get(spec, "runStrategy") != NULL)
        tree_put_string(spec, "runStrategy", "Always");
    else if (is_requested(p, "Start"))
        tree_put_bool(spec, "running", true);
}

/* KubeVirt's syncRunStrategy. */
static void follow_strategy(struct planner *p)
{
    bool there = p->view->vmi != NULL, stop = is_requested(p, "Stop");
    if (strategy_is(p, "Always"))
        p->intent = !there ? VM_START : stop || vmi_is_final(p) ? VM_STOP : VM_LEAVE;
    else if (strategy_is(p, "Once"))
        p->intent = !there ? VM_START : VM_LEAVE;
    else if (strategy_is(p, "Manual") && !there)
        p->intent = is_requested(p, "Start") ? VM_START : VM_LEAVE;
    else if (strategy_is(p, "Manual"))
        p->intent = stop ? VM_STOP : VM_LEAVE;
    else if (strategy_is(p, "RerunOnFailure"))
        follow_rerun_on_failure(p);
    else
        follow_halted(p);
}

static bool strategy_is_known(const char *strategy)
{
    static const char *const known[] = {"Always", "Halted", "Manual", "RerunOnFailure", "Once"};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(strategy, known[i]) == 0)
            return true;
    }
    return false;
}

/* --- creation and deletion --- */

static void set_failure(struct planner *p, const char *reason, const char *message)
{
    struct condition failure = {"Failure", "True", reason, message};
    const char *said = tree_text(json_get(kube_condition(p->conditions, "Failure"), "message"), "");
    if (strcmp(said, message) != 0 ||
        strcmp(condition_reason(p->conditions, "Failure"), reason) != 0)
        plan_event(&p->plan->events, true, reason, "Sync", "%s", message);
    condition_set(p->conditions, &failure, p->view->now);
    p->failed = true;
}

static cJSON *render_vmi(struct planner *p)
{
    const cJSON *vm = p->view->vm, *template = kube_path(vm, "spec.template");
    cJSON *vmi = tree_object();
    tree_put_string(vmi, "apiVersion", KUBEVIRT_API_VERSION);
    tree_put_string(vmi, "kind", "VirtualMachineInstance");
    cJSON *meta = tree_put(vmi, "metadata", tree_object());
    tree_put_string(meta, "name", kube_name(vm));
    tree_put_string(meta, "namespace", kube_namespace(vm));
    tree_put_copy(meta, "labels", kube_path(template, "metadata.labels"));
    tree_put_copy(meta, "annotations", kube_path(template, "metadata.annotations"));
    int64_t generation = 0;
    (void)json_int64(kube_path(vm, "metadata.generation"), &generation);
    tree_put_format(tree_need_object(meta, "annotations"), ANNOTATION_VM_GENERATION, "%lld",
                    (long long)generation);
    tree_push_string(tree_put(meta, "finalizers", tree_array()), FINALIZER_VMI);
    tree_push(tree_put(meta, "ownerReferences", tree_array()), kube_make_owner_ref(&kind_vm, vm));
    tree_put_copy(vmi, "spec", json_get(template, "spec"));
    if (is_requested(p, "Start") &&
        str_equal(tree_text(kube_path(first_request(p), "data.paused"), NULL), "true"))
        tree_put_string(tree_need_object(vmi, "spec"), "startStrategy", "Paused");
    return vmi;
}

/* What is wrong with the template is said before somebody wants to start it, too. */
static void refuse_template(struct planner *p)
{
    char text[DIAGNOSTIC_TEXT_MAX];
    diagnostics_first_error(p->view->diagnostics, text);
    set_failure(p, p->intent == VM_START ? "FailedCreate" : "InvalidSpecification", text);
    if (p->intent == VM_START)
        p->intent = VM_LEAVE;
}

/* Its end is seen, too: then this is looked at again. */
static void refuse_other(struct planner *p)
{
    p->intent = VM_LEAVE;
    if (!kube_deleting(p->other)) /* that of a machine of this name before: it goes */
        set_failure(p, "FailedCreate",
                    "a VirtualMachineInstance of this name exists that this VirtualMachine does "
                    "not own; delete it, or take another name");
}

static void plan_start(struct planner *p)
{
    if (p->other != NULL) {
        refuse_other(p);
        return;
    }
    p->plan->create_vmi = render_vmi(p);
    plan_event(&p->plan->events, false, "SuccessfulCreate", "Create",
               "Started the virtual machine by creating the new virtual machine instance %s",
               kube_name(p->view->vm));
}

static void plan_stop(struct planner *p)
{
    if (p->view->vmi == NULL || kube_deleting(p->view->vmi))
        return;
    p->plan->delete_vmi = true;
    plan_event(&p->plan->events, false, "SuccessfulDelete", "Delete",
               "Stopped the virtual machine by deleting the virtual machine instance %s",
               kube_name(p->view->vmi));
}

static bool owns(const cJSON *vm, const cJSON *vmi)
{
    const cJSON *ref = kube_controller_ref(vmi);
    return str_equal(tree_text(json_get(ref, "uid"), NULL), kube_uid(vm));
}

static void plan_life(struct planner *p)
{
    const cJSON *vmi = p->view->vmi;
    if (p->strategy == NULL || !strategy_is_known(p->strategy)) {
        bool both = json_get(json_get(p->view->vm, "spec"), "running") != NULL;
        set_failure(
            p, "InvalidSpecification",
            p->strategy != NULL ? "spec.runStrategy: must be one of Always, Halted, Manual, "
                                  "RerunOnFailure, Once"
            : both ? "spec.running: Running and RunStrategy are mutually exclusive. Note that "
                     "Running is deprecated, please use RunStrategy instead"
                   : "spec.runStrategy: RunStrategy must be specified");
        return;
    }
    if (p->other != NULL && kube_controller_ref(p->other) == NULL && !kube_deleting(p->other)) {
        p->plan->adopt_vmi = true; /* nobody's: the machine's from now on, as in KubeVirt */
        return;
    }
    drop_met_requests(p);
    count_failure(p);
    follow_strategy(p);
    bool starts = p->intent == VM_START;
    hold_back(p);
    if (p->view->spec == NULL)
        refuse_template(p);
    if (p->intent == VM_START)
        plan_start(p);
    else if (p->intent == VM_STOP)
        plan_stop(p);
    if (vmi != NULL && !vmi_is_final(p) && json_get(p->status, "startFailure") != NULL &&
        strcmp(vmi_phase(vmi), "Running") == 0 && p->plan->requeue_ns == 0)
        p->plan->requeue_ns = EARLY_FAILURE; /* to forget the failures of a machine that now runs */
    /* RerunOnFailure starts once when it is new: not observed before that has been done. */
    if (!starts || p->plan->create_vmi != NULL || !strategy_is(p, "RerunOnFailure"))
        tree_put_string(p->status, "runStrategy", p->strategy);
}

static void plan_deletion(struct planner *p)
{
    /* kubectl delete --cascade=orphan leaves the instance to itself. */
    if (p->view->vmi != NULL && !kube_has_finalizer(p->view->vm, "orphan")) {
        p->intent = VM_STOP;
        plan_stop(p);
        return;
    }
    finalizer_remove(p->plan->vm, FINALIZER_VM);
}

void vm_plan_make(const struct vm_view *view, struct vm_plan *ret)
{
    *ret = (struct vm_plan){.vm = tree_copy(view->vm)};
    struct vm_view own = *view;
    struct planner p = {.view = &own, .plan = ret, .strategy = vm_run_strategy(view->vm)};
    if (view->vmi != NULL && !owns(view->vm, view->vmi)) {
        p.other = view->vmi;
        own.vmi = NULL;
    }
    p.status = tree_need_object(ret->vm, "status");
    p.conditions = tree_need_array(p.status, "conditions");
    if (kube_deleting(view->vm)) {
        plan_deletion(&p);
    } else {
        finalizer_add(ret->vm, FINALIZER_VM);
        plan_life(&p);
        if (!p.failed)
            condition_remove(p.conditions, "Failure");
    }
    vm_status_fill(&own, p.intent, p.status);
}

void vm_plan_failed_create(const struct vm_view *view, struct vm_plan *plan, const char *message)
{
    cJSON *status = tree_need_object(plan->vm, "status");
    struct condition failure = {"Failure", "True", "FailedCreate", message};
    condition_set_again(tree_need_array(status, "conditions"),
                        kube_path(view->vm, "status.conditions"), &failure, view->now);
    tree_put_bool(status, "created", false);
    cJSON_DeleteItemFromObjectCaseSensitive(status, "runStrategy");
    tree_put_copy(status, "runStrategy", kube_path(view->vm, "status.runStrategy"));
    planned_events_done(&plan->events);
    plan_event(&plan->events, true, "FailedCreate", "Create",
               "Error creating virtual machine instance: %s", message);
}

void vm_plan_done(struct vm_plan *plan)
{
    cJSON_Delete(plan->vm);
    cJSON_Delete(plan->create_vmi);
    planned_events_done(&plan->events);
}

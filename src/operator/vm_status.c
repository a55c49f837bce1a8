// SPDX-License-Identifier: Apache-2.0
/* What a VirtualMachine's status says: setPrintableStatus and the conditions of KubeVirt's vm.go.
 */
#include "kinds.h"
#include "tree.h"
#include "vm_plan.h"
#include "vmi_plan.h"
#include <errno.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <stdlib.h>
#include <string.h>

/* What the printable status is chosen from. */
struct picture {
    const struct vm_view *view;
    enum vm_intent intent;
    const cJSON *status;         /* the VM's, new */
    const cJSON *vmi_conditions; /* NULL: no instance */
    const char *phase;           /* of the instance; "" */
};

static bool is_terminating(const struct picture *p)
{
    return kube_deleting(p->view->vm);
}

static bool is_stopping(const struct picture *p)
{
    return p->view->vmi != NULL && !vmi_phase_is_final(p->phase) &&
           (kube_deleting(p->view->vmi) || p->intent == VM_STOP);
}

static bool is_paused(const struct picture *p)
{
    return condition_is(p->vmi_conditions, "Paused", "True");
}

static bool is_running(const struct picture *p)
{
    return strcmp(p->phase, "Running") == 0;
}

static bool not_synchronized(const struct picture *p, const char *reason)
{
    return !vmi_phase_is_final(p->phase) &&
           strcmp(condition_reason(p->vmi_conditions, "Synchronized"), reason) == 0;
}

static bool is_claim_missing(const struct picture *p)
{
    return not_synchronized(p, "FailedPvcNotFound");
}

static bool is_unschedulable(const struct picture *p)
{
    return condition_is(p->vmi_conditions, "PodScheduled", "False") &&
           strcmp(condition_reason(p->vmi_conditions, "PodScheduled"), "Unschedulable") == 0;
}

static bool is_image_error(const struct picture *p)
{
    return not_synchronized(p, "ErrImagePull");
}

static bool is_image_back_off(const struct picture *p)
{
    return not_synchronized(p, "ImagePullBackOff");
}

static bool is_starting(const struct picture *p)
{
    static const char *const phases[] = {"", "Pending", "Scheduling", "Scheduled"};
    if (p->view->vmi == NULL)
        return p->intent == VM_START;
    for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++) {
        if (strcmp(p->phase, phases[i]) == 0)
            return true;
    }
    return false;
}

/* A claim waits for its consumer or for a volume: so does the machine. */
static bool is_waiting_for_volume(const struct picture *p)
{
    return p->view->claim_is_unbound && is_starting(p);
}

static bool is_crash_looping(const struct picture *p)
{
    const char *strategy = vm_run_strategy(p->view->vm);
    return json_get(p->status, "startFailure") != NULL && strategy != NULL &&
           (strcmp(strategy, "Always") == 0 || strcmp(strategy, "RerunOnFailure") == 0 ||
            strcmp(strategy, "Once") == 0) &&
           (p->view->vmi == NULL || strcmp(p->phase, "Failed") == 0);
}

static bool is_stopped(const struct picture *p)
{
    return p->view->vmi == NULL || vmi_phase_is_final(p->phase);
}

/* The first that is true counts; the order is KubeVirt's. */
static const struct printable {
    const char *name;
    bool (*is)(const struct picture *picture);
} printables[] = {
    {"Terminating", is_terminating},
    {"Stopping", is_stopping},
    {"Paused", is_paused},
    {"Running", is_running},
    {"ErrorPvcNotFound", is_claim_missing},
    {"ErrorUnschedulable", is_unschedulable},
    {"WaitingForVolumeBinding", is_waiting_for_volume},
    {"ErrImagePull", is_image_error},
    {"ImagePullBackOff", is_image_back_off},
    {"Starting", is_starting},
    {"CrashLoopBackOff", is_crash_looping},
    {"Stopped", is_stopped},
};

static const char *printable(const struct picture *picture)
{
    for (size_t i = 0; i < sizeof(printables) / sizeof(printables[0]); i++) {
        if (printables[i].is(picture))
            return printables[i].name;
    }
    return "Unknown";
}

static bool is_own_condition(const char *type)
{
    static const char *const own[] = {"Ready", "Failure", "RestartRequired", "FieldsSupported"};
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        if (strcmp(type, own[i]) == 0)
            return true;
    }
    return false;
}

static void set_ready(const struct vm_view *view, cJSON *conditions)
{
    const cJSON *ready = kube_condition(kube_path(view->vmi, "status.conditions"), "Ready");
    struct condition set = {"Ready", "False", "VMINotExists", "VMI does not exist"};
    if (view->vmi != NULL && ready == NULL) {
        set.reason = "VMIConditionMissing";
        set.message = "VMI is missing the Ready condition";
    } else if (ready != NULL) {
        set.status = tree_text(json_get(ready, "status"), "False");
        set.reason = tree_text(json_get(ready, "reason"), NULL);
        set.message = tree_text(json_get(ready, "message"), NULL);
    }
    condition_set(conditions, &set, view->now);
}

/* Conditions of the instance are the machine's too; those it no longer has go. */
static void mirror_conditions(const struct vm_view *view, cJSON *conditions)
{
    const cJSON *theirs = kube_path(view->vmi, "status.conditions");
    cJSON *item = conditions->child;
    while (item != NULL) {
        cJSON *next = item->next;
        const char *type = tree_text(json_get(item, "type"), "");
        if (!is_own_condition(type) && kube_condition(theirs, type) == NULL)
            cJSON_Delete(cJSON_DetachItemViaPointer(conditions, item));
        item = next;
    }
    json_for_each (their, theirs) {
        struct condition set = {tree_text(json_get(their, "type"), ""),
                                tree_text(json_get(their, "status"), "Unknown"),
                                tree_text(json_get(their, "reason"), NULL),
                                tree_text(json_get(their, "message"), NULL)};
        /* One that is there twice would change with each look. */
        if (!is_own_condition(set.type) && kube_condition(theirs, set.type) == their)
            condition_set(conditions, &set, view->now);
    }
}

/* The template that runs is in the instance, whose specification nobody can change. */
static void set_restart_required(const struct vm_view *view, cJSON *conditions)
{
    const cJSON *template = kube_path(view->vm, "spec.template.spec");
    cleanup_json cJSON *running = NULL;
    if (json_get(view->vmi, "spec") != NULL) {
        running = tree_copy(json_get(view->vmi, "spec"));
        if (json_get(template, "startStrategy") == NULL)
            cJSON_DeleteItemFromObjectCaseSensitive(running, "startStrategy");
    }
    if (running == NULL || vmi_phase_is_final(vmi_phase(view->vmi)) ||
        kube_equal(template, running)) {
        condition_remove(conditions, "RestartRequired");
        return;
    }
    struct condition set = {"RestartRequired", "True", NULL,
                            "a non-live-updatable field was changed in the template spec"};
    condition_set(conditions, &set, view->now);
}

/* Warnings about the template, where the machine's owner looks. */
static void set_supported(const struct vm_view *view, cJSON *conditions)
{
    cleanup_free char *all = diagnostics_join(view->diagnostics, VMSPEC_WARNING);
    struct condition set = {"FieldsSupported", "False", "UnsupportedFields", all};
    if (all != NULL)
        condition_set(conditions, &set, view->now);
    else
        condition_remove(conditions, "FieldsSupported");
}

/* KubeVirt's: of the template that runs. As long as it is the same, a new generation runs, too. */
static int64_t observed_generation(const struct vm_view *view, const cJSON *conditions,
                                   int64_t generation)
{
    const char *text = kube_annotation(view->vmi, ANNOTATION_VM_GENERATION);
    if (text == NULL || !condition_is(conditions, "RestartRequired", "True"))
        return generation;
    char *end;
    errno = 0;
    int64_t runs = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && runs > 0 && runs < generation ? runs
                                                                                      : generation;
}

void vm_status_fill(const struct vm_view *view, enum vm_intent intent, cJSON *status)
{
    cJSON *conditions = tree_need_array(status, "conditions");
    int64_t generation = 0;
    set_ready(view, conditions);
    mirror_conditions(view, conditions);
    set_restart_required(view, conditions);
    set_supported(view, conditions);
    bool created = view->vmi != NULL || intent == VM_START;
    if (created || json_get(status, "created") != NULL)
        tree_put_bool(status, "created", created);
    if (condition_is(conditions, "Ready", "True") || json_get(status, "ready") != NULL)
        tree_put_bool(status, "ready", condition_is(conditions, "Ready", "True"));
    if (json_int64(kube_path(view->vm, "metadata.generation"), &generation)) {
        tree_put_int(status, "observedGeneration",
                     observed_generation(view, conditions, generation));
        tree_put_int(status, "desiredGeneration", generation);
    }
    struct picture picture = {view, intent, status, kube_path(view->vmi, "status.conditions"),
                              view->vmi != NULL ? vmi_phase(view->vmi) : ""};
    tree_put_string(status, "printableStatus", printable(&picture));
}

// SPDX-License-Identifier: Apache-2.0
#include "pod_state.h"
#include "conditions.h"
#include "kinds.h"
#include "tree.h"
#include <podvisor/str.h>
#include <string.h>

static const cJSON *status_of(const cJSON *pod, const char *list, const char *name)
{
    json_for_each (item, json_get(json_get(pod, "status"), list)) {
        if (str_equal(tree_text(json_get(item, "name"), NULL), name))
            return item;
    }
    return NULL;
}

/* Waiting reasons that are a problem, not a stage. */
static bool is_problem(const char *reason)
{
    static const char *const problems[] = {
        "ErrImagePull",         "ImagePullBackOff",    "InvalidImageName",
        "ErrImageNeverPull",    "RegistryUnavailable", "ImageInspectError",
        "CreateContainerError", "RunContainerError",   "CreateContainerConfigError"};
    for (size_t i = 0; i < sizeof(problems) / sizeof(problems[0]); i++) {
        if (strcmp(reason, problems[i]) == 0)
            return true;
    }
    return false;
}

static bool none_started(const cJSON *status, const char *list)
{
    json_for_each (item, json_get(status, list)) {
        if (kube_path(item, "state.waiting") == NULL)
            return false;
    }
    return true;
}

static void read_waiting(const cJSON *pod, const char *list, struct pod_state *ret)
{
    json_for_each (item, json_get(json_get(pod, "status"), list)) {
        const cJSON *waiting = kube_path(item, "state.waiting");
        const char *reason = tree_text(json_get(waiting, "reason"), "");
        if (ret->waiting_reason == NULL && is_problem(reason)) {
            ret->waiting_reason = reason;
            ret->waiting_message = tree_text(json_get(waiting, "message"), "");
        }
    }
}

/* One that has not started: vmm waits for the files of each sidecar before the guest runs. */
static bool any_waits(const cJSON *pod)
{
    json_for_each (item, json_get(json_get(pod, "status"), "containerStatuses")) {
        if (kube_path(item, "state.waiting") != NULL)
            return true;
    }
    return false;
}

/* The message of the first container that failed: an init container, or a sidecar. */
static const char *failure_message(const cJSON *pod, const char *list)
{
    json_for_each (item, json_get(json_get(pod, "status"), list)) {
        const cJSON *ended = kube_path(item, "state.terminated");
        int64_t code = 0;
        if (ended != NULL && json_int64(json_get(ended, "exitCode"), &code) && code != 0)
            return tree_text(json_get(ended, "message"), tree_text(json_get(ended, "reason"), ""));
    }
    return NULL;
}

static void read_compute(const cJSON *pod, struct pod_state *ret)
{
    const cJSON *status = status_of(pod, "containerStatuses", COMPUTE_CONTAINER);
    const cJSON *ended = kube_path(status, "state.terminated");
    int64_t code = -1;
    if (ended != NULL) {
        ret->compute = COMPUTE_ENDED;
        if (json_int64(json_get(ended, "exitCode"), &code))
            ret->exit_code = (int)code;
        ret->reason = tree_text(json_get(ended, "reason"), "");
        ret->message = tree_text(json_get(ended, "message"), ret->reason);
    } else if (kube_path(status, "state.running") != NULL && !any_waits(pod)) {
        ret->compute = COMPUTE_RUNNING;
    }
}

/* The pod as a whole failed (eviction, a failed init container): compute never runs. */
static void read_failure(const cJSON *pod, struct pod_state *ret)
{
    const cJSON *status = json_get(pod, "status");
    if (ret->compute == COMPUTE_ENDED)
        return;
    ret->compute = COMPUTE_ENDED;
    ret->reason = tree_text(json_get(status, "reason"), "");
    ret->message = failure_message(pod, "initContainerStatuses");
    if (ret->message == NULL)
        ret->message = tree_text(json_get(status, "message"), ret->reason);
}

void pod_state_read(const cJSON *pod, struct pod_state *ret)
{
    const cJSON *status = json_get(pod, "status");
    const char *phase = tree_text(json_get(status, "phase"), "");
    const cJSON *scheduled = kube_condition(json_get(status, "conditions"), "PodScheduled");
    *ret = (struct pod_state){.exit_code = -1, .message = "", .reason = ""};
    ret->deleting = kube_deleting(pod);
    ret->node = tree_text(kube_path(pod, "spec.nodeName"), NULL);
    ret->accepted = tree_text(json_get(status, "startTime"), "");
    ret->waits_for_all =
        none_started(status, "initContainerStatuses") && none_started(status, "containerStatuses");
    read_compute(pod, ret);
    ret->finished = strcmp(phase, "Failed") == 0 || strcmp(phase, "Succeeded") == 0;
    if (ret->finished)
        read_failure(pod, ret);
    if (ret->compute == COMPUTE_NONE) {
        read_waiting(pod, "initContainerStatuses", ret);
        read_waiting(pod, "containerStatuses", ret);
    }
    if (str_equal(tree_text(json_get(scheduled, "status"), NULL), "False"))
        ret->unschedulable = scheduled;
}

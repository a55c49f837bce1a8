// SPDX-License-Identifier: Apache-2.0
/*
 * The kinds that are watched, what is kept of them, and which keys a change makes due. Handlers run
 * on the caches' thread and only fill queues.
 */
#include "kinds.h"
#include "operator.h"
#include "tree.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>

/* --- what is kept --- */

/* Replaces the object's member by one with only these members of it. */
static void keep_members(cJSON *object, const char *key, const char *const *names)
{
    cJSON *kept = tree_object();
    const cJSON *old = json_get(object, key);
    for (; old != NULL && *names != NULL; names++)
        tree_put_copy(kept, *names, json_get(old, *names));
    tree_put(object, key, kept);
}

static void cut_pod(cJSON *pod)
{
    static const char *const spec[] = {"nodeName", "terminationGracePeriodSeconds", NULL};
    static const char *const status[] = {
        "phase",    "conditions", "podIP",  "podIPs", "containerStatuses", "initContainerStatuses",
        "qosClass", "message",    "reason", NULL};
    keep_members(pod, "spec", spec);
    keep_members(pod, "status", status);
    cJSON_DeleteItemFromObjectCaseSensitive(tree_need_object(pod, "metadata"), "annotations");
}

static void cut_node(cJSON *node)
{
    static const char *const none[] = {NULL};
    static const char *const status[] = {"conditions", NULL};
    keep_members(node, "spec", none);
    keep_members(node, "status", status);
    cJSON *conditions =
        cJSON_GetObjectItemCaseSensitive(tree_need_object(node, "status"), "conditions");
    cJSON *meta = tree_need_object(node, "metadata");
    cJSON_DeleteItemFromObjectCaseSensitive(meta, "annotations");
    cJSON_DeleteItemFromObjectCaseSensitive(meta, "labels");
    for (cJSON *item = conditions != NULL ? conditions->child : NULL, *next; item != NULL;
         item = next) {
        next = item->next;
        if (!str_equal(tree_text(json_get(item, "type"), NULL), "Ready"))
            cJSON_Delete(cJSON_DetachItemViaPointer(conditions, item));
        else /* changes with each heartbeat */
            cJSON_DeleteItemFromObjectCaseSensitive(item, "lastHeartbeatTime");
    }
}

static void cut_claim(cJSON *claim)
{
    static const char *const spec[] = {"volumeMode", "resources", "accessModes", NULL};
    static const char *const status[] = {"phase", "capacity", NULL};
    keep_members(claim, "spec", spec);
    keep_members(claim, "status", status);
    cJSON_DeleteItemFromObjectCaseSensitive(tree_need_object(claim, "metadata"), "annotations");
}

/* --- indices --- */

static const char *vmi_phase_index(const cJSON *vmi)
{
    return tree_text(kube_path(vmi, "status.phase"), NULL);
}

static const char *vmi_node_index(const cJSON *vmi)
{
    return tree_text(kube_path(vmi, "status.nodeName"), NULL);
}

static const char *pod_uid_index(const cJSON *pod)
{
    return kube_label(pod, LABEL_CREATED_BY);
}

static const char *pod_vmi_index(const cJSON *pod)
{
    const cJSON *owner = kube_controller_ref(pod);
    return str_equal(tree_text(json_get(owner, "kind"), NULL), kind_vmi.kind)
               ? tree_text(json_get(owner, "name"), NULL)
               : NULL;
}

static const char *node_ready_index(const cJSON *node)
{
    const cJSON *ready = kube_condition(kube_path(node, "status.conditions"), "Ready");
    return tree_text(json_get(ready, "status"), NULL);
}

/* --- what becomes due --- */

static void enqueue(struct kube_queue *queue, const char *namespace_, const char *name)
{
    char key[KUBE_KEY_MAX];
    kube_key(key, namespace_, name);
    kube_queue_add(queue, key);
}

static void vm_changed(void *user, struct kube_object *old, struct kube_object *now)
{
    struct operator* op = user;
    const struct kube_object *object = now != NULL ? now : old;
    enqueue(op->vm.queue, kube_object_namespace(object), kube_object_name(object));
}

/* An instance has its machine's name. */
static void vmi_changed(void *user, struct kube_object *old, struct kube_object *now)
{
    struct operator* op = user;
    const struct kube_object *object = now != NULL ? now : old;
    enqueue(op->vmi.queue, kube_object_namespace(object), kube_object_name(object));
    enqueue(op->vm.queue, kube_object_namespace(object), kube_object_name(object));
}

static void pod_changed(void *user, struct kube_object *old, struct kube_object *now)
{
    struct operator* op = user;
    const struct kube_object *object = now != NULL ? now : old;
    const char *vmi = kube_object_index(object, INDEX_POD_VMI_NAME);
    if (*vmi != '\0')
        enqueue(op->vmi.queue, kube_object_namespace(object), vmi);
}

static void enqueue_vmis(struct operator* op, const char *namespace_, int index, const char *value)
{
    struct kube_object **list;
    size_t count = kube_cache_list(op->vmis, namespace_, index, value, &list);
    for (size_t i = 0; i < count; i++) {
        enqueue(op->vmi.queue, kube_object_namespace(list[i]), kube_object_name(list[i]));
        kube_object_unref(list[i]);
    }
    free(list);
}

/* A machine that waits for a claim is Pending. */
static void claim_changed(void *user, struct kube_object *old, struct kube_object *now)
{
    if (old == NULL && now != NULL)
        enqueue_vmis(user, kube_object_namespace(now), INDEX_VMI_PHASE, "Pending");
}

/* A heartbeat is a change of the node, and none for its machines. */
static void node_changed(void *user, struct kube_object *old, struct kube_object *now)
{
    const struct kube_object *object = now != NULL ? now : old;
    if (old == NULL) /* at first nobody knows anything else */
        return;
    if (now == NULL || strcmp(kube_object_index(old, INDEX_NODE_READY),
                              kube_object_index(now, INDEX_NODE_READY)) != 0)
        enqueue_vmis(user, NULL, INDEX_VMI_NODE, kube_object_name(object));
}

void operator_add_caches(struct operator* op)
{
    struct kube_cache_options vms = {.resource = &kind_vm, .changed = vm_changed, .user = op};
    struct kube_cache_options vmis = {.resource = &kind_vmi,
                                      .index = {vmi_phase_index, vmi_node_index},
                                      .changed = vmi_changed,
                                      .user = op};
    struct kube_cache_options pods = {.resource = &kind_pod,
                                      .label_selector = LABEL_APP "=" LABEL_APP_LAUNCHER,
                                      .transform = cut_pod,
                                      .index = {pod_uid_index, pod_vmi_index},
                                      .changed = pod_changed,
                                      .user = op};
    struct kube_cache_options claims = {
        .resource = &kind_pvc, .transform = cut_claim, .changed = claim_changed, .user = op};
    struct kube_cache_options nodes = {.resource = &kind_node,
                                       .transform = cut_node,
                                       .index = {node_ready_index},
                                       .changed = node_changed,
                                       .user = op};
    op->vms = kube_caches_add(op->caches, &vms);
    op->vmis = kube_caches_add(op->caches, &vmis);
    op->pods = kube_caches_add(op->caches, &pods);
    op->claims = kube_caches_add(op->caches, &claims);
    op->nodes = kube_caches_add(op->caches, &nodes);
}

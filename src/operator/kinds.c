// SPDX-License-Identifier: Apache-2.0
#include "kinds.h"
#include "tree.h"
#include <podvisor/str.h>

const struct kube_resource kind_vm = {
    .group = "kubevirt.io", .version = "v1", .plural = "virtualmachines", .kind = "VirtualMachine"};
const struct kube_resource kind_vmi = {.group = "kubevirt.io",
                                       .version = "v1",
                                       .plural = "virtualmachineinstances",
                                       .kind = "VirtualMachineInstance"};
const struct kube_resource kind_pod = {
    .group = "", .version = "v1", .plural = "pods", .kind = "Pod"};
const struct kube_resource kind_node = {
    .group = "", .version = "v1", .plural = "nodes", .kind = "Node", .cluster_scoped = true};
const struct kube_resource kind_pvc = {.group = "",
                                       .version = "v1",
                                       .plural = "persistentvolumeclaims",
                                       .kind = "PersistentVolumeClaim"};

static cJSON *finalizers(cJSON *object)
{
    return tree_need_array(tree_need_object(object, "metadata"), "finalizers");
}

void finalizer_add(cJSON *object, const char *finalizer)
{
    if (!kube_has_finalizer(object, finalizer))
        tree_push_string(finalizers(object), finalizer);
}

void finalizer_remove(cJSON *object, const char *finalizer)
{
    cJSON *list = finalizers(object), *item;
    cJSON_ArrayForEach(item, list)
    {
        if (str_equal(tree_text(item, NULL), finalizer)) {
            cJSON_Delete(cJSON_DetachItemViaPointer(list, item));
            return;
        }
    }
}

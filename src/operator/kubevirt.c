// SPDX-License-Identifier: Apache-2.0
#include "kubevirt.h"
#include "kinds.h"
#include "tree.h"
#include <podvisor/cleanup.h>
#include <podvisor/log.h>
#include <podvisor/str.h>
#include <string.h>

bool kubevirt_is_installed(struct operator* op)
{
    cleanup_json cJSON *list = NULL;
    struct error err = ERROR_INIT;
    int r = kube_discover(op->client, kind_vm.group, kind_vm.version, &list, &err);
    if (r < 0 && r != -ENOENT)
        log_warn("operator", "cannot see whether KubeVirt is installed here, too: %s", err.text);
    json_for_each (resource, json_get(list, "resources")) {
        if (str_equal(tree_text(json_get(resource, "name"), NULL), KUBEVIRT_KIND))
            return true;
    }
    return false;
}

/* The pod's name, when it is the instance's, not ours, and not at its end. */
static char *name_of_other(struct kube_object *object, const cJSON *vmi, const char *ours)
{
    cleanup_json cJSON *pod = NULL;
    if (strcmp(kube_object_name(object), ours) == 0 || kube_object_parse(object, &pod, NULL) < 0 ||
        !pod_is_of(pod, vmi))
        return NULL;
    const char *phase = tree_text(kube_path(pod, "status.phase"), "");
    if (strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0)
        return NULL;
    return xstrdup(kube_name(pod));
}

char *kubevirt_pod_of(struct operator* op, const cJSON *vmi)
{
    cleanup_free char *ours = pod_name(vmi);
    struct kube_object **list;
    char *found = NULL;
    size_t count =
        kube_cache_list(op->pods, kube_namespace(vmi), INDEX_POD_VMI_UID, kube_uid(vmi), &list);
    for (size_t i = 0; i < count; i++) {
        if (found == NULL)
            found = name_of_other(list[i], vmi, ours);
        kube_object_unref(list[i]);
    }
    free(list);
    return found;
}

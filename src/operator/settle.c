// SPDX-License-Identifier: Apache-2.0
#include "settle.h"
#include "conditions.h"
#include "tree.h"
#include <podvisor/kube.h>
#include <podvisor/str.h>
#include <string.h>

static uint64_t time_left(const cJSON *vmi, int64_t now)
{
    int64_t created, age;
    const char *text = tree_text(kube_path(vmi, "metadata.creationTimestamp"), "");
    if (kube_time_parse(text, &created) < 0)
        return 0;
    age = now - created;
    if (age < 0 || age >= (int64_t)SETTLE_NS)
        return 0; /* another clock than ours, or long enough */
    return SETTLE_NS - (uint64_t)age;
}

/* Why it is not ready yet changes with every step; that it is not stays. */
static void cut_ready(cJSON *status)
{
    cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(status, "conditions"))
    {
        if (!str_equal(tree_text(json_get(item, "type"), NULL), "Ready"))
            continue;
        cJSON_DeleteItemFromObjectCaseSensitive(item, "reason");
        cJSON_DeleteItemFromObjectCaseSensitive(item, "message");
    }
}

/* The object with only what cannot wait. */
static cJSON *keep_urgent(const cJSON *object, const char *const *cut, const char *condition)
{
    cJSON *kept = tree_copy(object);
    cJSON *status = tree_need_object(kept, "status");
    for (; *cut != NULL; cut++)
        cJSON_DeleteItemFromObjectCaseSensitive(status, *cut);
    condition_remove(tree_need_array(status, "conditions"), condition);
    cut_ready(status);
    return kept;
}

static bool same(const cJSON *from, const cJSON *to, const char *const *cut, const char *condition)
{
    cleanup_json cJSON *a = keep_urgent(from, cut, condition);
    cleanup_json cJSON *b = keep_urgent(to, cut, condition);
    return kube_equal(a, b);
}

uint64_t settle_vmi(const cJSON *from, const cJSON *to, int64_t now)
{
    static const char *const cut[] = {"activePods", "nodeName", "interfaces", "qosClass", NULL};
    const char *phase = tree_text(kube_path(to, "status.phase"), "");
    if (kube_deleting(to) || strcmp(phase, "Scheduling") != 0 || !same(from, to, cut, ""))
        return 0;
    return time_left(to, now);
}

uint64_t settle_vm(const cJSON *from, const cJSON *to, const cJSON *vmi, int64_t now)
{
    static const char *const cut[] = {NULL};
    const char *printable = tree_text(kube_path(to, "status.printableStatus"), "");
    if (kube_deleting(to) || vmi == NULL || strcmp(printable, "Starting") != 0 ||
        !same(from, to, cut, "LiveMigratable"))
        return 0;
    return time_left(vmi, now);
}

// SPDX-License-Identifier: Apache-2.0
#include "conditions.h"
#include "tree.h"
#include <podvisor/kube.h>
#include <podvisor/str.h>
#include <stdarg.h>
#include <string.h>

static cJSON *find(cJSON *conditions, const char *type)
{
    cJSON *item;
    cJSON_ArrayForEach(item, conditions)
    {
        if (str_equal(tree_text(json_get(item, "type"), NULL), type))
            return item;
    }
    return NULL;
}

static void put_text(cJSON *item, const char *key, const char *value)
{
    if (value == NULL || *value == '\0')
        cJSON_DeleteItemFromObjectCaseSensitive(item, key);
    else if (strcmp(tree_text(json_get(item, key), ""), value) != 0)
        tree_put_string(item, key, value);
}

void condition_set(cJSON *conditions, const struct condition *condition, int64_t now)
{
    char time[KUBE_TIME_SIZE];
    cJSON *item = find(conditions, condition->type);
    if (item == NULL) {
        item = tree_push(conditions, tree_object());
        tree_put_string(item, "type", condition->type);
    }
    if (strcmp(tree_text(json_get(item, "status"), ""), condition->status) != 0) {
        tree_put_string(item, "status", condition->status);
        tree_put_string(item, "lastTransitionTime", kube_time(now, time));
    }
    put_text(item, "reason", condition->reason);
    put_text(item, "message", condition->message);
}

void condition_remove(cJSON *conditions, const char *type)
{
    cJSON *item = find(conditions, type);
    if (item != NULL)
        cJSON_Delete(cJSON_DetachItemViaPointer(conditions, item));
}

void condition_set_again(cJSON *conditions, const cJSON *before, const struct condition *condition,
                         int64_t now)
{
    cJSON *there = find(conditions, condition->type);
    const cJSON *old = kube_condition(before, condition->type);
    if (old != NULL && there == NULL)
        tree_push(conditions, tree_copy(old));
    condition_set(conditions, condition, now);
}

bool condition_is(const cJSON *conditions, const char *type, const char *status)
{
    return str_equal(tree_text(json_get(kube_condition(conditions, type), "status"), NULL), status);
}

const char *condition_reason(const cJSON *conditions, const char *type)
{
    return tree_text(json_get(kube_condition(conditions, type), "reason"), "");
}

void plan_event(struct planned_events *events, bool warning, const char *reason, const char *action,
                const char *fmt, ...)
{
    struct planned_event *event = vec_add(&events->list);
    va_list ap;
    va_start(ap, fmt);
    event->note = xvasprintf(fmt, ap);
    va_end(ap);
    event->warning = warning;
    event->reason = reason;
    event->action = action;
}

void planned_events_done(struct planned_events *events)
{
    for (size_t i = 0; i < events->list.count; i++)
        free(events->list.item[i].note);
    vec_free(&events->list);
}

// SPDX-License-Identifier: Apache-2.0
#include "tree.h"
#include <podvisor/cleanup.h>
#include <podvisor/kube.h>
#include <podvisor/str.h>

static cJSON *need(cJSON *item)
{
    if (item == NULL)
        out_of_memory();
    return item;
}

cJSON *tree_object(void)
{
    return need(cJSON_CreateObject());
}

cJSON *tree_array(void)
{
    return need(cJSON_CreateArray());
}

cJSON *tree_copy(const cJSON *json)
{
    return need(cJSON_Duplicate(json, true));
}

cJSON *tree_put(cJSON *object, const char *key, cJSON *item)
{
    cJSON_DeleteItemFromObjectCaseSensitive(object, key);
    if (!cJSON_AddItemToObject(object, key, need(item)))
        out_of_memory();
    return item;
}

cJSON *tree_put_string(cJSON *object, const char *key, const char *value)
{
    return tree_put(object, key, cJSON_CreateString(value));
}

cJSON *tree_put_format(cJSON *object, const char *key, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    cleanup_free char *text = xvasprintf(fmt, ap);
    va_end(ap);
    return tree_put_string(object, key, text);
}

cJSON *tree_put_int(cJSON *object, const char *key, int64_t value)
{
    return tree_put(object, key, json_create_int64(value));
}

cJSON *tree_put_bool(cJSON *object, const char *key, bool value)
{
    return tree_put(object, key, cJSON_CreateBool(value));
}

void tree_put_copy(cJSON *object, const char *key, const cJSON *item)
{
    if (item != NULL)
        tree_put(object, key, tree_copy(item));
}

void tree_put_members(cJSON *object, const cJSON *from)
{
    if (!cJSON_IsObject(from))
        return;
    json_for_each (item, from)
        tree_put_copy(object, item->string, item);
}

static cJSON *member(cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

cJSON *tree_need_object(cJSON *object, const char *key)
{
    cJSON *there = member(object, key);
    return cJSON_IsObject(there) ? there : tree_put(object, key, tree_object());
}

cJSON *tree_need_array(cJSON *object, const char *key)
{
    cJSON *there = member(object, key);
    return cJSON_IsArray(there) ? there : tree_put(object, key, tree_array());
}

cJSON *tree_push(cJSON *array, cJSON *item)
{
    if (!cJSON_AddItemToArray(array, need(item)))
        out_of_memory();
    return item;
}

cJSON *tree_push_string(cJSON *array, const char *value)
{
    return tree_push(array, cJSON_CreateString(value));
}

const char *tree_text(const cJSON *item, const char *otherwise)
{
    return cJSON_IsString(item) ? item->valuestring : otherwise;
}

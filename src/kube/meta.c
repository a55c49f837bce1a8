// SPDX-License-Identifier: Apache-2.0
/* Accessors of objects' metadata and of paths inside them. No state, any thread. */
#include <podvisor/kube.h>
#include <podvisor/str.h>
#include <stdio.h>
#include <string.h>

#define SEGMENT_MAX 128 /* of a dotted path of ours */

static const char *string_of(const cJSON *item)
{
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

static const cJSON *metadata(const cJSON *object, const char *key)
{
    return json_get(json_get(object, "metadata"), key);
}

static const char *text(const cJSON *object, const char *key)
{
    const char *value = string_of(metadata(object, key));
    return value != NULL ? value : "";
}

const char *kube_name(const cJSON *object)
{
    return text(object, "name");
}

const char *kube_namespace(const cJSON *object)
{
    return text(object, "namespace");
}

const char *kube_uid(const cJSON *object)
{
    return text(object, "uid");
}

const char *kube_resource_version(const cJSON *object)
{
    return text(object, "resourceVersion");
}

const char *kube_label(const cJSON *object, const char *key)
{
    return string_of(json_get(metadata(object, "labels"), key));
}

const char *kube_annotation(const cJSON *object, const char *key)
{
    return string_of(json_get(metadata(object, "annotations"), key));
}

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool kube_is_label_value(const char *text)
{
    size_t len = strlen(text);
    if (len > 63)
        return false;
    for (size_t i = 0; i < len; i++) {
        bool inside = i > 0 && i < len - 1;
        if (!is_alphanumeric(text[i]) && !(inside && strchr("-_.", text[i]) != NULL))
            return false;
    }
    return true;
}

bool kube_deleting(const cJSON *object)
{
    return metadata(object, "deletionTimestamp") != NULL;
}

bool kube_has_finalizer(const cJSON *object, const char *finalizer)
{
    const cJSON *list = metadata(object, "finalizers");
    if (!cJSON_IsArray(list))
        return false;
    json_for_each (item, list) {
        if (str_equal(string_of(item), finalizer))
            return true;
    }
    return false;
}

const cJSON *kube_controller_ref(const cJSON *object)
{
    const cJSON *list = metadata(object, "ownerReferences");
    if (!cJSON_IsArray(list))
        return NULL;
    json_for_each (item, list) {
        if (cJSON_IsTrue(json_get(item, "controller")))
            return item;
    }
    return NULL;
}

/* A tree that cannot be made is a process that is out of memory. */
static void add(cJSON *object, const char *key, cJSON *item)
{
    if (item == NULL || !cJSON_AddItemToObject(object, key, item))
        out_of_memory();
}

cJSON *kube_make_owner_ref(const struct kube_resource *owner_kind, const cJSON *owner)
{
    char version[256];
    snprintf(version, sizeof(version), "%s%s%s", owner_kind->group,
             *owner_kind->group != '\0' ? "/" : "", owner_kind->version);
    cJSON *ref = cJSON_CreateObject();
    if (ref == NULL)
        out_of_memory();
    add(ref, "apiVersion", cJSON_CreateString(version));
    add(ref, "kind", cJSON_CreateString(owner_kind->kind));
    add(ref, "name", cJSON_CreateString(kube_name(owner)));
    add(ref, "uid", cJSON_CreateString(kube_uid(owner)));
    add(ref, "controller", cJSON_CreateTrue());
    add(ref, "blockOwnerDeletion", cJSON_CreateTrue());
    return ref;
}

const cJSON *kube_condition(const cJSON *conditions, const char *type)
{
    if (!cJSON_IsArray(conditions))
        return NULL;
    json_for_each (item, conditions) {
        if (str_equal(string_of(json_get(item, "type")), type))
            return item;
    }
    return NULL;
}

const cJSON *kube_path(const cJSON *object, const char *dotted_path)
{
    while (object != NULL) {
        size_t len = strcspn(dotted_path, ".");
        char key[SEGMENT_MAX];
        if (len >= sizeof(key))
            return NULL;
        memcpy(key, dotted_path, len);
        key[len] = '\0';
        object = json_get(object, key);
        if (dotted_path[len] == '\0')
            return object;
        dotted_path += len + 1;
    }
    return NULL;
}

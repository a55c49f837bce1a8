// SPDX-License-Identifier: Apache-2.0
/*
 * Objects of a store: one block of memory with the JSON text and the fields that are asked for
 * without parsing. Immutable but for the count of references, so any thread may read one it holds.
 */
#include "store.h"
#include <podvisor/cleanup.h>
#include <podvisor/kube_queue.h>
#include <podvisor/str.h>
#include <stdatomic.h>
#include <string.h>

enum field { NAMESPACE, NAME, UID, VERSION, INDEX_0, FIELD_COUNT = INDEX_0 + KUBE_INDEX_MAX };

struct kube_object {
    atomic_uint refs;
    uint32_t text_len;
    uint32_t field[FIELD_COUNT]; /* where each begins in `data` */
    char data[];                 /* the text, then the fields, each with NUL */
};

struct kube_object *kube_object_ref(struct kube_object *object)
{
    atomic_fetch_add_explicit(&object->refs, 1, memory_order_relaxed);
    return object;
}

void kube_object_unref(struct kube_object *object)
{
    if (object != NULL && atomic_fetch_sub_explicit(&object->refs, 1, memory_order_acq_rel) == 1)
        free(object);
}

static const char *get_field(const struct kube_object *object, unsigned field)
{
    return object->data + object->field[field];
}

const char *kube_object_namespace(const struct kube_object *object)
{
    return get_field(object, NAMESPACE);
}

const char *kube_object_name(const struct kube_object *object)
{
    return get_field(object, NAME);
}

const char *kube_object_uid(const struct kube_object *object)
{
    return get_field(object, UID);
}

const char *kube_object_version(const struct kube_object *object)
{
    return get_field(object, VERSION);
}

const char *kube_object_index(const struct kube_object *object, unsigned index)
{
    return get_field(object, INDEX_0 + index);
}

bool kube_object_same(const struct kube_object *a, const struct kube_object *b)
{
    return strcmp(kube_object_version(a), kube_object_version(b)) == 0 &&
           strcmp(kube_object_uid(a), kube_object_uid(b)) == 0;
}

int kube_object_parse(const struct kube_object *object, cJSON **ret, struct error *err)
{
    const struct json_limits limits = {.bytes = KUBE_OBJECT_BYTES_MAX};
    return json_parse(object->data, object->text_len, &limits, ret, err);
}

/* Reads metadata into `field`, borrowed. */
static int read_metadata(const cJSON *tree, const char *field[FIELD_COUNT], struct error *err)
{
    static const struct json_path path = {.key = "metadata"};
    const cJSON *metadata;
    int r = json_get_object(tree, "metadata", NULL, &metadata, err);
    if (r == 0)
        return error_set(err, EINVAL, "it has no metadata");
    if (r < 0)
        return r;
    static const char *const name[] = {"namespace", "name", "uid", "resourceVersion"};
    for (unsigned i = NAMESPACE; i <= VERSION; i++) {
        field[i] = "";
        r = json_get_string(metadata, name[i], &path, &field[i], err);
        if (r < 0)
            return r;
        if (i != NAMESPACE && *field[i] == '\0')
            return error_set(err, EINVAL, "metadata.%s is missing", name[i]);
    }
    if (strlen(field[VERSION]) >= KUBE_VERSION_SIZE)
        return error_set(err, EINVAL, "metadata.resourceVersion is too long");
    if (strlen(field[NAMESPACE]) + 1 + strlen(field[NAME]) >= KUBE_KEY_MAX)
        return error_set(err, EINVAL, "metadata.name is too long");
    return 0;
}

static void add_type_member(cJSON *tree, const char *name, const char *value)
{
    if (json_get(tree, name) != NULL)
        return;
    cJSON_DeleteItemFromObjectCaseSensitive(tree, name); /* a null */
    if (cJSON_AddStringToObject(tree, name, value) == NULL)
        out_of_memory();
}

static int check_kind(const struct kube_resource *resource, const cJSON *tree, struct error *err)
{
    const char *kind = resource->kind;
    if (!cJSON_IsObject(tree))
        return error_set(err, EINVAL, "it is %s, not an object", json_item_type_name(tree));
    int r = json_get_string(tree, "kind", NULL, &kind, err);
    if (r < 0)
        return r;
    if (strcmp(kind, resource->kind) != 0)
        return error_set(err, EINVAL, "its kind is '%s', not %s", kind, resource->kind);
    return 0;
}

static void complete_and_cut(const struct kube_cache_options *options, cJSON *tree)
{
    const struct kube_resource *resource = options->resource;
    char api_version[128];
    snprintf(api_version, sizeof(api_version), "%s%s%s", resource->group,
             *resource->group != '\0' ? "/" : "", resource->version);
    add_type_member(tree, "kind", resource->kind);
    add_type_member(tree, "apiVersion", api_version);
    cJSON_DeleteItemFromObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(tree, "metadata"),
                                            "managedFields");
    if (options->transform != NULL)
        options->transform(tree);
}

/* Puts text and fields into one block. */
static struct kube_object *pack(const char *text, size_t text_len,
                                const char *const field[FIELD_COUNT])
{
    size_t size = text_len + 1;
    for (unsigned i = 0; i < FIELD_COUNT; i++)
        size += strlen(field[i]) + 1;
    struct kube_object *object = malloc(sizeof(*object) + size);
    if (object == NULL)
        out_of_memory();
    atomic_init(&object->refs, 1);
    object->text_len = (uint32_t)text_len;
    memcpy(object->data, text, text_len + 1);
    size_t at = text_len + 1;
    for (unsigned i = 0; i < FIELD_COUNT; i++) {
        size_t len = strlen(field[i]) + 1;
        object->field[i] = (uint32_t)at;
        memcpy(object->data + at, field[i], len);
        at += len;
    }
    return object;
}

int kube_object_new(const struct kube_cache_options *options, cJSON *tree, struct kube_object **ret,
                    struct error *err)
{
    int r = check_kind(options->resource, tree, err);
    if (r < 0)
        return r;
    const char *field[FIELD_COUNT] = {"", "", "", ""};
    r = read_metadata(tree, field, err); /* as the server sent it: the transform may cut anything */
    if (r < 0)
        return r;
    complete_and_cut(options, tree);
    r = read_metadata(tree, field, err);
    if (r < 0) {
        error_wrap(err, "after the transform");
        return r;
    }
    for (unsigned i = 0; i < KUBE_INDEX_MAX; i++) {
        const char *value = options->index[i] != NULL ? options->index[i](tree) : NULL;
        field[INDEX_0 + i] = value != NULL ? value : "";
    }
    cleanup_free char *text = NULL;
    size_t len = 0;
    r = json_print(tree, &text, &len, err);
    if (r < 0)
        return r;
    if (len > KUBE_OBJECT_BYTES_MAX)
        return error_set(err, E2BIG, "%s/%s has %zu bytes", field[NAMESPACE], field[NAME], len);
    *ret = pack(text, len, field);
    return 0;
}

int kube_object_from_text(const struct kube_cache_options *options, const char *text, size_t len,
                          struct kube_object **ret, struct error *err)
{
    const struct json_limits limits = {.bytes = KUBE_OBJECT_BYTES_MAX};
    cleanup_json cJSON *tree = NULL;
    int r = json_parse(text, len, &limits, &tree, err);
    return r < 0 ? r : kube_object_new(options, tree, ret, err);
}

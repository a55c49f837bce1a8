// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as the body of a LIST. What is read must be one JSON value, and agree with a tree of
 * it; its items go into a store as objects.
 */
#include "reflector_list.h"
#include <podvisor/cleanup.h>
#include <podvisor/vec.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct kube_resource pods = {
    .group = "", .version = "v1", .plural = "pods", .kind = "Pod"};
static const struct kube_cache_options options = {.resource = &pods};

struct collected {
    VEC(struct kube_object *) objects;
    int items;
};

static void require(bool what)
{
    if (!what)
        abort();
}

static int take(void *user, const char *text, size_t len, struct error *err)
{
    struct collected *c = user;
    struct kube_object *object = NULL;
    c->items++;
    if (kube_object_from_text(&options, text, len, &object, err) == 0)
        *vec_add(&c->objects) = object;
    return 0;
}

static void compare(const char *body, size_t size, const struct kube_list_meta *meta, int items)
{
    cleanup_json cJSON *tree = NULL;
    /* The reader does not look for names that are there twice outside of what it reads. */
    if (json_parse(body, size, NULL, &tree, NULL) < 0)
        return;
    const cJSON *array = json_get(tree, "items");
    require(items == (array != NULL ? cJSON_GetArraySize(array) : 0));
    require(strcmp(kube_resource_version(tree), meta->version) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct kube_list_meta meta;
    struct collected c = {.items = 0};
    struct error err = ERROR_INIT;
    const char *body = (const char *)data;
    if (kube_list_read(body, size, take, &c, &meta, &err) == 0) {
        require(meta.version[0] != '\0');
        compare(body, size, &meta, c.items);
        struct kube_store *store = kube_store_new(NULL, NULL, NULL);
        kube_store_replace(store, c.objects.item, c.objects.count);
        require(kube_store_count(store) <= c.objects.count);
        kube_store_free(store);
    } else {
        for (size_t i = 0; i < c.objects.count; i++)
            kube_object_unref(c.objects.item[i]);
    }
    vec_free(&c.objects);
    return 0;
}

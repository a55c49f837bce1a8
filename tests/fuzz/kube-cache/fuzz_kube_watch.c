// SPDX-License-Identifier: Apache-2.0
/*
 * A watch's bytes, in pieces that the input chooses (its first byte), through lines, events,
 * objects and a store. The same bytes in one piece must give the same store.
 */
#include "store.h"
#include "watch_lines.h"
#include <podvisor/cleanup.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct kube_resource pods = {
    .group = "", .version = "v1", .plural = "pods", .kind = "Pod"};

static const char *index_uid(const cJSON *object)
{
    return kube_uid(object);
}

static const struct kube_cache_options options = {.resource = &pods, .index = {index_uid}};

static void require(bool what)
{
    if (!what)
        abort();
}

static int take_line(void *user, const char *line, size_t len)
{
    struct kube_store *store = user;
    enum kube_watch_type type = KUBE_WATCH_UNKNOWN;
    cleanup_json cJSON *tree = NULL;
    struct kube_object *object = NULL;
    struct error err = ERROR_INIT;
    require(memchr(line, '\n', len) == NULL);
    int r = kube_watch_event_read(line, len, &type, &tree, &err);
    if (r < 0)
        return r;
    if (tree == NULL || type > KUBE_WATCH_DELETED ||
        kube_object_new(&options, tree, &object, &err) < 0)
        return 0;
    if (type == KUBE_WATCH_DELETED)
        kube_store_delete(store, object);
    else
        kube_store_put(store, object);
    return 0;
}

static struct kube_store *feed(const char *bytes, size_t size, size_t piece, int *ret)
{
    struct kube_store *store = kube_store_new(NULL, NULL, NULL);
    struct kube_watch_lines lines = {.max = 64 << 10};
    *ret = 0;
    for (size_t at = 0; at < size && *ret == 0; at += piece) {
        size_t n = size - at < piece ? size - at : piece;
        *ret = kube_watch_lines_feed(&lines, bytes + at, n, take_line, store);
    }
    kube_watch_lines_done(&lines);
    return store;
}

static void compare(struct kube_store *a, struct kube_store *b)
{
    struct kube_object **list;
    size_t count = kube_store_list(a, NULL, -1, NULL, &list);
    require(count == kube_store_count(b));
    for (size_t i = 0; i < count; i++) {
        struct kube_object *other =
            kube_store_get(b, kube_object_namespace(list[i]), kube_object_name(list[i]));
        require(other != NULL && kube_object_same(other, list[i]));
        struct kube_object **same;
        size_t by_uid = kube_store_list(b, NULL, 0, kube_object_uid(list[i]), &same);
        require(by_uid >= 1);
        while (by_uid > 0)
            kube_object_unref(same[--by_uid]);
        free(same);
        kube_object_unref(other);
        kube_object_unref(list[i]);
    }
    free(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const char *bytes = (const char *)data + 1;
    int pieces = 0, whole = 0;
    struct kube_store *a = feed(bytes, size - 1, (size_t)data[0] + 1, &pieces);
    struct kube_store *b = feed(bytes, size - 1, SIZE_MAX, &whole);
    /* A line without end is over the bound sooner in pieces. */
    if (pieces != -E2BIG && whole != -E2BIG) {
        require(pieces == whole);
        compare(a, b);
    }
    kube_store_free(a);
    kube_store_free(b);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* Reader of LIST bodies; see reflector_list.h. One scan of the body, no tree of it. */
#include "reflector_list.h"
#include <podvisor/json_scan.h>

/* A string member into `buf`; null is none. */
static int read_string(const struct json_token *value, char *buf, size_t size, struct error *err)
{
    if (value->type == JSON_NULL)
        return 0;
    int r = json_token_string(value, buf, size, NULL, err);
    if (r < 0)
        error_wrap(err, "the list's metadata");
    return r;
}

static int read_metadata(struct json_scan *scan, const struct json_token *object,
                         struct kube_list_meta *meta, struct error *err)
{
    if (object->type != JSON_OBJECT)
        return error_set(err, EINVAL, "the list's metadata is %s", json_type_name(object->type));
    struct json_token name, value;
    int r;
    while ((r = json_scan_member(scan, &name, &value, err)) > 0) {
        if (json_token_is(&name, "resourceVersion"))
            r = read_string(&value, meta->version, sizeof(meta->version), err);
        else if (json_token_is(&name, "continue"))
            r = read_string(&value, meta->continue_, sizeof(meta->continue_), err);
        if (r >= 0)
            r = json_scan_skip(scan, &value, err);
        if (r < 0)
            return r;
    }
    return r;
}

static int read_items(struct json_scan *scan, const struct json_token *array, kube_list_item *item,
                      void *user, struct error *err)
{
    if (array->type == JSON_NULL) /* Go's empty list */
        return 0;
    if (array->type != JSON_ARRAY)
        return error_set(err, EINVAL, "the list's items are %s", json_type_name(array->type));
    for (size_t i = 0;; i++) {
        struct json_token token;
        int r = json_scan_next(scan, &token, err);
        if (r < 0 || token.type == JSON_ARRAY_END)
            return r;
        r = json_scan_pass(scan, &token, err); /* `item` checks it, and may do without it */
        if (r < 0)
            return r;
        r = item(user, scan->text + token.offset, scan->pos - token.offset, err);
        if (r < 0) {
            error_wrap(err, "items[%zu]", i);
            return r;
        }
    }
}

int kube_list_read(const char *body, size_t len, kube_list_item *item, void *user,
                   struct kube_list_meta *ret, struct error *err)
{
    /* The bound on names is for small texts; items are checked by who parses them. */
    const struct json_scan_limits limits = {.bytes = KUBE_LIST_BYTES_MAX, .names_by_caller = true};
    struct kube_list_meta meta = {.version = ""};
    struct json_scan scan;
    struct json_token name, value;
    bool has_items = false, has_metadata = false;
    json_scan_init(&scan, body, len, &limits);
    int r = json_scan_object(&scan, err);
    while (r == 0 && (r = json_scan_member(&scan, &name, &value, err)) > 0) {
        bool items = json_token_is(&name, "items");
        bool metadata = json_token_is(&name, "metadata");
        if ((items && has_items) || (metadata && has_metadata))
            return error_set(err, EINVAL, "the list has two members 'items' or 'metadata'");
        has_items = has_items || items;
        has_metadata = has_metadata || metadata;
        r = items      ? read_items(&scan, &value, item, user, err)
            : metadata ? read_metadata(&scan, &value, &meta, err)
                       : json_scan_skip(&scan, &value, err);
    }
    if (r < 0)
        return r;
    if (!has_items || meta.version[0] == '\0')
        return error_set(err, EINVAL, "the answer is no list: it has no %s",
                         has_items ? "metadata.resourceVersion" : "items");
    *ret = meta;
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* The verbs of podvisor/kube.h over kube_request_run(). Each runs on its caller's thread. */
#include "request.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/str.h>
#include <string.h>

#define FIELD_MANAGER "podvisor"
#define BODY_MAX      (64u << 20)
#define DISCOVERY_NS  (3 * NSEC_PER_SEC)

/* What one verb adds to a call. */
struct verb_use {
    enum kube_verb verb;
    enum kube_patch patch;
    const cJSON *object;
    const struct kube_call_options *options;
};

static const char *const patch_type[] = {
    [KUBE_PATCH_MERGE] = "application/merge-patch+json",
    [KUBE_PATCH_JSON] = "application/json-patch+json",
    [KUBE_PATCH_APPLY] = "application/apply-patch+yaml",
    [KUBE_PATCH_STRATEGIC] = "application/strategic-merge-patch+json",
};

static int make_path(const struct kube_call *call, const struct verb_use *use, char **ret,
                     struct error *err)
{
    bool create = use->verb == KUBE_VERB_POST;
    if (!call->resource->cluster_scoped && call->namespace_ == NULL)
        return error_set(err, EINVAL, "needs a namespace");
    if (!create && call->name == NULL)
        return error_set(err, EINVAL, "needs a name");
    char *path;
    int r = kube_resource_path(
        call->resource, call->resource->cluster_scoped ? NULL : call->namespace_,
        create && call->subresource == NULL ? NULL : call->name, call->subresource, &path, err);
    if (r < 0)
        return r;
    if (use->verb == KUBE_VERB_POST || use->verb == KUBE_VERB_PUT || use->verb == KUBE_VERB_PATCH)
        path = kube_url_add(path, "fieldManager", FIELD_MANAGER);
    if (use->verb == KUBE_VERB_PATCH && use->patch == KUBE_PATCH_APPLY)
        path = kube_url_add(path, "force", "true");
    *ret = path;
    return 0;
}

static int parse_answer(const char *body, size_t len, cJSON **ret, struct error *err)
{
    const struct json_limits limits = {.bytes = BODY_MAX};
    cleanup_json cJSON *object = NULL;
    if (json_parse(body, len, &limits, &object, err) < 0) {
        err->code = EIO;
        return error_wrap(err, "the answer is no JSON");
    }
    if (!cJSON_IsObject(object))
        return error_set(err, EIO, "the answer is %s, not an object", json_item_type_name(object));
    *ret = steal_ptr(object);
    return 0;
}

/*
 * A JSON patch that could not be applied (a "test" that failed, a path that is not there) was made
 * for another state of the object: the API says 422 without the details that a refused object has.
 */
static bool stale_patch(const struct verb_use *use, const struct kube_status *status)
{
    return use->verb == KUBE_VERB_PATCH && use->patch == KUBE_PATCH_JSON && status->code == 422 &&
           status->cause_field[0] == '\0' &&
           (strstr(status->message, "test") != NULL ||
            strstr(status->message, "error in our request") != NULL);
}

static int exchange(const struct kube_call *call, const struct verb_use *use, const char *path,
                    cJSON **ret, struct kube_status *status, struct error *err)
{
    cleanup_free char *body = NULL, *answer = NULL;
    size_t body_len = 0, answer_len = 0;
    int r = 0;
    if (use->object != NULL)
        r = json_print(use->object, &body, &body_len, err);
    if (r < 0)
        return r;
    struct kube_request request = {.client = call->client,
                                   .verb = use->verb,
                                   .path = path,
                                   .body = body,
                                   .body_len = body_len};
    if (body != NULL)
        request.content_type =
            use->verb == KUBE_VERB_PATCH ? patch_type[use->patch] : "application/json";
    if (use->options != NULL)
        request.options = *use->options;
    r = kube_request_run(&request, &answer, &answer_len, status, err);
    if (r == -EINVAL && stale_patch(use, status)) {
        err->code = EAGAIN;
        return -EAGAIN;
    }
    return r == 0 && ret != NULL ? parse_answer(answer, answer_len, ret, err) : r;
}

/* "PATCH virtualmachines/status default/foo" before the error. */
static int say_what(const struct kube_call *call, const struct verb_use *use, struct error *err)
{
    const char *name = call->name != NULL ? call->name : kube_name(use->object);
    const char *namespace_ = call->resource->cluster_scoped ? NULL : call->namespace_;
    return error_wrap(err, "%s %s%s%s%s%s%s%s", kube_verb_names[use->verb], call->resource->plural,
                      call->subresource != NULL ? "/" : "",
                      call->subresource != NULL ? call->subresource : "", *name != '\0' ? " " : "",
                      namespace_ != NULL ? namespace_ : "", namespace_ != NULL ? "/" : "", name);
}

static int run(const struct kube_call *call, const struct verb_use *use, cJSON **ret,
               struct error *err)
{
    struct kube_status own, *status = call->status != NULL ? call->status : &own;
    struct error own_error = ERROR_INIT;
    struct error *e = err != NULL ? err : &own_error; /* its code is our answer */
    *status = (struct kube_status){.code = 0};
    cleanup_free char *path = NULL;
    int r = make_path(call, use, &path, e);
    if (r == 0)
        r = exchange(call, use, path, ret, status, e);
    if (r < 0)
        say_what(call, use, e);
    return r;
}

int kube_get(const struct kube_call *call, cJSON **ret, struct error *err)
{
    return run(call, &(struct verb_use){.verb = KUBE_VERB_GET}, ret, err);
}

int kube_create(const struct kube_call *call, const cJSON *object, cJSON **ret, struct error *err)
{
    return run(call, &(struct verb_use){.verb = KUBE_VERB_POST, .object = object}, ret, err);
}

int kube_update(const struct kube_call *call, const cJSON *object, cJSON **ret, struct error *err)
{
    return run(call, &(struct verb_use){.verb = KUBE_VERB_PUT, .object = object}, ret, err);
}

int kube_patch(const struct kube_call *call, enum kube_patch kind, const cJSON *patch, cJSON **ret,
               struct error *err)
{
    return run(call, &(struct verb_use){.verb = KUBE_VERB_PATCH, .patch = kind, .object = patch},
               ret, err);
}

int kube_call_with(const struct kube_call *call, const struct kube_call_options *options,
                   enum kube_verb verb, const cJSON *object, cJSON **ret, struct error *err)
{
    return run(call,
               &(struct verb_use){
                   .verb = verb, .patch = KUBE_PATCH_MERGE, .object = object, .options = options},
               ret, err);
}

int kube_discover(struct kube_client *client, const char *group, const char *version, cJSON **ret,
                  struct error *err)
{
    struct error own_error = ERROR_INIT;
    struct error *e = err != NULL ? err : &own_error; /* its code is our answer */
    struct kube_status status = {.code = 0};
    /* Whoever asks can ask again, and must not be held for long. */
    const struct kube_call_options once = {.no_retry = true, .timeout_ns = DISCOVERY_NS};
    cleanup_free char *g = kube_percent_encode(group, '\0');
    cleanup_free char *v = kube_percent_encode(version, '\0');
    cleanup_free char *path = xasprintf("/apis/%s/%s", g, v);
    const struct kube_call call = {.client = client};
    int r = exchange(&call, &(struct verb_use){.verb = KUBE_VERB_GET, .options = &once}, path, ret,
                     &status, e);
    return r < 0 ? error_wrap(e, "GET %s", path) : 0;
}

/* --- delete ----------------------------------------------------------------------------------- */

static void add(cJSON *object, const char *key, cJSON *item)
{
    if (item == NULL || !cJSON_AddItemToObject(object, key, item))
        out_of_memory();
}

static cJSON *delete_options(const struct kube_delete_options *options)
{
    cJSON *body = cJSON_CreateObject();
    add(body, "apiVersion", cJSON_CreateString("v1"));
    add(body, "kind", cJSON_CreateString("DeleteOptions"));
    if (options->uid != NULL) {
        cJSON *preconditions = cJSON_CreateObject();
        add(body, "preconditions", preconditions);
        add(preconditions, "uid", cJSON_CreateString(options->uid));
    }
    if (options->grace_seconds >= 0)
        add(body, "gracePeriodSeconds", json_create_int64(options->grace_seconds));
    if (options->propagation != NULL)
        add(body, "propagationPolicy", cJSON_CreateString(options->propagation));
    return body;
}

int kube_delete(const struct kube_call *call, const struct kube_delete_options *options,
                struct error *err)
{
    cleanup_json cJSON *body = options != NULL ? delete_options(options) : NULL;
    int r = run(call, &(struct verb_use){.verb = KUBE_VERB_DELETE, .object = body}, NULL, err);
    if (r == -ENOENT && err != NULL)
        *err = ERROR_INIT;
    return r == -ENOENT ? 0 : r;
}

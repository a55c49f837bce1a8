// SPDX-License-Identifier: Apache-2.0
/*
 * A Kubernetes API client over libcurl: where the cluster is and who we are (in-cluster service
 * account with token rotation, or kubeconfig with client certificates, tokens, exec plugins), and
 * requests that wait for their answer. HTTP/1.1 only, a connection per calling thread that is kept.
 *
 * Threads: configuration and client are shared by all; a call blocks its thread. Watches have
 * their own thread: podvisor/kube_cache.h.
 */
#ifndef PODVISOR_KUBE_H
#define PODVISOR_KUBE_H

#include <podvisor/error.h>
#include <podvisor/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A kind of objects and where the API has it. Static data of the callers'. */
struct kube_resource {
    const char *group;   /* "": core */
    const char *version; /* "v1" */
    const char *plural;  /* "virtualmachines" */
    const char *kind;    /* "VirtualMachine" */
    bool cluster_scoped;
};

struct kube_config_options {
    const char
        *kubeconfig;     /* NULL: $KUBECONFIG, else in-cluster when in a pod, else ~/.kube/config */
    const char *context; /* NULL: current-context */
    const char *user_agent; /* "podvisor-operator/0.1.0" */
};

struct kube_client;

/*
 * Reads the configuration and makes a client. Credentials are read again from their files while it
 * lives (token: each minute and after a 401; certificates, CA: every 5 minutes). No request is
 * made. `qps` and `burst` bound the calls of all threads together (0: 200 and 400); lease renewals
 * pass.
 */
int kube_client_new(const struct kube_config_options *options, unsigned qps, unsigned burst,
                    struct kube_client **ret, struct error *err);
void kube_client_free(struct kube_client *client);

/*
 * For a shutdown that cannot wait: calls that are under way or waiting end with -ECANCELED, new
 * ones are refused with it; lease calls still pass. Any thread. There is no way back.
 */
void kube_client_interrupt(struct kube_client *client);

/* The namespace of the service account or context; "default" when neither names one. */
const char *kube_client_namespace(const struct kube_client *client);

/* "https://10.96.0.1:443": for messages. */
const char *kube_client_server(const struct kube_client *client);

/* What the API answered when it refused: its Status object, or as much of it as there was. */
struct kube_status {
    int code;        /* HTTP status; 0: no answer (connection, timeout) */
    char reason[64]; /* "NotFound", "AlreadyExists", "Conflict", "Expired"...; "" unknown */
    char message[512];
    char cause_field[256]; /* details.causes[0].field; "" none */
    unsigned retry_after;  /* seconds; 0: not said */
};

enum kube_patch {
    KUBE_PATCH_MERGE, /* application/merge-patch+json */
    KUBE_PATCH_JSON,  /* application/json-patch+json */
    KUBE_PATCH_APPLY, /* server-side apply, fieldManager "podvisor", force */
    KUBE_PATCH_STRATEGIC,
};

struct kube_call {
    struct kube_client *client;
    const struct kube_resource *resource;
    const char *namespace_;     /* NULL for cluster-scoped kinds */
    const char *name;           /* NULL for create */
    const char *subresource;    /* "status"; NULL: none */
    struct kube_status *status; /* may be NULL; `code` of every answer, the rest on refusal */
};

/*
 * One request each. `ret` may be NULL; else *ret is the answered object, the caller's. They return
 * 0 or: -ENOENT (404), -EEXIST (409 AlreadyExists), -EAGAIN (409 Conflict, or a JSON patch whose
 * "test" failed: 422), -EACCES (401, 403), -EINVAL (400, 422), -EDQUOT (403 by a quota),
 * -EBUSY (429 and 5xx after the retries, as client-go rest/with_retry.go makes them), -EIO or
 * -ETIMEDOUT (no answer). `err` says method, resource, name and the server's words.
 */
int kube_get(const struct kube_call *call, cJSON **ret, struct error *err);
int kube_create(const struct kube_call *call, const cJSON *object, cJSON **ret, struct error *err);
int kube_update(const struct kube_call *call, const cJSON *object, cJSON **ret, struct error *err);
int kube_patch(const struct kube_call *call, enum kube_patch kind, const cJSON *patch, cJSON **ret,
               struct error *err);

struct kube_delete_options {
    const char *uid;         /* precondition; NULL: none */
    int64_t grace_seconds;   /* -1: the object's own */
    const char *propagation; /* "Background", "Foreground", "Orphan"; NULL: the kind's default */
};

/* 404 is success: it is gone. `options` may be NULL. */
int kube_delete(const struct kube_call *call, const struct kube_delete_options *options,
                struct error *err);

/*
 * What is served of a group and version: an APIResourceList in *ret, the caller's. Discovery, which
 * every client that is authenticated may read. One try of 3 s. -ENOENT: nothing of it.
 */
int kube_discover(struct kube_client *client, const char *group, const char *version, cJSON **ret,
                  struct error *err);

#define KUBE_VERB_COUNT 7 /* GET LIST WATCH POST PUT PATCH DELETE */

/* Counters for /metrics, any thread: requests by verb and status class, retries, waits. */
struct kube_client_stats {
    /* By kube_verb_names; then by class: 0 no answer, 1 to 5 for 1xx to 5xx. */
    uint64_t requests[KUBE_VERB_COUNT][6];
    uint64_t retries;
    uint64_t throttled_ns; /* time spent waiting for the rate limit */
};
void kube_client_stats(struct kube_client *client, struct kube_client_stats *ret);
extern const char *const kube_verb_names[KUBE_VERB_COUNT];

/* Meta data of objects: borrowed strings, "" when absent. */
const char *kube_name(const cJSON *object);
const char *kube_namespace(const cJSON *object);
const char *kube_uid(const cJSON *object);
const char *kube_resource_version(const cJSON *object);
const char *kube_label(const cJSON *object, const char *key);      /* NULL: none */
const char *kube_annotation(const cJSON *object, const char *key); /* NULL: none */
/* As k8s.io/apimachinery's IsValidLabelValue: others are refused with the whole object. */
bool kube_is_label_value(const char *text);
bool kube_deleting(const cJSON *object); /* has a deletionTimestamp */
bool kube_has_finalizer(const cJSON *object, const char *finalizer);
/* metadata.ownerReferences with controller: true; NULL: none. */
const cJSON *kube_controller_ref(const cJSON *object);
/* An ownerReferences item: controller and blockOwnerDeletion true. The caller's. */
cJSON *kube_make_owner_ref(const struct kube_resource *owner_kind, const cJSON *owner);
/* The item of status.conditions (or any such array) with this type; NULL: none. */
const cJSON *kube_condition(const cJSON *conditions, const char *type);

/* Walks "spec.template.spec" through objects; NULL when any is absent. */
const cJSON *kube_path(const cJSON *object, const char *dotted_path);
/* Deep equality as the API sees it: member order does not matter, numbers by value. */
bool kube_equal(const cJSON *a, const cJSON *b);

#define KUBE_TIME_SIZE 32
/* RFC 3339: seconds ("2026-01-02T03:04:05Z") and MicroTime ("...05.000000Z"). Wall clock, ns. */
const char *kube_time(int64_t unix_ns, char buf[KUBE_TIME_SIZE]);
const char *kube_micro_time(int64_t unix_ns, char buf[KUBE_TIME_SIZE]);
/* -EINVAL when it is none. */
int kube_time_parse(const char *text, int64_t *ret_unix_ns);

#endif

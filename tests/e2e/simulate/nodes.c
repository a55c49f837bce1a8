// SPDX-License-Identifier: Apache-2.0
/*
 * Kubelets that run nothing. Threads: the caches' own fills the queue, workers write pod status,
 * main sends the nodes' heartbeats.
 */
#include "kinds.h"
#include "simulate.h"
#include "tree.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/kube_cache.h>
#include <podvisor/kube_queue.h>
#include <podvisor/log.h>
#include <podvisor/str.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define WORKERS           8
#define HEARTBEAT_SECONDS 10
#define SYNC_NS           (60 * NSEC_PER_SEC)
/* No kubelet has a container running sooner; by then the readiness gate's condition is there. */
#define START_NS NSEC_PER_SEC

struct kubelets {
    struct kube_client *client;
    struct kube_caches *caches;
    struct kube_cache *pods;
    struct kube_queue *queue;
    pthread_t worker[WORKERS];
    atomic_uint next_address;
    unsigned count;
};

static void node_name(char ret[32], unsigned i)
{
    snprintf(ret, 32, "simulated-%u", i);
}

static int64_t wall_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static cJSON *condition(cJSON *list, const char *type, const char *status)
{
    char time[KUBE_TIME_SIZE];
    cJSON *item = tree_push(list, tree_object());
    tree_put_string(item, "type", type);
    tree_put_string(item, "status", status);
    tree_put_string(item, "lastTransitionTime", kube_time(wall_clock(), time));
    return item;
}

/* --- nodes --- */

static cJSON *node_status(void)
{
    static const char *const resources[][2] = {{"cpu", "1000"},
                                               {"memory", "16Ti"},
                                               {"pods", "2000"},
                                               {"ephemeral-storage", "16Ti"},
                                               {"devices.kubevirt.io/kvm", "2000"},
                                               {"devices.kubevirt.io/tun", "2000"}};
    char time[KUBE_TIME_SIZE];
    cJSON *object = tree_object();
    cJSON *status = tree_put(object, "status", tree_object());
    cJSON *ready = condition(tree_put(status, "conditions", tree_array()), "Ready", "True");
    tree_put_string(ready, "reason", "KubeletReady");
    tree_put_string(ready, "lastHeartbeatTime", kube_time(wall_clock(), time));
    for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++) {
        tree_put_string(tree_need_object(status, "capacity"), resources[i][0], resources[i][1]);
        tree_put_string(tree_need_object(status, "allocatable"), resources[i][0], resources[i][1]);
    }
    return object;
}

static int make_node(struct kubelets *k, unsigned i, struct error *err)
{
    char name[32];
    node_name(name, i);
    cleanup_json cJSON *node = tree_object();
    tree_put_string(node, "apiVersion", "v1");
    tree_put_string(node, "kind", "Node");
    cJSON *meta = tree_put(node, "metadata", tree_object());
    tree_put_string(meta, "name", name);
    cJSON *labels = tree_put(meta, "labels", tree_object());
    tree_put_string(labels, SIMULATED_LABEL, "true");
    tree_put_string(labels, LABEL_SCHEDULABLE, "true");
    tree_put_string(labels, "kubernetes.io/arch", "amd64");
    tree_put_string(labels, "kubernetes.io/hostname", name);
    struct kube_call call = {.client = k->client, .resource = &kind_node};
    int r = kube_create(&call, node, NULL, err);
    return r == -EEXIST ? 0 : r;
}

static int heartbeat(struct kubelets *k, struct error *err)
{
    cleanup_json cJSON *status = node_status();
    for (unsigned i = 0; i < k->count; i++) {
        char name[32];
        node_name(name, i);
        struct kube_call call = {
            .client = k->client, .resource = &kind_node, .name = name, .subresource = "status"};
        int r = kube_patch(&call, KUBE_PATCH_STRATEGIC, status, NULL, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The taint that a node gets before its first heartbeat. */
static void remove_taints(struct kubelets *k)
{
    cleanup_json cJSON *patch = tree_object();
    cJSON *spec = tree_put(patch, "spec", tree_object());
    tree_put(spec, "taints", cJSON_CreateNull());
    for (unsigned i = 0; i < k->count; i++) {
        char name[32];
        node_name(name, i);
        struct kube_call call = {.client = k->client, .resource = &kind_node, .name = name};
        (void)kube_patch(&call, KUBE_PATCH_MERGE, patch, NULL, NULL);
    }
}

static void delete_nodes(struct kubelets *k)
{
    for (unsigned i = 0; i < k->count; i++) {
        char name[32];
        struct error err = ERROR_INIT;
        node_name(name, i);
        struct kube_call call = {.client = k->client, .resource = &kind_node, .name = name};
        if (kube_delete(&call, NULL, &err) < 0)
            log_warn("simulate", "%s", err.text);
    }
}

/* --- pods --- */

static cJSON *container_statuses(const cJSON *names, const char *state)
{
    char time[KUBE_TIME_SIZE];
    cJSON *list = tree_array();
    json_for_each (container, names) {
        cJSON *item = tree_push(list, tree_object());
        tree_put_copy(item, "name", json_get(container, "name"));
        tree_put_copy(item, "image", json_get(container, "image"));
        tree_put_string(item, "imageID", "");
        tree_put_int(item, "restartCount", 0);
        bool running = strcmp(state, "running") == 0;
        tree_put_bool(item, "ready", running);
        cJSON *in = tree_put(tree_put(item, "state", tree_object()), state, tree_object());
        if (running)
            tree_put_string(in, "startedAt", kube_time(wall_clock(), time));
        else
            tree_put_int(in, "exitCode", 0);
    }
    return list;
}

static int patch_status(struct kubelets *k, const cJSON *pod, cJSON *status, struct error *err)
{
    cleanup_json cJSON *patch = tree_object();
    tree_put(patch, "status", status);
    struct kube_call call = {.client = k->client,
                             .resource = &kind_pod,
                             .namespace_ = kube_namespace(pod),
                             .name = kube_name(pod),
                             .subresource = "status"};
    cleanup_json cJSON *answer = NULL;
    int r = kube_patch(&call, KUBE_PATCH_STRATEGIC, patch, &answer, err);
    if (r == 0)
        kube_cache_learn(k->pods, answer);
    return r == -ENOENT ? 0 : r;
}

/* How long the pod's start still takes, from when it was bound to its node. */
static uint64_t start_takes(const cJSON *pod)
{
    const cJSON *bound = kube_condition(kube_path(pod, "status.conditions"), "PodScheduled");
    int64_t since, now = wall_clock();
    if (kube_time_parse(tree_text(json_get(bound, "lastTransitionTime"), ""), &since) < 0)
        return 0;
    int64_t left = since + (int64_t)START_NS - now;
    return left > 0 ? (uint64_t)left : 0;
}

static bool is(const cJSON *pod, const char *type)
{
    const cJSON *item = kube_condition(kube_path(pod, "status.conditions"), type);
    return strcmp(tree_text(json_get(item, "status"), ""), "True") == 0;
}

static int run_pod(struct kubelets *k, const cJSON *pod, struct error *err)
{
    unsigned n = atomic_fetch_add(&k->next_address, 1);
    cJSON *status = tree_object();
    tree_put_string(status, "phase", "Running");
    tree_put_format(status, "podIP", "10.200.%u.%u", n / 250 % 250, n % 250 + 1);
    cJSON *ips = tree_put(status, "podIPs", tree_array());
    tree_put_copy(tree_push(ips, tree_object()), "ip", json_get(status, "podIP"));
    tree_put(status, "containerStatuses",
             container_statuses(kube_path(pod, "spec.containers"), "running"));
    cJSON *conditions = tree_put(status, "conditions", tree_array());
    condition(conditions, "Initialized", "True");
    condition(conditions, "ContainersReady", "True");
    condition(conditions, "Ready", is(pod, READINESS_GATE) ? "True" : "False");
    return patch_status(k, pod, status, err);
}

static int ready_pod(struct kubelets *k, const cJSON *pod, struct error *err)
{
    cJSON *status = tree_object();
    condition(tree_put(status, "conditions", tree_array()), "Ready", "True");
    return patch_status(k, pod, status, err);
}

static int end_pod(struct kubelets *k, const cJSON *pod, struct error *err)
{
    struct kube_delete_options now = {.uid = kube_uid(pod), .grace_seconds = 0};
    struct kube_call call = {.client = k->client,
                             .resource = &kind_pod,
                             .namespace_ = kube_namespace(pod),
                             .name = kube_name(pod)};
    cJSON *status = tree_object();
    tree_put_string(status, "phase", "Succeeded");
    tree_put(status, "containerStatuses",
             container_statuses(kube_path(pod, "spec.containers"), "terminated"));
    int r = patch_status(k, pod, status, err);
    return r == 0 ? kube_delete(&call, &now, err) : r;
}

static int sync_pod(struct kubelets *k, const char *key, const cJSON *pod, struct error *err)
{
    uint64_t takes = start_takes(pod);
    const char *phase = tree_text(kube_path(pod, "status.phase"), "");
    if (!str_starts_with(tree_text(kube_path(pod, "spec.nodeName"), ""), "simulated-"))
        return 0;
    if (kube_deleting(pod))
        return end_pod(k, pod, err);
    if (strcmp(phase, "Pending") == 0 && takes > 0) {
        kube_queue_add_after(k->queue, key, takes);
        return 0;
    }
    if (strcmp(phase, "Pending") == 0)
        return run_pod(k, pod, err);
    if (strcmp(phase, "Running") == 0 && !is(pod, "Ready") && is(pod, READINESS_GATE))
        return ready_pod(k, pod, err);
    return 0;
}

static void sync_key(struct kubelets *k, const char *key)
{
    char namespace_[KUBE_KEY_MAX], name[KUBE_KEY_MAX];
    struct error err = ERROR_INIT;
    cleanup_json cJSON *pod = NULL;
    kube_key_split(key, namespace_, name);
    struct kube_object *object = kube_cache_get(k->pods, namespace_, name);
    if (object == NULL)
        return;
    int r = kube_object_parse(object, &pod, &err);
    kube_object_unref(object);
    if (r == 0)
        r = sync_pod(k, key, pod, &err);
    if (r == 0) {
        kube_queue_forget(k->queue, key);
        return;
    }
    log_warn("simulate", "%s", err.text);
    kube_queue_add_limited(k->queue, key);
}

static void *work(void *arg)
{
    struct kubelets *k = arg;
    char key[KUBE_KEY_MAX];
    while (kube_queue_get(k->queue, key)) {
        sync_key(k, key);
        kube_queue_done(k->queue, key);
    }
    return NULL;
}

static void pod_changed(void *user, struct kube_object *old, struct kube_object *now)
{
    struct kubelets *k = user;
    char key[KUBE_KEY_MAX];
    (void)old;
    if (now == NULL)
        return;
    kube_key(key, kube_object_namespace(now), kube_object_name(now));
    kube_queue_add(k->queue, key);
}

/* --- life --- */

static int start(struct kubelets *k, struct error *err)
{
    struct kube_cache_options pods = {.resource = &kind_pod,
                                      .label_selector = LABEL_APP "=" LABEL_APP_LAUNCHER,
                                      .changed = pod_changed,
                                      .user = k};
    int r = 0;
    for (unsigned i = 0; r == 0 && i < k->count; i++)
        r = make_node(k, i, err);
    if (r == 0)
        r = heartbeat(k, err);
    if (r == 0)
        r = kube_caches_new(k->client, &k->caches, err);
    if (r < 0)
        return r;
    remove_taints(k);
    k->queue = kube_queue_new("kubelets", NULL);
    k->pods = kube_caches_add(k->caches, &pods);
    r = kube_caches_start(k->caches, err);
    if (r == 0 && !kube_caches_wait_synced(k->caches, SYNC_NS))
        r = error_set(err, ETIMEDOUT, "the API server did not list the pods");
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_create(&k->worker[i], NULL, work, k);
    return r;
}

static void stop(struct kubelets *k)
{
    if (k->queue != NULL) {
        kube_queue_shut_down(k->queue);
        for (unsigned i = 0; i < WORKERS; i++)
            pthread_join(k->worker[i], NULL);
    }
    if (k->caches != NULL)
        kube_caches_free(k->caches);
    if (k->queue != NULL)
        kube_queue_free(k->queue);
    delete_nodes(k);
}

int simulate_nodes(struct kube_client *client, unsigned count, struct error *err)
{
    struct kubelets k = {.client = client, .count = count};
    struct timespec beat = {HEARTBEAT_SECONDS, 0};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    int r = start(&k, err);
    if (r == 0) {
        printf("ready\n");
        fflush(stdout);
    }
    while (r == 0 && sigtimedwait(&set, NULL, &beat) < 0)
        r = heartbeat(&k, err);
    stop(&k);
    return r;
}

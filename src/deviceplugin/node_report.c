// SPDX-License-Identifier: Apache-2.0
/*
 * The report of node_report.h. `lock` guards what the loop's thread says and the report's thread
 * reads; the thread owns the API client.
 */
#include "node_report.h"
#include "device.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/json.h>
#include <podvisor/kube.h>
#include <podvisor/log.h>
#include <podvisor/str.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define RETRY_MIN_NS (2 * NSEC_PER_SEC)
#define CALLS_QPS    2
#define CALLS_BURST  4

struct node_state {
    bool schedulable;
    char reason[DEVICE_REASON_MAX];
};

struct node_report {
    const char *node_name, *kubeconfig;
    uint64_t heartbeat_ns;
    pthread_t thread;
    atomic_bool done;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct node_state state;
    unsigned generation; /* of `state`; 0: nothing is known yet */
    bool finish;
    /* the thread's own */
    struct kube_client *client;
    char complaint[ERROR_TEXT_MAX];
    uint64_t retry_ns;
};

static cJSON *member(cJSON *parent, const char *name)
{
    cJSON *object = cJSON_AddObjectToObject(parent, name);
    if (object == NULL)
        out_of_memory();
    return object;
}

static void add_text(cJSON *parent, const char *name, const char *text)
{
    const cJSON *item = text != NULL ? cJSON_AddStringToObject(parent, name, text)
                                     : cJSON_AddNullToObject(parent, name);
    if (item == NULL)
        out_of_memory();
}

static cJSON *make_patch(bool schedulable, const char *reason, const char *heartbeat)
{
    cJSON *patch = cJSON_CreateObject();
    if (patch == NULL)
        out_of_memory();
    cJSON *metadata = member(patch, "metadata");
    add_text(member(metadata, "labels"), "kubevirt.io/schedulable", schedulable ? "true" : "false");
    cJSON *annotations = member(metadata, "annotations");
    add_text(annotations, "kubevirt.io/heartbeat", heartbeat);
    add_text(annotations, "podvisor.io/kvm", reason[0] != '\0' ? reason : NULL);
    return patch;
}

char *node_report_patch_text(bool schedulable, const char *reason, const char *heartbeat)
{
    cleanup_json cJSON *patch = make_patch(schedulable, reason, heartbeat);
    char *text;
    if (json_print(patch, &text, NULL, NULL) < 0)
        out_of_memory();
    return text;
}

static int write_node(struct node_report *report, const struct node_state *state, struct error *err)
{
    static const struct kube_resource nodes = {"", "v1", "nodes", "Node", true};
    static const struct kube_config_options identity = {
        .user_agent = "podvisor-device-plugin/" PODVISOR_VERSION};
    if (report->client == NULL) {
        struct kube_config_options options = identity;
        options.kubeconfig = report->kubeconfig;
        int r = kube_client_new(&options, CALLS_QPS, CALLS_BURST, &report->client, err);
        if (r < 0)
            return r;
    }
    struct timespec now;
    char heartbeat[KUBE_TIME_SIZE];
    clock_gettime(CLOCK_REALTIME, &now);
    kube_time((int64_t)now.tv_sec * (int64_t)NSEC_PER_SEC + now.tv_nsec, heartbeat);
    cleanup_json cJSON *patch = make_patch(state->schedulable, state->reason, heartbeat);
    const struct kube_call call = {
        .client = report->client, .resource = &nodes, .name = report->node_name};
    return kube_patch(&call, KUBE_PATCH_MERGE, patch, NULL, err);
}

/* One attempt; returns the time of the next one. */
static uint64_t report_once(struct node_report *report, const struct node_state *state)
{
    struct error err = ERROR_INIT;
    if (write_node(report, state, &err) == 0) {
        report->complaint[0] = '\0';
        report->retry_ns = RETRY_MIN_NS;
        return clock_now_ns() + report->heartbeat_ns;
    }
    if (strcmp(report->complaint, err.text) != 0) {
        snprintf(report->complaint, sizeof(report->complaint), "%s", err.text);
        log_warn("node", "cannot label node %s: %s; trying again until it works", report->node_name,
                 err.text);
    }
    uint64_t next = clock_now_ns() + report->retry_ns;
    report->retry_ns *= 2;
    if (report->retry_ns > report->heartbeat_ns)
        report->retry_ns = report->heartbeat_ns;
    return next;
}

static void wait_until(struct node_report *report, uint64_t deadline_ns)
{
    struct timespec ts = {.tv_sec = (time_t)(deadline_ns / NSEC_PER_SEC),
                          .tv_nsec = (long)(deadline_ns % NSEC_PER_SEC)};
    pthread_cond_timedwait(&report->changed, &report->lock, &ts);
}

static void *report_thread(void *arg)
{
    struct node_report *report = arg;
    unsigned attempted = 0;
    uint64_t next = UINT64_MAX / 2; /* nothing is known */
    pthread_mutex_lock(&report->lock);
    for (bool last = false; !last;) {
        while (!report->finish && report->generation == attempted && clock_now_ns() < next)
            wait_until(report, next);
        struct node_state state = report->state;
        attempted = report->generation;
        last = report->finish;
        pthread_mutex_unlock(&report->lock);
        next = report_once(report, &state);
        pthread_mutex_lock(&report->lock);
    }
    pthread_mutex_unlock(&report->lock);
    atomic_store(&report->done, true);
    return NULL;
}

int node_report_start(const char *node_name, const char *kubeconfig, unsigned heartbeat_s,
                      struct node_report **ret, struct error *err)
{
    struct node_report *report = xcalloc(1, sizeof(*report));
    pthread_condattr_t attr;
    report->node_name = node_name;
    report->kubeconfig = kubeconfig;
    report->heartbeat_ns = heartbeat_s * NSEC_PER_SEC;
    report->retry_ns = RETRY_MIN_NS;
    pthread_mutex_init(&report->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&report->changed, &attr);
    pthread_condattr_destroy(&attr);
    int code = pthread_create(&report->thread, NULL, report_thread, report);
    if (code != 0) {
        free(report);
        return error_sys(err, code, "cannot start the thread that labels the node");
    }
    *ret = report;
    return 0;
}

static void set_state(struct node_report *report, bool schedulable, const char *reason)
{
    struct node_state *state = &report->state;
    if (report->generation > 0 && state->schedulable == schedulable &&
        strcmp(state->reason, reason) == 0)
        return;
    state->schedulable = schedulable;
    snprintf(state->reason, sizeof(state->reason), "%s", reason);
    report->generation++;
    pthread_cond_signal(&report->changed);
}

void node_report_set(struct node_report *report, bool schedulable, const char *reason)
{
    if (report == NULL)
        return;
    pthread_mutex_lock(&report->lock);
    set_state(report, schedulable, reason);
    pthread_mutex_unlock(&report->lock);
}

void node_report_finish(struct node_report *report)
{
    if (report == NULL)
        return;
    pthread_mutex_lock(&report->lock);
    set_state(report, false, "the device plugin is not running on this node");
    report->finish = true;
    pthread_cond_signal(&report->changed);
    pthread_mutex_unlock(&report->lock);
}

bool node_report_is_done(const struct node_report *report)
{
    return report == NULL || atomic_load(&report->done);
}

void node_report_free(struct node_report *report)
{
    if (report == NULL)
        return;
    if (!atomic_load(&report->done)) {
        pthread_detach(report->thread);
        return;
    }
    pthread_join(report->thread, NULL);
    kube_client_free(report->client);
    pthread_cond_destroy(&report->changed);
    pthread_mutex_destroy(&report->lock);
    free(report);
}

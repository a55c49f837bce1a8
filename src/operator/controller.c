// SPDX-License-Identifier: Apache-2.0
/* Workers of a controller, and the calls that both controllers make. */
#include "operator.h"
#include "tree.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/log.h>
#include <time.h>

int64_t operator_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int operator_look_up(struct kube_cache *cache, const char *namespace_, const char *name,
                     cJSON **ret, struct error *err)
{
    struct kube_object *object = kube_cache_get(cache, namespace_, name);
    int r = 0;
    *ret = NULL;
    if (object != NULL)
        r = kube_object_parse(object, ret, err);
    kube_object_unref(object);
    return r;
}

static void reconcile_key(struct controller *controller, const char *key)
{
    char namespace_[KUBE_KEY_MAX], name[KUBE_KEY_MAX];
    struct error err = ERROR_INIT;
    uint64_t started = clock_now_ns();
    kube_key_split(key, namespace_, name);
    int r = controller->reconcile(controller->op, namespace_, name, &err);
    atomic_fetch_add(&controller->time_ns, clock_now_ns() - started);
    if (r == 0) {
        atomic_fetch_add(&controller->succeeded, 1);
        kube_queue_forget(controller->queue, key);
        return;
    }
    atomic_fetch_add(&controller->failed, 1);
    struct log_field fields[] = {LOG_STR("key", key)};
    /* A conflict is how two writers meet; the next look at the object settles it. */
    log_write(r == -EAGAIN ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN, controller->name, fields, 1, "%s",
              err.text);
    kube_queue_add_limited(controller->queue, key);
}

static void *work(void *arg)
{
    struct controller *controller = arg;
    char key[KUBE_KEY_MAX];
    while (kube_queue_get(controller->queue, key)) {
        reconcile_key(controller, key);
        kube_queue_done(controller->queue, key);
    }
    return NULL;
}

void controllers_init(struct operator* op)
{
    op->vm = (struct controller){.name = "vm", .op = op, .reconcile = vm_reconcile};
    op->vmi = (struct controller){.name = "vmi", .op = op, .reconcile = vmi_reconcile};
    op->vm.queue = kube_queue_new("vm", NULL);
    op->vmi.queue = kube_queue_new("vmi", NULL);
}

int controller_start(struct controller *controller, unsigned workers, struct error *err)
{
    for (unsigned i = 0; i < workers && i < WORKERS_MAX; i++) {
        int r = pthread_create(&controller->worker[i], NULL, work, controller);
        if (r != 0)
            return error_sys(err, r, "cannot start a worker of controller %s", controller->name);
        controller->worker_count = i + 1;
    }
    return 0;
}

static void join_workers(struct controller *controller)
{
    for (unsigned i = 0; i < controller->worker_count; i++)
        pthread_join(controller->worker[i], NULL);
    controller->worker_count = 0;
}

void controllers_stop(struct operator* op)
{
    kube_queue_shut_down(op->vm.queue);
    kube_queue_shut_down(op->vmi.queue);
    join_workers(&op->vm);
    join_workers(&op->vmi);
}

void controllers_done(struct operator* op)
{
    kube_queue_free(op->vm.queue);
    kube_queue_free(op->vmi.queue);
}

void operator_send_events(struct operator* op, const struct kube_resource *kind,
                          const cJSON *regarding, const struct planned_events *events)
{
    for (size_t i = 0; i < events->list.count; i++) {
        const struct planned_event *event = &events->list.item[i];
        kube_event(op->events, kind, regarding, event->warning, event->reason, event->action, "%s",
                   event->note);
    }
}

int operator_update(struct operator* op, const struct kube_resource *kind, const char *subresource,
                    const cJSON *from, const cJSON *to, cJSON **ret, struct error *err)
{
    struct kube_call call = {.client = op->client,
                             .resource = kind,
                             .namespace_ = kube_namespace(from),
                             .name = kube_name(from),
                             .subresource = subresource};
    cleanup_json cJSON *body = NULL;
    *ret = NULL;
    if (kube_equal(from, to))
        return 0;
    body = tree_copy(to);
    tree_put_string(tree_need_object(body, "metadata"), "resourceVersion",
                    kube_resource_version(from));
    return kube_update(&call, body, ret, err);
}

// SPDX-License-Identifier: Apache-2.0
/* Many machines at once: how long until all run, and until none is left. */
#include "kinds.h"
#include "simulate.h"
#include "tree.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/kube_cache.h>
#include <podvisor/str.h>
#include <podvisor/yaml.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define WRITERS 4
#define SYNC_NS (60 * NSEC_PER_SEC)

struct crowd {
    struct kube_client *client;
    const struct machines_options *options;
    const cJSON *manifest;
    struct kube_caches *caches;
    struct kube_cache *vmis, *vms;
    atomic_uint next;  /* number of the next machine to write */
    atomic_int failed; /* first error of a writer, negative errno */
    bool deletes;
};

static void machine_name(const struct crowd *c, unsigned i, char ret[256])
{
    snprintf(ret, 256, "%s-%u", kube_name(c->manifest), i);
}

static int write_one(struct crowd *c, unsigned i, struct error *err)
{
    char name[256];
    machine_name(c, i, name);
    struct kube_call call = {
        .client = c->client, .resource = &kind_vm, .namespace_ = c->options->namespace_};
    if (c->deletes) {
        call.name = name;
        return kube_delete(&call, NULL, err);
    }
    cleanup_json cJSON *vm = tree_copy(c->manifest);
    tree_put_string(tree_need_object(vm, "metadata"), "name", name);
    tree_put_string(tree_need_object(vm, "metadata"), "namespace", c->options->namespace_);
    return kube_create(&call, vm, NULL, err);
}

static void *write_all(void *arg)
{
    struct crowd *c = arg;
    unsigned i;
    while ((i = atomic_fetch_add(&c->next, 1)) < c->options->count) {
        struct error err = ERROR_INIT;
        int r = write_one(c, i, &err);
        if (r < 0) {
            fprintf(stderr, "%s\n", err.text);
            atomic_store(&c->failed, r);
            return NULL;
        }
    }
    return NULL;
}

static int write_crowd(struct crowd *c, bool deletes, struct error *err)
{
    pthread_t writer[WRITERS];
    c->deletes = deletes;
    atomic_store(&c->next, 0);
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_create(&writer[i], NULL, write_all, c);
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(writer[i], NULL);
    int r = atomic_load(&c->failed);
    return r < 0 ? error_set(err, -r, "cannot write the machines") : 0;
}

static const char *phase_index(const cJSON *vmi)
{
    return tree_text(kube_path(vmi, "status.phase"), NULL);
}

static size_t running(struct crowd *c)
{
    struct kube_object **list;
    size_t count = kube_cache_list(c->vmis, c->options->namespace_, 0, "Running", &list);
    for (size_t i = 0; i < count; i++)
        kube_object_unref(list[i]);
    free(list);
    return count;
}

/* Waits until all run, or none is left. */
static int wait_for(struct crowd *c, bool all, struct error *err)
{
    uint64_t end = clock_now_ns() + c->options->timeout_seconds * NSEC_PER_SEC;
    while (all ? running(c) < c->options->count
               : kube_cache_count(c->vms) + kube_cache_count(c->vmis) > 0) {
        if (clock_now_ns() > end)
            return error_set(err, ETIMEDOUT,
                             "after %u s %zu machines run, and %zu objects are left",
                             c->options->timeout_seconds, running(c), kube_cache_count(c->vms));
        usleep(20000);
    }
    return 0;
}

static int read_manifest(const char *path, cJSON **ret, struct error *err)
{
    char text[65536];
    cleanup_fclose FILE *file = fopen(path, "re");
    if (file == NULL)
        return error_sys(err, errno, "%s", path);
    size_t len = fread(text, 1, sizeof(text), file);
    return yaml_parse(text, len, NULL, ret, err);
}

static int set_up(struct crowd *c, struct error *err)
{
    struct kube_cache_options vms = {.resource = &kind_vm, .namespace_ = c->options->namespace_};
    struct kube_cache_options vmis = {
        .resource = &kind_vmi, .namespace_ = c->options->namespace_, .index = {phase_index}};
    int r = kube_caches_new(c->client, &c->caches, err);
    if (r < 0)
        return r;
    c->vms = kube_caches_add(c->caches, &vms);
    c->vmis = kube_caches_add(c->caches, &vmis);
    r = kube_caches_start(c->caches, err);
    if (r == 0 && !kube_caches_wait_synced(c->caches, SYNC_NS))
        r = error_set(err, ETIMEDOUT, "the API server did not list the machines");
    return r;
}

static double seconds_since(uint64_t start)
{
    return (double)(clock_now_ns() - start) / 1e9;
}

static int measure(struct crowd *c, struct error *err)
{
    uint64_t start = clock_now_ns();
    int r = write_crowd(c, false, err);
    double created = seconds_since(start);
    if (r == 0)
        r = wait_for(c, true, err);
    double all_run = seconds_since(start);
    if (r < 0)
        return r;
    printf("{\"machines\":%u,\"created\":%.2f,\"running\":%.2f}\n", c->options->count, created,
           all_run);
    fflush(stdout);
    sleep(c->options->hold_seconds);
    start = clock_now_ns();
    r = write_crowd(c, true, err);
    if (r == 0)
        r = wait_for(c, false, err);
    if (r == 0)
        printf("{\"machines\":%u,\"gone\":%.2f}\n", c->options->count, seconds_since(start));
    return r;
}

int simulate_machines(struct kube_client *client, const struct machines_options *options,
                      struct error *err)
{
    cleanup_json cJSON *manifest = NULL;
    int r = read_manifest(options->manifest, &manifest, err);
    if (r < 0)
        return r;
    struct crowd c = {.client = client, .options = options, .manifest = manifest};
    r = set_up(&c, err);
    if (r == 0)
        r = measure(&c, err);
    if (c.caches != NULL)
        kube_caches_free(c.caches);
    return r;
}

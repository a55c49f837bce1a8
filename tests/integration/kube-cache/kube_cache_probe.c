// SPDX-License-Identifier: Apache-2.0
/*
 * What test_kube_cache.py drives: a cache of the ConfigMaps of a namespace, a queue that its
 * handlers fill, and a worker that notes each key as a controller would reconcile it. Commands come
 * as lines on standard input, each is answered by lines that end with ".".
 *
 *     kube-cache-probe NAMESPACE        ($KUBECONFIG)
 *
 *     cache           "NAME UID VERSION" of each object of the cache
 *     reconciled      the same, of each key as the worker saw it last
 *     index VALUE     names of the objects whose label "shard" is VALUE
 *     write NAME N    creates it, then patches it N times, each time looking it up at once
 *     event N         N times the same event about the namespace's ConfigMap "regarding"
 *     lease           holds lease "probe" until "release"
 *     figures         requests by verb
 */
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/kube_cache.h>
#include <podvisor/kube_event.h>
#include <podvisor/kube_lease.h>
#include <podvisor/kube_queue.h>
#include <podvisor/str.h>
#include <podvisor/vec.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static const struct kube_resource maps = {
    .group = "", .version = "v1", .plural = "configmaps", .kind = "ConfigMap"};

static const char *space;
static struct kube_client *client;
static struct kube_caches *caches;
static struct kube_cache *cache;
static struct kube_queue *queue;
static struct kube_events *events;
static struct kube_lease *lease;
static atomic_bool leads;

/* What the worker saw, by name; one thread writes, the main one reads. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
struct noted {
    char *name, *what;
};
static VEC(struct noted) noted;

static const char *index_shard(const cJSON *object)
{
    return kube_label(object, "shard");
}

static void changed(void *user, struct kube_object *old, struct kube_object *now)
{
    (void)user;
    char key[KUBE_KEY_MAX];
    const struct kube_object *any = now != NULL ? now : old;
    kube_key(key, kube_object_namespace(any), kube_object_name(any));
    kube_queue_add(queue, key);
}

static char *describe(const struct kube_object *object)
{
    return xasprintf("%s %s %s", kube_object_name(object), kube_object_uid(object),
                     kube_object_version(object));
}

static void note(const char *name, char *what_take)
{
    pthread_mutex_lock(&lock);
    struct noted *entry = NULL;
    for (size_t i = 0; i < noted.count && entry == NULL; i++) {
        if (strcmp(noted.item[i].name, name) == 0)
            entry = &noted.item[i];
    }
    if (entry == NULL) {
        entry = vec_add(&noted);
        entry->name = xstrdup(name);
    }
    free(entry->what);
    entry->what = what_take;
    pthread_mutex_unlock(&lock);
}

static void *work(void *arg)
{
    (void)arg;
    char key[KUBE_KEY_MAX], namespace_[KUBE_KEY_MAX], name[KUBE_KEY_MAX];
    while (kube_queue_get(queue, key)) {
        kube_key_split(key, namespace_, name);
        struct kube_object *object = kube_cache_get(cache, namespace_, name);
        note(name, object != NULL ? describe(object) : NULL);
        kube_object_unref(object);
        kube_queue_forget(queue, key);
        kube_queue_done(queue, key);
    }
    return NULL;
}

static void print_list(int index, const char *value)
{
    struct kube_object **list;
    size_t count = kube_cache_list(cache, space, index, value, &list);
    for (size_t i = 0; i < count; i++) {
        cleanup_free char *text = describe(list[i]);
        printf("%s\n", text);
        kube_object_unref(list[i]);
    }
    free(list);
}

static void print_reconciled(void)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < noted.count; i++) {
        if (noted.item[i].what != NULL)
            printf("%s\n", noted.item[i].what);
    }
    pthread_mutex_unlock(&lock);
}

static cJSON *parse(char *text_take)
{
    cleanup_free char *text = text_take;
    cJSON *json = NULL;
    if (json_parse(text, strlen(text), NULL, &json, NULL) < 0)
        abort();
    return json;
}

/* After each write the cache must show it, although the watch cannot have. */
static void write_many(const char *name, unsigned count)
{
    unsigned stale = 0;
    struct error err = ERROR_INIT;
    struct kube_call call = {.client = client, .resource = &maps, .namespace_ = space};
    for (unsigned i = 0; i <= count; i++) {
        cJSON *answer = NULL;
        cleanup_json cJSON *body = parse(xasprintf(
            "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"%s\"},"
            "\"data\":{\"n\":\"%u\"}}",
            name, i));
        call.name = i > 0 ? name : NULL;
        int r = i == 0 ? kube_create(&call, body, &answer, &err)
                       : kube_patch(&call, KUBE_PATCH_MERGE, body, &answer, &err);
        if (r < 0) {
            printf("error %s\n", err.text);
            return;
        }
        kube_cache_learn(cache, answer);
        struct kube_object *object = kube_cache_get(cache, space, name);
        if (object == NULL ||
            strcmp(kube_object_version(object), kube_resource_version(answer)) != 0)
            stale++;
        kube_object_unref(object);
        cJSON_Delete(answer);
    }
    printf("stale %u\n", stale);
}

static void send_events(unsigned count)
{
    struct kube_object *object = kube_cache_get(cache, space, "regarding");
    cleanup_json cJSON *tree = NULL;
    if (object != NULL && kube_object_parse(object, &tree, NULL) == 0) {
        for (unsigned i = 0; i < count; i++)
            kube_event(events, &maps, tree, false, "Probed", "Probe", "probe %u", i);
    }
    kube_object_unref(object);
}

static void on_acquired(void *user)
{
    (void)user;
    atomic_store(&leads, true);
}

static void on_lost(void *user)
{
    (void)user;
    atomic_store(&leads, false);
}

static void take_lease(void)
{
    struct error err = ERROR_INIT;
    const struct kube_lease_options options = {.namespace_ = space,
                                               .name = "probe",
                                               .identity = "probe-1",
                                               .acquired = on_acquired,
                                               .lost = on_lost};
    if (kube_lease_start(client, &options, &lease, &err) < 0)
        printf("error %s\n", err.text);
}

static void print_figures(void)
{
    struct kube_client_stats stats;
    kube_client_stats(client, &stats);
    for (unsigned verb = 0; verb < KUBE_VERB_COUNT; verb++) {
        uint64_t sum = 0;
        for (unsigned class = 0; class < 6; class ++)
            sum += stats.requests[verb][class];
        printf("%s %llu\n", kube_verb_names[verb], (unsigned long long)sum);
    }
    struct kube_queue_stats q;
    kube_queue_stats(queue, &q);
    printf("keys %llu\n", (unsigned long long)q.adds);
}

static void obey(char *line)
{
    char name[256] = "";
    unsigned count = 0;
    if (strcmp(line, "cache") == 0)
        print_list(-1, NULL);
    else if (strcmp(line, "reconciled") == 0)
        print_reconciled();
    else if (sscanf(line, "index %255s", name) == 1)
        print_list(0, name);
    else if (sscanf(line, "write %255s %u", name, &count) == 2)
        write_many(name, count);
    else if (sscanf(line, "event %u", &count) == 1)
        send_events(count);
    else if (strcmp(line, "lease") == 0)
        take_lease();
    else if (strcmp(line, "leads") == 0)
        printf("%d\n", atomic_load(&leads) && kube_lease_held(lease));
    else if (strcmp(line, "release") == 0)
        kube_lease_stop(steal_ptr(lease));
    else if (strcmp(line, "figures") == 0)
        print_figures();
    else
        printf("error unknown command\n");
    printf(".\n");
    fflush(stdout);
}

static int start(struct error *err)
{
    const struct kube_config_options options = {.user_agent = "kube-cache-probe"};
    int r = kube_client_new(&options, 0, 0, &client, err);
    if (r == 0)
        r = kube_caches_new(client, &caches, err);
    if (r < 0)
        return r;
    queue = kube_queue_new("probe", NULL);
    cache = kube_caches_add(caches, &(struct kube_cache_options){.resource = &maps,
                                                                 .namespace_ = space,
                                                                 .index = {index_shard},
                                                                 .changed = changed});
    r = kube_events_start(client, "probe", "probe-1", &events, err);
    return r < 0 ? r : kube_caches_start(caches, err);
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    pthread_t worker;
    char line[512];
    if (argc != 2)
        return 2;
    space = argv[1];
    if (start(&err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    if (!kube_caches_wait_synced(caches, 60 * NSEC_PER_SEC) ||
        pthread_create(&worker, NULL, work, NULL) != 0)
        return 1;
    printf("synced\n.\n");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        obey(line);
    }
    kube_queue_shut_down(queue);
    pthread_join(worker, NULL);
    kube_lease_stop(lease);
    kube_events_stop(events, 5 * NSEC_PER_SEC);
    kube_caches_free(caches);
    kube_queue_free(queue);
    kube_client_free(client);
    for (size_t i = 0; i < noted.count; i++) {
        free(noted.item[i].name);
        free(noted.item[i].what);
    }
    vec_free(&noted);
    return 0;
}

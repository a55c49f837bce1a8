// SPDX-License-Identifier: Apache-2.0
/*
 * The caches' thread (podvisor/kube_cache.h): a libcurl multi handle that carries the transfers of
 * all kinds, driven by curl_multi_poll(). It has a handful of descriptors, of which one or two are
 * ready at a time: an epoll of our own (curl_multi_socket_action) would save nothing and adds the
 * re-entrance rules of its callbacks.
 *
 * The thread owns the kinds' transfers and reflectors; others reach the stores, which lock, and
 * the eventfd that wakes it.
 */
#include "watch_cache.h"
#include <podvisor/cleanup.h>
#include <podvisor/kube_queue.h>
#include <podvisor/log.h>
#include <podvisor/str.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#define CREDENTIALS_NS (10 * NSEC_PER_SEC) /* how often it is asked whether they changed */

struct kube_caches {
    struct kube_client *client;
    VEC(struct kube_cache *) kinds;
    pthread_t thread;
    bool started;
    atomic_bool stopping;
    int wake_fd;
    pthread_mutex_t lock; /* with `synced`: a kind's first list is there */
    pthread_cond_t synced;
    /* Of the thread. */
    CURLM *multi;
    uint64_t generation; /* of the credentials that the connections have */
};

static void wake(struct kube_caches *caches)
{
    uint64_t one = 1;
    ssize_t n = write(caches->wake_fd, &one, sizeof(one));
    (void)n; /* full: it is awake */
}

static CURLM *new_multi(void)
{
    CURLM *multi = curl_multi_init();
    if (multi == NULL)
        out_of_memory();
    return multi;
}

int kube_caches_new(struct kube_client *client, struct kube_caches **ret, struct error *err)
{
    struct kube_caches *caches = xcalloc(1, sizeof(*caches));
    caches->client = client;
    caches->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (caches->wake_fd < 0) {
        free(caches);
        return error_sys(err, errno, "cannot open an eventfd");
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&caches->synced, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&caches->lock, NULL);
    caches->multi = new_multi();
    *ret = caches;
    return 0;
}

struct kube_cache *kube_caches_add(struct kube_caches *caches,
                                   const struct kube_cache_options *options)
{
    struct kube_cache *cache = xcalloc(1, sizeof(*cache));
    kube_cache_init(cache, caches, caches->client, options);
    *vec_add(&caches->kinds) = cache;
    return cache;
}

void kube_caches_set_times(struct kube_caches *caches, const struct reflector_times *times)
{
    for (size_t i = 0; i < caches->kinds.count; i++)
        caches->kinds.item[i]->reflector.times = times;
}

/* Connections of older credentials end with their multi handle; the requests are made again. */
static void follow_credentials(struct kube_caches *caches)
{
    uint64_t generation = kube_client_generation(caches->client);
    if (generation == caches->generation)
        return;
    log_info("cache", "the credentials changed, connecting anew");
    for (size_t i = 0; i < caches->kinds.count; i++)
        kube_cache_interrupt(caches->kinds.item[i], caches->multi);
    curl_multi_cleanup(caches->multi);
    caches->multi = new_multi();
    caches->generation = generation;
}

static void announce_synced(struct kube_caches *caches)
{
    pthread_mutex_lock(&caches->lock);
    pthread_cond_broadcast(&caches->synced);
    pthread_mutex_unlock(&caches->lock);
}

/* True when a transfer ended: its kind has something to do now. */
static bool take_finished(struct kube_caches *caches)
{
    const CURLMsg *message;
    int left;
    bool any = false;
    while ((message = curl_multi_info_read(caches->multi, &left)) != NULL) {
        char *cache = NULL;
        /* The message goes with the handle's removal: read it first. */
        CURLcode code = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &cache);
        if (kube_cache_finished((struct kube_cache *)(void *)cache, caches->multi, code))
            announce_synced(caches);
        any = true;
    }
    return any;
}

/* Sleeps until a connection, another thread or the clock has something. */
static void wait_for_work(struct kube_caches *caches, uint64_t until_ns)
{
    uint64_t now = clock_now_ns();
    /* Rounded up: a millisecond too early would find nothing due, again and again. */
    uint64_t ms = until_ns > now ? (until_ns - now + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC : 0;
    struct curl_waitfd wake_up = {.fd = caches->wake_fd, .events = CURL_WAIT_POLLIN};
    uint64_t count;
    curl_multi_poll(caches->multi, &wake_up, 1, (int)ms, NULL);
    ssize_t n = read(caches->wake_fd, &count, sizeof(count));
    (void)n; /* nobody woke us: there is nothing to read */
}

static void *run(void *arg)
{
    struct kube_caches *caches = arg;
    uint64_t ask_ns = clock_now_ns() + CREDENTIALS_NS;
    caches->generation = kube_client_generation(caches->client);
    while (!atomic_load(&caches->stopping)) {
        uint64_t now = clock_now_ns();
        if (now >= ask_ns) {
            follow_credentials(caches);
            ask_ns = now + CREDENTIALS_NS;
        }
        uint64_t next = ask_ns;
        for (size_t i = 0; i < caches->kinds.count; i++) {
            uint64_t due = kube_cache_step(caches->kinds.item[i], caches->multi);
            next = due < next ? due : next;
        }
        int running;
        curl_multi_perform(caches->multi, &running);
        if (!take_finished(caches))
            wait_for_work(caches, next);
    }
    return NULL;
}

int kube_caches_start(struct kube_caches *caches, struct error *err)
{
    sigset_t all, before;
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&caches->thread, NULL, run, caches);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return error_sys(err, error, "cannot start the caches' thread");
    pthread_setname_np(caches->thread, "kube-caches");
    caches->started = true;
    return 0;
}

static bool all_synced(const struct kube_caches *caches)
{
    for (size_t i = 0; i < caches->kinds.count; i++) {
        if (!atomic_load(&caches->kinds.item[i]->synced))
            return false;
    }
    return true;
}

bool kube_caches_wait_synced(struct kube_caches *caches, uint64_t timeout_ns)
{
    uint64_t now = clock_now_ns();
    uint64_t until = timeout_ns < UINT64_MAX - now ? now + timeout_ns : UINT64_MAX;
    struct timespec at = {.tv_sec = (time_t)(until / NSEC_PER_SEC),
                          .tv_nsec = (long)(until % NSEC_PER_SEC)};
    int r = 0;
    pthread_mutex_lock(&caches->lock);
    while (!all_synced(caches) && r == 0)
        r = pthread_cond_timedwait(&caches->synced, &caches->lock, &at);
    bool synced = all_synced(caches);
    pthread_mutex_unlock(&caches->lock);
    return synced;
}

void kube_caches_free(struct kube_caches *caches)
{
    if (caches == NULL)
        return;
    if (caches->started) {
        atomic_store(&caches->stopping, true);
        wake(caches);
        pthread_join(caches->thread, NULL);
    }
    for (size_t i = 0; i < caches->kinds.count; i++) {
        kube_cache_interrupt(caches->kinds.item[i], caches->multi);
        kube_cache_done(caches->kinds.item[i]);
        free(caches->kinds.item[i]);
    }
    vec_free(&caches->kinds);
    curl_multi_cleanup(caches->multi);
    close(caches->wake_fd);
    pthread_cond_destroy(&caches->synced);
    pthread_mutex_destroy(&caches->lock);
    free(caches);
}

struct kube_object *kube_cache_get(struct kube_cache *cache, const char *namespace_,
                                   const char *name)
{
    return kube_store_get(cache->store, namespace_, name);
}

size_t kube_cache_list(struct kube_cache *cache, const char *namespace_, int index,
                       const char *value, struct kube_object ***ret)
{
    return kube_store_list(cache->store, namespace_, index, value, ret);
}

size_t kube_cache_count(struct kube_cache *cache)
{
    return kube_store_count(cache->store);
}

void kube_cache_learn(struct kube_cache *cache, const cJSON *object)
{
    struct error err = ERROR_INIT;
    struct kube_object *learnt = NULL;
    cleanup_json cJSON *copy = cJSON_Duplicate(object, true);
    if (copy == NULL)
        out_of_memory();
    if (kube_object_new(&cache->options, copy, &learnt, &err) < 0)
        log_warn("cache", "%s: not learning an answer: %s", cache->options.resource->plural,
                 err.text);
    else if (kube_store_learn(cache->store, learnt))
        wake(cache->caches);
}

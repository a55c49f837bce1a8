// SPDX-License-Identifier: Apache-2.0
/*
 * The client's life, its handles (one connection each, at most one per calling thread at a time),
 * the API's warnings, counters. Everything here is for any thread; no lock is held while a request
 * runs.
 */
#include "client.h"
#include <ctype.h>
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/log.h>
#include <podvisor/str.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_QPS   200
#define DEFAULT_BURST 400
#define QUIET_NS      (250 * NSEC_PER_MSEC) /* without a call: nothing is going on */

const char *const kube_verb_names[KUBE_VERB_COUNT] = {
    [KUBE_VERB_GET] = "GET",       [KUBE_VERB_LIST] = "LIST", [KUBE_VERB_WATCH] = "WATCH",
    [KUBE_VERB_POST] = "POST",     [KUBE_VERB_PUT] = "PUT",   [KUBE_VERB_PATCH] = "PATCH",
    [KUBE_VERB_DELETE] = "DELETE",
};

/* --- time ------------------------------------------------------------------------------------- */

static uint64_t real_now(void *user)
{
    (void)user;
    return clock_now_ns();
}

static int64_t real_wall(void *user)
{
    (void)user;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * (int64_t)NSEC_PER_SEC + ts.tv_nsec;
}

static void real_sleep(void *user, uint64_t ns)
{
    struct kube_client *client = user;
    uint64_t at = clock_now_ns() + ns;
    struct timespec deadline = {.tv_sec = (time_t)(at / NSEC_PER_SEC),
                                .tv_nsec = (long)(at % NSEC_PER_SEC)};
    pthread_mutex_lock(&client->sleep_lock);
    while (!atomic_load(&client->interrupted) &&
           pthread_cond_timedwait(&client->woken, &client->sleep_lock, &deadline) == 0)
        ;
    pthread_mutex_unlock(&client->sleep_lock);
}

void kube_client_set_clock(struct kube_client *client, const struct kube_clock *clock)
{
    client->clock = *clock;
    pthread_mutex_lock(&client->auth.lock);
    client->auth.token_read_ns = client->auth.identity_read_ns = clock->now_ns(clock->user);
    pthread_mutex_unlock(&client->auth.lock);
}

void kube_client_sleep(struct kube_client *client, uint64_t ns)
{
    if (ns > 0)
        client->clock.sleep_ns(client->clock.user, ns);
}

void kube_client_interrupt(struct kube_client *client)
{
    pthread_mutex_lock(&client->sleep_lock);
    atomic_store(&client->interrupted, true);
    pthread_cond_broadcast(&client->woken);
    pthread_mutex_unlock(&client->sleep_lock);
}

/* --- life ------------------------------------------------------------------------------------- */

static void init_curl(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        out_of_memory();
}

static void init_sync(struct kube_client *client)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&client->woken, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&client->lock, NULL);
    pthread_mutex_init(&client->sleep_lock, NULL);
}

int kube_client_new(const struct kube_config_options *options, unsigned qps, unsigned burst,
                    struct kube_client **ret, struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    struct kube_config *config = NULL;
    int r = kube_config_load(options, &config, err);
    if (r < 0)
        return r;
    struct kube_client *client = xcalloc(1, sizeof(*client));
    client->config = config;
    client->clock = (struct kube_clock){
        .now_ns = real_now, .wall_ns = real_wall, .sleep_ns = real_sleep, .user = client};
    init_sync(client);
    kube_limit_init(&client->limit, qps > 0 ? qps : DEFAULT_QPS, burst > 0 ? burst : DEFAULT_BURST);
    r = kube_auth_init(&client->auth, config, &client->clock, err);
    if (r < 0) {
        kube_client_free(client);
        return r;
    }
    *ret = client;
    return 0;
}

void kube_client_free(struct kube_client *client)
{
    if (client == NULL)
        return;
    for (unsigned i = 0; i < client->idle_count; i++)
        curl_easy_cleanup(client->idle[i].curl);
    kube_auth_done(&client->auth);
    kube_limit_done(&client->limit);
    kube_config_free(client->config);
    pthread_mutex_destroy(&client->lock);
    pthread_mutex_destroy(&client->sleep_lock);
    pthread_cond_destroy(&client->woken);
    free(client);
}

const char *kube_client_namespace(const struct kube_client *client)
{
    return client->config->namespace_;
}

const char *kube_client_server(const struct kube_client *client)
{
    return client->config->server;
}

uint64_t kube_client_generation(struct kube_client *client)
{
    return kube_auth_generation(&client->auth, &client->clock);
}

bool kube_client_unauthorized(struct kube_client *client, const struct kube_easy *state)
{
    return kube_auth_rejected(&client->auth, state->serial);
}

/* --- handles ---------------------------------------------------------------------------------- */

static bool pop(struct kube_client *client, struct kube_handle *ret)
{
    pthread_mutex_lock(&client->lock);
    bool any = client->idle_count > 0;
    if (any)
        *ret = client->idle[--client->idle_count];
    pthread_mutex_unlock(&client->lock);
    return any;
}

int kube_client_take(struct kube_client *client, uint64_t generation, struct kube_handle *ret,
                     struct error *err)
{
    struct kube_handle handle;
    while (pop(client, &handle)) {
        if (handle.generation == generation) {
            *ret = handle;
            return 0;
        }
        curl_easy_cleanup(handle.curl);
    }
    CURL *curl = curl_easy_init();
    if (curl == NULL)
        return error_set(err, ENOMEM, "cannot make a libcurl handle");
    *ret = (struct kube_handle){.curl = curl, .generation = generation};
    return 0;
}

void kube_client_give(struct kube_client *client, struct kube_handle *handle_take)
{
    pthread_mutex_lock(&client->lock);
    bool keep = client->idle_count < KUBE_HANDLES_MAX;
    if (keep)
        client->idle[client->idle_count++] = *handle_take;
    pthread_mutex_unlock(&client->lock);
    if (!keep)
        curl_easy_cleanup(handle_take->curl);
}

/* --- warnings --------------------------------------------------------------------------------- */

/* FNV-1a */
static uint64_t hash_text(const char *text, size_t len)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* False when the text was seen before, or there were too many different ones. */
static bool remember(struct kube_client *client, uint64_t hash)
{
    pthread_mutex_lock(&client->lock);
    bool fresh = client->warning_count < KUBE_WARNINGS_MAX;
    for (unsigned i = 0; i < client->warning_count && fresh; i++)
        fresh = client->warning[i] != hash;
    if (fresh)
        client->warning[client->warning_count++] = hash;
    pthread_mutex_unlock(&client->lock);
    return fresh;
}

/* RFC 7234 §5.5: Warning: 299 AGENT "TEXT", with quoted pairs in the text. */
void kube_client_header(struct kube_client *client, const char *line, size_t len)
{
    static const char name[] = "warning: 299 ";
    size_t at = sizeof(name) - 1;
    if (len < at || strncasecmp(line, name, at) != 0)
        return;
    while (at < len && line[at] != '"')
        at++;
    char text[512];
    size_t n = 0;
    for (at++; at < len && line[at] != '"' && n < sizeof(text) - 1; at++) {
        if (line[at] == '\\' && at + 1 < len)
            at++;
        text[n++] = line[at];
    }
    text[n] = '\0';
    if (n > 0 && remember(client, hash_text(text, n)))
        log_warn("kube", "the API server warns: %s", text);
}

/* --- counters --------------------------------------------------------------------------------- */

void kube_client_count(struct kube_client *client, enum kube_verb verb, int http_status)
{
    unsigned class = http_status >= 100 && http_status <= 599 ? (unsigned)http_status / 100 : 0;
    atomic_fetch_add_explicit(&client->requests[verb][class], 1, memory_order_relaxed);
}

bool kube_client_busy(struct kube_client *client)
{
    return atomic_load(&client->under_way) > 0 ||
           clock_now_ns() < atomic_load(&client->last_call_ns) + QUIET_NS;
}

void kube_client_stats(struct kube_client *client, struct kube_client_stats *ret)
{
    for (unsigned verb = 0; verb < KUBE_VERB_COUNT; verb++) {
        for (unsigned class = 0; class < 6; class ++)
            ret->requests[verb][class] = atomic_load(&client->requests[verb][class]);
    }
    ret->retries = atomic_load(&client->retries);
    ret->throttled_ns = atomic_load(&client->throttled_ns);
}

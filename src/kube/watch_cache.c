// SPDX-License-Identifier: Apache-2.0
/* Transfers of one kind; see watch_cache.h. All of it runs on the caches' thread. */
#include "watch_cache.h"
#include "reflector_list.h"
#include <malloc.h>
#include <podvisor/cleanup.h>
#include <podvisor/log.h>
#include <podvisor/str.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define REFUSAL_MAX    ((size_t)64 << 10)  /* of a body that is a Status; the rest is not read */
#define WATCH_GRACE_NS (30 * NSEC_PER_SEC) /* beyond the timeout that the server was told */

static const char *plural(const struct kube_cache *cache)
{
    return cache->options.resource->plural;
}

static void drop_listed(struct kube_cache *cache)
{
    for (size_t i = 0; i < cache->listed.count; i++)
        kube_object_unref(cache->listed.item[i]);
    vec_free(&cache->listed);
}

static void drop_response(struct kube_cache *cache)
{
    free(cache->body);
    cache->body = NULL;
    cache->body_len = cache->body_size = 0;
    kube_watch_lines_done(&cache->lines);
    cache->status = 0;
    cache->retry_after = 0;
    cache->event_error.code = 0;
    cache->broken = ERROR_INIT;
}

void kube_cache_init(struct kube_cache *cache, struct kube_caches *caches,
                     struct kube_client *client, const struct kube_cache_options *options)
{
    uint64_t seed = 0;
    memset(cache, 0, sizeof(*cache));
    cache->caches = caches;
    cache->client = client;
    cache->options = *options;
    cache->options.namespace_ = cache->namespace_ = xstrdup(options->namespace_);
    cache->options.label_selector = cache->label_selector = xstrdup(options->label_selector);
    cache->options.field_selector = cache->field_selector = xstrdup(options->field_selector);
    cache->store = kube_store_new(options->changed, options->user, NULL);
    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed))
        seed = clock_now_ns();
    reflector_init(&cache->reflector, seed);
    cache->easy = curl_easy_init();
    if (cache->easy == NULL)
        out_of_memory();
}

void kube_cache_done(struct kube_cache *cache)
{
    curl_easy_cleanup(cache->easy);
    drop_response(cache);
    drop_listed(cache);
    reflector_done(&cache->reflector);
    kube_store_free(cache->store);
    free(cache->namespace_);
    free(cache->label_selector);
    free(cache->field_selector);
}

static int append_body(struct kube_cache *cache, const char *bytes, size_t len, size_t max)
{
    if (len > max - cache->body_len)
        return -E2BIG;
    if (cache->body_size - cache->body_len < len) {
        size_t size = cache->body_size != 0 ? cache->body_size : 16 << 10;
        while (size - cache->body_len < len)
            size *= 2;
        char *body = realloc(cache->body, size);
        if (body == NULL)
            out_of_memory();
        cache->body = body;
        cache->body_size = size;
    }
    memcpy(cache->body + cache->body_len, bytes, len);
    cache->body_len += len;
    return 0;
}

static bool version_is_usable(const char *version)
{
    return *version != '\0' && strlen(version) < KUBE_VERSION_SIZE;
}

/*
 * An object that nobody can read, because its author nested it too deeply or put a NUL into a
 * string, is his alone to lack. One that is deleted must go from the store, though: where it does
 * not even say its name, only a new list tells which it was.
 */
static int skip_unreadable(struct kube_cache *cache, enum kube_watch_type type)
{
    if (type == KUBE_WATCH_DELETED || type == KUBE_WATCH_ERROR)
        return -EINVAL;
    log_warn("cache", "%s: skipping an event whose object cannot be read: %s", plural(cache),
             cache->broken.text);
    cache->broken = ERROR_INIT;
    return 0;
}

/* Its name is all that could be read: handlers get the state that was seen before. */
static void delete_unreadable(struct kube_cache *cache, const cJSON *tree)
{
    struct kube_object *seen = kube_store_get(cache->store, kube_namespace(tree), kube_name(tree));
    cache->broken = ERROR_INIT;
    if (version_is_usable(kube_resource_version(tree)))
        reflector_watch_event(&cache->reflector, kube_resource_version(tree));
    if (seen != NULL && strcmp(kube_object_uid(seen), kube_uid(tree)) == 0)
        kube_store_delete(cache->store, seen);
    else
        kube_object_unref(seen);
}

static void take_object(struct kube_cache *cache, enum kube_watch_type type, cJSON *tree)
{
    struct kube_object *object = NULL;
    struct error err = ERROR_INIT;
    if (kube_object_new(&cache->options, tree, &object, &err) < 0) {
        log_warn("cache", "%s: skipping an event whose object cannot be read: %s", plural(cache),
                 err.text);
        return;
    }
    reflector_watch_event(&cache->reflector, kube_object_version(object));
    if (type == KUBE_WATCH_DELETED)
        kube_store_delete(cache->store, object);
    else
        kube_store_put(cache->store, object);
}

/* One event. Not 0: the stream is over for us, and the cache knows why. */
static int take_line(void *user, const char *line, size_t len)
{
    struct kube_cache *cache = user;
    enum kube_watch_type type = KUBE_WATCH_UNKNOWN;
    cleanup_json cJSON *object = NULL;
    int r = kube_watch_event_read(line, len, &type, &object, &cache->broken);
    if (r == 0 && object == NULL)
        return skip_unreadable(cache, type);
    if (r < 0)
        return r;
    if (cache->broken.code != 0) {
        delete_unreadable(cache, object);
        return 0;
    }
    switch (type) {
    case KUBE_WATCH_ERROR:
        kube_status_from_object(0, object, &cache->event_error);
        if (cache->event_error.code == 0)
            cache->event_error.code = 500;
        return -EREMOTEIO;
    case KUBE_WATCH_BOOKMARK:
        if (version_is_usable(kube_resource_version(object)))
            reflector_watch_bookmark(&cache->reflector, kube_resource_version(object));
        return 0;
    case KUBE_WATCH_UNKNOWN:
        log_warn("cache", "%s: skipping an event of an unknown type", plural(cache));
        return 0;
    default:
        take_object(cache, type, object);
        return 0;
    }
}

static size_t on_body(char *bytes, size_t size, size_t count, void *user)
{
    struct kube_cache *cache = user;
    size_t len = size * count;
    if (cache->status != 200) {
        size_t room = REFUSAL_MAX - cache->body_len;
        (void)append_body(cache, bytes, len < room ? len : room, REFUSAL_MAX);
        return len;
    }
    int r;
    if (cache->doing == REFLECTOR_WATCH) {
        reflector_watch_bytes(&cache->reflector, clock_now_ns());
        r = kube_watch_lines_feed(&cache->lines, bytes, len, take_line, cache);
        if (r == -E2BIG && cache->broken.code == 0)
            error_set(&cache->broken, E2BIG, "an event has more than %zu bytes",
                      KUBE_WATCH_LINE_MAX);
    } else {
        r = append_body(cache, bytes, len, KUBE_LIST_BYTES_MAX);
        if (r < 0)
            error_set(&cache->broken, E2BIG, "the list has more than %zu bytes",
                      KUBE_LIST_BYTES_MAX);
    }
    return r == 0 ? len : CURL_WRITEFUNC_ERROR;
}

static size_t on_header(char *line, size_t size, size_t count, void *user)
{
    struct kube_cache *cache = user;
    size_t len = size * count;
    unsigned seconds = kube_retry_after(line, len);
    long status = 0;
    kube_client_header(cache->client, line, len);
    if (seconds != 0)
        cache->retry_after = seconds;
    /* The empty line after the headers; those of an interim response (1xx) are not the last. */
    if (len > 0 && (line[0] == '\r' || line[0] == '\n') &&
        curl_easy_getinfo(cache->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK &&
        status >= 200) {
        cache->status = (int)status;
        if (cache->doing == REFLECTOR_WATCH && status == 200)
            reflector_watch_answered(&cache->reflector, clock_now_ns());
    }
    return len;
}

static int make_url(const struct kube_cache *cache, const struct reflector_request *request,
                    char **ret, struct error *err)
{
    char number[16];
    char *url = NULL;
    int r = kube_resource_path(cache->options.resource, cache->options.namespace_, NULL, NULL, &url,
                               err);
    if (r < 0)
        return r;
    if (cache->options.label_selector != NULL)
        url = kube_url_add(url, "labelSelector", cache->options.label_selector);
    if (cache->options.field_selector != NULL)
        url = kube_url_add(url, "fieldSelector", cache->options.field_selector);
    if (request->step == REFLECTOR_WATCH) {
        url = kube_url_add(url, "watch", "true");
        url = kube_url_add(url, "allowWatchBookmarks", "true");
    }
    if (request->limit != 0) {
        snprintf(number, sizeof(number), "%u", request->limit);
        url = kube_url_add(url, "limit", number);
    }
    if (request->continue_ != NULL)
        url = kube_url_add(url, "continue", request->continue_);
    if (request->version != NULL && *request->version != '\0')
        url = kube_url_add(url, "resourceVersion", request->version);
    if (request->timeout_seconds != 0) {
        snprintf(number, sizeof(number), "%u", request->timeout_seconds);
        url = kube_url_add(url, "timeoutSeconds", number);
    }
    *ret = url;
    return 0;
}

static int set_up(struct kube_cache *cache, const struct reflector_request *request,
                  struct error *err)
{
    cleanup_free char *path = NULL;
    bool watch = request->step == REFLECTOR_WATCH;
    int r = make_url(cache, request, &path, err);
    if (r < 0)
        return r;
    const struct kube_easy_options options = {
        .method = "GET",
        .path = path,
        .compressed = !watch, /* a compressor would hold events back */
        .timeout_ns = watch ? request->timeout_seconds * NSEC_PER_SEC + WATCH_GRACE_NS
                            : cache->reflector.times->list,
    };
    r = kube_easy_setup(cache->client, cache->easy, &options, &cache->state, err);
    if (r < 0)
        return r;
    curl_easy_setopt(cache->easy, CURLOPT_PRIVATE, cache);
    curl_easy_setopt(cache->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(cache->easy, CURLOPT_HEADERDATA, cache);
    curl_easy_setopt(cache->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(cache->easy, CURLOPT_WRITEDATA, cache);
    return 0;
}

/* Without this the reflector waits and tries again: a token may be there later. */
static void not_begun(struct kube_cache *cache, const struct error *err)
{
    log_warn("cache", "%s: cannot ask: %s", plural(cache), err->text);
    if (cache->doing == REFLECTOR_WATCH)
        reflector_watch_failed(&cache->reflector, REFLECTOR_NO_ANSWER, 0, clock_now_ns());
    else
        reflector_list_failed(&cache->reflector, REFLECTOR_NO_ANSWER, 0, clock_now_ns());
}

static void begin(struct kube_cache *cache, CURLM *multi, const struct reflector_request *request)
{
    struct error err = ERROR_INIT;
    drop_response(cache);
    if (request->step == REFLECTOR_LIST && request->continue_ == NULL)
        drop_listed(cache);
    cache->doing = request->step;
    if (set_up(cache, request, &err) < 0) {
        not_begun(cache, &err);
        return;
    }
    if (cache->doing == REFLECTOR_WATCH)
        reflector_watch_started(&cache->reflector, clock_now_ns());
    if (curl_multi_add_handle(multi, cache->easy) != CURLM_OK)
        out_of_memory();
    cache->active = true;
}

static void end_transfer(struct kube_cache *cache, CURLM *multi)
{
    curl_multi_remove_handle(multi, cache->easy);
    curl_easy_reset(cache->easy);
    kube_easy_done(&cache->state);
    cache->active = false;
}

/* The watch of a peer that is gone without a word, or that does not begin to answer. */
static void give_up_silent(struct kube_cache *cache, CURLM *multi)
{
    log_warn("cache", "%s: the watch is silent, connecting anew", plural(cache));
    end_transfer(cache, multi);
    kube_client_count(cache->client, KUBE_VERB_WATCH, cache->status);
    reflector_watch_ended(&cache->reflector, clock_now_ns());
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t kube_cache_step(struct kube_cache *cache, CURLM *multi)
{
    bool live = cache->active && cache->doing == REFLECTOR_WATCH && cache->status == 200;
    uint64_t next = kube_store_expire(cache->store, live);
    if (cache->active && cache->doing == REFLECTOR_WATCH &&
        clock_now_ns() >= reflector_watch_deadline(&cache->reflector))
        give_up_silent(cache, multi);
    while (!cache->active) {
        struct reflector_request request = reflector_next(&cache->reflector, clock_now_ns());
        if (request.step == REFLECTOR_WAIT)
            return earlier(next, request.until_ns);
        begin(cache, multi, &request);
        if (!cache->active)
            continue; /* the reflector waits now */
    }
    if (cache->doing == REFLECTOR_WATCH)
        next = earlier(next, reflector_watch_deadline(&cache->reflector));
    return next;
}

void kube_cache_interrupt(struct kube_cache *cache, CURLM *multi)
{
    if (!cache->active)
        return;
    end_transfer(cache, multi);
    reflector_again(&cache->reflector);
}

static int take_item(void *user, const char *text, size_t len, struct error *err)
{
    struct kube_cache *cache = user;
    struct kube_object *object = NULL;
    int r = kube_object_from_text(&cache->options, text, len, &object, err);
    if (r == 0) {
        *vec_add(&cache->listed) = object;
    } else if (r != -ENOMEM) { /* as in a watch: one bad object must not hide all the others */
        log_warn("cache", "%s: skipping a listed object that cannot be read: %s", plural(cache),
                 err->text);
        *err = ERROR_INIT;
        r = 0;
    }
    return r;
}

/* Why a response is none: our own cut, or the connection. */
static const char *transfer_error(struct kube_cache *cache, CURLcode code, struct error *err)
{
    if (cache->broken.code != 0)
        return cache->broken.text;
    kube_curl_error(code, &cache->state, err);
    return err->text;
}

static void read_refusal(struct kube_cache *cache, struct kube_status *status)
{
    kube_status_parse(cache->status, cache->body, cache->body_len, status);
    if (status->retry_after == 0)
        status->retry_after = cache->retry_after;
    if (cache->status == 401)
        (void)kube_client_unauthorized(cache->client, &cache->state);
}

/* The list is whole: it becomes the store, and its handlers hear of it before "synced" is said. */
static bool take_list(struct kube_cache *cache)
{
    kube_store_replace(cache->store, cache->listed.item, cache->listed.count);
    log_debug("cache", "%s: listed %zu objects", plural(cache), cache->listed.count);
    vec_free(&cache->listed); /* the references went to the store */
    drop_response(cache);
    malloc_trim(0); /* lists are rare, and the most memory that this thread ever needs */
    return !atomic_exchange(&cache->synced, true);
}

static bool finish_list(struct kube_cache *cache, CURLcode code)
{
    static struct kube_list_meta meta; /* large; of the caches' one thread */
    struct error err = ERROR_INIT;
    struct kube_status status = {.code = 0};
    uint64_t now = clock_now_ns();
    if (cache->broken.code != 0 || code != CURLE_OK) {
        log_warn("cache", "%s: cannot list: %s", plural(cache), transfer_error(cache, code, &err));
        /* Servers list from memory without pages; too much for us in one, it has to come in them.
         */
        reflector_list_failed(&cache->reflector,
                              cache->broken.code != 0 ? REFLECTOR_TOO_LARGE : REFLECTOR_NO_ANSWER,
                              0, now);
        return false;
    }
    if (cache->status != 200) {
        read_refusal(cache, &status);
        log_warn("cache", "%s: the server does not list: %d %s", plural(cache), status.code,
                 status.message);
        reflector_list_failed(&cache->reflector, reflector_classify(&status), status.retry_after,
                              now);
        return false;
    }
    if (kube_list_read(cache->body, cache->body_len, take_item, cache, &meta, &err) < 0) {
        log_warn("cache", "%s: the list cannot be read: %s", plural(cache), err.text);
        reflector_list_failed(&cache->reflector, REFLECTOR_OTHER, 0, now);
        return false;
    }
    return reflector_listed(&cache->reflector, meta.version, meta.continue_, now) &&
           take_list(cache);
}

static void finish_watch(struct kube_cache *cache, CURLcode code)
{
    struct error err = ERROR_INIT;
    struct kube_status status = {.code = 0};
    uint64_t now = clock_now_ns();
    if (cache->event_error.code != 0) {
        status = cache->event_error;
    } else if (cache->broken.code != 0) {
        log_warn("cache", "%s: the watch cannot be read: %s", plural(cache), cache->broken.text);
        reflector_watch_failed(&cache->reflector, REFLECTOR_OTHER, 0, now);
        return;
    } else if (cache->status == 0 || cache->status == 200) {
        if (code != CURLE_OK)
            log_info("cache", "%s: the watch ended: %s", plural(cache),
                     transfer_error(cache, code, &err));
        reflector_watch_ended(&cache->reflector, now);
        return;
    } else {
        read_refusal(cache, &status);
    }
    log_info("cache", "%s: the server ends the watch: %d %s", plural(cache), status.code,
             status.message);
    reflector_watch_failed(&cache->reflector, reflector_classify(&status), status.retry_after, now);
}

bool kube_cache_finished(struct kube_cache *cache, CURLM *multi, CURLcode code)
{
    bool first = false;
    bool watch = cache->doing == REFLECTOR_WATCH;
    kube_client_count(cache->client, watch ? KUBE_VERB_WATCH : KUBE_VERB_LIST, cache->status);
    if (watch)
        finish_watch(cache, code);
    else
        first = finish_list(cache, code);
    end_transfer(cache, multi);
    return first;
}

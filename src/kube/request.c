// SPDX-License-Identifier: Apache-2.0
/*
 * A request that waits for its answer: the rate limit, one exchange on a handle of the client's,
 * and whether to try again (client-go rest/with_retry.go): at most 10 times and 60 s in all, when
 * the server names a time with 429 or 5xx, when a GET lost its connection, once after a 401 when
 * there is a new token. Runs on the caller's thread.
 */
#include "request.h"
#include "client.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/log.h>
#include <podvisor/str.h>
#include <string.h>

#define BODY_MAX           (64u << 20)
#define RETRIES_MAX        10
#define CALL_TIMEOUT_NS    (60 * NSEC_PER_SEC)
#define WAIT_WORTH_SAYING  NSEC_PER_SEC
#define LOST_FIRST_WAIT_NS (50 * NSEC_PER_MSEC) /* doubles with each lost connection... */
#define LOST_DOUBLINGS_MAX 5                    /* ... up to 1.6 s */

struct body {
    char *text;
    size_t len, size;
    bool too_big;
};

/* One exchange and what came of it. */
struct exchange {
    const struct kube_request *request;
    struct kube_easy easy;
    struct body body;
    CURLcode result;
    bool head_complete; /* libcurl takes a head that was cut for a whole one */
    int http_status;
    unsigned retry_after;
};

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    struct body *body = &((struct exchange *)user)->body;
    size_t len = size * count;
    if (len > BODY_MAX - body->len) {
        body->too_big = true;
        return 0;
    }
    if (body->len + len + 1 > body->size) {
        size_t want = body->size > 0 ? body->size * 2 : 16384;
        if (want < body->len + len + 1)
            want = body->len + len + 1;
        char *longer = realloc(body->text, want);
        if (longer == NULL)
            out_of_memory();
        body->text = longer;
        body->size = want;
    }
    memcpy(body->text + body->len, data, len);
    body->len += len;
    body->text[body->len] = '\0';
    return len;
}

static size_t on_header(char *data, size_t size, size_t count, void *user)
{
    struct exchange *x = user;
    size_t len = size * count;
    x->head_complete = len == 2 && memcmp(data, "\r\n", 2) == 0;
    unsigned seconds = kube_retry_after(data, len);
    if (seconds > 0)
        x->retry_after = seconds;
    kube_client_header(x->request->client, data, len);
    return len;
}

/* libcurl asks about once a second, and whenever something moves. */
static int on_progress(void *user, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                       curl_off_t up)
{
    (void)down_total;
    (void)down;
    (void)up_total;
    (void)up;
    const struct exchange *x = user;
    return !x->request->options.unlimited && atomic_load(&x->request->client->interrupted);
}

static void exchange_done(struct exchange *x)
{
    kube_easy_done(&x->easy);
    free(x->body.text);
    x->body = (struct body){0};
}

/* A handle whose connection speaks for the credentials of now, set up. */
static int prepare(struct exchange *x, uint64_t timeout_ns, struct kube_handle *ret,
                   struct error *err)
{
    const struct kube_request *request = x->request;
    struct kube_client *client = request->client;
    const struct kube_easy_options options = {
        .method = request->verb == KUBE_VERB_LIST ? "GET" : kube_verb_names[request->verb],
        .path = request->path,
        .content_type = request->content_type,
        .body = request->body,
        .body_len = request->body_len,
        .compressed = request->verb == KUBE_VERB_LIST,
        .timeout_ns = timeout_ns,
    };
    struct kube_credentials credentials;
    int r = kube_auth_get(&client->auth, &client->clock, &credentials, err);
    if (r < 0)
        return r;
    r = kube_client_take(client, credentials.generation, ret, err);
    if (r == 0)
        kube_easy_apply(client, ret->curl, &options, &credentials, &x->easy);
    kube_credentials_done(&credentials);
    return r;
}

static int perform(struct exchange *x, uint64_t timeout_ns, struct error *err)
{
    struct kube_handle handle;
    int r = prepare(x, timeout_ns, &handle, err);
    if (r < 0)
        return r;
    long status = 0;
    curl_easy_setopt(handle.curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(handle.curl, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(handle.curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(handle.curl, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(handle.curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(handle.curl, CURLOPT_XFERINFODATA, x);
    curl_easy_setopt(handle.curl, CURLOPT_NOPROGRESS, 0L);
    x->result = curl_easy_perform(handle.curl);
    if (x->result == CURLE_OK && !x->head_complete)
        x->result = CURLE_GOT_NOTHING;
    if (x->result == CURLE_OK)
        curl_easy_getinfo(handle.curl, CURLINFO_RESPONSE_CODE, &status);
    x->http_status = (int)status;
    curl_easy_reset(handle.curl); /* nothing of it may point here any more */
    kube_client_give(x->request->client, &handle);
    kube_client_count(x->request->client, x->request->verb, x->http_status);
    return 0;
}

/* --- what came of it -------------------------------------------------------------------------- */

static bool lost_connection(CURLcode code)
{
    return code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR || code == CURLE_GOT_NOTHING ||
           code == CURLE_PARTIAL_FILE;
}

/* 0 or the errno of the exchange, with its error and status. */
static int judge(const struct exchange *x, struct kube_status *status, struct error *err)
{
    if (x->result == CURLE_OK) {
        if (x->http_status / 100 == 2) {
            *status = (struct kube_status){.code = x->http_status};
            return 0;
        }
        kube_status_parse(x->http_status, x->body.text, x->body.len, status);
        if (status->retry_after == 0)
            status->retry_after = x->retry_after;
        return error_set(err, -kube_status_errno(status), "%d %s%s%s", status->code, status->reason,
                         *status->message != '\0' ? ": " : "", status->message);
    }
    *status = (struct kube_status){.code = 0};
    int r;
    if (x->body.too_big)
        r = error_set(err, EIO, "the answer has more than %u MiB", BODY_MAX >> 20);
    else if (x->result == CURLE_ABORTED_BY_CALLBACK)
        r = error_set(err, ECANCELED, "ended by the shutdown");
    else
        r = kube_curl_error(x->result, &x->easy, err);
    if (err != NULL)
        snprintf(status->message, sizeof(status->message), "%.*s", (int)sizeof(status->message) - 1,
                 err->text);
    return r;
}

/* --- trying again ----------------------------------------------------------------------------- */

struct attempts {
    unsigned count, lost;
    bool renewed;    /* a 401 made us read the credentials again */
    uint64_t serial; /* ... of which these were refused */
};

/* True when another try may help, after *ret_wait. */
static bool try_again(const struct exchange *x, struct attempts *tries, uint64_t *ret_wait)
{
    const struct kube_request *request = x->request;
    *ret_wait = 0;
    if (request->options.no_retry || tries->count > RETRIES_MAX)
        return false;
    if (x->result != CURLE_OK) {
        if (request->verb > KUBE_VERB_WATCH || !lost_connection(x->result) || x->body.too_big)
            return false;
        *ret_wait = LOST_FIRST_WAIT_NS << tries->lost;
        tries->lost += tries->lost < LOST_DOUBLINGS_MAX ? 1 : 0;
        return true;
    }
    if (x->http_status == 401 && !tries->renewed) {
        tries->renewed = true;
        tries->serial = x->easy.serial;
        return kube_client_unauthorized(request->client, &x->easy);
    }
    *ret_wait = x->retry_after * NSEC_PER_SEC;
    return x->retry_after > 0 && (x->http_status == 429 || x->http_status / 100 == 5);
}

static uint64_t now_of(const struct kube_client *client)
{
    return client->clock.now_ns(client->clock.user);
}

static int wait_for_limit(const struct kube_request *request, uint64_t deadline, struct error *err)
{
    struct kube_client *client = request->client;
    uint64_t wait, now = now_of(client);
    if (request->options.unlimited)
        return 0;
    if (!kube_limit_take(&client->limit, now, deadline > now ? deadline - now : 0, &wait))
        return error_set(err, EBUSY, "the client's own rate limit leaves no place in time");
    if (wait > WAIT_WORTH_SAYING)
        log_info("kube", "%s %s waited %llu ms for the client's rate limit",
                 kube_verb_names[request->verb], request->path,
                 (unsigned long long)(wait / NSEC_PER_MSEC));
    atomic_fetch_add_explicit(&client->throttled_ns, wait, memory_order_relaxed);
    kube_client_sleep(client, wait);
    return 0;
}

static int check_interrupted(const struct kube_request *request, struct error *err)
{
    if (request->options.unlimited || !atomic_load(&request->client->interrupted))
        return 0;
    return error_set(err, ECANCELED, "ended by the shutdown");
}

static void count_call(const struct kube_request *request, bool begins)
{
    struct kube_client *client = request->client;
    if (request->options.background)
        return;
    if (!begins)
        atomic_store(&client->last_call_ns, clock_now_ns());
    atomic_fetch_add(&client->under_way, begins ? 1u : -1u);
}

static int run_once(struct exchange *x, uint64_t deadline, struct error *err)
{
    int r = wait_for_limit(x->request, deadline, err);
    if (r == 0)
        r = check_interrupted(x->request, err);
    if (r < 0)
        return r;
    uint64_t now = now_of(x->request->client);
    if (now >= deadline)
        return error_set(err, ETIMEDOUT, "no answer in time");
    count_call(x->request, true);
    r = perform(x, deadline - now, err);
    count_call(x->request, false);
    return r;
}

int kube_request_run(const struct kube_request *request, char **ret_body, size_t *ret_len,
                     struct kube_status *status, struct error *err)
{
    struct kube_client *client = request->client;
    uint64_t timeout = request->options.timeout_ns;
    uint64_t deadline = now_of(client) + (timeout > 0 ? timeout : CALL_TIMEOUT_NS);
    struct attempts tries = {.count = 0};
    *status = (struct kube_status){.code = 0};
    for (;;) {
        struct exchange x = {.request = request};
        uint64_t wait;
        int r = run_once(&x, deadline, err);
        if (r < 0) {
            exchange_done(&x);
            return r;
        }
        tries.count++;
        r = judge(&x, status, err);
        bool same = tries.renewed && x.http_status == 401 && x.easy.serial == tries.serial;
        bool again = r < 0 && !same && try_again(&x, &tries, &wait);
        if (r == 0) {
            if (err != NULL)
                *err = ERROR_INIT; /* what an earlier try said */
            *ret_body = x.body.text != NULL ? steal_ptr(x.body.text) : xstrdup("");
            *ret_len = x.body.len;
        }
        exchange_done(&x);
        if (!again || now_of(client) + wait >= deadline)
            return r;
        atomic_fetch_add_explicit(&client->retries, 1, memory_order_relaxed);
        kube_client_sleep(client, wait);
    }
}

// SPDX-License-Identifier: Apache-2.0
/*
 * What the parts of src/kube share beneath podvisor/kube.h: URLs, the set-up of a libcurl handle
 * (for the watch thread's multi handle as for the calls that block), refusals, and calls outside
 * the rate limit.
 */
#ifndef PODVISOR_KUBE_INTERNAL_H
#define PODVISOR_KUBE_INTERNAL_H

#include <curl/curl.h>
#include <podvisor/kube.h>

/* Index of kube_client_stats.requests and of kube_verb_names. */
enum kube_verb {
    KUBE_VERB_GET,
    KUBE_VERB_LIST,
    KUBE_VERB_WATCH,
    KUBE_VERB_POST,
    KUBE_VERB_PUT,
    KUBE_VERB_PATCH,
    KUBE_VERB_DELETE,
};

/*
 * "/apis/kubevirt.io/v1/namespaces/NS/virtualmachines/NAME/SUBRESOURCE", each segment
 * percent-encoded. `namespace_` NULL: all namespaces or a cluster-scoped kind; `name` NULL: the
 * collection; `subresource` may be NULL and may hold '/' ("portforward/22"). For free(). Returns 0,
 * or -EINVAL for a name that is no path segment ("", ".", "..", with '/' or '%').
 */
int kube_resource_path(const struct kube_resource *resource, const char *namespace_,
                       const char *name, const char *subresource, char **ret, struct error *err);

/*
 * Appends "?key=value", or "&key=value" when there is a query already, percent-encoded. Takes
 * `url` (for free()) and returns its successor.
 */
char *kube_url_add(char *url_take, const char *key, const char *value);

/* `also` is one character more that stays as it is; '\0': none. For free(). */
char *kube_percent_encode(const char *text, char also);

/*
 * One transfer's set-up, which may not move. It owns what the handle points to (headers,
 * credentials): it lives until the transfer is over and the handle is set up anew or cleaned up,
 * then kube_easy_done().
 */
struct kube_easy {
    struct curl_slist *headers;
    struct kube_identity *identity; /* CA and client certificate that the handle's paths name */
    uint64_t generation;            /* kube_client_generation() at the set-up */
    uint64_t serial;                /* of the credentials, for kube_client_unauthorized() */
    struct curl_slist *connect_to;
    char error_text[CURL_ERROR_SIZE]; /* libcurl's words; "" none */
};

struct kube_easy_options {
    const char *method;       /* "GET", "POST"... */
    const char *path;         /* of kube_resource_path(), with its query */
    const char *accept;       /* NULL: "application/json" */
    const char *content_type; /* NULL: no body */
    const char *body;         /* borrowed until the transfer is over */
    size_t body_len;
    bool compressed;     /* ask for gzip (LIST), unless the kubeconfig forbids it */
    uint64_t timeout_ns; /* of the whole transfer; 0: none */
};

/*
 * Resets `easy` and sets it up for one request of the client: URL, HTTP/1.1, TLS, credentials (read
 * again when due: this may run an exec plugin, up to 60 s), proxy, keep-alive, timeouts, no
 * redirects, no signals. The caller adds its write and header functions and CURLOPT_PRIVATE after
 * it. On failure there is nothing to clean up.
 *
 * Bodies must be taken only when the status is known: the header function sees "HTTP/1.1 200 ...".
 */
int kube_easy_setup(struct kube_client *client, CURL *easy, const struct kube_easy_options *options,
                    struct kube_easy *ret, struct error *err);
void kube_easy_done(struct kube_easy *state);

/*
 * Grows when CA or client certificate changed. Connections of an older generation speak for the
 * old identity: a watch thread drops its transfers, cleans up its multi handle (libcurl's
 * connection cache goes with it) and starts again with a new one. Reads the files when due (every 5
 * minutes), so it is cheap to ask each second. Any thread.
 */
uint64_t kube_client_generation(struct kube_client *client);

/* A request got 401: its token is read again (the plugin is run again) before the next request.
 * Returns true when there is a chance that this helps. */
bool kube_client_unauthorized(struct kube_client *client, const struct kube_easy *state);

/* Counts a request that has ended. `http_status` 0: no answer. */
void kube_client_count(struct kube_client *client, enum kube_verb verb, int http_status);

/* Whether any call waits for its answer, or did a moment ago. */
bool kube_client_busy(struct kube_client *client);

/* Looks at a response header line (as libcurl gives it, not NUL-terminated): "Warning: 299" texts
 * are logged once each. */
void kube_client_header(struct kube_client *client, const char *line, size_t len);

/* Seconds of a "Retry-After: 7" header line; 0 when the line is another one. */
unsigned kube_retry_after(const char *line, size_t len);

/*
 * Reads the body of a refusal (a Status object, or anything). `ret` is filled whatever it holds.
 * Also for the "object" of an ERROR event: kube_status_from_object().
 */
void kube_status_parse(int http_status, const char *body, size_t len, struct kube_status *ret);
void kube_status_from_object(int http_status, const cJSON *object, struct kube_status *ret);

/* The negative errno that kube.h promises for a refusal; 0 for 2xx. */
int kube_status_errno(const struct kube_status *status);

/* libcurl's verdict as errno: -ETIMEDOUT or -EIO, -EACCES for a certificate that is not trusted;
 * sets the error. */
int kube_curl_error(CURLcode code, const struct kube_easy *state, struct error *err);

/* How a call differs from kube_get() and its siblings. */
struct kube_call_options {
    bool unlimited;      /* not counted by the rate limit (leases) */
    bool background;     /* not counted by kube_client_busy() (events) */
    uint64_t timeout_ns; /* of the whole call with its retries; 0: 60 s */
    bool no_retry;
};

/* kube_get(), kube_create(), kube_update() by `verb` KUBE_VERB_GET, KUBE_VERB_POST, KUBE_VERB_PUT,
 * and KUBE_VERB_PATCH (merge patch). `object` NULL for KUBE_VERB_GET. */
int kube_call_with(const struct kube_call *call, const struct kube_call_options *options,
                   enum kube_verb verb, const cJSON *object, cJSON **ret, struct error *err);

/* Time of a client; tests replace it before the first use. */
struct kube_clock {
    uint64_t (*now_ns)(void *user); /* monotonic */
    int64_t (*wall_ns)(void *user); /* since 1970 */
    void (*sleep_ns)(void *user, uint64_t ns);
    void *user;
};
void kube_client_set_clock(struct kube_client *client, const struct kube_clock *clock);

#endif

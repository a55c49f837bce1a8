// SPDX-License-Identifier: Apache-2.0
/*
 * One libcurl handle set up for one request of the client. Everything that
 * the environment could change (proxies, netrc, redirects, HTTP/2) is said here. Any thread.
 */
#include "client.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/str.h>
#include <string.h>

#define CONNECT_TIMEOUT_S  10L
#define USER_TIMEOUT_MS    30000 /* unacknowledged bytes */
#define CONNECTION_AGE_S   60L   /* the API server closes idle ones after 90 s */
#define KEEPALIVE_IDLE_S   30L
#define KEEPALIVE_PERIOD_S 10L

/* Writes that nobody acknowledges fail in 30 s, not in the 15 minutes of tcp_retries2. */
static int on_socket(void *user, curl_socket_t fd, curlsocktype purpose)
{
    (void)user;
    unsigned timeout = USER_TIMEOUT_MS;
    if (purpose == CURLSOCKTYPE_IPCXN)
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
    return CURL_SOCKOPT_OK;
}

static void add_line(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer == NULL)
        out_of_memory();
    *list = longer;
}

static void add_header(struct curl_slist **list, const char *name, const char *value)
{
    cleanup_free char *line = xasprintf("%s: %s", name, value);
    add_line(list, line);
}

static void add_impersonation(struct curl_slist **list, const struct kube_config *config)
{
    if (config->as == NULL)
        return;
    add_header(list, "Impersonate-User", config->as);
    if (config->as_uid != NULL)
        add_header(list, "Impersonate-Uid", config->as_uid);
    for (size_t i = 0; i < config->as_groups.count; i++)
        add_header(list, "Impersonate-Group", config->as_groups.item[i]);
    for (size_t i = 0; i < config->as_extra.count; i++) {
        cleanup_free char *key = kube_percent_encode(config->as_extra.item[i].key, '\0');
        cleanup_free char *name = xasprintf("Impersonate-Extra-%s", key);
        add_header(list, name, config->as_extra.item[i].value);
    }
}

static void add_headers(struct kube_easy *state, const struct kube_config *config,
                        const struct kube_easy_options *options, const char *authorization)
{
    add_header(&state->headers, "Accept",
               options->accept != NULL ? options->accept : "application/json");
    if (options->content_type != NULL)
        add_header(&state->headers, "Content-Type", options->content_type);
    add_line(&state->headers, "Expect:"); /* no 100-continue: its wait costs a second */
    if (authorization != NULL)
        add_line(&state->headers, authorization);
    if (config->tls_server_name != NULL) {
        cleanup_free char *host = xasprintf("%s:%u", config->host, config->port);
        add_header(&state->headers, "Host", host);
    }
    add_impersonation(&state->headers, config);
}

/* curl has no option for the server's name in TLS: the URL gets it, CONNECT_TO the real address. */
static void set_url(CURL *easy, struct kube_easy *state, const struct kube_config *config,
                    const char *path)
{
    if (config->tls_server_name == NULL || !config->tls) {
        cleanup_free char *url = xasprintf("%s%s", config->server, path);
        curl_easy_setopt(easy, CURLOPT_URL, url); /* copied */
        return;
    }
    cleanup_free char *url =
        xasprintf("https://%s:%u%s%s", config->tls_server_name, config->port, config->prefix, path);
    cleanup_free char *to =
        xasprintf("%s:%u:%s:%u", config->tls_server_name, config->port, config->host, config->port);
    add_line(&state->connect_to, to);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_CONNECT_TO, state->connect_to);
}

static void set_method(CURL *easy, const struct kube_easy_options *options)
{
    if (strcmp(options->method, "GET") == 0) {
        curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
        return;
    }
    if (options->body != NULL || strcmp(options->method, "POST") == 0) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)options->body_len);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, options->body != NULL ? options->body : "");
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, options->method);
}

static void set_tls(CURL *easy, const struct kube_identity *identity, bool insecure)
{
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, insecure ? 0L : 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, insecure ? 0L : 2L);
    if (identity->ca_path[0] != '\0') {
        curl_easy_setopt(easy, CURLOPT_CAINFO, identity->ca_path);
        /* libcurl's own folder of authorities would be trusted beside it. */
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    if (identity->cert_path[0] != '\0') {
        curl_easy_setopt(easy, CURLOPT_SSLCERT, identity->cert_path);
        curl_easy_setopt(easy, CURLOPT_SSLKEY, identity->key_path);
    }
}

static void set_transport(CURL *easy, const struct kube_config *config,
                          const struct kube_easy_options *options)
{
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, config->proxy_url != NULL ? config->proxy_url : "");
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
    curl_easy_setopt(easy, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, config->user_agent);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, CONNECTION_AGE_S);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_PERIOD_S);
    curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_socket);
    if (options->compressed && !config->no_compression)
        curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
    if (options->timeout_ns > 0)
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(options->timeout_ns / NSEC_PER_MSEC) + 1);
}

void kube_easy_apply(struct kube_client *client, CURL *easy,
                     const struct kube_easy_options *options,
                     const struct kube_credentials *credentials, struct kube_easy *ret)
{
    const struct kube_config *config = client->config;
    *ret = (struct kube_easy){.identity = kube_identity_ref(credentials->identity),
                              .generation = credentials->generation,
                              .serial = credentials->serial};
    curl_easy_reset(easy);
    add_headers(ret, config, options, credentials->authorization);
    set_url(easy, ret, config, options->path);
    set_method(easy, options);
    set_transport(easy, config, options);
    if (config->tls)
        set_tls(easy, ret->identity, config->insecure);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, ret->headers);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, ret->error_text);
}

int kube_easy_setup(struct kube_client *client, CURL *easy, const struct kube_easy_options *options,
                    struct kube_easy *ret, struct error *err)
{
    struct kube_credentials credentials;
    int r = kube_auth_get(&client->auth, &client->clock, &credentials, err);
    if (r < 0)
        return r;
    kube_easy_apply(client, easy, options, &credentials, ret);
    kube_credentials_done(&credentials);
    return 0;
}

void kube_easy_done(struct kube_easy *state)
{
    /* The list has the token in it. */
    for (struct curl_slist *line = state->headers; line != NULL; line = line->next)
        explicit_bzero(line->data, strlen(line->data));
    curl_slist_free_all(state->headers);
    curl_slist_free_all(state->connect_to);
    kube_identity_unref(state->identity);
    *state = (struct kube_easy){0};
}

int kube_curl_error(CURLcode code, const struct kube_easy *state, struct error *err)
{
    const char *text = state->error_text[0] != '\0' ? state->error_text : curl_easy_strerror(code);
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        return error_set(err, ETIMEDOUT, "no answer in time: %s", text);
    case CURLE_PEER_FAILED_VERIFICATION:
        error_set(err, EIO, "the API server's certificate is not trusted: %s", text);
        return error_hint(err, "the configured certificate authority must have signed it, for the "
                               "name or address in the server's URL");
    default:
        return error_set(err, EIO, "no answer: %s", text);
    }
}

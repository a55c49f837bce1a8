// SPDX-License-Identifier: Apache-2.0
#include "http.h"
#include <arpa/inet.h>
#include <microhttpd.h>
#include <podvisor/str.h>
#include <string.h>

#define CONNECTIONS_MAX 64
#define PER_ADDRESS_MAX 8 /* one pod alone cannot keep the kubelet out, which would end us */
#define IDLE_SECONDS    10

struct http_server {
    struct http_options options;
    struct MHD_Daemon *daemon;
};

struct reply {
    unsigned status;
    const char *type;
    char *text; /* malloc'ed; goes with the response */
};

static struct reply plain(bool good, const char *why)
{
    return (struct reply){good ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain",
                          xasprintf("%s\n", good ? "ok" : why)};
}

static struct reply live(const struct http_server *server)
{
    const struct kube_lease *lease = atomic_load(server->options.lease);
    return plain(lease == NULL || kube_lease_healthy(lease), "the lease was not renewed in time");
}

static struct reply ready(const struct http_options *options)
{
    if (atomic_load(options->beside_kubevirt))
        return plain(false, "KubeVirt is installed in this cluster");
    return plain(atomic_load(options->synced), "the caches are not filled yet");
}

static struct reply answer(const struct http_server *server, const char *path)
{
    if (strcmp(path, "/livez") == 0 || strcmp(path, "/healthz") == 0)
        return live(server);
    if (strcmp(path, "/readyz") == 0)
        return ready(&server->options);
    if (strcmp(path, "/metrics") == 0)
        return (struct reply){
            MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8",
            metrics_render(server->options.op, atomic_load(server->options.leading))};
    return (struct reply){MHD_HTTP_NOT_FOUND, "text/plain",
                          xstrdup("there are /livez, /readyz and /metrics\n")};
}

static enum MHD_Result handle(void *arg, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **state)
{
    (void)version;
    (void)upload;
    (void)state;
    if (*upload_size != 0)
        return MHD_NO; /* nobody has anything to tell us */
    struct reply reply;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        reply = (struct reply){MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", xstrdup("GET only\n")};
    else
        reply = answer(arg, url);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(reply.text), reply.text, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(reply.text);
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply.type);
    enum MHD_Result queued = MHD_queue_response(connection, reply.status, response);
    MHD_destroy_response(response);
    return queued;
}

static int parse_address(const struct http_options *options, struct sockaddr_storage *ret,
                         unsigned *ret_flags, struct error *err)
{
    struct sockaddr_in *four = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)ret;
    memset(ret, 0, sizeof(*ret));
    *ret_flags = 0;
    if (inet_pton(AF_INET, options->address, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(options->port);
        return 0;
    }
    if (inet_pton(AF_INET6, options->address, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(options->port);
        *ret_flags = MHD_USE_IPv6;
        return 0;
    }
    return error_set(err, EINVAL, "--listen %s: must be a numeric address", options->address);
}

int http_start(const struct http_options *options, struct http_server **ret, struct error *err)
{
    struct sockaddr_storage address;
    unsigned flags;
    int r = parse_address(options, &address, &flags, err);
    if (r < 0)
        return r;
    struct http_server *server = xcalloc(1, sizeof(*server));
    server->options = *options;
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | flags, options->port, NULL, NULL, handle,
        server, MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)CONNECTIONS_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)PER_ADDRESS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_END);
    if (server->daemon == NULL) {
        free(server);
        return error_sys(err, errno != 0 ? errno : EADDRINUSE, "cannot listen on %s:%u",
                         options->address, options->port);
    }
    *ret = server;
    return 0;
}

void http_stop(struct http_server *server)
{
    if (server == NULL)
        return;
    MHD_stop_daemon(server->daemon);
    free(server);
}

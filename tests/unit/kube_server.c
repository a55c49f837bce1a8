// SPDX-License-Identifier: Apache-2.0
/*
 * The scripted API server. One mutex guards the script, the records and the connections' mailboxes;
 * connection threads send and receive without it. A stream's thread sleeps in poll() on its socket
 * and an eventfd, so that it sees both a push and a client that goes away.
 */
#include "kube_server.h"
#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/str.h>
#include <podvisor/vec.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX (1u << 20)

struct record {
    char *line, *headers, *body;
    unsigned connection;
    uint64_t at_ns;
};

struct script_reply {
    struct kube_reply reply; /* its strings are ours */
    unsigned left;
};

struct connection {
    struct kube_server *server;
    pthread_t thread;
    unsigned number;
    int fd, wake_fd;
    gnutls_session_t tls; /* NULL: plain */
    /* Under the server's lock. */
    char *stream; /* request line while a stream is open */
    VEC(char *) pushed;
    bool end, cut;
};

struct kube_server {
    int listen_fd;
    uint16_t port;
    char url[64];
    bool with_tls, ask_certificate;
    gnutls_certificate_credentials_t credentials;
    gnutls_priority_t priority;
    pthread_t accept_thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stopping;
    VEC(struct script_reply *) script;
    VEC(struct record *) records;
    VEC(struct connection *) connections;
    size_t unexpected;
    char client_name[256];
    VEC(char *) files; /* kubeconfigs, for unlink() */
};

static void require(bool what, const char *text)
{
    if (!what) {
        fprintf(stderr, "kube_server: %s: %s\n", text, strerror(errno));
        abort();
    }
}

/* --- bytes ------------------------------------------------------------------------------------ */

static ssize_t receive(struct connection *c, char *buf, size_t size)
{
    if (c->tls == NULL)
        return recv(c->fd, buf, size, 0);
    ssize_t n;
    do
        n = gnutls_record_recv(c->tls, buf, size);
    while (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED);
    return n;
}

static bool transmit(struct connection *c, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = c->tls != NULL ? gnutls_record_send(c->tls, text, len)
                                   : send(c->fd, text, len, MSG_NOSIGNAL);
        if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED)
            continue;
        if (n <= 0)
            return false;
        text += n;
        len -= (size_t)n;
    }
    return true;
}

static void pause_ms(struct connection *c, unsigned ms)
{
    /* Ends early when the server stops: shutdown() makes the socket readable. */
    struct pollfd p = {.fd = c->wake_fd, .events = POLLIN};
    if (ms > 0)
        poll(&p, 1, (int)ms);
}

static void make_reset(struct connection *c)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

/* --- requests --------------------------------------------------------------------------------- */

static size_t content_length(const char *headers)
{
    for (const char *line = headers; line != NULL && *line != '\0'; line = strstr(line, "\r\n")) {
        if (line != headers)
            line += 2;
        if (strncasecmp(line, "content-length:", 15) == 0)
            return strtoul(line + 15, NULL, 10);
    }
    return 0;
}

/* Reads one request into `buf`; false when the client has gone. */
static bool read_request(struct connection *c, char *buf, char **ret_headers, char **ret_body)
{
    size_t len = 0;
    char *end = NULL;
    while (end == NULL) {
        ssize_t n = receive(c, buf + len, REQUEST_MAX - 1 - len);
        if (n <= 0)
            return false;
        len += (size_t)n;
        buf[len] = '\0';
        end = strstr(buf, "\r\n\r\n");
    }
    *end = '\0';
    char *body = end + 4, *headers = strstr(buf, "\r\n");
    size_t want = headers != NULL ? content_length(headers + 2) : 0;
    require(want < REQUEST_MAX - (size_t)(body - buf), "a request of more than 1 MiB");
    while (len < (size_t)(body - buf) + want) {
        ssize_t n = receive(c, buf + len, REQUEST_MAX - 1 - len);
        if (n <= 0)
            return false;
        len += (size_t)n;
    }
    buf[len] = '\0';
    if (headers != NULL) {
        *headers = '\0';
        headers += 2;
    }
    char *protocol = strstr(buf, " HTTP/");
    if (protocol != NULL)
        *protocol = '\0';
    *ret_headers = headers != NULL ? headers : end;
    *ret_body = body;
    return true;
}

static bool fits(const char *prefix, const char *line)
{
    return prefix == NULL || str_starts_with(line, prefix);
}

/* Records the request and takes its reply out of the script; *ret is a copy for free_reply(). */
static void take_reply(struct connection *c, const char *line, const char *headers,
                       const char *body, struct kube_reply *ret)
{
    struct kube_server *s = c->server;
    struct record *record = xcalloc(1, sizeof(*record));
    *record = (struct record){.line = xstrdup(line),
                              .headers = xstrdup(headers),
                              .body = xstrdup(body),
                              .connection = c->number,
                              .at_ns = clock_now_ns()};
    pthread_mutex_lock(&s->lock);
    *vec_add(&s->records) = record;
    struct script_reply *found = NULL;
    for (size_t i = 0; i < s->script.count && found == NULL; i++) {
        struct script_reply *candidate = s->script.item[i];
        if (candidate->left > 0 && fits(candidate->reply.request, line))
            found = candidate;
    }
    if (found != NULL) {
        *ret = found->reply;
        if (found->left != KUBE_REPLY_ALWAYS)
            found->left--;
    } else {
        s->unexpected++;
        *ret = (struct kube_reply){.status = 501, .body = "this request is not in the script"};
    }
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* --- replies ---------------------------------------------------------------------------------- */

/* Sends as the reply says; false: this connection is over. */
static bool send_reply_bytes(struct connection *c, const struct kube_reply *reply, const char *text,
                             size_t len)
{
    size_t end = reply->cut_at > 0 && reply->cut_at - 1 < len ? reply->cut_at - 1 : len;
    size_t piece = reply->piece > 0 ? reply->piece : len;
    for (size_t at = 0; at < end;) {
        size_t n = end - at < piece ? end - at : piece;
        if (!transmit(c, text + at, n))
            return false;
        at += n;
        if (at < end)
            pause_ms(c, reply->piece_delay_ms);
    }
    if (end == len && reply->cut_at == 0)
        return true;
    if (reply->cut_with_reset)
        make_reset(c);
    return false;
}

static bool send_chunk(struct connection *c, const char *text, size_t len)
{
    char head[32];
    int n = snprintf(head, sizeof(head), "%zx\r\n", len);
    return transmit(c, head, (size_t)n) && transmit(c, text, len) && transmit(c, "\r\n", 2);
}

/* Sends what was pushed; false when the stream is over. */
static bool pump(struct connection *c)
{
    struct kube_server *s = c->server;
    pthread_mutex_lock(&s->lock);
    size_t count = c->pushed.count;
    char **text = c->pushed.item;
    bool end = c->end || s->stopping, cut = c->cut || s->stopping;
    c->pushed.item = NULL;
    c->pushed.count = c->pushed.capacity = 0;
    pthread_mutex_unlock(&s->lock);
    bool alive = true;
    for (size_t i = 0; i < count; i++) {
        alive = alive && send_chunk(c, text[i], strlen(text[i]));
        free(text[i]);
    }
    free(text);
    if (end && !cut && alive)
        transmit(c, "0\r\n\r\n", 5);
    return alive && !end;
}

static void set_stream(struct connection *c, const char *line)
{
    struct kube_server *s = c->server;
    pthread_mutex_lock(&s->lock);
    free(c->stream);
    c->stream = xstrdup(line);
    c->end = c->cut = false;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* False: the connection is over; a stream that ended regularly leaves it open. */
static bool run_stream(struct connection *c, const struct kube_reply *reply, const char *line)
{
    if (*reply->body != '\0' && !send_chunk(c, reply->body, strlen(reply->body)))
        return false;
    set_stream(c, line);
    bool gone = false, open = true;
    while (open && !gone) {
        struct pollfd p[2] = {{.fd = c->fd, .events = POLLIN | POLLRDHUP},
                              {.fd = c->wake_fd, .events = POLLIN}};
        poll(p, 2, -1);
        gone = p[0].revents != 0;
        uint64_t count;
        if (p[1].revents != 0)
            (void)!read(c->wake_fd, &count, sizeof(count));
        open = pump(c);
    }
    pthread_mutex_lock(&c->server->lock);
    bool cut = c->cut || !c->end;
    pthread_mutex_unlock(&c->server->lock);
    set_stream(c, NULL);
    return !gone && !cut;
}

/* The head and body of a reply, for free(). */
static char *render(const struct kube_reply *reply, size_t *ret_len)
{
    size_t body_len = reply->body_len > 0 ? reply->body_len : strlen(reply->body);
    char length[64];
    bool stream = reply->kind == KUBE_REPLY_STREAM;
    if (stream)
        snprintf(length, sizeof(length), "Transfer-Encoding: chunked\r\n");
    else
        snprintf(length, sizeof(length), "Content-Length: %zu\r\n", body_len);
    char *head = xasprintf("HTTP/1.1 %d Scripted\r\nContent-Type: application/json\r\n%s%s\r\n",
                           reply->status != 0 ? reply->status : 200, length,
                           reply->headers != NULL ? reply->headers : "");
    size_t head_len = strlen(head), len = head_len + (stream ? 0 : body_len);
    char *text = xcalloc(len + 1, 1);
    memcpy(text, head, head_len);
    memcpy(text + head_len, reply->body, len - head_len);
    free(head);
    *ret_len = len;
    return text;
}

/* False: the connection is over. */
static bool answer(struct connection *c, const struct kube_reply *reply, const char *line)
{
    switch (reply->kind) {
    case KUBE_REPLY_HANG: {
        struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
        poll(&p, 1, -1);
        return false;
    }
    case KUBE_REPLY_RESET:
        make_reset(c);
        return false;
    case KUBE_REPLY_CLOSE:
        return false;
    default:
        break;
    }
    pause_ms(c, reply->delay_ms);
    size_t len;
    cleanup_free char *text = render(reply, &len);
    if (!send_reply_bytes(c, reply, text, len))
        return false;
    return reply->kind != KUBE_REPLY_STREAM || run_stream(c, reply, line);
}

/* --- connections ------------------------------------------------------------------------------ */

static void note_client(struct connection *c)
{
    unsigned count = 0;
    const gnutls_datum_t *list = gnutls_certificate_get_peers(c->tls, &count);
    char name[256] = "";
    gnutls_x509_crt_t cert;
    if (list != NULL && count > 0 && gnutls_x509_crt_init(&cert) == 0) {
        size_t size = sizeof(name);
        if (gnutls_x509_crt_import(cert, &list[0], GNUTLS_X509_FMT_DER) < 0 ||
            gnutls_x509_crt_get_dn_by_oid(cert, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &size) < 0)
            name[0] = '\0';
        gnutls_x509_crt_deinit(cert);
    }
    pthread_mutex_lock(&c->server->lock);
    memcpy(c->server->client_name, name, sizeof(name));
    pthread_mutex_unlock(&c->server->lock);
}

static bool start_tls(struct connection *c)
{
    struct kube_server *s = c->server;
    if (gnutls_init(&c->tls, GNUTLS_SERVER) < 0)
        return false;
    gnutls_priority_set(c->tls, s->priority);
    gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, s->credentials);
    if (s->ask_certificate)
        gnutls_certificate_server_set_request(c->tls, GNUTLS_CERT_REQUEST);
    gnutls_transport_set_int(c->tls, c->fd);
    int r;
    do
        r = gnutls_handshake(c->tls);
    while (r < 0 && !gnutls_error_is_fatal(r));
    if (r < 0)
        return false;
    unsigned status = 0;
    if (s->ask_certificate) {
        note_client(c);
        /* Whoever shows a certificate must be right; who shows none is anonymous. */
        if (gnutls_certificate_get_peers(c->tls, NULL) != NULL &&
            (gnutls_certificate_verify_peers2(c->tls, &status) < 0 || status != 0))
            return false;
    }
    return true;
}

static void *serve(void *user)
{
    struct connection *c = user;
    cleanup_free char *buf = xcalloc(REQUEST_MAX, 1);
    char *headers, *body;
    bool open = !c->server->with_tls || start_tls(c);
    while (open && read_request(c, buf, &headers, &body)) {
        struct kube_reply reply;
        take_reply(c, buf, headers, body, &reply);
        if (reply.body == NULL)
            reply.body = "";
        open = answer(c, &reply, buf);
    }
    if (c->tls != NULL)
        gnutls_deinit(c->tls);
    pthread_mutex_lock(&c->server->lock);
    close(c->fd);
    c->fd = -1;
    pthread_cond_broadcast(&c->server->changed);
    pthread_mutex_unlock(&c->server->lock);
    return NULL;
}

static void *accept_all(void *user)
{
    struct kube_server *s = user;
    for (;;) {
        int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        pthread_mutex_lock(&s->lock);
        if (fd < 0 || s->stopping) {
            pthread_mutex_unlock(&s->lock);
            if (fd >= 0)
                close(fd);
            return NULL;
        }
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        struct connection *c = xcalloc(1, sizeof(*c));
        c->server = s;
        c->fd = fd;
        c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        *vec_add(&s->connections) = c;
        c->number = (unsigned)s->connections.count;
        require(pthread_create(&c->thread, NULL, serve, c) == 0, "no thread");
        pthread_mutex_unlock(&s->lock);
    }
}

/* --- entry points ----------------------------------------------------------------------------- */

static void set_up_tls(struct kube_server *s, const struct kube_server_tls *tls)
{
    gnutls_datum_t cert = {.data = (unsigned char *)xstrdup(tls->cert)};
    gnutls_datum_t key = {.data = (unsigned char *)xstrdup(tls->key)};
    cert.size = (unsigned)strlen(tls->cert);
    key.size = (unsigned)strlen(tls->key);
    require(gnutls_certificate_allocate_credentials(&s->credentials) == 0, "credentials");
    require(gnutls_priority_init(&s->priority, NULL, NULL) == 0, "priority");
    require(gnutls_certificate_set_x509_key_mem(s->credentials, &cert, &key, GNUTLS_X509_FMT_PEM) ==
                0,
            "server certificate");
    free(cert.data);
    free(key.data);
    s->with_tls = true;
    if (tls->client_ca == NULL)
        return;
    gnutls_datum_t ca = {.data = (unsigned char *)xstrdup(tls->client_ca)};
    ca.size = (unsigned)strlen(tls->client_ca);
    require(gnutls_certificate_set_x509_trust_mem(s->credentials, &ca, GNUTLS_X509_FMT_PEM) == 1,
            "client CA");
    free(ca.data);
    s->ask_certificate = true;
}

struct kube_server *kube_server_start(const struct kube_server_tls *tls)
{
    struct kube_server *s = xcalloc(1, sizeof(*s));
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    s->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    require(s->listen_fd >= 0 && bind(s->listen_fd, (struct sockaddr *)&addr, len) == 0 &&
                listen(s->listen_fd, 64) == 0 &&
                getsockname(s->listen_fd, (struct sockaddr *)&addr, &len) == 0,
            "cannot listen");
    s->port = ntohs(addr.sin_port);
    snprintf(s->url, sizeof(s->url), "%s://127.0.0.1:%u", tls != NULL ? "https" : "http", s->port);
    if (tls != NULL)
        set_up_tls(s, tls);
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attr);
    pthread_condattr_destroy(&attr);
    require(pthread_create(&s->accept_thread, NULL, accept_all, s) == 0, "no thread");
    return s;
}

static void wake(struct connection *c)
{
    uint64_t one = 1;
    (void)!write(c->wake_fd, &one, sizeof(one));
}

static void free_reply(struct script_reply *r)
{
    char *owned[] = {(char *)(uintptr_t)r->reply.request, (char *)(uintptr_t)r->reply.headers,
                     (char *)(uintptr_t)r->reply.body};
    for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
        free(owned[i]);
    free(r);
}

static void free_all(struct kube_server *s)
{
    for (size_t i = 0; i < s->records.count; i++) {
        free(s->records.item[i]->line);
        free(s->records.item[i]->headers);
        free(s->records.item[i]->body);
        free(s->records.item[i]);
    }
    for (size_t i = 0; i < s->script.count; i++)
        free_reply(s->script.item[i]);
    for (size_t i = 0; i < s->files.count; i++) {
        unlink(s->files.item[i]);
        free(s->files.item[i]);
    }
    vec_free(&s->files);
    vec_free(&s->records);
    vec_free(&s->script);
    vec_free(&s->connections);
    if (s->with_tls) {
        gnutls_certificate_free_credentials(s->credentials);
        gnutls_priority_deinit(s->priority);
    }
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free(s);
}

void kube_server_stop(struct kube_server *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    for (size_t i = 0; i < s->connections.count; i++) {
        if (s->connections.item[i]->fd >= 0)
            shutdown(s->connections.item[i]->fd, SHUT_RDWR);
        wake(s->connections.item[i]);
    }
    pthread_mutex_unlock(&s->lock);
    shutdown(s->listen_fd, SHUT_RDWR);
    pthread_join(s->accept_thread, NULL);
    close(s->listen_fd);
    for (size_t i = 0; i < s->connections.count; i++) {
        struct connection *c = s->connections.item[i];
        pthread_join(c->thread, NULL);
        close(c->wake_fd);
        for (size_t k = 0; k < c->pushed.count; k++)
            free(c->pushed.item[k]);
        vec_free(&c->pushed);
        free(c->stream);
        free(c);
    }
    free_all(s);
}

uint16_t kube_server_port(const struct kube_server *s)
{
    return s->port;
}

const char *kube_server_url(const struct kube_server *s)
{
    return s->url;
}

const char *kube_server_kubeconfig(struct kube_server *s, const char *cluster, const char *user)
{
    char *path = xstrdup("/tmp/podvisor-kubeconfig-XXXXXX");
    FILE *file = fdopen(mkstemp(path), "w");
    require(file != NULL, "cannot write a kubeconfig");
    fprintf(file,
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n"
            "contexts: [{name: test, context: {cluster: test, user: test, namespace: here}}]\n"
            "clusters: [{name: test, cluster: {server: \"%s\"%s%s}}]\n"
            "users: [{name: test, user: {%s}}]\n",
            s->url, cluster != NULL ? ", " : "", cluster != NULL ? cluster : "",
            user != NULL ? user : "");
    fclose(file);
    pthread_mutex_lock(&s->lock);
    *vec_add(&s->files) = path;
    pthread_mutex_unlock(&s->lock);
    return path;
}

void kube_server_add(struct kube_server *s, const struct kube_reply *reply)
{
    struct script_reply *r = xcalloc(1, sizeof(*r));
    r->reply = *reply;
    r->reply.request = xstrdup(reply->request);
    r->reply.headers = xstrdup(reply->headers);
    if (reply->body != NULL) {
        size_t len = reply->body_len > 0 ? reply->body_len : strlen(reply->body);
        char *body = xcalloc(len + 1, 1);
        memcpy(body, reply->body, len);
        r->reply.body = body;
    }
    r->left = reply->times > 0 ? reply->times : 1;
    pthread_mutex_lock(&s->lock);
    *vec_add(&s->script) = r;
    pthread_mutex_unlock(&s->lock);
}

void kube_server_clear(struct kube_server *s)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->script.count; i++)
        s->script.item[i]->left = 0;
    pthread_mutex_unlock(&s->lock);
}

size_t kube_server_requests(struct kube_server *s)
{
    pthread_mutex_lock(&s->lock);
    size_t count = s->records.count;
    pthread_mutex_unlock(&s->lock);
    return count;
}

struct kube_recorded kube_server_request(struct kube_server *s, size_t index)
{
    pthread_mutex_lock(&s->lock);
    require(index < s->records.count, "no such request was recorded");
    const struct record *r = s->records.item[index];
    pthread_mutex_unlock(&s->lock);
    return (struct kube_recorded){.line = r->line,
                                  .headers = r->headers,
                                  .body = r->body,
                                  .connection = r->connection,
                                  .at_ns = r->at_ns};
}

size_t kube_server_unexpected(struct kube_server *s)
{
    pthread_mutex_lock(&s->lock);
    size_t count = s->unexpected;
    pthread_mutex_unlock(&s->lock);
    return count;
}

/* Waits under the lock for a change; false when the time is over. */
static bool wait_changed(struct kube_server *s, uint64_t deadline_ns)
{
    struct timespec ts = {.tv_sec = (time_t)(deadline_ns / NSEC_PER_SEC),
                          .tv_nsec = (long)(deadline_ns % NSEC_PER_SEC)};
    return pthread_cond_timedwait(&s->changed, &s->lock, &ts) == 0;
}

bool kube_server_wait(struct kube_server *s, size_t count, unsigned timeout_ms)
{
    uint64_t deadline = clock_now_ns() + timeout_ms * NSEC_PER_MSEC;
    pthread_mutex_lock(&s->lock);
    while (s->records.count < count && wait_changed(s, deadline))
        ;
    bool reached = s->records.count >= count;
    pthread_mutex_unlock(&s->lock);
    return reached;
}

bool kube_recorded_has(const struct kube_recorded *recorded, const char *header, const char *value)
{
    size_t len = strlen(header), value_len = strlen(value);
    for (const char *line = recorded->headers; line != NULL; line = strstr(line, "\r\n")) {
        if (line != recorded->headers)
            line += 2;
        if (strncasecmp(line, header, len) == 0 && line[len] == ':' && line[len + 1] == ' ' &&
            strncmp(line + len + 2, value, value_len) == 0 &&
            strchr("\r", line[len + 2 + value_len]) != NULL)
            return true;
    }
    return false;
}

static struct connection *find_stream(struct kube_server *s, const char *request)
{
    for (size_t i = s->connections.count; i-- > 0;) {
        struct connection *c = s->connections.item[i];
        if (c->stream != NULL && !c->end && fits(request, c->stream))
            return c;
    }
    return NULL;
}

bool kube_server_push(struct kube_server *s, const char *request, const char *text)
{
    pthread_mutex_lock(&s->lock);
    struct connection *c = find_stream(s, request);
    if (c != NULL) {
        *vec_add(&c->pushed) = xstrdup(text);
        wake(c);
    }
    pthread_mutex_unlock(&s->lock);
    return c != NULL;
}

bool kube_server_end_stream(struct kube_server *s, const char *request, bool cut)
{
    pthread_mutex_lock(&s->lock);
    struct connection *c = find_stream(s, request);
    if (c != NULL) {
        c->end = true;
        c->cut = cut;
        wake(c);
    }
    pthread_mutex_unlock(&s->lock);
    return c != NULL;
}

static size_t count_streams(const struct kube_server *s)
{
    size_t count = 0;
    for (size_t i = 0; i < s->connections.count; i++)
        count += s->connections.item[i]->stream != NULL ? 1 : 0;
    return count;
}

bool kube_server_wait_streams(struct kube_server *s, size_t count, unsigned timeout_ms)
{
    uint64_t deadline = clock_now_ns() + timeout_ms * NSEC_PER_MSEC;
    pthread_mutex_lock(&s->lock);
    while (count_streams(s) != count && wait_changed(s, deadline))
        ;
    bool reached = count_streams(s) == count;
    pthread_mutex_unlock(&s->lock);
    return reached;
}

unsigned kube_server_connections(struct kube_server *s)
{
    pthread_mutex_lock(&s->lock);
    unsigned count = (unsigned)s->connections.count;
    pthread_mutex_unlock(&s->lock);
    return count;
}

const char *kube_server_client_name(struct kube_server *s)
{
    return s->client_name;
}

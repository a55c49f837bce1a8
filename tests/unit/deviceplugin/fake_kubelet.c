// SPDX-License-Identifier: Apache-2.0
/* See fake_kubelet.h. What goes wrong in here aborts the test. */
#include "fake_kubelet.h"
#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define PREFIX 5

static struct peer_stream *find_stream(struct peer *peer, int32_t id)
{
    for (unsigned i = 0; i < peer->stream_count; i++) {
        if (peer->stream[i]->id == id)
            return peer->stream[i];
    }
    return NULL;
}

static struct peer_stream *add_stream(struct peer *peer, int32_t id)
{
    ck_assert_uint_lt(peer->stream_count, PEER_STREAMS_MAX);
    struct peer_stream *s = xcalloc(1, sizeof(*s));
    s->peer = peer;
    s->id = id;
    s->http_status = s->grpc_status = -1;
    peer->stream[peer->stream_count++] = s;
    return s;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    struct peer *peer = user;
    char key[64], text[512];
    (void)session;
    (void)flags;
    struct peer_stream *s = find_stream(peer, frame->hd.stream_id);
    if (s == NULL)
        s = add_stream(peer, frame->hd.stream_id);
    snprintf(key, sizeof(key), "%.*s", (int)name_len, (const char *)name);
    snprintf(text, sizeof(text), "%.*s", (int)value_len, (const char *)value);
    if (strcmp(key, ":path") == 0)
        snprintf(s->path, sizeof(s->path), "%.*s", (int)sizeof(s->path) - 1, text);
    else if (strcmp(key, "content-type") == 0)
        snprintf(s->content_type, sizeof(s->content_type), "%.*s", (int)sizeof(s->content_type) - 1,
                 text);
    else if (strcmp(key, ":status") == 0)
        s->http_status = atoi(text);
    else if (strcmp(key, "grpc-status") == 0)
        s->grpc_status = atoi(text);
    else if (strcmp(key, "grpc-message") == 0)
        memcpy(s->grpc_message, text, sizeof(s->grpc_message));
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *user)
{
    struct peer *peer = user;
    struct peer_stream *s = find_stream(peer, id);
    (void)flags;
    ck_assert_ptr_nonnull(s);
    s->in = realloc(s->in, s->in_len + len);
    memcpy(s->in + s->in_len, data, len);
    s->in_len += len;
    if (!peer->no_window_updates)
        ck_assert_int_eq(nghttp2_session_consume(session, id, len), 0);
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct peer *peer = user;
    (void)session;
    struct peer_stream *s = find_stream(peer, frame->hd.stream_id);
    if (s == NULL)
        return 0;
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        s->reset_code = frame->rst_stream.error_code;
    bool may_end = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (may_end && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        s->ended = true;
        if (peer->request != NULL)
            peer->request(s, peer->ctx);
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    (void)session;
    struct peer_stream *s = find_stream(user, id);
    if (s != NULL) {
        s->closed = true;
        s->reset_code = code;
    }
    return 0;
}

static ssize_t read_out(nghttp2_session *session, int32_t id, uint8_t *buf, size_t size,
                        uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct peer_stream *s = source->ptr;
    (void)session;
    (void)id;
    (void)user;
    size_t n = s->out_len - s->out_sent;
    n = n < size ? n : size;
    if (n > 0)
        memcpy(buf, s->out + s->out_sent, n);
    s->out_sent += n;
    if (s->out_sent < s->out_len)
        return (ssize_t)n;
    if (s->out_ends)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return n > 0 || s->out_ends ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
}

void peer_flush(struct peer *peer)
{
    while (peer->fd >= 0) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(peer->session, &data);
        if (n <= 0)
            return;
        /* Blocking would be a deadlock with a plugin in the same thread: frames are small. */
        ssize_t sent = send(peer->fd, data, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent != n) {
            peer_close(peer);
            return;
        }
    }
}

void peer_close(struct peer *peer)
{
    if (peer->fd < 0)
        return;
    loop_del(peer->loop, &peer->source);
    close(steal_fd(&peer->fd));
    for (unsigned i = 0; i < peer->stream_count; i++)
        peer->stream[i]->closed = true;
}

static void peer_ready(struct loop_source *source, uint32_t events)
{
    struct peer *peer = container_of(source, struct peer, source);
    uint8_t buf[4096];
    (void)events;
    ssize_t n = recv(peer->fd, buf, sizeof(buf), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || nghttp2_session_mem_recv(peer->session, buf, (size_t)n) < 0) {
        peer_close(peer);
        return;
    }
    peer_flush(peer);
}

static struct peer *peer_new(struct loop *loop, int fd, bool server)
{
    struct peer *peer = xcalloc(1, sizeof(*peer));
    nghttp2_session_callbacks *cb;
    nghttp2_option *option;
    peer->loop = loop;
    peer->fd = fd;
    peer->server = server;
    peer->source = LOOP_SOURCE_INIT(peer_ready);
    ck_assert_int_eq(nghttp2_session_callbacks_new(&cb), 0);
    ck_assert_int_eq(nghttp2_option_new(&option), 0);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    int r = server ? nghttp2_session_server_new2(&peer->session, cb, peer, option)
                   : nghttp2_session_client_new2(&peer->session, cb, peer, option);
    ck_assert_int_eq(r, 0);
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(option);
    ck_assert_int_eq(nghttp2_submit_settings(peer->session, 0, NULL, 0), 0);
    ck_assert_int_eq(loop_add(loop, &peer->source, fd, EPOLLIN, NULL), 0);
    return peer;
}

struct peer *peer_connect(struct loop *loop, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
        close(fd);
        return NULL;
    }
    struct peer *peer = peer_new(loop, fd, false);
    snprintf(peer->authority, sizeof(peer->authority), "%s", path);
    return peer;
}

static nghttp2_nv field(const char *name, const char *value)
{
    union {
        const char *in;
        uint8_t *out;
    } n = {.in = name}, v = {.in = value};
    return (nghttp2_nv){
        .name = n.out, .value = v.out, .namelen = strlen(name), .valuelen = strlen(value)};
}

static void set_out(struct peer_stream *s, const void *data, size_t len, bool ends)
{
    s->out = len > 0 ? memcpy(xcalloc(1, len), data, len) : NULL;
    s->out_len = len;
    s->out_ends = ends;
}

struct peer_stream *peer_request(struct peer *peer, const char *method, const char *path,
                                 const char *content_type, const void *body, size_t len, bool end)
{
    nghttp2_nv nv[] = {
        field(":method", method), field(":scheme", "http"), field(":authority", peer->authority),
        field(":path", path),     field("te", "trailers"),  field("content-type", content_type)};
    struct peer_stream *s = add_stream(peer, -1);
    set_out(s, body, len, end);
    nghttp2_data_provider provider = {.source = {.ptr = s}, .read_callback = read_out};
    s->id = nghttp2_submit_request(peer->session, NULL, nv, ARRAY_SIZE(nv), &provider, NULL);
    ck_assert_int_gt(s->id, 0);
    peer_flush(peer);
    return s;
}

struct peer_stream *peer_call(struct peer *peer, const char *path, const void *message, size_t len)
{
    cleanup_free uint8_t *body = xcalloc(1, PREFIX + len);
    uint32_t be = htonl((uint32_t)len);
    memcpy(body + 1, &be, sizeof(be));
    if (len > 0)
        memcpy(body + PREFIX, message, len);
    return peer_request(peer, "POST", path, "application/grpc", body, PREFIX + len, true);
}

void peer_open_windows(struct peer *peer)
{
    peer->no_window_updates = false;
    for (unsigned i = 0; i < peer->stream_count; i++) {
        struct peer_stream *s = peer->stream[i];
        if (!s->closed && s->in_len > 0)
            ck_assert_int_eq(nghttp2_session_consume(peer->session, s->id, s->in_len), 0);
    }
    peer_flush(peer);
}

void peer_free(struct peer *peer)
{
    if (peer == NULL)
        return;
    peer_close(peer);
    nghttp2_session_del(peer->session);
    for (unsigned i = 0; i < peer->stream_count; i++) {
        free(peer->stream[i]->in);
        free(peer->stream[i]->out);
        free(peer->stream[i]);
    }
    free(peer);
}

const uint8_t *peer_message(const struct peer_stream *s, unsigned index, size_t *ret_len)
{
    size_t at = 0;
    while (s->in_len - at >= PREFIX) {
        uint32_t be;
        memcpy(&be, s->in + at + 1, sizeof(be));
        size_t len = ntohl(be);
        if (s->in_len - at - PREFIX < len)
            return NULL;
        if (index-- == 0) {
            *ret_len = len;
            return s->in + at + PREFIX;
        }
        at += PREFIX + len;
    }
    return NULL;
}

unsigned peer_messages(const struct peer_stream *s)
{
    unsigned n = 0;
    size_t len;
    while (peer_message(s, n, &len) != NULL)
        n++;
    return n;
}

V1beta1__ListAndWatchResponse *peer_last_list(const struct peer_stream *s)
{
    unsigned n = peer_messages(s);
    size_t len = 0;
    const uint8_t *data = n > 0 ? peer_message(s, n - 1, &len) : NULL;
    return data != NULL ? v1beta1__list_and_watch_response__unpack(NULL, len, data) : NULL;
}

/* The answer to Register: an empty message, or a status alone. */
static void answer_registration(struct kubelet_plugin *p, int status)
{
    struct peer *peer = p->registration->peer;
    char code[16];
    snprintf(code, sizeof(code), "%d", status);
    nghttp2_nv nv[] = {field(":status", "200"), field("content-type", "application/grpc"),
                       field("grpc-status", code), field("grpc-message", "not%20today")};
    p->answered = true;
    nghttp2_submit_response(peer->session, p->registration->id, nv, ARRAY_SIZE(nv), NULL);
    peer_flush(peer);
}

static void on_register(struct peer_stream *s, void *ctx)
{
    struct fake_kubelet *k = ctx;
    size_t len = 0;
    ck_assert_str_eq(s->path, "/v1beta1.Registration/Register");
    ck_assert_str_eq(s->content_type, "application/grpc");
    const uint8_t *data = peer_message(s, 0, &len);
    ck_assert_ptr_nonnull(data);
    V1beta1__RegisterRequest *request = v1beta1__register_request__unpack(NULL, len, data);
    ck_assert_ptr_nonnull(request);
    ck_assert_uint_lt(k->registrations, KUBELET_PLUGINS_MAX);
    struct kubelet_plugin *p = &k->plugin[k->registrations++];
    *p = (struct kubelet_plugin){.registration = s};
    snprintf(p->resource, sizeof(p->resource), "%s", request->resource_name);
    snprintf(p->endpoint, sizeof(p->endpoint), "%s", request->endpoint);
    snprintf(p->version, sizeof(p->version), "%s", request->version);
    v1beta1__register_request__free_unpacked(request, NULL);
    if (k->mute)
        return;
    if (k->refuse_status != 0) {
        answer_registration(p, k->refuse_status);
        return;
    }
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", k->folder, p->endpoint);
    p->peer = peer_connect(k->loop, path);
    if (p->peer == NULL) { /* its socket went with the others just now */
        answer_registration(p, 2);
        return;
    }
    p->options = peer_call(p->peer, "/v1beta1.DevicePlugin/GetDevicePluginOptions", NULL, 0);
}

/* The kubelet's order: options, then its answer to the registration, then the stream. */
struct kubelet_plugin *fake_kubelet_find(struct fake_kubelet *k, const char *resource)
{
    struct kubelet_plugin *found = NULL;
    for (unsigned i = 0; i < k->registrations; i++) {
        struct kubelet_plugin *p = &k->plugin[i];
        if (p->options != NULL && p->options->grpc_status == 0 && !p->answered) {
            answer_registration(p, 0);
            p->list = peer_call(p->peer, "/v1beta1.DevicePlugin/ListAndWatch", NULL, 0);
        }
        if (strcmp(p->resource, resource) == 0 && p->list != NULL && peer_messages(p->list) > 0)
            found = p;
    }
    return found;
}

static void kubelet_accept(struct loop_source *source, uint32_t events)
{
    struct fake_kubelet *k = container_of(source, struct fake_kubelet, source);
    (void)events;
    int fd = accept4(k->fd, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_uint_lt(k->server_count, KUBELET_PLUGINS_MAX);
    struct peer *peer = peer_new(k->loop, fd, true);
    peer->request = on_register;
    peer->ctx = k;
    k->server[k->server_count++] = peer;
    peer_flush(peer);
}

static void remove_sockets(const char *folder)
{
    DIR *dir = opendir(folder);
    ck_assert_ptr_nonnull(dir);
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] != '.')
            unlinkat(dirfd(dir), e->d_name, 0);
    }
    closedir(dir);
}

void fake_kubelet_start(struct fake_kubelet *k, struct loop *loop, const char *folder)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    *k = (struct fake_kubelet){.loop = loop, .source = LOOP_SOURCE_INIT(kubelet_accept)};
    snprintf(k->folder, sizeof(k->folder), "%s", folder);
    snprintf(k->socket_path, sizeof(k->socket_path), "%s/kubelet.sock", folder);
    remove_sockets(folder);
    k->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%.79s/kubelet.sock", folder);
    ck_assert_int_eq(bind(k->fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(listen(k->fd, 16), 0);
    ck_assert_int_eq(loop_add(loop, &k->source, k->fd, EPOLLIN, NULL), 0);
}

void fake_kubelet_kill(struct fake_kubelet *k)
{
    loop_del(k->loop, &k->source);
    close(k->fd);
    for (unsigned i = 0; i < k->registrations; i++)
        peer_free(k->plugin[i].peer);
    for (unsigned i = 0; i < k->server_count; i++)
        peer_free(k->server[i]);
}

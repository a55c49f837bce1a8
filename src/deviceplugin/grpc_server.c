// SPDX-License-Identifier: Apache-2.0
/*
 * The gRPC server of grpc_server.h: accepts connections, and turns the events of their nghttp2
 * sessions into calls of handlers.
 *
 * Theory of operation. nghttp2 reads and writes every frame, keeps the flow-control windows and
 * answers SETTINGS and PING. A stream collects its path, content type and one message; at its end,
 * or as soon as it cannot be right, it is answered: response headers, DATA, trailers, or trailers
 * alone for an error. A server stream stays open after a message (its data source is "deferred");
 * grpc_server_publish() wakes it. Only conn_ended() and grpc_server_close() free a connection,
 * never a callback of nghttp2.
 */
#include "grpc_server.h"
#include "h2.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/log.h>
#include <podvisor/str.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define ACCEPT_PAUSE_NS NSEC_PER_SEC
#define BACKLOG         16

struct stream {
    struct stream *next;
    int32_t id;
    const struct grpc_method *method; /* NULL: none has this path */
    bool is_post, is_grpc;
    bool answered;
    bool open;  /* a server stream after its first snapshot */
    bool stale; /* ... that owes a newer one */
    bool has_failed;
    enum grpc_status status;
    char text[GRPC_TEXT_MAX]; /* grpc-message, encoded */
    struct grpc_reader reader;
    struct grpc_message reply;
    size_t reply_sent;
};

struct grpc_server_conn {
    struct h2_conn h2;
    struct grpc_server *server;
    struct grpc_server_conn *next;
    struct stream *streams;
};

#define NV(n, v) nv_make((n), sizeof(n) - 1, (v), strlen(v))

static nghttp2_nv nv_make(const char *name, size_t name_len, const char *value, size_t value_len)
{
    /* nghttp2 copies both: no flag asks it not to, and it never writes to them. */
    union {
        const char *in;
        uint8_t *out;
    } n = {.in = name}, v = {.in = value};
    return (nghttp2_nv){.name = n.out, .value = v.out, .namelen = name_len, .valuelen = value_len};
}

static void set_failure(struct stream *s, enum grpc_status status, const struct error *err)
{
    s->status = status;
    s->has_failed = status != GRPC_OK;
    grpc_text_encode(err->text, s->text);
}

/* grpc-status and grpc-message, in this order. */
static size_t status_fields(const struct stream *s, char code[8], nghttp2_nv nv[2])
{
    snprintf(code, 8, "%d", (int)s->status);
    nv[0] = NV("grpc-status", code);
    if (s->text[0] == '\0')
        return 1;
    nv[1] = NV("grpc-message", s->text);
    return 2;
}

/* An answer without a message: one HEADERS frame is headers and trailers. */
static int submit_trailers_only(struct grpc_server_conn *c, struct stream *s)
{
    char code[8];
    nghttp2_nv nv[4] = {NV(":status", "200"), NV("content-type", "application/grpc")};
    size_t count = 2 + status_fields(s, code, nv + 2);
    s->answered = true;
    return nghttp2_submit_response(c->h2.session, s->id, nv, count, NULL);
}

/* What is no gRPC request at all is answered as HTTP. */
static int submit_http_status(struct grpc_server_conn *c, struct stream *s, const char *status)
{
    nghttp2_nv nv[1] = {NV(":status", status)};
    s->answered = true;
    return nghttp2_submit_response(c->h2.session, s->id, nv, 1, NULL);
}

static void run_handler(struct grpc_server_conn *c, struct stream *s, const uint8_t *request,
                        size_t len)
{
    struct error err = ERROR_INIT;
    grpc_message_free(&s->reply);
    s->reply_sent = 0;
    s->stale = false;
    enum grpc_status status = s->method->handler(c->server->ctx, request, len, &s->reply, &err);
    set_failure(s, status, &err);
}

/* The stream's trailers, behind its last byte of data. */
static int finish_data(nghttp2_session *session, const struct stream *s, uint32_t *flags)
{
    char code[8];
    nghttp2_nv nv[2];
    size_t count = status_fields(s, code, nv);
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    return nghttp2_submit_trailer(session, s->id, nv, count) == 0 ? 0
                                                                  : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static ssize_t read_reply(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t size,
                          uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct stream *s = source->ptr;
    (void)stream_id;
    if (s->reply_sent == s->reply.len && s->open && s->stale && !s->has_failed)
        run_handler(user, s, NULL, 0);
    size_t n = s->reply.len - s->reply_sent;
    if (n > size)
        n = size;
    if (n > 0)
        memcpy(buf, s->reply.data + s->reply_sent, n);
    s->reply_sent += n;
    bool all_sent = s->reply_sent == s->reply.len;
    if (all_sent && (!s->open || s->has_failed)) {
        int r = finish_data(session, s, flags);
        return r == 0 ? (ssize_t)n : r;
    }
    if (all_sent) {
        grpc_message_free(&s->reply);
        s->reply_sent = 0;
    }
    return n > 0 ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
}

static int submit_reply(struct grpc_server_conn *c, struct stream *s)
{
    nghttp2_nv nv[2] = {NV(":status", "200"), NV("content-type", "application/grpc")};
    nghttp2_data_provider provider = {.source = {.ptr = s}, .read_callback = read_reply};
    s->answered = true;
    return nghttp2_submit_response(c->h2.session, s->id, nv, 2, &provider);
}

static void count_stream(struct grpc_server *server, int by)
{
    server->open_streams += (unsigned)by;
    server->service->streams_changed(server->ctx, server->open_streams);
}

static void drop_request(struct grpc_server *server, struct stream *s)
{
    server->buffered -= s->reader.len;
    grpc_reader_free(&s->reader);
}

/* The request is whole: runs its method. */
static int answer(struct grpc_server_conn *c, struct stream *s)
{
    struct error err = ERROR_INIT;
    enum grpc_status status = grpc_reader_finish(&s->reader, &err);
    if (status == GRPC_OK)
        run_handler(c, s, s->reader.data, s->reader.len);
    else
        set_failure(s, status, &err);
    drop_request(c->server, s);
    if (s->has_failed)
        return submit_trailers_only(c, s);
    s->open = s->method->stream;
    int r = submit_reply(c, s);
    if (s->open)
        count_stream(c->server, 1);
    return r;
}

/* At the end of the headers: what can never become a call is answered without its body. */
static int check_headers(struct grpc_server_conn *c, struct stream *s)
{
    if (!s->is_post)
        return submit_http_status(c, s, "405");
    if (!s->is_grpc)
        return submit_http_status(c, s, "415");
    if (s->method == NULL) {
        set_failure(s, GRPC_UNIMPLEMENTED, &(struct error){.text = "unknown method"});
        return submit_trailers_only(c, s);
    }
    return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct grpc_server_conn *c = user;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct stream *s = xcalloc(1, sizeof(*s));
    s->id = frame->hd.stream_id;
    s->next = c->streams;
    c->streams = s;
    return nghttp2_session_set_stream_user_data(session, s->id, s) == 0
               ? 0
               : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static bool is_text(const uint8_t *value, size_t len, const char *text)
{
    return len == strlen(text) && memcmp(value, text, len) == 0;
}

/* "application/grpc", alone or with "+proto" or parameters behind it. */
static bool is_grpc_type(const uint8_t *value, size_t len)
{
    static const char type[] = "application/grpc";
    size_t n = sizeof(type) - 1;
    return len >= n && memcmp(value, type, n) == 0 &&
           (len == n || value[n] == ';' || is_text(value + n, len - n, "+proto"));
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    struct grpc_server_conn *c = user;
    struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    (void)flags;
    /* Trailers say nothing that matters here. */
    if (s == NULL || s->answered || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    if (is_text(name, name_len, ":method"))
        s->is_post = is_text(value, value_len, "POST");
    else if (is_text(name, name_len, "content-type"))
        s->is_grpc = is_grpc_type(value, value_len);
    else if (is_text(name, name_len, ":path"))
        for (const struct grpc_method *m = c->server->service->methods; m->path != NULL; m++)
            if (is_text(value, value_len, m->path))
                s->method = m;
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct grpc_server_conn *c = user;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (s == NULL)
        return 0;
    int r = 0;
    if (!s->answered && frame->hd.type == NGHTTP2_HEADERS)
        r = check_headers(c, s);
    if (r == 0 && !s->answered && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        r = answer(c, s);
    return r == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                   size_t len, void *user)
{
    struct grpc_server_conn *c = user;
    struct stream *s = nghttp2_session_get_stream_user_data(session, stream_id);
    (void)flags;
    if (s == NULL || s->answered)
        return 0;
    struct error err = ERROR_INIT;
    enum grpc_status status = GRPC_RESOURCE_EXHAUSTED;
    size_t before = s->reader.len;
    if (c->server->buffered + len <= GRPC_SERVER_BUFFERED_MAX)
        status = grpc_reader_feed(&s->reader, data, len, &err);
    else
        error_set(&err, ENOBUFS, "more than %u bytes of unfinished requests",
                  GRPC_SERVER_BUFFERED_MAX);
    c->server->buffered += s->reader.len - before;
    if (status == GRPC_OK)
        return 0;
    drop_request(c->server, s);
    set_failure(s, status, &err);
    return submit_trailers_only(c, s) == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static void free_stream(struct grpc_server_conn *c, struct stream *s)
{
    drop_request(c->server, s);
    grpc_message_free(&s->reply);
    free(s);
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t code, void *user)
{
    struct grpc_server_conn *c = user;
    (void)code;
    struct stream *s = nghttp2_session_get_stream_user_data(session, stream_id);
    if (s == NULL)
        return 0;
    struct stream **link = &c->streams;
    while (*link != s)
        link = &(*link)->next;
    *link = s->next;
    if (s->open)
        count_stream(c->server, -1);
    free_stream(c, s);
    return 0;
}

/* nghttp2 resets the stream or ends the connection; the log says why. */
static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int code,
                            void *user)
{
    struct grpc_server_conn *c = user;
    (void)session;
    if (log_ratelimit_allow(&c->server->invalid_log, &(uint32_t){0}))
        log_warn("grpc", "%s: invalid frame of type %d on stream %d: %s", c->server->path,
                 frame->hd.type, frame->hd.stream_id, nghttp2_strerror(code));
    return 0;
}

static int new_callbacks(nghttp2_session_callbacks **ret, struct error *err)
{
    nghttp2_session_callbacks *cb;
    if (nghttp2_session_callbacks_new(&cb) != 0)
        return error_set(err, ENOMEM, "no memory for HTTP/2 callbacks");
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    *ret = cb;
    return 0;
}

/* Returns the number of its server streams that were open. */
static int free_conn(struct grpc_server_conn *c)
{
    int open = 0;
    h2_conn_done(&c->h2);
    for (struct stream *s = c->streams, *next; s != NULL; s = next) {
        next = s->next;
        open += s->open;
        free_stream(c, s);
    }
    free(c);
    return open;
}

static void conn_ended(struct h2_conn *h2, const struct error *err)
{
    struct grpc_server_conn *c = container_of(h2, struct grpc_server_conn, h2);
    struct grpc_server *server = c->server;
    if (err->code != 0)
        log_warn("grpc", "%s: connection closed: %s", server->path, err->text);
    struct grpc_server_conn **link = &server->conns;
    while (*link != c)
        link = &(*link)->next;
    *link = c->next;
    server->conn_count--;
    int open = free_conn(c);
    if (open > 0)
        count_stream(server, -open);
}

static int start_conn(struct grpc_server *server, int fd, struct error *err)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, GRPC_SERVER_STREAM_MAX},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 16384},
    };
    cleanup_close int owned = fd;
    nghttp2_session_callbacks *callbacks = NULL;
    int r = new_callbacks(&callbacks, err);
    if (r < 0)
        return r;
    struct grpc_server_conn *c = xcalloc(1, sizeof(*c));
    c->server = server;
    c->h2 = H2_CONN_INIT;
    c->h2.ended = conn_ended;
    r = h2_conn_start(&c->h2, server->loop, steal_fd(&owned), true, callbacks, c, settings,
                      ARRAY_SIZE(settings), err);
    nghttp2_session_callbacks_del(callbacks);
    if (r < 0) {
        free(c);
        return r;
    }
    c->next = server->conns;
    server->conns = c;
    server->conn_count++;
    h2_conn_flush(&c->h2);
    return 0;
}

/* Descriptors or memory ran out: epoll would report the same connection for ever. */
static void pause_accepting(struct grpc_server *server)
{
    log_warn("grpc", "%s: cannot accept a connection: %s", server->path, strerror(errno));
    loop_del(server->loop, &server->source);
    (void)loop_timer_arm(server->loop, &server->resume, server->loop->now_ns() + ACCEPT_PAUSE_NS);
}

static void resume_accepting(struct loop_timer *timer)
{
    struct grpc_server *server = container_of(timer, struct grpc_server, resume);
    struct error err = ERROR_INIT;
    if (loop_add(server->loop, &server->source, server->fd, EPOLLIN, &err) < 0)
        (void)loop_timer_arm(server->loop, timer, server->loop->now_ns() + ACCEPT_PAUSE_NS);
}

static void accept_ready(struct loop_source *source, uint32_t events)
{
    struct grpc_server *server = container_of(source, struct grpc_server, source);
    struct error err = ERROR_INIT;
    (void)events;
    cleanup_close int fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            pause_accepting(server);
        return;
    }
    if (server->conn_count == GRPC_SERVER_CONN_MAX) {
        log_warn("grpc", "%s: refused a connection: %d are open", server->path,
                 GRPC_SERVER_CONN_MAX);
        return;
    }
    if (start_conn(server, steal_fd(&fd), &err) < 0)
        log_warn("grpc", "%s: refused a connection: %s", server->path, err.text);
}

/* A name that is no socket is not ours to remove. */
static int remove_stale(const char *path, struct error *err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : error_sys(err, errno, "%s", path);
    if (!S_ISSOCK(st.st_mode))
        return error_set(err, EEXIST, "%s is there and is no socket; move it away", path);
    if (unlink(path) < 0 && errno != ENOENT)
        return error_sys(err, errno, "cannot remove %s", path);
    return 0;
}

static int bind_socket(struct grpc_server *server, int fd, const char *path, struct error *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr.sun_path))
        return error_set(err, ENAMETOOLONG, "%s is longer than the %zu bytes of a socket's name",
                         path, sizeof(addr.sun_path) - 1);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    int r = remove_stale(path, err);
    if (r < 0)
        return r;
    if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
        return error_sys(err, errno, "cannot bind %s", path);
    struct stat st;
    if (chmod(path, 0600) < 0 || listen(fd, BACKLOG) < 0 || lstat(path, &st) < 0) {
        r = error_sys(err, errno, "cannot listen at %s", path);
        unlink(path);
        return r;
    }
    server->dev = st.st_dev;
    server->ino = st.st_ino;
    return 0;
}

int grpc_server_listen(struct grpc_server *server, struct loop *loop, const char *path,
                       const struct grpc_service *service, void *ctx, struct error *err)
{
    cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_sys(err, errno, "cannot create a socket");
    *server = GRPC_SERVER_INIT;
    int r = bind_socket(server, fd, path, err);
    if (r < 0)
        return r;
    server->loop = loop;
    server->service = service;
    server->ctx = ctx;
    server->source = LOOP_SOURCE_INIT(accept_ready);
    server->resume = LOOP_TIMER_INIT(resume_accepting);
    r = loop_add(loop, &server->source, fd, EPOLLIN, err);
    if (r < 0) {
        unlink(path);
        return r;
    }
    server->path = xstrdup(path);
    server->fd = steal_fd(&fd);
    return 0;
}

enum grpc_socket_state grpc_server_socket_state(const struct grpc_server *server)
{
    struct stat st;
    if (server->fd < 0 || lstat(server->path, &st) < 0)
        return GRPC_SOCKET_GONE;
    /* The bound socket keeps its inode, so that no other file can have the same number. */
    return st.st_dev == server->dev && st.st_ino == server->ino ? GRPC_SOCKET_OURS
                                                                : GRPC_SOCKET_REPLACED;
}

void grpc_server_publish(struct grpc_server *server)
{
    for (struct grpc_server_conn *c = server->conns, *next; c != NULL; c = next) {
        next = c->next;
        bool any = false;
        for (struct stream *s = c->streams; s != NULL; s = s->next) {
            if (!s->open)
                continue;
            s->stale = true;
            any = true;
            /* Refused while the stream is not deferred: then its source sees `stale` itself. */
            (void)nghttp2_session_resume_data(c->h2.session, s->id);
        }
        if (any)
            h2_conn_flush(&c->h2);
    }
}

bool grpc_server_is_drained(const struct grpc_server *server)
{
    for (const struct grpc_server_conn *c = server->conns; c != NULL; c = c->next) {
        if (c->h2.out_len > 0)
            return false;
        for (const struct stream *s = c->streams; s != NULL; s = s->next)
            if (s->open && (s->stale || s->reply.len > 0))
                return false;
    }
    return true;
}

void grpc_server_close(struct grpc_server *server)
{
    if (server->fd < 0)
        return;
    for (struct grpc_server_conn *c = server->conns, *next; c != NULL; c = next) {
        next = c->next;
        (void)free_conn(c);
    }
    if (grpc_server_socket_state(server) == GRPC_SOCKET_OURS)
        unlink(server->path);
    loop_timer_disarm(server->loop, &server->resume);
    loop_del(server->loop, &server->source);
    close(server->fd);
    free(server->path);
    *server = GRPC_SERVER_INIT;
}

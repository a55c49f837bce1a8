// SPDX-License-Identifier: Apache-2.0
/*
 * The unary call of grpc_client.h: one connection, one stream, one message each way. The message
 * that comes back is checked for its framing and dropped: Register answers Empty.
 */
#include "grpc_client.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static void call_reset(struct grpc_call *call)
{
    h2_conn_done(&call->h2);
    if (call->active)
        loop_timer_disarm(call->loop, &call->timeout);
    grpc_message_free(&call->request);
    grpc_reader_free(&call->reply);
    call->active = false;
}

static void call_finish(struct grpc_call *call, int status, const char *text)
{
    char copy[GRPC_TEXT_MAX];
    snprintf(copy, sizeof(copy), "%.*s", GRPC_TEXT_MAX - 1, text);
    call_reset(call);
    call->done(call, status, copy);
}

static void call_expired(struct loop_timer *timer)
{
    struct grpc_call *call = container_of(timer, struct grpc_call, timeout);
    call_finish(call, GRPC_DEADLINE_EXCEEDED, "no answer in time");
}

/* The connection is over: by our own GOAWAY after the stream's end, or by itself. */
static void call_ended(struct h2_conn *h2, const struct error *err)
{
    struct grpc_call *call = container_of(h2, struct grpc_call, h2);
    if (call->has_status)
        call_finish(call, call->status, call->text);
    else if (call->closed)
        call_finish(call, GRPC_INTERNAL, "the answer has no grpc-status");
    else
        call_finish(call, GRPC_UNAVAILABLE,
                    err->code != 0 ? err->text : "the connection was closed without an answer");
}

static ssize_t read_request(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t size,
                            uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct grpc_call *call = user;
    (void)session;
    (void)stream_id;
    (void)source;
    size_t n = call->request.len - call->request_sent;
    if (n > size)
        n = size;
    memcpy(buf, call->request.data + call->request_sent, n);
    call->request_sent += n;
    if (call->request_sent == call->request.len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static bool is_name(const uint8_t *name, size_t len, const char *text)
{
    return len == strlen(text) && memcmp(name, text, len) == 0;
}

static int parse_code(const uint8_t *value, size_t len, int max)
{
    int code = 0;
    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9' || code > max)
            return -1;
        code = code * 10 + value[i] - '0';
    }
    return len > 0 && code <= max ? code : -1;
}

static void set_status(struct grpc_call *call, int status, const char *text)
{
    call->has_status = true;
    call->status = status;
    snprintf(call->text, sizeof(call->text), "%.*s", GRPC_TEXT_MAX - 1, text);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    struct grpc_call *call = user;
    (void)session;
    (void)flags;
    if (frame->hd.stream_id != call->stream_id)
        return 0;
    if (is_name(name, name_len, "grpc-status")) {
        int code = parse_code(value, value_len, 999);
        call->has_status = true;
        call->status = code >= 0 ? code : GRPC_UNKNOWN;
    } else if (is_name(name, name_len, "grpc-message")) {
        grpc_text_decode(value, value_len, call->text);
    } else if (is_name(name, name_len, ":status") && !is_name(value, value_len, "200")) {
        char text[64];
        snprintf(text, sizeof(text), "HTTP status %d", parse_code(value, value_len, 999));
        set_status(call, GRPC_UNKNOWN, text);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                   size_t len, void *user)
{
    struct grpc_call *call = user;
    struct error err = ERROR_INIT;
    (void)flags;
    if (stream_id != call->stream_id || call->has_status)
        return 0;
    enum grpc_status status = grpc_reader_feed(&call->reply, data, len, &err);
    if (status == GRPC_OK)
        return 0;
    set_status(call, GRPC_INTERNAL, err.text);
    return nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_CANCEL);
}

/* The whole connection was for this stream. */
static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t code, void *user)
{
    struct grpc_call *call = user;
    if (stream_id != call->stream_id)
        return 0;
    call->closed = true;
    if (!call->has_status && code != NGHTTP2_NO_ERROR) {
        char text[96];
        snprintf(text, sizeof(text), "the stream was reset: %s", nghttp2_http2_strerror(code));
        set_status(call, GRPC_UNAVAILABLE, text);
    }
    return nghttp2_session_terminate_session(session, NGHTTP2_NO_ERROR);
}

static int connect_unix(const char *path, struct error *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr.sun_path))
        return error_set(err, ENAMETOOLONG, "%s is longer than the %zu bytes of a socket's name",
                         path, sizeof(addr.sun_path) - 1);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_sys(err, errno, "cannot create a socket");
    if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
        return error_sys(err, errno, "cannot connect to %s", path);
    return steal_fd(&fd);
}

static nghttp2_nv field(const char *name, const char *value)
{
    /* nghttp2 copies both, and never writes to them. */
    union {
        const char *in;
        uint8_t *out;
    } n = {.in = name}, v = {.in = value};
    return (nghttp2_nv){
        .name = n.out, .value = v.out, .namelen = strlen(name), .valuelen = strlen(value)};
}

static int submit(struct grpc_call *call, const char *path, uint64_t timeout_ns, struct error *err)
{
    char timeout[24];
    snprintf(timeout, sizeof(timeout), "%um", (unsigned)(timeout_ns / NSEC_PER_MSEC));
    nghttp2_nv nv[] = {field(":method", "POST"),
                       field(":scheme", "http"),
                       field(":path", path),
                       field(":authority", "localhost"),
                       field("content-type", "application/grpc"),
                       field("te", "trailers"),
                       field("grpc-timeout", timeout),
                       field("user-agent", "podvisor/" PODVISOR_VERSION)};
    nghttp2_data_provider provider = {.read_callback = read_request};
    call->stream_id =
        nghttp2_submit_request(call->h2.session, NULL, nv, ARRAY_SIZE(nv), &provider, NULL);
    return call->stream_id > 0
               ? 0
               : error_set(err, ENOMEM, "HTTP/2: %s", nghttp2_strerror(call->stream_id));
}

static int open_session(struct grpc_call *call, int fd, struct error *err)
{
    static const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    nghttp2_session_callbacks *cb;
    if (nghttp2_session_callbacks_new(&cb) != 0) {
        close(fd);
        return error_set(err, ENOMEM, "no memory for HTTP/2 callbacks");
    }
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    call->h2 = H2_CONN_INIT;
    call->h2.ended = call_ended;
    int r = h2_conn_start(&call->h2, call->loop, fd, false, cb, call, settings,
                          ARRAY_SIZE(settings), err);
    nghttp2_session_callbacks_del(cb);
    return r;
}

int grpc_call_start(struct grpc_call *call, struct loop *loop, const char *socket_path,
                    const char *path, struct grpc_message *request, uint64_t timeout_ns,
                    void (*done)(struct grpc_call *call, int status, const char *text),
                    struct error *err)
{
    *call = GRPC_CALL_INIT;
    call->loop = loop;
    call->done = done;
    call->request = *request;
    *request = (struct grpc_message){.data = NULL};
    call->timeout = LOOP_TIMER_INIT(call_expired);
    int r = connect_unix(socket_path, err);
    if (r >= 0)
        r = open_session(call, r, err);
    if (r == 0)
        r = submit(call, path, timeout_ns, err);
    if (r == 0)
        r = loop_timer_arm(loop, &call->timeout, loop->now_ns() + timeout_ns);
    if (r < 0) {
        call_reset(call);
        return r;
    }
    call->active = true;
    h2_conn_flush(&call->h2);
    return 0;
}

void grpc_call_cancel(struct grpc_call *call)
{
    if (call->active)
        call_reset(call);
}

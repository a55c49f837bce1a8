// SPDX-License-Identifier: Apache-2.0
/* The pump between a socket and an nghttp2 session; see h2.h. */
#include "h2.h"
#include <podvisor/cleanup.h>
#include <sys/socket.h>

#define READ_MAX        16384
#define READS_PER_EVENT 8 /* a peer that never stops sending does not keep the loop from others */

void h2_conn_done(struct h2_conn *conn)
{
    if (conn->source.fd >= 0)
        loop_del(conn->loop, &conn->source);
    nghttp2_session_del(conn->session);
    conn->session = NULL;
    if (conn->fd >= 0)
        close(steal_fd(&conn->fd));
}

static void watch(struct h2_conn *conn, uint32_t events)
{
    if (conn->watched != events && loop_mod(conn->loop, &conn->source, events) == 0)
        conn->watched = events;
}

/* Returns 1 when all is sent, 0 when the socket is full, or a negative errno. */
static int send_frames(struct h2_conn *conn, struct error *err)
{
    for (;;) {
        if (conn->out_len == 0) {
            ssize_t n = nghttp2_session_mem_send(conn->session, &conn->out);
            if (n < 0)
                return error_set(err, EPROTO, "HTTP/2: %s", nghttp2_strerror((int)n));
            if (n == 0)
                return 1;
            conn->out_len = (size_t)n;
        }
        ssize_t n = send(conn->fd, conn->out, conn->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0)
            return error_sys(err, errno, "cannot send");
        conn->out += n;
        conn->out_len -= (size_t)n;
    }
}

void h2_conn_flush(struct h2_conn *conn)
{
    struct error err = ERROR_INIT;
    int r = send_frames(conn, &err);
    if (r < 0) {
        conn->ended(conn, &err);
        return;
    }
    if (r == 1 && nghttp2_session_want_read(conn->session) == 0 &&
        nghttp2_session_want_write(conn->session) == 0) {
        conn->ended(conn, &err);
        return;
    }
    watch(conn, r == 1 ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

/* Returns 1 to go on, 0 at the orderly end of the stream, or a negative errno. */
static int receive_frames(struct h2_conn *conn, struct error *err)
{
    uint8_t buf[READ_MAX];
    for (unsigned i = 0; i < READS_PER_EVENT; i++) {
        ssize_t n = recv(conn->fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 1;
        if (n < 0)
            return error_sys(err, errno, "cannot receive");
        if (n == 0)
            return 0;
        ssize_t taken = nghttp2_session_mem_recv(conn->session, buf, (size_t)n);
        if (taken < 0)
            return error_set(err, EPROTO, "HTTP/2: %s", nghttp2_strerror((int)taken));
        if (n < (ssize_t)sizeof(buf))
            return 1;
    }
    return 1;
}

static void conn_ready(struct loop_source *source, uint32_t events)
{
    struct h2_conn *conn = container_of(source, struct h2_conn, source);
    struct error err = ERROR_INIT;
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        int r = receive_frames(conn, &err);
        if (r <= 0) {
            conn->ended(conn, &err);
            return;
        }
    }
    h2_conn_flush(conn);
}

/*
 * Without nghttp2's checks of header fields: grpc-go before 1.30 (the kubelet of Kubernetes 1.20
 * and older) sends the socket's path as :authority, which those refuse. Who uses a field checks it.
 */
static int new_server(struct h2_conn *conn, const nghttp2_session_callbacks *callbacks, void *user)
{
    nghttp2_option *option;
    int r = nghttp2_option_new(&option);
    if (r != 0)
        return r;
    nghttp2_option_set_no_http_messaging(option, 1);
    r = nghttp2_session_server_new2(&conn->session, callbacks, user, option);
    nghttp2_option_del(option);
    return r;
}

int h2_conn_start(struct h2_conn *conn, struct loop *loop, int fd, bool server,
                  const nghttp2_session_callbacks *callbacks, void *user,
                  const nghttp2_settings_entry *settings, size_t settings_count, struct error *err)
{
    conn->loop = loop;
    conn->fd = fd;
    conn->source = LOOP_SOURCE_INIT(conn_ready);
    conn->watched = EPOLLIN;
    conn->out_len = 0;
    conn->session = NULL;
    int r = server ? new_server(conn, callbacks, user)
                   : nghttp2_session_client_new(&conn->session, callbacks, user);
    if (r == 0)
        r = nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, settings, settings_count);
    if (r != 0)
        r = error_set(err, ENOMEM, "HTTP/2: %s", nghttp2_strerror(r));
    else
        r = loop_add(loop, &conn->source, fd, conn->watched, err);
    if (r < 0)
        h2_conn_done(conn);
    return r;
}

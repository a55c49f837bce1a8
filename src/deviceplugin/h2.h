// SPDX-License-Identifier: Apache-2.0
/*
 * One HTTP/2 connection (RFC 9113, prior knowledge) on a UNIX socket in an event loop: moves bytes
 * between the socket and an nghttp2 session, which alone reads and writes frames. Loop thread only.
 */
#ifndef PODVISOR_DEVICEPLUGIN_H2_H
#define PODVISOR_DEVICEPLUGIN_H2_H

#include <nghttp2/nghttp2.h>
#include <podvisor/loop.h>

struct h2_conn {
    struct loop *loop;
    struct loop_source source;
    uint32_t watched; /* epoll events */
    int fd;
    nghttp2_session *session;
    const uint8_t *out; /* what the socket has not taken yet; nghttp2's until its next send */
    size_t out_len;
    /*
     * The connection ended by itself: `err` says why, with code 0 when it was orderly. Called once,
     * last in a turn: it may call h2_conn_done() and free the memory that holds `conn`.
     */
    void (*ended)(struct h2_conn *conn, const struct error *err);
};

#define H2_CONN_INIT ((struct h2_conn){.fd = -1, .source = {.fd = -1}})

/*
 * Begins on `fd` (non-blocking, taken over also on failure) with a session of either side; `user`
 * is the callbacks' user data, `settings` go first. Nothing is sent before h2_conn_flush(). On
 * failure there is nothing left to undo, and ended() is not called. Returns 0 or a negative errno.
 */
int h2_conn_start(struct h2_conn *conn, struct loop *loop, int fd, bool server,
                  const nghttp2_session_callbacks *callbacks, void *user,
                  const nghttp2_settings_entry *settings, size_t settings_count, struct error *err);

/* Sends what was submitted, as far as the socket takes it. May end the connection: `conn` is not
 * to be touched afterwards. Never from an nghttp2 callback. */
void h2_conn_flush(struct h2_conn *conn);

/* Closes; harmless when it is closed already. */
void h2_conn_done(struct h2_conn *conn);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * A gRPC server on a UNIX socket: unary methods, and server streams whose messages are snapshots
 * (each replaces the one before, so a slow reader gets the newest and costs one message of memory).
 * Handlers answer at once, so a grpc-timeout never expires here. Loop thread only.
 */
#ifndef PODVISOR_DEVICEPLUGIN_GRPC_SERVER_H
#define PODVISOR_DEVICEPLUGIN_GRPC_SERVER_H

#include "grpc.h"
#include <podvisor/log.h>
#include <podvisor/loop.h>
#include <sys/types.h>

#define GRPC_SERVER_CONN_MAX     16         /* connections at one time; more are closed */
#define GRPC_SERVER_STREAM_MAX   64         /* streams of a connection at one time */
#define GRPC_SERVER_BUFFERED_MAX (8u << 20) /* bytes of unfinished requests at one time */

/*
 * Answers a request of `len` bytes with a message allocated in *ret, or with another status than
 * GRPC_OK and a text in `err`. For a stream it makes the first snapshot from the request, and the
 * later ones from no bytes.
 */
typedef enum grpc_status grpc_handler(void *ctx, const uint8_t *request, size_t len,
                                      struct grpc_message *ret, struct error *err);

struct grpc_method {
    const char *path; /* "/v1beta1.DevicePlugin/Allocate" */
    grpc_handler *handler;
    bool stream;
};

struct grpc_service {
    const struct grpc_method *methods; /* the last has no path */
    /* `open` server streams are there now. Called within the server: do not close it here. */
    void (*streams_changed)(void *ctx, unsigned open);
};

struct grpc_server_conn;

struct grpc_server {
    struct loop *loop;
    const struct grpc_service *service;
    void *ctx;
    struct loop_source source;
    struct loop_timer resume; /* accepting again after descriptors ran out */
    int fd;                   /* -1: not listening */
    char *path;
    dev_t dev; /* of the socket's file */
    ino_t ino;
    struct grpc_server_conn *conns;
    unsigned conn_count;
    unsigned open_streams;
    size_t buffered; /* bytes of unfinished requests */
    struct log_ratelimit invalid_log;
};

#define GRPC_SERVER_INIT ((struct grpc_server){.fd = -1, .source = {.fd = -1}})

enum grpc_socket_state {
    GRPC_SOCKET_OURS,
    GRPC_SOCKET_GONE,
    GRPC_SOCKET_REPLACED, /* the name is another file's now */
};

/*
 * Listens at `path` (copied), mode 0600; a socket that is there already is replaced. Returns 0 or
 * a negative errno, -ENOENT when the folder is gone.
 */
int grpc_server_listen(struct grpc_server *server, struct loop *loop, const char *path,
                       const struct grpc_service *service, void *ctx, struct error *err);

/* Whether the socket's name still leads to this server. */
enum grpc_socket_state grpc_server_socket_state(const struct grpc_server *server);

/* Every open stream sends a new snapshot. Not within a handler. */
void grpc_server_publish(struct grpc_server *server);

/* True when no open stream has anything left to send. */
bool grpc_server_is_drained(const struct grpc_server *server);

/* Closes every connection and the socket, and removes its name if it is still ours. Harmless when
 * not listening. streams_changed is not called. */
void grpc_server_close(struct grpc_server *server);

#endif

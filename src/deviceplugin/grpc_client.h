// SPDX-License-Identifier: Apache-2.0
/*
 * One unary gRPC call over a connection of its own on a UNIX socket. It never waits: the kubelet
 * calls us back before it answers a registration. Loop thread only.
 */
#ifndef PODVISOR_DEVICEPLUGIN_GRPC_CLIENT_H
#define PODVISOR_DEVICEPLUGIN_GRPC_CLIENT_H

#include "grpc.h"
#include "h2.h"
#include <podvisor/loop.h>

struct grpc_call {
    struct h2_conn h2;
    struct loop *loop;
    struct loop_timer timeout;
    bool active;
    struct grpc_message request;
    size_t request_sent;
    int32_t stream_id;
    bool has_status;
    int status;
    char text[GRPC_TEXT_MAX];
    struct grpc_reader reply;
    bool closed; /* the stream is: the status is final */
    void (*done)(struct grpc_call *call, int status, const char *text);
};

#define GRPC_CALL_INIT ((struct grpc_call){.h2 = {.fd = -1, .source = {.fd = -1}}})

/*
 * Connects to `socket_path` and sends `request` (taken over) to the method at `path`. done() is
 * called once, with the server's status and text, or GRPC_UNAVAILABLE, GRPC_INTERNAL or
 * GRPC_DEADLINE_EXCEEDED (after `timeout_ns`) and ours; the call is over then and may be started
 * again. When the socket cannot be reached it returns a negative errno and done() is not called.
 */
int grpc_call_start(struct grpc_call *call, struct loop *loop, const char *socket_path,
                    const char *path, struct grpc_message *request, uint64_t timeout_ns,
                    void (*done)(struct grpc_call *call, int status, const char *text),
                    struct error *err);

/* Ends it without done(); harmless when none is under way. */
void grpc_call_cancel(struct grpc_call *call);

#endif

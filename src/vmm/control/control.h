// SPDX-License-Identifier: Apache-2.0
/*
 * The control server: a listening UNIX socket, up to CONTROL_CLIENT_MAX clients, one JSON object a
 * line (docs/control-protocol.md). It runs wholly in the thread of the loop that it was given, the
 * monitor's main loop, and never waits for a client: a line is at most CONTROL_LINE_MAX bytes, a
 * client that does not read its answers is disconnected once CONTROL_OUTPUT_MAX bytes wait for it.
 * Only processes of our own user or of root are served (SO_PEERCRED).
 *
 * After control_create() nothing is allocated. System calls made later: accept4, getsockopt
 * (SO_PEERCRED), recvfrom, sendto, poll (control_flush() only), close, and those of the loop.
 */
#ifndef PODVISOR_CONTROL_H
#define PODVISOR_CONTROL_H

#include <podvisor/error.h>
#include <podvisor/loop.h>
#include <stdint.h>

#define CONTROL_CLIENT_MAX 8
#define CONTROL_LINE_MAX   65536 /* bytes of one request, with its newline */
#define CONTROL_OUTPUT_MAX 65536 /* bytes of answers that wait for one client */

/* What an operation returns when its answer comes later through control_complete(). */
#define CONTROL_PENDING 1

struct console;
struct control;
struct json_writer;

/*
 * What the machine does for each method; all run in the loop's thread. Each returns 0, a negative
 * errno with `err` filled, or (those that get a token) CONTROL_PENDING. A NULL entry answers
 * "unsupported". Errno classes seen by clients: EINVAL "invalid_params", EBUSY and EALREADY
 * "conflict", ENOTSUP "unsupported", all others "failed".
 *
 * `status` and `metrics` write the members of the result object, which is open already:
 * json_write_*() pairs and nothing else.
 */
struct control_ops {
    int (*status)(void *ctx, struct json_writer *result, struct error *err);
    int (*metrics)(void *ctx, struct json_writer *result, struct error *err);
    int (*pause)(void *ctx, uint64_t token, struct error *err);    /* vCPUs parked */
    int (*resume)(void *ctx, uint64_t token, struct error *err);   /* vCPUs run again */
    int (*shutdown)(void *ctx, uint64_t token, struct error *err); /* power button pressed */
    int (*reset)(void *ctx, uint64_t token, struct error *err);    /* the machine starts over */
    int (*stop)(void *ctx, uint64_t token, struct error *err);     /* the process ends, exit 0 */
    /* The guest's target size, bytes of RAM that it may keep. */
    int (*set_balloon)(void *ctx, uint64_t target, uint64_t token, struct error *err);
};

/*
 * Serves `listen_fd` (listening, non-blocking; -1: none; owned from here on, also on failure).
 * `ops`, `ctx`, `loop` and `console` are borrowed; `console` may be NULL, then the method `console`
 * is unsupported. Returns 0 or a negative errno.
 */
int control_create(struct loop *loop, int listen_fd, const struct control_ops *ops, void *ctx,
                   struct console *console, struct control **ret_control, struct error *err);

/*
 * Serves a connected socket (owned from here on, also on failure; non-blocking) as though it had
 * been accepted. Returns 0, -EPERM for a foreign user, -EBUSY when CONTROL_CLIENT_MAX are served.
 */
int control_adopt(struct control *control, int fd);

/*
 * Answers a request whose operation returned CONTROL_PENDING: `result` 0, or a negative errno with
 * the text in `err` (may be NULL). A token whose client has left is ignored. Loop's thread.
 */
void control_complete(struct control *control, uint64_t token, int result, const struct error *err);

/* Waits at most `timeout_ms` until every client has read its answers; before the process ends. */
void control_flush(struct control *control, unsigned timeout_ms);

/* Disconnects all clients, closes the listening socket and frees. NULL is allowed. */
void control_destroy(struct control *control);

#endif

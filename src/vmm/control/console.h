// SPDX-License-Identifier: Apache-2.0
/*
 * The console hub: what the guest prints goes into a ring of CONSOLE_RING_SIZE bytes and from there
 * to standard output (or a file) and to attached clients; what people type goes to the guest.
 *
 * Threads. console_output(), console_output_room() and console_input_ready() may be called from any
 * thread; everything else, the callbacks too, belongs to the thread of the loop.
 *
 * Slow readers. The guest is never blocked: each reader has a cursor into the ring, and one that
 * falls more than a ring behind loses the oldest bytes and finds a notice in their place. Standard
 * output is a pod's log, so a device with flow control (virtio-console; not a UART) does better: it
 * takes no more than console_output_room() from the guest and goes on when ops->output_room() is
 * called. That loses nothing while the reader makes progress; a reader stuck for
 * CONSOLE_STUCK_MS is waited for no longer.
 *
 * After console_create() nothing is allocated. System calls made later: read, write, poll, close,
 * and those of the loop. SIGPIPE must be ignored by the process.
 */
#ifndef PODVISOR_CONSOLE_H
#define PODVISOR_CONSOLE_H

#include <podvisor/error.h>
#include <podvisor/loop.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONSOLE_RING_SIZE  65536 /* a late client sees this much of the past */
#define CONSOLE_CLIENT_MAX 8
#define CONSOLE_STUCK_MS   250

/* Typed three times in a row on the terminal of `vmm run`, it asks to end the VM. */
#define CONSOLE_ESCAPE_KEY 0x1d /* Ctrl-] */

struct console;

struct console_ops {
    /*
     * Bytes for the guest. Returns how many were taken; when fewer than `len`, no more is offered
     * until console_input_ready(). NULL: input is thrown away.
     */
    size_t (*input)(void *ctx, const uint8_t *bytes, size_t len);
    /* CONSOLE_ESCAPE_KEY three times on the terminal. May be NULL. */
    void (*escape)(void *ctx);
    /* console_output_room() grew after it had been less than a caller wanted. May be NULL. */
    void (*output_room)(void *ctx);
};

struct console_counters {
    uint64_t output_bytes;      /* printed by the guest */
    uint64_t output_lost_bytes; /* of them, never written to standard output */
    uint64_t input_bytes;       /* taken by the guest */
    unsigned clients;           /* attached now */
};

/*
 * `in_fd` and `out_fd` (-1: none) are borrowed; a blocking out_fd is only written when poll says
 * that it is ready. `terminal`: in_fd is a terminal in raw mode, watch for the escape key. `loop`,
 * `ops` and `ctx` are borrowed. Returns 0 or a negative errno.
 */
int console_create(struct loop *loop, const struct console_ops *ops, void *ctx, int in_fd,
                   int out_fd, bool terminal, struct console **ret_console, struct error *err);

/* Any thread: the guest printed `len` bytes. Takes all of them, never waits. */
void console_output(struct console *console, const void *bytes, size_t len);

/*
 * Any thread: how many of `wanted` bytes can be printed now without loss on standard output; when
 * fewer than wanted, ops->output_room() follows. `wanted` itself when nothing needs to be waited
 * for.
 */
size_t console_output_room(struct console *console, size_t wanted);

/* Any thread: the guest can take input again. */
void console_input_ready(struct console *console);

/*
 * Attaches a connected socket (owned from here on, also on failure; must be non-blocking). `replay`
 * first sends what the ring still holds. Returns 0, or -EBUSY when CONSOLE_CLIENT_MAX are attached.
 */
int console_attach(struct console *console, int fd, bool replay, struct error *err);

void console_get_counters(struct console *console, struct console_counters *ret_counters);

/* Waits at most `timeout_ms` until standard output has all the guest printed; clients get what they
 * take at once. Before the process ends. */
void console_flush(struct console *console, unsigned timeout_ms);

/* Detaches everything and frees; no other thread may use it any more. NULL is allowed. */
void console_destroy(struct console *console);

#endif

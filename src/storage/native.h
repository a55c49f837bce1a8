// SPDX-License-Identifier: Apache-2.0
/*
 * Between engine_native.c, which decides what becomes of a request, and the two interfaces of the
 * kernel that can carry one (native_uring.c, native_aio.c). All on the loop's thread.
 */
#ifndef PODVISOR_STORAGE_NATIVE_H
#define PODVISOR_STORAGE_NATIVE_H

#include "engine.h"

/* Requests in the kernel at one time; more go to the fallback. */
#define NATIVE_DEPTH 256

struct native;

struct native_ops {
    const char *name;
    bool buffered; /* also what is not direct I/O, without blocking the caller */
    /* Sets up everything, n->source included. 0, or a negative errno and nothing is left. */
    int (*open)(struct native *n, struct error *err);
    void (*close)(struct native *n);
    /* Takes a READ or WRITE: at most NATIVE_DEPTH at a time. */
    void (*queue)(struct native *n, struct engine_request *req);
    /* Hands the kernel what was queued, or gives it to native_complete(). */
    void (*submit)(struct native *n);
    /* Calls native_complete() for all that is finished. */
    void (*reap)(struct native *n);
};

struct native {
    struct engine engine;
    struct engine_native_config config;
    const struct native_ops *ops; /* NULL: the fallback does everything */
    void *backend;                /* the interface's own */
    struct loop_source source;    /* what tells that something is finished */
    struct loop_work again;       /* posted when the kernel took less than all */
    struct engine_request *finished_head, *finished_tail;
};

/* The kernel is done with `req`: bytes moved, or a negative errno. */
void native_complete(struct native *n, struct engine_request *req, int64_t moved);

extern const struct native_ops native_uring, native_aio;

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * I/O engines: how the requests of one I/O loop's disks reach their images without blocking that
 * loop. One engine serves all disks of a loop. An engine is an ops table; today there is a pool of
 * threads (engine_pool.c), and what a page cache can answer is done in the caller's thread without
 * any.
 *
 * Requests and their buffers belong to the device; nothing is allocated after engine_open_pool().
 * All functions are called on the loop's thread.
 */
#ifndef PODVISOR_STORAGE_ENGINE_H
#define PODVISOR_STORAGE_ENGINE_H

#include "image.h"
#include <podvisor/loop.h>

#define ENGINE_THREADS_MAX     16
#define ENGINE_THREADS_DEFAULT 4

enum engine_op {
    ENGINE_READ,
    ENGINE_WRITE,
    ENGINE_FLUSH,
    ENGINE_DISCARD,
    ENGINE_WRITE_ZEROES,
};

struct engine_request;

/* Who submits: a disk. Functions run on the loop's thread, never inside engine_submit(). */
struct engine_client {
    /* `req` is finished: req->result is 0 or a negative errno. It may be reused at once. */
    void (*complete)(struct engine_client *client, struct engine_request *req);
    /* Follows one or many complete(): the moment to tell the guest, once. */
    void (*completed)(struct engine_client *client);
    struct engine_client *next; /* engine's, while a batch is delivered */
    bool touched;
};

struct engine_request {
    /* Set by the client. */
    struct engine_client *client;
    struct image *image;
    struct iovec *iov; /* READ, WRITE: the engine changes the entries as it goes */
    uint64_t offset;   /* bytes, as is len: multiples of 512 */
    uint64_t len;      /* READ, WRITE: the sum of iov */
    unsigned iov_count;
    enum engine_op op;
    bool unmap; /* WRITE_ZEROES: the blocks may go */
    bool sync;  /* WRITE, WRITE_ZEROES: on stable storage before it completes */
    /* Set by the engine. */
    int result;
    struct engine_request *next;
};

struct engine;

struct engine_ops {
    const char *name;
    int (*await_start)(struct engine *engine, struct error *err);
    void (*submit)(struct engine *engine, struct engine_request *req);
    void (*kick)(struct engine *engine);
    /* Waits, at most timeout_ms (-1: for ever), until something is finished, and delivers it. */
    void (*wait)(struct engine *engine, int timeout_ms);
    void (*close)(struct engine *engine);
};

struct engine {
    const struct engine_ops *ops;
    struct loop *loop;
    unsigned in_flight;
    uint64_t inline_bytes; /* moved on the spot since the last engine_kick() */
};

struct engine_pool_config {
    const char *name; /* threads are called NAME0, NAME1...: at most 12 bytes */
    unsigned threads; /* 0: ENGINE_THREADS_DEFAULT */
    /*
     * Runs first in every thread (NULL: nothing does), so that the sandbox can be put on it.
     * Returns 0 or a negative errno, which then fails engine_await_start().
     */
    int (*thread_start)(void *ctx);
    void *ctx;
};

/*
 * Starts an engine of threads for `loop`; start-up only. Does not wait for the threads, so that the
 * caller can prepare other things meanwhile: see engine_await_start(). 0 or a negative errno.
 */
int engine_open_pool(const struct engine_pool_config *config, struct loop *loop,
                     struct engine **ret_engine, struct error *err);

/*
 * Waits until thread_start() has returned in every thread. Returns 0, or a negative errno when it
 * failed in one of them. May be called from another thread than the loop's, before the first
 * request.
 */
int engine_await_start(struct engine *engine, struct error *err);

/*
 * Takes a request. Returns true when it is finished already: req->result is set and complete() is
 * not called. Otherwise it is the engine's until complete(); see engine_kick().
 */
bool engine_submit(struct engine *engine, struct engine_request *req);

/* Starts what engine_submit() kept: call it once after a batch. */
void engine_kick(struct engine *engine);

/*
 * Waits at most `timeout_ms` (-1: for ever) until nothing is in flight, delivering what finishes;
 * the loop itself is not run, so nothing new starts. For shutdown, when the loop's thread has ended
 * or on that thread. Returns whether nothing is in flight.
 */
bool engine_drain(struct engine *engine, int timeout_ms);

/* Ends the threads and frees the engine (NULL is allowed). Nothing is in flight. */
void engine_close(struct engine *engine);

/*
 * For implementations: delivers finished requests (linked by `next`, in this order) to their
 * clients.
 */
void engine_deliver(struct engine *engine, struct engine_request *list);

#endif

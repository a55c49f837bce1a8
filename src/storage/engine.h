// SPDX-License-Identifier: Apache-2.0
/*
 * I/O engines: how the requests of one I/O loop's disks reach their images without blocking that
 * loop. An engine is an ops table and serves any number of disks of a loop. There are two: a pool
 * of threads that block (engine_pool.c), and the kernel's own asynchronous I/O (engine_native.c),
 * which leaves to a pool what it cannot do. What a page cache can answer is done in the caller's
 * thread with neither.
 *
 * Requests and their buffers belong to the device; nothing is allocated after the start. Unless
 * said otherwise, functions are called on the loop's thread.
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
    bool locked; /* holds image->rmw_lock, shared */
    int result;
    struct engine_request *next;
};

struct engine;

struct engine_ops {
    const char *name;
    int (*await_start)(struct engine *engine, struct error *err);
    void (*submit)(struct engine *engine, struct engine_request *req);
    void (*kick)(struct engine *engine);
    void (*close)(struct engine *engine);
};

struct engine {
    const struct engine_ops *ops;
    struct loop *loop;
    struct engine *fallback; /* whom this one passes requests on to, or NULL */
    unsigned in_flight;      /* here; those passed on are the fallback's */
    uint64_t inline_bytes;   /* moved on the spot since the last engine_kick() */
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

/* Which of the kernel's interfaces. */
enum engine_native_kind {
    ENGINE_NATIVE_BEST,  /* io_uring, else Linux AIO */
    ENGINE_NATIVE_URING, /* io_uring(7) or the fallback */
    ENGINE_NATIVE_AIO,   /* io_submit(2), for direct I/O only, or the fallback */
};

struct engine_native_config {
    struct engine *fallback; /* of the same loop; closed after this one */
    enum engine_native_kind kind;
};

/*
 * Prepares an engine of the kernel's asynchronous I/O for `loop`; start-up only, any thread. It is
 * complete, and as good as its fallback, from here on; see engine_native_start(). 0 or a negative
 * errno.
 */
int engine_open_native(const struct engine_native_config *config, struct loop *loop,
                       struct engine **ret_engine, struct error *err);

/*
 * Sets up what the kernel lets us have; once, on the loop's own thread, before its sandbox and the
 * first request. Returns the name of the interface ("io_uring", "aio") or NULL: there is none, the
 * fallback does everything, and `err` says why.
 */
const char *engine_native_start(struct engine *engine, struct error *err);

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

/* Starts what engine_submit() kept: call it once after a batch. May deliver what is finished. */
void engine_kick(struct engine *engine);

/*
 * Runs the loop for at most `timeout_ms` (-1: for ever) until nothing is in flight, here or in the
 * fallback. For the end, when clients start nothing new. Returns whether nothing is in flight.
 */
bool engine_drain(struct engine *engine, int timeout_ms);

/* Ends the threads and frees the engine (NULL is allowed), but not its fallback. Nothing is in
 * flight. Any thread, when the loop's has ended. */
void engine_close(struct engine *engine);

/*
 * For implementations: delivers finished requests (linked by `next`, in this order) to their
 * clients.
 */
void engine_deliver(struct engine *engine, struct engine_request *list);

/* For implementations: hands a request that engine_submit() gave to `from` to the fallback. */
void engine_pass_on(struct engine *from, struct engine_request *req);

#endif

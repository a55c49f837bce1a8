// SPDX-License-Identifier: Apache-2.0
/*
 * The engine of the kernel's asynchronous I/O: a batch of requests is one system call, and no
 * thread waits for any of them. Owns the interface that was found at the start. Loop's thread.
 *
 * It carries reads and writes of images whose bytes lie in a descriptor as they are, aligned as
 * direct I/O wants them. All else goes to the fallback: other formats, flush, discard, zeroes, odd
 * requests, whatever comes when NATIVE_DEPTH are on their way, the rest of a short transfer, and
 * everything where the kernel or its administrator offers no interface at all (the seccomp profile
 * of container runtimes allows Linux AIO and forbids io_uring).
 *
 * Guest memory is not registered as fixed buffers: that would pin it, all of it, for good, and a
 * guest's memory is to be given page by page and taken back.
 */
#include "blockio.h"
#include "native.h"
#include <podvisor/cleanup.h>
#include <podvisor/iov.h>
#include <podvisor/log.h>

static struct native *native_of(struct engine *engine)
{
    return container_of(engine, struct native, engine);
}

/*
 * Takes part in the order between whole and partial blocks (struct image, rmw_lock) without ever
 * waiting for it: whoever would have to goes to a thread.
 */
static bool try_lock(struct engine_request *req)
{
    struct image *img = req->image;
    if (req->op != ENGINE_WRITE || img->geometry.offset_align <= IMAGE_SECTOR_SIZE)
        return true;
    req->locked = pthread_rwlock_tryrdlock(&img->rmw_lock) == 0;
    return req->locked;
}

static void unlock(struct engine_request *req)
{
    if (req->locked)
        pthread_rwlock_unlock(&req->image->rmw_lock);
    req->locked = false;
}

static bool can_carry(const struct native *n, const struct engine_request *req)
{
    struct image *img = req->image;
    bool write = req->op == ENGINE_WRITE;
    if (n->ops == NULL || (!write && req->op != ENGINE_READ) || req->len == 0 ||
        n->engine.in_flight > NATIVE_DEPTH || img->format != IMAGE_FORMAT_RAW)
        return false;
    /*
     * A file system that would block in a buffered write does so on a kernel thread as well. One
     * that shall be on stable storage would be told of the page cache's errors, also of others'
     * writes, out of their order: image_sync() keeps that.
     */
    if (!img->geometry.direct &&
        (!n->ops->buffered || (write && req->sync) ||
         (write && !atomic_load_explicit(&img->nowait_write, memory_order_relaxed))))
        return false;
    return blockio_is_aligned(req);
}

static void native_submit(struct engine *engine, struct engine_request *req)
{
    struct native *n = native_of(engine);
    if (can_carry(n, req) && try_lock(req))
        n->ops->queue(n, req);
    else
        engine_pass_on(engine, req);
}

static void finish(struct native *n, struct engine_request *req, int result)
{
    req->result = result;
    req->next = NULL;
    if (n->finished_head == NULL)
        n->finished_head = req;
    else
        n->finished_tail->next = req;
    n->finished_tail = req;
}

void native_complete(struct native *n, struct engine_request *req, int64_t moved)
{
    unlock(req);
    if (moved == -EAGAIN || moved == -EINTR || moved == -ECANCELED) {
        engine_pass_on(&n->engine, req);
    } else if (moved <= 0) {
        finish(n, req, moved < 0 ? (int)moved : -EIO); /* 0: somebody shrank the file */
    } else {
        req->offset += (uint64_t)moved;
        req->len -= (uint64_t)moved;
        iov_drop_front(&req->iov, &req->iov_count, (size_t)moved);
        if (req->len == 0)
            finish(n, req, 0);
        else
            engine_pass_on(&n->engine, req);
    }
}

static void deliver(struct native *n)
{
    struct engine_request *list = n->finished_head;
    n->finished_head = n->finished_tail = NULL;
    if (list != NULL)
        engine_deliver(&n->engine, list);
}

/* What the page cache had is finished when the kernel returns: it costs no other turn. */
static void native_kick(struct engine *engine)
{
    struct native *n = native_of(engine);
    if (n->ops == NULL || engine->in_flight == 0)
        return;
    n->ops->submit(n);
    n->ops->reap(n);
    deliver(n);
}

static void finished_ready(struct loop_source *source, uint32_t events)
{
    (void)events;
    struct native *n = container_of(source, struct native, source);
    n->ops->reap(n);
    engine_kick(n->engine.fallback);
    deliver(n);
}

static void kick_again(struct loop_work *work)
{
    engine_kick(&container_of(work, struct native, again)->engine);
}

const char *engine_native_start(struct engine *engine, struct error *err)
{
    static const struct native_ops *const all[] = {&native_uring, &native_aio};
    struct native *n = native_of(engine);
    for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
        bool wanted = n->config.kind == ENGINE_NATIVE_BEST ||
                      (n->config.kind == ENGINE_NATIVE_URING) == (all[i] == &native_uring);
        if (wanted && all[i]->open(n, err) == 0) {
            n->ops = all[i];
            return n->ops->name;
        }
    }
    return NULL;
}

static int native_await_start(struct engine *engine, struct error *err)
{
    return engine_await_start(engine->fallback, err);
}

static void native_close(struct engine *engine)
{
    struct native *n = native_of(engine);
    if (n->ops != NULL)
        n->ops->close(n);
    free(n);
}

static const struct engine_ops native_engine_ops = {
    .name = "native",
    .await_start = native_await_start,
    .submit = native_submit,
    .kick = native_kick,
    .close = native_close,
};

int engine_open_native(const struct engine_native_config *config, struct loop *loop,
                       struct engine **ret_engine, struct error *err)
{
    struct native *n = calloc(1, sizeof(*n));
    if (n == NULL)
        return error_sys(err, ENOMEM, "cannot allocate an I/O engine");
    n->engine =
        (struct engine){.ops = &native_engine_ops, .loop = loop, .fallback = config->fallback};
    n->config = *config;
    n->source = LOOP_SOURCE_INIT(finished_ready);
    n->again.run = kick_again;
    *ret_engine = &n->engine;
    return 0;
}

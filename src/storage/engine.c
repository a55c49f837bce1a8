// SPDX-License-Identifier: Apache-2.0
/*
 * What all engines share: the attempt to serve a request from the page cache on the spot, and the
 * delivery of results in batches. Runs on the I/O loop's thread and owns nothing.
 *
 * A read that hits the page cache takes about a microsecond; two thread switches take ten times
 * that. preadv2(RWF_NOWAIT) does the former and says EAGAIN instead of waiting for a disk. Writes
 * likewise where the file system can (XFS, btrfs; ext4 and tmpfs answer EOPNOTSUPP, once).
 */
#include "engine.h"
#include <assert.h>
#include <podvisor/clock.h>
#include <podvisor/iov.h>

/*
 * Larger requests are worth a thread of their own: copying them would hold up the loop. So are
 * those that come after much was copied in the same batch, unless they are small: several threads
 * copy faster than one.
 */
#define INLINE_MAX   (UINT64_C(256) << 10)
#define INLINE_SMALL (UINT64_C(16) << 10)
#define INLINE_BATCH (UINT64_C(128) << 10)

/* Moves what needs no waiting. Returns true when that was all; an error is left to a thread, which
 * will meet it again. */
static bool try_inline(struct engine *engine, struct engine_request *req)
{
    struct image *img = req->image;
    bool read = req->op == ENGINE_READ;
    atomic_bool *able = read ? &img->nowait_read : &img->nowait_write;
    if (req->len > INLINE_MAX || !atomic_load_explicit(able, memory_order_relaxed))
        return false;
    if (req->len > INLINE_SMALL && engine->inline_bytes >= INLINE_BATCH)
        return false;
    ssize_t n =
        (read ? img->ops->read : img->ops->write)(img, req->iov, req->iov_count, req->offset, true);
    if (n == -EOPNOTSUPP)
        atomic_store_explicit(able, false, memory_order_relaxed);
    if (n <= 0)
        return false;
    engine->inline_bytes += (uint64_t)n;
    req->offset += (uint64_t)n;
    req->len -= (uint64_t)n;
    iov_drop_front(&req->iov, &req->iov_count, (size_t)n);
    return req->len == 0;
}

bool engine_submit(struct engine *engine, struct engine_request *req)
{
    req->result = 0;
    req->locked = false;
    /* A synchronous write whose data was moved before it failed is still to be flushed. */
    if (req->op != ENGINE_FLUSH && req->len == 0 && !req->sync)
        return true;
    if (req->op != ENGINE_READ && req->op != ENGINE_FLUSH && req->image->readonly) {
        req->result = -EROFS;
        return true;
    }
    if ((req->op == ENGINE_READ || (req->op == ENGINE_WRITE && !req->sync)) &&
        try_inline(engine, req))
        return true;
    engine->in_flight++;
    engine->ops->submit(engine, req);
    return false;
}

void engine_kick(struct engine *engine)
{
    engine->inline_bytes = 0;
    engine->ops->kick(engine);
    if (engine->fallback != NULL)
        engine_kick(engine->fallback);
}

void engine_pass_on(struct engine *from, struct engine_request *req)
{
    from->in_flight--;
    from->fallback->in_flight++;
    from->fallback->ops->submit(from->fallback, req);
}

void engine_deliver(struct engine *engine, struct engine_request *list)
{
    struct engine_client *touched = NULL;
    while (list != NULL) {
        struct engine_request *req = list;
        struct engine_client *client = req->client;
        list = req->next;
        engine->in_flight--;
        if (!client->touched) {
            client->touched = true;
            client->next = touched;
            touched = client;
        }
        client->complete(client, req);
    }
    while (touched != NULL) {
        struct engine_client *client = touched;
        touched = client->next;
        client->touched = false;
        client->completed(client);
    }
}

static bool is_idle(const struct engine *engine)
{
    return engine->in_flight == 0 && (engine->fallback == NULL || engine->fallback->in_flight == 0);
}

bool engine_drain(struct engine *engine, int timeout_ms)
{
    uint64_t deadline = clock_now_ns() + (uint64_t)timeout_ms * NSEC_PER_MSEC;
    engine_kick(engine);
    while (!is_idle(engine)) {
        int left_ms = -1;
        if (timeout_ms >= 0) {
            uint64_t now = clock_now_ns();
            if (now >= deadline)
                return false;
            left_ms = (int)((deadline - now) / NSEC_PER_MSEC) + 1;
        }
        if (loop_run_once(engine->loop, left_ms) < 0)
            return false;
    }
    return true;
}

int engine_await_start(struct engine *engine, struct error *err)
{
    return engine->ops->await_start(engine, err);
}

void engine_close(struct engine *engine)
{
    if (engine == NULL)
        return;
    assert(engine->in_flight == 0);
    engine->ops->close(engine);
}

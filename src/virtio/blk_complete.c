// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-blk: the end of requests, and the error policy. A request that failed may wait: it keeps
 * its slot, is told to whoever halts the guest, and is given to the engine once more, with what is
 * left of it, when virtio_blk_retry() says so. Meanwhile no new ones are taken. I/O loop.
 */
#include "blk_internal.h"
#include <linux/virtio_blk.h>
#include <podvisor/counter.h>
#include <string.h>

void blk_give_slot(struct virtio_blk *blk, struct virtio_blk_slot *slot)
{
    slot->busy = false;
    blk->free_slot[blk->free_count++] = (uint16_t)(slot - blk->slot);
}

void blk_push(struct virtio_blk *blk, unsigned queue, uint16_t head, uint8_t *status, uint8_t value,
              uint32_t written)
{
    *status = value;
    virtq_push(&blk->dev.queue[queue].vq, head, written);
    blk->unpublished |= 1u << queue;
}

void blk_publish(struct virtio_blk *blk)
{
    while (blk->unpublished != 0) {
        unsigned queue = (unsigned)__builtin_ctz(blk->unpublished);
        blk->unpublished &= blk->unpublished - 1;
        virtio_device_notify(&blk->dev, queue);
    }
}

static void count_success(struct virtio_blk *blk, enum engine_op op, uint64_t bytes)
{
    struct virtio_blk_counters *c = &blk->counters;
    switch (op) {
    case ENGINE_READ:
        counter_add(&c->reads, 1);
        counter_add(&c->read_bytes, bytes);
        break;
    case ENGINE_WRITE:
        counter_add(&c->writes, 1);
        counter_add(&c->write_bytes, bytes);
        break;
    case ENGINE_FLUSH:
        counter_add(&c->flushes, 1);
        break;
    case ENGINE_DISCARD:
        counter_add(&c->discards, 1);
        break;
    case ENGINE_WRITE_ZEROES:
        counter_add(&c->write_zeroes, 1);
        break;
    }
}

static void report_error(struct virtio_blk *blk, const struct engine_request *req)
{
    static const char *const name[] = {
        [ENGINE_READ] = "read",
        [ENGINE_WRITE] = "write",
        [ENGINE_FLUSH] = "flush",
        [ENGINE_DISCARD] = "discard",
        [ENGINE_WRITE_ZEROES] = "write of zeroes",
    };
    counter_add(&blk->counters.errors, 1);
    uint32_t suppressed;
    if (!log_ratelimit_allow(&blk->error_log, &suppressed))
        return;
    const struct log_field field[] = {LOG_INT("offset", req->offset), LOG_INT("bytes", req->len),
                                      LOG_INT("suppressed", suppressed)};
    log_write(LOG_LEVEL_WARN, blk->dev.name, field, suppressed > 0 ? 3 : 2, "%s failed: %s",
              name[req->op], strerrordesc_np(-req->result));
}

/* ---- error policy ---- */

bool blk_is_halted(const struct virtio_blk *blk)
{
    return blk->halted || blk->retrying > 0 || blk->ending;
}

/* What the page cache has lost no retry brings back: only the guest can act (image_sync()). */
static bool is_lost(const struct virtio_blk *blk, const struct engine_request *req)
{
    return (req->op == ENGINE_FLUSH || req->sync) &&
           atomic_load_explicit(&blk->image->flush_error, memory_order_relaxed) != 0;
}

static bool must_wait(const struct virtio_blk *blk, const struct engine_request *req)
{
    if (is_lost(blk, req))
        return false;
    if (blk->error_policy == VIRTIO_BLK_ERROR_ENOSPACE)
        return req->op != ENGINE_READ && (req->result == -ENOSPC || req->result == -EDQUOT);
    return blk->error_policy == VIRTIO_BLK_ERROR_STOP;
}

static void hold(struct virtio_blk *blk, struct engine_request *req)
{
    req->next = NULL;
    if (blk->held_head == NULL)
        blk->held_head = req;
    else
        blk->held_tail->next = req;
    blk->held_tail = req;
    if (blk->halted)
        return;
    blk->halted = true;
    if (blk->ops != NULL)
        blk->ops->halted(blk->ctx, blk, -req->result);
}

void blk_drop_held(struct virtio_blk *blk)
{
    bool told = blk->halted || blk->recovering;
    while (blk->held_head != NULL) {
        struct engine_request *req = blk->held_head;
        blk->held_head = req->next;
        blk_give_slot(blk, container_of(req, struct virtio_blk_slot, req));
    }
    blk->halted = blk->recovering = false;
    if (told && blk->ops != NULL)
        blk->ops->recovered(blk->ctx, blk);
}

/* What could not be read is zeroes rather than what the guest had there before. */
static void ignore_error(struct engine_request *req)
{
    for (unsigned i = 0; req->op == ENGINE_READ && i < req->iov_count; i++)
        memset(req->iov[i].iov_base, 0, req->iov[i].iov_len);
    req->result = 0;
}

/* Returns whether the request waits. */
static bool apply_error_policy(struct virtio_blk *blk, struct engine_request *req)
{
    report_error(blk, req);
    if (must_wait(blk, req)) {
        hold(blk, req);
        return true;
    }
    if (blk->error_policy == VIRTIO_BLK_ERROR_IGNORE)
        ignore_error(req);
    return false;
}

/* Goes on when all that was tried again is done. */
static void end_retry(struct virtio_blk *blk)
{
    if (!blk->recovering || blk->retrying > 0)
        return;
    blk->recovering = false;
    if (blk->halted)
        return;
    for (unsigned i = 0; i < blk->dev.queue_count; i++) {
        if (blk->dev.queue[i].active)
            virtio_device_rekick(&blk->dev, i);
    }
    if (blk->ops != NULL)
        blk->ops->recovered(blk->ctx, blk);
}

static void retry(struct loop_work *work)
{
    struct virtio_blk *blk = container_of(work, struct virtio_blk, retry_work);
    struct engine_request *list = blk->held_head;
    blk->held_head = NULL;
    blk->halted = false;
    blk->recovering = true;
    while (list != NULL) {
        struct engine_request *req = list;
        struct virtio_blk_slot *slot = container_of(req, struct virtio_blk_slot, req);
        list = req->next;
        slot->retried = true;
        blk->retrying++;
        if (engine_submit(blk->engine, req))
            blk_finish(blk, slot);
    }
    engine_kick(blk->engine);
    blk_publish(blk);
    end_retry(blk);
}

void virtio_blk_retry(struct virtio_blk *blk)
{
    loop_post(blk->dev.loop, &blk->retry_work);
}

/* ---- completion ---- */

/* used.len counts what is surely written. */
void blk_finish(struct virtio_blk *blk, struct virtio_blk_slot *slot)
{
    struct engine_request *req = &slot->req;
    uint8_t status = VIRTIO_BLK_S_OK;
    uint32_t written = 1;
    blk->retrying -= slot->retried;
    slot->retried = false;
    if (req->result < 0 && apply_error_policy(blk, req))
        return;
    if (req->result == 0) {
        count_success(blk, req->op, slot->bytes);
        if (req->op == ENGINE_READ)
            written += (uint32_t)slot->bytes;
    } else {
        status = VIRTIO_BLK_S_IOERR;
        /* The status lies behind data that may not be there: nothing is promised (§2.7.8.2). */
        if (req->op == ENGINE_READ)
            written = 0;
    }
    blk_push(blk, slot->queue, slot->head, slot->status, status, written);
    blk_give_slot(blk, slot);
}

static void request_complete(struct engine_client *client, struct engine_request *req)
{
    struct virtio_blk *blk = container_of(client, struct virtio_blk, client);
    struct virtio_blk_slot *slot = container_of(req, struct virtio_blk_slot, req);
    if (!slot->busy || slot->generation != blk->generation)
        abort();
    /* A driver that resets no longer waits for completions: its ring is left alone. */
    if (blk->stopping)
        blk_give_slot(blk, slot);
    else
        blk_finish(blk, slot);
}

static void batch_complete(struct engine_client *client)
{
    struct virtio_blk *blk = container_of(client, struct virtio_blk, client);
    if (blk->stopping) {
        if (blk->free_count == blk->slot_count)
            virtio_device_stopped(&blk->dev);
        return;
    }
    blk_publish(blk);
    end_retry(blk);
}

void blk_init_completion(struct virtio_blk *blk)
{
    blk->client = (struct engine_client){.complete = request_complete, .completed = batch_complete};
    blk->retry_work.run = retry;
}

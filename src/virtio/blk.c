// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-blk, virtio 1.2 §5.2. Owns the requests in flight: an array of slots, as many as the
 * queues have entries, allocated at start-up. Everything but initialisation, capacity and metrics
 * runs on the I/O loop.
 *
 * A kick takes all that is available, starts it, and tells the driver once. Most reads are finished
 * by then, out of the page cache; for the others the engine calls back, also in batches.
 *
 * A slot belongs to a request from pop to completion. ops->stop() only stops taking new ones; the
 * device is reported stopped when the last slot is back, so that no completion ever refers to a
 * queue, or to guest memory, of another life of the device. The generation in the slot is what
 * checks it.
 *
 * Nothing is assumed about how a request is cut into descriptors (§2.7.4): the header is the first
 * 16 readable bytes, the status the last writable byte, data what lies between.
 */
#include "blk_internal.h"
#include <endian.h>
#include <linux/virtio_blk.h>
#include <podvisor/counter.h>
#include <podvisor/iov.h>
#include <string.h>

/* What one kick may do before other work of the loop gets its turn. */
#define PASS_REQUESTS (4 * VIRTIO_BLK_QUEUE_SIZE)
#define PASS_BYTES    (UINT64_C(8) << 20)

/* A chain taken apart. */
struct request {
    uint32_t type;
    uint64_t sector;
    struct iovec *out, *in; /* data: readable and writable parts */
    unsigned out_count, in_count;
    uint64_t out_len, in_len;
    uint8_t *status;
};

/* What became of a request; PENDING: the engine has it. */
enum outcome {
    OUTCOME_OK = VIRTIO_BLK_S_OK,
    OUTCOME_IOERR = VIRTIO_BLK_S_IOERR,
    OUTCOME_UNSUPP = VIRTIO_BLK_S_UNSUPP,
    OUTCOME_PENDING,
};

static struct virtio_blk_slot *take_slot(struct virtio_blk *blk, unsigned queue, uint16_t head)
{
    /* There is a slot for every entry of every queue, and no head is in flight twice. */
    if (blk->free_count == 0)
        abort();
    struct virtio_blk_slot *slot = &blk->slot[blk->free_slot[--blk->free_count]];
    slot->generation = blk->generation;
    slot->queue = (uint16_t)queue;
    slot->head = head;
    slot->busy = true;
    slot->retried = false;
    return slot;
}

/* The slot's own copy of the data's parts: the list that they came in serves the next pop. */
static struct iovec *slot_iov(struct virtio_blk *blk, struct virtio_blk_slot *slot,
                              const struct iovec *iov, unsigned iov_count)
{
    struct iovec *copy = slot->small_iov;
    if (iov_count > SMALL_IOV)
        copy = &blk->large_iov[(size_t)VIRTIO_BLK_QUEUE_SIZE * (size_t)(slot - blk->slot)];
    memcpy(copy, iov, sizeof(*iov) * iov_count);
    return copy;
}

/* ---- requests ---- */

/* Takes the chain apart. Returns NULL, or what rule it breaks so badly that it has no answer. */
static const char *parse(const struct virtq_chain *chain, struct request *ret_request)
{
    struct virtio_blk_outhdr header;
    if (iov_read(chain->iov, chain->readable_count, 0, &header, sizeof(header)) != sizeof(header))
        return "block request without a whole header";
    if (chain->writable_len == 0)
        return "block request without room for its status";
    struct request r = {.out = chain->iov,
                        .out_count = chain->readable_count,
                        .out_len = chain->readable_len - sizeof(header),
                        .in = chain->iov + chain->readable_count,
                        .in_count = chain->writable_count,
                        .in_len = chain->writable_len - 1};
    r.type = le32toh(header.type);
    r.sector = le64toh(header.sector);
    const struct iovec *last = &r.in[r.in_count - 1];
    r.status = (uint8_t *)last->iov_base + last->iov_len - 1;
    iov_drop_front(&r.out, &r.out_count, sizeof(header));
    iov_drop_tail(r.in, &r.in_count, 1);
    *ret_request = r;
    return NULL;
}

static bool inside_disk(struct virtio_blk *blk, uint64_t sector, uint64_t sectors)
{
    uint64_t capacity = atomic_load_explicit(&blk->capacity, memory_order_relaxed);
    return sector <= capacity && sectors <= capacity - sector;
}

static enum outcome submit(struct virtio_blk *blk, struct virtio_blk_slot *slot)
{
    slot->req.client = &blk->client;
    slot->req.image = blk->image;
    return engine_submit(blk->engine, &slot->req) ? OUTCOME_OK : OUTCOME_PENDING;
}

/* §5.2.5.2: without FLUSH the driver takes a completed write for stable; with CONFIG_WCE it says
 * whether it does. */
static bool write_through(const struct virtio_blk *blk)
{
    return !virtio_device_has(&blk->dev, VIRTIO_BLK_F_FLUSH) ||
           (virtio_device_has(&blk->dev, VIRTIO_BLK_F_CONFIG_WCE) &&
            !atomic_load_explicit(&blk->writeback, memory_order_relaxed));
}

/* The engine's request for a read or write, or why there is none. */
static enum outcome prepare_transfer(struct virtio_blk *blk, struct virtio_blk_slot *slot,
                                     const struct request *r)
{
    bool read = r->type == VIRTIO_BLK_T_IN;
    uint64_t len = read ? r->in_len : r->out_len;
    if ((read ? r->out_len : r->in_len) != 0 || len % SECTOR_SIZE != 0 ||
        !inside_disk(blk, r->sector, len / SECTOR_SIZE) || (!read && blk->image->readonly))
        return OUTCOME_IOERR;
    unsigned iov_count = read ? r->in_count : r->out_count;
    slot->bytes = len;
    slot->req = (struct engine_request){
        .op = read ? ENGINE_READ : ENGINE_WRITE,
        .iov = slot_iov(blk, slot, read ? r->in : r->out, iov_count),
        .iov_count = iov_count,
        .offset = r->sector * SECTOR_SIZE,
        .len = len,
        .sync = !read && write_through(blk),
    };
    return OUTCOME_PENDING;
}

/* Likewise for discard and write zeroes, §5.2.6.2: one segment each. */
static enum outcome prepare_range(struct virtio_blk *blk, struct virtio_blk_slot *slot,
                                  const struct request *r)
{
    bool discard = r->type == VIRTIO_BLK_T_DISCARD;
    unsigned feature = discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES;
    struct virtio_blk_discard_write_zeroes seg;
    if (blk->image->readonly)
        return OUTCOME_IOERR;
    if (!virtio_device_has(&blk->dev, feature))
        return OUTCOME_UNSUPP;
    if (r->in_len != 0 || r->out_len != sizeof(seg) ||
        iov_read(r->out, r->out_count, 0, &seg, sizeof(seg)) != sizeof(seg))
        return OUTCOME_IOERR;
    uint64_t sector = le64toh(seg.sector);
    uint32_t sectors = le32toh(seg.num_sectors), flags = le32toh(seg.flags);
    uint32_t known = discard ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
    if ((flags & ~known) != 0)
        return OUTCOME_UNSUPP;
    if (sectors > (discard ? MAX_DISCARD_SECTORS : MAX_WRITE_ZEROES_SECTORS) ||
        !inside_disk(blk, sector, sectors))
        return OUTCOME_IOERR;
    slot->bytes = 0;
    slot->req = (struct engine_request){
        .op = discard ? ENGINE_DISCARD : ENGINE_WRITE_ZEROES,
        .offset = sector * SECTOR_SIZE,
        .len = (uint64_t)sectors * SECTOR_SIZE,
        .unmap = flags != 0 && blk->image->discard,
        .sync = !discard && write_through(blk),
    };
    return OUTCOME_PENDING;
}

static enum outcome prepare(struct virtio_blk *blk, struct virtio_blk_slot *slot,
                            const struct request *r)
{
    switch (r->type) {
    case VIRTIO_BLK_T_IN:
    case VIRTIO_BLK_T_OUT:
        return prepare_transfer(blk, slot, r);
    case VIRTIO_BLK_T_FLUSH:
        slot->bytes = 0;
        slot->req = (struct engine_request){.op = ENGINE_FLUSH};
        return OUTCOME_PENDING;
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return prepare_range(blk, slot, r);
    default:
        return OUTCOME_UNSUPP;
    }
}

/* §5.2.6.1: 20 bytes, the serial padded with zeroes. Returns the bytes written, 0 if refused. */
static uint32_t get_id(const struct virtio_blk *blk, const struct request *r)
{
    if (r->in_len < VIRTIO_BLK_ID_BYTES)
        return 0;
    return (uint32_t)iov_write(r->in, r->in_count, 0, blk->serial, VIRTIO_BLK_ID_BYTES);
}

/* Does a request or hands it to the engine. Returns NULL or what makes the device fail. */
static const char *handle(struct virtio_blk *blk, unsigned queue, const struct virtq_chain *chain,
                          uint64_t *bytes)
{
    struct request r;
    const char *why = parse(chain, &r);
    if (why != NULL)
        return why;
    if (r.type == VIRTIO_BLK_T_GET_ID) {
        uint32_t written = get_id(blk, &r);
        uint8_t status = written != 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
        counter_add(&blk->counters.rejected, written == 0);
        blk_push(blk, queue, chain->head, r.status, status, written + (written == r.in_len));
        return NULL;
    }
    struct virtio_blk_slot *slot = take_slot(blk, queue, chain->head);
    slot->status = r.status;
    enum outcome outcome = prepare(blk, slot, &r);
    if (outcome != OUTCOME_PENDING) {
        counter_add(&blk->counters.rejected, 1);
        blk_push(blk, queue, chain->head, r.status, (uint8_t)outcome, r.in_len == 0);
        blk_give_slot(blk, slot);
        return NULL;
    }
    uint64_t moves = slot->req.op == ENGINE_WRITE_ZEROES ? slot->req.len : slot->bytes;
    *bytes += moves;
    limit_spend(&blk->iops, 1);
    limit_spend(&blk->bps, moves);
    if (submit(blk, slot) == OUTCOME_OK)
        blk_finish(blk, slot);
    return NULL;
}

/* ---- device ---- */

static void blk_start(struct virtio_device *dev)
{
    struct virtio_blk *blk = blk_of(dev);
    blk->generation++;
    blk->unpublished = blk->throttled = 0;
    blk->retrying = 0;
    blk->halted = blk->recovering = blk->stopping = false;
}

static void blk_stop(struct virtio_device *dev)
{
    struct virtio_blk *blk = blk_of(dev);
    blk->stopping = true;
    loop_timer_disarm(dev->loop, &blk->throttle);
    blk->retrying = 0; /* their completions are no longer counted */
    blk_drop_held(blk);
    if (blk->free_count == blk->slot_count)
        virtio_device_stopped(dev);
}

/* Whether the limits hold the queue back; then it is looked at again when they no longer do. */
static bool is_throttled(struct virtio_blk *blk, unsigned index)
{
    if (blk->iops.rate == 0 && blk->bps.rate == 0)
        return false;
    struct loop *loop = blk->dev.loop;
    uint64_t now = loop->now_ns();
    uint64_t iops = limit_delay(&blk->iops, now), bps = limit_delay(&blk->bps, now);
    uint64_t delay = iops > bps ? iops : bps;
    if (delay == 0 || virtq_available(&blk->dev.queue[index].vq) == 0)
        return false;
    counter_add(&blk->counters.throttled, 1);
    blk->throttled |= 1u << index;
    if (blk->throttle.heap_index < 0 && loop_timer_arm(loop, &blk->throttle, now + delay) < 0)
        virtio_device_rekick(&blk->dev, index);
    return true;
}

/* Who comes first may take all there is: another queue each time. */
static void throttle_over(struct loop_timer *timer)
{
    struct virtio_blk *blk = container_of(timer, struct virtio_blk, throttle);
    unsigned count = blk->dev.queue_count, from = blk->throttle_next;
    uint32_t throttled = blk->throttled;
    blk->throttled = 0;
    for (unsigned k = 0; k < count; k++) {
        unsigned i = (from + k) % count;
        if ((throttled & (1u << i)) == 0)
            continue;
        if (blk->throttle_next == from)
            blk->throttle_next = (i + 1) % count;
        virtio_device_rekick(&blk->dev, i);
    }
}

/* Takes chains until there is none or the pass is over. Returns whether to look again. */
static bool take_requests(struct virtio_blk *blk, unsigned index, unsigned *requests,
                          uint64_t *bytes)
{
    struct virtq *vq = &blk->dev.queue[index].vq;
    struct iovec iov[VIRTIO_BLK_QUEUE_SIZE];
    struct virtq_chain chain;
    int r = 0;
    while (!blk_is_halted(blk)) {
        if (is_throttled(blk, index))
            return false;
        r = virtq_pop(vq, iov, VIRTIO_BLK_QUEUE_SIZE, &chain);
        if (r <= 0)
            break;
        const char *why = handle(blk, index, &chain, bytes);
        if (why != NULL) {
            virtio_device_fail(&blk->dev, why);
            return false;
        }
        if (++*requests == PASS_REQUESTS || *bytes >= PASS_BYTES) {
            virtio_device_rekick(&blk->dev, index);
            return false;
        }
    }
    if (r < 0) {
        virtio_device_fail(&blk->dev, vq->fault);
        return false;
    }
    return !blk_is_halted(blk) && virtq_arm_kicks(vq);
}

static void blk_kicked(struct virtio_device *dev, unsigned index)
{
    struct virtio_blk *blk = blk_of(dev);
    unsigned requests = 0;
    uint64_t bytes = 0;
    virtq_suppress_kicks(&dev->queue[index].vq);
    while (take_requests(blk, index, &requests, &bytes))
        ;
    engine_kick(blk->engine);
    blk_publish(blk);
}

/* §5.2.5: the cache mode is all that a driver may write. vCPU thread, lock held. */
static bool blk_config_write(struct virtio_device *dev, uint32_t offset, const void *data,
                             uint32_t len)
{
    struct virtio_blk *blk = blk_of(dev);
    const uint8_t *value = data;
    if (offset != offsetof(struct virtio_blk_config, wce) || len != 1 || *value > 1 ||
        !virtio_device_has(dev, VIRTIO_BLK_F_CONFIG_WCE))
        return false;
    atomic_store_explicit(&blk->writeback, *value == 1, memory_order_relaxed);
    return true;
}

void blk_init_throttle(struct virtio_blk *blk, const struct virtio_blk_limits *limits)
{
    uint64_t now = blk->dev.loop->now_ns();
    limit_init(&blk->iops, limits->iops, limits->iops_burst, now);
    limit_init(&blk->bps, limits->bps, limits->bps_burst, now);
    blk->throttle = LOOP_TIMER_INIT(throttle_over);
}

const struct virtio_device_ops blk_device_ops = {
    .start = blk_start,
    .stop = blk_stop,
    .kicked = blk_kicked,
    .config_write = blk_config_write,
};

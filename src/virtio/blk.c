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
#include "blk.h"
#include <endian.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <podvisor/cleanup.h>
#include <podvisor/counter.h>
#include <podvisor/iov.h>
#include <string.h>

#define SECTOR_SIZE IMAGE_SECTOR_SIZE

/* Requests of this many parts or fewer, nearly all, keep them in the slot itself. */
#define SMALL_IOV 6

/* What one kick may do before other work of the loop gets its turn. */
#define PASS_REQUESTS (4 * VIRTIO_BLK_QUEUE_SIZE)
#define PASS_BYTES    (UINT64_C(8) << 20)

/* One request's bounds: what a thread would be busy with where the file system has no holes. */
#define MAX_DISCARD_SECTORS      (1u << 21) /* 1 GiB */
#define MAX_WRITE_ZEROES_SECTORS (1u << 19) /* 256 MiB */

/* struct virtio_blk_config up to and with the write-zeroes fields; no secure erase. */
#define CONFIG_LEN 60

struct virtio_blk_slot {
    struct engine_request req;
    uint8_t *status; /* in guest memory */
    uint64_t bytes;  /* of data; the engine counts req.len down */
    uint32_t generation;
    uint16_t queue, head;
    bool busy;
    struct iovec small_iov[SMALL_IOV];
};

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

static struct virtio_blk *blk_of(struct virtio_device *dev)
{
    return container_of(dev, struct virtio_blk, dev);
}

/* ---- slots ---- */

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
    return slot;
}

static void give_slot(struct virtio_blk *blk, struct virtio_blk_slot *slot)
{
    slot->busy = false;
    blk->free_slot[blk->free_count++] = (uint16_t)(slot - blk->slot);
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

/* ---- completion ---- */

static void push(struct virtio_blk *blk, unsigned queue, uint16_t head, uint8_t *status,
                 uint8_t value, uint32_t written)
{
    *status = value;
    virtq_push(&blk->dev.queue[queue].vq, head, written);
    blk->unpublished |= 1u << queue;
}

static void publish(struct virtio_blk *blk)
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

/* Ends a request that the engine had, then or now; used.len counts what is surely written. */
static void finish(struct virtio_blk *blk, struct virtio_blk_slot *slot)
{
    const struct engine_request *req = &slot->req;
    uint8_t status = VIRTIO_BLK_S_OK;
    uint32_t written = 1;
    if (req->result == 0) {
        count_success(blk, req->op, slot->bytes);
        if (req->op == ENGINE_READ)
            written += (uint32_t)slot->bytes;
    } else {
        report_error(blk, req);
        status = VIRTIO_BLK_S_IOERR;
        /* The status lies behind data that may not be there: nothing is promised (§2.7.8.2). */
        if (req->op == ENGINE_READ)
            written = 0;
    }
    push(blk, slot->queue, slot->head, slot->status, status, written);
    give_slot(blk, slot);
}

static void request_complete(struct engine_client *client, struct engine_request *req)
{
    struct virtio_blk *blk = container_of(client, struct virtio_blk, client);
    struct virtio_blk_slot *slot = container_of(req, struct virtio_blk_slot, req);
    if (!slot->busy || slot->generation != blk->generation)
        abort();
    /* A driver that resets no longer waits for completions: its ring is left alone. */
    if (blk->stopping)
        give_slot(blk, slot);
    else
        finish(blk, slot);
}

static void batch_complete(struct engine_client *client)
{
    struct virtio_blk *blk = container_of(client, struct virtio_blk, client);
    if (!blk->stopping)
        publish(blk);
    else if (blk->free_count == blk->slot_count)
        virtio_device_stopped(&blk->dev);
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

/* §5.2.6.1: without FLUSH the driver takes a completed write for stable. */
static bool write_through(const struct virtio_blk *blk)
{
    return !virtio_device_has(&blk->dev, VIRTIO_BLK_F_FLUSH);
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
        push(blk, queue, chain->head, r.status, status, written + (written == r.in_len));
        return NULL;
    }
    struct virtio_blk_slot *slot = take_slot(blk, queue, chain->head);
    slot->status = r.status;
    enum outcome outcome = prepare(blk, slot, &r);
    if (outcome != OUTCOME_PENDING) {
        counter_add(&blk->counters.rejected, 1);
        push(blk, queue, chain->head, r.status, (uint8_t)outcome, r.in_len == 0);
        give_slot(blk, slot);
        return NULL;
    }
    *bytes += slot->bytes;
    if (submit(blk, slot) == OUTCOME_OK)
        finish(blk, slot);
    return NULL;
}

/* ---- device ---- */

static void blk_start(struct virtio_device *dev)
{
    struct virtio_blk *blk = blk_of(dev);
    blk->generation++;
    blk->unpublished = 0;
    blk->stopping = false;
}

static void blk_stop(struct virtio_device *dev)
{
    struct virtio_blk *blk = blk_of(dev);
    blk->stopping = true;
    if (blk->free_count == blk->slot_count)
        virtio_device_stopped(dev);
}

/* Takes chains until there is none or the pass is over. Returns whether to look again. */
static bool take_requests(struct virtio_blk *blk, unsigned index, unsigned *requests,
                          uint64_t *bytes)
{
    struct virtq *vq = &blk->dev.queue[index].vq;
    struct iovec iov[VIRTIO_BLK_QUEUE_SIZE];
    struct virtq_chain chain;
    int r;
    while ((r = virtq_pop(vq, iov, VIRTIO_BLK_QUEUE_SIZE, &chain)) > 0) {
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
    return virtq_arm_kicks(vq);
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
    publish(blk);
}

static const struct virtio_device_ops blk_ops = {
    .start = blk_start,
    .stop = blk_stop,
    .kicked = blk_kicked,
};

/* ---- initialisation ---- */

static uint64_t offered_features(const struct image *image, unsigned num_queues)
{
    uint64_t features = UINT64_C(1) << VIRTIO_BLK_F_SEG_MAX | UINT64_C(1) << VIRTIO_BLK_F_BLK_SIZE |
                        UINT64_C(1) << VIRTIO_BLK_F_FLUSH | UINT64_C(1) << VIRTIO_BLK_F_TOPOLOGY;
    if (num_queues > 1)
        features |= UINT64_C(1) << VIRTIO_BLK_F_MQ;
    if (image->readonly)
        return features | UINT64_C(1) << VIRTIO_BLK_F_RO;
    if (image->discard)
        features |= UINT64_C(1) << VIRTIO_BLK_F_DISCARD;
    return features | UINT64_C(1) << VIRTIO_BLK_F_WRITE_ZEROES;
}

/* §5.2.4 */
static void fill_config(struct virtio_blk *blk, uint32_t logical, uint32_t physical,
                        unsigned num_queues)
{
    const struct image *image = blk->image;
    /* Holes are made of the file system's blocks; 4 KiB is right for nearly all. */
    uint32_t granularity = image->geometry.block_device || logical > 4096 ? logical : 4096;
    struct virtio_blk_config config = {
        .capacity = htole64(image->geometry.size / SECTOR_SIZE),
        .seg_max = htole32(VIRTIO_BLK_QUEUE_SIZE - 2),
        .blk_size = htole32(logical),
        .physical_block_exp = (uint8_t)__builtin_ctz(physical / logical),
        .min_io_size = htole16((uint16_t)(physical / logical)),
        .num_queues = htole16((uint16_t)num_queues),
    };
    if (!image->readonly) {
        config.max_write_zeroes_sectors = htole32(MAX_WRITE_ZEROES_SECTORS);
        config.max_write_zeroes_seg = htole32(1);
        config.write_zeroes_may_unmap = image->discard;
    }
    if (image->discard) {
        config.max_discard_sectors = htole32(MAX_DISCARD_SECTORS);
        config.max_discard_seg = htole32(1);
        config.discard_sector_alignment = htole32(granularity / SECTOR_SIZE);
    }
    memcpy(blk->dev.config, &config, CONFIG_LEN);
    blk->dev.config_len = CONFIG_LEN;
}

static bool is_block_size(uint32_t size)
{
    return size >= SECTOR_SIZE && size <= IMAGE_ALIGN_MAX && (size & (size - 1)) == 0;
}

static int check_options(const struct virtio_blk_options *o, uint32_t logical, uint32_t physical,
                         unsigned num_queues, struct error *err)
{
    if (!is_block_size(logical) || !is_block_size(physical) || physical < logical)
        return error_set(err, EINVAL, "%s: block sizes %u and %u are not powers of two in order",
                         o->name, logical, physical);
    if (o->image->geometry.size % logical != 0)
        return error_set(err, EINVAL, "%s: its size is not a multiple of its %u-byte blocks",
                         o->name, logical);
    if (o->serial != NULL && strlen(o->serial) > VIRTIO_BLK_SERIAL_MAX)
        return error_set(err, EINVAL, "%s: serial \"%s\" is longer than %d bytes", o->name,
                         o->serial, VIRTIO_BLK_SERIAL_MAX);
    if (num_queues > VIRTIO_BLK_QUEUE_MAX)
        return error_set(err, EINVAL, "%s: %u queues are more than %d", o->name, num_queues,
                         VIRTIO_BLK_QUEUE_MAX);
    return 0;
}

static void free_slots(struct virtio_blk *blk)
{
    free(blk->slot);
    free(blk->free_slot);
    free(blk->large_iov);
}

static int allocate_slots(struct virtio_blk *blk, unsigned num_queues, struct error *err)
{
    blk->slot_count = num_queues * VIRTIO_BLK_QUEUE_SIZE;
    blk->slot = calloc(blk->slot_count, sizeof(*blk->slot));
    blk->free_slot = calloc(blk->slot_count, sizeof(*blk->free_slot));
    /* So large that it comes from the kernel page by page, as it is used. */
    blk->large_iov = calloc(blk->slot_count, sizeof(struct iovec) * VIRTIO_BLK_QUEUE_SIZE);
    if (blk->slot == NULL || blk->free_slot == NULL || blk->large_iov == NULL) {
        free_slots(blk);
        return error_sys(err, ENOMEM, "cannot allocate the requests of a disk");
    }
    while (blk->free_count < blk->slot_count) {
        blk->free_slot[blk->free_count] = (uint16_t)(blk->slot_count - 1 - blk->free_count);
        blk->free_count++;
    }
    return 0;
}

int virtio_blk_init(struct virtio_blk *blk, const struct virtio_blk_options *options,
                    const struct guest_memory *mem, struct loop *loop, struct error *err)
{
    const struct image_geometry *g = &options->image->geometry;
    uint32_t logical =
        options->logical_block_size != 0 ? options->logical_block_size : g->logical_block_size;
    uint32_t physical =
        options->physical_block_size != 0 ? options->physical_block_size : g->physical_block_size;
    unsigned num_queues = options->num_queues != 0 ? options->num_queues : 1;
    int r = check_options(options, logical, physical, num_queues, err);
    if (r < 0)
        return r;

    memset(blk, 0, sizeof(*blk));
    blk->image = options->image;
    blk->engine = options->engine;
    blk->client = (struct engine_client){.complete = request_complete, .completed = batch_complete};
    if (options->serial != NULL)
        memcpy(blk->serial, options->serial, strlen(options->serial));
    atomic_init(&blk->capacity, g->size / SECTOR_SIZE);
    r = allocate_slots(blk, num_queues, err);
    if (r < 0)
        return r;

    uint16_t queue_sizes[VIRTIO_BLK_QUEUE_MAX];
    for (unsigned i = 0; i < num_queues; i++)
        queue_sizes[i] = VIRTIO_BLK_QUEUE_SIZE;
    r = virtio_device_init(&blk->dev, &blk_ops, options->name, VIRTIO_ID_BLOCK,
                           offered_features(blk->image, num_queues), queue_sizes, num_queues, mem,
                           loop, err);
    if (r < 0) {
        free_slots(blk);
        return r;
    }
    fill_config(blk, logical, physical, num_queues);
    return 0;
}

void virtio_blk_done(struct virtio_blk *blk)
{
    /* A machine may end in the middle of things. Threads of the engine still use the slots. */
    blk->stopping = true;
    if (blk->free_count < blk->slot_count)
        (void)engine_drain(blk->engine, -1);
    virtio_device_done(&blk->dev);
    free_slots(blk);
}

struct virtio_device *virtio_blk_device(struct virtio_blk *blk)
{
    return &blk->dev;
}

int virtio_blk_set_capacity(struct virtio_blk *blk, uint64_t size)
{
    if (size == 0 || size % SECTOR_SIZE != 0)
        return -EINVAL;
    uint64_t sectors = htole64(size / SECTOR_SIZE);
    atomic_store_explicit(&blk->capacity, size / SECTOR_SIZE, memory_order_relaxed);
    virtio_device_config_changed(&blk->dev, offsetof(struct virtio_blk_config, capacity), &sectors,
                                 sizeof(sectors));
    return 0;
}

void virtio_blk_get_metrics(struct virtio_blk *blk, struct virtio_blk_metrics *ret_metrics)
{
    struct virtio_blk_counters *c = &blk->counters;
#define LOAD(field) .field = counter_read(&c->field)
    *ret_metrics = (struct virtio_blk_metrics){
        LOAD(reads),    LOAD(read_bytes),   LOAD(writes), LOAD(write_bytes), LOAD(flushes),
        LOAD(discards), LOAD(write_zeroes), LOAD(errors), LOAD(rejected),
    };
#undef LOAD
}

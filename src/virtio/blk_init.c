// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-blk: what the driver is offered (features §5.2.3, configuration §5.2.4), and the device's
 * making and end. Main thread; capacity and metrics: any.
 */
#include "blk_internal.h"
#include <endian.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <podvisor/counter.h>
#include <string.h>

/* struct virtio_blk_config up to and with the write-zeroes fields; no secure erase. */
#define CONFIG_LEN 60

#define BLOCK_SIZE_MAX (2u << 20)

/* Write-through is the absence of a cache that could be flushed. */
static uint64_t offered_features(const struct image *image, bool writethrough, unsigned num_queues)
{
    uint64_t features = UINT64_C(1) << VIRTIO_BLK_F_SEG_MAX | UINT64_C(1) << VIRTIO_BLK_F_BLK_SIZE |
                        UINT64_C(1) << VIRTIO_BLK_F_TOPOLOGY;
    if (!writethrough)
        features |= UINT64_C(1) << VIRTIO_BLK_F_FLUSH | UINT64_C(1) << VIRTIO_BLK_F_CONFIG_WCE;
    if (num_queues > 1)
        features |= UINT64_C(1) << VIRTIO_BLK_F_MQ;
    if (image->readonly)
        return features | UINT64_C(1) << VIRTIO_BLK_F_RO;
    if (image->discard)
        features |= UINT64_C(1) << VIRTIO_BLK_F_DISCARD;
    return features | UINT64_C(1) << VIRTIO_BLK_F_WRITE_ZEROES;
}

/* §5.2.4 */
static void fill_config(struct virtio_blk *blk, const struct virtio_blk_options *options,
                        uint32_t logical, uint32_t physical, unsigned num_queues)
{
    const struct image *image = blk->image;
    /* Holes are made of the file system's blocks; 4 KiB is right for nearly all. */
    uint32_t granularity = image->geometry.block_device || logical > 4096 ? logical : 4096;
    if (options->discard_granularity != 0)
        granularity = options->discard_granularity;
    struct virtio_blk_config config = {
        .capacity = htole64(image->geometry.size / SECTOR_SIZE),
        .seg_max = htole32(VIRTIO_BLK_QUEUE_SIZE - 2),
        .blk_size = htole32(logical),
        .physical_block_exp = (uint8_t)__builtin_ctz(physical / logical),
        .min_io_size = htole16((uint16_t)(physical / logical)),
        .wce = !options->writethrough,
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
    return size >= SECTOR_SIZE && size <= BLOCK_SIZE_MAX && (size & (size - 1)) == 0;
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
    if (o->discard_granularity % logical != 0)
        return error_set(err, EINVAL, "%s: discard granularity %u is not a multiple of %u", o->name,
                         o->discard_granularity, logical);
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
    blk->error_policy = options->error_policy;
    blk->ops = options->ops;
    blk->ctx = options->ctx;
    atomic_init(&blk->writeback, !options->writethrough);
    blk_init_completion(blk);
    if (options->serial != NULL)
        memcpy(blk->serial, options->serial, strlen(options->serial));
    atomic_init(&blk->capacity, g->size / SECTOR_SIZE);
    r = allocate_slots(blk, num_queues, err);
    if (r < 0)
        return r;

    uint16_t queue_sizes[VIRTIO_BLK_QUEUE_MAX];
    for (unsigned i = 0; i < num_queues; i++)
        queue_sizes[i] = VIRTIO_BLK_QUEUE_SIZE;
    r = virtio_device_init(&blk->dev, &blk_device_ops, options->name, VIRTIO_ID_BLOCK,
                           offered_features(blk->image, options->writethrough, num_queues),
                           queue_sizes, num_queues, mem, loop, err);
    if (r < 0) {
        free_slots(blk);
        return r;
    }
    fill_config(blk, options, logical, physical, num_queues);
    blk_init_throttle(blk, &options->limits);
    return 0;
}

void virtio_blk_done(struct virtio_blk *blk)
{
    /* A machine may end in the middle of things. Threads of the engine still use the slots. */
    blk->stopping = true;
    blk->ops = NULL;
    blk_drop_held(blk);
    if (blk->free_count < blk->slot_count)
        (void)engine_drain(blk->engine, -1);
    loop_timer_disarm(blk->dev.loop, &blk->throttle);
    virtio_device_done(&blk->dev);
    free_slots(blk);
}

void virtio_blk_end(struct virtio_blk *blk)
{
    blk->ending = true;
    loop_timer_disarm(blk->dev.loop, &blk->throttle);
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
        LOAD(discards), LOAD(write_zeroes), LOAD(errors), LOAD(rejected),    LOAD(throttled),
    };
#undef LOAD
}

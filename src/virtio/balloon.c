// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-balloon, virtio 1.2 §5.5; see balloon.h. Page numbers come from the guest: one that is not
 * RAM is counted and skipped, since the balloon gives nothing and takes nothing there.
 */
#include "balloon.h"
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <podvisor/cleanup.h>
#include <podvisor/counter.h>
#include <podvisor/iov.h>
#include <string.h>

#define INFLATE_QUEUE 0
#define DEFLATE_QUEUE 1
#define QUEUE_COUNT   4 /* and statistics, reporting, where negotiated */

#define CONFIG_NUM_PAGES offsetof(struct virtio_balloon_config, num_pages)
#define CONFIG_ACTUAL    offsetof(struct virtio_balloon_config, actual)

/* What a guest may have done before other sources of the loop get their turn. */
#define CHAINS_A_TURN 16

#define FEATURE(bit) (UINT64_C(1) << (bit))

/* Adjacent pages, so that one madvise(2) serves many. */
struct run {
    uint8_t *hva;
    uint64_t len;
};

static struct virtio_balloon *to_balloon(struct virtio_device *dev)
{
    return container_of(dev, struct virtio_balloon, dev);
}

static void flush_run(struct virtio_balloon *balloon, struct run *run)
{
    if (run->len > 0)
        (void)balloon->release(balloon->ctx, run->hva, run->len);
    run->len = 0;
}

/* Guests allocate upwards or downwards; both directions grow the run. */
static void add_page(struct virtio_balloon *balloon, struct run *run, uint8_t *hva)
{
    if (run->len > 0 && hva == run->hva + run->len) {
        run->len += VIRTIO_BALLOON_PAGE_SIZE;
    } else if (run->len > 0 && hva + VIRTIO_BALLOON_PAGE_SIZE == run->hva) {
        run->hva = hva;
        run->len += VIRTIO_BALLOON_PAGE_SIZE;
    } else {
        flush_run(balloon, run);
        *run = (struct run){.hva = hva, .len = VIRTIO_BALLOON_PAGE_SIZE};
    }
}

/*
 * Inflate: the buffer is an array of le32 page frame numbers, however it is cut into descriptors.
 * What is beyond VIRTIO_BALLOON_PFN_MAX, far more than drivers send, is not released.
 */
static void inflate(struct virtio_balloon *balloon, const struct virtq_chain *chain)
{
    uint32_t pfn[256];
    struct run run = {0};
    uint32_t told = chain->readable_len / 4, taken = 0;
    while (taken < told && taken < VIRTIO_BALLOON_PFN_MAX) {
        size_t got =
            iov_read(chain->iov, chain->readable_count, taken * sizeof(pfn[0]), pfn, sizeof(pfn)) /
            sizeof(pfn[0]);
        for (size_t i = 0; i < got; i++) {
            gpa_t gpa = (gpa_t)pfn[i] * VIRTIO_BALLOON_PAGE_SIZE;
            uint8_t *hva = guest_memory_at(balloon->dev.mem, gpa, VIRTIO_BALLOON_PAGE_SIZE);
            if (hva != NULL)
                add_page(balloon, &run, hva);
            else
                counter_add(&balloon->counters.bad_pages, 1);
        }
        taken += (uint32_t)got;
    }
    flush_run(balloon, &run);
    counter_add(&balloon->counters.inflated_pages, told);
    counter_add(&balloon->counters.bad_pages, told - taken);
}

/* Deflate: the guest uses the pages again; the host gives memory when they are touched. */
static void deflate(struct virtio_balloon *balloon, const struct virtq_chain *chain)
{
    counter_add(&balloon->counters.deflated_pages, chain->readable_len / 4);
}

/* §5.5.6.7: the buffers themselves are the unused memory. Only whole pages can be released. */
static void report(struct virtio_balloon *balloon, const struct virtq_chain *chain)
{
    const uintptr_t mask = VIRTIO_BALLOON_PAGE_SIZE - 1;
    const struct iovec *iov = chain->iov + chain->readable_count;
    for (unsigned i = 0; i < chain->writable_count; i++) {
        uint8_t *base = iov[i].iov_base;
        size_t head = (size_t)(-(uintptr_t)base & mask);
        if (head >= iov[i].iov_len)
            continue;
        uint64_t len = (iov[i].iov_len - head) & ~(uint64_t)mask;
        if (len > 0 && balloon->release(balloon->ctx, base + head, len) == 0)
            counter_add(&balloon->counters.reported_bytes, len);
    }
}

/* §5.5.6.3: an array of { le16 tag; le64 value }; unknown tags are ignored, the rest is bounded. */
static void read_stats(struct virtio_balloon *balloon, const struct virtq_chain *chain)
{
    struct virtio_balloon_stat stat[2 * VIRTIO_BALLOON_STAT_MAX];
    size_t len = iov_read(chain->iov, chain->readable_count, 0, stat, sizeof(stat));
    for (size_t i = 0; i < len / sizeof(stat[0]); i++) {
        if (stat[i].tag < VIRTIO_BALLOON_STAT_MAX)
            atomic_store_explicit(&balloon->stat[stat[i].tag], stat[i].val, memory_order_relaxed);
    }
}

/* Handles one chain; false when it is kept (the statistics buffer). */
static bool handle_chain(struct virtio_balloon *balloon, unsigned index,
                         const struct virtq_chain *chain)
{
    if (index == INFLATE_QUEUE) {
        inflate(balloon, chain);
    } else if (index == DEFLATE_QUEUE) {
        deflate(balloon, chain);
    } else if (index == balloon->reporting_queue) {
        report(balloon, chain);
    } else if (index == balloon->stats_queue) {
        read_stats(balloon, chain);
        if (!balloon->stats_held) {
            balloon->stats_held = true;
            balloon->stats_head = chain->head;
            return false;
        }
    }
    return true;
}

static void balloon_kicked(struct virtio_device *dev, unsigned index)
{
    struct virtio_balloon *balloon = to_balloon(dev);
    struct virtq *vq = &dev->queue[index].vq;
    struct virtq_chain chain;
    unsigned chains = 0;
    int r;
    virtq_suppress_kicks(vq);
    do {
        while ((r = virtq_pop(vq, balloon->iov, ARRAY_SIZE(balloon->iov), &chain)) > 0) {
            if (handle_chain(balloon, index, &chain))
                virtq_push(vq, chain.head, 0);
            if (++chains == CHAINS_A_TURN)
                break;
        }
        virtio_device_notify(dev, index);
        if (r < 0) {
            virtio_device_fail(dev, vq->fault);
            return;
        }
        if (chains == CHAINS_A_TURN) {
            virtio_device_rekick(dev, index);
            return;
        }
    } while (virtq_arm_kicks(vq));
}

static void return_stats_buffer(struct loop_work *work)
{
    struct virtio_balloon *balloon = container_of(work, struct virtio_balloon, stats_work);
    if (!balloon->stats_held)
        return;
    balloon->stats_held = false;
    virtq_push(&balloon->dev.queue[balloon->stats_queue].vq, balloon->stats_head, 0);
    virtio_device_notify(&balloon->dev, balloon->stats_queue);
}

/* Queues that a driver did not negotiate do not exist, and later ones move up: as Linux counts
 * them. */
static void balloon_start(struct virtio_device *dev)
{
    struct virtio_balloon *balloon = to_balloon(dev);
    unsigned next = DEFLATE_QUEUE + 1;
    balloon->stats_held = false;
    balloon->stats_queue = virtio_device_has(dev, VIRTIO_BALLOON_F_STATS_VQ) ? next++ : 0;
    balloon->reporting_queue = virtio_device_has(dev, VIRTIO_BALLOON_F_REPORTING) ? next : 0;
    for (unsigned i = 0; i < VIRTIO_BALLOON_STAT_MAX; i++)
        atomic_store_explicit(&balloon->stat[i], UINT64_MAX, memory_order_relaxed);
}

static void balloon_stop(struct virtio_device *dev)
{
    to_balloon(dev)->stats_held = false;
    virtio_device_stopped(dev); /* every request is finished where it was taken */
}

/* Only `actual` is the driver's to write (§5.5.4). */
static bool balloon_config_write(struct virtio_device *dev, uint32_t offset, const void *data,
                                 uint32_t len)
{
    (void)dev;
    (void)data;
    return offset >= CONFIG_ACTUAL && offset + len <= CONFIG_ACTUAL + sizeof(uint32_t);
}

static const struct virtio_device_ops balloon_ops = {
    .start = balloon_start,
    .stop = balloon_stop,
    .kicked = balloon_kicked,
    .config_write = balloon_config_write,
};

int virtio_balloon_init(struct virtio_balloon *balloon,
                        const struct virtio_balloon_options *options,
                        const struct guest_memory *mem, struct loop *loop, struct error *err)
{
    static const uint16_t sizes[QUEUE_COUNT] = {
        VIRTIO_BALLOON_QUEUE_SIZE, VIRTIO_BALLOON_QUEUE_SIZE, VIRTIO_BALLOON_QUEUE_SIZE,
        VIRTIO_BALLOON_QUEUE_SIZE};
    memset(balloon, 0, sizeof(*balloon));
    balloon->release = options->release;
    balloon->ctx = options->ctx;
    balloon->stats_work.run = return_stats_buffer;
    uint64_t features = FEATURE(VIRTIO_BALLOON_F_STATS_VQ);
    if (options->deflate_on_oom)
        features |= FEATURE(VIRTIO_BALLOON_F_DEFLATE_ON_OOM);
    if (options->page_reporting)
        features |= FEATURE(VIRTIO_BALLOON_F_REPORTING);
    int r =
        virtio_device_init(&balloon->dev, &balloon_ops, options->name, VIRTIO_ID_BALLOON, features,
                           sizes, options->page_reporting ? QUEUE_COUNT : 3, mem, loop, err);
    if (r == 0)
        balloon->dev.config_len = offsetof(struct virtio_balloon_config, free_page_hint_cmd_id);
    return r;
}

void virtio_balloon_done(struct virtio_balloon *balloon)
{
    virtio_device_done(&balloon->dev);
}

void virtio_balloon_set_target(struct virtio_balloon *balloon, uint32_t pages)
{
    virtio_device_config_changed(&balloon->dev, CONFIG_NUM_PAGES, &pages, sizeof(pages));
}

static uint32_t read_config(struct virtio_balloon *balloon, uint32_t offset)
{
    uint32_t value;
    virtio_device_config_read(&balloon->dev, offset, &value, sizeof(value));
    return value;
}

uint32_t virtio_balloon_actual(struct virtio_balloon *balloon)
{
    return read_config(balloon, CONFIG_ACTUAL);
}

uint32_t virtio_balloon_target(struct virtio_balloon *balloon)
{
    return read_config(balloon, CONFIG_NUM_PAGES);
}

void virtio_balloon_refresh_stats(struct virtio_balloon *balloon)
{
    loop_post(balloon->dev.loop, &balloon->stats_work);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-balloon: virtio 1.2 §5.5. Takes memory back from the guest when asked to (inflate), gets
 * told of pages that the guest does not use (free page reporting, §5.5.6.7), and reads its
 * statistics. Memory given back by either is released to the host at once and reads as zeroes when
 * the guest touches it again.
 *
 * Runs on its I/O loop; functions marked so may be called by any thread.
 */
#ifndef PODVISOR_VIRTIO_BALLOON_H
#define PODVISOR_VIRTIO_BALLOON_H

#include "device.h"

#define VIRTIO_BALLOON_PAGE_SIZE  4096u
#define VIRTIO_BALLOON_QUEUE_SIZE 128
#define VIRTIO_BALLOON_STAT_MAX   16   /* tags of §5.5.6.3 that are kept */
#define VIRTIO_BALLOON_PFN_MAX    4096 /* pages released for one request; Linux sends 256 */

struct virtio_balloon_options {
    const char *name;
    bool deflate_on_oom;
    bool page_reporting;
    /*
     * I/O loop: the host memory [hva, hva + len), whole 4 KiB pages of guest RAM, may lose its
     * content. Returns 0 or a negative errno.
     */
    int (*release)(void *ctx, void *hva, uint64_t len);
    void *ctx;
};

struct virtio_balloon_counters {                         /* relaxed atomics */
    atomic_uint_fast64_t inflated_pages, deflated_pages; /* as the driver told, since start */
    atomic_uint_fast64_t reported_bytes;                 /* by free page reporting */
    atomic_uint_fast64_t bad_pages;                      /* not RAM or too many: ignored */
};

struct virtio_balloon {
    struct virtio_device dev;
    struct virtio_balloon_counters counters;
    int (*release)(void *ctx, void *hva, uint64_t len);
    void *ctx;
    unsigned stats_queue, reporting_queue; /* index, or 0 when not negotiated (0 is inflate) */
    bool stats_held;
    uint16_t stats_head; /* the driver's buffer, kept until new figures are wanted */
    struct loop_work stats_work;
    atomic_uint_fast64_t stat[VIRTIO_BALLOON_STAT_MAX]; /* by tag; UINT64_MAX: not told */
    struct iovec iov[VIRTIO_BALLOON_QUEUE_SIZE];
};

/* Everything in `options` is copied but ctx and name. Returns 0 or a negative errno. */
int virtio_balloon_init(struct virtio_balloon *balloon,
                        const struct virtio_balloon_options *options,
                        const struct guest_memory *mem, struct loop *loop, struct error *err);
void virtio_balloon_done(struct virtio_balloon *balloon);

/* Any thread: how many 4 KiB pages the guest should give up. It does so as it can. */
void virtio_balloon_set_target(struct virtio_balloon *balloon, uint32_t pages);

/* Any thread: pages the guest says it has given up, and those it was asked for. */
uint32_t virtio_balloon_actual(struct virtio_balloon *balloon);
uint32_t virtio_balloon_target(struct virtio_balloon *balloon);

/* Any thread: asks the guest for new statistics; they arrive in stat[] later. */
void virtio_balloon_refresh_stats(struct virtio_balloon *balloon);

#endif

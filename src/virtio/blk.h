// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-blk: virtio 1.2 §5.2. A disk over an image (storage/image.h), served by an I/O engine
 * (storage/engine.h) that it shares with the other disks of its I/O loop.
 */
#ifndef PODVISOR_VIRTIO_BLK_H
#define PODVISOR_VIRTIO_BLK_H

#include "device.h"
#include "engine.h"

#define VIRTIO_BLK_QUEUE_SIZE 256
#define VIRTIO_BLK_QUEUE_MAX  8
#define VIRTIO_BLK_SERIAL_MAX 20 /* §5.2.6.1; not terminated when it is that long */

struct virtio_blk_options {
    const char *name;             /* borrowed, for logs and metrics */
    struct image *image;          /* borrowed */
    struct engine *engine;        /* borrowed; its loop is the device's */
    const char *serial;           /* copied; NULL: none */
    uint32_t logical_block_size;  /* as the guest sees it; 0: the image's */
    uint32_t physical_block_size; /* likewise */
    unsigned num_queues;          /* 1..VIRTIO_BLK_QUEUE_MAX; 0: 1 */
};

/* Since the start; one thread writes them, any thread reads. */
struct virtio_blk_counters {
    atomic_uint_fast64_t reads, read_bytes;
    atomic_uint_fast64_t writes, write_bytes;
    atomic_uint_fast64_t flushes, discards, write_zeroes;
    atomic_uint_fast64_t errors;   /* the host's: failed reads, writes, flushes... */
    atomic_uint_fast64_t rejected; /* the guest's: outside the disk, odd lengths, unsupported */
};

struct virtio_blk_metrics {
    uint64_t reads, read_bytes, writes, write_bytes, flushes, discards, write_zeroes, errors,
        rejected;
};

struct virtio_blk_slot; /* a request in flight: blk.c */

struct virtio_blk {
    struct virtio_device dev;
    struct engine_client client;
    struct image *image;
    struct engine *engine;
    char serial[VIRTIO_BLK_SERIAL_MAX];
    atomic_uint_fast64_t capacity; /* sectors of 512 bytes */
    struct virtio_blk_counters counters;
    struct log_ratelimit error_log;
    /* The I/O loop's. */
    struct virtio_blk_slot *slot;
    struct iovec *large_iov; /* VIRTIO_BLK_QUEUE_SIZE entries a slot, resident once needed */
    uint16_t *free_slot;     /* a stack: few requests in flight touch little memory */
    unsigned slot_count, free_count;
    uint32_t generation;  /* of the device: one more every start */
    uint32_t unpublished; /* bit mask of queues with completions that the driver cannot see yet */
    bool stopping;
};

/*
 * Prepares the device. `mem`, `loop` and everything in `options` but the serial are borrowed for
 * its life. Returns 0 or a negative errno.
 */
int virtio_blk_init(struct virtio_blk *blk, const struct virtio_blk_options *options,
                    const struct guest_memory *mem, struct loop *loop, struct error *err);

/*
 * Frees what init allocated, after waiting for what is in flight; its loop no longer runs, engine,
 * loop and guest memory are still there.
 */
void virtio_blk_done(struct virtio_blk *blk);

/* For the transport. */
struct virtio_device *virtio_blk_device(struct virtio_blk *blk);

/*
 * Any thread: the image has `size` bytes now (a multiple of 512, not 0); tells the driver. Returns
 * 0 or -EINVAL.
 */
int virtio_blk_set_capacity(struct virtio_blk *blk, uint64_t size);

/* Any thread. */
void virtio_blk_get_metrics(struct virtio_blk *blk, struct virtio_blk_metrics *ret_metrics);

#endif

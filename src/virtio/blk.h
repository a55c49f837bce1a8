// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-blk: virtio 1.2 §5.2. A disk over an image (storage/image.h), served by an I/O engine
 * (storage/engine.h) that it shares with the other disks of its I/O loop.
 */
#ifndef PODVISOR_VIRTIO_BLK_H
#define PODVISOR_VIRTIO_BLK_H

#include "device.h"
#include "engine.h"
#include "limit.h"

#define VIRTIO_BLK_QUEUE_SIZE 256
#define VIRTIO_BLK_QUEUE_MAX  8
#define VIRTIO_BLK_SERIAL_MAX 20 /* §5.2.6.1; not terminated when it is that long */

/* What becomes of a request that the host could not do; KubeVirt's errorPolicy. */
enum virtio_blk_error_policy {
    VIRTIO_BLK_ERROR_REPORT,   /* the guest is told */
    VIRTIO_BLK_ERROR_STOP,     /* it waits, with all that follow, until virtio_blk_retry() */
    VIRTIO_BLK_ERROR_ENOSPACE, /* likewise when there is no space to write; others are reported */
    VIRTIO_BLK_ERROR_IGNORE,   /* the guest is told that it was done */
};

struct virtio_blk_limits {
    uint64_t iops, iops_burst; /* requests a second and at once; see limit_init(). 0: no limit */
    uint64_t bps, bps_burst;   /* bytes */
};

struct virtio_blk;

/* Reports of the error policy, on the I/O loop. */
struct virtio_blk_ops {
    /* Nothing goes on: a request failed with `error` (a positive errno), first or again. */
    void (*halted)(void *ctx, struct virtio_blk *blk, int error);
    /* After virtio_blk_retry(): all that waited is done. */
    void (*recovered)(void *ctx, struct virtio_blk *blk);
};

struct virtio_blk_options {
    const char *name;             /* borrowed, for logs and metrics */
    struct image *image;          /* borrowed */
    struct engine *engine;        /* borrowed; its loop is the device's */
    const char *serial;           /* copied; NULL: none */
    uint32_t logical_block_size;  /* as the guest sees it; 0: the image's */
    uint32_t physical_block_size; /* likewise */
    uint32_t discard_granularity; /* bytes; 0: what suits most */
    unsigned num_queues;          /* 1..VIRTIO_BLK_QUEUE_MAX; 0: 1 */
    bool writethrough;            /* a write that completed is on stable storage */
    enum virtio_blk_error_policy error_policy;
    struct virtio_blk_limits limits;
    const struct virtio_blk_ops *ops; /* borrowed; NULL: nobody listens */
    void *ctx;
};

/* Since the start; one thread writes them, any thread reads. */
struct virtio_blk_counters {
    atomic_uint_fast64_t reads, read_bytes;
    atomic_uint_fast64_t writes, write_bytes;
    atomic_uint_fast64_t flushes, discards, write_zeroes;
    atomic_uint_fast64_t errors;    /* the host's: failed reads, writes, flushes... */
    atomic_uint_fast64_t rejected;  /* the guest's: outside the disk, odd lengths, unsupported */
    atomic_uint_fast64_t throttled; /* times that the limits held back the queue */
};

struct virtio_blk_metrics {
    uint64_t reads, read_bytes, writes, write_bytes, flushes, discards, write_zeroes, errors,
        rejected, throttled;
};

struct virtio_blk_slot; /* a request in flight: blk.c */

struct virtio_blk {
    struct virtio_device dev;
    struct engine_client client;
    struct image *image;
    struct engine *engine;
    char serial[VIRTIO_BLK_SERIAL_MAX];
    atomic_uint_fast64_t capacity; /* sectors of 512 bytes */
    atomic_bool writeback;         /* §5.2.5: what a driver that may choose has chosen */
    enum virtio_blk_error_policy error_policy;
    const struct virtio_blk_ops *ops;
    void *ctx;
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
    bool ending; /* no new requests for the rest of its life */
    /* Error policy: requests that failed and wait, oldest first, and those tried again. */
    struct engine_request *held_head, *held_tail;
    unsigned retrying;
    bool halted;     /* something waits, or failed again */
    bool recovering; /* ops->halted() or recovered() is due */
    struct loop_work retry_work;
    /* Limits. */
    struct limit iops, bps;
    struct loop_timer throttle;
    uint32_t throttled;     /* bit mask of queues that wait for it */
    unsigned throttle_next; /* which of them is served first */
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

/*
 * Any thread: tries again what waits by the error policy, soon, on the I/O loop; ops->halted() or
 * ops->recovered() follows, the latter also when nothing waits.
 */
void virtio_blk_retry(struct virtio_blk *blk);

/* I/O loop, when the machine ends: takes no more requests. What is in flight completes. */
void virtio_blk_end(struct virtio_blk *blk);

/* Any thread. */
void virtio_blk_get_metrics(struct virtio_blk *blk, struct virtio_blk_metrics *ret_metrics);

#endif

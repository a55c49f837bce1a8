// SPDX-License-Identifier: Apache-2.0
/* Between the files of virtio-blk: blk.c (requests), blk_complete.c (their ends, errors, what
 * waits) and blk_init.c (what the driver is offered). All on the I/O loop but for initialisation.
 */
#ifndef PODVISOR_VIRTIO_BLK_INTERNAL_H
#define PODVISOR_VIRTIO_BLK_INTERNAL_H

#include "blk.h"
#include <podvisor/cleanup.h>

#define SECTOR_SIZE IMAGE_SECTOR_SIZE

/* Requests of this many parts or fewer, nearly all, keep them in the slot itself. */
#define SMALL_IOV 6

/* One request's bounds: what a thread would be busy with where the file system has no holes. */
#define MAX_DISCARD_SECTORS      (1u << 21) /* 1 GiB */
#define MAX_WRITE_ZEROES_SECTORS (1u << 19) /* 256 MiB */

struct virtio_blk_slot {
    struct engine_request req;
    uint8_t *status; /* in guest memory */
    uint64_t bytes;  /* of data; the engine counts req.len down */
    uint32_t generation;
    uint16_t queue, head;
    bool busy;
    bool retried; /* counted in blk->retrying */
    struct iovec small_iov[SMALL_IOV];
};

static inline struct virtio_blk *blk_of(struct virtio_device *dev)
{
    return container_of(dev, struct virtio_blk, dev);
}

/* blk.c: for virtio_device_init(). */
extern const struct virtio_device_ops blk_device_ops;

void blk_init_throttle(struct virtio_blk *blk, const struct virtio_blk_limits *limits);

/* blk_complete.c */

void blk_give_slot(struct virtio_blk *blk, struct virtio_blk_slot *slot);

/* Gives an answer to the driver, which blk_publish() lets it see. */
void blk_push(struct virtio_blk *blk, unsigned queue, uint16_t head, uint8_t *status, uint8_t value,
              uint32_t written);
void blk_publish(struct virtio_blk *blk);

/* Ends a request that the engine had, or lets it wait as the error policy says. */
void blk_finish(struct virtio_blk *blk, struct virtio_blk_slot *slot);

/* No new request may be taken: one has failed and waits, or the machine ends. */
bool blk_is_halted(const struct virtio_blk *blk);

/* Forgets what waits: the driver resets. */
void blk_drop_held(struct virtio_blk *blk);

/* blk->client and blk->retry_work. */
void blk_init_completion(struct virtio_blk *blk);

#endif

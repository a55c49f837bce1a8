// SPDX-License-Identifier: Apache-2.0
/*
 * Entropy device: virtio 1.2 §5.4. Runs in its I/O loop. The kernel's generator writes straight
 * into guest buffers: getrandom(2) needs no descriptor and does not block once the host has booted.
 * Requests are answered at once, so nothing is ever in flight when the device stops.
 */
#include "rng.h"
#include <linux/virtio_ids.h>
#include <sys/random.h>

/* Then other sources of the loop get their turn: at most 1 MiB of random bytes, a few ms. */
#define REQUESTS_A_TURN 16

/* Fills the chain's buffers; returns how many bytes of them, from the start, are random now. */
static uint32_t fill(const struct virtq_chain *chain)
{
    uint32_t filled = 0;
    for (unsigned i = 0; i < chain->writable_count; i++) {
        uint8_t *to = chain->iov[i].iov_base;
        size_t left = chain->iov[i].iov_len;
        while (left > 0) {
            size_t want = VIRTIO_RNG_REQUEST_MAX - filled;
            if (want == 0)
                return filled;
            ssize_t got = getrandom(to, left < want ? left : want, 0);
            if (got < 0 && errno != EINTR)
                return filled;
            if (got > 0) {
                to += got;
                left -= (size_t)got;
                filled += (uint32_t)got;
            }
        }
    }
    return filled;
}

/* Serves at most *budget requests, which it counts down. */
static void serve(struct virtio_device *dev, struct virtq *vq, unsigned *budget)
{
    struct iovec iov[VIRTIO_RNG_QUEUE_SIZE];
    for (; *budget > 0; --*budget) {
        struct virtq_chain chain;
        int r = virtq_pop(vq, iov, VIRTIO_RNG_QUEUE_SIZE, &chain);
        if (r < 0)
            virtio_device_fail(dev, vq->fault);
        if (r <= 0)
            return;
        uint32_t filled = 0;
        if (chain.readable_count == 0)
            filled = fill(&chain);
        else /* §5.4.6.1 */
            virtio_device_fail(dev, "entropy request with a readable buffer");
        virtq_push(vq, chain.head, filled);
    }
}

static void kicked(struct virtio_device *dev, unsigned index)
{
    struct virtq *vq = &dev->queue[index].vq;
    virtq_suppress_kicks(vq);
    unsigned budget = REQUESTS_A_TURN;
    do {
        serve(dev, vq, &budget);
        virtio_device_notify(dev, index);
        if (budget == 0) {
            virtio_device_rekick(dev, index);
            return;
        }
    } while (virtq_arm_kicks(vq));
}

static void start(struct virtio_device *dev)
{
    (void)dev;
}

static void stop(struct virtio_device *dev)
{
    virtio_device_stopped(dev);
}

static const struct virtio_device_ops ops = {.start = start, .stop = stop, .kicked = kicked};

int virtio_rng_init(struct virtio_rng *rng, const char *name, const struct guest_memory *mem,
                    struct loop *loop, struct error *err)
{
    static const uint16_t sizes[] = {VIRTIO_RNG_QUEUE_SIZE};
    return virtio_device_init(&rng->dev, &ops, name, VIRTIO_ID_RNG, 0, sizes, 1, mem, loop, err);
}

void virtio_rng_done(struct virtio_rng *rng)
{
    virtio_device_done(&rng->dev);
}

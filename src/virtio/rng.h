// SPDX-License-Identifier: Apache-2.0
/* Entropy device: virtio 1.2 §5.4. One queue of buffers that the driver wants filled. */
#ifndef PODVISOR_VIRTIO_RNG_H
#define PODVISOR_VIRTIO_RNG_H

#include "device.h"

#define VIRTIO_RNG_QUEUE_SIZE 64
#define VIRTIO_RNG_REQUEST_MAX \
    65536 /* bytes given for one request, however large its buffers are */

struct virtio_rng {
    struct virtio_device dev;
};

/*
 * Prepares the device; `name`, `mem` and `loop` are borrowed for its life. Returns 0 or a negative
 * errno.
 */
int virtio_rng_init(struct virtio_rng *rng, const char *name, const struct guest_memory *mem,
                    struct loop *loop, struct error *err);

/* As virtio_device_done(). */
void virtio_rng_done(struct virtio_rng *rng);

#endif

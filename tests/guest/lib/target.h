/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the hostile suites attack: for each device type one queue, a valid request on it, and a
 * check that the device works after a reset.
 */
#ifndef GUEST_TARGET_H
#define GUEST_TARGET_H

#include "virtio.h"

#define OUTCOME_BROKEN     1 /* NEEDS_RESET */
#define OUTCOME_REFUSED    2 /* used, and nothing says that it succeeded */
#define OUTCOME_DONE       4 /* used, and a block device says OK */
#define OUTCOME_IGNORED    8 /* neither in time */
#define OUTCOME_ANY        15
#define OUTCOME_TIMEOUT_MS 150

struct target {
    struct virtq queues[2];
    struct virtq *queue; /* the one to attack */
    struct virtq_segment segments[3];
    unsigned int out, in;
    volatile uint8_t *status; /* of a block request; otherwise NULL */
};

/* Is there a known target in this device? */
bool target_known(const struct virtio_device *device);
/* Negotiates and fills in the target without queue memory or DRIVER_OK. */
bool target_prepare(struct target *target, struct virtio_device *device, uint64_t features);
/* Initialises the device and builds a valid chain in descriptors 0 and up, not yet available. */
bool target_start(struct target *target, struct virtio_device *device, uint64_t features);
/* Writes the valid chain from descriptor 0 on; returns how many descriptors it takes. */
unsigned int target_chain(struct target *target);
/* What the device makes of what has been made available; OUTCOME_IGNORED only after a long wait,
 * unless it is among what is expected. */
unsigned int target_outcome(struct target *target, unsigned int expected);
/* Reset, start and one valid request; otherwise a failed TAP point. */
bool target_recovers(struct virtio_device *device);

#endif

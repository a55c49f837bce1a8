// SPDX-License-Identifier: Apache-2.0
/*
 * Structure-aware fuzzing of a virtio device through its queues, over the device test kit: the
 * input is a program for a driver that mostly keeps the rules and now and then breaks one, so that
 * most inputs get past the queue and into the device. A device's fuzz target gives its init and
 * done, and what a request of it looks like:
 *
 *     int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
 *     {
 *         static const struct vfuzz_device spec = {.features = ..., .request = make_request};
 *         struct vkit *kit = vfuzz_kit();
 *         xyz_init(&xyz, ..., &kit->mem, &kit->loop, ...);
 *         vfuzz_run(&spec, &xyz.dev, data, size);
 *         xyz_done(&xyz);
 *         return 0;
 *     }
 */
#ifndef PODVISOR_TESTS_VFUZZ_H
#define PODVISOR_TESTS_VFUZZ_H

#include "vkit.h"

/* What is left of the input. Past its end everything is 0. */
struct vfuzz_input {
    const uint8_t *data;
    size_t left;
};

uint8_t vfuzz_u8(struct vfuzz_input *in);
uint16_t vfuzz_u16(struct vfuzz_input *in);
uint32_t vfuzz_u32(struct vfuzz_input *in);
uint64_t vfuzz_u64(struct vfuzz_input *in);
void vfuzz_bytes(struct vfuzz_input *in, void *to, size_t len);

/* An address at which `len` bytes are RAM, now and then one at which they are not. */
gpa_t vfuzz_address(struct vfuzz_input *in, uint32_t len);

#define VFUZZ_BUF_MAX 40

struct vfuzz_device {
    uint64_t features; /* device features: negotiated as far as the input says */
    /*
     * Fills `bufs` (VFUZZ_BUF_MAX entries) with a request for queue `index` and guest memory with
     * its contents. Returns how many. NULL: random buffers, readable before writable.
     */
    unsigned (*request)(struct vkit *kit, unsigned index, struct vfuzz_input *in,
                        struct vkit_buf *bufs);
    /* Lets the device's own sources and completions happen after a kick. NULL: only the loop. */
    void (*settle)(struct vkit *kit);
};

/* One kit for all inputs of the process, with forgotten allocations; quiet logging. */
struct vkit *vfuzz_kit(void);

/* Attaches the device to vfuzz_kit(), runs the program, resets the device. */
void vfuzz_run(const struct vfuzz_device *spec, struct virtio_device *dev, const uint8_t *data,
               size_t size);

#endif

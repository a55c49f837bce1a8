// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-console with one port: virtio 1.2 §5.3, without MULTIPORT. What the guest prints goes to a
 * callback as fast as that takes it; what is typed waits in a bounded buffer for the guest's
 * buffers. Runs on its I/O loop; functions marked so may be called by any thread.
 */
#ifndef PODVISOR_VIRTIO_CONSOLE_H
#define PODVISOR_VIRTIO_CONSOLE_H

#include "device.h"

#define VIRTIO_CONSOLE_QUEUE_SIZE 64
#define VIRTIO_CONSOLE_INPUT_SIZE 4096 /* bytes typed ahead of the guest */

struct virtio_console_ops {
    /*
     * I/O loop: how many of `wanted` bytes may be printed now. When fewer,
     * virtio_console_output_room() says when to go on.
     */
    size_t (*room)(void *ctx, size_t wanted);
    /* I/O loop: the guest printed this, never more than room() allowed. */
    void (*output)(void *ctx, const void *bytes, size_t len);
    /* I/O loop: virtio_console_input() had refused something and now there is room. */
    void (*input_ready)(void *ctx);
};

struct virtio_console {
    struct virtio_device dev;
    const struct virtio_console_ops *ops;
    void *ctx;

    /* Transmission: the chain being printed, and how far. */
    struct iovec tx_iov[VIRTIO_CONSOLE_QUEUE_SIZE];
    struct virtq_chain tx;
    bool tx_held;
    uint32_t tx_offset;
    struct loop_work room_work;

    struct iovec rx_iov[VIRTIO_CONSOLE_QUEUE_SIZE];
    struct loop_work input_work;

    pthread_mutex_t input_lock; /* the ring below */
    uint8_t input[VIRTIO_CONSOLE_INPUT_SIZE];
    unsigned input_head, input_len;
    bool input_refused;
};

/* Borrows everything. Returns 0 or a negative errno. */
int virtio_console_init(struct virtio_console *console, const char *name,
                        const struct virtio_console_ops *ops, void *ctx,
                        const struct guest_memory *mem, struct loop *loop, struct error *err);
void virtio_console_done(struct virtio_console *console);

/* Any thread: offers input; returns how many bytes were taken. ops->input_ready() follows a
 * refusal. */
size_t virtio_console_input(struct virtio_console *console, const void *bytes, size_t len);

/* Any thread: ops->room() would now allow more. */
void virtio_console_output_room(struct virtio_console *console);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * A virtio device without its transport: features, status machine, queue set-up, configuration
 * generation, failure and reset. Virtio 1.2 §2, §3.
 *
 * Threads. Registers are touched by vCPU threads under `lock`. At DRIVER_OK the queues are frozen
 * and work is posted to the device's I/O loop, which calls ops->start(); from then on the virtqs
 * belong to that loop. A reset (status 0) posts the opposite: the loop calls ops->stop(), the
 * device drains what is in flight and reports virtio_device_stopped(); only then does status read 0
 * (§2.4.2, §4.1.4.3.1), so a vCPU never waits for I/O and a completion never meets a recycled
 * queue. The states between are at the head of device.c.
 */
#ifndef PODVISOR_VIRTIO_DEVICE_H
#define PODVISOR_VIRTIO_DEVICE_H

#include "queue.h"
#include <linux/virtio_config.h>
#include <podvisor/log.h>
#include <podvisor/loop.h>
#include <pthread.h>
#include <stdatomic.h>

#define VIRTIO_QUEUE_MAX  18 /* virtio-net: 8 pairs and the control queue; console: 2 */
#define VIRTIO_CONFIG_MAX 64 /* bytes of device configuration any of ours has */
#define VIRTIO_NO_VECTOR  0xffff

struct virtio_device;

struct virtio_device_ops {
    /* I/O loop: the driver is ready; dev->driver_features and dev->queue[] are final until stop. */
    void (*start)(struct virtio_device *dev);
    /*
     * I/O loop: stop taking new work. Call virtio_device_stopped() once no request refers to guest
     * memory any more, at once or later from the same loop.
     */
    void (*stop)(struct virtio_device *dev);
    /*
     * I/O loop: the driver kicked queue `index`, which is active. Also called once for each active
     * queue after start(), for what the driver made available before. Not called after a failure.
     */
    void (*kicked)(struct virtio_device *dev, unsigned index);
    /*
     * vCPU thread, lock held: the driver wants to write dev->config[offset..+len), which lies
     * inside config_len. Return true to have the bytes stored, false to have them ignored. NULL:
     * all configuration is read-only.
     */
    bool (*config_write)(struct virtio_device *dev, uint32_t offset, const void *data,
                         uint32_t len);
};

/* How a device reaches the driver; implemented by the transport. */
struct virtio_transport_ops {
    /* I/O loop, between start and stopped: queue[index].msix_vector is final. */
    void (*interrupt_queue)(struct virtio_device *dev, unsigned index);
    /* Any thread. */
    void (*interrupt_config)(struct virtio_device *dev);
    /* Any thread, dev->lock held: a reset completed; transport registers get their first values. */
    void (*reset)(struct virtio_device *dev);
};

struct virtio_queue_slot {
    /* Registers, under dev->lock; frozen from DRIVER_OK until the reset completed. */
    uint16_t max_size;
    struct virtq_layout layout;
    bool enabled;
    uint16_t msix_vector;
    /* The I/O loop's, from start to stop. */
    struct virtq vq;
    bool active; /* enabled when the device started */
    /* For the life of the device. An ioeventfd writes kick_fd; the loop never reads it. */
    int kick_fd;
    struct loop_source kick;
    struct virtio_device *dev;
};

/* What the I/O loop does with the device, and what it is about to do. */
enum virtio_engine {
    VIRTIO_ENGINE_IDLE,     /* the loop touches nothing */
    VIRTIO_ENGINE_STARTING, /* DRIVER_OK was written, the loop has not seen it yet */
    VIRTIO_ENGINE_RUNNING,  /* ops->start() was called */
    VIRTIO_ENGINE_DRAINING, /* ops->stop() was called, virtio_device_stopped() not yet */
};

struct virtio_counters { /* relaxed atomics; `vmm ctl metrics` */
    atomic_uint_fast64_t kicks, interrupts, failures, resets;
};

struct virtio_device {
    const struct virtio_device_ops *ops;
    const char *name;  /* "disk0": for logs and metrics */
    uint16_t type;     /* §5: 1 net, 2 block, 3 console, 4 entropy, 5 balloon */
    uint64_t features; /* offered; VIRTIO_F_VERSION_1 is added by virtio_device_init() */
    unsigned queue_count;
    const struct guest_memory *mem;
    struct loop *loop; /* the I/O loop that owns the queues */

    pthread_mutex_t lock;
    uint8_t status;
    uint8_t config_generation;
    bool resetting; /* status 0 was written, the loop has not drained yet */
    enum virtio_engine engine;
    uint64_t driver_features;
    uint8_t config[VIRTIO_CONFIG_MAX];
    uint32_t config_len;
    struct virtio_queue_slot queue[VIRTIO_QUEUE_MAX];

    const struct virtio_transport_ops
        *transport; /* set by the transport before any register access */
    void *transport_ctx;
    struct loop_work engine_work; /* brings the loop's side to what the registers ask for */
    bool serving; /* the loop's own: started, not stopping, not failed: kicks count */
    struct log_ratelimit guest_fault_log;
    struct virtio_counters counters;
};

/*
 * Prepares the common part and opens the kick eventfds. `queue_sizes` has queue_count entries
 * (powers of two <= VIRTQ_SIZE_MAX). RING_EVENT_IDX, RING_INDIRECT_DESC and VERSION_1 are offered
 * always. Everything passed is borrowed for the device's life. Returns 0 or a negative errno.
 */
int virtio_device_init(struct virtio_device *dev, const struct virtio_device_ops *ops,
                       const char *name, uint16_t type, uint64_t features,
                       const uint16_t *queue_sizes, unsigned queue_count,
                       const struct guest_memory *mem, struct loop *loop, struct error *err);

/* Closes what init opened; the device is stopped, its loop no longer runs but is not done yet. */
void virtio_device_done(struct virtio_device *dev);

/* Transport, vCPU thread: the status register (§2.1). Writes run the state machine. */
uint8_t virtio_device_get_status(struct virtio_device *dev);
void virtio_device_set_status(struct virtio_device *dev, uint8_t status);

/* Transport: accept driver features for one 32-bit half; ignored after FEATURES_OK. */
void virtio_device_set_features(struct virtio_device *dev, uint32_t select, uint32_t value);

/* Transport: device configuration space (§2.5), any offset and length; outside reads as 0. */
void virtio_device_config_read(struct virtio_device *dev, uint32_t offset, void *data,
                               uint32_t len);
void virtio_device_config_write(struct virtio_device *dev, uint32_t offset, const void *data,
                                uint32_t len);

/* With dev->lock held: true when queue registers can no longer change. */
static inline bool virtio_device_frozen(const struct virtio_device *dev)
{
    return (dev->status & VIRTIO_CONFIG_S_DRIVER_OK) != 0;
}

/* I/O loop, from start to stop: true when the driver accepted feature bit `bit`. */
static inline bool virtio_device_has(const struct virtio_device *dev, unsigned bit)
{
    return (dev->driver_features >> bit) & 1;
}

/* I/O loop: nothing in flight any more after ops->stop(); completes the reset. */
void virtio_device_stopped(struct virtio_device *dev);

/*
 * I/O loop, between start and stopped: the driver broke a rule. Sets DEVICE_NEEDS_RESET (§2.1.2),
 * tells the driver, counts and logs at a bounded rate. The device does nothing more until reset:
 * kicked() is not called, every queue is broken (pops nothing, arms nothing); requests in flight
 * are still completed. `why` is a literal or a virtq's fault.
 */
void virtio_device_fail(struct virtio_device *dev, const char *why);

/* I/O loop: publish queue `index` and interrupt the driver if it wants to know. */
void virtio_device_notify(struct virtio_device *dev, unsigned index);

/*
 * Any thread: kicks as the driver does: ops->kicked(index) is called (again) after the loop served
 * its other sources. For a device that stops working on a long queue so that one guest's disk does
 * not starve its network.
 */
void virtio_device_rekick(struct virtio_device *dev, unsigned index);

/* Any thread: changes configuration bytes, bumps the generation, interrupts the driver. */
void virtio_device_config_changed(struct virtio_device *dev, uint32_t offset, const void *data,
                                  uint32_t len);

/* Any thread: writes status 0 as a driver would (system reset); poll status to see it finish. */
void virtio_device_reset(struct virtio_device *dev);

#endif

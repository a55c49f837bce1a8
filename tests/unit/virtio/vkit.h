// SPDX-License-Identifier: Apache-2.0
/*
 * Device in a box: everything a virtio device needs but a virtual machine. Guest RAM in two
 * regions, an event loop, a transport that counts interrupts, and the driver's side of split
 * virtqueues (virtio 1.2 §2.7) with every knob to get it wrong. For unit tests and fuzz targets;
 * link podvisor_vkit.
 *
 *     struct vkit kit;
 *     vkit_init(&kit);
 *     xyz_init(&xyz, ..., &kit.mem, &kit.loop, ...);
 *     vkit_attach(&kit, &xyz.dev);
 *     ck_assert(vkit_start(&kit, VKIT_FEATURES));
 *     gpa_t data = vkit_alloc(&kit, 4096, 16);
 *     struct vkit_buf buf = {.gpa = data, .len = 4096, .writable = true};
 *     ck_assert(vkit_request(&kit, 0, &buf, 1, &written));
 *     vkit_reset(&kit);
 *     xyz_done(&xyz);
 *     vkit_done(&kit);
 *
 * The test's thread plays the driver and, by vkit_run() and the functions that wait, the I/O loop.
 * With vkit_thread_start() the loop gets a thread of its own, for ThreadSanitizer; all ring memory
 * is accessed with atomic builtins.
 */
#ifndef PODVISOR_TESTS_VKIT_H
#define PODVISOR_TESTS_VKIT_H

#include "device.h"
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

/* Two regions with a hole between: [0, LOW_SIZE) and [HIGH_BASE, HIGH_BASE + HIGH_SIZE). */
#define VKIT_LOW_SIZE  UINT64_C(0x400000)
#define VKIT_HIGH_BASE UINT64_C(0x100000000)
#define VKIT_HIGH_SIZE UINT64_C(0x10000)

/* What vkit_start() usually accepts; device features are or'ed to it. */
#define VKIT_FEATURES                                                                 \
    ((UINT64_C(1) << VIRTIO_F_VERSION_1) | (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX) | \
     (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC))

/* Waiting functions give up after this time; generous, for sanitizers on a busy machine. */
#define VKIT_TIMEOUT_MS 10000

struct vkit_buf {
    gpa_t gpa;
    uint32_t len; /* bytes */
    bool writable;
};

struct vkit_queue { /* the driver's view of one queue */
    struct virtq_layout layout;
    uint16_t free_head, free_count;
    uint16_t avail_idx;  /* published by vkit_add() and vkit_avail_push() */
    uint16_t last_used;  /* next used element to look at */
    uint16_t kicked_idx; /* avail_idx at the last vkit_kick_if_needed() */
    uint16_t next_free[VIRTQ_SIZE_MAX];
    uint16_t chain_end[VIRTQ_SIZE_MAX]; /* by head: the chain's last descriptor */
};

struct vkit {
    struct guest_memory mem;
    gpa_t alloc_next;
    struct loop loop;
    struct virtio_device *dev;
    struct vkit_queue queue[VIRTIO_QUEUE_MAX];
    atomic_uint queue_interrupts[VIRTIO_QUEUE_MAX];
    atomic_uint config_interrupts;
    atomic_uint transport_resets;
    pthread_t thread;
    bool threaded;
};

/* Memory (zeroed) and loop. Aborts when the machine has no memory or descriptors left. */
void vkit_init(struct vkit *kit);

/* Frees them; the device is done with by now. Joins the loop's thread when there is one. */
void vkit_done(struct vkit *kit);

/* Puts the kit's transport on a device that virtio_device_init() prepared. */
void vkit_attach(struct vkit *kit, struct virtio_device *dev);

/* ---- memory ---- */

/* Zeroed guest memory of the low region, never freed until vkit_done() or vkit_alloc_reset(). */
gpa_t vkit_alloc(struct vkit *kit, uint64_t len, uint64_t align);

/* Forgets all allocations (after a reset of the device, before a new start). */
void vkit_alloc_reset(struct vkit *kit);

/* Host address of guest memory; aborts when it is not RAM: a mistake of the test. */
void *vkit_at(struct vkit *kit, gpa_t gpa, uint64_t len);

/* ---- driver initialisation, virtio 1.2 §3.1.1 ---- */

/* Reset up to FEATURES_OK. Returns whether the device kept FEATURES_OK. */
bool vkit_negotiate(struct vkit *kit, uint64_t features);

/* Allocates and programs queue `index` with `size` entries (0: the largest) and enables it. */
void vkit_setup_queue(struct vkit *kit, unsigned index, uint16_t size);

/* DRIVER_OK, then runs the loop. Returns whether the device runs (no NEEDS_RESET). */
bool vkit_driver_ok(struct vkit *kit);

/* All of the above for all queues at their largest size. */
bool vkit_start(struct vkit *kit, uint64_t features);

/* Writes status 0 and waits until it reads 0. Returns false on time-out. */
bool vkit_reset(struct vkit *kit);

bool vkit_needs_reset(struct vkit *kit);

/* ---- running the loop ---- */

/* Dispatches until nothing is ready (without a thread), or does nothing (with one). */
void vkit_run(struct vkit *kit);

/* Runs the loop on a thread of its own until vkit_thread_stop(). */
void vkit_thread_start(struct vkit *kit);
void vkit_thread_stop(struct vkit *kit);

/* Waits until cond(arg) holds, running the loop meanwhile. Returns false on time-out. */
bool vkit_wait(struct vkit *kit, bool (*cond)(void *arg), void *arg);

/* Waits until at least `count` used elements have not been taken yet. Returns false on time-out. */
bool vkit_wait_used(struct vkit *kit, unsigned index, unsigned count);

/* ---- queue, well-behaved ---- */

/* Makes a chain available. Returns its head, or -1 when the descriptors do not suffice. */
int vkit_add(struct vkit *kit, unsigned index, const struct vkit_buf *bufs, unsigned count);

/*
 * Likewise: `direct` buffers in the ring, the rest in an indirect table (freshly allocated) that
 * the chain ends in.
 */
int vkit_add_indirect(struct vkit *kit, unsigned index, const struct vkit_buf *bufs, unsigned count,
                      unsigned direct);

/* Signals the queue's eventfd, as an ioeventfd would; does not run the loop. */
void vkit_kick(struct vkit *kit, unsigned index);

/* Kicks only if the device asked for it (§2.7.10). Returns whether it did. */
bool vkit_kick_if_needed(struct vkit *kit, unsigned index);

/* Takes one used element and frees its descriptors (those of vkit_add*() only). Returns false when
 * there is none. */
bool vkit_used(struct vkit *kit, unsigned index, uint32_t *ret_head, uint32_t *ret_len);

/* Used elements that were not taken yet. */
uint16_t vkit_used_count(struct vkit *kit, unsigned index);

/* vkit_add(), kick, wait for it, vkit_used(). Returns false when it never came back. */
bool vkit_request(struct vkit *kit, unsigned index, const struct vkit_buf *bufs, unsigned count,
                  uint32_t *ret_len);

/* ---- queue, raw: what a broken or hostile driver writes ---- */

void vkit_desc_write(struct vkit *kit, unsigned index, uint16_t i, uint64_t addr, uint32_t len,
                     uint16_t flags, uint16_t next);
/* Entry `slot` (taken modulo the size) of the available ring. */
void vkit_avail_write(struct vkit *kit, unsigned index, uint16_t slot, uint16_t head);
void vkit_avail_set_idx(struct vkit *kit, unsigned index, uint16_t idx);
void vkit_avail_set_flags(struct vkit *kit, unsigned index, uint16_t flags);
void vkit_set_used_event(struct vkit *kit, unsigned index, uint16_t event);
/* vkit_avail_write() at the end of the ring and one more in idx. */
void vkit_avail_push(struct vkit *kit, unsigned index, uint16_t head);

uint16_t vkit_used_flags(struct vkit *kit, unsigned index);
uint16_t vkit_used_idx(struct vkit *kit, unsigned index);
uint16_t vkit_avail_event(struct vkit *kit, unsigned index);

/* Prepares only the driver's side of a queue whose memory is at `layout` (tests of the bare virtq).
 */
void vkit_queue_init(struct vkit *kit, unsigned index, const struct virtq_layout *layout);

/* Allocates ring memory for `size` entries. */
struct virtq_layout vkit_ring_alloc(struct vkit *kit, uint16_t size);

#endif

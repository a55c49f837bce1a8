// SPDX-License-Identifier: Apache-2.0
/*
 * Split virtqueue, device side: the only code that touches ring memory. Virtio 1.2 §2.7.
 *
 * A virtq is built once, at DRIVER_OK, from a copy of what the driver wrote; later register writes
 * cannot reach it. From then until reset it belongs to one I/O loop thread. Each descriptor is
 * copied out of guest memory once, checked, and handed on only as host buffers that are known to be
 * RAM. Rules enforced (numbers of the validation table in docs/threat-model.md): ring sizes,
 * alignment and range at init; avail.idx distance; head and next bounds; loops; unknown flags;
 * indirect tables (length, nesting, bound); buffers wholly in RAM; total length < 2^32; readable
 * before writable; no head twice in flight.
 */
#ifndef PODVISOR_VIRTIO_QUEUE_H
#define PODVISOR_VIRTIO_QUEUE_H

#include <podvisor/guest_memory.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define VIRTQ_SIZE_MAX 1024 /* largest queue any device offers */

/* As the driver programmed it: unchecked. */
struct virtq_layout {
    uint16_t size;
    gpa_t desc, avail, used;
};

struct virtq {
    const struct guest_memory *mem;
    uint16_t size;
    bool event_idx, indirect;
    bool broken;               /* a rule was violated; nothing is popped any more */
    const char *fault;         /* which one, for the log */
    void *desc, *avail, *used; /* HVA; ring memory, the guest may write at any time */
    uint16_t next_avail;       /* free-running, like the ring's own indices */
    uint16_t seen_avail;       /* avail.idx when last looked at, at most `size` past next_avail */
    uint16_t next_used;
    uint16_t published_used; /* used.idx as the driver sees it */
    uint16_t in_flight;
    uint64_t in_flight_map[VIRTQ_SIZE_MAX / 64];
};

struct virtq_chain {
    uint16_t head;
    uint16_t readable_count, writable_count; /* entries of iov: readable first, then writable */
    uint32_t readable_len, writable_len;     /* bytes */
    struct iovec *iov;
};

/* Checks the layout against `mem` and builds the queue. Returns 0 or -EINVAL (and sets q->fault).
 */
int virtq_init(struct virtq *q, const struct guest_memory *mem, const struct virtq_layout *layout,
               bool event_idx, bool indirect);

/*
 * Takes the next available chain; its buffers go into iov[0..iov_max), which the caller keeps as
 * long as it uses the chain. Returns 1, 0 when there is none, or -EPROTO when the driver broke a
 * rule: q->fault says which, nothing more is popped until reset (every later call returns 0), and
 * the device calls virtio_device_fail(). Chains in flight may still be completed. Zero-length
 * descriptors are legal and skipped, so a chain may have no buffers at all.
 */
int virtq_pop(struct virtq *q, struct iovec *iov, unsigned iov_max, struct virtq_chain *ret_chain);

/* Gives back the chain popped last, before any other pop: it will be popped again. */
void virtq_unpop(struct virtq *q, const struct virtq_chain *chain);

/*
 * Completes a chain: `written` bytes of its writable part now hold data. In any order. Not visible
 * to the driver until virtq_publish(). A head that is not in flight is our own mistake: asserted.
 */
void virtq_push(struct virtq *q, uint16_t head, uint32_t written);

/* Makes pushed completions visible. Returns true when the driver must be interrupted (§2.7.7). */
bool virtq_publish(struct virtq *q);

/* Tells the driver not to kick: we are looking at the queue anyway. */
void virtq_suppress_kicks(struct virtq *q);

/*
 * Asks for a kick again. Returns true when something came meanwhile: process, then arm again. Never
 * true for a broken queue.
 */
bool virtq_arm_kicks(struct virtq *q);

/* Chains made available by the driver and not popped yet, at most q->size (0 when broken). */
uint16_t virtq_available(const struct virtq *q);

#endif

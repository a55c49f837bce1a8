// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-net over a tap: virtio 1.2 §5.1. One pair of queues; the configuration already has the
 * field for more. All of it runs on one I/O loop.
 *
 * Theory of operation. A frame goes with one writev(2) from the guest's buffers to the tap, and
 * with one readv(2) from the tap into the guest's buffers, vnet header (12 bytes, §5.1.6) included,
 * because the tap speaks the same header. For receiving, a window of chains is kept popped; a frame
 * uses the first few of them and num_buffers says how many (§5.1.6.4). How large the next frame is
 * cannot be asked, so the window follows the frames that came: the fewer buffers a readv(2) names,
 * the cheaper it is. What does not fit lands in a buffer of our own behind the window and is copied
 * into further chains, which the frame may have to wait for: a guest that is slower than its peer
 * has few buffers free most of the time, and must not lose every large frame for it. Checksums and
 * segmentation are the host kernel's.
 *
 * A card with a lease answers the guest's DHCP requests itself (dhcp.h): the frame ends here, and
 * the reply is received before the next frame of the tap. There is room for one: what the guest
 * asks before it gave a buffer for the last answer replaces that.
 */
#ifndef PODVISOR_VIRTIO_NET_H
#define PODVISOR_VIRTIO_NET_H

#include "device.h"
#include "dhcp.h"

#define VIRTIO_NET_HEADER_SIZE 12 /* struct virtio_net_hdr_v1 */
#define VIRTIO_NET_QUEUE_SIZE  256
#define VIRTIO_NET_WINDOW_IOV  (2 * VIRTIO_NET_QUEUE_SIZE) /* buffers of the receive window */

/* Largest frame with its header: 65535 bytes of IPv6 payload, 40 + 14 of headers, 12 of vnet
 * header. */
#define VIRTIO_NET_FRAME_MAX 65601

struct virtio_net_options {
    const char *name; /* borrowed */
    int tap_fd; /* borrowed; IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, header size 12, non-blocking */
    uint8_t mac[6];
    uint16_t mtu;              /* bytes; 0: not announced */
    bool offload;              /* the tap takes checksum and TCP segmentation offloads */
    bool offload_uso;          /* and UDP segmentation */
    const struct lease *lease; /* borrowed; NULL or not enabled: DHCP goes to the tap */
};

struct virtio_net_counters { /* relaxed atomics */
    atomic_uint_fast64_t tx_packets, tx_bytes, tx_dropped;
    atomic_uint_fast64_t rx_packets, rx_bytes, rx_dropped;
};

struct virtio_net_rx_chain {
    uint16_t head;
    uint16_t iov_count;
    uint32_t len;
};

struct virtio_net {
    struct virtio_device dev;
    struct virtio_net_counters counters;
    atomic_bool link_up;
    int tap_fd;
    uint16_t mtu;
    struct loop_source tap;
    uint32_t tap_events; /* what the loop watches at the moment */
    bool tx_blocked;     /* the tap was full; EPOLLOUT goes on */
    bool tap_gone;       /* the host deleted the interface */

    /* The receive window: chains [first, first + count) with their buffers in iov[iov_first...]. */
    struct virtio_net_rx_chain rx_chain[VIRTIO_NET_QUEUE_SIZE];
    unsigned rx_first, rx_count;
    struct iovec rx_iov[VIRTIO_NET_WINDOW_IOV + 1]; /* the last one is for rx_spill */
    unsigned rx_iov_first, rx_iov_count;
    uint64_t rx_capacity; /* bytes in the window */
    size_t rx_wanted;     /* bytes it should have for the next frame */
    unsigned rx_large;    /* frames until it shrinks again */

    /* The frame that was longer than the window. */
    size_t rx_held;       /* bytes of it, 0: there is none */
    size_t rx_held_split; /* this many are in the window, the others in rx_spill */
    struct loop_timer rx_patience;

    struct iovec tx_iov[VIRTIO_NET_QUEUE_SIZE];

    const struct lease *lease; /* NULL: no DHCP */
    struct log_ratelimit dhcp_log;
    size_t reply_len; /* of the answer that waits to be received, with its header; 0: none */
    uint8_t reply[VIRTIO_NET_HEADER_SIZE + DHCP_FRAME_MAX];

    uint8_t rx_spill[VIRTIO_NET_FRAME_MAX]; /* last: not touched before it is needed */
};

/* Everything in `options` but what it says is borrowed is copied. Returns 0 or a negative errno.
 */
int virtio_net_init(struct virtio_net *net, const struct virtio_net_options *options,
                    const struct guest_memory *mem, struct loop *loop, struct error *err);

/* The device is stopped and its loop no longer runs. */
void virtio_net_done(struct virtio_net *net);

/* Any thread: the link goes up or down for the guest (§5.1.4); a link that is down loses frames. */
void virtio_net_set_link(struct virtio_net *net, bool up);

#endif

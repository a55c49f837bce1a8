// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-net over a tap, virtio 1.2 §5.1; theory of operation in net.h. Runs on the device's I/O
 * loop but for init, done and set_link.
 */
#include "net.h"
#include <linux/if_tun.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/counter.h>
#include <podvisor/iov.h>
#include <string.h>
#include <sys/ioctl.h>

#define RX_QUEUE 0
#define TX_QUEUE 1

#define HEADER_SIZE sizeof(struct virtio_net_hdr_v1)
_Static_assert(HEADER_SIZE == VIRTIO_NET_HEADER_SIZE, "virtio 1.2 §5.1.6");

/* Frames handled before other devices of the loop get their turn. */
#define BATCH 128

/* The driver sees every so many frames of a batch at once: it works while we do. */
#define PUBLISH_EVERY 8

/* Ethernet's header with two VLAN tags; the frame check sequence is not there. */
#define ETHERNET_SIZE 22
#define MTU_DEFAULT   1500

/* Frames for which the receive window stays large after one that needed it. */
#define LARGE_FOR 64

/* How long a frame waits for the driver to give enough buffers. */
#define PATIENCE_NS (20 * NSEC_PER_MSEC)

/* Frames thrown away at start: more than any tap queues by default. */
#define DRAIN_MAX 4096

/* Linux 6.2; older headers lack them. */
#ifndef VIRTIO_NET_F_GUEST_USO4
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO   56
#endif
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define FEATURE(bit) (UINT64_C(1) << (bit))

static struct virtio_net *to_net(struct virtio_device *dev)
{
    return container_of(dev, struct virtio_net, dev);
}

static void watch_tap(struct virtio_net *net, uint32_t events)
{
    if (events == net->tap_events || net->tap.fd < 0)
        return;
    if (loop_mod(net->dev.loop, &net->tap, events) == 0)
        net->tap_events = events;
}

static bool link_is_up(const struct virtio_net *net)
{
    return atomic_load_explicit(&net->link_up, memory_order_relaxed);
}

/* Transmission. */

/*
 * Answers a frame if it is a DHCP request that the lease is for; true when it was, and goes no
 * further. What is decided on are copies: the guest may change its own at any time.
 */
static bool intercept(struct virtio_net *net, const struct virtq_chain *chain)
{
    uint8_t frame[HEADER_SIZE + DHCP_FRAME_MAX];
    const size_t len = chain->readable_len;
    if (net->lease == NULL || len < HEADER_SIZE + DHCP_FRAME_MIN || len > sizeof(frame))
        return false;
    iov_read(chain->iov, chain->readable_count, HEADER_SIZE, frame, DHCP_PEEK);
    if (!dhcp_is_candidate(frame, DHCP_PEEK))
        return false;
    iov_read(chain->iov, chain->readable_count, 0, frame, len);
    const bool unfinished =
        (frame[offsetof(struct virtio_net_hdr_v1, flags)] & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0;
    uint8_t reply[DHCP_FRAME_MAX];
    struct dhcp_answer answer =
        dhcp_answer(net->lease, net->dev.config + offsetof(struct virtio_net_config, mac),
                    frame + HEADER_SIZE, len - HEADER_SIZE, unfinished, reply);
    uint32_t suppressed;
    if (answer.note != NULL && log_ratelimit_allow(&net->dhcp_log, &suppressed))
        log_warn(net->dev.name, "DHCP: %s", answer.note);
    if (answer.len > 0) {
        if (net->reply_len > 0)
            counter_add(&net->counters.rx_dropped, 1);
        memset(net->reply, 0, HEADER_SIZE);
        memcpy(net->reply + HEADER_SIZE, reply, answer.len);
        net->reply_len = HEADER_SIZE + answer.len;
    }
    return answer.taken;
}

/* Sends one frame; false when the tap is full and the chain must wait. */
static bool send_frame(struct virtio_net *net, const struct virtq_chain *chain)
{
    ssize_t n = -1;
    if (chain->readable_len > HEADER_SIZE && chain->readable_len <= VIRTIO_NET_FRAME_MAX &&
        link_is_up(net)) {
        n = intercept(net, chain) ? (ssize_t)chain->readable_len
                                  : pwritev2(net->tap_fd, chain->iov, chain->readable_count, -1, 0);
        if (n < 0 && errno == EAGAIN)
            return false;
    }
    if (n < 0) {
        /* No frame, a header that the kernel refuses, or the interface is down: lost, as on a wire.
         */
        counter_add(&net->counters.tx_dropped, 1);
        return true;
    }
    counter_add(&net->counters.tx_packets, 1);
    counter_add(&net->counters.tx_bytes, chain->readable_len - HEADER_SIZE);
    return true;
}

/*
 * Sends frames until the queue is empty, the tap full or *budget (of frames) used up. Returns 0 or
 * a negative errno.
 */
static int send_batch(struct virtio_net *net, struct virtq *vq, unsigned *budget)
{
    while (*budget > 0) {
        struct virtq_chain chain;
        int r = virtq_pop(vq, net->tx_iov, ARRAY_SIZE(net->tx_iov), &chain);
        if (r <= 0)
            return r;
        if (chain.writable_count > 0) {
            vq->fault = "a frame to send has a device-writable buffer";
            return -EPROTO;
        }
        if (!send_frame(net, &chain)) {
            virtq_unpop(vq, &chain);
            net->tx_blocked = true;
            return 0;
        }
        virtq_push(vq, chain.head, 0);
        if (--*budget % PUBLISH_EVERY == 0)
            virtio_device_notify(&net->dev, TX_QUEUE);
    }
    return 0;
}

static void receive(struct virtio_net *net);

static void transmit(struct virtio_net *net)
{
    struct virtio_queue_slot *slot = &net->dev.queue[TX_QUEUE];
    if (!slot->active || net->tx_blocked)
        return;
    virtq_suppress_kicks(&slot->vq);
    unsigned budget = BATCH;
    do {
        int r = send_batch(net, &slot->vq, &budget);
        virtio_device_notify(&net->dev, TX_QUEUE);
        if (r < 0) {
            virtio_device_fail(&net->dev, slot->vq.fault);
            return;
        }
        if (net->reply_len > 0)
            receive(net);
        if (net->tx_blocked) {
            watch_tap(net, net->tap_events | EPOLLOUT);
            return;
        }
        if (budget == 0 && virtq_available(&slot->vq) > 0) {
            /* Come back through the event loop, after the other devices. */
            virtio_device_rekick(&net->dev, TX_QUEUE);
            return;
        }
    } while (virtq_arm_kicks(&slot->vq));
}

/* Reception. */

/* Moves the live part of the window to the front, so that there is room behind it. */
static void compact_window(struct virtio_net *net)
{
    memmove(net->rx_iov, net->rx_iov + net->rx_iov_first,
            net->rx_iov_count * sizeof(net->rx_iov[0]));
    net->rx_iov_first = 0;
}

/* Room for one more chain, however many buffers it has. */
static bool window_has_room(struct virtio_net *net)
{
    if (net->rx_count == ARRAY_SIZE(net->rx_chain))
        return false;
    /* The entry behind the window is read_frame()'s. */
    if (net->rx_iov_first + net->rx_iov_count + VIRTIO_NET_QUEUE_SIZE > VIRTIO_NET_WINDOW_IOV)
        compact_window(net);
    return net->rx_iov_count + VIRTIO_NET_QUEUE_SIZE <= VIRTIO_NET_WINDOW_IOV;
}

/* Pops chains until the window holds `wanted` bytes, as far as it can. Returns 0 or a negative
 * errno. */
static int fill_window(struct virtio_net *net, struct virtq *vq, size_t wanted)
{
    bool merge = virtio_device_has(&net->dev, VIRTIO_NET_F_MRG_RXBUF);
    if (!merge && net->rx_count > 0)
        return 0; /* a frame must fit into one chain */
    while (net->rx_capacity < wanted && window_has_room(net)) {
        struct virtq_chain chain;
        struct iovec *iov = net->rx_iov + net->rx_iov_first + net->rx_iov_count;
        int r = virtq_pop(vq, iov, VIRTIO_NET_QUEUE_SIZE, &chain);
        if (r <= 0)
            return r;
        if (chain.readable_count > 0 || chain.writable_len < HEADER_SIZE) {
            vq->fault = "a receive buffer is readable or smaller than a header";
            return -EPROTO;
        }
        unsigned slot = (net->rx_first + net->rx_count) % ARRAY_SIZE(net->rx_chain);
        net->rx_chain[slot] = (struct virtio_net_rx_chain){
            .head = chain.head, .iov_count = chain.writable_count, .len = chain.writable_len};
        net->rx_count++;
        net->rx_iov_count += chain.writable_count;
        net->rx_capacity += chain.writable_len;
        if (!merge)
            break;
    }
    return 0;
}

/* §5.1.6.4: num_buffers of the header at the start of the first chain, however it is split. */
static void store_num_buffers(const struct iovec *iov, uint16_t num_buffers)
{
    const uint8_t value[2] = {(uint8_t)num_buffers, (uint8_t)(num_buffers >> 8)};
    size_t offset = offsetof(struct virtio_net_hdr_v1, num_buffers);
    for (size_t done = 0; done < sizeof(value); iov++) {
        for (; offset < iov->iov_len && done < sizeof(value); offset++, done++)
            ((volatile uint8_t *)iov->iov_base)[offset] = value[done];
        offset = offset > iov->iov_len ? offset - iov->iov_len : 0;
    }
}

/* Gives the chains that a frame of `len` bytes filled to the driver. */
static void complete_frame(struct virtio_net *net, struct virtq *vq, size_t len)
{
    const struct iovec *header = net->rx_iov + net->rx_iov_first;
    uint16_t used = 0;
    for (size_t left = len; left > 0; used++) {
        struct virtio_net_rx_chain *chain = &net->rx_chain[net->rx_first];
        uint32_t part = left < chain->len ? (uint32_t)left : chain->len;
        virtq_push(vq, chain->head, part);
        left -= part;
        net->rx_first = (net->rx_first + 1) % ARRAY_SIZE(net->rx_chain);
        net->rx_count--;
        net->rx_iov_first += chain->iov_count;
        net->rx_iov_count -= chain->iov_count;
        net->rx_capacity -= chain->len;
    }
    store_num_buffers(header, used);
    counter_add(&net->counters.rx_packets, 1);
    counter_add(&net->counters.rx_bytes, len - HEADER_SIZE);
}

/* Reads one frame into the window, and what it has no room for into the spill. Our own first. */
static ssize_t read_frame(struct virtio_net *net)
{
    struct iovec *iov = net->rx_iov + net->rx_iov_first;
    iov[net->rx_iov_count] =
        (struct iovec){.iov_base = net->rx_spill, .iov_len = sizeof(net->rx_spill)};
    if (net->reply_len > 0) {
        size_t n = iov_write(iov, net->rx_iov_count + 1, 0, net->reply, net->reply_len);
        net->reply_len = 0;
        return (ssize_t)n;
    }
    return preadv2(net->tap_fd, iov, (int)net->rx_iov_count + 1, -1, 0);
}

static void set_wanted(struct virtio_net *net, size_t frame)
{
    const size_t small =
        HEADER_SIZE + ETHERNET_SIZE + (net->mtu != 0 ? net->mtu : (size_t)MTU_DEFAULT);
    if (frame > small)
        net->rx_large = LARGE_FOR;
    else if (net->rx_large > 0)
        net->rx_large--;
    net->rx_wanted = net->rx_large > 0 ? VIRTIO_NET_FRAME_MAX : small;
}

/* A frame of `len` bytes was read: completes it, holds it for want of buffers, or drops it. */
static void take_frame(struct virtio_net *net, struct virtq *vq, size_t len)
{
    set_wanted(net, len);
    bool fits = len <= net->rx_capacity;
    bool lost = len <= HEADER_SIZE || len > VIRTIO_NET_FRAME_MAX || !link_is_up(net);
    if (lost || (!fits && !virtio_device_has(&net->dev, VIRTIO_NET_F_MRG_RXBUF))) {
        counter_add(&net->counters.rx_dropped, 1);
    } else if (fits) {
        complete_frame(net, vq, len);
    } else {
        net->rx_held = len;
        net->rx_held_split = (size_t)net->rx_capacity;
    }
}

static void release_held(struct virtio_net *net)
{
    net->rx_held = 0;
    loop_timer_disarm(net->dev.loop, &net->rx_patience);
}

static void drop_held(struct virtio_net *net)
{
    release_held(net);
    counter_add(&net->counters.rx_dropped, 1);
}

/*
 * Moves the rest of the held frame into further chains. Returns 1 when it is done with, 0 when the
 * driver has not given enough chains yet, or a negative errno.
 */
static int place_held(struct virtio_net *net, struct virtq *vq)
{
    int r = fill_window(net, vq, net->rx_held);
    if (r < 0)
        return r;
    if (net->rx_capacity >= net->rx_held) {
        iov_write(net->rx_iov + net->rx_iov_first, net->rx_iov_count, net->rx_held_split,
                  net->rx_spill, net->rx_held - net->rx_held_split);
        complete_frame(net, vq, net->rx_held);
        release_held(net);
        return 1;
    }
    if (window_has_room(net) && (net->rx_patience.heap_index >= 0 ||
                                 loop_timer_arm(net->dev.loop, &net->rx_patience,
                                                net->dev.loop->now_ns() + PATIENCE_NS) == 0))
        return 0;
    drop_held(net);
    return 1;
}

enum receive_end { RECEIVE_DRAINED, RECEIVE_BATCH_FULL, RECEIVE_NO_BUFFERS, RECEIVE_BROKEN };

/* Receives until something ends it, for example *budget (of frames). */
static enum receive_end receive_batch(struct virtio_net *net, struct virtq *vq, unsigned *budget)
{
    for (; *budget > 0; --*budget) {
        if (net->rx_held == 0) {
            if (fill_window(net, vq, net->rx_wanted) < 0)
                return RECEIVE_BROKEN;
            if (net->rx_count == 0)
                return RECEIVE_NO_BUFFERS;
            ssize_t n = read_frame(net);
            if (n < 0)
                return RECEIVE_DRAINED;
            take_frame(net, vq, (size_t)n);
        }
        if (net->rx_held != 0) {
            int r = place_held(net, vq);
            if (r <= 0)
                return r < 0 ? RECEIVE_BROKEN : RECEIVE_NO_BUFFERS;
        }
        /* The first one at once: most often there is no second one. */
        if (*budget % PUBLISH_EVERY == 0)
            virtio_device_notify(&net->dev, RX_QUEUE);
    }
    return RECEIVE_BATCH_FULL;
}

static void receive(struct virtio_net *net)
{
    struct virtio_queue_slot *slot = &net->dev.queue[RX_QUEUE];
    enum receive_end end = RECEIVE_BROKEN;
    if (slot->active && !slot->vq.broken) {
        unsigned budget = BATCH;
        do {
            end = receive_batch(net, &slot->vq, &budget);
            virtio_device_notify(&net->dev, RX_QUEUE);
        } while (end == RECEIVE_NO_BUFFERS && virtq_arm_kicks(&slot->vq));
        if (end == RECEIVE_BROKEN)
            virtio_device_fail(&net->dev, slot->vq.fault);
    }
    if (end == RECEIVE_DRAINED || end == RECEIVE_BATCH_FULL) {
        /* Level-triggered: the loop comes back while frames wait. */
        virtq_suppress_kicks(&slot->vq);
        watch_tap(net, net->tap_events | EPOLLIN);
    } else {
        /* Frames wait in the tap's own queue, and are dropped there when it is full, until a kick;
         * or nobody takes them before a reset. */
        watch_tap(net, net->tap_events & ~(uint32_t)EPOLLIN);
    }
}

static void patience_expired(struct loop_timer *timer)
{
    struct virtio_net *net = container_of(timer, struct virtio_net, rx_patience);
    drop_held(net);
    receive(net);
}

/* A tap without an interface reports an error for ever: not to be watched any more. */
static void lose_tap(struct virtio_net *net)
{
    net->tap_gone = true;
    loop_del(net->dev.loop, &net->tap);
    log_warn(net->dev.name, "the host deleted the tap; the link is down for good");
    virtio_net_set_link(net, false);
    /* What the driver still sends is lost, as on a cable that was cut. */
    net->tx_blocked = false;
    transmit(net);
}

static void tap_ready(struct loop_source *src, uint32_t events)
{
    struct virtio_net *net = container_of(src, struct virtio_net, tap);
    if (events & (EPOLLERR | EPOLLHUP)) {
        lose_tap(net);
        return;
    }
    if (events & EPOLLOUT) {
        net->tx_blocked = false;
        watch_tap(net, net->tap_events & ~(uint32_t)EPOLLOUT);
        transmit(net);
    }
    if (events & EPOLLIN)
        receive(net);
}

/* The device. */

static void net_kicked(struct virtio_device *dev, unsigned index)
{
    if (index == RX_QUEUE)
        receive(to_net(dev));
    else
        transmit(to_net(dev));
}

/*
 * What the tap may leave to the driver: §5.1.6.3.1. The kernel refuses a combination that it does
 * not know as a whole, so the dependencies of §5.1.3.1 are kept here even if the driver did not.
 */
static unsigned tap_offloads(const struct virtio_device *dev)
{
    if (!virtio_device_has(dev, VIRTIO_NET_F_GUEST_CSUM))
        return 0;
    unsigned flags = TUN_F_CSUM;
    if (virtio_device_has(dev, VIRTIO_NET_F_GUEST_TSO4))
        flags |= TUN_F_TSO4;
    if (virtio_device_has(dev, VIRTIO_NET_F_GUEST_TSO6))
        flags |= TUN_F_TSO6;
    if (flags != TUN_F_CSUM && virtio_device_has(dev, VIRTIO_NET_F_GUEST_ECN))
        flags |= TUN_F_TSO_ECN;
    /* A tap takes these two only together. */
    if (virtio_device_has(dev, VIRTIO_NET_F_GUEST_USO4) &&
        virtio_device_has(dev, VIRTIO_NET_F_GUEST_USO6))
        flags |= TUN_F_USO4 | TUN_F_USO6;
    return flags;
}

static void set_tap_offloads(struct virtio_net *net)
{
    unsigned flags = tap_offloads(&net->dev);
    if (ioctl(net->tap_fd, TUNSETOFFLOAD, flags) == 0)
        return;
    log_debug(net->dev.name, "TUNSETOFFLOAD 0x%x: %s", flags, strerror(errno));
    if (flags != 0)
        (void)ioctl(net->tap_fd, TUNSETOFFLOAD, 0);
}

/* Frames that came before were made for nobody, or with the offloads of another driver. */
static void drain_tap(struct virtio_net *net)
{
    struct iovec iov = {.iov_base = net->rx_spill, .iov_len = sizeof(net->rx_spill)};
    for (unsigned i = 0; i < DRAIN_MAX && preadv2(net->tap_fd, &iov, 1, -1, 0) > 0; i++)
        counter_add(&net->counters.rx_dropped, 1);
}

static void clear_window(struct virtio_net *net)
{
    net->rx_first = net->rx_count = 0;
    net->rx_iov_first = net->rx_iov_count = 0;
    net->rx_capacity = 0;
    net->rx_large = 0;
    net->reply_len = 0;
    set_wanted(net, 0);
    release_held(net);
}

static void net_start(struct virtio_device *dev)
{
    struct virtio_net *net = to_net(dev);
    clear_window(net);
    net->tx_blocked = false;
    if (net->tap_gone)
        return;
    set_tap_offloads(net);
    drain_tap(net);
    struct error err = ERROR_INIT;
    if (loop_add(dev->loop, &net->tap, net->tap_fd, EPOLLIN, &err) < 0) {
        virtio_device_fail(dev, err.text);
        return;
    }
    net->tap_events = EPOLLIN;
}

static void net_stop(struct virtio_device *dev)
{
    struct virtio_net *net = to_net(dev);
    loop_del(dev->loop, &net->tap);
    clear_window(net);
    virtio_device_stopped(dev); /* nothing is ever in flight: both directions are synchronous */
}

static const struct virtio_device_ops net_ops = {
    .start = net_start,
    .stop = net_stop,
    .kicked = net_kicked,
};

static uint64_t offered_features(const struct virtio_net_options *options)
{
    uint64_t f =
        FEATURE(VIRTIO_NET_F_MAC) | FEATURE(VIRTIO_NET_F_STATUS) | FEATURE(VIRTIO_NET_F_MRG_RXBUF);
    if (options->mtu != 0)
        f |= FEATURE(VIRTIO_NET_F_MTU);
    if (options->offload)
        f |= FEATURE(VIRTIO_NET_F_CSUM) | FEATURE(VIRTIO_NET_F_GUEST_CSUM) |
             FEATURE(VIRTIO_NET_F_HOST_TSO4) | FEATURE(VIRTIO_NET_F_HOST_TSO6) |
             FEATURE(VIRTIO_NET_F_HOST_ECN) | FEATURE(VIRTIO_NET_F_GUEST_TSO4) |
             FEATURE(VIRTIO_NET_F_GUEST_TSO6) | FEATURE(VIRTIO_NET_F_GUEST_ECN);
    if (options->offload && options->offload_uso)
        f |= FEATURE(VIRTIO_NET_F_HOST_USO) | FEATURE(VIRTIO_NET_F_GUEST_USO4) |
             FEATURE(VIRTIO_NET_F_GUEST_USO6);
    return f;
}

static void store_le16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

int virtio_net_init(struct virtio_net *net, const struct virtio_net_options *options,
                    const struct guest_memory *mem, struct loop *loop, struct error *err)
{
    static const uint16_t sizes[] = {VIRTIO_NET_QUEUE_SIZE, VIRTIO_NET_QUEUE_SIZE};
    memset(net, 0, offsetof(struct virtio_net, rx_spill));
    net->tap_fd = options->tap_fd;
    net->mtu = options->mtu;
    net->lease = options->lease != NULL && options->lease->enabled ? options->lease : NULL;
    net->tap = LOOP_SOURCE_INIT(tap_ready);
    net->rx_patience = LOOP_TIMER_INIT(patience_expired);
    atomic_store(&net->link_up, true);
    int r = virtio_device_init(&net->dev, &net_ops, options->name, VIRTIO_ID_NET,
                               offered_features(options), sizes, ARRAY_SIZE(sizes), mem, loop, err);
    if (r < 0)
        return r;
    uint8_t *space = net->dev.config;
    memcpy(space + offsetof(struct virtio_net_config, mac), options->mac, 6);
    store_le16(space + offsetof(struct virtio_net_config, status), VIRTIO_NET_S_LINK_UP);
    store_le16(space + offsetof(struct virtio_net_config, max_virtqueue_pairs), 1);
    store_le16(space + offsetof(struct virtio_net_config, mtu), options->mtu);
    /* RSS fields and what follows are not offered. */
    net->dev.config_len = offsetof(struct virtio_net_config, speed);
    return 0;
}

void virtio_net_done(struct virtio_net *net)
{
    virtio_device_done(&net->dev);
}

void virtio_net_set_link(struct virtio_net *net, bool up)
{
    uint8_t status[2];
    atomic_store_explicit(&net->link_up, up, memory_order_relaxed);
    store_le16(status, up ? VIRTIO_NET_S_LINK_UP : 0);
    virtio_device_config_changed(&net->dev, offsetof(struct virtio_net_config, status), status,
                                 sizeof(status));
}

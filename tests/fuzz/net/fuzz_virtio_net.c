// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-net under a driver that now and then breaks the rules, with frames of all lengths from a
 * socket in the tap's place. The clock moves with every turn, so that frames which wait for buffers
 * are given up in the end. Whatever happens, what goes out is a frame, and the loop comes to rest.
 *
 * Input: one byte of options, then the driver's program (vfuzz.h). A request for the receive queue
 * may put frames on the wire first.
 */
#include "net.h"
#include "vfuzz.h"
#include <linux/virtio_net.h>
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER_SIZE sizeof(struct virtio_net_hdr_v1)
#define TURN_NS     (3 * NSEC_PER_MSEC)

static struct virtio_net net;
static int wire;
static bool wire_stuck; /* nobody takes frames off it */
static uint64_t now;

static uint64_t turning_clock(void)
{
    return now;
}

static uint32_t choose_length(struct vfuzz_input *in)
{
    static const uint32_t often[] = {0,
                                     1,
                                     HEADER_SIZE - 1,
                                     HEADER_SIZE,
                                     HEADER_SIZE + 1,
                                     60,
                                     256,
                                     1526,
                                     1536,
                                     4096,
                                     9000,
                                     16384,
                                     65562,
                                     VIRTIO_NET_FRAME_MAX,
                                     VIRTIO_NET_FRAME_MAX + 1};
    uint8_t pick = vfuzz_u8(in);
    return pick < 0xc0 ? often[pick % ARRAY_SIZE(often)] : vfuzz_u16(in);
}

static void send_frames(struct vfuzz_input *in)
{
    static const uint8_t frame[VIRTIO_NET_FRAME_MAX + 1];
    for (unsigned n = vfuzz_u8(in) % 4; n > 0; n--)
        (void)!send(wire, frame, choose_length(in), MSG_DONTWAIT);
}

/* Mostly a sensible chain for its queue: many short buffers, or a few of any length. */
static unsigned make_request(struct vkit *kit, unsigned index, struct vfuzz_input *in,
                             struct vkit_buf *bufs)
{
    (void)kit;
    uint8_t shape = vfuzz_u8(in);
    bool writable = index == 0;
    unsigned count = 1 + shape % 4;
    uint32_t len = 0;
    if (shape >= 0xe0) {
        count = VFUZZ_BUF_MAX;
        len = 1 + shape % 16;
    }
    if (writable)
        send_frames(in);
    for (unsigned i = 0; i < count; i++) {
        bufs[i].len = len != 0 ? len : choose_length(in);
        bufs[i].gpa = vfuzz_address(in, bufs[i].len);
        bufs[i].writable = writable;
    }
    if (shape == 0xdf)
        bufs[count - 1].writable = !writable;
    return count;
}

static const struct lease lease = {
    .enabled = 1, .prefix = 24, .address = {10, 0, 2, 2}, .server = {10, 0, 2, 1}};

static void settle(struct vkit *kit)
{
    static uint8_t frame[VIRTIO_NET_FRAME_MAX + 1];
    now += TURN_NS;
    for (ssize_t n; !wire_stuck && (n = recv(wire, frame, sizeof(frame), MSG_DONTWAIT)) >= 0;) {
        if ((size_t)n <= HEADER_SIZE || n > VIRTIO_NET_FRAME_MAX)
            abort();
    }
    vkit_run(kit);
    if (net.rx_first >= ARRAY_SIZE(net.rx_chain) || net.rx_count > ARRAY_SIZE(net.rx_chain) ||
        net.rx_iov_first + net.rx_iov_count >= ARRAY_SIZE(net.rx_iov))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vkit *kit = vfuzz_kit();
    kit->loop.now_ns = turning_clock;
    uint8_t options = size > 0 ? data[0] : 0;
    int fd[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) < 0)
        abort();
    wire = fd[1];
    wire_stuck = (options & 1) != 0;
    struct virtio_net_options net_options = {.name = "fuzz",
                                             .tap_fd = fd[0],
                                             .mtu = (options & 2) != 0 ? 9000 : 0,
                                             .offload = (options & 4) != 0,
                                             .offload_uso = (options & 8) != 0,
                                             .lease = (options & 16) != 0 ? &lease : NULL};
    if (virtio_net_init(&net, &net_options, &kit->mem, &kit->loop, NULL) < 0)
        abort();
    struct vfuzz_device spec = {
        .features = net.dev.features, .request = make_request, .settle = settle};
    vfuzz_run(&spec, &net.dev, data + (size > 0), size - (size > 0));
    virtio_net_done(&net);
    close(fd[0]);
    close(fd[1]);
    return 0;
}

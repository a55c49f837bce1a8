// SPDX-License-Identifier: Apache-2.0
/* The box of netkit.h. */
#include "netkit.h"
#include <linux/if_tun.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define REST_MAX 100 /* loop iterations after which it should sleep */

struct vkit kit;
struct virtio_net net;
struct netkit_offloads offloads;
int wire = -1;

static int tap = -1;

/* By head: where the chain's buffers are, as they were posted. */
static struct {
    struct vkit_buf buf[VIRTIO_NET_QUEUE_SIZE];
    unsigned count;
} posted[VIRTIO_NET_QUEUE_SIZE];

/* In the C library's place: the device asks a tap for nothing else. */
int ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    va_start(args, request);
    unsigned flags = va_arg(args, unsigned);
    va_end(args);
    ck_assert_int_eq(fd, tap);
    ck_assert(request == TUNSETOFFLOAD);
    ck_assert_uint_lt(offloads.count, ARRAY_SIZE(offloads.flags));
    offloads.flags[offloads.count++] = flags;
    if (!offloads.refuse || flags == 0)
        return 0;
    errno = EINVAL;
    return -1;
}

static void make_device(struct virtio_net_options options)
{
    options.name = "net0";
    options.tap_fd = tap;
    memcpy(options.mac, "\x02\x11\x22\x33\x44\x55", 6);
    ck_assert_int_eq(virtio_net_init(&net, &options, &kit.mem, &kit.loop, NULL), 0);
    vkit_attach(&kit, &net.dev);
}

void netkit_remake(struct virtio_net_options options)
{
    virtio_net_done(&net);
    make_device(options);
}

void netkit_setup(void)
{
    int fd[2], room = 1 << 20;
    log_setup("test", 2, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
    vkit_init(&kit);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    tap = fd[0];
    wire = fd[1];
    for (unsigned i = 0; i < 2; i++)
        setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    memset(&offloads, 0, sizeof(offloads));
    memset(&net, 0, sizeof(net));
    make_device((struct virtio_net_options){.mtu = NETKIT_MTU, .offload = true});
}

void netkit_setup_merge(void)
{
    netkit_setup();
    ck_assert(vkit_start(&kit, VKIT_FEATURES | FEATURE(VIRTIO_NET_F_MRG_RXBUF)));
    settle();
}

void netkit_setup_plain(void)
{
    netkit_setup();
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    settle();
}

void netkit_teardown(void)
{
    ck_assert(vkit_reset(&kit));
    vkit_thread_stop(&kit);
    settle();
    virtio_net_done(&net);
    vkit_done(&kit);
    close(tap);
    if (wire >= 0)
        close(wire);
}

bool asleep(void)
{
    struct pollfd p = {.fd = kit.loop.epoll_fd, .events = POLLIN};
    return poll(&p, 1, 0) == 0;
}

void settle(void)
{
    for (unsigned i = 0; i < REST_MAX; i++) {
        ck_assert_int_eq(loop_run_once(&kit.loop, 0), 0);
        if (asleep())
            return;
    }
    ck_abort_msg("the loop does not come to rest");
}

/* ---- the wire ---- */

size_t make_frame(uint8_t *to, unsigned number, size_t len)
{
    if (to != NULL) {
        memset(to, 0, HEADER_SIZE);
        for (size_t i = 0; i < len; i++)
            to[HEADER_SIZE + i] = (uint8_t)((size_t)number * 31 + i * 7 + (i >> 8) + 1);
    }
    return HEADER_SIZE + len;
}

void wire_send(unsigned number, size_t len)
{
    static uint8_t frame[VIRTIO_NET_FRAME_MAX + 1000];
    size_t size = make_frame(frame, number, len);
    ck_assert_int_eq(write(wire, frame, size), (ssize_t)size);
}

ssize_t wire_receive(uint8_t *to, size_t size)
{
    return recv(wire, to, size, MSG_DONTWAIT);
}

void expect_on_wire(unsigned number, size_t len)
{
    static uint8_t want[VIRTIO_NET_FRAME_MAX], got[VIRTIO_NET_FRAME_MAX + 1];
    size_t size = make_frame(want, number, len);
    ck_assert_int_eq(wire_receive(got, sizeof(got)), (ssize_t)size);
    ck_assert_int_eq(memcmp(want, got, size), 0);
}

/* ---- the driver ---- */

static int post_chain(const uint32_t *lens, unsigned count, bool indirect)
{
    struct vkit_buf buf[VIRTIO_NET_QUEUE_SIZE];
    for (unsigned i = 0; i < count; i++)
        buf[i] = (struct vkit_buf){vkit_alloc(&kit, lens[i], 1), lens[i], true};
    int head =
        indirect ? vkit_add_indirect(&kit, RX, buf, count, 0) : vkit_add(&kit, RX, buf, count);
    ck_assert_int_ge(head, 0);
    memcpy(posted[head].buf, buf, count * sizeof(buf[0]));
    posted[head].count = count;
    return head;
}

int post(const uint32_t *lens, unsigned count)
{
    return post_chain(lens, count, false);
}

int post_indirect(const uint32_t *lens, unsigned count)
{
    return post_chain(lens, count, true);
}

void post_many(unsigned n, uint32_t len)
{
    for (unsigned i = 0; i < n; i++)
        post(&len, 1);
}

/* Appends the first `len` bytes of the chain at `head` to what is at `to`. */
static void gather(uint8_t *to, uint32_t head, uint32_t len)
{
    for (unsigned i = 0; i < posted[head].count && len > 0; i++) {
        const struct vkit_buf *buf = &posted[head].buf[i];
        uint32_t n = len < buf->len ? len : buf->len;
        memcpy(to, vkit_at(&kit, buf->gpa, n), n);
        to += n;
        len -= n;
    }
    ck_assert_uint_eq(len, 0);
}

static uint32_t posted_size(uint32_t head)
{
    uint32_t size = 0;
    for (unsigned i = 0; i < posted[head].count; i++)
        size += posted[head].buf[i].len;
    return size;
}

size_t receive_bytes(uint8_t *to, unsigned *ret_chains)
{
    uint32_t head, used;
    size_t len = 0;
    unsigned chains = 0, wanted = 1;
    for (; chains < wanted && vkit_used(&kit, RX, &head, &used); chains++) {
        gather(to + len, head, used);
        len += used;
        if (chains == 0)
            wanted = to[offsetof(struct virtio_net_hdr_v1, num_buffers)];
    }
    *ret_chains = chains;
    return len;
}

unsigned receive_frame(unsigned number, size_t len)
{
    static uint8_t want[VIRTIO_NET_FRAME_MAX], got[2 * VIRTIO_NET_FRAME_MAX];
    size_t size = make_frame(want, number, len), done = 0;
    uint32_t head, used;
    unsigned chains = 0;
    while (done < size && vkit_used(&kit, RX, &head, &used)) {
        ck_assert_uint_lt(head, VIRTIO_NET_QUEUE_SIZE);
        ck_assert_uint_gt(used, 0);
        ck_assert_uint_le(used, posted_size(head));
        ck_assert_uint_le(done + used, size);
        if (done + used < size) /* §5.1.6.4.1: only the last one is not full */
            ck_assert_uint_eq(used, posted_size(head));
        gather(got + done, head, used);
        done += used;
        chains++;
    }
    if (chains == 0)
        return 0;
    ck_assert_uint_eq(done, size);
    want[offsetof(struct virtio_net_hdr_v1, num_buffers)] = (uint8_t)chains;
    want[offsetof(struct virtio_net_hdr_v1, num_buffers) + 1] = (uint8_t)(chains >> 8);
    ck_assert_int_eq(memcmp(want, got, size), 0);
    return chains;
}

void transmit_bytes(const uint8_t *bytes, const uint32_t *lens, unsigned count, bool indirect)
{
    struct vkit_buf buf[VIRTIO_NET_QUEUE_SIZE];
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        buf[i] = (struct vkit_buf){vkit_alloc(&kit, lens[i], 1), lens[i], false};
        memcpy(vkit_at(&kit, buf[i].gpa, lens[i]), bytes + at, lens[i]);
        at += lens[i];
    }
    int head =
        indirect ? vkit_add_indirect(&kit, TX, buf, count, 0) : vkit_add(&kit, TX, buf, count);
    ck_assert_int_ge(head, 0);
}

void transmit_pieces(unsigned number, const uint32_t *lens, unsigned count, bool indirect)
{
    static uint8_t frame[VIRTIO_NET_FRAME_MAX + 1000];
    size_t size = 0;
    for (unsigned i = 0; i < count; i++)
        size += lens[i];
    make_frame(frame, number, size > HEADER_SIZE ? size - HEADER_SIZE : 0);
    transmit_bytes(frame, lens, count, indirect);
}

void transmit_one(unsigned number, size_t len)
{
    uint32_t size = (uint32_t)(HEADER_SIZE + len);
    transmit_pieces(number, &size, 1, false);
}

void expect_sent(unsigned n)
{
    uint32_t head, len;
    for (unsigned i = 0; i < n; i++) {
        ck_assert(vkit_used(&kit, TX, &head, &len));
        ck_assert_uint_eq(len, 0);
    }
    ck_assert_uint_eq(vkit_used_count(&kit, TX), 0);
}

uint64_t counter(const atomic_uint_fast64_t *c)
{
    return atomic_load(c);
}

TCase *add_case(Suite *s, const char *name, SFun setup)
{
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, netkit_teardown);
    suite_add_tcase(s, t);
    return t;
}

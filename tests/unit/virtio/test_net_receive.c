// SPDX-License-Identifier: Apache-2.0
/*
 * Reception of virtio-net at its bounds, a socket or a pipe in the place of the tap: the window of
 * chains filled to its last entry, floods of frames that nobody can take, a tap that disappears.
 */
#include "net.h"
#include "vkit.h"
#include <check.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RX     0
#define TX     1
#define HEADER sizeof(struct virtio_net_hdr_v1)
#define MERGE  (VKIT_FEATURES | UINT64_C(1) << VIRTIO_NET_F_MRG_RXBUF)

static struct vkit kit;
static struct virtio_net net;
static int wire; /* the other end of the tap */

static void start(int tap_fd)
{
    vkit_init(&kit);
    const struct virtio_net_options options = {.name = "net", .tap_fd = tap_fd, .mtu = 1500};
    ck_assert_int_eq(virtio_net_init(&net, &options, &kit.mem, &kit.loop, NULL), 0);
    vkit_attach(&kit, &net.dev);
    ck_assert(vkit_start(&kit, MERGE));
}

static void start_on_sockets(int type)
{
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    wire = pair[1];
    start(pair[0]);
}

static void teardown(void)
{
    ck_assert(vkit_reset(&kit));
    virtio_net_done(&net);
    close(net.tap_fd);
    if (wire >= 0)
        close(wire);
    vkit_done(&kit);
}

static ssize_t send_frame(size_t len)
{
    static uint8_t frame[65536];
    memset(frame, 0, HEADER);
    for (size_t i = HEADER; i < len; i++)
        frame[i] = (uint8_t)(i * 7 + 1);
    return send(wire, frame, len, MSG_DONTWAIT);
}

/* A chain of `count` writable buffers of `len` bytes each, in an indirect table. */
static gpa_t add_chain(unsigned count, uint32_t len)
{
    struct vkit_buf buf[VIRTIO_NET_QUEUE_SIZE];
    gpa_t data = vkit_alloc(&kit, (uint64_t)count * len, 16);
    for (unsigned i = 0; i < count; i++)
        buf[i] = (struct vkit_buf){.gpa = data + (uint64_t)i * len, .len = len, .writable = true};
    ck_assert_int_ge(vkit_add_indirect(&kit, RX, buf, count, 0), 0);
    return data;
}

static void expect_used(uint32_t len)
{
    uint32_t head, used = 0;
    ck_assert(vkit_used(&kit, RX, &head, &used));
    ck_assert_uint_eq(used, len);
}

static void expect_bytes(gpa_t data, size_t first, size_t count)
{
    const uint8_t *p = vkit_at(&kit, data, count);
    for (size_t i = 0; i < count; i++)
        ck_assert_uint_eq(p[i], (uint8_t)((first + i) * 7 + 1));
}

/*
 * One buffer, then two chains as long as a queue allows, all of them tiny: together they hold as
 * many buffers as the window has, and still less than the largest frame, so it takes all it can.
 */
START_TEST(window_of_many_small_buffers)
{
    start_on_sockets(SOCK_DGRAM);
    gpa_t one = add_chain(1, 64);
    gpa_t many = add_chain(VIRTIO_NET_QUEUE_SIZE, 1);
    gpa_t more = add_chain(VIRTIO_NET_QUEUE_SIZE, 1);
    vkit_kick(&kit, RX);
    vkit_run(&kit);
    for (unsigned round = 0; round < 2; round++)
        ck_assert_int_eq(send_frame(200), 200);
    vkit_run(&kit);
    expect_used(64);
    expect_used(136);
    expect_used(200);
    expect_bytes(one + HEADER, HEADER, 64 - HEADER);
    expect_bytes(many, 64, 136);
    expect_bytes(more + HEADER, HEADER, 200 - HEADER);
    ck_assert(!vkit_needs_reset(&kit));
    ck_assert_uint_eq(net.counters.rx_packets, 2);
}
END_TEST

/* A stream cut into frames by what the buffers hold: one byte too many each time. */
START_TEST(flood_of_frames_too_large)
{
    static const uint8_t flood[65536];
    start_on_sockets(SOCK_STREAM);
    add_chain(1, 32);
    vkit_kick(&kit, RX);
    vkit_run(&kit);
    ck_assert_int_gt(send(wire, flood, sizeof(flood), MSG_DONTWAIT), 256L * 33);
    ck_assert_int_eq(loop_run_once(&kit.loop, 0), 0);
    /* Then it is the turn of others. */
    ck_assert_uint_gt(net.counters.rx_dropped, 0);
    ck_assert_uint_le(net.counters.rx_dropped, 256);
    vkit_run(&kit);
    ck_assert_uint_gt(net.counters.rx_dropped, 256);
    ck_assert(!vkit_needs_reset(&kit));
}
END_TEST

/* A pipe without a reader reports an error for ever, as a tap does whose interface was deleted. */
START_TEST(tap_disappears)
{
    int pipe_fd[2];
    ck_assert_int_eq(pipe2(pipe_fd, O_NONBLOCK | O_CLOEXEC), 0);
    wire = -1;
    start(pipe_fd[1]);
    uint8_t status = 0;
    virtio_device_config_read(&net.dev, offsetof(struct virtio_net_config, status), &status, 1);
    ck_assert_uint_eq(status, VIRTIO_NET_S_LINK_UP);
    close(pipe_fd[0]);
    for (unsigned round = 0; round < 2; round++) {
        vkit_run(&kit); /* comes to an end */
        virtio_device_config_read(&net.dev, offsetof(struct virtio_net_config, status), &status, 1);
        ck_assert_uint_eq(status, 0);
        struct vkit_buf frame = {.gpa = vkit_alloc(&kit, 100, 16), .len = 100};
        uint32_t len;
        ck_assert(vkit_request(&kit, TX, &frame, 1, &len));
        ck_assert_uint_eq(net.counters.tx_dropped, round + 1);
        vkit_alloc_reset(&kit);
        ck_assert(vkit_start(&kit, MERGE));
    }
}
END_TEST

static Suite *make_suite(void)
{
    Suite *s = suite_create("virtio-net-receive");
    TCase *t = tcase_create("receive");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, window_of_many_small_buffers);
    tcase_add_test(t, flood_of_frames_too_large);
    tcase_add_test(t, tap_disappears);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    SRunner *sr = srunner_create(make_suite());
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? 0 : 1;
}

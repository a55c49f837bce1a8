// SPDX-License-Identifier: Apache-2.0
/* virtio-net but its two directions: configuration, features, link, life, threads. */
#include "netkit.h"
#include "run_suite.h"
#include <linux/if_tun.h>
#include <signal.h>
#include <unistd.h>

#ifndef VIRTIO_NET_F_GUEST_USO4
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO   56
#endif
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define BASIC                                                                   \
    (VKIT_FEATURES | FEATURE(VIRTIO_NET_F_MAC) | FEATURE(VIRTIO_NET_F_STATUS) | \
     FEATURE(VIRTIO_NET_F_MRG_RXBUF))
#define TCP_GUEST                                                          \
    (FEATURE(VIRTIO_NET_F_GUEST_TSO4) | FEATURE(VIRTIO_NET_F_GUEST_TSO6) | \
     FEATURE(VIRTIO_NET_F_GUEST_ECN))
#define TCP_HOST                                                         \
    (FEATURE(VIRTIO_NET_F_HOST_TSO4) | FEATURE(VIRTIO_NET_F_HOST_TSO6) | \
     FEATURE(VIRTIO_NET_F_HOST_ECN))
#define CSUM      (FEATURE(VIRTIO_NET_F_CSUM) | FEATURE(VIRTIO_NET_F_GUEST_CSUM))
#define USO_GUEST (FEATURE(VIRTIO_NET_F_GUEST_USO4) | FEATURE(VIRTIO_NET_F_GUEST_USO6))

static uint16_t config16(uint32_t offset)
{
    uint8_t raw[2];
    virtio_device_config_read(&net.dev, offset, raw, sizeof(raw));
    return (uint16_t)(raw[0] | raw[1] << 8);
}

static uint16_t link_status(void)
{
    return config16(offsetof(struct virtio_net_config, status));
}

START_TEST(test_config)
{
    uint8_t mac[6], all[64], after[64];
    virtio_device_config_read(&net.dev, 0, mac, sizeof(mac));
    ck_assert_mem_eq(mac, "\x02\x11\x22\x33\x44\x55", 6);
    ck_assert_uint_eq(link_status(), VIRTIO_NET_S_LINK_UP);
    ck_assert_uint_eq(config16(offsetof(struct virtio_net_config, max_virtqueue_pairs)), 1);
    ck_assert_uint_eq(config16(offsetof(struct virtio_net_config, mtu)), NETKIT_MTU);
    virtio_device_config_read(&net.dev, 0, all, sizeof(all));
    for (uint32_t i = 0; i < 32; i++)
        virtio_device_config_write(&net.dev, i, "\xff\xff\xff\xff", 4);
    virtio_device_config_read(&net.dev, 0, after, sizeof(after));
    ck_assert_mem_eq(all, after, sizeof(all));
}
END_TEST

START_TEST(test_features)
{
    netkit_remake((struct virtio_net_options){0});
    ck_assert_uint_eq(net.dev.features, BASIC);
    netkit_remake((struct virtio_net_options){.mtu = 9000, .offload_uso = true});
    ck_assert_uint_eq(net.dev.features, BASIC | FEATURE(VIRTIO_NET_F_MTU));
    netkit_remake((struct virtio_net_options){.offload = true});
    ck_assert_uint_eq(net.dev.features, BASIC | CSUM | TCP_GUEST | TCP_HOST);
    netkit_remake((struct virtio_net_options){.offload = true, .offload_uso = true});
    ck_assert_uint_eq(net.dev.features, BASIC | CSUM | TCP_GUEST | TCP_HOST | USO_GUEST |
                                            FEATURE(VIRTIO_NET_F_HOST_USO));
}
END_TEST

static const struct {
    uint64_t features;
    unsigned flags;
} offload_case[] = {
    {0, 0},
    {CSUM, TUN_F_CSUM},
    {FEATURE(VIRTIO_NET_F_CSUM), 0},
    {CSUM | TCP_GUEST, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN},
    {CSUM | FEATURE(VIRTIO_NET_F_GUEST_TSO4), TUN_F_CSUM | TUN_F_TSO4},
    {CSUM | TCP_GUEST | USO_GUEST,
     TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6},
    /* Combinations that a driver must not choose and a tap refuses. */
    {TCP_GUEST | USO_GUEST, 0},
    {CSUM | FEATURE(VIRTIO_NET_F_GUEST_ECN), TUN_F_CSUM},
    {CSUM | FEATURE(VIRTIO_NET_F_GUEST_USO4), TUN_F_CSUM},
    {CSUM | FEATURE(VIRTIO_NET_F_GUEST_USO6), TUN_F_CSUM},
};

START_TEST(test_offloads)
{
    netkit_remake((struct virtio_net_options){.offload = true, .offload_uso = true});
    ck_assert(vkit_start(&kit, VKIT_FEATURES | offload_case[_i].features));
    ck_assert_uint_eq(offloads.count, 1);
    ck_assert_uint_eq(offloads.flags[0], offload_case[_i].flags);
}
END_TEST

/* The tap must not leave to the driver what nobody agreed to. */
START_TEST(test_offloads_refused)
{
    offloads.refuse = true;
    ck_assert(vkit_start(&kit, VKIT_FEATURES | CSUM | TCP_GUEST));
    ck_assert_uint_eq(offloads.count, 2);
    ck_assert_uint_eq(offloads.flags[1], 0);
}
END_TEST

START_TEST(test_frames_before_start)
{
    for (unsigned i = 0; i < 30; i++)
        wire_send(i, 100);
    settle();
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    post_many(2, 1536);
    wire_send(31, 100);
    vkit_kick(&kit, RX);
    settle();
    ck_assert_uint_eq(receive_frame(31, 100), 1);
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
}
END_TEST

START_TEST(test_link)
{
    virtio_net_set_link(&net, false);
    ck_assert_uint_eq(atomic_load(&kit.config_interrupts), 0);
    ck_assert_uint_eq(link_status(), 0);
    virtio_net_set_link(&net, true);
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    uint8_t generation = net.dev.config_generation;
    virtio_net_set_link(&net, false);
    ck_assert_uint_eq(atomic_load(&kit.config_interrupts), 1);
    ck_assert_uint_ne(net.dev.config_generation, generation);
    ck_assert_uint_eq(link_status(), 0);

    post_many(4, 1536);
    vkit_kick(&kit, RX);
    wire_send(1, 100);
    transmit_one(1, 100);
    vkit_kick(&kit, TX);
    settle();
    expect_sent(1);
    ck_assert_int_lt(wire_receive((uint8_t[1]){0}, 1), 0);
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
    ck_assert_uint_eq(counter(&net.counters.tx_dropped), 1);
    ck_assert_uint_eq(counter(&net.counters.rx_dropped), 1);

    virtio_net_set_link(&net, true);
    ck_assert_uint_eq(atomic_load(&kit.config_interrupts), 2);
    ck_assert_uint_eq(link_status(), VIRTIO_NET_S_LINK_UP);
    wire_send(2, 100);
    transmit_one(2, 100);
    vkit_kick(&kit, TX);
    settle();
    ck_assert_uint_eq(receive_frame(2, 100), 1);
    expect_on_wire(2, 100);
}
END_TEST

/* Frames that are lost have their bound in a turn like any other. */
START_TEST(test_lost_turns)
{
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    post_many(1, 1536);
    vkit_kick(&kit, RX);
    settle();
    virtio_net_set_link(&net, false);
    for (unsigned i = 0; i < 150; i++)
        wire_send(i, 20);
    ck_assert_int_eq(loop_run_once(&kit.loop, 0), 0);
    ck_assert_uint_eq(counter(&net.counters.rx_dropped), 128);
    settle();
    ck_assert_uint_eq(counter(&net.counters.rx_dropped), 150);
}
END_TEST

/* The interface was deleted: the driver loses its link, and the loop does not spin over it. */
START_TEST(test_tap_gone)
{
    close(wire);
    wire = -1;
    for (unsigned round = 1; round <= 2; round++) {
        ck_assert(vkit_start(&kit, VKIT_FEATURES));
        post_many(4, 1536);
        vkit_kick(&kit, RX);
        settle();
        ck_assert_uint_eq(link_status(), 0);
        ck_assert_uint_eq(atomic_load(&kit.config_interrupts), 1);
        transmit_one(1, 100);
        vkit_kick(&kit, TX);
        vkit_kick(&kit, RX);
        settle();
        expect_sent(1);
        ck_assert_uint_eq(counter(&net.counters.tx_dropped), round);
        ck_assert(!vkit_needs_reset(&kit));
    }
}
END_TEST

/* It is deleted while a chain waits for it. */
START_TEST(test_tap_gone_while_full)
{
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    for (unsigned i = 0; i < 250; i++)
        transmit_one(i, 5000);
    vkit_kick(&kit, TX);
    settle();
    ck_assert_uint_lt(vkit_used_count(&kit, TX), 250);
    close(wire);
    wire = -1;
    settle();
    expect_sent(250);
}
END_TEST

/* A driver and a wire at work at the same time as the loop, in both directions. */
#define THREADED_FRAMES 3000
#define THREADED_LEN    1000

static gpa_t buffers; /* by head: receive buffers of 600 bytes, so that a frame takes two */

static void repost(uint32_t head)
{
    uint16_t d = (uint16_t)head;
    vkit_desc_write(&kit, RX, d, buffers + 600 * (gpa_t)d, 600, VRING_DESC_F_WRITE, 0);
    vkit_avail_push(&kit, RX, d);
}

/* Takes what came; returns the bytes. */
static uint64_t drain_rx(void)
{
    uint32_t head, len;
    uint64_t bytes = 0;
    while (vkit_used(&kit, RX, &head, &len)) {
        bytes += len;
        repost(head);
    }
    vkit_kick_if_needed(&kit, RX);
    return bytes;
}

START_TEST(test_threads)
{
    static uint8_t frame[HEADER_SIZE + THREADED_LEN];
    ck_assert(vkit_start(&kit, VKIT_FEATURES | FEATURE(VIRTIO_NET_F_MRG_RXBUF)));
    vkit_thread_start(&kit);
    buffers = vkit_alloc(&kit, (uint64_t)600 * VIRTIO_NET_QUEUE_SIZE, 16);
    gpa_t tx = vkit_alloc(&kit, sizeof(frame), 16);
    for (uint32_t i = 0; i < 64; i++)
        repost(i);
    vkit_kick(&kit, RX);
    unsigned sent = 0, on_wire = 0, wired = 0, completed = 0;
    uint64_t received = 0;
    const uint64_t all = (uint64_t)THREADED_FRAMES * sizeof(frame);
    while (completed < THREADED_FRAMES || on_wire < THREADED_FRAMES || received < all) {
        struct vkit_buf buf = {tx, sizeof(frame), false};
        while (sent < THREADED_FRAMES && vkit_add(&kit, TX, &buf, 1) >= 0)
            sent++;
        vkit_kick_if_needed(&kit, TX);
        while (wired < THREADED_FRAMES && write(wire, frame, sizeof(frame)) > 0)
            wired++;
        while (wire_receive(frame, sizeof(frame)) > 0)
            on_wire++;
        uint32_t head, len;
        while (vkit_used(&kit, TX, &head, &len))
            completed++;
        received += drain_rx();
        usleep(10);
    }
    ck_assert_uint_eq(received, all);
    ck_assert(!vkit_needs_reset(&kit));
    virtio_net_set_link(&net, false);
    ck_assert(vkit_reset(&kit));
    ck_assert_uint_eq(counter(&net.counters.rx_packets), THREADED_FRAMES);
    ck_assert_uint_eq(counter(&net.counters.tx_packets), THREADED_FRAMES);
}
END_TEST

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    Suite *s = suite_create("net");
    TCase *t = add_case(s, "device", netkit_setup);
    tcase_add_test(t, test_config);
    tcase_add_test(t, test_features);
    tcase_add_loop_test(t, test_offloads, 0, (int)ARRAY_SIZE(offload_case));
    tcase_add_test(t, test_offloads_refused);
    tcase_add_test(t, test_frames_before_start);
    tcase_add_test(t, test_link);
    tcase_add_test(t, test_lost_turns);
    tcase_add_test(t, test_tap_gone);
    tcase_add_test(t, test_tap_gone_while_full);
    tcase_add_test(t, test_threads);
    add_tx_tests(s);
    add_rx_tests(s);
    add_dhcp_tests(s);
    return run_suite(s);
}

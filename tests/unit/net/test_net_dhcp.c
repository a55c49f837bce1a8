// SPDX-License-Identifier: Apache-2.0
/*
 * A card that answers DHCP: which frames end there, and how the answer reaches the driver. What is
 * in it is tests/unit/dhcp's.
 */
#include "netkit.h"

#define DISCOVER_SIZE (HEADER_SIZE + DHCP_FRAME_MIN + 4)
#define OFFER_SIZE    (HEADER_SIZE + 42 + 300) /* padded to what RFC 1542 asks for */
#define XID           (HEADER_SIZE + 42 + 4)

static const struct lease lease = {
    .enabled = 1, .prefix = 24, .address = {10, 0, 2, 2}, .server = {10, 0, 2, 1}};

/* A DISCOVER of the card's own; its sum is left to us. */
static void make_discover(uint8_t frame[DISCOVER_SIZE], uint8_t number)
{
    static const uint8_t headers[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x11, 0x22, 0x33,
                                      0x44, 0x55, 0x08, 0x00, 0x45, 0x00, 0x01, 0x10, 0x00, 0x00,
                                      0x00, 0x00, 0x40, 0x11, 0x79, 0xde, 0x00, 0x00, 0x00, 0x00,
                                      0xff, 0xff, 0xff, 0xff, 0x00, 0x44, 0x00, 0x43, 0x00, 0xfc,
                                      0x11, 0x11, 0x01, 0x01, 0x06, 0x00};
    static const uint8_t mac[] = {0x02, 0x11, 0x22, 0x33, 0x44, 0x55};
    static const uint8_t options[] = {0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255};
    memset(frame, 0, DISCOVER_SIZE);
    frame[0] = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    memcpy(frame + HEADER_SIZE, headers, sizeof(headers));
    frame[XID] = number;
    memcpy(frame + HEADER_SIZE + 70, mac, sizeof(mac));
    memcpy(frame + HEADER_SIZE + 278, options, sizeof(options));
}

static void send_discover(uint8_t number)
{
    uint8_t frame[DISCOVER_SIZE];
    const uint32_t len = DISCOVER_SIZE;
    make_discover(frame, number);
    transmit_bytes(frame, &len, 1, false);
}

static void expect_nothing_on_wire(void)
{
    uint8_t frame[DISCOVER_SIZE];
    ck_assert_int_lt(wire_receive(frame, sizeof(frame)), 0);
}

/* Returns the number of chains. */
static unsigned expect_offer(uint8_t number)
{
    static uint8_t got[VIRTIO_NET_FRAME_MAX];
    unsigned chains;
    ck_assert_uint_eq(receive_bytes(got, &chains), OFFER_SIZE);
    for (unsigned i = 0; i < HEADER_SIZE - 2; i++)
        ck_assert_uint_eq(got[i], 0);
    ck_assert_uint_eq(got[10], chains);
    ck_assert_mem_eq(got + HEADER_SIZE, "\x02\x11\x22\x33\x44\x55\x02\0\0\0\0\0", 12);
    ck_assert_uint_eq(got[XID], number);
    ck_assert_mem_eq(got + HEADER_SIZE + 42 + 16, lease.address, 4);
    return chains;
}

static void start(const struct lease *with, uint64_t features)
{
    netkit_setup();
    netkit_remake((struct virtio_net_options){.mtu = NETKIT_MTU, .offload = true, .lease = with});
    ck_assert(vkit_start(&kit, VKIT_FEATURES | features));
    settle();
}

static void setup_merge(void)
{
    start(&lease, FEATURE(VIRTIO_NET_F_MRG_RXBUF));
}

static void setup_plain(void)
{
    start(&lease, 0);
}

static void setup_without(void)
{
    static const struct lease disabled = {.prefix = 24};
    start(&disabled, 0);
}

static void kick(void)
{
    vkit_kick(&kit, TX);
    settle();
}

START_TEST(test_answered)
{
    post_many(4, 1600);
    send_discover(7);
    kick();
    expect_sent(1);
    expect_nothing_on_wire();
    ck_assert_uint_eq(expect_offer(7), 1);
    ck_assert_uint_eq(counter(&net.counters.rx_packets), 1);
    ck_assert_uint_eq(counter(&net.counters.tx_packets), 1);
    /* Both directions go on as before. */
    transmit_one(1, 400);
    wire_send(2, 400);
    kick();
    expect_on_wire(1, 400);
    ck_assert_uint_eq(receive_frame(2, 400), 1);
}
END_TEST

/* However the driver cuts its buffers. */
START_TEST(test_pieces)
{
    static const uint32_t cuts[][4] = {
        {12, 14, 20, DISCOVER_SIZE - 46},
        {1, 11, 270, DISCOVER_SIZE - 282},
        {200, 0, 1, DISCOVER_SIZE - 201},
    };
    static const uint32_t small[] = {12, 50, 80, 400};
    uint8_t frame[DISCOVER_SIZE];
    for (unsigned i = 0; i < ARRAY_SIZE(cuts); i++) {
        post(small, ARRAY_SIZE(small));
        make_discover(frame, (uint8_t)i);
        transmit_bytes(frame, cuts[i], 4, i == 1);
        kick();
        expect_nothing_on_wire();
        expect_offer((uint8_t)i);
    }
}
END_TEST

/* Several chains for one answer, of which the last came late. */
START_TEST(test_merged)
{
    post_many(2, 100);
    send_discover(3);
    kick();
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
    post_many(4, 100);
    vkit_kick(&kit, RX);
    settle();
    ck_assert_uint_eq(expect_offer(3), (OFFER_SIZE + 99) / 100);
}
END_TEST

/* No buffer: the last answer waits for one, those before it are lost. */
START_TEST(test_no_buffer)
{
    for (uint8_t i = 0; i < 5; i++) {
        send_discover(i);
        kick();
    }
    expect_nothing_on_wire();
    ck_assert_uint_eq(counter(&net.counters.rx_dropped), 4);
    wire_send(9, 100);
    post_many(3, 1600);
    vkit_kick(&kit, RX);
    settle();
    ck_assert_uint_eq(expect_offer(4), 1);
    ck_assert_uint_eq(receive_frame(9, 100), 1);
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
}
END_TEST

/* An answer that no chain has room for is lost, and nothing else. */
START_TEST(test_too_small)
{
    post_many(1, 100);
    send_discover(1);
    kick();
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
    ck_assert_uint_eq(counter(&net.counters.rx_dropped), 1);
    wire_send(2, 60);
    settle();
    ck_assert_uint_eq(receive_frame(2, 60), 1);
}
END_TEST

static uint64_t standing_clock(void)
{
    return 1;
}

/* A frame of the tap is half received: the answer comes after it. */
START_TEST(test_behind_a_held_frame)
{
    kit.loop.now_ns = standing_clock; /* its patience has no end */
    post_many(3, 1600);
    vkit_kick(&kit, RX);
    wire_send(5, 9000);
    settle();
    send_discover(6);
    kick();
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
    post_many(8, 1600);
    vkit_kick(&kit, RX);
    settle();
    ck_assert_uint_gt(receive_frame(5, 9000), 3);
    expect_offer(6);
}
END_TEST

START_TEST(test_link_down)
{
    post_many(2, 1600);
    virtio_net_set_link(&net, false);
    send_discover(1);
    kick();
    expect_sent(1);
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
    ck_assert_uint_eq(counter(&net.counters.tx_dropped), 1);
}
END_TEST

/* An answer for the driver before is none for this one. */
START_TEST(test_reset)
{
    send_discover(1);
    kick();
    ck_assert(vkit_reset(&kit));
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    post_many(2, 1600);
    vkit_kick(&kit, RX);
    settle();
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
}
END_TEST

/* The guest's other traffic, some of it much like a request. */
START_TEST(test_others)
{
    static const struct {
        unsigned at;
        uint8_t value;
    } changes[] = {{12, 0x86}, {23, 6}, {37, 68}, {75, 0x56}, {42, 2}, {66, 1}};
    uint8_t frame[DISCOVER_SIZE], got[DISCOVER_SIZE + 1];
    const uint32_t len = DISCOVER_SIZE;
    post_many(2, 1600);
    for (unsigned i = 0; i < ARRAY_SIZE(changes); i++) {
        make_discover(frame, 1);
        frame[HEADER_SIZE + changes[i].at] = changes[i].value;
        transmit_bytes(frame, &len, 1, false);
        kick();
        ck_assert_int_eq(wire_receive(got, sizeof(got)), DISCOVER_SIZE);
        ck_assert_mem_eq(frame, got, DISCOVER_SIZE);
    }
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
}
END_TEST

START_TEST(test_without_lease)
{
    uint8_t got[DISCOVER_SIZE + 1];
    post_many(2, 1600);
    send_discover(1);
    kick();
    ck_assert_int_eq(wire_receive(got, sizeof(got)), DISCOVER_SIZE);
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
}
END_TEST

void add_dhcp_tests(Suite *s)
{
    TCase *t = add_case(s, "dhcp", setup_merge);
    tcase_add_test(t, test_answered);
    tcase_add_test(t, test_pieces);
    tcase_add_test(t, test_merged);
    tcase_add_test(t, test_no_buffer);
    tcase_add_test(t, test_behind_a_held_frame);
    t = add_case(s, "dhcp, plain", setup_plain);
    tcase_add_test(t, test_answered);
    tcase_add_test(t, test_pieces);
    tcase_add_test(t, test_no_buffer);
    tcase_add_test(t, test_too_small);
    tcase_add_test(t, test_link_down);
    tcase_add_test(t, test_reset);
    tcase_add_test(t, test_others);
    t = add_case(s, "dhcp, none", setup_without);
    tcase_add_test(t, test_without_lease);
}

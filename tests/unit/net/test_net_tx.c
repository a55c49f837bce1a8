// SPDX-License-Identifier: Apache-2.0
/* Transmission of virtio-net: virtio 1.2 §5.1.6.2. */
#include "netkit.h"
#include <sys/socket.h>

static const struct {
    uint32_t lens[8];
    unsigned count;
} splits[] = {
    {{112}, 1},          {{12, 100}, 2}, {{1, 11, 100}, 3}, {{5, 0, 7, 0, 50, 50}, 6},
    {{10, 2, 1, 99}, 4}, {{11, 101}, 2}, {{111, 1}, 2},
};

START_TEST(test_splits)
{
    for (unsigned i = 0; i < ARRAY_SIZE(splits); i++) {
        transmit_pieces(i, splits[i].lens, splits[i].count, _i != 0);
        vkit_kick(&kit, TX);
        settle();
        expect_on_wire(i, 100);
        expect_sent(1);
    }
    ck_assert_uint_eq(counter(&net.counters.tx_packets), ARRAY_SIZE(splits));
    ck_assert_uint_eq(counter(&net.counters.tx_bytes), ARRAY_SIZE(splits) * 100);
    ck_assert_uint_eq(counter(&net.counters.tx_dropped), 0);
}
END_TEST

START_TEST(test_as_many_pieces_as_descriptors)
{
    uint32_t lens[VIRTIO_NET_QUEUE_SIZE];
    for (unsigned i = 0; i < ARRAY_SIZE(lens); i++)
        lens[i] = 5;
    transmit_pieces(3, lens, ARRAY_SIZE(lens), false);
    vkit_kick(&kit, TX);
    settle();
    expect_on_wire(3, 5 * ARRAY_SIZE(lens) - HEADER_SIZE);
    expect_sent(1);
}
END_TEST

START_TEST(test_longest)
{
    transmit_one(1, VIRTIO_NET_FRAME_MAX - HEADER_SIZE);
    transmit_one(2, 1);
    vkit_kick(&kit, TX);
    settle();
    expect_on_wire(1, VIRTIO_NET_FRAME_MAX - HEADER_SIZE);
    expect_on_wire(2, 1);
    expect_sent(2);
}
END_TEST

/* What cannot be a frame is lost, and the next one goes out. */
START_TEST(test_no_frames)
{
    static const uint32_t lens[] = {0, 1, HEADER_SIZE - 1, HEADER_SIZE, VIRTIO_NET_FRAME_MAX + 1};
    for (unsigned i = 0; i < ARRAY_SIZE(lens); i++)
        transmit_pieces(i, &lens[i], 1, false);
    transmit_one(9, 60);
    vkit_kick(&kit, TX);
    settle();
    expect_on_wire(9, 60);
    expect_sent(ARRAY_SIZE(lens) + 1);
    ck_assert(!vkit_needs_reset(&kit));
    ck_assert_uint_eq(counter(&net.counters.tx_dropped), ARRAY_SIZE(lens));
    ck_assert_uint_eq(counter(&net.counters.tx_packets), 1);
}
END_TEST

START_TEST(test_writable_buffer)
{
    const struct vkit_buf bad[] = {{vkit_alloc(&kit, 100, 1), 100, false},
                                   {vkit_alloc(&kit, 100, 1), 100, true}};
    transmit_one(1, 60);
    vkit_add(&kit, TX, bad + (_i & 1), 2 - ((unsigned)_i & 1));
    transmit_one(2, 60);
    vkit_kick(&kit, TX);
    settle();
    ck_assert(vkit_needs_reset(&kit));
    expect_on_wire(1, 60);
    ck_assert_int_lt(wire_receive((uint8_t[1]){0}, 1), 0);
    expect_sent(1);
    ck_assert_uint_eq(atomic_load(&kit.config_interrupts), 1);
    /* Both directions stand still, and the loop too. */
    post_many(4, 2000);
    wire_send(1, 100);
    vkit_kick(&kit, RX);
    vkit_kick(&kit, TX);
    settle();
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
    ck_assert_int_lt(wire_receive((uint8_t[1]){0}, 1), 0);

    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    transmit_one(3, 60);
    vkit_kick(&kit, TX);
    settle();
    expect_on_wire(3, 60);
    expect_sent(1);
}
END_TEST

/* A chain waits for the tap, not the loop for it; then all go on in their order. */
START_TEST(test_tap_full)
{
    const unsigned frames = 200;
    int small = 16384;
    setsockopt(net.tap_fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    for (unsigned i = 0; i < frames; i++)
        transmit_one(i, 1000);
    vkit_kick(&kit, TX);
    settle();
    unsigned first = vkit_used_count(&kit, TX);
    ck_assert_uint_gt(first, 0);
    ck_assert_uint_lt(first, frames / 2);
    vkit_kick(&kit, TX); /* of no use */
    settle();
    ck_assert_uint_eq(vkit_used_count(&kit, TX), first);
    for (unsigned i = 0; i < frames; i++) {
        expect_on_wire(i, 1000);
        settle();
    }
    expect_sent(frames);
    transmit_one(7, 60);
    ck_assert(vkit_kick_if_needed(&kit, TX));
    settle();
    expect_on_wire(7, 60);
}
END_TEST

START_TEST(test_reset_while_tap_full)
{
    int small = 16384;
    setsockopt(net.tap_fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    for (unsigned i = 0; i < 100; i++)
        transmit_one(i, 1000);
    vkit_kick(&kit, TX);
    settle();
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    uint8_t frame[2000];
    while (wire_receive(frame, sizeof(frame)) > 0)
        ;
    settle();
    transmit_one(5, 60);
    vkit_kick(&kit, TX);
    settle();
    expect_on_wire(5, 60);
    expect_sent(1);
}
END_TEST

/* A long queue is served in turns, so that others on the loop are too. */
START_TEST(test_turns)
{
    for (unsigned i = 0; i < 200; i++)
        transmit_one(i, 20);
    vkit_kick(&kit, TX);
    ck_assert_int_eq(loop_run_once(&kit.loop, 0), 0);
    ck_assert_uint_eq(vkit_used_count(&kit, TX), 128);
    ck_assert(!asleep());
    settle();
    expect_sent(200);
    for (unsigned i = 0; i < 200; i++)
        expect_on_wire(i, 20);
}
END_TEST

/* Nothing is left after a full turn: then there is no second one, and a kick is asked for. */
START_TEST(test_exact_turn)
{
    for (unsigned i = 0; i < 128; i++)
        transmit_one(i, 20);
    vkit_kick(&kit, TX);
    ck_assert_int_eq(loop_run_once(&kit.loop, 0), 0);
    expect_sent(128);
    ck_assert(asleep());
    transmit_one(1, 20);
    ck_assert_uint_eq(vkit_avail_event(&kit, TX), 128);
}
END_TEST

START_TEST(test_event_idx)
{
    vkit_set_used_event(&kit, TX, 2); /* tell me about the third */
    for (unsigned i = 0; i < 2; i++) {
        transmit_one(i, 20);
        vkit_kick(&kit, TX);
        settle();
    }
    ck_assert_uint_eq(atomic_load(&kit.queue_interrupts[TX]), 0);
    transmit_one(2, 20);
    vkit_kick(&kit, TX);
    settle();
    ck_assert_uint_eq(atomic_load(&kit.queue_interrupts[TX]), 1);
    ck_assert_uint_eq(vkit_avail_event(&kit, TX), 3);
}
END_TEST

START_TEST(test_flags)
{
    ck_assert(vkit_start(&kit, FEATURE(VIRTIO_F_VERSION_1)));
    vkit_avail_set_flags(&kit, TX, VRING_AVAIL_F_NO_INTERRUPT);
    transmit_one(1, 20);
    vkit_kick(&kit, TX);
    settle();
    ck_assert_uint_eq(atomic_load(&kit.queue_interrupts[TX]), 0);
    ck_assert_uint_eq(vkit_used_flags(&kit, TX), 0);
    vkit_avail_set_flags(&kit, TX, 0);
    transmit_one(2, 20);
    vkit_kick(&kit, TX);
    settle();
    ck_assert_uint_eq(atomic_load(&kit.queue_interrupts[TX]), 1);
    expect_sent(2);
}
END_TEST

START_TEST(test_only_this_queue)
{
    ck_assert(vkit_negotiate(&kit, VKIT_FEATURES));
    vkit_setup_queue(&kit, TX, 0);
    ck_assert(vkit_driver_ok(&kit));
    wire_send(1, 100);
    settle();
    transmit_one(2, 100);
    vkit_kick(&kit, RX);
    vkit_kick(&kit, TX);
    settle();
    expect_on_wire(2, 100);
    expect_sent(1);
}
END_TEST

void add_tx_tests(Suite *s)
{
    TCase *t = add_case(s, "transmit", netkit_setup_plain);
    tcase_add_loop_test(t, test_splits, 0, 2);
    tcase_add_test(t, test_as_many_pieces_as_descriptors);
    tcase_add_test(t, test_longest);
    tcase_add_test(t, test_no_frames);
    tcase_add_loop_test(t, test_writable_buffer, 0, 2);
    tcase_add_test(t, test_tap_full);
    tcase_add_test(t, test_reset_while_tap_full);
    tcase_add_test(t, test_turns);
    tcase_add_test(t, test_exact_turn);
    tcase_add_test(t, test_event_idx);
    tcase_add_test(t, test_flags);
    tcase_add_test(t, test_only_this_queue);
}

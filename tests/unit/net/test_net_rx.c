// SPDX-License-Identifier: Apache-2.0
/* Reception of virtio-net: virtio 1.2 §5.1.6.3, §5.1.6.4. */
#include "netkit.h"
#include <podvisor/clock.h>

/* ---- one chain a frame ---- */

START_TEST(test_plain)
{
    static const uint32_t whole[] = {2000}, two[] = {12, 1988}, cut[] = {3, 8, 500, 1500},
                          across[] = {11, 1989}, bytes[] = {10, 1, 1, 2000};
    post(whole, 1);
    post(two, 2);
    post(cut, 4);
    post(across, 2);
    post(bytes, 4);
    vkit_kick(&kit, RX);
    for (unsigned i = 0; i < 5; i++)
        wire_send(i, 100 + i);
    settle();
    for (unsigned i = 0; i < 5; i++)
        ck_assert_uint_eq(receive_frame(i, 100 + i), 1);
    ck_assert_uint_eq(counter(&net.counters.rx_packets), 5);
    ck_assert_uint_eq(counter(&net.counters.rx_bytes), 510);
    ck_assert_uint_eq(counter(&net.counters.rx_dropped), 0);
}
END_TEST

START_TEST(test_plain_exact)
{
    post_many(1, 112);
    vkit_kick(&kit, RX);
    wire_send(1, 100);
    settle();
    ck_assert_uint_eq(receive_frame(1, 100), 1);
}
END_TEST

START_TEST(test_plain_too_long)
{
    post_many(2, 256);
    vkit_kick(&kit, RX);
    wire_send(1, 1000);
    wire_send(2, 256 - HEADER_SIZE + 1);
    wire_send(3, 256 - HEADER_SIZE);
    wire_send(4, 65000);
    wire_send(5, 20);
    settle();
    ck_assert_uint_eq(receive_frame(3, 256 - HEADER_SIZE), 1);
    ck_assert_uint_eq(receive_frame(5, 20), 1);
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
    ck_assert_uint_eq(counter(&net.counters.rx_dropped), 3);
    ck_assert(!vkit_needs_reset(&kit));
}
END_TEST

/* Not even a byte behind the header, or more than any frame can have. */
START_TEST(test_no_frames)
{
    post_many(60, 2048);
    vkit_kick(&kit, RX);
    wire_send(1, 0);
    wire_send(2, VIRTIO_NET_FRAME_MAX - HEADER_SIZE + 1);
    wire_send(3, 1);
    settle();
    ck_assert_uint_eq(receive_frame(3, 1), 1);
    ck_assert_uint_eq(counter(&net.counters.rx_dropped), 2);
}
END_TEST

/* ---- merged buffers ---- */

START_TEST(test_merge)
{
    static const uint32_t sizes[] = {HEADER_SIZE, 13, 60, 112, 256, 1000, 1536, 4096};
    static const size_t lens[] = {1, 48, 100, 999, 1500, 9000};
    ck_assert_uint_eq(ARRAY_SIZE(sizes), 8);
    for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
        uint32_t size = sizes[_i];
        unsigned chains = (unsigned)((HEADER_SIZE + lens[i] + size - 1) / size);
        if (chains > 200)
            continue;
        post_many(chains, size);
        vkit_kick(&kit, RX);
        wire_send(i, lens[i]);
        settle();
        ck_assert_uint_eq(receive_frame(i, lens[i]), chains);
    }
    ck_assert_uint_eq(counter(&net.counters.rx_dropped), 0);
}
END_TEST

START_TEST(test_merge_split_header)
{
    static const uint32_t first[] = {10, 1, 1, 88}, second[] = {11, 89}, third[] = {4, 4, 4};
    post(first, 4);
    post(second, 2);
    post(third, 3);
    post_many(5, 100);
    vkit_kick(&kit, RX);
    wire_send(1, 150); /* first and second */
    wire_send(2, 99);  /* third and one more */
    wire_send(3, 300);
    settle();
    ck_assert_uint_eq(receive_frame(1, 150), 2);
    ck_assert_uint_eq(receive_frame(2, 99), 2);
    ck_assert_uint_eq(receive_frame(3, 300), 4);
}
END_TEST

/* The header's num_buffers itself lies in two buffers of the first chain. */
START_TEST(test_merge_torn_num_buffers)
{
    static const uint32_t torn[] = {11, 1};
    for (unsigned i = 0; i < 100; i++)
        post(torn, 2);
    vkit_kick(&kit, RX);
    wire_send(1, 588);
    wire_send(2, 12);
    settle();
    ck_assert_uint_eq(receive_frame(1, 588), 50);
    ck_assert_uint_eq(receive_frame(2, 12), 2);
}
END_TEST

/* The window grows with the first long frame, and shrinks again; nothing may get lost. */
START_TEST(test_sizes_mixed)
{
    static const size_t lens[] = {100, 65000, 60, 65000, 1500, 9000, 64000, 1};
    const gpa_t base = kit.alloc_next;
    for (unsigned i = 0; i < 400; i++) {
        size_t len = i < 100 || i >= 300 ? lens[i % ARRAY_SIZE(lens)] : 90;
        while (kit.queue[RX].free_count > VIRTIO_NET_QUEUE_SIZE / 2) {
            kit.alloc_next = base + 2048 * (gpa_t)kit.queue[RX].free_head;
            post_many(1, 1536);
        }
        vkit_kick(&kit, RX);
        wire_send(i, len);
        settle();
        ck_assert_uint_eq(receive_frame(i, len), (HEADER_SIZE + len + 1535) / 1536);
    }
    ck_assert_uint_eq(counter(&net.counters.rx_dropped), 0);
}
END_TEST

/* A window of many tiny buffers is full of them, not fuller; what needs more is lost. */
START_TEST(test_tiny_buffers)
{
    uint32_t ones[VIRTIO_NET_QUEUE_SIZE];
    for (unsigned i = 0; i < ARRAY_SIZE(ones); i++)
        ones[i] = 1;
    const uint32_t twelve = HEADER_SIZE;
    post_indirect(ones, ARRAY_SIZE(ones));
    post(&twelve, 1);
    post_indirect(ones, ARRAY_SIZE(ones));
    post_indirect(ones, ARRAY_SIZE(ones));
    vkit_kick(&kit, RX);
    wire_send(1, 500);
    wire_send(2, 250);
    wire_send(3, 200);
    settle();
    ck_assert_uint_eq(receive_frame(2, 250), 2);
    ck_assert_uint_eq(receive_frame(3, 200), 1);
    ck_assert_uint_eq(counter(&net.counters.rx_dropped), 1);
    ck_assert(!vkit_needs_reset(&kit));
}
END_TEST

/* ---- too few buffers ---- */

START_TEST(test_no_buffers)
{
    wire_send(0, 100);
    settle(); /* the frame waits, the loop sleeps */
    for (unsigned i = 1; i < 20; i++)
        wire_send(i, 100);
    settle();
    for (unsigned i = 0; i < 20; i++) {
        post_many(1, 1536);
        ck_assert(vkit_kick_if_needed(&kit, RX));
        settle();
        ck_assert_uint_eq(receive_frame(i, 100), 1);
        ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
    }
    post_many(2, 1536);
    vkit_kick_if_needed(&kit, RX);
    settle();
    wire_send(20, 100);
    settle();
    ck_assert_uint_eq(receive_frame(20, 100), 1);
    ck_assert_uint_eq(counter(&net.counters.rx_dropped), 0);
}
END_TEST

/* A long frame waits for its buffers, and the frames behind it for their turn. */
START_TEST(test_held)
{
    post_many(4, 4096);
    vkit_kick(&kit, RX);
    settle();
    kit.queue[RX].kicked_idx = kit.queue[RX].avail_idx;
    wire_send(1, 30000);
    wire_send(2, 100);
    settle();
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
    post_many(2, 4096);
    ck_assert(vkit_kick_if_needed(&kit, RX));
    settle();
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
    post_many(4, 4096);
    ck_assert(vkit_kick_if_needed(&kit, RX));
    settle();
    ck_assert_uint_eq(receive_frame(1, 30000), 8);
    ck_assert_uint_eq(receive_frame(2, 100), 1);
    ck_assert_uint_eq(counter(&net.counters.rx_dropped), 0);
    ck_assert_int_eq(net.rx_patience.heap_index, -1);
}
END_TEST

static uint64_t now;

static uint64_t test_clock(void)
{
    return now;
}

/* It does not wait for ever: a driver with few buffers gets the frames that fit. */
START_TEST(test_held_too_long)
{
    kit.loop.now_ns = test_clock;
    post_many(4, 4096);
    vkit_kick(&kit, RX);
    settle();
    wire_send(1, 30000);
    wire_send(2, 16384 - HEADER_SIZE);
    settle();
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
    now += 1000 * NSEC_PER_MSEC;
    settle();
    ck_assert_uint_eq(counter(&net.counters.rx_dropped), 1);
    ck_assert_uint_eq(receive_frame(2, 16384 - HEADER_SIZE), 4);
}
END_TEST

/* The window has no room for more chains, so no more can help. */
START_TEST(test_held_hopeless)
{
    post_many(VIRTIO_NET_QUEUE_SIZE, HEADER_SIZE);
    vkit_kick(&kit, RX);
    wire_send(1, (size_t)HEADER_SIZE * VIRTIO_NET_QUEUE_SIZE);
    wire_send(2, 50);
    settle();
    ck_assert_uint_eq(receive_frame(2, 50), 6);
    ck_assert_uint_eq(counter(&net.counters.rx_dropped), 1);
}
END_TEST

START_TEST(test_reset_while_held)
{
    post_many(4, 4096);
    vkit_kick(&kit, RX);
    wire_send(1, 30000);
    settle();
    ck_assert(vkit_start(&kit, VKIT_FEATURES | FEATURE(VIRTIO_NET_F_MRG_RXBUF)));
    ck_assert_int_eq(net.rx_patience.heap_index, -1);
    post_many(20, 4096);
    vkit_kick(&kit, RX);
    settle();
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
    wire_send(2, 100);
    settle();
    ck_assert_uint_eq(receive_frame(2, 100), 1);
}
END_TEST

/* ---- rings ---- */

START_TEST(test_turns)
{
    post_many(VIRTIO_NET_QUEUE_SIZE, 1536);
    vkit_kick(&kit, RX);
    settle();
    for (unsigned i = 0; i < 150; i++)
        wire_send(i, 20);
    ck_assert_int_eq(loop_run_once(&kit.loop, 0), 0);
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 128);
    settle();
    for (unsigned i = 0; i < 150; i++)
        ck_assert_uint_eq(receive_frame(i, 20), 1);
}
END_TEST

START_TEST(test_event_idx)
{
    post_many(10, 1536);
    vkit_kick(&kit, RX);
    settle();
    vkit_set_used_event(&kit, RX, 2);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(atomic_load(&kit.queue_interrupts[RX]), 0);
        wire_send(i, 100);
        settle();
    }
    ck_assert_uint_eq(atomic_load(&kit.queue_interrupts[RX]), 1);
    /* Buffers enough: the driver need not kick. */
    kit.queue[RX].kicked_idx = kit.queue[RX].avail_idx;
    post_many(1, 1536);
    ck_assert(!vkit_kick_if_needed(&kit, RX));
}
END_TEST

START_TEST(test_flags)
{
    ck_assert(vkit_start(&kit, FEATURE(VIRTIO_F_VERSION_1)));
    vkit_avail_set_flags(&kit, RX, VRING_AVAIL_F_NO_INTERRUPT);
    post_many(10, 1536);
    vkit_kick(&kit, RX);
    wire_send(1, 100);
    settle();
    ck_assert_uint_eq(atomic_load(&kit.queue_interrupts[RX]), 0);
    ck_assert_uint_eq(vkit_used_flags(&kit, RX), VRING_USED_F_NO_NOTIFY);
    vkit_avail_set_flags(&kit, RX, 0);
    wire_send(2, 100);
    settle();
    ck_assert_uint_eq(atomic_load(&kit.queue_interrupts[RX]), 1);
    ck_assert_uint_eq(receive_frame(1, 100), 1);
    ck_assert_uint_eq(receive_frame(2, 100), 1);
}
END_TEST

/* Chains that were popped before a reset are forgotten with it. */
START_TEST(test_reset_full_window)
{
    post_many(20, 1536);
    gpa_t old = kit.alloc_next - (gpa_t)20 * 1536;
    vkit_kick(&kit, RX);
    settle();
    ck_assert_uint_gt(net.rx_count, 0);
    ck_assert(vkit_reset(&kit));
    wire_send(1, 100);
    settle();
    ck_assert(vkit_negotiate(&kit, VKIT_FEATURES | FEATURE(VIRTIO_NET_F_MRG_RXBUF)));
    vkit_setup_queue(&kit, RX, 16);
    vkit_setup_queue(&kit, TX, 16);
    ck_assert(vkit_driver_ok(&kit));
    post_many(16, 64);
    vkit_kick(&kit, RX);
    settle();
    wire_send(2, 200);
    settle();
    ck_assert_uint_eq(receive_frame(2, 200), 4);
    const uint8_t *bytes = vkit_at(&kit, old, (uint64_t)20 * 1536);
    for (unsigned i = 0; i < 20 * 1536; i++)
        ck_assert_uint_eq(bytes[i], 0);
}
END_TEST

START_TEST(test_only_this_queue)
{
    ck_assert(vkit_negotiate(&kit, VKIT_FEATURES));
    vkit_setup_queue(&kit, RX, 0);
    ck_assert(vkit_driver_ok(&kit));
    post_many(1, 1536);
    vkit_kick(&kit, TX);
    vkit_kick(&kit, RX);
    wire_send(1, 100);
    settle();
    ck_assert_uint_eq(receive_frame(1, 100), 1);
}
END_TEST

/* ---- broken rules ---- */

START_TEST(test_bad_buffers)
{
    const struct vkit_buf bad[][2] = {
        {{vkit_alloc(&kit, 100, 1), 100, false}, {vkit_alloc(&kit, 2000, 1), 2000, true}},
        {{vkit_alloc(&kit, 5, 1), 5, true}, {vkit_alloc(&kit, 6, 1), 6, true}},
        {{vkit_alloc(&kit, 5, 1), 0, true}, {vkit_alloc(&kit, 6, 1), 0, true}},
        {{VKIT_LOW_SIZE - 1000, 2000, true}, {0, 0, true}},
    };
    if (_i < 4) {
        post_many(1, 1536);
        vkit_add(&kit, RX, bad[_i], 2);
        post_many(1, 1536);
    } else {
        post_many(1, 1536);
        vkit_avail_push(&kit, RX, VIRTIO_NET_QUEUE_SIZE);
    }
    wire_send(1, 100);
    wire_send(2, 100);
    vkit_kick(&kit, RX);
    settle(); /* frames wait in the tap, but the loop sleeps */
    ck_assert(vkit_needs_reset(&kit));
    ck_assert_uint_eq(atomic_load(&kit.config_interrupts), 1);
    ck_assert_uint_eq(receive_frame(1, 100), 1);
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
    transmit_one(1, 100);
    vkit_kick(&kit, TX);
    vkit_kick(&kit, RX);
    settle();
    ck_assert_uint_eq(vkit_used_count(&kit, TX), 0);

    ck_assert(vkit_start(&kit, VKIT_FEATURES | FEATURE(VIRTIO_NET_F_MRG_RXBUF)));
    post_many(2, 1536);
    vkit_kick(&kit, RX);
    settle();
    wire_send(3, 100);
    settle();
    ck_assert_uint_eq(receive_frame(3, 100), 1);
}
END_TEST

START_TEST(test_failure_while_held)
{
    kit.loop.now_ns = test_clock;
    post_many(4, 4096);
    vkit_kick(&kit, RX);
    settle();
    wire_send(1, 30000);
    settle();
    vkit_avail_push(&kit, RX, VIRTIO_NET_QUEUE_SIZE);
    vkit_kick(&kit, RX);
    settle();
    ck_assert(vkit_needs_reset(&kit));
    now += 1000 * NSEC_PER_MSEC;
    settle();
    ck_assert_uint_eq(vkit_used_count(&kit, RX), 0);
}
END_TEST

void add_rx_tests(Suite *s)
{
    TCase *t = add_case(s, "receive", netkit_setup_plain);
    tcase_add_test(t, test_plain);
    tcase_add_test(t, test_plain_exact);
    tcase_add_test(t, test_plain_too_long);
    t = add_case(s, "receive-merged", netkit_setup_merge);
    tcase_add_test(t, test_no_frames);
    tcase_add_loop_test(t, test_merge, 0, 8);
    tcase_add_test(t, test_merge_split_header);
    tcase_add_test(t, test_merge_torn_num_buffers);
    tcase_add_test(t, test_sizes_mixed);
    tcase_add_test(t, test_tiny_buffers);
    tcase_add_test(t, test_no_buffers);
    tcase_add_test(t, test_held);
    tcase_add_test(t, test_held_too_long);
    tcase_add_test(t, test_held_hopeless);
    tcase_add_test(t, test_reset_while_held);
    tcase_add_test(t, test_turns);
    tcase_add_test(t, test_event_idx);
    tcase_add_test(t, test_flags);
    tcase_add_test(t, test_reset_full_window);
    tcase_add_test(t, test_only_this_queue);
    tcase_add_loop_test(t, test_bad_buffers, 0, 5);
    tcase_add_test(t, test_failure_while_held);
}

// SPDX-License-Identifier: Apache-2.0
/* The split virtqueue, rule by rule: virtio 1.2 §2.7. No device, no loop: a bare virtq on the kit's
 * memory. */
#include "run_suite.h"
#include "vkit.h"
#include <check.h>
#include <string.h>

#define SIZE         8
#define IOV_MAX_TEST 16

static struct vkit kit;
static struct virtq vq;
static struct virtq_chain chain;
static struct iovec iov[IOV_MAX_TEST];
static gpa_t data;

static void make(uint16_t size, bool event_idx, bool indirect)
{
    struct virtq_layout layout = vkit_ring_alloc(&kit, size);
    vkit_queue_init(&kit, 0, &layout);
    ck_assert_int_eq(virtq_init(&vq, &kit.mem, &layout, event_idx, indirect), 0);
}

static void setup(void)
{
    vkit_init(&kit);
    data = vkit_alloc(&kit, 65536, 4096);
    make(SIZE, true, true);
}

static void teardown(void)
{
    vkit_done(&kit);
}

static int pop(void)
{
    return virtq_pop(&vq, iov, IOV_MAX_TEST, &chain);
}

/* The next pop finds a broken rule; from then on the queue is dead but quiet. */
static void expect_fault(const char *part)
{
    ck_assert_int_eq(pop(), -EPROTO);
    ck_assert(vq.broken);
    ck_assert_msg(strstr(vq.fault, part) != NULL, "fault is: %s", vq.fault);
    ck_assert_int_eq(pop(), 0);
    ck_assert(!virtq_arm_kicks(&vq));
    ck_assert_uint_eq(virtq_available(&vq), 0);
}

static void expect_bad_layout(struct virtq_layout layout, const char *part)
{
    ck_assert_int_eq(virtq_init(&vq, &kit.mem, &layout, true, true), -EINVAL);
    ck_assert_msg(strstr(vq.fault, part) != NULL, "fault is: %s", vq.fault);
    ck_assert_int_eq(pop(), 0);
}

/* ---- layout: rules 1 to 3 ---- */

START_TEST(layout_sizes)
{
    struct virtq_layout l = vkit_ring_alloc(&kit, 16);
    static const uint16_t bad[] = {0, 3, 7, 24, 1023, 2048, 32768, 65535};
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        l.size = bad[i];
        expect_bad_layout(l, "power of two");
    }
    for (uint16_t size = 1; size <= VIRTQ_SIZE_MAX; size = (uint16_t)(size * 2)) {
        l = vkit_ring_alloc(&kit, size);
        ck_assert_int_eq(virtq_init(&vq, &kit.mem, &l, true, true), 0);
    }
}
END_TEST

START_TEST(layout_alignment)
{
    struct virtq_layout good = vkit_ring_alloc(&kit, 16), l = good;
    l.desc += 8;
    expect_bad_layout(l, "16-byte");
    l = good;
    l.avail += 1;
    expect_bad_layout(l, "2-byte");
    l = good;
    l.used += 2;
    expect_bad_layout(l, "4-byte");
}
END_TEST

START_TEST(layout_outside_ram)
{
    struct virtq_layout good = vkit_ring_alloc(&kit, 16), l = good;
    l.desc = VKIT_LOW_SIZE - 16; /* begins in RAM, ends in the hole */
    expect_bad_layout(l, "RAM");
    l = good;
    l.avail = VKIT_LOW_SIZE - 6 - 2 * 16 + 2; /* only used_event is outside */
    expect_bad_layout(l, "RAM");
    l = good;
    l.used = VKIT_LOW_SIZE - 6 - 8 * 16 + 2; /* only avail_event is outside */
    expect_bad_layout(l, "RAM");
    l = good;
    l.desc = UINT64_MAX - 15; /* wraps */
    expect_bad_layout(l, "RAM");
    l = good;
    l.desc = VKIT_HIGH_BASE - 16;
    expect_bad_layout(l, "RAM");
    l = good;
    l.used = VKIT_LOW_SIZE - 6 - 8 * 16 - 2; /* the last place that fits */
    ck_assert_int_eq(virtq_init(&vq, &kit.mem, &l, true, true), 0);
}
END_TEST

/* ---- available ring: rules 4, 5, 16 ---- */

START_TEST(available_index_too_far)
{
    vkit_avail_set_idx(&kit, 0, SIZE + 1);
    ck_assert_uint_eq(virtq_available(&vq), SIZE);
    expect_fault("available index");
}
END_TEST

START_TEST(available_index_backwards)
{
    vkit_avail_set_idx(&kit, 0, 65535);
    expect_fault("available index");
}
END_TEST

START_TEST(available_index_full_ring)
{
    struct vkit_buf buf = {.gpa = data, .len = 16};
    for (unsigned i = 0; i < SIZE; i++)
        ck_assert_int_ge(vkit_add(&kit, 0, &buf, 1), 0);
    ck_assert_uint_eq(virtq_available(&vq), SIZE);
    for (unsigned i = 0; i < SIZE; i++)
        ck_assert_int_eq(pop(), 1);
    ck_assert_int_eq(pop(), 0);
    ck_assert_uint_eq(vq.in_flight, SIZE);
}
END_TEST

START_TEST(head_outside_table)
{
    vkit_avail_push(&kit, 0, SIZE);
    expect_fault("head outside");
}
END_TEST

START_TEST(head_in_flight_twice)
{
    vkit_desc_write(&kit, 0, 0, data, 16, 0, 0);
    vkit_avail_push(&kit, 0, 0);
    ck_assert_int_eq(pop(), 1);
    vkit_avail_push(&kit, 0, 0);
    expect_fault("in flight");
    /* What is in flight can still be completed. */
    virtq_push(&vq, 0, 0);
    ck_assert(virtq_publish(&vq));
    ck_assert_uint_eq(vkit_used_idx(&kit, 0), 1);
}
END_TEST

START_TEST(head_again_after_completion)
{
    vkit_desc_write(&kit, 0, 0, data, 16, 0, 0);
    for (unsigned i = 0; i < 3 * SIZE; i++) {
        vkit_avail_push(&kit, 0, 0);
        ck_assert_int_eq(pop(), 1);
        virtq_push(&vq, chain.head, i);
        virtq_publish(&vq);
        uint32_t head, len;
        ck_assert(vkit_used(&kit, 0, &head, &len));
        ck_assert_uint_eq(head, 0);
        ck_assert_uint_eq(len, i);
    }
}
END_TEST

/* ---- chains: rules 6 to 9, 12 to 15 ---- */

START_TEST(chain_collected)
{
    const struct vkit_buf bufs[] = {
        {.gpa = data, .len = 16},
        {.gpa = data + 100, .len = 1000},
        {.gpa = VKIT_HIGH_BASE, .len = (uint32_t)VKIT_HIGH_SIZE, .writable = true},
        {.gpa = data + 5000, .len = 1, .writable = true},
    };
    int head = vkit_add(&kit, 0, bufs, 4);
    ck_assert_int_eq(pop(), 1);
    ck_assert_int_eq(chain.head, head);
    ck_assert_uint_eq(chain.readable_count, 2);
    ck_assert_uint_eq(chain.writable_count, 2);
    ck_assert_uint_eq(chain.readable_len, 1016);
    ck_assert_uint_eq(chain.writable_len, VKIT_HIGH_SIZE + 1);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_ptr_eq(chain.iov[i].iov_base, vkit_at(&kit, bufs[i].gpa, bufs[i].len));
        ck_assert_uint_eq(chain.iov[i].iov_len, bufs[i].len);
    }
}
END_TEST

START_TEST(next_outside_table)
{
    vkit_desc_write(&kit, 0, 0, data, 16, VRING_DESC_F_NEXT, SIZE);
    vkit_avail_push(&kit, 0, 0);
    expect_fault("outside its table");
}
END_TEST

START_TEST(chain_loops)
{
    vkit_desc_write(&kit, 0, 0, data, 1, VRING_DESC_F_NEXT, 1);
    vkit_desc_write(&kit, 0, 1, data, 1, VRING_DESC_F_NEXT, 0);
    vkit_avail_push(&kit, 0, 0);
    expect_fault("loop");
}
END_TEST

START_TEST(chain_loops_without_bytes)
{
    vkit_desc_write(&kit, 0, 0, data, 0, VRING_DESC_F_NEXT, 0);
    vkit_avail_push(&kit, 0, 0);
    expect_fault("loop");
}
END_TEST

START_TEST(chain_as_long_as_queue)
{
    struct vkit_buf bufs[SIZE];
    for (unsigned i = 0; i < SIZE; i++)
        bufs[i] = (struct vkit_buf){.gpa = data, .len = 1};
    ck_assert_int_ge(vkit_add(&kit, 0, bufs, SIZE), 0);
    ck_assert_int_eq(pop(), 1);
    ck_assert_uint_eq(chain.readable_count, SIZE);
}
END_TEST

START_TEST(more_buffers_than_device_takes)
{
    struct vkit_buf bufs[3];
    for (unsigned i = 0; i < 3; i++)
        bufs[i] = (struct vkit_buf){.gpa = data, .len = 1};
    vkit_add(&kit, 0, bufs, 3);
    ck_assert_int_eq(virtq_pop(&vq, iov, 2, &chain), -EPROTO);
    ck_assert(strstr(vq.fault, "more buffers") != NULL);
}
END_TEST

START_TEST(unknown_flags)
{
    for (unsigned bit = 3; bit < 16; bit++) {
        make(SIZE, true, true);
        vkit_desc_write(&kit, 0, 0, data, 16, (uint16_t)(1u << bit), 0);
        vkit_avail_push(&kit, 0, 0);
        expect_fault("unknown");
    }
}
END_TEST

START_TEST(buffer_outside_ram)
{
    static const struct {
        uint64_t addr;
        uint32_t len;
    } bad[] = {
        {VKIT_LOW_SIZE, 1},
        {VKIT_LOW_SIZE - 1, 2},
        {VKIT_LOW_SIZE - 1, UINT32_MAX},
        {VKIT_HIGH_BASE - 1, 2},
        {VKIT_HIGH_BASE + VKIT_HIGH_SIZE, 1},
        {UINT64_MAX, 1},
        {UINT64_MAX - 1, UINT32_MAX},
        {0xfee00000, 4},
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        make(SIZE, true, true);
        vkit_desc_write(&kit, 0, 0, bad[i].addr, bad[i].len, 0, 0);
        vkit_avail_push(&kit, 0, 0);
        expect_fault("RAM");
    }
}
END_TEST

START_TEST(total_length_overflows)
{
    /* Only a huge region can tell this rule from the one before; nothing dereferences it. */
    kit.mem.region[1].size = UINT64_C(1) << 33;
    vkit_desc_write(&kit, 0, 0, VKIT_HIGH_BASE, UINT32_MAX, VRING_DESC_F_NEXT, 1);
    vkit_desc_write(&kit, 0, 1, VKIT_HIGH_BASE, 1, VRING_DESC_F_WRITE, 0);
    vkit_avail_push(&kit, 0, 0);
    expect_fault("4 GiB");
    make(SIZE, true, true);
    vkit_desc_write(&kit, 0, 0, VKIT_HIGH_BASE, UINT32_MAX - 1, VRING_DESC_F_NEXT, 1);
    vkit_desc_write(&kit, 0, 1, VKIT_HIGH_BASE, 1, VRING_DESC_F_WRITE, 0);
    vkit_avail_push(&kit, 0, 0);
    ck_assert_int_eq(pop(), 1);
    ck_assert_uint_eq(chain.readable_len, UINT32_MAX - 1);
}
END_TEST

START_TEST(readable_behind_writable)
{
    const struct vkit_buf bufs[] = {
        {.gpa = data, .len = 16, .writable = true},
        {.gpa = data, .len = 16},
    };
    vkit_add(&kit, 0, bufs, 2);
    expect_fault("behind");
}
END_TEST

START_TEST(zero_lengths_skipped)
{
    const struct vkit_buf bufs[] = {
        {.gpa = UINT64_MAX, .len = 0}, /* the address of nothing need not exist */
        {.gpa = data, .len = 16},
        {.gpa = data, .len = 0, .writable = true},
    };
    vkit_add(&kit, 0, bufs, 3);
    ck_assert_int_eq(pop(), 1);
    ck_assert_uint_eq(chain.readable_count, 1);
    ck_assert_uint_eq(chain.writable_count, 0);
    vkit_add(&kit, 0, &bufs[2], 1);
    ck_assert_int_eq(pop(), 1);
    ck_assert_uint_eq(chain.readable_count + chain.writable_count, 0);
}
END_TEST

/* ---- indirect tables: rules 10, 11 ---- */

static void indirect_bufs(struct vkit_buf *bufs, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        bufs[i] = (struct vkit_buf){
            .gpa = data + 16 * (gpa_t)i, .len = i + 1, .writable = i >= count / 2};
}

START_TEST(indirect_alone)
{
    struct vkit_buf bufs[SIZE];
    indirect_bufs(bufs, SIZE); /* as long as the queue: the naming descriptor does not count */
    vkit_add_indirect(&kit, 0, bufs, SIZE, 0);
    ck_assert_int_eq(pop(), 1);
    ck_assert_uint_eq(chain.readable_count, SIZE / 2);
    ck_assert_uint_eq(chain.writable_count, SIZE / 2);
    for (unsigned i = 0; i < SIZE; i++)
        ck_assert_uint_eq(chain.iov[i].iov_len, i + 1);
}
END_TEST

START_TEST(indirect_tail)
{
    struct vkit_buf bufs[6];
    indirect_bufs(bufs, 6);
    vkit_add_indirect(&kit, 0, bufs, 6, 2);
    ck_assert_int_eq(pop(), 1);
    ck_assert_uint_eq(chain.readable_count, 3);
    ck_assert_uint_eq(chain.writable_count, 3);
    for (unsigned i = 0; i < 6; i++)
        ck_assert_uint_eq(chain.iov[i].iov_len, i + 1);
}
END_TEST

START_TEST(indirect_chain_too_long)
{
    struct vkit_buf bufs[SIZE + 1];
    indirect_bufs(bufs, SIZE + 1);
    vkit_add_indirect(&kit, 0, bufs, SIZE + 1, 1);
    expect_fault("longer than the queue");
}
END_TEST

START_TEST(indirect_table_may_be_longer_than_its_chain)
{
    gpa_t table = vkit_alloc(&kit, 16 * SIZE, 16);
    struct vring_desc d = {.addr = data, .len = 4};
    memcpy(vkit_at(&kit, table, 16), &d, sizeof(d));
    vkit_desc_write(&kit, 0, 0, table, 16 * SIZE, VRING_DESC_F_INDIRECT, 0);
    vkit_avail_push(&kit, 0, 0);
    ck_assert_int_eq(pop(), 1);
    ck_assert_uint_eq(chain.readable_len, 4);
}
END_TEST

START_TEST(indirect_unaligned_table)
{
    gpa_t table = vkit_alloc(&kit, 64, 16) + 3;
    struct vring_desc d = {.addr = data, .len = 7, .flags = VRING_DESC_F_WRITE};
    memcpy(vkit_at(&kit, table, 16), &d, sizeof(d));
    vkit_desc_write(&kit, 0, 0, table, 16, VRING_DESC_F_INDIRECT, 0);
    vkit_avail_push(&kit, 0, 0);
    ck_assert_int_eq(pop(), 1);
    ck_assert_uint_eq(chain.writable_len, 7);
}
END_TEST

START_TEST(indirect_write_flag_ignored)
{
    gpa_t table = vkit_alloc(&kit, 16, 16);
    struct vring_desc d = {.addr = data, .len = 7};
    memcpy(vkit_at(&kit, table, 16), &d, sizeof(d));
    vkit_desc_write(&kit, 0, 0, table, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 0);
    vkit_avail_push(&kit, 0, 0);
    ck_assert_int_eq(pop(), 1);
    ck_assert_uint_eq(chain.readable_len, 7);
    ck_assert_uint_eq(chain.writable_len, 0);
}
END_TEST

START_TEST(indirect_bad)
{
    gpa_t table = vkit_alloc(&kit, 64, 16);
    static const struct {
        uint64_t addr;
        uint32_t len;
        uint16_t flags;
        const char *fault;
    } bad[] = {
        {0, 0, VRING_DESC_F_INDIRECT, "multiple of 16"},
        {0, 15, VRING_DESC_F_INDIRECT, "multiple of 16"},
        {0, 17, VRING_DESC_F_INDIRECT, "multiple of 16"},
        {0, 16 * (SIZE + 1), VRING_DESC_F_INDIRECT, "table longer"},
        {0, 0xfffffff0, VRING_DESC_F_INDIRECT, "table longer"},
        {VKIT_LOW_SIZE - 16, 32, VRING_DESC_F_INDIRECT, "table is not wholly"},
        {UINT64_MAX - 15, 32, VRING_DESC_F_INDIRECT, "table is not wholly"},
        {0, 32, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, "next"},
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        make(SIZE, true, true);
        uint64_t addr = bad[i].addr != 0 ? bad[i].addr : table;
        vkit_desc_write(&kit, 0, 0, addr, bad[i].len, bad[i].flags, 1);
        vkit_avail_push(&kit, 0, 0);
        expect_fault(bad[i].fault);
    }
}
END_TEST

START_TEST(indirect_nested)
{
    gpa_t table = vkit_alloc(&kit, 32, 16);
    struct vring_desc d = {.addr = table, .len = 32, .flags = VRING_DESC_F_INDIRECT};
    memcpy(vkit_at(&kit, table, 16), &d, sizeof(d));
    vkit_desc_write(&kit, 0, 0, table, 32, VRING_DESC_F_INDIRECT, 0);
    vkit_avail_push(&kit, 0, 0);
    expect_fault("in an indirect");
}
END_TEST

START_TEST(indirect_next_outside_table)
{
    gpa_t table = vkit_alloc(&kit, 32, 16);
    struct vring_desc d = {.addr = data, .len = 1, .flags = VRING_DESC_F_NEXT, .next = 2};
    memcpy(vkit_at(&kit, table, 16), &d, sizeof(d));
    vkit_desc_write(&kit, 0, 0, table, 32, VRING_DESC_F_INDIRECT, 0);
    vkit_avail_push(&kit, 0, 0);
    expect_fault("outside its table");
}
END_TEST

START_TEST(indirect_not_negotiated)
{
    make(SIZE, true, false);
    struct vkit_buf buf = {.gpa = data, .len = 1};
    vkit_add_indirect(&kit, 0, &buf, 1, 0);
    expect_fault("without the feature");
}
END_TEST

/* ---- unpop ---- */

START_TEST(unpop_gives_it_back)
{
    struct vkit_buf buf = {.gpa = data, .len = 5};
    vkit_add(&kit, 0, &buf, 1);
    ck_assert_int_eq(pop(), 1);
    virtq_unpop(&vq, &chain);
    ck_assert_uint_eq(vq.in_flight, 0);
    ck_assert_uint_eq(virtq_available(&vq), 1);
    ck_assert(virtq_arm_kicks(&vq));
    ck_assert_int_eq(pop(), 1);
    ck_assert_uint_eq(chain.readable_len, 5);
    ck_assert_int_eq(pop(), 0);
}
END_TEST

/* ---- completion and notification, §2.7.7, §2.7.10 ---- */

static void move(unsigned count, bool out_of_order)
{
    struct vkit_buf buf = {.gpa = data, .len = 1};
    uint16_t head[SIZE];
    for (unsigned i = 0; i < count; i++) {
        ck_assert_int_ge(vkit_add(&kit, 0, &buf, 1), 0);
        ck_assert_int_eq(pop(), 1);
        head[i] = chain.head;
    }
    for (unsigned i = 0; i < count; i++)
        virtq_push(&vq, head[out_of_order ? count - 1 - i : i], 1);
}

static void drain(void)
{
    uint32_t head, len;
    while (vkit_used(&kit, 0, &head, &len))
        ;
}

START_TEST(completion_out_of_order)
{
    move(SIZE, true);
    ck_assert_uint_eq(vkit_used_idx(&kit, 0), 0); /* not before publish */
    virtq_publish(&vq);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), SIZE);
    uint32_t head, len;
    for (unsigned i = 0; i < SIZE; i++) {
        ck_assert(vkit_used(&kit, 0, &head, &len));
        ck_assert_uint_eq(head, SIZE - 1 - i);
    }
}
END_TEST

START_TEST(publish_nothing)
{
    ck_assert(!virtq_publish(&vq));
    move(1, false);
    ck_assert(virtq_publish(&vq));
    ck_assert(!virtq_publish(&vq));
}
END_TEST

START_TEST(interrupt_by_event_index)
{
    vkit_set_used_event(&kit, 0, 2); /* when the third is used */
    move(2, false);
    ck_assert(!virtq_publish(&vq));
    drain();
    move(1, false);
    ck_assert(virtq_publish(&vq));
    drain();
    move(4, false);
    ck_assert(!virtq_publish(&vq)); /* passed long ago */
    drain();
    vkit_set_used_event(&kit, 0, 8);
    move(4, false); /* 8 is in the middle of 7..10 */
    ck_assert(virtq_publish(&vq));
}
END_TEST

START_TEST(interrupt_by_flag)
{
    make(SIZE, false, true);
    vkit_set_used_event(&kit, 0, 1000); /* means nothing now */
    move(1, false);
    ck_assert(virtq_publish(&vq));
    vkit_avail_set_flags(&kit, 0, VRING_AVAIL_F_NO_INTERRUPT);
    move(1, false);
    ck_assert(!virtq_publish(&vq));
}
END_TEST

START_TEST(kicks_by_event_index)
{
    virtq_suppress_kicks(&vq);
    ck_assert_uint_eq(vkit_used_flags(&kit, 0), 0); /* §2.7.10: always 0 with EVENT_IDX */
    move(3, false);
    ck_assert(!virtq_arm_kicks(&vq));
    ck_assert_uint_eq(vkit_avail_event(&kit, 0), 3);
    struct vkit_buf buf = {.gpa = data, .len = 1};
    vkit_add(&kit, 0, &buf, 1);
    ck_assert(virtq_arm_kicks(&vq)); /* came meanwhile */
}
END_TEST

START_TEST(kicks_by_flag)
{
    make(SIZE, false, true);
    virtq_suppress_kicks(&vq);
    ck_assert_uint_eq(vkit_used_flags(&kit, 0), VRING_USED_F_NO_NOTIFY);
    ck_assert(!virtq_arm_kicks(&vq));
    ck_assert_uint_eq(vkit_used_flags(&kit, 0), 0);
    struct vkit_buf buf = {.gpa = data, .len = 1};
    vkit_add(&kit, 0, &buf, 1);
    ck_assert(virtq_arm_kicks(&vq));
}
END_TEST

/* Once round 65536: every index crosses its wrap, with an event exactly at each place near it. */
START_TEST(indices_wrap)
{
    unsigned interrupts = 0;
    for (unsigned i = 0; i < 65536 + 64; i++) {
        if (i % 5 == 0)
            vkit_set_used_event(&kit, 0, (uint16_t)(i + 2)); /* crossed two steps later */
        move(1, i % 2 == 0);
        bool want = i % 5 == 2;
        ck_assert_msg(virtq_publish(&vq) == want, "at %u", i);
        interrupts += want;
        drain();
        ck_assert(!virtq_arm_kicks(&vq));
        ck_assert_uint_eq(vkit_avail_event(&kit, 0), (uint16_t)(i + 1));
    }
    ck_assert_uint_eq(interrupts, (65536 + 64) / 5);
    ck_assert_uint_eq(vkit_used_idx(&kit, 0), 64);
    vkit_set_used_event(&kit, 0, 64);
    move(SIZE, true);
    ck_assert(virtq_publish(&vq));
}
END_TEST

START_TEST(event_at_65535_in_a_batch)
{
    vkit_set_used_event(&kit, 0, 65535);
    for (unsigned i = 0; i < 65533; i++) {
        move(1, false);
        ck_assert(!virtq_publish(&vq));
        drain();
    }
    move(6, false); /* 65533 .. 2 */
    ck_assert(virtq_publish(&vq));
    ck_assert_uint_eq(vkit_used_idx(&kit, 0), 3);
}
END_TEST

static TCase *chain_tests(void)
{
    TCase *tc = tcase_create("chains");
    tcase_add_test(tc, chain_collected);
    tcase_add_test(tc, next_outside_table);
    tcase_add_test(tc, chain_loops);
    tcase_add_test(tc, chain_loops_without_bytes);
    tcase_add_test(tc, chain_as_long_as_queue);
    tcase_add_test(tc, more_buffers_than_device_takes);
    tcase_add_test(tc, unknown_flags);
    tcase_add_test(tc, buffer_outside_ram);
    tcase_add_test(tc, total_length_overflows);
    tcase_add_test(tc, readable_behind_writable);
    tcase_add_test(tc, zero_lengths_skipped);
    tcase_add_test(tc, indirect_alone);
    tcase_add_test(tc, indirect_tail);
    tcase_add_test(tc, indirect_chain_too_long);
    tcase_add_test(tc, indirect_table_may_be_longer_than_its_chain);
    tcase_add_test(tc, indirect_unaligned_table);
    tcase_add_test(tc, indirect_write_flag_ignored);
    tcase_add_test(tc, indirect_bad);
    tcase_add_test(tc, indirect_nested);
    tcase_add_test(tc, indirect_next_outside_table);
    tcase_add_test(tc, indirect_not_negotiated);
    return tc;
}

static TCase *ring_tests(void)
{
    TCase *tc = tcase_create("rings");
    tcase_add_test(tc, layout_sizes);
    tcase_add_test(tc, layout_alignment);
    tcase_add_test(tc, layout_outside_ram);
    tcase_add_test(tc, available_index_too_far);
    tcase_add_test(tc, available_index_backwards);
    tcase_add_test(tc, available_index_full_ring);
    tcase_add_test(tc, head_outside_table);
    tcase_add_test(tc, head_in_flight_twice);
    tcase_add_test(tc, head_again_after_completion);
    tcase_add_test(tc, unpop_gives_it_back);
    tcase_add_test(tc, completion_out_of_order);
    tcase_add_test(tc, publish_nothing);
    tcase_add_test(tc, interrupt_by_event_index);
    tcase_add_test(tc, interrupt_by_flag);
    tcase_add_test(tc, kicks_by_event_index);
    tcase_add_test(tc, kicks_by_flag);
    tcase_add_test(tc, indices_wrap);
    tcase_add_test(tc, event_at_65535_in_a_batch);
    return tc;
}

int main(void)
{
    Suite *suite = suite_create("virtqueue");
    TCase *cases[] = {ring_tests(), chain_tests()};
    for (unsigned i = 0; i < 2; i++) {
        tcase_add_checked_fixture(cases[i], setup, teardown);
        tcase_set_timeout(cases[i], 60);
        suite_add_tcase(suite, cases[i]);
    }
    return run_suite(suite);
}

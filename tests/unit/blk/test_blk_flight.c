// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-blk when things go wrong or many at a time: errors of the host, deep and full queues,
 * resets and the end with requests in flight, random requests against a shadow.
 */
#include "blkkit.h"
#include <sched.h>
#include <string.h>
#include <unistd.h>

/* --- errors of the host ----------------------------------------------------------------------- */

START_TEST(test_host_errors)
{
    use_probe();
    atomic_store(&probe.fail, true);
    gpa_t data = vkit_alloc(&kit, 4096, 512);
    expect(request(VIRTIO_BLK_T_IN, 0, data, 4096, false), VIRTIO_BLK_S_IOERR, 0);
    expect(request(VIRTIO_BLK_T_OUT, 0, data, 4096, true), VIRTIO_BLK_S_IOERR, 1);
    expect(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, true), VIRTIO_BLK_S_IOERR, 1);
    struct virtio_blk_metrics m;
    virtio_blk_get_metrics(&blk, &m);
    ck_assert(m.errors == 3 && m.reads == 0 && m.writes == 0 && m.flushes == 0);
    ck_assert(!vkit_needs_reset(&kit));
    atomic_store(&probe.fail, false);
    expect(request(VIRTIO_BLK_T_IN, 0, data, 4096, false), VIRTIO_BLK_S_OK, 4097);
}
END_TEST

START_TEST(test_shrunken_file)
{
    ck_assert_int_eq(truncate(disk_path, 4096), 0);
    gpa_t data = vkit_alloc(&kit, 4096, 512);
    expect(request(VIRTIO_BLK_T_IN, 0, data, 4096, false), VIRTIO_BLK_S_OK, 4097);
    expect(request(VIRTIO_BLK_T_IN, 4, data, 4096, false), VIRTIO_BLK_S_IOERR, 0);
}
END_TEST

/* --- many in flight --------------------------------------------------------------------------- */

enum { DEPTH = 32 };

static struct {
    gpa_t data, status;
    uint64_t sector;
} flight[VIRTIO_BLK_QUEUE_SIZE];

static void start_reads(unsigned queue, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t sector = (i * UINT64_C(2654435761)) % (DISK_SECTORS - 8);
        flight[i].data = vkit_alloc(&kit, 4096, 4096);
        flight[i].status = put_status();
        flight[i].sector = sector;
        struct vkit_buf buf[] = {{put_header(VIRTIO_BLK_T_IN, sector), 16, false},
                                 {flight[i].data, 4096, true},
                                 {flight[i].status, 1, true}};
        ck_assert_int_ge(vkit_add(&kit, queue, buf, 3), 0);
    }
    vkit_kick(&kit, queue);
}

static void check_reads(unsigned queue, unsigned count)
{
    ck_assert(vkit_wait_used(&kit, queue, count));
    uint32_t head, len;
    for (unsigned i = 0; i < count; i++) {
        ck_assert(vkit_used(&kit, queue, &head, &len));
        ck_assert_uint_eq(len, 4097);
    }
    for (unsigned i = 0; i < count; i++) {
        ck_assert_uint_eq(get_status(flight[i].status), VIRTIO_BLK_S_OK);
        ck_assert_int_eq(
            memcmp(vkit_at(&kit, flight[i].data, 4096), shadow + flight[i].sector * SECTOR, 4096),
            0);
    }
}

START_TEST(test_depth)
{
    gpa_t mark = kit.alloc_next;
    if (_i != 0)
        use_probe();
    for (unsigned round = 0; round < 50; round++) {
        start_reads(0, DEPTH);
        check_reads(0, DEPTH);
        kit.alloc_next = mark;
    }
    ck_assert_uint_le(atomic_load(&kit.queue_interrupts[0]), (uintmax_t)50 * DEPTH);
}
END_TEST

/* All that hit the page cache cost one interrupt. */
START_TEST(test_batch)
{
    start_reads(0, DEPTH);
    check_reads(0, DEPTH);
    if (atomic_load(&img.nowait_read))
        ck_assert_uint_eq(atomic_load(&kit.queue_interrupts[0]), 1);
}
END_TEST

/* More than one pass of the loop, as a driver that refills at once would cause. */
START_TEST(test_full_queue)
{
    use_probe();
    gpa_t mark = kit.alloc_next;
    atomic_store(&probe.hold, true);
    enum { FULL = 85 }; /* of three descriptors */
    start_reads(0, FULL);
    vkit_run(&kit);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 0);
    atomic_store(&probe.hold, false);
    check_reads(0, FULL);
    kit.alloc_next = mark;
}
END_TEST

static bool reset_done(void *arg)
{
    (void)arg;
    return virtio_device_get_status(&blk.dev) == 0;
}

START_TEST(test_reset_in_flight)
{
    use_probe();
    atomic_store(&probe.hold, true);
    start_reads(0, DEPTH);
    vkit_run(&kit);
    virtio_device_set_status(&blk.dev, 0);
    vkit_run(&kit);
    ck_assert_uint_ne(virtio_device_get_status(&blk.dev), 0);
    while (atomic_load(&probe.waiting) == 0)
        sched_yield();
    atomic_store(&probe.hold, false);
    ck_assert(vkit_wait(&kit, reset_done, NULL));
    ck_assert_uint_eq(engine->in_flight, 0);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 0);
    vkit_alloc_reset(&kit);
    ck_assert(vkit_start(&kit, ALL_FEATURES));
    start_reads(0, DEPTH);
    check_reads(0, DEPTH);
}
END_TEST

/* The machine ends while requests are in flight: threads use the disk's memory until they are done.
 */
START_TEST(test_end_in_flight)
{
    use_probe();
    atomic_store(&probe.hold, true);
    start_reads(0, DEPTH);
    vkit_run(&kit);
    while (atomic_load(&probe.waiting) == 0)
        sched_yield();
    atomic_store(&probe.hold, false);
    virtio_blk_done(&blk);
    ck_assert_uint_eq(engine->in_flight, 0);
    /* For the tear-down. */
    struct virtio_blk_options o = {.name = "disk0", .image = &img, .engine = engine};
    ck_assert_int_eq(virtio_blk_init(&blk, &o, &kit.mem, &kit.loop, NULL), 0);
    vkit_attach(&kit, &blk.dev);
}
END_TEST

/* The driver breaks a rule while requests are in flight: they still finish. */
START_TEST(test_failure_in_flight)
{
    use_probe();
    atomic_store(&probe.hold, true);
    start_reads(0, DEPTH);
    vkit_run(&kit);
    vkit_avail_push(&kit, 0, 999);
    vkit_kick(&kit, 0);
    vkit_run(&kit);
    ck_assert(vkit_needs_reset(&kit));
    atomic_store(&probe.hold, false);
    check_reads(0, DEPTH);
}
END_TEST

/* The loop on a thread of its own, for ThreadSanitizer. */
START_TEST(test_threaded)
{
    use_probe();
    vkit_thread_start(&kit);
    gpa_t mark = kit.alloc_next;
    for (unsigned round = 0; round < 20; round++) {
        start_reads(0, DEPTH);
        check_reads(0, DEPTH);
        kit.alloc_next = mark;
    }
    start_reads(0, DEPTH);
    ck_assert(vkit_reset(&kit));
    vkit_alloc_reset(&kit);
    ck_assert(vkit_start(&kit, ALL_FEATURES));
    start_reads(0, DEPTH);
    check_reads(0, DEPTH);
}
END_TEST

static void setup_queues(void)
{
    make_device(false, 4);
    ck_assert(vkit_start(&kit, ALL_FEATURES | FEATURE(VIRTIO_BLK_F_MQ)));
}

START_TEST(test_queues)
{
    for (unsigned queue = 0; queue < 4; queue++) {
        start_reads(queue, 16);
        check_reads(queue, 16);
    }
}
END_TEST

/* --- ten thousand operations against a shadow ------------------------------------------------- */

static uint64_t rng_state = 88172645463325252ull;

static uint32_t rnd(uint32_t bound)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (uint32_t)(rng_state >> 16) % bound;
}

/* Cuts [gpa, gpa + len) into random pieces. */
static unsigned cut(struct vkit_buf *buf, unsigned n, gpa_t gpa, uint32_t len, bool writable)
{
    while (len > 0) {
        uint32_t piece = n < 40 && len > 1 && rnd(3) == 0 ? 1 + rnd(len - 1) : len;
        buf[n++] = (struct vkit_buf){gpa, piece, writable};
        gpa += piece;
        len -= piece;
    }
    return n;
}

static void random_operation(gpa_t header, gpa_t data, gpa_t status)
{
    struct vkit_buf buf[64];
    uint32_t sectors = 1 + rnd(rnd(4) == 0 ? 512 : 16), len = sectors * (uint32_t)SECTOR;
    uint64_t sector = rnd((uint32_t)(DISK_SECTORS - sectors + 1)), offset = sector * SECTOR;
    uint8_t *bytes = vkit_at(&kit, data, len);
    static const uint32_t types[] = {VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
                                     VIRTIO_BLK_T_FLUSH};
    uint32_t pick = rnd(20), type = types[pick < 9 ? 0 : pick < 17 ? 1 : pick - 16];
    struct virtio_blk_outhdr h = {.type = type, .sector = sector};
    memcpy(vkit_at(&kit, header, 16), &h, 16);
    unsigned n = cut(buf, 0, header, 16, false);
    uint32_t written = 1;
    if (type == VIRTIO_BLK_T_IN) {
        memset(bytes, 0xcc, len);
        n = cut(buf, n, data, len, true);
        written += len;
    } else if (type == VIRTIO_BLK_T_OUT) {
        for (uint32_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)(sector + i + rng_state);
        memcpy(shadow + offset, bytes, len);
        n = cut(buf, n, data, len, false);
    } else if (type == VIRTIO_BLK_T_WRITE_ZEROES) {
        struct virtio_blk_discard_write_zeroes seg = {sector, sectors, rnd(2)};
        memcpy(bytes, &seg, sizeof(seg));
        memset(shadow + offset, 0, len);
        n = cut(buf, n, data, sizeof(seg), false);
    }
    n = cut(buf, n, status, 1, true);
    *(uint8_t *)vkit_at(&kit, status, 1) = STATUS_UNTOUCHED;
    uint32_t got;
    ck_assert(vkit_request(&kit, 0, buf, n, &got));
    ck_assert_uint_eq(get_status(status), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(got, written);
    if (type == VIRTIO_BLK_T_IN)
        ck_assert_int_eq(memcmp(bytes, shadow + offset, len), 0);
}

START_TEST(test_ten_thousand)
{
    gpa_t header = vkit_alloc(&kit, 16, 1), data = vkit_alloc(&kit, 512 * SECTOR, 1);
    gpa_t status = put_status();
    if (_i != 0)
        use_probe();
    for (unsigned i = 0; i < (_i == 0 ? 10000u : 2000u); i++)
        random_operation(header, data, status);
    expect_disk(0, DISK_SIZE);
}
END_TEST

void add_flight_tests(Suite *s)
{
    TCase *t = add_case(s, "flight", setup);
    tcase_add_test(t, test_host_errors);
    tcase_add_test(t, test_shrunken_file);
    tcase_add_loop_test(t, test_depth, 0, 2);
    tcase_add_test(t, test_batch);
    tcase_add_test(t, test_full_queue);
    tcase_add_test(t, test_reset_in_flight);
    tcase_add_test(t, test_end_in_flight);
    tcase_add_test(t, test_failure_in_flight);
    tcase_add_test(t, test_threaded);
    tcase_add_loop_test(t, test_ten_thousand, 0, 2);
    tcase_add_test(add_case(s, "queues", setup_queues), test_queues);
}

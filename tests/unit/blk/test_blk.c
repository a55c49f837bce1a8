// SPDX-License-Identifier: Apache-2.0
/* virtio-blk, one request at a time: operations, framing, features, configuration. */
#include "blkkit.h"
#include "run_suite.h"
#include <stdlib.h>
#include <string.h>

/* --- reading and writing ---------------------------------------------------------------------- */

START_TEST(test_read)
{
    gpa_t data = vkit_alloc(&kit, 8192, 512);
    expect(request(VIRTIO_BLK_T_IN, 8, data, 8192, false), VIRTIO_BLK_S_OK, 8193);
    ck_assert_mem_eq(vkit_at(&kit, data, 8192), shadow + 4096, 8192);
    struct virtio_blk_metrics m;
    virtio_blk_get_metrics(&blk, &m);
    ck_assert(m.reads == 1 && m.read_bytes == 8192 && m.errors == 0 && m.rejected == 0);
}
END_TEST

START_TEST(test_write)
{
    gpa_t data = vkit_alloc(&kit, 1024, 1);
    memset(vkit_at(&kit, data, 1024), 0x42, 1024);
    memset(shadow + 512, 0x42, 1024);
    expect(request(VIRTIO_BLK_T_OUT, 1, data, 1024, true), VIRTIO_BLK_S_OK, 1);
    expect_disk(0, DISK_SIZE);
    expect(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, true), VIRTIO_BLK_S_OK, 1);
    struct virtio_blk_metrics m;
    virtio_blk_get_metrics(&blk, &m);
    ck_assert(m.writes == 1 && m.write_bytes == 1024 && m.flushes == 1);
}
END_TEST

START_TEST(test_end_of_disk)
{
    gpa_t data = vkit_alloc(&kit, 1024, 512);
    expect(request(VIRTIO_BLK_T_IN, DISK_SECTORS - 1, data, 512, false), VIRTIO_BLK_S_OK, 513);
    expect(request(VIRTIO_BLK_T_IN, DISK_SECTORS, data, 0, false), VIRTIO_BLK_S_OK, 1);
    static const uint64_t bad[] = {DISK_SECTORS - 1, DISK_SECTORS,     DISK_SECTORS + 1, UINT64_MAX,
                                   UINT64_MAX - 1,   UINT64_MAX / 512, INT64_MAX};
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        expect(request(VIRTIO_BLK_T_IN, bad[i], data, 1024, false), VIRTIO_BLK_S_IOERR, 0);
        expect(request(VIRTIO_BLK_T_OUT, bad[i], data, 1024, true), VIRTIO_BLK_S_IOERR, 1);
    }
    expect_disk(0, DISK_SIZE);
    struct virtio_blk_metrics m;
    virtio_blk_get_metrics(&blk, &m);
    ck_assert_uint_eq(m.rejected, 2 * ARRAY_SIZE(bad));
    ck_assert(!vkit_needs_reset(&kit));
}
END_TEST

START_TEST(test_odd_lengths)
{
    gpa_t data = vkit_alloc(&kit, 2048, 512);
    static const uint32_t bad[] = {1, 511, 513, 1000};
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        expect(request(VIRTIO_BLK_T_IN, 0, data, bad[i], false), VIRTIO_BLK_S_IOERR, 0);
        expect(request(VIRTIO_BLK_T_OUT, 0, data, bad[i], true), VIRTIO_BLK_S_IOERR, 1);
    }
    expect_disk(0, 4096);
}
END_TEST

START_TEST(test_wrong_direction)
{
    gpa_t data = vkit_alloc(&kit, 512, 512);
    expect(request(VIRTIO_BLK_T_IN, 0, data, 512, true), VIRTIO_BLK_S_IOERR, 1);
    expect(request(VIRTIO_BLK_T_OUT, 0, data, 512, false), VIRTIO_BLK_S_IOERR, 0);
    /* Both directions at once. */
    gpa_t status = put_status();
    struct vkit_buf buf[] = {{put_header(VIRTIO_BLK_T_IN, 0), 16, false},
                             {data, 512, false},
                             {data, 512, true},
                             {status, 1, true}};
    uint32_t len;
    ck_assert(vkit_request(&kit, 0, buf, 4, &len));
    ck_assert_uint_eq(get_status(status), VIRTIO_BLK_S_IOERR);
    expect_disk(0, 4096);
}
END_TEST

START_TEST(test_unsupported)
{
    static const uint32_t type[] = {2, 3, 5, 9, 10, 12, VIRTIO_BLK_T_SECURE_ERASE, 0x80000000u};
    for (unsigned i = 0; i < ARRAY_SIZE(type); i++)
        expect(request(type[i], 0, 0, 0, true), VIRTIO_BLK_S_UNSUPP, 1);
    ck_assert(!vkit_needs_reset(&kit));
}
END_TEST

START_TEST(test_get_id)
{
    gpa_t data = vkit_alloc(&kit, 64, 8);
    memset(vkit_at(&kit, data, 64), 0xff, 64);
    expect(request(VIRTIO_BLK_T_GET_ID, 0, data, 20, false), VIRTIO_BLK_S_OK, 21);
    ck_assert_mem_eq(vkit_at(&kit, data, 20), "serial-0123456789\0\0\0", 20);
    ck_assert_uint_eq(*(uint8_t *)vkit_at(&kit, data + 20, 1), 0xff);
    expect(request(VIRTIO_BLK_T_GET_ID, 0, data, 40, false), VIRTIO_BLK_S_OK, 20);
    expect(request(VIRTIO_BLK_T_GET_ID, 0, data, 19, false), VIRTIO_BLK_S_IOERR, 0);
    expect(request(VIRTIO_BLK_T_GET_ID, 0, 0, 0, false), VIRTIO_BLK_S_IOERR, 1);
}
END_TEST

/* --- framing: §2.7.4, the device assumes nothing ---------------------------------------------- */

static uint32_t send(const struct vkit_buf *buf, unsigned count, bool indirect)
{
    uint32_t len, head;
    if (!indirect) {
        ck_assert(vkit_request(&kit, 0, buf, count, &len));
        return len;
    }
    ck_assert_int_ge(vkit_add_indirect(&kit, 0, buf, count, count > 1), 0);
    vkit_kick(&kit, 0);
    ck_assert(vkit_wait_used(&kit, 0, 1));
    ck_assert(vkit_used(&kit, 0, &head, &len));
    return len;
}

START_TEST(test_header_in_pieces)
{
    gpa_t header = put_header(VIRTIO_BLK_T_IN, 3), data = vkit_alloc(&kit, 512, 1);
    gpa_t status = put_status();
    struct vkit_buf buf[] = {{header, 3, false},     {header + 3, 0, false},
                             {header + 3, 7, false}, {header + 10, 6, false},
                             {data, 512, true},      {status, 1, true}};
    ck_assert_uint_eq(send(buf, ARRAY_SIZE(buf), _i != 0), 513);
    ck_assert_uint_eq(get_status(status), VIRTIO_BLK_S_OK);
    ck_assert_mem_eq(vkit_at(&kit, data, 512), shadow + 1536, 512);
}
END_TEST

START_TEST(test_status_with_data)
{
    gpa_t header = put_header(VIRTIO_BLK_T_IN, 0), data = vkit_alloc(&kit, 1025, 1);
    uint8_t *p = vkit_at(&kit, data, 1025);
    p[1024] = STATUS_UNTOUCHED;
    struct vkit_buf buf[] = {{header, 16, false}, {data, 1025, true}};
    ck_assert_uint_eq(send(buf, ARRAY_SIZE(buf), _i != 0), 1025);
    ck_assert_uint_eq(p[1024], VIRTIO_BLK_S_OK);
    ck_assert_mem_eq(p, shadow, 1024);
}
END_TEST

START_TEST(test_header_with_data)
{
    gpa_t header = vkit_alloc(&kit, 16 + 1024, 8), status = put_status();
    struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_OUT, .sector = 7};
    uint8_t *p = vkit_at(&kit, header, 16 + 1024);
    memcpy(p, &h, 16);
    memset(p + 16, 0x77, 1024);
    memset(shadow + 3584, 0x77, 1024);
    struct vkit_buf buf[] = {
        {header, 16 + 100, false}, {header + 116, 924, false}, {status, 1, true}};
    ck_assert_uint_eq(send(buf, ARRAY_SIZE(buf), _i != 0), 1);
    ck_assert_uint_eq(get_status(status), VIRTIO_BLK_S_OK);
    expect_disk(0, DISK_SIZE);
}
END_TEST

/* As many pieces as a chain can have. */
START_TEST(test_many_pieces)
{
    enum { PIECES = 254 };
    struct vkit_buf buf[PIECES + 2];
    gpa_t data = vkit_alloc(&kit, SECTOR * PIECES, 512), status = put_status();
    buf[0] = (struct vkit_buf){put_header(VIRTIO_BLK_T_IN, 100), 16, false};
    for (unsigned i = 0; i < PIECES; i++)
        buf[1 + i] = (struct vkit_buf){data + SECTOR * i, 512, true};
    buf[PIECES + 1] = (struct vkit_buf){status, 1, true};
    if (_i >= 2)
        use_probe(); /* not in one step */
    ck_assert_uint_eq(send(buf, PIECES + 2, _i % 2 != 0), SECTOR * PIECES + 1);
    ck_assert_uint_eq(get_status(status), VIRTIO_BLK_S_OK);
    ck_assert_mem_eq(vkit_at(&kit, data, SECTOR * PIECES), shadow + 51200, SECTOR * PIECES);
}
END_TEST

static void expect_failure(const struct vkit_buf *buf, unsigned count)
{
    ck_assert_int_ge(vkit_add(&kit, 0, buf, count), 0);
    vkit_kick(&kit, 0);
    vkit_run(&kit);
    ck_assert(vkit_needs_reset(&kit));
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 0);
    ck_assert_uint_eq(atomic_load(&kit.config_interrupts), 1);
    ck_assert(vkit_reset(&kit));
    vkit_alloc_reset(&kit);
    ck_assert(vkit_start(&kit, ALL_FEATURES));
    expect(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, true), VIRTIO_BLK_S_OK, 1);
}

START_TEST(test_short_header)
{
    struct vkit_buf buf[] = {{put_header(0, 0), 15, false}, {put_status(), 1, true}};
    expect_failure(buf, 2);
}
END_TEST

START_TEST(test_no_header)
{
    struct vkit_buf buf[] = {{put_status(), 1, true}};
    expect_failure(buf, 1);
}
END_TEST

START_TEST(test_no_status)
{
    struct vkit_buf buf[] = {{put_header(0, 0), 16, false}};
    expect_failure(buf, 1);
}
END_TEST

START_TEST(test_broken_ring)
{
    vkit_avail_push(&kit, 0, 999);
    vkit_kick(&kit, 0);
    vkit_run(&kit);
    ck_assert(vkit_needs_reset(&kit));
}
END_TEST

/* --- discard, write zeroes -------------------------------------------------------------------- */

START_TEST(test_write_zeroes)
{
    memset(shadow + 5 * SECTOR, 0, 3000 * SECTOR);
    expect(range_request(VIRTIO_BLK_T_WRITE_ZEROES, 5, 3000, _i != 0), VIRTIO_BLK_S_OK, 1);
    expect_disk(0, DISK_SIZE);
    expect(range_request(VIRTIO_BLK_T_WRITE_ZEROES, 5, 0, 0), VIRTIO_BLK_S_OK, 1);
    struct virtio_blk_metrics m;
    virtio_blk_get_metrics(&blk, &m);
    ck_assert_uint_eq(m.write_zeroes, 2);
}
END_TEST

START_TEST(test_discard)
{
    expect(range_request(VIRTIO_BLK_T_DISCARD, 1024, 512, 0), VIRTIO_BLK_S_OK, 1);
    expect_disk(0, 1024 * SECTOR);
    expect_disk(1536 * SECTOR, DISK_SIZE - 1536 * SECTOR);
}
END_TEST

START_TEST(test_bad_ranges)
{
    static const uint32_t type[] = {VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES};
    for (unsigned i = 0; i < 2; i++) {
        uint32_t t = type[i];
        expect(range_request(t, DISK_SECTORS - 1, 2, 0), VIRTIO_BLK_S_IOERR, 1);
        expect(range_request(t, UINT64_MAX, 2, 0), VIRTIO_BLK_S_IOERR, 1);
        expect(range_request(t, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR, 1);
        expect(range_request(t, 0, 1, 2), VIRTIO_BLK_S_UNSUPP, 1);
        gpa_t data = vkit_alloc(&kit, 64, 8);
        static const uint32_t len[] = {0, 8, 15, 17, 32};
        for (unsigned k = 0; k < ARRAY_SIZE(len); k++)
            expect(request(t, 0, data, len[k], true), VIRTIO_BLK_S_IOERR, 1);
        expect(request(t, 0, data, 16, false), VIRTIO_BLK_S_IOERR, 0);
    }
    expect(range_request(VIRTIO_BLK_T_DISCARD, 0, 1, 1), VIRTIO_BLK_S_UNSUPP, 1);
    expect_disk(0, DISK_SIZE);
}
END_TEST

/* --- features --------------------------------------------------------------------------------- */

START_TEST(test_features_not_taken)
{
    ck_assert(vkit_reset(&kit));
    vkit_alloc_reset(&kit);
    ck_assert(vkit_start(&kit, FEATURE(VIRTIO_F_VERSION_1)));
    expect(range_request(VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_UNSUPP, 1);
    expect(range_request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_UNSUPP, 1);
    /* Without FLUSH a write is stable when it completes. */
    use_probe();
    gpa_t data = vkit_alloc(&kit, 512, 512);
    memset(shadow, 0, 512);
    expect(request(VIRTIO_BLK_T_OUT, 0, data, 512, true), VIRTIO_BLK_S_OK, 1);
    ck_assert_int_eq(atomic_load(&probe.flushes), 1);
    expect_disk(0, DISK_SIZE);
}
END_TEST

START_TEST(test_write_back)
{
    use_probe();
    gpa_t data = vkit_alloc(&kit, 512, 512);
    expect(request(VIRTIO_BLK_T_OUT, 0, data, 512, true), VIRTIO_BLK_S_OK, 1);
    ck_assert_int_eq(atomic_load(&probe.flushes), 0);
    expect(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, true), VIRTIO_BLK_S_OK, 1);
    ck_assert_int_eq(atomic_load(&probe.flushes), 1);
}
END_TEST

START_TEST(test_config)
{
    struct virtio_blk_config c;
    memset(&c, 0xff, sizeof(c));
    virtio_device_config_read(&blk.dev, 0, &c, sizeof(c));
    ck_assert_uint_eq(c.capacity, DISK_SECTORS);
    ck_assert_uint_eq(c.seg_max, 254);
    ck_assert_uint_eq(c.blk_size, 512);
    ck_assert_uint_eq(c.physical_block_exp, 3);
    ck_assert_uint_eq(c.num_queues, 1);
    ck_assert_uint_gt(c.max_discard_sectors, 0);
    ck_assert_uint_eq(c.max_discard_seg, 1);
    ck_assert_uint_gt(c.max_write_zeroes_sectors, 0);
    ck_assert_uint_eq(c.max_write_zeroes_seg, 1);
    ck_assert_uint_eq(c.write_zeroes_may_unmap, 1);
    ck_assert(!virtio_device_has(&blk.dev, VIRTIO_BLK_F_RO));
    ck_assert_uint_eq(blk.dev.features & FEATURE(VIRTIO_BLK_F_MQ), 0);
}
END_TEST

START_TEST(test_resize)
{
    ck_assert_int_eq(virtio_blk_set_capacity(&blk, 0), -EINVAL);
    ck_assert_int_eq(virtio_blk_set_capacity(&blk, 1000), -EINVAL);
    ck_assert_int_eq(truncate(disk_path, (off_t)DISK_SIZE * 2), 0);
    gpa_t data = vkit_alloc(&kit, 512, 512);
    expect(request(VIRTIO_BLK_T_IN, DISK_SECTORS, data, 512, false), VIRTIO_BLK_S_IOERR, 0);
    uint8_t generation = blk.dev.config_generation;
    ck_assert_int_eq(virtio_blk_set_capacity(&blk, DISK_SIZE * 2), 0);
    ck_assert_uint_eq(atomic_load(&kit.config_interrupts), 1);
    ck_assert_uint_ne(blk.dev.config_generation, generation);
    uint64_t capacity;
    virtio_device_config_read(&blk.dev, 0, &capacity, sizeof(capacity));
    ck_assert_uint_eq(capacity, DISK_SECTORS * 2);
    expect(request(VIRTIO_BLK_T_IN, DISK_SECTORS, data, 512, false), VIRTIO_BLK_S_OK, 513);
}
END_TEST

START_TEST(test_bad_options)
{
    struct virtio_blk other;
    struct virtio_blk_options o = {.name = "disk1", .image = &img, .engine = engine};
    o.serial = "more than twenty bytes";
    ck_assert_int_eq(virtio_blk_init(&other, &o, &kit.mem, &kit.loop, NULL), -EINVAL);
    o.serial = NULL;
    o.logical_block_size = 1000;
    ck_assert_int_eq(virtio_blk_init(&other, &o, &kit.mem, &kit.loop, NULL), -EINVAL);
    o.logical_block_size = 4096;
    o.physical_block_size = 512;
    ck_assert_int_eq(virtio_blk_init(&other, &o, &kit.mem, &kit.loop, NULL), -EINVAL);
    o.physical_block_size = 0;
    o.num_queues = VIRTIO_BLK_QUEUE_MAX + 1;
    ck_assert_int_eq(virtio_blk_init(&other, &o, &kit.mem, &kit.loop, NULL), -EINVAL);
    o.num_queues = 1;
    ck_assert_int_eq(virtio_blk_init(&other, &o, &kit.mem, &kit.loop, NULL), 0);
    uint32_t blk_size;
    virtio_device_config_read(&other.dev, offsetof(struct virtio_blk_config, blk_size), &blk_size,
                              4);
    ck_assert_uint_eq(blk_size, 4096);
    virtio_blk_done(&other);
}
END_TEST

/* --- other devices ---------------------------------------------------------------------------- */

static void setup_readonly(void)
{
    make_device(true, 1);
    ck_assert(vkit_start(&kit, VKIT_FEATURES | FEATURE(VIRTIO_BLK_F_FLUSH)));
}

START_TEST(test_readonly)
{
    ck_assert_uint_ne(blk.dev.features & FEATURE(VIRTIO_BLK_F_RO), 0);
    ck_assert_uint_eq(blk.dev.features & FEATURE(VIRTIO_BLK_F_DISCARD), 0);
    ck_assert_uint_eq(blk.dev.features & FEATURE(VIRTIO_BLK_F_WRITE_ZEROES), 0);
    gpa_t data = vkit_alloc(&kit, 512, 512);
    expect(request(VIRTIO_BLK_T_OUT, 0, data, 512, true), VIRTIO_BLK_S_IOERR, 1);
    expect(range_request(VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_IOERR, 1);
    expect(range_request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_IOERR, 1);
    expect(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, true), VIRTIO_BLK_S_OK, 1);
    expect(request(VIRTIO_BLK_T_IN, 0, data, 512, false), VIRTIO_BLK_S_OK, 513);
    expect_disk(0, DISK_SIZE);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("blk");
    TCase *t = add_case(s, "blk", setup);
    tcase_add_test(t, test_read);
    tcase_add_test(t, test_write);
    tcase_add_test(t, test_end_of_disk);
    tcase_add_test(t, test_odd_lengths);
    tcase_add_test(t, test_wrong_direction);
    tcase_add_test(t, test_unsupported);
    tcase_add_test(t, test_get_id);
    tcase_add_loop_test(t, test_header_in_pieces, 0, 2);
    tcase_add_loop_test(t, test_status_with_data, 0, 2);
    tcase_add_loop_test(t, test_header_with_data, 0, 2);
    tcase_add_loop_test(t, test_many_pieces, 0, 4);
    tcase_add_test(t, test_short_header);
    tcase_add_test(t, test_no_header);
    tcase_add_test(t, test_no_status);
    tcase_add_test(t, test_broken_ring);
    tcase_add_loop_test(t, test_write_zeroes, 0, 2);
    tcase_add_test(t, test_discard);
    tcase_add_test(t, test_bad_ranges);
    tcase_add_test(t, test_features_not_taken);
    tcase_add_test(t, test_write_back);
    tcase_add_test(t, test_config);
    tcase_add_test(t, test_resize);
    tcase_add_test(t, test_bad_options);
    tcase_add_test(add_case(s, "readonly", setup_readonly), test_readonly);
    add_flight_tests(s);
    add_policy_tests(s);
    return run_suite(s);
}

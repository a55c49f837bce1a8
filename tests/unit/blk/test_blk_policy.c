// SPDX-License-Identifier: Apache-2.0
/* virtio-blk's options: what becomes of errors, cache modes, limits, block sizes. */
#include "blkkit.h"
#include <podvisor/clock.h>
#include <string.h>

/* --- error policy ----------------------------------------------------------------------------- */

static struct {
    unsigned halted, recovered;
    int error;
} told;

static void on_halted(void *ctx, struct virtio_blk *disk, int error)
{
    ck_assert_ptr_eq(ctx, &told);
    ck_assert_ptr_eq(disk, &blk);
    told.halted++;
    told.error = error;
}

static void on_recovered(void *ctx, struct virtio_blk *disk)
{
    ck_assert_ptr_eq(ctx, &told);
    ck_assert_ptr_eq(disk, &blk);
    told.recovered++;
}

static const struct virtio_blk_ops ops = {.halted = on_halted, .recovered = on_recovered};

static void start_with(enum virtio_blk_error_policy policy)
{
    disk_options.error_policy = policy;
    disk_options.ops = &ops;
    disk_options.ctx = &told;
    memset(&told, 0, sizeof(told));
    setup();
    use_probe();
}

static void setup_stop(void)
{
    start_with(VIRTIO_BLK_ERROR_STOP);
}

static void setup_enospace(void)
{
    start_with(VIRTIO_BLK_ERROR_ENOSPACE);
}

static void setup_ignore(void)
{
    start_with(VIRTIO_BLK_ERROR_IGNORE);
}

static gpa_t data;

/* Makes a write available and kicks; its status byte. */
static gpa_t start_write(uint64_t sector, uint8_t byte)
{
    data = vkit_alloc(&kit, 4096, 4096);
    memset(vkit_at(&kit, data, 4096), byte, 4096);
    gpa_t status = put_status();
    struct vkit_buf buf[] = {
        {put_header(VIRTIO_BLK_T_OUT, sector), 16, false}, {data, 4096, false}, {status, 1, true}};
    ck_assert_int_ge(vkit_add(&kit, 0, buf, 3), 0);
    vkit_kick(&kit, 0);
    return status;
}

static bool is_halted(void *arg)
{
    (void)arg;
    return told.halted > 0;
}

static bool has_recovered(void *arg)
{
    (void)arg;
    return told.recovered > 0;
}

static bool halted_again(void *arg)
{
    return told.halted > *(unsigned *)arg;
}

static gpa_t fail_write(uint64_t sector, uint8_t byte)
{
    atomic_store(&probe.fail, true);
    gpa_t status = start_write(sector, byte);
    ck_assert(vkit_wait(&kit, is_halted, NULL));
    return status;
}

START_TEST(test_stop_and_go_on)
{
    gpa_t first = fail_write(0, 0x11);
    ck_assert_int_eq(told.error, ENOSPC);
    gpa_t second = start_write(8, 0x22); /* waits behind it */
    vkit_run(&kit);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 0);
    ck_assert_uint_eq(get_status(first), STATUS_UNTOUCHED);
    ck_assert_uint_eq(told.halted, 1);

    unsigned before = told.halted; /* nothing has changed */
    virtio_blk_retry(&blk);
    ck_assert(vkit_wait(&kit, halted_again, &before));
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 0);
    ck_assert_uint_eq(told.recovered, 0);

    atomic_store(&probe.fail, false);
    virtio_blk_retry(&blk);
    ck_assert(vkit_wait(&kit, has_recovered, NULL));
    ck_assert(vkit_wait_used(&kit, 0, 2));
    ck_assert_uint_eq(get_status(first), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(get_status(second), VIRTIO_BLK_S_OK);
    memset(shadow, 0x11, 4096);
    memset(shadow + 4096, 0x22, 4096);
    expect_disk(0, 8192);
    struct virtio_blk_metrics m;
    virtio_blk_get_metrics(&blk, &m);
    ck_assert_uint_eq(m.errors, 2);
    ck_assert_uint_eq(m.writes, 2);
}
END_TEST

START_TEST(test_stop_of_many)
{
    enum { MANY = 40 };
    gpa_t status[MANY];
    gpa_t mark = kit.alloc_next;
    atomic_store(&probe.fail, true);
    for (unsigned i = 0; i < MANY; i++)
        status[i] = start_write(UINT64_C(8) * i, (uint8_t)i);
    ck_assert(vkit_wait(&kit, is_halted, NULL));
    atomic_store(&probe.fail, false);
    virtio_blk_retry(&blk);
    ck_assert(vkit_wait_used(&kit, 0, MANY));
    ck_assert(vkit_wait(&kit, has_recovered, NULL));
    for (unsigned i = 0; i < MANY; i++) {
        ck_assert_uint_eq(get_status(status[i]), VIRTIO_BLK_S_OK);
        memset(shadow + UINT64_C(4096) * i, (int)i, 4096);
    }
    expect_disk(0, UINT64_C(4096) * MANY);
    kit.alloc_next = mark;
}
END_TEST

START_TEST(test_reset_while_stopped)
{
    fail_write(0, 0x33);
    atomic_store(&probe.fail, false);
    ck_assert(vkit_reset(&kit));
    ck_assert_uint_eq(told.recovered, 1);
    ck_assert_uint_eq(blk.free_count, blk.slot_count);
    virtio_blk_retry(&blk); /* late: nothing waits */
    vkit_run(&kit);
    vkit_alloc_reset(&kit);
    ck_assert(vkit_start(&kit, ALL_FEATURES));
    expect_disk(0, 4096); /* the write never happened */
    gpa_t buf = vkit_alloc(&kit, 4096, 512);
    expect(request(VIRTIO_BLK_T_IN, 0, buf, 4096, false), VIRTIO_BLK_S_OK, 4097);
}
END_TEST

START_TEST(test_end_while_stopped)
{
    fail_write(0, 0x33);
    virtio_blk_end(&blk);
    start_write(8, 0x44); /* not taken any more */
    vkit_run(&kit);
    ck_assert_uint_eq(engine->in_flight, 0);
    virtio_blk_done(&blk);
    /* For the tear-down. */
    struct virtio_blk_options o = {.name = "disk0", .image = &img, .engine = engine};
    ck_assert_int_eq(virtio_blk_init(&blk, &o, &kit.mem, &kit.loop, NULL), 0);
    vkit_attach(&kit, &blk.dev);
}
END_TEST

START_TEST(test_retry_without_need)
{
    virtio_blk_retry(&blk);
    ck_assert(vkit_wait(&kit, has_recovered, NULL));
    ck_assert_uint_eq(told.halted, 0);
}
END_TEST

/* What the page cache lost comes back by no retry. */
START_TEST(test_lost_writes)
{
    atomic_store(&probe.fail, true);
    atomic_store(&blk.image->flush_error, -ENOSPC);
    expect(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, true), VIRTIO_BLK_S_IOERR, 1);
    ck_assert_uint_eq(told.halted, 0);
}
END_TEST

/* The probe fails writes with ENOSPC, all else with EIO. */
START_TEST(test_enospace)
{
    gpa_t buf = vkit_alloc(&kit, 4096, 512);
    atomic_store(&probe.fail, true);
    expect(request(VIRTIO_BLK_T_IN, 0, buf, 4096, false), VIRTIO_BLK_S_IOERR, 0);
    expect(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, true), VIRTIO_BLK_S_IOERR, 1);
    ck_assert_uint_eq(told.halted, 0);
    gpa_t status = fail_write(0, 0x55);
    ck_assert_int_eq(told.error, ENOSPC);
    atomic_store(&probe.fail, false);
    virtio_blk_retry(&blk);
    ck_assert(vkit_wait_used(&kit, 0, 1));
    ck_assert_uint_eq(get_status(status), VIRTIO_BLK_S_OK);
}
END_TEST

START_TEST(test_ignore)
{
    gpa_t buf = vkit_alloc(&kit, 4096, 512);
    memset(vkit_at(&kit, buf, 4096), 0xcc, 4096);
    atomic_store(&probe.fail, true);
    expect(request(VIRTIO_BLK_T_OUT, 0, buf, 4096, true), VIRTIO_BLK_S_OK, 1);
    expect(request(VIRTIO_BLK_T_IN, 0, buf, 4096, false), VIRTIO_BLK_S_OK, 4097);
    const uint8_t *bytes = vkit_at(&kit, buf, 4096);
    for (unsigned i = 0; i < 4096; i++)
        ck_assert_uint_eq(bytes[i], 0);
    expect_disk(0, 4096);
    struct virtio_blk_metrics m;
    virtio_blk_get_metrics(&blk, &m);
    ck_assert_uint_eq(m.errors, 2);
}
END_TEST

/* Halt, retry and reset with the loop on a thread of its own, for ThreadSanitizer. */
START_TEST(test_stop_threaded)
{
    atomic_store(&probe.fail, true);
    vkit_thread_start(&kit);
    gpa_t status = start_write(0, 0x66);
    for (unsigned i = 0; i < 100; i++)
        virtio_blk_retry(&blk);
    atomic_store(&probe.fail, false);
    virtio_blk_retry(&blk);
    ck_assert(vkit_wait_used(&kit, 0, 1));
    ck_assert_uint_eq(get_status(status), VIRTIO_BLK_S_OK);
    vkit_thread_stop(&kit);
}
END_TEST

/* --- cache modes ------------------------------------------------------------------------------ */

#define WCE_OFFSET offsetof(struct virtio_blk_config, wce)

static void setup_writethrough(void)
{
    disk_options.writethrough = true;
    make_device(false, 1);
    ck_assert(vkit_start(&kit, ALL_FEATURES & ~FEATURE(VIRTIO_BLK_F_FLUSH)));
    use_probe();
}

START_TEST(test_writethrough)
{
    uint64_t cache = FEATURE(VIRTIO_BLK_F_FLUSH) | FEATURE(VIRTIO_BLK_F_CONFIG_WCE);
    ck_assert_uint_eq(blk.dev.features & cache, 0);
    ck_assert_uint_eq(blk.dev.config[WCE_OFFSET], 0);
    gpa_t buf = vkit_alloc(&kit, 4096, 512);
    expect(request(VIRTIO_BLK_T_OUT, 0, buf, 4096, true), VIRTIO_BLK_S_OK, 1);
    ck_assert_int_eq(atomic_load(&probe.flushes), 1);
    expect(range_request(VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0), VIRTIO_BLK_S_OK, 1);
    ck_assert_int_eq(atomic_load(&probe.flushes), 2);
}
END_TEST

static void setup_cache(void)
{
    make_device(false, 1);
    ck_assert(vkit_start(&kit, ALL_FEATURES | FEATURE(VIRTIO_BLK_F_CONFIG_WCE)));
    use_probe();
}

static void set_cache(uint8_t writeback)
{
    virtio_device_config_write(&blk.dev, WCE_OFFSET, &writeback, 1);
}

START_TEST(test_cache_chosen_by_driver)
{
    ck_assert_uint_eq(blk.dev.config[WCE_OFFSET], 1);
    gpa_t buf = vkit_alloc(&kit, 4096, 512);
    expect(request(VIRTIO_BLK_T_OUT, 0, buf, 4096, true), VIRTIO_BLK_S_OK, 1);
    ck_assert_int_eq(atomic_load(&probe.flushes), 0);
    set_cache(0);
    ck_assert_uint_eq(blk.dev.config[WCE_OFFSET], 0);
    expect(request(VIRTIO_BLK_T_OUT, 0, buf, 4096, true), VIRTIO_BLK_S_OK, 1);
    ck_assert_int_eq(atomic_load(&probe.flushes), 1);
    set_cache(2); /* no mode */
    ck_assert_uint_eq(blk.dev.config[WCE_OFFSET], 0);
    set_cache(1);
    expect(request(VIRTIO_BLK_T_OUT, 0, buf, 4096, true), VIRTIO_BLK_S_OK, 1);
    ck_assert_int_eq(atomic_load(&probe.flushes), 1);
}
END_TEST

START_TEST(test_cache_without_the_feature)
{
    set_cache(0);
    ck_assert_uint_eq(blk.dev.config[WCE_OFFSET], 1);
    uint64_t capacity = 0; /* as little as any other byte */
    virtio_device_config_write(&blk.dev, 0, &capacity, sizeof(capacity));
    ck_assert_uint_ne(blk.dev.config[1], 0);
}
END_TEST

/* --- limits ----------------------------------------------------------------------------------- */

static uint64_t now = NSEC_PER_SEC;

static uint64_t test_clock(void)
{
    return now;
}

static void add_reads_to(unsigned queue, unsigned count, uint32_t len)
{
    for (unsigned i = 0; i < count; i++) {
        struct vkit_buf buf[] = {{put_header(VIRTIO_BLK_T_IN, 0), 16, false},
                                 {vkit_alloc(&kit, len, 4096), len, true},
                                 {put_status(), 1, true}};
        ck_assert_int_ge(vkit_add(&kit, queue, buf, 3), 0);
    }
    vkit_kick(&kit, queue);
    vkit_run(&kit);
}

static void add_reads(unsigned count, uint32_t len)
{
    add_reads_to(0, count, len);
}

static void pass_ms(unsigned ms)
{
    now += ms * NSEC_PER_MSEC;
    vkit_run(&kit);
    vkit_run(&kit); /* the timer, then the kick that it makes */
}

static void start_limited_queues(struct virtio_blk_limits limits, unsigned queues)
{
    disk_options.limits = limits;
    make_device(false, queues);
    kit.loop.now_ns = test_clock;
    /* Built with the loop's own clock: begin again with the test's. */
    limit_init(&blk.iops, limits.iops, limits.iops_burst, now);
    limit_init(&blk.bps, limits.bps, limits.bps_burst, now);
    ck_assert(vkit_start(&kit, ALL_FEATURES | (queues > 1 ? FEATURE(VIRTIO_BLK_F_MQ) : 0)));
}

static void start_limited(struct virtio_blk_limits limits)
{
    start_limited_queues(limits, 1);
}

START_TEST(test_request_limit)
{
    start_limited((struct virtio_blk_limits){.iops = 100, .iops_burst = 5});
    add_reads(20, 512);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 5);
    pass_ms(9);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 5);
    pass_ms(1);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 6);
    for (unsigned i = 0; i < 4; i++)
        pass_ms(10);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 10);
    pass_ms(1000); /* no more than the burst is saved up */
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 15);
    struct virtio_blk_metrics m;
    virtio_blk_get_metrics(&blk, &m);
    ck_assert_uint_gt(m.throttled, 5);
    teardown();
}
END_TEST

START_TEST(test_byte_limit)
{
    start_limited((struct virtio_blk_limits){.bps = 1 << 20, .bps_burst = 65536});
    add_reads(4, 131072);
    /* The first takes the burst and as much again, which is paid for in 62.5 ms. */
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 1);
    pass_ms(62);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 1);
    pass_ms(1);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 2);
    teardown();
}
END_TEST

/* A queue that always has more does not take the other's turn. */
START_TEST(test_limit_of_two_queues)
{
    start_limited_queues((struct virtio_blk_limits){.iops = 100, .iops_burst = 1}, 2);
    add_reads_to(0, 12, 512);
    add_reads_to(1, 12, 512);
    for (unsigned i = 0; i < 10; i++)
        pass_ms(10);
    unsigned first = vkit_used_count(&kit, 0), second = vkit_used_count(&kit, 1);
    ck_assert_uint_eq(first + second, 11);
    ck_assert_uint_ge(first, 5);
    ck_assert_uint_ge(second, 5);
    teardown();
}
END_TEST

/* Zeroes may have to be written as data, so they count as that. */
START_TEST(test_byte_limit_of_zeroes)
{
    start_limited((struct virtio_blk_limits){.bps = 1 << 20, .bps_burst = 65536});
    (void)range_request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 2048, 0);
    add_reads(1, 512);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 0);
    pass_ms(930);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 0);
    pass_ms(10);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 1);
    teardown();
}
END_TEST

START_TEST(test_reset_while_limited)
{
    start_limited((struct virtio_blk_limits){.iops = 10, .iops_burst = 1});
    add_reads(3, 512);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 1);
    ck_assert(vkit_reset(&kit));
    ck_assert_int_lt(blk.throttle.heap_index, 0);
    pass_ms(100);
    vkit_alloc_reset(&kit);
    ck_assert(vkit_start(&kit, ALL_FEATURES));
    add_reads(1, 512);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 1);
    teardown();
}
END_TEST

/* --- block sizes ------------------------------------------------------------------------------ */

START_TEST(test_block_sizes)
{
    disk_options.logical_block_size = 4096;
    disk_options.physical_block_size = 65536;
    disk_options.discard_granularity = 32768;
    make_device(false, 1);
    struct virtio_blk_config config;
    virtio_device_config_read(&blk.dev, 0, &config, offsetof(struct virtio_blk_config, unused1));
    ck_assert_uint_eq(config.blk_size, 4096);
    ck_assert_uint_eq(config.physical_block_exp, 4);
    ck_assert_uint_eq(config.min_io_size, 16);
    ck_assert_uint_eq(config.discard_sector_alignment, 64);
    teardown();
}
END_TEST

START_TEST(test_impossible_block_sizes)
{
    make_device(false, 1);
    static const struct {
        uint32_t logical, physical, discard;
    } bad[] = {{256, 512, 0},     {512, 256, 0},     {4096, 512, 0},       {1000, 4096, 0},
               {4096, 4096, 512}, {512, 4 << 20, 0}, {4 << 20, 4 << 20, 0}};
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct virtio_blk other;
        struct virtio_blk_options o = {.name = "other",
                                       .image = &img,
                                       .engine = engine,
                                       .logical_block_size = bad[i].logical,
                                       .physical_block_size = bad[i].physical,
                                       .discard_granularity = bad[i].discard};
        ck_assert_int_eq(virtio_blk_init(&other, &o, &kit.mem, &kit.loop, NULL), -EINVAL);
    }
    ck_assert(vkit_start(&kit, ALL_FEATURES));
    teardown();
}
END_TEST

void add_policy_tests(Suite *s)
{
    TCase *t = add_case(s, "stop", setup_stop);
    tcase_add_test(t, test_stop_and_go_on);
    tcase_add_test(t, test_stop_of_many);
    tcase_add_test(t, test_reset_while_stopped);
    tcase_add_test(t, test_end_while_stopped);
    tcase_add_test(t, test_retry_without_need);
    tcase_add_test(t, test_lost_writes);
    tcase_add_test(t, test_stop_threaded);
    tcase_add_test(add_case(s, "enospace", setup_enospace), test_enospace);
    tcase_add_test(add_case(s, "ignore", setup_ignore), test_ignore);
    tcase_add_test(add_case(s, "writethrough", setup_writethrough), test_writethrough);
    tcase_add_test(add_case(s, "cache", setup_cache), test_cache_chosen_by_driver);
    tcase_add_test(add_case(s, "cache-default", setup), test_cache_without_the_feature);
    t = tcase_create("options");
    tcase_add_test(t, test_request_limit);
    tcase_add_test(t, test_byte_limit);
    tcase_add_test(t, test_limit_of_two_queues);
    tcase_add_test(t, test_byte_limit_of_zeroes);
    tcase_add_test(t, test_reset_while_limited);
    tcase_add_test(t, test_block_sizes);
    tcase_add_test(t, test_impossible_block_sizes);
    suite_add_tcase(s, t);
}

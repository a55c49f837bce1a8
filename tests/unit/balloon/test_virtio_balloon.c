// SPDX-License-Identifier: Apache-2.0
/* virtio-balloon in a box; what would be given back to the host is written down. */
#include "balloon.h"
#include "run_suite.h"
#include "vkit.h"
#include <check.h>
#include <linux/virtio_balloon.h>
#include <podvisor/cleanup.h>
#include <string.h>

#define FEATURE(bit) (UINT64_C(1) << (bit))
#define PAGE         ((uint64_t)VIRTIO_BALLOON_PAGE_SIZE)
enum { INFLATE, DEFLATE, STATS, REPORTING };

static struct vkit kit;
static struct virtio_balloon balloon;
static struct {
    uint8_t *hva;
    uint64_t len;
} released[8192];
static unsigned released_count;
static int release_result;

static int release(void *ctx, void *hva, uint64_t len)
{
    ck_assert_ptr_eq(ctx, released);
    ck_assert_uint_lt(released_count, ARRAY_SIZE(released));
    released[released_count].hva = hva;
    released[released_count++].len = len;
    return release_result;
}

static void make(bool reporting, uint64_t features)
{
    released_count = 0;
    release_result = 0;
    vkit_init(&kit);
    struct virtio_balloon_options options = {.name = "balloon",
                                             .deflate_on_oom = true,
                                             .page_reporting = reporting,
                                             .release = release,
                                             .ctx = released};
    ck_assert_int_eq(virtio_balloon_init(&balloon, &options, &kit.mem, &kit.loop, NULL), 0);
    vkit_attach(&kit, &balloon.dev);
    ck_assert(vkit_start(&kit, VKIT_FEATURES | features));
}

static void setup(void)
{
    make(true, FEATURE(VIRTIO_BALLOON_F_STATS_VQ) | FEATURE(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) |
                   FEATURE(VIRTIO_BALLOON_F_REPORTING));
}

static void teardown(void)
{
    ck_assert(vkit_reset(&kit));
    virtio_balloon_done(&balloon);
    vkit_done(&kit);
}

static void send_pages(unsigned queue, const uint32_t *pfn, unsigned count)
{
    gpa_t gpa = vkit_alloc(&kit, count * sizeof(*pfn), 4);
    memcpy(vkit_at(&kit, gpa, count * sizeof(*pfn)), pfn, count * sizeof(*pfn));
    struct vkit_buf buf = {gpa, count * (uint32_t)sizeof(*pfn), false};
    uint32_t len;
    ck_assert(vkit_request(&kit, queue, &buf, 1, &len));
    ck_assert_uint_eq(len, 0);
}

static void expect_released(unsigned index, gpa_t gpa, uint64_t len)
{
    ck_assert_uint_lt(index, released_count);
    ck_assert_ptr_eq(released[index].hva, vkit_at(&kit, gpa, len));
    ck_assert_uint_eq(released[index].len, len);
}

START_TEST(test_inflate)
{
    static const uint32_t up[] = {100, 101, 102}, down[] = {202, 201, 200};
    send_pages(INFLATE, up, 3);
    send_pages(INFLATE, down, 3);
    ck_assert_uint_eq(released_count, 2);
    expect_released(0, 100 * PAGE, 3 * PAGE);
    expect_released(1, 200 * PAGE, 3 * PAGE);
    ck_assert_uint_eq(atomic_load(&balloon.counters.inflated_pages), 6);
}
END_TEST

START_TEST(test_runs)
{
    static const uint32_t pfn[] = {10, 12, 13, 13, 15, 14, 11};
    send_pages(INFLATE, pfn, 7);
    ck_assert_uint_eq(released_count, 5);
    expect_released(0, 10 * PAGE, PAGE);
    expect_released(1, 12 * PAGE, 2 * PAGE);
    expect_released(2, 13 * PAGE, PAGE);
    expect_released(3, 14 * PAGE, 2 * PAGE);
    expect_released(4, 11 * PAGE, PAGE);
}
END_TEST

START_TEST(test_not_ram)
{
    uint32_t last = (uint32_t)(VKIT_LOW_SIZE / PAGE) - 1;
    uint32_t high = (uint32_t)(VKIT_HIGH_BASE / PAGE);
    const uint32_t pfn[] = {last, last + 1, UINT32_MAX, high - 1, high, 0x80000000u};
    send_pages(INFLATE, pfn, 6);
    ck_assert_uint_eq(released_count, 2);
    expect_released(0, last * PAGE, PAGE);
    expect_released(1, VKIT_HIGH_BASE, PAGE);
    ck_assert_uint_eq(atomic_load(&balloon.counters.bad_pages), 4);
    ck_assert(!vkit_needs_reset(&kit));
}
END_TEST

/* Page numbers cut in the middle by descriptors, and three bytes too many. */
START_TEST(test_inflate_pieces)
{
    static const uint32_t pfn[] = {300, 301};
    gpa_t gpa = vkit_alloc(&kit, 16, 4);
    memcpy(vkit_at(&kit, gpa, 8), pfn, 8);
    struct vkit_buf buf[] = {{gpa, 3, false}, {gpa + 3, 2, false}, {gpa + 5, 6, false}};
    uint32_t len;
    ck_assert(vkit_request(&kit, INFLATE, buf, 3, &len));
    ck_assert_uint_eq(released_count, 1);
    expect_released(0, 300 * PAGE, 2 * PAGE);
}
END_TEST

START_TEST(test_too_many_pages)
{
    enum { COUNT = VIRTIO_BALLOON_PFN_MAX + 1000 };
    static uint32_t pfn[COUNT];
    for (unsigned i = 0; i < COUNT; i++)
        pfn[i] = i % 2 * 2; /* nothing to merge */
    send_pages(INFLATE, pfn, COUNT);
    ck_assert_uint_eq(released_count, VIRTIO_BALLOON_PFN_MAX);
    ck_assert_uint_eq(atomic_load(&balloon.counters.bad_pages), 1000);
}
END_TEST

/* More requests than a turn has: all are served. */
START_TEST(test_full_queue)
{
    gpa_t gpa = vkit_alloc(&kit, 4, 4);
    for (unsigned i = 0; i < VIRTIO_BALLOON_QUEUE_SIZE; i++) {
        struct vkit_buf buf = {gpa, 4, false};
        ck_assert_int_ge(vkit_add(&kit, INFLATE, &buf, 1), 0);
    }
    vkit_kick(&kit, INFLATE);
    ck_assert_int_eq(loop_run_once(&kit.loop, 0), 0);
    ck_assert_uint_lt(vkit_used_count(&kit, INFLATE), VIRTIO_BALLOON_QUEUE_SIZE);
    vkit_run(&kit);
    ck_assert_uint_eq(vkit_used_count(&kit, INFLATE), VIRTIO_BALLOON_QUEUE_SIZE);
    ck_assert_uint_eq(released_count, VIRTIO_BALLOON_QUEUE_SIZE);
}
END_TEST

START_TEST(test_deflate)
{
    static const uint32_t pfn[] = {100, 5, UINT32_MAX}; /* never inflated, not RAM: harmless */
    send_pages(DEFLATE, pfn, 3);
    ck_assert_uint_eq(released_count, 0);
    ck_assert_uint_eq(atomic_load(&balloon.counters.deflated_pages), 3);
}
END_TEST

START_TEST(test_report)
{
    gpa_t gpa = vkit_alloc(&kit, 8 * PAGE, PAGE);
    struct vkit_buf buf[] = {{gpa, (uint32_t)(2 * PAGE), true},
                             {gpa + 3 * PAGE + 1, (uint32_t)(3 * PAGE), true}, /* two whole */
                             {gpa + 7 * PAGE + 5, 100, true}};                 /* none */
    uint32_t len;
    ck_assert(vkit_request(&kit, REPORTING, buf, 3, &len));
    ck_assert_uint_eq(len, 0);
    ck_assert_uint_eq(released_count, 2);
    expect_released(0, gpa, 2 * PAGE);
    expect_released(1, gpa + 4 * PAGE, 2 * PAGE);
    ck_assert_uint_eq(atomic_load(&balloon.counters.reported_bytes), 4 * PAGE);
    release_result = -EINVAL;
    ck_assert(vkit_request(&kit, REPORTING, buf, 1, &len));
    ck_assert_uint_eq(atomic_load(&balloon.counters.reported_bytes), 4 * PAGE);
}
END_TEST

/* What is only to be read is not free memory. */
START_TEST(test_report_readable)
{
    gpa_t gpa = vkit_alloc(&kit, 2 * PAGE, PAGE);
    struct vkit_buf buf[] = {{gpa, (uint32_t)PAGE, false}, {gpa + PAGE, (uint32_t)PAGE, true}};
    uint32_t len;
    ck_assert(vkit_request(&kit, REPORTING, buf, 2, &len));
    ck_assert_uint_eq(released_count, 1);
    expect_released(0, gpa + PAGE, PAGE);
}
END_TEST

static void setup_without_stats(void)
{
    make(true, FEATURE(VIRTIO_BALLOON_F_REPORTING));
}

/* Without statistics the reporting queue is the third. */
START_TEST(test_queue_moves_up)
{
    gpa_t gpa = vkit_alloc(&kit, PAGE, PAGE);
    struct vkit_buf buf = {gpa, (uint32_t)PAGE, true};
    uint32_t len;
    ck_assert(vkit_request(&kit, 2, &buf, 1, &len));
    ck_assert_uint_eq(released_count, 1);
    ck_assert(vkit_request(&kit, 3, &buf, 1, &len));
    ck_assert_uint_eq(released_count, 1);
}
END_TEST

static void setup_without_reporting(void)
{
    make(false, FEATURE(VIRTIO_BALLOON_F_STATS_VQ));
}

START_TEST(test_reporting_not_offered)
{
    ck_assert_uint_eq(balloon.dev.features & FEATURE(VIRTIO_BALLOON_F_REPORTING), 0);
    ck_assert_uint_eq(balloon.dev.queue_count, 3);
}
END_TEST

/* --- statistics ------------------------------------------------------------------------------- */

static void send_stats(const struct virtio_balloon_stat *stat, unsigned count)
{
    uint32_t len = count * (uint32_t)sizeof(*stat);
    struct vkit_buf buf = {vkit_alloc(&kit, len, 2), len, false};
    memcpy(vkit_at(&kit, buf.gpa, len), stat, len);
    ck_assert_int_ge(vkit_add(&kit, STATS, &buf, 1), 0);
    vkit_kick(&kit, STATS);
    vkit_run(&kit);
}

START_TEST(test_stats)
{
    struct virtio_balloon_stat stat[] = {{VIRTIO_BALLOON_S_MEMFREE, 1000},
                                         {VIRTIO_BALLOON_S_MEMTOT, 5000},
                                         {0xffff, 7},
                                         {VIRTIO_BALLOON_STAT_MAX, 7}};
    ck_assert_uint_eq(atomic_load(&balloon.stat[VIRTIO_BALLOON_S_MEMFREE]), UINT64_MAX);
    send_stats(stat, 4);
    ck_assert_uint_eq(atomic_load(&balloon.stat[VIRTIO_BALLOON_S_MEMFREE]), 1000);
    ck_assert_uint_eq(atomic_load(&balloon.stat[VIRTIO_BALLOON_S_MEMTOT]), 5000);
    ck_assert_uint_eq(atomic_load(&balloon.stat[VIRTIO_BALLOON_S_CACHES]), UINT64_MAX);
    ck_assert_uint_eq(vkit_used_count(&kit, STATS), 0); /* kept until new ones are wanted */
    virtio_balloon_refresh_stats(&balloon);
    virtio_balloon_refresh_stats(&balloon);
    vkit_run(&kit);
    uint32_t head, len;
    ck_assert(vkit_used(&kit, STATS, &head, &len));
    ck_assert_uint_eq(vkit_used_count(&kit, STATS), 0);
    stat[0].val = 900;
    send_stats(stat, 1);
    ck_assert_uint_eq(atomic_load(&balloon.stat[VIRTIO_BALLOON_S_MEMFREE]), 900);
}
END_TEST

/* A second buffer while one is kept: read and given back. A huge one: its start is read. */
START_TEST(test_stats_too_much)
{
    static struct virtio_balloon_stat stat[1000];
    for (unsigned i = 0; i < ARRAY_SIZE(stat); i++)
        stat[i] = (struct virtio_balloon_stat){(uint16_t)(i % VIRTIO_BALLOON_STAT_MAX), i};
    send_stats(stat, ARRAY_SIZE(stat));
    uint64_t last = atomic_load(&balloon.stat[0]);
    ck_assert_uint_lt(last, 100);
    send_stats(stat, 1);
    ck_assert_uint_eq(atomic_load(&balloon.stat[0]), 0);
    ck_assert_uint_eq(vkit_used_count(&kit, STATS), 1);
}
END_TEST

/* A buffer that was kept does not survive a reset. */
START_TEST(test_stats_reset)
{
    struct virtio_balloon_stat stat = {VIRTIO_BALLOON_S_MEMFREE, 1};
    send_stats(&stat, 1);
    ck_assert(vkit_reset(&kit));
    virtio_balloon_refresh_stats(&balloon);
    vkit_run(&kit);
    vkit_alloc_reset(&kit);
    ck_assert(vkit_start(&kit, VKIT_FEATURES | FEATURE(VIRTIO_BALLOON_F_STATS_VQ)));
    virtio_balloon_refresh_stats(&balloon);
    vkit_run(&kit);
    ck_assert_uint_eq(vkit_used_count(&kit, STATS), 0);
    ck_assert_uint_eq(atomic_load(&balloon.stat[VIRTIO_BALLOON_S_MEMFREE]), UINT64_MAX);
}
END_TEST

/* --- configuration ---------------------------------------------------------------------------- */

START_TEST(test_target)
{
    virtio_balloon_set_target(&balloon, 256);
    ck_assert_uint_eq(atomic_load(&kit.config_interrupts), 1);
    ck_assert_uint_eq(virtio_balloon_target(&balloon), 256);
    uint32_t value;
    virtio_device_config_read(&balloon.dev, 0, &value, 4);
    ck_assert_uint_eq(value, 256);
    value = 200;
    virtio_device_config_write(&balloon.dev, 4, &value, 4);
    ck_assert_uint_eq(virtio_balloon_actual(&balloon), 200);
    virtio_device_config_write(&balloon.dev, 0, &value, 4); /* not the driver's */
    virtio_device_config_write(&balloon.dev, 2, &value, 4);
    virtio_device_config_write(&balloon.dev, 6, &value, 4);
    ck_assert_uint_eq(virtio_balloon_target(&balloon), 256);
    ck_assert_uint_eq(virtio_balloon_actual(&balloon), 200);
}
END_TEST

START_TEST(test_broken_queue)
{
    vkit_avail_push(&kit, (unsigned)_i, 999);
    vkit_kick(&kit, (unsigned)_i);
    vkit_run(&kit);
    ck_assert(vkit_needs_reset(&kit));
}
END_TEST

static TCase *add_case(Suite *s, const char *name, SFun before)
{
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, before, teardown);
    suite_add_tcase(s, t);
    return t;
}

int main(void)
{
    Suite *s = suite_create("virtio-balloon");
    TCase *t = add_case(s, "balloon", setup);
    tcase_add_test(t, test_inflate);
    tcase_add_test(t, test_runs);
    tcase_add_test(t, test_not_ram);
    tcase_add_test(t, test_inflate_pieces);
    tcase_add_test(t, test_too_many_pages);
    tcase_add_test(t, test_full_queue);
    tcase_add_test(t, test_deflate);
    tcase_add_test(t, test_report);
    tcase_add_test(t, test_report_readable);
    tcase_add_test(t, test_stats);
    tcase_add_test(t, test_stats_too_much);
    tcase_add_test(t, test_stats_reset);
    tcase_add_test(t, test_target);
    tcase_add_loop_test(t, test_broken_queue, 0, 4);
    tcase_add_test(add_case(s, "no statistics", setup_without_stats), test_queue_moves_up);
    tcase_add_test(add_case(s, "no reporting", setup_without_reporting),
                   test_reporting_not_offered);
    return run_suite(s);
}

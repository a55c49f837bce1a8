// SPDX-License-Identifier: Apache-2.0
/* Dispatch: who claims an access, what nobody claims, splitting, windows that move. */
#include "platform/bus.h"
#include "run_suite.h"
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Answers reads with a byte pattern from the offset and remembers the last access. */
struct fake {
    uint64_t offset;
    unsigned calls;
    unsigned len;
    uint8_t data[8];
};

static void fake_read(void *ctx, uint64_t offset, void *data, unsigned len)
{
    struct fake *f = ctx;
    f->calls++;
    f->offset = offset;
    f->len = len;
    for (unsigned i = 0; i < len; i++)
        ((uint8_t *)data)[i] = (uint8_t)(offset + i);
}

static void fake_write(void *ctx, uint64_t offset, const void *data, unsigned len)
{
    struct fake *f = ctx;
    f->calls++;
    f->offset = offset;
    f->len = len;
    memcpy(f->data, data, len);
}

static const struct bus_ops plain_ops = {.read = fake_read, .write = fake_write};
static const struct bus_ops byte_ops = {.read = fake_read, .write = fake_write, .width = 1};
static const struct bus_ops mute_ops = {0};

static struct bus bus;
static struct fake fake[4];

static void setup(void)
{
    bus_init(&bus, "test");
    memset(fake, 0, sizeof(fake));
    struct error err = ERROR_INIT;
    /* Not in the order of addresses: the bus sorts. */
    ck_assert_int_eq(bus_add(&bus, "b", 0x200, 0x10, &plain_ops, &fake[1], &err), 0);
    ck_assert_int_eq(bus_add(&bus, "a", 0x100, 0x10, &plain_ops, &fake[0], &err), 0);
    ck_assert_int_eq(bus_add(&bus, "c", 0x210, 4, &byte_ops, &fake[2], &err), 0);
    ck_assert_int_eq(bus_add(&bus, "d", 0x300, 8, &mute_ops, NULL, &err), 0);
}

START_TEST(dispatches_to_the_region)
{
    uint32_t value = 0;
    bus_read(&bus, 0x104, &value, 4);
    ck_assert_uint_eq(value, 0x07060504);
    ck_assert_uint_eq(fake[0].calls, 1);
    bus_write(&bus, 0x20f, "x", 1);
    ck_assert_uint_eq(fake[1].offset, 0xf);
    ck_assert_int_eq(fake[1].data[0], 'x');
    ck_assert_uint_eq(fake[2].calls, 0);
}
END_TEST

START_TEST(unclaimed_is_all_ones)
{
    static const struct {
        uint64_t addr;
        unsigned len;
    } miss[] = {{0xff, 1},  {0xff, 2},  {0x110, 4},      {0x10e, 4},
                {0x20e, 4}, {0x212, 4}, {UINT64_MAX, 1}, {0, 8},
                {0x100, 3}, {0x100, 0}, {0x214, 1},      {UINT64_MAX - 3, 8}};
    for (unsigned i = 0; i < sizeof(miss) / sizeof(miss[0]); i++) {
        uint8_t data[8] = {0}, ones[8];
        memset(ones, 0xff, sizeof(ones));
        bus_read(&bus, miss[i].addr, data, miss[i].len);
        ck_assert_mem_eq(data, ones, miss[i].len);
        bus_write(&bus, miss[i].addr, data, miss[i].len);
        ck_assert_uint_eq(atomic_load(&bus.unclaimed), 2 * ((uint64_t)i + 1));
    }
    for (unsigned i = 0; i < 3; i++)
        ck_assert_uint_eq(fake[i].calls, 0);
}
END_TEST

START_TEST(wide_accesses_are_split)
{
    uint32_t value = 0;
    bus_read(&bus, 0x210, &value, 4);
    ck_assert_uint_eq(value, 0x03020100);
    ck_assert_uint_eq(fake[2].calls, 4);
    ck_assert_uint_eq(fake[2].len, 1);
    bus_write(&bus, 0x212, "yz", 2);
    ck_assert_uint_eq(fake[2].calls, 6);
    ck_assert_int_eq(fake[2].data[0], 'z');
}
END_TEST

START_TEST(absent_handlers_are_harmless)
{
    uint16_t value = 0;
    bus_read(&bus, 0x300, &value, 2);
    ck_assert_uint_eq(value, 0xffff);
    bus_write(&bus, 0x300, &value, 2);
    ck_assert_uint_eq(atomic_load(&bus.unclaimed), 0);
}
END_TEST

START_TEST(refuses_overlap_wrap_and_excess)
{
    struct error err = ERROR_INIT;
    ck_assert_int_eq(bus_add(&bus, "x", 0x10f, 1, &plain_ops, NULL, &err), -EEXIST);
    ck_assert_int_eq(bus_add(&bus, "x", 0xf8, 9, &plain_ops, NULL, &err), -EEXIST);
    ck_assert_int_eq(bus_add(&bus, "x", 0x100, 1, &plain_ops, NULL, &err), -EEXIST);
    ck_assert_int_eq(bus_add(&bus, "x", 0x50, 0, &plain_ops, NULL, &err), -EINVAL);
    ck_assert_int_eq(bus_add(&bus, "x", UINT64_MAX, 2, &plain_ops, NULL, &err), -EINVAL);
    ck_assert_int_eq(bus_add(&bus, "x", 0xf8, 8, &plain_ops, NULL, &err), 0);
    while (bus.region_count < BUS_REGION_MAX)
        ck_assert_int_eq(bus_add(&bus, "x", 0x1000 + bus.region_count, 1, &plain_ops, NULL, &err),
                         0);
    ck_assert_int_eq(bus_add(&bus, "x", 0x5000, 1, &plain_ops, NULL, &err), -ENOSPC);
}
END_TEST

START_TEST(windows_move)
{
    struct bus_window *w;
    struct error err = ERROR_INIT;
    ck_assert_int_eq(bus_add_window(&bus, 0x1000, &plain_ops, &fake[3], &w, &err), 0);
    uint8_t byte;
    bus_read(&bus, 0x4000, &byte, 1);
    ck_assert_uint_eq(fake[3].calls, 0);
    bus_window_move(w, 0x4000);
    bus_read(&bus, 0x4fff, &byte, 1);
    ck_assert_uint_eq(fake[3].offset, 0xfff);
    bus_window_move(w, 0x8000);
    bus_read(&bus, 0x4fff, &byte, 1);
    ck_assert_uint_eq(fake[3].calls, 1);
    bus_read(&bus, 0x8002, &byte, 1);
    ck_assert_uint_eq(fake[3].calls, 2);
    bus_window_move(w, BUS_UNMAPPED);
    bus_read(&bus, 0x8002, &byte, 1);
    bus_read(&bus, UINT64_MAX, &byte, 1);
    ck_assert_uint_eq(fake[3].calls, 2);
}
END_TEST

/* What a guest may do to itself: a window over a region, over another window, at the very top. */
START_TEST(overlapping_windows)
{
    struct bus_window *first, *second;
    struct error err = ERROR_INIT;
    ck_assert_int_eq(bus_add_window(&bus, 0x1000, &plain_ops, &fake[2], &first, &err), 0);
    ck_assert_int_eq(bus_add_window(&bus, 0x1000, &plain_ops, &fake[3], &second, &err), 0);
    bus_window_move(second, 0);
    uint8_t byte;
    bus_read(&bus, 0x100, &byte, 1);
    ck_assert_uint_eq(fake[0].calls, 1);
    bus_read(&bus, 0x110, &byte, 1);
    ck_assert_uint_eq(fake[3].calls, 1);
    bus_window_move(first, 0);
    bus_read(&bus, 0x110, &byte, 1);
    ck_assert_uint_eq(fake[2].calls, 1);
    bus_window_move(first, UINT64_MAX - 0xff);
    bus_read(&bus, UINT64_MAX, &byte, 1);
    ck_assert_uint_eq(fake[2].offset, 0xff);
    bus_read(&bus, 0, &byte, 1);
    ck_assert_uint_eq(fake[3].calls, 2);
}
END_TEST

static void *mover(void *arg)
{
    struct bus_window *w = arg;
    for (unsigned i = 0; i < 20000; i++)
        bus_window_move(w, i & 1 ? 0x4000 : 0x6000);
    return NULL;
}

/* Every access lands in exactly one place, at an offset inside the window. */
static void count_read(void *ctx, uint64_t offset, void *data, unsigned len)
{
    (void)data;
    (void)len;
    if (offset == 0x10)
        (*(unsigned *)ctx)++;
}

START_TEST(windows_move_under_access)
{
    static const struct bus_ops count_ops = {.read = count_read};
    unsigned hits = 0;
    struct bus_window *w;
    struct error err = ERROR_INIT;
    ck_assert_int_eq(bus_add_window(&bus, 0x1000, &count_ops, &hits, &w, &err), 0);
    bus_window_move(w, 0x6000);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, mover, w), 0);
    unsigned reads = 0;
    for (uint8_t byte; reads < 20000; reads++)
        bus_read(&bus, reads & 1 ? 0x4010 : 0x6010, &byte, 1);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(hits + atomic_load(&bus.unclaimed), reads);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bus");
    TCase *tc = tcase_create("dispatch");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, dispatches_to_the_region);
    tcase_add_test(tc, unclaimed_is_all_ones);
    tcase_add_test(tc, wide_accesses_are_split);
    tcase_add_test(tc, absent_handlers_are_harmless);
    tcase_add_test(tc, refuses_overlap_wrap_and_excess);
    tcase_add_test(tc, windows_move);
    tcase_add_test(tc, overlapping_windows);
    tcase_add_test(tc, windows_move_under_access);
    suite_add_tcase(s, tc);
    return run_suite(s);
}

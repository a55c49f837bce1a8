// SPDX-License-Identifier: Apache-2.0
/* The clock against libc's calendar, its encodings, and what a guest cannot change. */
#include "layout.h"
#include "platform/rtc.h"
#include "run_suite.h"
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>

static struct bus bus;
static struct rtc rtc;
static struct timespec now;

static void fake_now(struct timespec *ret_now)
{
    *ret_now = now;
}

static uint8_t cmos_read(uint8_t index)
{
    uint8_t value;
    bus_write(&bus, LAYOUT_PORT_RTC_INDEX, &index, 1);
    bus_read(&bus, LAYOUT_PORT_RTC_DATA, &value, 1);
    return value;
}

static void cmos_write(uint8_t index, uint8_t value)
{
    uint8_t both[2] = {index, value};
    bus_write(&bus, LAYOUT_PORT_RTC_INDEX, both, 2); /* a word is two byte cycles */
}

static void setup(void)
{
    bus_init(&bus, "pio");
    ck_assert_int_eq(rtc_init(&rtc, &bus, NULL), 0);
    rtc.now = fake_now;
    now = (struct timespec){.tv_sec = 1709210096}; /* Thu 2024-02-29 12:34:56 UTC */
}

static void teardown(void)
{
    rtc_done(&rtc);
}

START_TEST(bcd_24h)
{
    ck_assert_uint_eq(cmos_read(0x00), 0x56);
    ck_assert_uint_eq(cmos_read(0x02), 0x34);
    ck_assert_uint_eq(cmos_read(0x04), 0x12);
    ck_assert_uint_eq(cmos_read(0x06), 0x05);
    ck_assert_uint_eq(cmos_read(0x07), 0x29);
    ck_assert_uint_eq(cmos_read(0x08), 0x02);
    ck_assert_uint_eq(cmos_read(0x09), 0x24);
    ck_assert_uint_eq(cmos_read(0x32), 0x20);
    ck_assert_uint_eq(cmos_read(0x80 | 0x09), 0x24); /* bit 7 is the NMI gate */
}
END_TEST

START_TEST(binary_and_12h)
{
    cmos_write(0x0b, 0x06);
    ck_assert_uint_eq(cmos_read(0x00), 56);
    ck_assert_uint_eq(cmos_read(0x04), 12);
    cmos_write(0x0b, 0x00);
    static const struct {
        unsigned hour;
        uint8_t value;
    } hours[] = {{0, 0x12}, {1, 0x01}, {11, 0x11}, {12, 0x92}, {13, 0x81}, {23, 0x91}};
    for (unsigned i = 0; i < sizeof(hours) / sizeof(hours[0]); i++) {
        now.tv_sec = 1709164800 + (time_t)hours[i].hour * 3600;
        ck_assert_uint_eq(cmos_read(0x04), hours[i].value);
    }
}
END_TEST

START_TEST(every_day_as_libc_has_it)
{
    cmos_write(0x0b, 0x06);
    for (time_t t = 0; t < INT64_C(86400) * 146100; t += 86399) {
        now.tv_sec = t;
        struct tm tm;
        gmtime_r(&t, &tm);
        /* One assertion a day: each is a system call. */
        bool same = cmos_read(0x07) == tm.tm_mday && cmos_read(0x08) == tm.tm_mon + 1 &&
                    cmos_read(0x32) * 100 + cmos_read(0x09) == tm.tm_year + 1900 &&
                    cmos_read(0x06) == tm.tm_wday + 1 && cmos_read(0x04) == tm.tm_hour &&
                    cmos_read(0x02) == tm.tm_min && cmos_read(0x00) == tm.tm_sec;
        if (!same)
            ck_abort_msg("wrong date for %lld", (long long)t);
    }
}
END_TEST

START_TEST(update_in_progress)
{
    ck_assert_uint_eq(cmos_read(0x0a), 0x26);
    now.tv_nsec = 999755999;
    ck_assert_uint_eq(cmos_read(0x0a), 0x26);
    now.tv_nsec = 999756000;
    ck_assert_uint_eq(cmos_read(0x0a), 0xa6);
    cmos_write(0x0b, 0x82); /* SET aborts updates */
    ck_assert_uint_eq(cmos_read(0x0a), 0x26);
}
END_TEST

START_TEST(not_for_the_guest_to_change)
{
    cmos_write(0x00, 0x11);
    cmos_write(0x09, 0x99);
    cmos_write(0x32, 0x19);
    cmos_write(0x0c, 0xff);
    cmos_write(0x0d, 0x00);
    ck_assert_uint_eq(cmos_read(0x00), 0x56);
    ck_assert_uint_eq(cmos_read(0x09), 0x24);
    ck_assert_uint_eq(cmos_read(0x32), 0x20);
    ck_assert_uint_eq(cmos_read(0x0c), 0);
    ck_assert_uint_eq(cmos_read(0x0d), 0x80);
    cmos_write(0x0b, 0xff); /* no interrupt can be enabled */
    ck_assert_uint_eq(cmos_read(0x0b), 0x86);
    cmos_write(0x0a, 0xff);
    ck_assert_uint_eq(cmos_read(0x0a), 0x7f);
    now.tv_sec = -5; /* a host before 1970 is its own problem */
    cmos_write(0x0b, 0x02);
    ck_assert_uint_eq(cmos_read(0x09), 0x70);
}
END_TEST

START_TEST(ram_and_index)
{
    cmos_write(0x7f, 0xa5);
    cmos_write(0x10, 0x5a);
    ck_assert_uint_eq(cmos_read(0x7f), 0xa5);
    ck_assert_uint_eq(cmos_read(0x10), 0x5a);
    ck_assert_uint_eq(cmos_read(0x11), 0);
    uint8_t value = 0;
    bus_read(&bus, LAYOUT_PORT_RTC_INDEX, &value, 1);
    ck_assert_uint_eq(value, 0xff);
}
END_TEST

START_TEST(host_time_is_the_default)
{
    rtc_done(&rtc);
    bus_init(&bus, "pio");
    ck_assert_int_eq(rtc_init(&rtc, &bus, NULL), 0);
    ck_assert_uint_ge(cmos_read(0x09), 0x24);
    ck_assert_uint_eq(cmos_read(0x32), 0x20);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rtc");
    TCase *tc = tcase_create("MC146818A");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, bcd_24h);
    tcase_add_test(tc, binary_and_12h);
    tcase_add_test(tc, every_day_as_libc_has_it);
    tcase_add_test(tc, update_in_progress);
    tcase_add_test(tc, not_for_the_guest_to_change);
    tcase_add_test(tc, ram_and_index);
    tcase_add_test(tc, host_time_is_the_default);
    suite_add_tcase(s, tc);
    return run_suite(s);
}

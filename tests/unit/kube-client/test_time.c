// SPDX-License-Identifier: Apache-2.0
/* RFC 3339 times. */
#include "run_suite.h"
#include <podvisor/clock.h>
#include <podvisor/kube.h>

#define S ((int64_t)NSEC_PER_SEC)

START_TEST(writes_times)
{
    char buf[KUBE_TIME_SIZE];
    ck_assert_str_eq(kube_time(0, buf), "1970-01-01T00:00:00Z");
    ck_assert_str_eq(kube_time(1767323045 * S + 999999999, buf), "2026-01-02T03:04:05Z");
    ck_assert_str_eq(kube_time(-1, buf), "1969-12-31T23:59:59Z");
    ck_assert_str_eq(kube_micro_time(1767323045 * S, buf), "2026-01-02T03:04:05.000000Z");
    ck_assert_str_eq(kube_micro_time(1767323045 * S + 1234567, buf), "2026-01-02T03:04:05.001234Z");
    ck_assert_str_eq(kube_micro_time(-1000, buf), "1969-12-31T23:59:59.999999Z");
    ck_assert_str_eq(kube_time(INT64_MAX, buf), "2262-04-11T23:47:16Z");
    ck_assert_str_eq(kube_time(INT64_MIN, buf), "1677-09-21T00:12:43Z");
}
END_TEST

static const struct {
    const char *text;
    int64_t ns;
} good[] = {
    {"1970-01-01T00:00:00Z", 0},
    {"2026-01-02T03:04:05Z", 1767323045 * S},
    {"2026-01-02t03:04:05z", 1767323045 * S},
    {"2026-01-02T03:04:05.5Z", 1767323045 * S + S / 2},
    {"2026-01-02T03:04:05.000001Z", 1767323045 * S + 1000},
    {"2026-01-02T03:04:05.1234567899Z", 1767323045 * S + 123456789},
    {"2026-01-02T05:04:05+02:00", 1767323045 * S},
    {"2026-01-01T22:34:05-04:30", 1767323045 * S},
    {"2024-02-29T00:00:00Z", 1709164800 * S},
    {"1969-12-31T23:59:59Z", -S},
};

START_TEST(reads_times)
{
    int64_t ns;
    ck_assert_int_eq(kube_time_parse(good[_i].text, &ns), 0);
    ck_assert_int_eq(ns, good[_i].ns);
}
END_TEST

static const char *const bad[] = {
    "",
    "2026",
    "2026-01-02",
    "2026-01-02T03:04:05",
    "2026-01-02 03:04:05Z",
    "2026-01-02T03:04:05.Z",
    "2026-13-02T03:04:05Z",
    "2026-00-02T03:04:05Z",
    "2026-02-29T03:04:05Z",
    "2100-02-29T03:04:05Z",
    "2026-01-32T03:04:05Z",
    "2026-01-02T24:04:05Z",
    "2026-01-02T03:60:05Z",
    "2026-01-02T03:04:60Z",
    "2026-01-02T03:04:05Zx",
    "2026-01-02T03:04:05+2:00",
    "2026-01-02T03:04:05+02",
    "2026-01-02T03:04:05+24:00",
    "+026-01-02T03:04:05Z",
    "0001-01-01T00:00:00Z", /* Go's zero time is not within nanoseconds of 64 bits */
    "9999-12-31T23:59:59Z",
};

START_TEST(refuses_what_is_no_time)
{
    int64_t ns = 7;
    ck_assert_int_eq(kube_time_parse(bad[_i], &ns), -EINVAL);
    ck_assert_int_eq(ns, 7);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kube-time");
    TCase *tc = tcase_create("time");
    tcase_add_test(tc, writes_times);
    tcase_add_loop_test(tc, reads_times, 0, (int)(sizeof(good) / sizeof(good[0])));
    tcase_add_loop_test(tc, refuses_what_is_no_time, 0, (int)(sizeof(bad) / sizeof(bad[0])));
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

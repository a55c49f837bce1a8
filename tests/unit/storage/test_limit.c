// SPDX-License-Identifier: Apache-2.0
/* Token buckets against a clock of the test's own. */
#include "limit.h"
#include "run_suite.h"
#include <check.h>
#include <podvisor/clock.h>

static struct limit limit;

START_TEST(no_limit_never_waits)
{
    limit_init(&limit, 0, 0, 5);
    for (int i = 0; i < 1000; i++) {
        ck_assert_uint_eq(limit_delay(&limit, 5), 0);
        limit_spend(&limit, UINT64_C(1) << 32);
    }
}
END_TEST

START_TEST(a_burst_then_the_rate)
{
    limit_init(&limit, 100, 10, 0);
    for (int i = 0; i < 10; i++) {
        ck_assert_uint_eq(limit_delay(&limit, 0), 0);
        limit_spend(&limit, 1);
    }
    ck_assert_uint_eq(limit_delay(&limit, 0), 10 * NSEC_PER_MSEC);
    ck_assert_uint_eq(limit_delay(&limit, 4 * NSEC_PER_MSEC), 6 * NSEC_PER_MSEC);
    ck_assert_uint_eq(limit_delay(&limit, 10 * NSEC_PER_MSEC), 0);
    limit_spend(&limit, 1);
    ck_assert_uint_gt(limit_delay(&limit, 10 * NSEC_PER_MSEC), 0);
}
END_TEST

START_TEST(the_bucket_has_a_size)
{
    limit_init(&limit, 100, 10, 0);
    ck_assert_uint_eq(limit_delay(&limit, 3600 * NSEC_PER_SEC), 0);
    limit_spend(&limit, 10);
    ck_assert_uint_eq(limit_delay(&limit, 3600 * NSEC_PER_SEC), 10 * NSEC_PER_MSEC);
}
END_TEST

START_TEST(something_large_is_owed)
{
    limit_init(&limit, 1 << 20, 1 << 20, 0);
    limit_spend(&limit, 3 << 20);
    /* Two seconds' worth is owed, and one token more is needed. */
    uint64_t delay = limit_delay(&limit, 0);
    ck_assert_uint_ge(delay, 2 * NSEC_PER_SEC);
    ck_assert_uint_le(delay, 2 * NSEC_PER_SEC + NSEC_PER_USEC);
    ck_assert_uint_eq(limit_delay(&limit, delay), 0);
}
END_TEST

START_TEST(default_bursts)
{
    limit_init(&limit, 1000, 0, 0);
    ck_assert_uint_eq(limit.burst, 100);
    limit_init(&limit, 3, 0, 0);
    ck_assert_uint_eq(limit.burst, 1);
}
END_TEST

/* Looking often earns as much as looking once: fractions of tokens are kept. */
START_TEST(fractions_add_up)
{
    limit_init(&limit, 7, 1, 0);
    unsigned spent = 0;
    for (uint64_t now = 0; now <= 100 * NSEC_PER_SEC; now += 1000003) {
        if (limit_delay(&limit, now) == 0) {
            limit_spend(&limit, 1);
            spent++;
        }
    }
    ck_assert_uint_ge(spent, 695);
    ck_assert_uint_le(spent, 701);
}
END_TEST

START_TEST(largest_values)
{
    limit_init(&limit, LIMIT_RATE_MAX, LIMIT_RATE_MAX, 0);
    for (int i = 0; i < 1000; i++)
        limit_spend(&limit, UINT64_C(1) << 32);
    uint64_t delay = limit_delay(&limit, 1);
    ck_assert_uint_gt(delay, 2 * NSEC_PER_SEC);
    ck_assert_uint_eq(limit_delay(&limit, 1 + delay), 0);
    ck_assert_uint_eq(limit_delay(&limit, UINT64_MAX), 0);
    ck_assert_int_eq(limit.level, (int64_t)LIMIT_RATE_MAX);
}
END_TEST

START_TEST(a_clock_that_stands_still_earns_nothing)
{
    limit_init(&limit, 10, 1, 1000);
    limit_spend(&limit, 1);
    ck_assert_uint_eq(limit_delay(&limit, 1000), 100 * NSEC_PER_MSEC);
    ck_assert_uint_eq(limit_delay(&limit, 500), 100 * NSEC_PER_MSEC);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("limit");
    TCase *t = tcase_create("limit");
    tcase_add_test(t, no_limit_never_waits);
    tcase_add_test(t, a_burst_then_the_rate);
    tcase_add_test(t, the_bucket_has_a_size);
    tcase_add_test(t, something_large_is_owed);
    tcase_add_test(t, default_bursts);
    tcase_add_test(t, fractions_add_up);
    tcase_add_test(t, largest_values);
    tcase_add_test(t, a_clock_that_stands_still_earns_nothing);
    suite_add_tcase(s, t);
    return run_suite(s);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * The reflector's state machine against the cases of client-go's reflector_test.go and
 * pager_test.go: what is listed and watched, from which version, and after which wait.
 */
#include "reflector.h"
#include "run_suite.h"
#include <check.h>
#include <podvisor/cleanup.h>
#include <string.h>

static struct reflector r;
static uint64_t now;

static void setup(void)
{
    now = 1000 * NSEC_PER_SEC;
    reflector_init(&r, 42);
}

static void teardown(void)
{
    reflector_done(&r);
}

static struct reflector_request next(void)
{
    return reflector_next(&r, now);
}

static void expect_list(const char *version, unsigned limit)
{
    struct reflector_request request = next();
    ck_assert_int_eq(request.step, REFLECTOR_LIST);
    ck_assert_ptr_null(request.continue_);
    ck_assert_str_eq(request.version, version);
    ck_assert_uint_eq(request.limit, limit);
}

static void expect_page(const char *continue_, unsigned limit)
{
    struct reflector_request request = next();
    ck_assert_int_eq(request.step, REFLECTOR_LIST);
    ck_assert_ptr_null(request.version);
    ck_assert_str_eq(request.continue_, continue_);
    ck_assert_uint_eq(request.limit, limit);
}

static void expect_watch(const char *version)
{
    struct reflector_request request = next();
    ck_assert_int_eq(request.step, REFLECTOR_WATCH);
    ck_assert_str_eq(request.version, version);
}

/* A wait of at least `least`, at most `most`, and then past it. */
static uint64_t pass_wait(uint64_t least, uint64_t most)
{
    struct reflector_request request = next();
    ck_assert_int_eq(request.step, REFLECTOR_WAIT);
    uint64_t wait = request.until_ns - now;
    ck_assert_uint_ge(wait, least);
    ck_assert_uint_le(wait, most);
    now = request.until_ns - 1;
    ck_assert_int_eq(next().step, REFLECTOR_WAIT);
    now++;
    return wait;
}

#define FIRST_WAIT reflector_default_times.backoff_least, reflector_default_times.backoff_first

/* Listed at version "10" and watching, answered. */
static void watching(void)
{
    expect_list("0", 500);
    ck_assert(reflector_listed(&r, "10", "", now));
    expect_watch("10");
    reflector_watch_started(&r, now);
    reflector_watch_answered(&r, now);
}

START_TEST(lists_then_watches)
{
    watching();
    reflector_watch_event(&r, "11");
    now += 5 * NSEC_PER_SEC;
    reflector_watch_ended(&r, now);
    expect_watch("11"); /* a regular end: at once, from where it was */
}
END_TEST

/* TestReflectorWatchListPageSize and its siblings: versions and limits of pages. */
START_TEST(pages)
{
    expect_list("0", 500);
    ck_assert(!reflector_listed(&r, "10", "C1", now));
    expect_page("C1", 500);
    ck_assert(!reflector_listed(&r, "10", "C2", now));
    expect_page("C2", 500);
    ck_assert(reflector_listed(&r, "ignored", "", now));
    expect_watch("10"); /* the first page's version is the list's */
}
END_TEST

/* TestReflectorResyncWithResourceVersion...: no limit at a version, unless pages were used before.
 */
START_TEST(list_at_a_version_has_no_limit)
{
    watching();
    reflector_watch_failed(&r, REFLECTOR_OTHER, 0, now);
    pass_wait(FIRST_WAIT);
    expect_list("10", 0);
}
END_TEST

START_TEST(paged_once_always_paged)
{
    expect_list("0", 500);
    ck_assert(!reflector_listed(&r, "10", "C1", now));
    ck_assert(reflector_listed(&r, "10", "", now));
    reflector_watch_started(&r, now);
    reflector_watch_failed(&r, REFLECTOR_OTHER, 0, now);
    pass_wait(FIRST_WAIT);
    expect_list("10", 500);
}
END_TEST

/* TestReflectorFullListIfExpired, of the list: an expired version, then the newest there is. */
START_TEST(list_expired)
{
    watching();
    reflector_watch_failed(&r, REFLECTOR_EXPIRED, 0, now);
    pass_wait(FIRST_WAIT);
    expect_list("10", 0); /* from what we know first */
    reflector_list_failed(&r, REFLECTOR_EXPIRED, 0, now);
    expect_list("", 500); /* at once */
    ck_assert(reflector_listed(&r, "99", "", now));
    expect_watch("99");
    reflector_watch_started(&r, now);
    reflector_watch_failed(&r, REFLECTOR_OTHER, 0, now);
    pass_wait(reflector_default_times.backoff_least, 2 * reflector_default_times.backoff_first);
    expect_list("99", 0); /* a version that works is used again */
}
END_TEST

/* TestReflectorFullListIfTooLarge. */
START_TEST(version_too_large)
{
    watching();
    reflector_watch_failed(&r, REFLECTOR_OTHER, 0, now);
    pass_wait(FIRST_WAIT);
    expect_list("10", 0);
    reflector_list_failed(&r, REFLECTOR_TOO_LARGE, 0, now);
    expect_list("", 500);
    ck_assert(reflector_listed(&r, "3", "", now));
    expect_watch("3"); /* etcd was restored from a backup: versions went back */
}
END_TEST

/* Large objects in great number: smaller pages, until they fit. */
START_TEST(pages_too_large)
{
    static const unsigned sizes[] = {125, 31, 8, 8};
    expect_list("0", 500);
    reflector_list_failed(&r, REFLECTOR_TOO_LARGE, 0, now);
    expect_list("", 500);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        reflector_list_failed(&r, REFLECTOR_TOO_LARGE, 0, now);
        if (i % 2 == 0) /* each list is tried twice */
            pass_wait(reflector_default_times.backoff_least, reflector_default_times.backoff_max);
        expect_list("", sizes[i]);
    }
    ck_assert(!reflector_listed(&r, "10", "C", now));
    expect_page("C", 8);
    ck_assert(reflector_listed(&r, "10", "", now));
    expect_watch("10");
}
END_TEST

/* The newest fails too: wait, and stay with the newest. */
START_TEST(newest_expires_too)
{
    watching();
    reflector_watch_failed(&r, REFLECTOR_EXPIRED, 0, now);
    pass_wait(FIRST_WAIT);
    reflector_list_failed(&r, REFLECTOR_EXPIRED, 0, now);
    reflector_list_failed(&r, REFLECTOR_EXPIRED, 0, now);
    pass_wait(reflector_default_times.backoff_least, 2 * reflector_default_times.backoff_first);
    expect_list("", 500);
    reflector_list_failed(&r, REFLECTOR_NO_ANSWER, 0, now);
    pass_wait(reflector_default_times.backoff_least, 4 * reflector_default_times.backoff_first);
    expect_list("", 500);
}
END_TEST

/* pager_test.go, expired on page 2: one whole list at the version that was asked for. */
START_TEST(page_expired)
{
    expect_list("0", 500);
    ck_assert(!reflector_listed(&r, "10", "C1", now));
    expect_page("C1", 500);
    reflector_list_failed(&r, REFLECTOR_EXPIRED, 0, now);
    expect_list("0", 0); /* first page: what was collected is dropped */
    ck_assert(reflector_listed(&r, "12", "", now));
    expect_watch("12");
}
END_TEST

START_TEST(page_expired_and_whole_list_too)
{
    expect_list("0", 500);
    ck_assert(!reflector_listed(&r, "10", "C1", now));
    reflector_list_failed(&r, REFLECTOR_EXPIRED, 0, now);
    expect_list("0", 0);
    reflector_list_failed(&r, REFLECTOR_EXPIRED, 0, now);
    expect_list("", 500);
}
END_TEST

/* A page fails otherwise: the list begins again after the wait. */
START_TEST(page_refused)
{
    expect_list("0", 500);
    ck_assert(!reflector_listed(&r, "10", "C1", now));
    reflector_list_failed(&r, REFLECTOR_OTHER, 0, now);
    pass_wait(FIRST_WAIT);
    expect_list("0", 500);
}
END_TEST

START_TEST(pages_without_end)
{
    expect_list("0", 500);
    ck_assert(!reflector_listed(&r, "10", "C1", now));
    ck_assert(!reflector_listed(&r, "10", "C1", now));
    pass_wait(FIRST_WAIT);
    expect_list("0", 500);
}
END_TEST

/* TestReflectorListAndWatchInitConnBackoff, TestBackoffOnTooManyRequests, TestRetryInternalError:
 * what watches again from the same version and what lists. */
static const struct {
    enum reflector_failure failure;
    enum reflector_step then;
} watch_failures[] = {
    {REFLECTOR_NO_ANSWER, REFLECTOR_WATCH}, {REFLECTOR_TOO_MANY, REFLECTOR_WATCH},
    {REFLECTOR_INTERNAL, REFLECTOR_WATCH},  {REFLECTOR_EXPIRED, REFLECTOR_LIST},
    {REFLECTOR_TOO_LARGE, REFLECTOR_LIST},  {REFLECTOR_OTHER, REFLECTOR_LIST},
};

START_TEST(watch_refused)
{
    watching();
    reflector_watch_event(&r, "17");
    reflector_watch_failed(&r, watch_failures[_i].failure, 0, now);
    pass_wait(FIRST_WAIT);
    struct reflector_request request = next();
    ck_assert_int_eq(request.step, watch_failures[_i].then);
    ck_assert_str_eq(request.version, "17");
}
END_TEST

START_TEST(watch_never_answered)
{
    expect_list("0", 500);
    ck_assert(reflector_listed(&r, "10", "", now));
    reflector_watch_started(&r, now);
    reflector_watch_ended(&r, now);
    pass_wait(FIRST_WAIT);
    expect_watch("10");
}
END_TEST

/* TestRetryInternalError: for a while only; then a list. */
START_TEST(internal_errors_for_long)
{
    watching();
    uint64_t begin = now;
    while (now - begin < reflector_default_times.internal) {
        reflector_watch_failed(&r, REFLECTOR_INTERNAL, 0, now);
        pass_wait(reflector_default_times.backoff_least, reflector_default_times.backoff_max);
        expect_watch("10");
    }
    reflector_watch_failed(&r, REFLECTOR_INTERNAL, 0, now);
    pass_wait(reflector_default_times.backoff_least, reflector_default_times.backoff_max);
    expect_list("10", 0);
}
END_TEST

/* TestReflectorVeryShortWatch: answered, ended within a second without an event. */
START_TEST(very_short_watch)
{
    watching();
    now += reflector_default_times.short_watch - 1;
    reflector_watch_ended(&r, now);
    pass_wait(FIRST_WAIT);
    expect_list("10", 0);
}
END_TEST

START_TEST(short_watch_with_an_event)
{
    watching();
    reflector_watch_event(&r, "11");
    reflector_watch_ended(&r, now);
    expect_watch("11");
}
END_TEST

/* Full jitter, twice as much each time, 30 s at most; a new beginning after 2 quiet minutes. */
START_TEST(back_off_grows_and_resets)
{
    watching();
    uint64_t most = reflector_default_times.backoff_first, sum = 0;
    for (unsigned i = 0; i < 40; i++) {
        reflector_watch_failed(&r, REFLECTOR_NO_ANSWER, 0, now);
        sum += pass_wait(reflector_default_times.backoff_least, most);
        expect_watch("10");
        most = most * 2 < reflector_default_times.backoff_max ? most * 2
                                                              : reflector_default_times.backoff_max;
    }
    ck_assert_uint_gt(sum, 40 * NSEC_PER_SEC); /* not 40 times the least */
    now += reflector_default_times.backoff_reset + 1;
    reflector_watch_failed(&r, REFLECTOR_NO_ANSWER, 0, now);
    pass_wait(FIRST_WAIT);
}
END_TEST

START_TEST(the_server_says_when)
{
    watching();
    reflector_watch_failed(&r, REFLECTOR_TOO_MANY, 7, now);
    pass_wait(7 * NSEC_PER_SEC, 7 * NSEC_PER_SEC);
    expect_watch("10");
    reflector_watch_failed(&r, REFLECTOR_TOO_MANY, 4000000000u, now);
    pass_wait(reflector_default_times.backoff_max, reflector_default_times.backoff_max);
}
END_TEST

START_TEST(timeouts_spread)
{
    unsigned least = UINT32_MAX, most = 0;
    watching();
    for (unsigned i = 0; i < 2000; i++) {
        unsigned seconds = next().timeout_seconds;
        ck_assert_uint_ge(seconds, REFLECTOR_TIMEOUT_MIN);
        ck_assert_uint_le(seconds, REFLECTOR_TIMEOUT_MAX);
        least = seconds < least ? seconds : least;
        most = seconds > most ? seconds : most;
    }
    ck_assert_uint_lt(least, 310);
    ck_assert_uint_gt(most, 590);
}
END_TEST

START_TEST(watchdog)
{
    expect_list("0", 500);
    ck_assert(reflector_listed(&r, "10", "", now));
    reflector_watch_started(&r, now);
    ck_assert_uint_eq(reflector_watch_deadline(&r), now + reflector_default_times.answer);
    now += NSEC_PER_SEC;
    reflector_watch_answered(&r, now);
    reflector_watch_event(&r, "11");
    ck_assert_uint_eq(reflector_watch_deadline(&r), UINT64_MAX); /* it may have nothing to say */
    reflector_watch_bookmark(&r, "12");
    ck_assert_uint_eq(reflector_watch_deadline(&r), now + reflector_default_times.idle);
    now += 100 * NSEC_PER_SEC;
    reflector_watch_bytes(&r, now);
    ck_assert_uint_eq(reflector_watch_deadline(&r), now + reflector_default_times.idle);
    now += reflector_default_times.idle;
    reflector_watch_ended(&r, now);
    expect_watch("12");
    reflector_watch_started(&r, now); /* maybe at another server */
    reflector_watch_answered(&r, now);
    ck_assert_uint_eq(reflector_watch_deadline(&r), UINT64_MAX);
}
END_TEST

START_TEST(again)
{
    expect_list("0", 500);
    ck_assert(!reflector_listed(&r, "10", "C1", now));
    reflector_again(&r);
    expect_list("0", 500);
    ck_assert(reflector_listed(&r, "10", "", now));
    reflector_again(&r);
    expect_watch("10");
}
END_TEST

static const struct {
    struct kube_status status;
    enum reflector_failure failure;
} refusals[] = {
    {{.code = 0}, REFLECTOR_NO_ANSWER},
    {{.code = 401, .reason = "Unauthorized"}, REFLECTOR_NO_ANSWER},
    {{.code = 410, .reason = "Expired"}, REFLECTOR_EXPIRED},
    {{.code = 410, .reason = "Gone"}, REFLECTOR_EXPIRED},
    {{.code = 410}, REFLECTOR_EXPIRED},
    {{.code = 504,
      .reason = "Timeout",
      .message = "Timeout: Too large resource version: 1, current: 0"},
     REFLECTOR_TOO_LARGE},
    {{.code = 504, .reason = "Timeout", .message = "Timeout: request did not complete"},
     REFLECTOR_OTHER},
    {{.code = 429, .reason = "TooManyRequests"}, REFLECTOR_TOO_MANY},
    {{.code = 500, .reason = "InternalError"}, REFLECTOR_INTERNAL},
    {{.code = 503, .reason = "ServiceUnavailable"}, REFLECTOR_OTHER},
    {{.code = 403, .reason = "Forbidden"}, REFLECTOR_OTHER},
    {{.code = 404, .reason = "NotFound"}, REFLECTOR_OTHER},
};

START_TEST(classify)
{
    ck_assert_int_eq((int)reflector_classify(&refusals[_i].status), (int)refusals[_i].failure);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kube-reflector");
    TCase *tc = tcase_create("reflector");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, lists_then_watches);
    tcase_add_test(tc, pages);
    tcase_add_test(tc, list_at_a_version_has_no_limit);
    tcase_add_test(tc, paged_once_always_paged);
    tcase_add_test(tc, list_expired);
    tcase_add_test(tc, version_too_large);
    tcase_add_test(tc, pages_too_large);
    tcase_add_test(tc, newest_expires_too);
    tcase_add_test(tc, page_expired);
    tcase_add_test(tc, page_expired_and_whole_list_too);
    tcase_add_test(tc, page_refused);
    tcase_add_test(tc, pages_without_end);
    tcase_add_loop_test(tc, watch_refused, 0, (int)ARRAY_SIZE(watch_failures));
    tcase_add_test(tc, watch_never_answered);
    tcase_add_test(tc, internal_errors_for_long);
    tcase_add_test(tc, very_short_watch);
    tcase_add_test(tc, short_watch_with_an_event);
    tcase_add_test(tc, back_off_grows_and_resets);
    tcase_add_test(tc, the_server_says_when);
    tcase_add_test(tc, timeouts_spread);
    tcase_add_test(tc, watchdog);
    tcase_add_test(tc, again);
    tcase_add_loop_test(tc, classify, 0, (int)ARRAY_SIZE(refusals));
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

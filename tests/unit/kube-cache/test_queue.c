// SPDX-License-Identifier: Apache-2.0
/*
 * The work queue: client-go's queue_test.go, delaying_queue_test.go and
 * default_rate_limiters_test.go as far as their subject exists here, with a clock of the test's
 * own; then threads that fight for it.
 */
#include "run_suite.h"
#include <check.h>
#include <podvisor/clock.h>
#include <podvisor/kube_queue.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static struct kube_queue *queue;
static char key[KUBE_KEY_MAX];
static uint64_t fake_ns;

static uint64_t fake_now(void)
{
    return fake_ns;
}

static void setup(void)
{
    fake_ns = NSEC_PER_SEC;
    queue = kube_queue_new("test", fake_now);
}

static void teardown(void)
{
    kube_queue_free(queue);
}

static struct kube_queue_stats stats(void)
{
    struct kube_queue_stats s;
    kube_queue_stats(queue, &s);
    return s;
}

static void expect_get(const char *expected)
{
    ck_assert(kube_queue_get(queue, key));
    ck_assert_str_eq(key, expected);
}

/* Nothing is due: a get would wait for ever, so the figures are asked. */
static void expect_none(void)
{
    ck_assert_uint_eq(stats().depth, 0);
}

START_TEST(first_in_first_out_each_once)
{
    kube_queue_add(queue, "a");
    kube_queue_add(queue, "b");
    kube_queue_add(queue, "a");
    ck_assert_uint_eq(stats().depth, 2);
    ck_assert_uint_eq(stats().adds, 2);
    expect_get("a");
    expect_get("b");
    kube_queue_done(queue, "a");
    kube_queue_done(queue, "b");
    expect_none();
    ck_assert_uint_eq(stats().processing, 0);
}
END_TEST

/* TestReinsert: added while it is worked on, it comes again, once, after done. */
START_TEST(reinsert)
{
    kube_queue_add(queue, "foo");
    expect_get("foo");
    kube_queue_add(queue, "foo");
    expect_none();
    kube_queue_done(queue, "foo");
    expect_get("foo");
    kube_queue_done(queue, "foo");
    expect_none();
}
END_TEST

/* TestCollapseWhileProcessing: many adds meanwhile are one. */
START_TEST(collapse_while_processing)
{
    kube_queue_add(queue, "bar");
    expect_get("bar");
    for (unsigned i = 0; i < 4; i++)
        kube_queue_add(queue, "bar");
    kube_queue_done(queue, "bar");
    ck_assert_uint_eq(stats().depth, 1);
    expect_get("bar");
    kube_queue_done(queue, "bar");
    expect_none();
}
END_TEST

START_TEST(done_without_get_is_harmless)
{
    kube_queue_done(queue, "unknown");
    kube_queue_add(queue, "a");
    kube_queue_done(queue, "a");
    expect_get("a");
}
END_TEST

/* TestSimpleQueue of the delaying queue. */
START_TEST(delayed_key_comes_when_due)
{
    kube_queue_add_after(queue, "one", 50 * NSEC_PER_MSEC);
    expect_none();
    ck_assert_uint_eq(stats().delayed, 1);
    fake_ns += 60 * NSEC_PER_MSEC;
    expect_get("one");
    kube_queue_done(queue, "one");
    fake_ns += NSEC_PER_SEC;
    expect_none();
    ck_assert_uint_eq(stats().delayed, 0);
}
END_TEST

/* TestDeduping: the earlier of two delays counts, whichever came first. */
START_TEST(the_earlier_delay_counts)
{
    kube_queue_add_after(queue, "x", 50 * NSEC_PER_MSEC);
    kube_queue_add_after(queue, "x", 70 * NSEC_PER_MSEC);
    kube_queue_add_after(queue, "y", 70 * NSEC_PER_MSEC);
    kube_queue_add_after(queue, "y", 40 * NSEC_PER_MSEC);
    ck_assert_uint_eq(stats().delayed, 2);
    fake_ns += 60 * NSEC_PER_MSEC;
    expect_get("y");
    expect_get("x");
    kube_queue_done(queue, "x");
    kube_queue_done(queue, "y");
    fake_ns += NSEC_PER_SEC;
    kube_queue_add(queue, "last");
    expect_get("last");
}
END_TEST

/* TestAddTwoFireEarly and TestCopyShifting: any order of adds comes in the order of times. */
START_TEST(delayed_keys_in_order_of_time)
{
    for (unsigned i = 0; i < 100; i++) {
        char name[16];
        unsigned place = i * 37 % 100;
        snprintf(name, sizeof(name), "k%02u", place);
        kube_queue_add_after(queue, name, (place + 1) * NSEC_PER_MSEC);
    }
    fake_ns += NSEC_PER_SEC;
    for (unsigned i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof(name), "k%02u", i);
        expect_get(name);
        kube_queue_done(queue, name);
    }
    expect_none();
}
END_TEST

/* The longest delay there is does not wrap around to now. */
START_TEST(an_endless_delay)
{
    kube_queue_add_after(queue, "never", UINT64_MAX);
    fake_ns += 1000 * NSEC_PER_SEC;
    kube_queue_add(queue, "now");
    expect_get("now");
    ck_assert_uint_eq(stats().delayed, 1);
}
END_TEST

/* TestItemExponentialFailureRateLimiter, with the cap of this queue. */
START_TEST(failures_back_off)
{
    uint64_t delay = 5 * NSEC_PER_MSEC;
    for (unsigned n = 0; n < 80; n++) {
        ck_assert_uint_eq(kube_queue_failures(queue, "one"), n);
        kube_queue_add_limited(queue, "one");
        fake_ns += delay - 1;
        kube_queue_add(queue, "other");
        expect_get("other"); /* and not "one", which is not due */
        kube_queue_done(queue, "other");
        expect_none();
        fake_ns += 1;
        expect_get("one");
        kube_queue_done(queue, "one");
        delay = delay * 2 < KUBE_QUEUE_DELAY_MAX_NS ? delay * 2 : KUBE_QUEUE_DELAY_MAX_NS;
    }
    ck_assert_uint_eq(delay, KUBE_QUEUE_DELAY_MAX_NS);
    kube_queue_forget(queue, "one");
    ck_assert_uint_eq(kube_queue_failures(queue, "one"), 0);
    kube_queue_add_limited(queue, "one");
    fake_ns += 5 * NSEC_PER_MSEC;
    expect_get("one");
    ck_assert_uint_eq(stats().retries, 81);
}
END_TEST

START_TEST(forget_keeps_what_waits)
{
    kube_queue_add_limited(queue, "a");
    kube_queue_forget(queue, "a");
    kube_queue_forget(queue, "unknown");
    fake_ns += NSEC_PER_SEC;
    expect_get("a");
}
END_TEST

/* TestAddWhileProcessing's end and TestQueueDrainage: what is listed is drained, nothing is added.
 */
START_TEST(shut_down_drains)
{
    kube_queue_add(queue, "a");
    kube_queue_add(queue, "b");
    kube_queue_add_after(queue, "late", NSEC_PER_SEC);
    expect_get("a");
    kube_queue_add(queue, "a");
    kube_queue_shut_down(queue);
    kube_queue_add(queue, "c");
    kube_queue_add_after(queue, "c", 1);
    kube_queue_add_limited(queue, "c");
    fake_ns += 2 * NSEC_PER_SEC;
    expect_get("b");
    kube_queue_done(queue, "a"); /* was added again before the end: its turn still comes */
    expect_get("a");
    kube_queue_done(queue, "a");
    kube_queue_done(queue, "b");
    ck_assert(!kube_queue_get(queue, key));
    ck_assert_uint_eq(stats().delayed, 0);
}
END_TEST

START_TEST(times_are_summed)
{
    kube_queue_add(queue, "a");
    fake_ns += 3 * NSEC_PER_SEC;
    expect_get("a");
    fake_ns += 2 * NSEC_PER_SEC;
    kube_queue_done(queue, "a");
    ck_assert_uint_eq(stats().wait_ns, 3 * NSEC_PER_SEC);
    ck_assert_uint_eq(stats().work_ns, 2 * NSEC_PER_SEC);
}
END_TEST

START_TEST(keys)
{
    char space[KUBE_KEY_MAX], name[KUBE_KEY_MAX];
    kube_key(key, "default", "vm");
    ck_assert_str_eq(key, "default/vm");
    kube_key_split(key, space, name);
    ck_assert_str_eq(space, "default");
    ck_assert_str_eq(name, "vm");
    kube_key(key, "", "node");
    ck_assert_str_eq(key, "node");
    kube_key(key, NULL, "node");
    kube_key_split(key, space, name);
    ck_assert_str_eq(space, "");
    ck_assert_str_eq(name, "node");
    char longest[KUBE_KEY_MAX + 1];
    memset(longest, 'x', KUBE_KEY_MAX);
    longest[KUBE_KEY_MAX] = '\0';
    kube_queue_add(queue, longest);
    expect_none();
}
END_TEST

START_TEST(many_keys)
{
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "default/vm-%u", i);
        kube_queue_add(queue, key);
    }
    ck_assert_uint_eq(stats().depth, 5000);
    for (unsigned i = 0; i < 5000; i++) {
        char expected[32];
        snprintf(expected, sizeof(expected), "default/vm-%u", i);
        expect_get(expected);
        kube_queue_done(queue, expected);
    }
    expect_none();
}
END_TEST

/* Threads: producers add and delay, workers take; a key never runs twice at a time, none is lost.
 */
#define THREADS     4
#define THREAD_KEYS 16
#define THREAD_ADDS 2000

static atomic_int running[THREAD_KEYS];
static atomic_uint wanted[THREAD_KEYS], seen[THREAD_KEYS], overlaps;

static void *produce(void *arg)
{
    unsigned seed = *(const unsigned *)arg;
    for (unsigned i = 0; i < THREAD_ADDS; i++) {
        char name[16];
        unsigned n = (seed + i * 7) % THREAD_KEYS;
        snprintf(name, sizeof(name), "%u", n);
        atomic_fetch_add(&wanted[n], 1);
        if (i % 3 == 0)
            kube_queue_add_after(queue, name, (i % 5) * NSEC_PER_USEC * 100);
        else
            kube_queue_add(queue, name);
    }
    return NULL;
}

static void *work(void *arg)
{
    (void)arg;
    char name[KUBE_KEY_MAX];
    while (kube_queue_get(queue, name)) {
        unsigned n = (unsigned)atoi(name);
        unsigned now = atomic_load(&wanted[n]);
        if (atomic_fetch_add(&running[n], 1) != 0)
            atomic_fetch_add(&overlaps, 1);
        atomic_store(&seen[n], now);
        atomic_fetch_sub(&running[n], 1);
        kube_queue_done(queue, name);
    }
    return NULL;
}

static bool all_seen(void)
{
    for (unsigned n = 0; n < THREAD_KEYS; n++) {
        if (atomic_load(&seen[n]) != atomic_load(&wanted[n]))
            return false;
    }
    return true;
}

START_TEST(threads_lose_no_wake_up)
{
    kube_queue_free(queue);
    queue = kube_queue_new("threads", NULL);
    pthread_t producer[THREADS], worker[THREADS];
    unsigned seed[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&worker[i], NULL, work, NULL), 0);
        seed[i] = (unsigned)i;
        ck_assert_int_eq(pthread_create(&producer[i], NULL, produce, &seed[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(producer[i], NULL);
    uint64_t give_up = clock_now_ns() + 20 * NSEC_PER_SEC;
    while (!all_seen() && clock_now_ns() < give_up)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    kube_queue_shut_down(queue);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(worker[i], NULL);
    ck_assert(all_seen());
    ck_assert_uint_eq(atomic_load(&overlaps), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kube-queue");
    TCase *tc = tcase_create("queue");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, first_in_first_out_each_once);
    tcase_add_test(tc, reinsert);
    tcase_add_test(tc, collapse_while_processing);
    tcase_add_test(tc, done_without_get_is_harmless);
    tcase_add_test(tc, delayed_key_comes_when_due);
    tcase_add_test(tc, the_earlier_delay_counts);
    tcase_add_test(tc, delayed_keys_in_order_of_time);
    tcase_add_test(tc, an_endless_delay);
    tcase_add_test(tc, failures_back_off);
    tcase_add_test(tc, forget_keeps_what_waits);
    tcase_add_test(tc, shut_down_drains);
    tcase_add_test(tc, times_are_summed);
    tcase_add_test(tc, keys);
    tcase_add_test(tc, many_keys);
    tcase_add_test(tc, threads_lose_no_wake_up);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

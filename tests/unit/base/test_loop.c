// SPDX-License-Identifier: Apache-2.0
/* The event loop: posted work that never ends leaves its turn to sources, and none is lost. */
#include "run_suite.h"
#include <check.h>
#include <podvisor/loop.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct loop loop;
static struct loop_work work[2];
static unsigned runs[2], source_calls;
static char order[8];
static size_t order_len;

static void note(struct loop_work *w, unsigned index)
{
    runs[index]++;
    if (order_len < sizeof(order) - 1)
        order[order_len++] = (char)('a' + index);
    /* An end, so that a loop which does not leave fails the test instead of hanging it. */
    if (runs[index] < 1000)
        loop_post(&loop, w);
}

static void run_first(struct loop_work *w)
{
    note(w, 0);
}

static void run_second(struct loop_work *w)
{
    note(w, 1);
}

static void source_ready(struct loop_source *src, uint32_t events)
{
    (void)src;
    (void)events;
    source_calls++;
}

static void setup(void)
{
    struct error err = ERROR_INIT;
    ck_assert_int_eq(loop_init(&loop, &err), 0);
    work[0] = (struct loop_work){.run = run_first};
    work[1] = (struct loop_work){.run = run_second};
    runs[0] = runs[1] = source_calls = 0;
    order_len = 0;
}

static void teardown(void)
{
    loop_done(&loop);
}

START_TEST(work_that_posts_itself)
{
    struct loop_source source = LOOP_SOURCE_INIT(source_ready);
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(loop_add(&loop, &source, fd, EPOLLIN, NULL), 0);
    loop_post(&loop, &work[0]);
    loop_post(&loop, &work[1]);
    for (unsigned turn = 1; turn <= 3; turn++) {
        /* Would wait for ever if the post of the turn before had been lost. */
        ck_assert_int_eq(loop_run_once(&loop, -1), 0);
        ck_assert_uint_eq(runs[0], turn);
        ck_assert_uint_eq(runs[1], turn);
        ck_assert_uint_eq(source_calls, turn);
    }
    order[order_len] = '\0';
    ck_assert_str_eq(order, "ababab");
    loop_del(&loop, &source);
    close(fd);
}
END_TEST

START_TEST(later_work_wakes_the_loop)
{
    loop_post(&loop, &work[0]);
    for (unsigned turn = 1; turn <= 5; turn++) {
        ck_assert_int_eq(loop_run_once(&loop, -1), 0);
        ck_assert_uint_eq(runs[0], turn);
    }
}
END_TEST

static Suite *make_suite(void)
{
    Suite *s = suite_create("loop");
    TCase *t = tcase_create("posted work");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, work_that_posts_itself);
    tcase_add_test(t, later_work_wakes_the_loop);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(make_suite());
}

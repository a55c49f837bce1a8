// SPDX-License-Identifier: Apache-2.0
/* What the device plugin's tests share: a folder of their own, and turns of a loop. */
#ifndef PODVISOR_TESTS_DEVICEPLUGIN_KIT_H
#define PODVISOR_TESTS_DEVICEPLUGIN_KIT_H

#include <check.h>
#include <podvisor/clock.h>
#include <podvisor/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WAIT_NS (10 * NSEC_PER_SEC)

/* Turns the loop until the condition holds; fails the test when it never does. */
#define run_until(loop, condition)                                    \
    do {                                                              \
        uint64_t end_ = clock_now_ns() + WAIT_NS;                     \
        while (!(condition) && clock_now_ns() < end_)                 \
            ck_assert_int_eq(loop_run_once((loop), 5), 0);            \
        ck_assert_msg((condition), "never happened: %s", #condition); \
    } while (0)

/* Turns the loop for a while. */
static inline void run_for(struct loop *loop, unsigned ms)
{
    for (uint64_t end = clock_now_ns() + ms * NSEC_PER_MSEC; clock_now_ns() < end;)
        ck_assert_int_eq(loop_run_once(loop, 2), 0);
}

/* An empty folder below /tmp: socket names are short. */
static inline void make_folder(char folder[64])
{
    snprintf(folder, 64, "/tmp/podvisor-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

#endif

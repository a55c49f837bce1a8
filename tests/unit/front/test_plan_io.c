// SPDX-License-Identifier: Apache-2.0
/*
 * Disks over I/O threads, case by case; expected threads are what KubeVirt's converter writes into
 * a domain (iothread n), but for pools, of which a disk has one thread.
 */
#include "plan.h"
#include "run_suite.h"
#include <check.h>
#include <podvisor/cleanup.h>
#include <stdio.h>
#include <string.h>

static struct plan plan;

static const struct row {
    enum plan_io_policy policy;
    unsigned cpus, pool;
    const char *disks;   /* one a letter: d has a dedicated thread, s none */
    const char *threads; /* the thread of each */
    unsigned total;      /* threads, the common one included */
    bool with_emulator;
} rows[] = {
    {PLAN_IO_NONE, 4, 0, "", "", 1, false},
    {PLAN_IO_NONE, 4, 0, "ss", "0 0", 1, false},
    {PLAN_IO_NONE, 4, 0, "sds", "1 2 1", 3, false},
    {PLAN_IO_NONE, 4, 0, "d", "1", 2, false},
    {PLAN_IO_SHARED, 4, 0, "sss", "1 1 1", 2, false},
    {PLAN_IO_SHARED, 4, 0, "sdsd", "1 2 1 3", 4, false},
    {PLAN_IO_AUTO, 1, 0, "s", "1", 2, false},
    {PLAN_IO_AUTO, 1, 0, "ss", "1 2", 3, false},
    {PLAN_IO_AUTO, 1, 0, "sssss", "1 2 1 2 1", 3, false},
    {PLAN_IO_AUTO, 2, 0, "sssss", "1 2 3 4 1", 5, false},
    {PLAN_IO_AUTO, 1, 0, "dsds", "2 1 3 1", 4, false},
    {PLAN_IO_AUTO, 1, 0, "ddd", "1 2 3", 4, false},
    {PLAN_IO_AUTO, 2, 0, "ssss", "1 1 1 1", 2, true},
    {PLAN_IO_POOL, 1, 2, "ssss", "1 2 1 2", 3, false},
    {PLAN_IO_POOL, 1, 2, "dsds", "1 2 1 2", 3, false},
    {PLAN_IO_POOL, 1, 8, "ss", "1 2", 3, false},
    {PLAN_IO_POOL, 1, UINT32_MAX, "ssssssssssssssss", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 1", 16,
     false},
    {PLAN_IO_NONE, 1, 0, "dddddddddddddddd", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 1", 16, false},
    {PLAN_IO_AUTO, 64, 0, "ssssssssssssssss", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 1", 16, false},
};

START_TEST(threads)
{
    const struct row *row = &rows[_i];
    memset(&plan, 0, sizeof(plan));
    plan.io_policy = row->policy;
    plan.cpus = row->cpus;
    plan.io_pool_threads = row->pool;
    plan.io_with_emulator = row->with_emulator;
    plan.disk_count = (unsigned)strlen(row->disks);
    for (unsigned i = 0; i < plan.disk_count; i++)
        plan.disk[i].tuning.dedicated_io_thread = row->disks[i] == 'd';
    plan_assign_io(&plan);
    char text[128] = "";
    size_t len = 0;
    for (unsigned i = 0; i < plan.disk_count; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%u", i > 0 ? " " : "",
                                plan.disk[i].io_thread);
    ck_assert_str_eq(text, row->threads);
    ck_assert_uint_eq(plan.io_threads, row->total);
    ck_assert_uint_le(plan.io_threads, MACHINE_IO_MAX);
}
END_TEST

START_TEST(queues)
{
    memset(&plan, 0, sizeof(plan));
    plan.disk_count = 2;
    plan.disk[1].tuning.queues = 2;
    plan.cpus = 4;
    plan_assign_io(&plan);
    ck_assert_uint_eq(plan.disk[0].tuning.queues, 1);
    ck_assert_uint_eq(plan.disk[1].tuning.queues, 2);
    plan.disk[0].tuning.queues = 0;
    plan.block_multi_queue = true;
    plan_assign_io(&plan);
    ck_assert_uint_eq(plan.disk[0].tuning.queues, 4);
    ck_assert_uint_eq(plan.disk[1].tuning.queues, 2);
    plan.disk[0].tuning.queues = 0;
    plan.cpus = 64;
    plan_assign_io(&plan);
    ck_assert_uint_eq(plan.disk[0].tuning.queues, 8);
}
END_TEST

START_TEST(caches)
{
    struct plan_disk disk = {.direct = true};
    plan_set_cache(&disk, DISK_CACHE_UNSET);
    ck_assert(!disk.direct && disk.try_direct && !disk.writethrough);
    plan_set_cache(&disk, DISK_CACHE_NONE);
    ck_assert(disk.direct && !disk.try_direct && !disk.writethrough);
    plan_set_cache(&disk, DISK_CACHE_WRITETHROUGH);
    ck_assert(!disk.direct && !disk.try_direct && disk.writethrough);
    plan_set_cache(&disk, DISK_CACHE_WRITEBACK);
    ck_assert(!disk.direct && !disk.try_direct && !disk.writethrough);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("front-plan-io");
    TCase *tc = tcase_create("plan-io");
    tcase_add_loop_test(tc, threads, 0, ARRAY_SIZE(rows));
    tcase_add_test(tc, queues);
    tcase_add_test(tc, caches);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

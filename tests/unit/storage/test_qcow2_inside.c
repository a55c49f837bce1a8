// SPDX-License-Identifier: Apache-2.0
/*
 * What of a qcow2 image shows from the inside only: the states between two steps of a change.
 * fdatasync() is wrapped by the linker: it is what separates the steps.
 */
#include "qcow2.h"
#include "qcow2kit.h"
#include "run_suite.h"
#include <podvisor/cleanup.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

static void (*between)(void);

int __wrap_fdatasync(int fd);

/* What is called in between may get here again. */
int __wrap_fdatasync(int fd)
{
    void (*now)(void) = between;
    (void)fd;
    between = NULL;
    if (now != NULL)
        now();
    between = now;
    return 0;
}

static void write_range(struct image *img, uint64_t from, uint64_t to)
{
    static uint8_t buf[65536];
    for (uint64_t at = from; at < to; at += sizeof(buf)) {
        kit_fill(buf, sizeof(buf), at, 1);
        ck_assert_int_eq(kit_write(img, at, buf, sizeof(buf)), 0);
    }
}

/* ---- while the refcount table grows ---- */

static struct image *growing;
static uint64_t neighbour; /* of the guest's disk: the first data behind the table in the file */
static unsigned writes_between;

/* As another thread would, which needs alloc_lock for nothing. */
static void write_neighbour(void)
{
    static uint8_t buf[512];
    struct iovec iov = {.iov_base = buf, .iov_len = sizeof(buf)};
    ck_assert_int_eq(growing->ops->write(growing, &iov, 1, neighbour, false), sizeof(buf));
    writes_between++;
}

static void find_neighbour(struct qcow2 *q, uint64_t end)
{
    uint64_t best = UINT64_MAX;
    for (uint64_t at = 0; at < end; at += q->cluster_size) {
        struct qcow2_extent e;
        const char *bad;
        pthread_mutex_lock(&q->map_lock);
        int r = qcow2_lookup(q, at, q->cluster_size, false, &e, &bad);
        pthread_mutex_unlock(&q->map_lock);
        ck_assert_int_eq(r, 0);
        if (e.kind == QCOW2_KIND_DATA && e.host > q->refcount_table.offset && e.host < best) {
            best = e.host;
            neighbour = at;
        }
    }
}

START_TEST(test_data_behind_a_refcount_table_that_grows)
{
    kit_run("qemu-img create -q -f qcow2 -o cluster_size=512 disk.qcow2 32M");
    growing = kit_open("disk.qcow2", IMAGE_FORMAT_QCOW2, false, NULL);
    struct qcow2 *q = growing->qcow2;
    uint64_t first = q->refcount_table.offset, end = 0;
    for (; q->refcount_table.offset == first && end < 32 * MIB; end += MIB)
        write_range(growing, end, end + MIB);
    uint64_t second = q->refcount_table.offset;
    ck_assert_uint_ne(second, first);
    find_neighbour(q, end);
    between = write_neighbour;
    for (; q->refcount_table.offset == second && end < 32 * MIB; end += MIB)
        write_range(growing, end, end + MIB);
    between = NULL;
    ck_assert_uint_ne(q->refcount_table.offset, second);
    ck_assert_uint_gt(writes_between, 0);
    ck_assert(!atomic_load(&q->corrupt));
    ck_assert_int_eq(growing->ops->flush(growing), 0);
    kit_close(growing);
    kit_run("qemu-img check -q -f qcow2 disk.qcow2");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("qcow2-inside");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 110);
    tcase_add_checked_fixture(tc, kit_enter, kit_leave);
    tcase_add_test(tc, test_data_behind_a_refcount_table_that_grows);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

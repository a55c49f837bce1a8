// SPDX-License-Identifier: Apache-2.0
/*
 * What of a qcow2 image shows from the inside only: the states between two steps. fdatasync(),
 * which separates them, and pread(), which opening begins with, are wrapped by the linker.
 */
#include "qcow2.h"
#include "qcow2kit.h"
#include "run_suite.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

static void (*between)(void), (*after_pread)(void);

int __wrap_fdatasync(int fd);
ssize_t __real_pread(int fd, void *buf, size_t len, off_t offset);
ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t offset);

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

ssize_t __wrap_pread(int fd, void *buf, size_t len, off_t offset)
{
    ssize_t n = __real_pread(fd, buf, len, offset);
    if (after_pread != NULL)
        after_pread();
    return n;
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

/* ---- a file that changes while it is opened ---- */

static void change_file(void)
{
    after_pread = NULL;
    kit_run("cat small.qcow2 > disk.qcow2");
}

/* What was checked is what is used: no table is smaller than the disk needs. */
START_TEST(test_header_that_changes)
{
    kit_run("qemu-img create -q -f qcow2 -o cluster_size=512 disk.qcow2 64M");
    kit_run("qemu-img create -q -f qcow2 -o cluster_size=512 small.qcow2 64k");
    after_pread = change_file;
    struct image *img = kit_open("disk.qcow2", IMAGE_FORMAT_QCOW2, true, NULL);
    ck_assert_ptr_null(after_pread);
    struct qcow2 *q = img->qcow2;
    ck_assert_uint_eq(img->geometry.size, 64 * MIB);
    uint64_t last = (img->geometry.size - 1) >> q->cluster_bits;
    ck_assert_uint_lt(last >> q->l2_bits, q->l1.count);
    uint8_t buf[512];
    ck_assert_int_eq(kit_read(img, img->geometry.size - sizeof(buf), buf, sizeof(buf)), 0);
    kit_close(img);
}
END_TEST

START_TEST(test_behind_the_l1_table)
{
    kit_run("qemu-img create -q -f qcow2 -o cluster_size=512 disk.qcow2 64k");
    struct image *img = kit_open("disk.qcow2", IMAGE_FORMAT_QCOW2, true, NULL);
    struct qcow2 *q = img->qcow2;
    uint64_t end = (uint64_t)q->l1.count << q->l2_bits, table;
    bool copied;
    ck_assert_ptr_null(qcow2_l2_place(q, end - 1, &table, &copied));
    ck_assert_ptr_nonnull(qcow2_l2_place(q, end, &table, &copied));
    kit_close(img);
}
END_TEST

/* ---- a backing image that is stricter ---- */

/* cluster size, size in bytes, whether blocks of 4096 bytes can be moved. */
static const struct {
    const char *cluster_size;
    unsigned size;
    bool good;
} overlays[] = {
    {"512", 65536, false}, {"4k", 65536, true}, {"64k", 65536, true}, {"64k", 66048, false}};

/* Tables are written in blocks of the alignment: none may have a piece of another cluster. */
START_TEST(test_alignment_of_the_backing)
{
    struct error err = ERROR_INIT;
    kit_run("truncate -s 64k below.img; qemu-img create -q -f qcow2 -o cluster_size=%s "
            "-b below.img -F raw disk.qcow2 %u",
            overlays[_i].cluster_size, overlays[_i].size);
    struct image *below = kit_open("below.img", IMAGE_FORMAT_RAW, true, NULL);
    below->geometry.offset_align = below->geometry.mem_align = 4096;
    struct image *img = kit_try_open("disk.qcow2", IMAGE_FORMAT_QCOW2, O_RDWR, below, &err);
    ck_assert_int_eq(img != NULL, overlays[_i].good);
    if (img == NULL) {
        ck_assert_int_eq(err.code, EINVAL);
        ck_assert_ptr_nonnull(strstr(err.text, "backing"));
        kit_close(below);
        return;
    }
    ck_assert_uint_eq(img->geometry.offset_align, 4096);
    write_range(img, 0, 65536);
    ck_assert_int_eq(img->ops->flush(img), 0);
    kit_close(img);
    kit_run("qemu-img check -q -f qcow2 disk.qcow2");
}
END_TEST

/* ---- the set of metadata ---- */

/* New L2 tables take the place of none: the set has room for those that are, not for more. */
START_TEST(test_new_tables_remove_nothing)
{
    kit_run("qemu-img create -q -f qcow2 -o cluster_size=512 disk.qcow2 4M");
    struct image *img = kit_open("disk.qcow2", IMAGE_FORMAT_QCOW2, false, NULL);
    struct qcow2 *q = img->qcow2;
    write_range(img, 0, 4 * MIB);
    unsigned tables = 0;
    for (uint64_t i = 0; i < q->metadata_size; i++) {
        ck_assert(q->metadata[i] == 0 || qcow2_is_metadata(q, q->metadata[i]));
        ck_assert_uint_eq(q->metadata[i] & (q->cluster_size - 1), 0);
        tables += q->metadata[i] != 0;
    }
    ck_assert_uint_gt(tables, q->l1.count);
    kit_close(img);
}
END_TEST

/* ---- memory ---- */

static uint64_t cache_bytes(const struct qcow2_cache *cache)
{
    return (uint64_t)cache->sets * QCOW2_CACHE_WAYS * (cache->slice_size + sizeof(*cache->slot));
}

static uint64_t table_bytes(const struct qcow2 *q)
{
    return cache_bytes(&q->l2_cache) + cache_bytes(&q->refcount_cache) + sizeof(*q) +
           ((uint64_t)q->l1.room + q->refcount_table.room + q->metadata_size) * 8;
}

static const char *const clusters[] = {
    "64k",  "64k,compression_type=zstd", "256k", "256k,compression_type=zstd",
    "512k", "1M,compression_type=zstd",  "2M",   "2M,compression_type=zstd"};

/* What a pod asks for: OVERHEAD_IMAGE and OVERHEAD_OVERLAY of src/operator/overhead.c. */
START_TEST(test_memory)
{
    kit_run("qemu-img create -q -f qcow2 -o cluster_size=%s disk.qcow2 1T", clusters[_i]);
    struct image *img = kit_open("disk.qcow2", IMAGE_FORMAT_QCOW2, true, NULL);
    struct qcow2 *q = img->qcow2;
    uint64_t unpack = 3 * (uint64_t)q->cluster_size + qcow2_workspace_size(q);
    ck_assert_uint_ge(q->unpack.count, 1);
    ck_assert_uint_le(table_bytes(q) + q->unpack.count * unpack, 21 * MIB / 2);
    kit_close(img);

    img = kit_open("disk.qcow2", IMAGE_FORMAT_QCOW2, false, NULL);
    q = img->qcow2;
    ck_assert_uint_ge(q->copy.count, 1);
    if (_i == 0) /* as overlays are */
        ck_assert_uint_le(table_bytes(q) + q->copy.count * (uint64_t)q->cluster_size, 11 * MIB / 2);
    kit_close(img);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("qcow2-inside");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 110);
    tcase_add_checked_fixture(tc, kit_enter, kit_leave);
    tcase_add_test(tc, test_data_behind_a_refcount_table_that_grows);
    tcase_add_test(tc, test_header_that_changes);
    tcase_add_test(tc, test_behind_the_l1_table);
    tcase_add_loop_test(tc, test_alignment_of_the_backing, 0, (int)ARRAY_SIZE(overlays));
    tcase_add_test(tc, test_new_tables_remove_nothing);
    tcase_add_loop_test(tc, test_memory, 0, (int)ARRAY_SIZE(clusters));
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

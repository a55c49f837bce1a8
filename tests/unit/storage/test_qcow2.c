// SPDX-License-Identifier: Apache-2.0
/*
 * What random operations do not meet: images that contradict themselves, a full file system, the
 * refcount table outgrown, and the small print of headers.
 */
#include "qcow2_create.h"
#include "qcow2_format.h"
#include "qcow2_header.h"
#include "qcow2kit.h"
#include "run_suite.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define KIB     UINT64_C(1024)
#define MIB     (KIB * KIB)
#define CLUSTER (64 * KIB)

static uint8_t buf[4 * MIB];

/* ---- writes that fail ---- */

static unsigned failures_from, failures_to, writes; /* writes [from, to) find no room */

ssize_t __real_pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags);
ssize_t __wrap_pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags);

ssize_t __wrap_pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
    unsigned n = writes++;
    if (n >= failures_from && n < failures_to) {
        errno = ENOSPC;
        return -1;
    }
    return __real_pwritev2(fd, iov, count, offset, flags);
}

/* ---- the file, edited behind its back ---- */

static uint64_t peek(uint64_t offset)
{
    uint8_t bytes[8] = {0};
    cleanup_close int fd = open("disk.qcow2", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(pread(fd, bytes, 8, (off_t)offset), 8);
    return get_be64(bytes);
}

static void poke(uint64_t offset, uint64_t value)
{
    uint8_t bytes[8];
    cleanup_close int fd = open("disk.qcow2", O_WRONLY | O_CLOEXEC);
    put_be64(bytes, value);
    ck_assert_int_eq(pwrite(fd, bytes, 8, (off_t)offset), 8);
}

static uint64_t l1_offset(void)
{
    return peek(40);
}

static uint64_t l2_offset(void)
{
    return peek(l1_offset()) & QCOW2_OFFSET_MASK;
}

static bool marked_corrupt(void)
{
    return (peek(QCOW2_OFFSET_INCOMPATIBLE) & QCOW2_INCOMPATIBLE_CORRUPT) != 0;
}

static struct image *open_disk(void)
{
    return kit_open("disk.qcow2", IMAGE_FORMAT_QCOW2, false, NULL);
}

static void make_disk(const char *options, const char *commands)
{
    failures_from = failures_to = 0;
    kit_run("qemu-img create -q -f qcow2 -o %s disk.qcow2 4M", options);
    kit_run("qemu-io -f qcow2 %s disk.qcow2 > io.txt", commands);
}

/* ---- images that contradict themselves ---- */

static const struct contradiction {
    const char *options;
    uint64_t entry; /* of the first cluster; the second one is good */
} contradictions[] = {
    {"compat=1.1", QCOW2_COPIED | 0x50100},                     /* reserved bits */
    {"compat=1.1", QCOW2_COPIED | UINT64_C(1) << 56 | 0x50000}, /* others */
    {"compat=1.1", QCOW2_COPIED | 0x50200},                     /* inside a cluster */
    {"compat=1.1", QCOW2_COPIED | UINT64_C(1) << 50},           /* far behind the end */
    {"compat=0.10", QCOW2_COPIED | 0x50001},                    /* zero flag in version 2 */
    {"compat=1.1", QCOW2_COMPRESSED | QCOW2_COPIED | 0x50000},
    {"compat=1.1", QCOW2_COMPRESSED | UINT64_C(1) << 50},
};

START_TEST(test_bad_entry)
{
    const struct contradiction *c = &contradictions[_i];
    make_disk(c->options, "-c 'write -P 1 0 64k' -c 'write -P 2 64k 64k'");
    poke(l2_offset(), c->entry);
    struct image *img = kit_open("disk.qcow2", IMAGE_FORMAT_QCOW2, true, NULL);
    ck_assert_int_eq(kit_read(img, 0, buf, 512), -EIO);
    ck_assert_int_eq(kit_read(img, CLUSTER, buf, 512), 0);
    ck_assert_uint_eq(buf[0], 2);
    kit_close(img);
    if (strcmp(c->options, "compat=1.1") == 0)
        ck_assert(!marked_corrupt());

    img = open_disk();
    struct iovec iov = {.iov_base = buf, .iov_len = 512};
    ck_assert_int_eq((int)img->ops->read(img, &iov, 1, 0, true), -EAGAIN);
    ck_assert_int_eq(kit_write(img, 0, buf, 512), -EIO);
    ck_assert_int_eq(kit_write(img, CLUSTER, buf, 512), -EIO);
    ck_assert_int_eq(img->ops->discard(img, CLUSTER, CLUSTER), -EIO);
    ck_assert_int_eq(img->ops->flush(img), -EIO);
    ck_assert_int_eq(kit_read(img, CLUSTER, buf, 512), 0);
    kit_close(img);
    if (strcmp(c->options, "compat=1.1") == 0)
        ck_assert(marked_corrupt());
}
END_TEST

/* A cluster of data in the place of each kind of metadata: none of it may be overwritten. */
START_TEST(test_data_in_place_of_metadata)
{
    make_disk("compat=1.1", "-c 'write -P 1 0 64k'");
    uint64_t places[] = {peek(48), peek(peek(48)), l1_offset(), l2_offset()};
    uint64_t before = peek(places[_i]);
    poke(l2_offset() + 8, QCOW2_COPIED | places[_i]);
    uint64_t entries = places[_i] == l2_offset() ? peek(places[_i]) : before;
    struct image *img = open_disk();
    memset(buf, 0xff, CLUSTER);
    ck_assert_int_eq(kit_write(img, CLUSTER, buf, 4096), -EIO);
    kit_close(img);
    ck_assert(marked_corrupt());
    ck_assert_uint_eq(peek(places[_i]), entries);
}
END_TEST

/* The refcounts say that all is free: allocation must not hand out what is in use. */
START_TEST(test_refcounts_that_are_zero)
{
    make_disk("compat=1.1", "-c 'write -P 1 0 64k'");
    uint64_t block = peek(peek(48));
    poke(block, 0);
    poke(block + 8, 0);
    struct image *img = open_disk();
    memset(buf, 0xff, CLUSTER);
    ck_assert_int_eq(kit_write(img, CLUSTER, buf, CLUSTER), -EIO);
    kit_close(img);
    ck_assert(marked_corrupt());
}
END_TEST

START_TEST(test_discard_of_what_counts_as_free)
{
    make_disk("compat=1.1", "-c 'write -P 1 0 64k'");
    uint64_t cluster = (peek(l2_offset()) & QCOW2_OFFSET_MASK) / CLUSTER;
    uint64_t place = peek(peek(48)) + cluster * 2 / 8 * 8;
    poke(place, peek(place) & ~(UINT64_C(0xffff) << (48 - cluster % 4 * 16)));
    struct image *img = open_disk();
    ck_assert_int_eq(img->ops->discard(img, 0, CLUSTER), 0);
    ck_assert_int_eq(img->ops->flush(img), -EIO);
    kit_close(img);
    ck_assert(marked_corrupt());
}
END_TEST

static void expect_no_open(const char *text)
{
    struct error err = ERROR_INIT;
    struct image *img = kit_try_open("disk.qcow2", IMAGE_FORMAT_QCOW2, O_RDWR, NULL, &err);
    ck_assert_ptr_null(img);
    ck_assert_msg(strstr(err.text, text) != NULL, "%s", err.text);
}

/* Two tables in one place, or one where no table can be. */
START_TEST(test_tables_that_overlap)
{
    make_disk("cluster_size=4k", "-c 'write 0 4k' -c 'write 2M 4k'");
    uint64_t l1 = l1_offset(), second = peek(l1 + 8);
    static const uint64_t wrong[] = {4096 * 2 + 512, UINT64_C(1) << 50, 256, UINT64_C(1) << 60};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        poke(l1 + 8, QCOW2_COPIED | wrong[i]);
        expect_no_open("is corrupt: its L2 table 1");
        struct image *img = kit_open("disk.qcow2", IMAGE_FORMAT_QCOW2, true, NULL);
        ck_assert_int_eq(kit_read(img, 2 * MIB, buf, 512), -EIO);
        kit_close(img);
    }
    poke(l1 + 8, peek(l1));
    expect_no_open("is corrupt: its L2 table 1");
    poke(l1 + 8, QCOW2_COPIED | l1);
    expect_no_open("is corrupt: its L2 table 1");
    poke(l1 + 8, second);
    poke(peek(48) + 8, peek(peek(48)));
    expect_no_open("is corrupt: its refcount block 1");
}
END_TEST

START_TEST(test_garbage_in_compressed_cluster)
{
    make_disk(_i == 0 ? "compat=1.1" : "compression_type=zstd",
              "-c 'write -c -P 1 0 64k' -c 'write -P 2 64k 64k'");
    uint64_t offset = peek(l2_offset()) & 0x3fffffffffffff;
    poke(offset & ~UINT64_C(7), UINT64_MAX);
    struct image *img = open_disk();
    ck_assert_int_eq(kit_read(img, 4096, buf, 512), -EIO);
    ck_assert_int_eq(kit_write(img, 4096, buf, 512), -EIO);
    ck_assert_int_eq(kit_write(img, 0, buf, CLUSTER), 0);
    ck_assert_int_eq(kit_read(img, 4096, buf, 512), 0);
    ck_assert_int_eq(img->ops->flush(img), 0);
    kit_close(img);
    ck_assert(!marked_corrupt());
    kit_run("qemu-img check -q -f qcow2 disk.qcow2");
}
END_TEST

/* ---- a full file system ---- */

/* Each write in turn, and some after it, finds no room. Then there is room again. */
START_TEST(test_no_space)
{
    static uint8_t shadow[4 * MIB], now[4 * MIB];
    for (unsigned from = 0; from < 60; from += 3) {
        kit_run("rm -f disk.qcow2");
        make_disk("cluster_size=4k", "-c 'write -P 1 0 64k'");
        memset(shadow, 0, sizeof(shadow));
        memset(shadow, 1, 64 * KIB);
        struct image *img = open_disk();
        writes = 0;
        failures_from = from;
        failures_to = from + 4;
        uint64_t state = from;
        for (unsigned i = 0; i < 24; i++) {
            uint64_t len = (1 + kit_random(&state) % 24) * 512;
            uint64_t offset = kit_random(&state) % (4 * MIB - len) / 512 * 512;
            kit_fill(buf, len, offset, i);
            int r = kit_write(img, offset, buf, len);
            ck_assert(r == 0 || r == -ENOSPC);
            /* Of a write that failed any part may be there. */
            ck_assert_int_eq(kit_read(img, offset, shadow + offset, len), 0);
            if (r == 0)
                ck_assert(memcmp(shadow + offset, buf, len) == 0);
            r = i % 4 == 0 ? img->ops->flush(img) : 0;
            ck_assert(r == 0 || r == -ENOSPC);
        }
        failures_to = 0;
        ck_assert_int_eq(img->ops->flush(img), 0);
        ck_assert_int_eq(kit_read(img, 0, now, sizeof(now)), 0);
        ck_assert(memcmp(now, shadow, sizeof(now)) == 0);
        kit_close(img);
        kit_run("qemu-img check -q -f qcow2 disk.qcow2");
    }
}
END_TEST

/* ---- growth ---- */

START_TEST(test_refcount_table_grows)
{
    static const char *const options[] = {"cluster_size=512,refcount_bits=64",
                                          "cluster_size=512,refcount_bits=16"};
    uint64_t size = _i == 0 ? 4 * MIB : 16 * MIB;
    kit_run("qemu-img create -q -f qcow2 -o %s disk.qcow2 %llu", options[_i],
            (unsigned long long)size);
    uint64_t before = peek(48);
    struct image *img = open_disk();
    for (uint64_t at = 0; at < size; at += 256 * KIB) {
        kit_fill(buf, 256 * KIB, at, 5);
        ck_assert_int_eq(kit_write(img, at, buf, 256 * KIB), 0);
    }
    ck_assert_int_eq(img->ops->flush(img), 0);
    kit_close(img);
    if (_i == 0)
        ck_assert_uint_ne(peek(48), before);
    kit_run("qemu-img check -q -f qcow2 disk.qcow2");
    img = open_disk();
    for (uint64_t at = 0; at < size; at += 256 * KIB) {
        kit_fill(buf, 256 * KIB, at, 5);
        ck_assert_int_eq(kit_read(img, at, buf + MIB, 256 * KIB), 0);
        ck_assert(memcmp(buf, buf + MIB, 256 * KIB) == 0);
    }
    kit_close(img);
}
END_TEST

/* ---- small print ---- */

START_TEST(test_discard_punches_holes)
{
    make_disk("compat=1.1", "-c 'write -P 1 0 4M'");
    struct stat before, after;
    struct image *img = open_disk();
    ck_assert_int_eq(fstat(img->fd, &before), 0);
    ck_assert_int_eq(img->ops->discard(img, 0, 3 * MIB), 0);
    ck_assert_int_eq(img->ops->flush(img), 0);
    ck_assert_int_eq(fstat(img->fd, &after), 0);
    /* But for what the file system needs to say so. */
    ck_assert_int_le(after.st_blocks, before.st_blocks - (blkcnt_t)((3 * MIB - 64 * KIB) / 512));
    kit_close(img);
    kit_run("qemu-img check -q -f qcow2 disk.qcow2");
}
END_TEST

/* Bitmaps are out of date with the first write, and not before. */
START_TEST(test_autoclear)
{
    make_disk("compat=1.1", "-c 'write -P 1 0 64k'");
    kit_run("qemu-img bitmap --add disk.qcow2 b");
    uint64_t features = peek(QCOW2_OFFSET_AUTOCLEAR);
    ck_assert_uint_ne(features, 0);
    struct image *img = open_disk();
    ck_assert_int_eq(kit_read(img, 0, buf, 512), 0);
    ck_assert_int_eq(img->ops->flush(img), 0);
    ck_assert_uint_eq(peek(QCOW2_OFFSET_AUTOCLEAR), features);
    ck_assert_int_eq(kit_write(img, 0, buf, 512), 0);
    ck_assert_uint_eq(peek(QCOW2_OFFSET_AUTOCLEAR), 0);
    ck_assert_int_eq(img->ops->flush(img), 0);
    kit_close(img);
    /* The bitmap's clusters are leaks then; QEMU says the same of its own. */
    ck_assert_int_eq(kit_status("qemu-img check -q -f qcow2 disk.qcow2 > check.txt 2>&1"), 3);
}
END_TEST

/* Sizes that only the file knows: QEMU's and ours are the same disk. */
START_TEST(test_created_here)
{
    cleanup_close int image = open("disk.qcow2", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const struct qcow2_create_options options = {.size = 3 * MIB + 512, .cluster_bits = 12};
    ck_assert_int_eq(qcow2_create(image, &options, NULL), 0);
    struct image *img = open_disk();
    ck_assert_uint_eq(img->geometry.size, 3 * MIB + 512);
    kit_fill(buf, 2048, 3 * MIB - 1536, 1);
    ck_assert_int_eq(kit_write(img, 3 * MIB - 1536, buf, 2048), 0);
    ck_assert_int_eq(kit_read(img, 3 * MIB + 512, buf, 512), -EINVAL);
    ck_assert_int_eq(img->ops->flush(img), 0);
    kit_close(img);
    kit_run("qemu-img check -q -f qcow2 disk.qcow2");
    kit_run("qemu-img convert -f qcow2 -O raw disk.qcow2 disk.raw");
    cleanup_close int fd = open("disk.raw", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(pread(fd, buf + MIB, 2048, 3 * MIB - 1536), 2048);
    ck_assert(memcmp(buf, buf + MIB, 2048) == 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("qcow2");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 110);
    tcase_add_checked_fixture(tc, kit_enter, kit_leave);
    tcase_add_loop_test(tc, test_bad_entry, 0, (int)ARRAY_SIZE(contradictions));
    tcase_add_loop_test(tc, test_data_in_place_of_metadata, 0, 4);
    tcase_add_test(tc, test_refcounts_that_are_zero);
    tcase_add_test(tc, test_discard_of_what_counts_as_free);
    tcase_add_test(tc, test_tables_that_overlap);
    tcase_add_loop_test(tc, test_garbage_in_compressed_cluster, 0, 2);
    tcase_add_test(tc, test_no_space);
    tcase_add_loop_test(tc, test_refcount_table_grows, 0, 2);
    tcase_add_test(tc, test_discard_punches_holes);
    tcase_add_test(tc, test_autoclear);
    tcase_add_test(tc, test_created_here);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Random operations on qcow2 images of many kinds, against a flat shadow of the disk in memory; and
 * in the end against QEMU: `qemu-img check` finds nothing, not even a leak, and `qemu-img compare`
 * no difference. In between QEMU writes to the same images, compresses clusters and makes
 * snapshots.
 *
 * PODVISOR_QCOW2_OPERATIONS: how many of them an image gets, PODVISOR_QCOW2_SEED: others.
 */
#include "qcow2kit.h"
#include "run_suite.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KIB        UINT64_C(1024)
#define MIB        (KIB * KIB)
#define SECTOR     512
#define OPERATIONS 900

static const struct kind {
    const char *options; /* of qemu-img create */
    uint64_t size;
    uint64_t cluster;
    enum { ALONE, ON_RAW, ON_QCOW2 } below;
    bool compressed; /* QEMU can write compressed clusters */
    bool snapshots;
} kinds[] = {
    {"cluster_size=512", MIB, 512, ALONE, true, false},
    {"cluster_size=512,refcount_bits=64", MIB, 512, ON_RAW, false, false},
    {"cluster_size=512,compat=0.10", 2 * MIB, 512, ALONE, false, true},
    {"cluster_size=4k", 8 * MIB, 4 * KIB, ON_QCOW2, true, true},
    {"cluster_size=4k,refcount_bits=1", 8 * MIB, 4 * KIB, ALONE, false, false},
    {"cluster_size=4k,refcount_bits=8,compression_type=zstd", 8 * MIB, 4 * KIB, ON_RAW, true, true},
    {"cluster_size=4k,compat=0.10", 8 * MIB, 4 * KIB, ON_RAW, false, false},
    {"cluster_size=64k", 64 * MIB, 64 * KIB, ALONE, true, true},
    {"cluster_size=64k,compression_type=zstd", 64 * MIB, 64 * KIB, ON_QCOW2, true, false},
    {"cluster_size=64k,compat=0.10", 48 * MIB, 64 * KIB, ON_RAW, false, true},
    {"cluster_size=64k,refcount_bits=8,lazy_refcounts=on", 32 * MIB, 64 * KIB, ON_RAW, true, false},
    {"cluster_size=2M,refcount_bits=32", 64 * MIB + 512, 2 * MIB, ON_QCOW2, true, true},
    {"cluster_size=2M,compression_type=zstd", 48 * MIB, 2 * MIB, ALONE, true, false},
};

static const struct kind *kind;
static struct image *img;
static uint8_t *shadow, *scratch;
static uint64_t seed, stamp;
static unsigned snapshots;

static uint64_t below(uint64_t limit)
{
    return kit_random(&seed) % limit;
}

/* ---- the images ---- */

static struct image *open_below(void)
{
    switch (kind->below) {
    case ALONE:
        break;
    case ON_RAW:
        return kit_open("base.raw", IMAGE_FORMAT_RAW, true, NULL);
    case ON_QCOW2:
        return kit_open("mid.qcow2", IMAGE_FORMAT_QCOW2, true,
                        kit_open("base.raw", IMAGE_FORMAT_RAW, true, NULL));
    }
    return NULL;
}

static void open_image(void)
{
    /* Past the page cache, and not, in turn; file systems in memory cannot. */
    struct error err = ERROR_INIT;
    static unsigned turn;
    int direct = kind->cluster >= 4096 && kind->size % 4096 == 0 && turn++ % 2 == 0 ? O_DIRECT : 0;
    if (direct != 0 &&
        kit_status("dd if=top.qcow2 iflag=direct count=1 of=/dev/null 2> io.txt") != 0)
        direct = 0;
    img = kit_try_open("top.qcow2", IMAGE_FORMAT_QCOW2, O_RDWR | direct, open_below(), &err);
    ck_assert_msg(img != NULL, "%s", err.text);
    ck_assert_uint_eq(img->geometry.size, kind->size);
}

static void close_image(void)
{
    ck_assert_int_eq(img->ops->flush(img), 0);
    kit_close(img);
    img = NULL;
    kit_run("qemu-img check -q -f qcow2 top.qcow2");
}

static void save(const char *name, const uint8_t *bytes, uint64_t len)
{
    cleanup_close int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
}

/* A base that is shorter than the disk, half of it data; and between the two one of clusters of
 * their own. */
static void make_images(void)
{
    uint64_t base = kind->size / 4 * 3 / SECTOR * SECTOR;
    kit_fill(shadow, base / 2, 0, 1);
    save("base.raw", shadow, base);
    if (kind->below == ALONE) {
        memset(shadow, 0, kind->size);
        kit_run("qemu-img create -q -f qcow2 -o %s top.qcow2 %llu", kind->options,
                (unsigned long long)kind->size);
    } else if (kind->below == ON_RAW) {
        kit_run("qemu-img create -q -f qcow2 -o %s -b base.raw -F raw top.qcow2 %llu",
                kind->options, (unsigned long long)kind->size);
    } else {
        kit_run("qemu-img create -q -f qcow2 -b base.raw -F raw mid.qcow2 %llu",
                (unsigned long long)base);
        kit_fill(shadow + 64 * KIB, 64 * KIB, 64 * KIB, 2);
        save("part.raw", shadow + 64 * KIB, 64 * KIB);
        kit_run("qemu-io -f qcow2 -c 'write -s part.raw 64k 64k' mid.qcow2 > io.txt");
        kit_run("qemu-img create -q -f qcow2 -o %s -b mid.qcow2 -F qcow2 top.qcow2 %llu",
                kind->options, (unsigned long long)kind->size);
    }
}

/* ---- operations ---- */

/* Small ones most of the time, at the edges of clusters often. */
static void choose_range(uint64_t *ret_offset, uint64_t *ret_len)
{
    uint64_t max = kind->cluster * 5 < 512 * KIB ? kind->cluster * 5 : 5 * MIB;
    uint64_t len = below(4) != 0 ? 1 + below(16) : 1 + below(max / SECTOR);
    len *= SECTOR;
    if (len > kind->size)
        len = kind->size;
    uint64_t offset = below((kind->size - len) / SECTOR + 1) * SECTOR;
    if (below(3) == 0)
        offset -= offset % kind->cluster;
    if (below(4) == 0 && offset + kind->cluster * 2 < kind->size)
        len = (1 + below(2)) * kind->cluster;
    *ret_offset = offset;
    *ret_len = len;
}

static void expect_same(uint64_t offset, uint64_t len)
{
    memset(scratch, 0xa5, len);
    ck_assert_int_eq(kit_read(img, offset, scratch, len), 0);
    if (memcmp(scratch, shadow + offset, len) == 0)
        return;
    uint64_t i = 0;
    while (scratch[i] == shadow[offset + i])
        i++;
    ck_abort_msg("byte %llu: 0x%02x, not 0x%02x", (unsigned long long)(offset + i), scratch[i],
                 shadow[offset + i]);
}

static void do_write(uint64_t offset, uint64_t len)
{
    kit_fill(shadow + offset, len, offset, ++stamp);
    ck_assert_int_eq(kit_write(img, offset, shadow + offset, len), 0);
}

static void do_zeroes(uint64_t offset, uint64_t len)
{
    memset(shadow + offset, 0, len);
    ck_assert_int_eq(kit_zero(img, offset, len), 0);
}

/* Each sector keeps its content, or reads as zeroes. */
static void do_discard(uint64_t offset, uint64_t len)
{
    static const uint8_t zeroes[SECTOR];
    ck_assert_int_eq(img->ops->discard(img, offset, len), 0);
    ck_assert_int_eq(kit_read(img, offset, scratch, len), 0);
    for (uint64_t at = 0; at < len; at += SECTOR) {
        if (memcmp(scratch + at, zeroes, SECTOR) != 0 &&
            memcmp(scratch + at, shadow + offset + at, SECTOR) != 0)
            ck_abort_msg("byte %llu is neither kept nor zero", (unsigned long long)(offset + at));
    }
    memcpy(shadow + offset, scratch, len);
}

/* QEMU's turn: a write, compressed if it can be, and now and then a snapshot. */
static void let_qemu_write(uint64_t offset)
{
    uint64_t len = kind->cluster;
    offset -= offset % len;
    if (offset + len > kind->size)
        return;
    uint8_t byte = (uint8_t)(1 + below(255));
    close_image();
    /* It compresses what has no cluster only. */
    if (kind->compressed && below(3) != 0)
        kit_run("qemu-io -d unmap -f qcow2 -c 'discard %llu %llu' -c 'write -c -P %u %llu %llu' "
                "top.qcow2 > io.txt",
                (unsigned long long)offset, (unsigned long long)len, byte,
                (unsigned long long)offset, (unsigned long long)len);
    else
        kit_run("qemu-io -f qcow2 -c 'write -P %u %llu %llu' top.qcow2 > io.txt", byte,
                (unsigned long long)offset, (unsigned long long)len);
    memset(shadow + offset, byte, len);
    if (kind->snapshots && snapshots < 3 && below(2) == 0)
        kit_run("qemu-img snapshot -q -c s%u top.qcow2", snapshots++);
    open_image();
}

static void operate(void)
{
    uint64_t offset, len;
    choose_range(&offset, &len);
    unsigned dice = (unsigned)below(100);
    if (dice < 45)
        do_write(offset, len);
    else if (dice < 80)
        expect_same(offset, len);
    else if (dice < 88)
        do_zeroes(offset, len);
    else if (dice < 95)
        do_discard(offset, len);
    else if (dice < 98)
        ck_assert_int_eq(img->ops->flush(img), 0);
    else
        let_qemu_write(offset);
}

static uint64_t number_of(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);
    return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

START_TEST(test_random)
{
    kind = &kinds[_i];
    seed = number_of("PODVISOR_QCOW2_SEED", 1) * 1000 + (uint64_t)_i;
    stamp = 2;
    snapshots = 0;
    shadow = calloc(1, kind->size);
    scratch = malloc(kind->size);
    ck_assert(shadow != NULL && scratch != NULL);
    make_images();
    open_image();
    for (uint64_t n = number_of("PODVISOR_QCOW2_OPERATIONS", OPERATIONS); n > 0; n--)
        operate();
    expect_same(0, kind->size);
    close_image();
    save("shadow.raw", shadow, kind->size);
    kit_run("qemu-img compare -q -f raw -F qcow2 shadow.raw top.qcow2");
    for (unsigned i = 0; i < snapshots; i++)
        kit_run("qemu-img convert -q -l snapshot.name=s%u -f qcow2 -O raw top.qcow2 s.raw", i);
    free(shadow);
    free(scratch);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("qcow2-random");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 110);
    tcase_add_checked_fixture(tc, kit_enter, kit_leave);
    tcase_add_loop_test(tc, test_random, 0, (int)ARRAY_SIZE(kinds));
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

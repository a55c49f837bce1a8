// SPDX-License-Identifier: Apache-2.0
/*
 * Many threads on one qcow2 image. Each owns every n-th block of 4 KiB, so that all of them share
 * clusters and L2 tables, and knows what its blocks hold; beside them one flushes, one asks for
 * what is there without waiting, as the I/O loop does, and each has a region of its own to discard
 * and to clear. Worth the most under ThreadSanitizer.
 */
#include "qcow2kit.h"
#include "run_suite.h"
#include <podvisor/cleanup.h>
#include <podvisor/iov.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define THREADS   5
#define ROUNDS    1200
#define BLOCK     4096
#define SHARED    (12u << 20)
#define OWN       (1u << 20) /* each thread's region, behind what is shared */
#define DISK_SIZE (SHARED + THREADS * OWN)

static const struct kind {
    const char *options;
    const char *prepare;
} kinds[] = {
    {"cluster_size=64k", "write -c 0 1M"},
    {"cluster_size=4k,refcount_bits=64", "write 1M 2M"},
    {"cluster_size=512", "write -P 3 3M 100k"},
    {"cluster_size=2M,compression_type=zstd", "write -c 0 4M"},
};

struct worker {
    pthread_t thread;
    struct image *img;
    unsigned index;
    uint64_t seed;
    uint64_t stamp[DISK_SIZE / BLOCK]; /* what the blocks hold; 0: not written by us */
    const char *failed;
};

static struct worker worker[THREADS];
static atomic_bool ended;

static void write_block(struct worker *w, uint64_t block, uint8_t *buf)
{
    w->stamp[block] = kit_random(&w->seed) >> 8 | 1;
    kit_fill(buf, BLOCK, block * BLOCK, w->stamp[block]);
    if (kit_write(w->img, block * BLOCK, buf, BLOCK) < 0)
        w->failed = "write";
}

static void read_block(struct worker *w, uint64_t block, uint8_t *buf)
{
    uint8_t expected[BLOCK];
    if (kit_read(w->img, block * BLOCK, buf, BLOCK) < 0)
        w->failed = "read";
    if (w->stamp[block] == 0)
        return;
    kit_fill(expected, BLOCK, block * BLOCK, w->stamp[block]);
    if (memcmp(buf, expected, BLOCK) != 0)
        w->failed = "another content";
}

static void clear_own(struct worker *w)
{
    uint64_t first = SHARED + w->index * (uint64_t)OWN;
    uint64_t len = (1 + kit_random(&w->seed) % (OWN / BLOCK)) * BLOCK;
    int r = kit_random(&w->seed) % 2 == 0 ? w->img->ops->discard(w->img, first, len)
                                          : kit_zero(w->img, first, len);
    if (r < 0)
        w->failed = "clear";
    memset(w->stamp + first / BLOCK, 0, len / BLOCK * sizeof(w->stamp[0]));
}

static void *work(void *arg)
{
    struct worker *w = arg;
    uint8_t buf[BLOCK];
    for (unsigned i = 0; i < ROUNDS && w->failed == NULL; i++) {
        unsigned dice = (unsigned)(kit_random(&w->seed) % 20);
        uint64_t block = kit_random(&w->seed) % (SHARED / BLOCK / THREADS) * THREADS + w->index;
        if (dice < 4)
            block = (SHARED + w->index * OWN) / BLOCK + kit_random(&w->seed) % (OWN / BLOCK);
        if (dice == 19)
            clear_own(w);
        else if (dice % 2 == 0)
            write_block(w, block, buf);
        else
            read_block(w, block, buf);
    }
    return NULL;
}

/* These two return NULL unless they failed. */
static void *flush(void *arg)
{
    struct image *img = arg;
    while (!atomic_load(&ended)) {
        if (img->ops->flush(img) < 0)
            return img;
    }
    return NULL;
}

static void *read_without_waiting(void *arg)
{
    struct image *img = arg;
    static uint8_t buf[65536];
    uint64_t state = 77;
    while (!atomic_load(&ended)) {
        uint64_t offset = kit_random(&state) % (DISK_SIZE - sizeof(buf)) / 512 * 512;
        struct iovec iov = {.iov_base = buf, .iov_len = sizeof(buf)};
        ssize_t n = img->ops->read(img, &iov, 1, offset, true);
        if (n < 0 && n != -EAGAIN && n != -EOPNOTSUPP)
            return img;
    }
    return NULL;
}

static void run_threads(struct image *img)
{
    pthread_t flusher, reader;
    atomic_store(&ended, false);
    ck_assert_int_eq(pthread_create(&flusher, NULL, flush, img), 0);
    ck_assert_int_eq(pthread_create(&reader, NULL, read_without_waiting, img), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        memset(&worker[i], 0, sizeof(worker[i]));
        worker[i].img = img;
        worker[i].index = i;
        worker[i].seed = i + 1;
        ck_assert_int_eq(pthread_create(&worker[i].thread, NULL, work, &worker[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(worker[i].thread, NULL);
    atomic_store(&ended, true);
    void *failed;
    pthread_join(flusher, &failed);
    ck_assert_ptr_null(failed);
    pthread_join(reader, &failed);
    ck_assert_ptr_null(failed);
}

START_TEST(test_threads)
{
    kit_run("qemu-img create -q -f qcow2 -o %s disk.qcow2 %u", kinds[_i].options, DISK_SIZE);
    kit_run("qemu-io -f qcow2 -c '%s' disk.qcow2 > io.txt", kinds[_i].prepare);
    kit_run("qemu-img snapshot -q -c s disk.qcow2");
    struct image *img = kit_open("disk.qcow2", IMAGE_FORMAT_QCOW2, false, NULL);
    run_threads(img);
    ck_assert_int_eq(img->ops->flush(img), 0);
    kit_close(img);
    kit_run("qemu-img check -q -f qcow2 disk.qcow2");

    img = kit_open("disk.qcow2", IMAGE_FORMAT_QCOW2, true, NULL);
    uint8_t buf[BLOCK];
    for (unsigned i = 0; i < THREADS; i++) {
        worker[i].img = img;
        for (uint64_t block = 0; block < DISK_SIZE / BLOCK; block++) {
            if (worker[i].stamp[block] != 0)
                read_block(&worker[i], block, buf);
        }
        ck_assert_msg(worker[i].failed == NULL, "thread %u: %s", i, worker[i].failed);
    }
    kit_close(img);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("qcow2-threads");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 110);
    tcase_add_checked_fixture(tc, kit_enter, kit_leave);
    tcase_add_loop_test(tc, test_threads, 0, (int)ARRAY_SIZE(kinds));
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

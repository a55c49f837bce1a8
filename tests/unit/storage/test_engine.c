// SPDX-License-Identifier: Apache-2.0
/*
 * The engine of threads over real files: on /tmp (a disk's file system as a rule) and on tmpfs,
 * buffered and direct, and over a made-up image that fails, stops half way and blocks on demand.
 */
#include "engine.h"
#include "run_suite.h"
#include <check.h>
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/iov.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define DISK_SIZE (1 << 20)

static struct loop loop;
static struct engine *engine;
static struct image img;
static struct error err;
static char path[64];
static struct engine_client client;
static unsigned complete_calls, completed_calls;
static struct engine_request *last_request;

static void on_complete(struct engine_client *c, struct engine_request *req)
{
    ck_assert_ptr_eq(c, &client);
    complete_calls++;
    last_request = req;
}

static void on_completed(struct engine_client *c)
{
    ck_assert_ptr_eq(c, &client);
    completed_calls++;
}

static atomic_uint started;

static int count_start(void *ctx)
{
    char name[16] = "";
    prctl(PR_GET_NAME, name);
    ck_assert_int_eq(strncmp(name, "io-test", 7), 0);
    atomic_fetch_add((atomic_uint *)ctx, 1);
    return 0;
}

static void setup(void)
{
    err = ERROR_INIT;
    ck_assert_int_eq(loop_init(&loop, &err), 0);
    atomic_store(&started, 0);
    struct engine_pool_config config = {
        .name = "io-test", .thread_start = count_start, .ctx = &started};
    ck_assert_int_eq(engine_open_pool(&config, &loop, &engine, &err), 0);
    ck_assert_int_eq(engine_await_start(engine, &err), 0);
    ck_assert_uint_eq(atomic_load(&started), ENGINE_THREADS_DEFAULT);
    client = (struct engine_client){.complete = on_complete, .completed = on_completed};
    complete_calls = completed_calls = 0;
    img.fd = -1;
    path[0] = '\0';
}

static void teardown(void)
{
    (void)engine_drain(engine, -1);
    engine_close(engine);
    loop_done(&loop);
    if (img.fd >= 0)
        image_done(&img);
    if (path[0] != '\0')
        unlink(path);
}

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 7 + (at >> 9) * 13 + 1);
}

/* A disk of DISK_SIZE bytes full of the pattern. False: the file system does not do `flags`. */
static bool make_disk(const char *folder, int flags, uint32_t force_align)
{
    snprintf(path, sizeof(path), "%s/podvisor-engine-XXXXXX", folder);
    cleanup_close int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    uint8_t *data = malloc(DISK_SIZE);
    for (unsigned i = 0; i < DISK_SIZE; i++)
        data[i] = pattern(i);
    ck_assert_int_eq(pwrite(fd, data, DISK_SIZE, 0), DISK_SIZE);
    free(data);
    int again = open(path, O_RDWR | O_CLOEXEC | flags);
    if (again < 0)
        return false;
    struct image_config config = {.fd = again, .discard = true};
    if (image_init(&img, &config, &err) < 0) {
        close(again);
        return false;
    }
    if (force_align > img.geometry.offset_align)
        img.geometry.offset_align = force_align;
    return true;
}

static int run(struct engine_request *req)
{
    unsigned before = complete_calls, batches = completed_calls;
    req->client = &client;
    req->image = &img;
    if (engine_submit(engine, req))
        return req->result;
    engine_kick(engine);
    while (complete_calls == before)
        ck_assert_int_eq(loop_run_once(&loop, 5000), 0);
    ck_assert_uint_eq(complete_calls, before + 1);
    ck_assert_uint_eq(completed_calls, batches + 1);
    ck_assert_ptr_eq(last_request, req);
    return req->result;
}

static int run_data(enum engine_op op, uint64_t offset, void *buf, size_t len)
{
    struct iovec iov = {.iov_base = buf, .iov_len = len};
    struct engine_request req = {
        .op = op, .offset = offset, .len = len, .iov = &iov, .iov_count = 1};
    return run(&req);
}

static int run_range(enum engine_op op, uint64_t offset, uint64_t len, bool unmap)
{
    struct engine_request req = {.op = op, .offset = offset, .len = len, .unmap = unmap};
    return run(&req);
}

static void expect_pattern(uint64_t offset, size_t len)
{
    uint8_t *buf = malloc(len);
    ck_assert_int_eq(run_data(ENGINE_READ, offset, buf, len), 0);
    size_t same = 0;
    while (same < len && buf[same] == pattern(offset + same))
        same++;
    ck_assert_uint_eq(same, len);
    free(buf);
}

static void expect_byte(uint64_t offset, size_t len, uint8_t byte)
{
    uint8_t *buf = malloc(len);
    memset(buf, ~byte, len);
    ck_assert_int_eq(run_data(ENGINE_READ, offset, buf, len), 0);
    size_t same = 0;
    while (same < len && buf[same] == byte)
        same++;
    ck_assert_uint_eq(same, len);
    free(buf);
}

static void exercise(void)
{
    expect_pattern(0, DISK_SIZE);
    expect_pattern(512, 512);
    expect_pattern(DISK_SIZE - 512, 512);

    uint8_t *raw = malloc(200000 + 3);
    uint8_t *odd = raw + 3; /* aligned to nothing */
    memset(odd, 0xa5, 200000);
    ck_assert_int_eq(run_data(ENGINE_WRITE, 1536, odd, 1024), 0);
    expect_pattern(0, 1536);
    expect_byte(1536, 1024, 0xa5);
    expect_pattern(2560, 8192);
    ck_assert_int_eq(run_data(ENGINE_WRITE, 65536 + 512, odd, 199680), 0);
    expect_pattern(65536, 512);
    expect_byte(65536 + 512, 199680, 0xa5);
    expect_pattern(65536 + 391 * 512, 4096);
    free(raw);

    ck_assert_int_eq(run_range(ENGINE_FLUSH, 0, 0, false), 0);
    ck_assert_int_eq(run_range(ENGINE_WRITE_ZEROES, 524288 + 512, 69632, false), 0);
    expect_pattern(524288, 512);
    expect_byte(524288 + 512, 69632, 0);
    expect_pattern(524288 + 512 + 69632, 512);
    ck_assert_int_eq(run_range(ENGINE_WRITE_ZEROES, 786432, 4096, true), 0);
    expect_byte(786432, 4096, 0);
    ck_assert_int_eq(run_range(ENGINE_DISCARD, 790528, 8192, false), 0);
    expect_pattern(798720, 4096);
}

START_TEST(test_buffered_disk)
{
    ck_assert(make_disk("/tmp", 0, 0));
    exercise();
}
END_TEST

START_TEST(test_tmpfs)
{
    ck_assert(make_disk("/dev/shm", 0, 0));
    exercise();
}
END_TEST

START_TEST(test_direct_disk)
{
    if (make_disk("/tmp", O_DIRECT, 0))
        exercise();
}
END_TEST

/* Blocks of 4 KiB and 64 KiB, whatever the file system has: read-modify-write of their parts. */
START_TEST(test_direct_large_blocks)
{
    static const uint32_t align[] = {4096, 65536};
    if (make_disk("/tmp", O_DIRECT, align[_i]))
        exercise();
}
END_TEST

/* Where neither holes nor zero ranges are to be had, zeroes are written. */
START_TEST(test_zeroes_as_data)
{
    ck_assert(make_disk("/tmp", _i == 0 ? 0 : O_DIRECT, _i == 0 ? 0 : 4096));
    atomic_store(&img.can_punch, false);
    atomic_store(&img.can_zero, false);
    ck_assert_int_eq(run_range(ENGINE_WRITE_ZEROES, 512, DISK_SIZE - 1024, true), 0);
    expect_pattern(0, 512);
    expect_byte(512, DISK_SIZE - 1024, 0);
    expect_pattern(DISK_SIZE - 512, 512);
    ck_assert_int_eq(run_range(ENGINE_DISCARD, 0, 4096, false), 0);
    expect_pattern(0, 512);
}
END_TEST

START_TEST(test_vectors)
{
    ck_assert(make_disk("/tmp", 0, 0));
    uint8_t buf[5][2048];
    struct iovec iov[5] = {
        {buf[0], 1}, {buf[1], 511}, {buf[2], 1024}, {buf[3], 2000}, {buf[4], 48}};
    struct engine_request req = {
        .op = ENGINE_READ, .offset = 4096, .len = 3584, .iov = iov, .iov_count = 5};
    ck_assert_int_eq(run(&req), 0);
    ck_assert_uint_eq(buf[0][0], pattern(4096));
    ck_assert_uint_eq(buf[1][510], pattern(4096 + 511));
    ck_assert_uint_eq(buf[3][1999], pattern(4096 + 1536 + 1999));
    ck_assert_uint_eq(buf[4][47], pattern(4096 + 3583));
}
END_TEST

START_TEST(test_nothing_to_do)
{
    ck_assert(make_disk("/tmp", 0, 0));
    struct engine_request req = {
        .client = &client, .image = &img, .op = ENGINE_WRITE_ZEROES, .result = 1};
    ck_assert(engine_submit(engine, &req));
    ck_assert_int_eq(req.result, 0);
}
END_TEST

START_TEST(test_cached_read_is_immediate)
{
    ck_assert(make_disk("/tmp", 0, 0));
    uint8_t buf[4096];
    struct iovec iov = {buf, sizeof(buf)};
    struct engine_request req = {.client = &client,
                                 .image = &img,
                                 .op = ENGINE_READ,
                                 .len = sizeof(buf),
                                 .iov = &iov,
                                 .iov_count = 1};
    bool immediate = engine_submit(engine, &req);
    if (!atomic_load(&img.nowait_read)) /* a file system that cannot tell */
        return;
    ck_assert(immediate);
    ck_assert_uint_eq(buf[100], pattern(100));
}
END_TEST

START_TEST(test_readonly)
{
    ck_assert(make_disk("/tmp", 0, 0));
    img.readonly = true;
    uint8_t buf[512] = {0};
    ck_assert_int_eq(run_data(ENGINE_WRITE, 0, buf, 512), -EROFS);
    ck_assert_int_eq(run_range(ENGINE_DISCARD, 0, 512, false), -EROFS);
    ck_assert_int_eq(run_range(ENGINE_WRITE_ZEROES, 0, 512, false), -EROFS);
    ck_assert_int_eq(run_range(ENGINE_FLUSH, 0, 0, false), 0);
    expect_pattern(0, 4096);
}
END_TEST

START_TEST(test_shrunken_file)
{
    ck_assert(make_disk("/tmp", _i == 0 ? 0 : O_DIRECT, 0));
    ck_assert_int_eq(truncate(path, 8192), 0);
    uint8_t *buf = malloc(8192);
    ck_assert_int_eq(run_data(ENGINE_READ, 0, buf, 8192), 0);
    ck_assert_int_eq(run_data(ENGINE_READ, 4096, buf, 8192), -EIO);
    ck_assert_int_eq(run_data(ENGINE_READ, 16384, buf, 512), -EIO);
    free(buf);
}
END_TEST

/* A write that the file system refuses half way: the limit on file sizes does it without a disk. */
START_TEST(test_write_refused)
{
    ck_assert(make_disk("/tmp", 0, 0));
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){.rlim_cur = 65536, .rlim_max = old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    uint8_t *buf = calloc(1, 8192);
    int r = run_data(ENGINE_WRITE, 65536 - 4096, buf, 8192);
    setrlimit(RLIMIT_FSIZE, &old);
    free(buf);
    ck_assert_int_eq(r, -EFBIG);
    expect_pattern(65536, 4096);
}
END_TEST

START_TEST(test_many_at_once)
{
    enum { COUNT = 256 };
    ck_assert(make_disk(_i == 0 ? "/tmp" : "/dev/shm", 0, 0));
    static struct engine_request req[COUNT];
    static struct iovec iov[COUNT];
    static uint8_t buf[COUNT][4096];
    atomic_store(&img.nowait_read, false); /* all through the threads */
    for (unsigned round = 0; round < 20; round++) {
        complete_calls = 0;
        for (unsigned i = 0; i < COUNT; i++) {
            iov[i] = (struct iovec){buf[i], 4096};
            req[i] = (struct engine_request){.client = &client,
                                             .image = &img,
                                             .op = ENGINE_READ,
                                             .offset = (uint64_t)(i * 37 % COUNT) * 4096,
                                             .len = 4096,
                                             .iov = &iov[i],
                                             .iov_count = 1};
            ck_assert(!engine_submit(engine, &req[i]));
        }
        if (round % 2 == 0) {
            engine_kick(engine);
            while (complete_calls < COUNT)
                ck_assert_int_eq(loop_run_once(&loop, 5000), 0);
        } else {
            ck_assert(engine_drain(engine, _i == 0 ? -1 : 10000));
        }
        ck_assert_uint_eq(complete_calls, COUNT);
        ck_assert_uint_eq(engine->in_flight, 0);
        for (unsigned i = 0; i < COUNT; i++) {
            ck_assert_int_eq(req[i].result, 0);
            ck_assert_uint_eq(buf[i][4095], pattern((uint64_t)4096 * (i * 37 % COUNT) + 4095));
            memset(buf[i], 0, 4096);
        }
    }
    ck_assert_uint_le(completed_calls, (uintmax_t)20 * COUNT);
}
END_TEST

/* --- an image that does what a test says ---------------------------------------------------- */

static struct {
    int read_error, flush_error;
    size_t most;  /* bytes a call */
    int eintr;    /* calls that are interrupted first */
    bool in_step; /* nowait answers too */
    atomic_int flushes, calls;
    atomic_bool hold; /* reads wait while set */
} fake;

static ssize_t fake_read(struct image *image, const struct iovec *iov, unsigned count,
                         uint64_t offset, bool nowait)
{
    (void)image;
    if (nowait && !fake.in_step)
        return -EAGAIN;
    while (!nowait && atomic_load(&fake.hold))
        sched_yield();
    atomic_fetch_add(&fake.calls, 1);
    if (fake.eintr > 0) {
        fake.eintr--;
        return -EINTR;
    }
    if (fake.read_error != 0)
        return fake.read_error;
    size_t len = iov_length(iov, count);
    if (fake.most != 0 && len > fake.most)
        len = fake.most;
    for (size_t i = 0; i < len; i++) {
        uint8_t b = pattern(offset + i);
        iov_write(iov, count, i, &b, 1);
    }
    return (ssize_t)len;
}

static ssize_t fake_write(struct image *image, const struct iovec *iov, unsigned count,
                          uint64_t offset, bool nowait)
{
    (void)image, (void)iov, (void)count, (void)offset;
    return nowait ? -EOPNOTSUPP : -ENOSPC;
}

static int fake_flush(struct image *image)
{
    (void)image;
    atomic_fetch_add(&fake.flushes, 1);
    return fake.flush_error;
}

static const struct image_ops fake_ops = {
    .read = fake_read, .write = fake_write, .flush = fake_flush};

static void make_fake(void)
{
    ck_assert(make_disk("/tmp", 0, 0));
    img.ops = &fake_ops;
    memset(&fake, 0, sizeof(fake));
}

START_TEST(test_short_and_interrupted)
{
    make_fake();
    fake.most = 700;
    fake.eintr = _i == 0 ? 3 : 0;
    fake.in_step = _i != 0;
    expect_pattern(512, 4096);
    ck_assert_int_ge(atomic_load(&fake.calls), 6 + 3 * (_i == 0));
}
END_TEST

START_TEST(test_errors_reach_the_client)
{
    make_fake();
    uint8_t buf[512] = {0};
    fake.read_error = -EIO;
    ck_assert_int_eq(run_data(ENGINE_READ, 0, buf, 512), -EIO);
    ck_assert_int_eq(run_data(ENGINE_WRITE, 0, buf, 512), -ENOSPC);
    ck_assert(!atomic_load(&img.nowait_write));
    fake.flush_error = -EDQUOT;
    ck_assert_int_eq(run_range(ENGINE_FLUSH, 0, 0, false), -EDQUOT);
}
END_TEST

struct read {
    struct engine_request req;
    struct iovec iov;
    uint8_t buf[(256 << 10) + 512];
};

/* Submits a read that the image could answer at once; returns whether it was. */
static bool read_at_once(struct read *r, size_t len)
{
    r->iov = (struct iovec){r->buf, len};
    r->req = (struct engine_request){.client = &client,
                                     .image = &img,
                                     .op = ENGINE_READ,
                                     .len = len,
                                     .iov = &r->iov,
                                     .iov_count = 1};
    return engine_submit(engine, &r->req);
}

/*
 * What the page cache has is copied on the spot up to 256 KiB a request; after 128 KiB in a batch
 * only what is no larger than 16 KiB: threads copy the rest side by side.
 */
START_TEST(test_inline_copies_have_a_limit)
{
    static const struct {
        unsigned kib;
        unsigned bytes; /* more */
        bool at_once;
        bool kick; /* afterwards: a new batch */
    } step[] = {
        {256, 512, false, true},                          /* too large for any batch */
        {256, 0, true, false},                            /* the largest */
        {64, 0, false, false},   {16, 512, false, false}, /* the batch has had its share... */
        {16, 0, true, false},    {16, 0, true, true},     /* ...but for small ones */
        {64, 0, true, false},    {63, 512, true, false},  /* 512 bytes are left of the share */
        {64, 0, true, false},    {64, 0, false, true},    /* the last one may exceed it */
        {64, 0, true, false},    {64, 0, true, false},    /* all of it */
        {17, 0, false, false},   {0, 512, true, false},
    };
    static struct read reads[ARRAY_SIZE(step)];
    make_fake();
    fake.in_step = true;
    unsigned later = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(step); i++) {
        bool at_once = read_at_once(&reads[i], ((size_t)step[i].kib << 10) + step[i].bytes);
        ck_assert_msg(at_once == step[i].at_once, "step %u", i);
        later += !at_once;
        if (step[i].kick)
            engine_kick(engine);
    }
    ck_assert_uint_eq(engine->in_flight, later);
    ck_assert(engine_drain(engine, 10000));
    ck_assert_uint_eq(complete_calls, later);
}
END_TEST

/* What waits for a disk is a thread's, and takes nothing of the batch's share. */
START_TEST(test_uncached_data_is_no_inline_copy)
{
    static struct read reads[4];
    make_fake();
    for (unsigned i = 0; i < 3; i++)
        ck_assert(!read_at_once(&reads[i], 128 << 10));
    fake.in_step = true;
    ck_assert(read_at_once(&reads[3], 128 << 10));
    ck_assert(engine_drain(engine, 10000));
    ck_assert_uint_eq(complete_calls, 3);
}
END_TEST

START_TEST(test_sync_flushes)
{
    ck_assert(make_disk("/tmp", 0, 0));
    static struct image_ops counting;
    counting = *img.ops;
    counting.flush = fake_flush;
    memset(&fake, 0, sizeof(fake));
    img.ops = &counting;
    uint8_t buf[512] = {0};
    struct iovec iov = {buf, 512};
    struct engine_request req = {
        .op = ENGINE_WRITE, .sync = true, .len = 512, .iov = &iov, .iov_count = 1};
    ck_assert_int_eq(run(&req), 0);
    ck_assert_int_eq(atomic_load(&fake.flushes), 1);
    struct engine_request zero = {.op = ENGINE_WRITE_ZEROES, .sync = true, .len = 512};
    fake.flush_error = -EIO;
    ck_assert_int_eq(run(&zero), -EIO);
}
END_TEST

/* One wake-up delivers all that finished meanwhile. */
START_TEST(test_batch)
{
    make_fake();
    atomic_store(&fake.hold, true);
    enum { COUNT = 40 };
    static struct engine_request req[COUNT];
    static struct iovec iov[COUNT];
    static uint8_t buf[COUNT][512];
    for (unsigned i = 0; i < COUNT; i++) {
        iov[i] = (struct iovec){buf[i], 512};
        req[i] = (struct engine_request){.client = &client,
                                         .image = &img,
                                         .op = ENGINE_READ,
                                         .len = 512,
                                         .iov = &iov[i],
                                         .iov_count = 1};
        ck_assert(!engine_submit(engine, &req[i]));
    }
    engine_kick(engine);
    ck_assert_int_eq(loop_run_once(&loop, 0), 0);
    ck_assert_uint_eq(complete_calls, 0);
    ck_assert_uint_eq(engine->in_flight, COUNT);
    atomic_store(&fake.hold, false);
    while (atomic_load(&fake.calls) < COUNT)
        sched_yield();
    usleep(20000); /* the last ones are on their way to the stack */
    while (complete_calls < COUNT)
        ck_assert_int_eq(loop_run_once(&loop, 5000), 0);
    ck_assert_uint_le(completed_calls, ENGINE_THREADS_DEFAULT + 1);
}
END_TEST

/* The end of a machine does not wait for a disk that takes its time. */
START_TEST(test_drain_with_a_deadline)
{
    make_fake();
    atomic_store(&fake.hold, true);
    static uint8_t buf[512];
    struct iovec iov = {buf, 512};
    struct engine_request req = {.client = &client,
                                 .image = &img,
                                 .op = ENGINE_READ,
                                 .len = 512,
                                 .iov = &iov,
                                 .iov_count = 1};
    ck_assert(engine_drain(engine, 0));
    ck_assert(!engine_submit(engine, &req));
    ck_assert(!engine_drain(engine, 20));
    ck_assert_uint_eq(complete_calls, 0);
    atomic_store(&fake.hold, false);
    ck_assert(engine_drain(engine, 10000));
    ck_assert_uint_eq(complete_calls, 1);
}
END_TEST

static int refuse_start(void *ctx)
{
    (void)ctx;
    return -EPERM;
}

START_TEST(test_thread_start_fails)
{
    struct engine *none = NULL;
    struct engine_pool_config config = {
        .name = "io-refused", .threads = 2, .thread_start = refuse_start};
    ck_assert_int_eq(engine_open_pool(&config, &loop, &none, &err), 0);
    ck_assert_int_eq(engine_await_start(none, &err), -EPERM);
    engine_close(none);
    none = NULL;
    config.threads = ENGINE_THREADS_MAX + 1;
    ck_assert_int_eq(engine_open_pool(&config, &loop, &none, &err), -EINVAL);
    ck_assert_ptr_null(none);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("engine");
    TCase *t = tcase_create("engine");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_buffered_disk);
    tcase_add_test(t, test_tmpfs);
    tcase_add_test(t, test_direct_disk);
    tcase_add_loop_test(t, test_direct_large_blocks, 0, 2);
    tcase_add_loop_test(t, test_zeroes_as_data, 0, 2);
    tcase_add_test(t, test_vectors);
    tcase_add_test(t, test_nothing_to_do);
    tcase_add_test(t, test_cached_read_is_immediate);
    tcase_add_test(t, test_readonly);
    tcase_add_loop_test(t, test_shrunken_file, 0, 2);
    tcase_add_test(t, test_write_refused);
    tcase_add_loop_test(t, test_many_at_once, 0, 2);
    tcase_add_loop_test(t, test_short_and_interrupted, 0, 2);
    tcase_add_test(t, test_errors_reach_the_client);
    tcase_add_test(t, test_inline_copies_have_a_limit);
    tcase_add_test(t, test_uncached_data_is_no_inline_copy);
    tcase_add_test(t, test_sync_flushes);
    tcase_add_test(t, test_batch);
    tcase_add_test(t, test_drain_with_a_deadline);
    tcase_add_test(t, test_thread_start_fails);
    suite_add_tcase(s, t);
    return run_suite(s);
}

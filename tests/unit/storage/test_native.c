// SPDX-License-Identifier: Apache-2.0
/*
 * The engine of the kernel's asynchronous I/O over real files: io_uring and Linux AIO, direct and
 * buffered, many requests in flight against a shadow, and all that it must leave to threads. Where
 * a kernel or a container has one of them not, the same must come of the fallback.
 */
#include "native.h"
#include "run_suite.h"
#include <check.h>
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/iov.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DISK_SIZE ((uint64_t)1 << 20)
#define AREA      8192 /* of one request in flight; requests do not overlap */
#define FLIGHTS   64

/* Rows of the loops: kind of interface, direct I/O, whether it is started at all. */
static const struct {
    enum engine_native_kind kind;
    bool direct, started;
} modes[] = {
    {ENGINE_NATIVE_BEST, true, true},   {ENGINE_NATIVE_URING, true, true},
    {ENGINE_NATIVE_URING, false, true}, {ENGINE_NATIVE_AIO, true, true},
    {ENGINE_NATIVE_AIO, false, true},   {ENGINE_NATIVE_BEST, true, false},
};

static struct loop loop;
static struct engine *pool, *engine;
static struct image img;
static struct error err;
static char path[64];
static struct engine_client client;
static uint8_t *shadow;
static const char *interface;

static struct flight {
    struct engine_request req;
    struct iovec iov[3];
    uint8_t *buf;
    bool busy, write;
    uint64_t offset, len;
} flight[FLIGHTS];

static void check_flight(struct flight *f)
{
    ck_assert_int_eq(f->req.result, 0);
    if (f->write)
        memcpy(shadow + f->offset, f->buf, f->len);
    else
        ck_assert_int_eq(memcmp(f->buf, shadow + f->offset, f->len), 0);
    f->busy = false;
}

static void on_complete(struct engine_client *c, struct engine_request *req)
{
    ck_assert_ptr_eq(c, &client);
    check_flight(container_of(req, struct flight, req));
}

static void on_completed(struct engine_client *c)
{
    (void)c;
}

static bool make_disk(bool direct)
{
    strcpy(path, "/tmp/podvisor-native-XXXXXX");
    cleanup_close int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, shadow, DISK_SIZE, 0), (ssize_t)DISK_SIZE);
    int again = open(path, O_RDWR | O_CLOEXEC | (direct ? O_DIRECT : 0));
    struct image_config config = {.fd = again, .discard = true};
    return again >= 0 && image_init(&img, &config, &err) == 0;
}

static void make_engine(int mode)
{
    err = ERROR_INIT;
    ck_assert_int_eq(loop_init(&loop, &err), 0);
    shadow = malloc(DISK_SIZE);
    for (uint64_t i = 0; i < DISK_SIZE; i++)
        shadow[i] = (uint8_t)(i * 7 + (i >> 9) * 13);
    if (!make_disk(modes[mode].direct))
        ck_assert(make_disk(false)); /* a file system without direct I/O */
    struct engine_pool_config config = {.name = "io-test"};
    ck_assert_int_eq(engine_open_pool(&config, &loop, &pool, &err), 0);
    struct engine_native_config native = {.fallback = pool, .kind = modes[mode].kind};
    ck_assert_int_eq(engine_open_native(&native, &loop, &engine, &err), 0);
    interface = modes[mode].started ? engine_native_start(engine, &err) : NULL;
    ck_assert(interface != NULL || !modes[mode].started || *err.text != '\0');
    client = (struct engine_client){.complete = on_complete, .completed = on_completed};
    for (unsigned i = 0; i < FLIGHTS; i++) {
        memset(&flight[i], 0, sizeof(flight[i]));
        ck_assert_int_eq(posix_memalign((void **)&flight[i].buf, 4096, AREA), 0);
    }
}

static void teardown(void)
{
    ck_assert(engine_drain(engine, 10000));
    engine_close(engine);
    engine_close(pool);
    loop_done(&loop);
    image_done(&img);
    unlink(path);
    free(shadow);
    for (unsigned i = 0; i < FLIGHTS; i++)
        free(flight[i].buf);
}

/* `cuts` + 1 buffers; a length of 0 in one of them is no entry. */
static void start(struct flight *f, enum engine_op op, uint64_t offset, uint64_t len, unsigned cuts,
                  bool sync)
{
    f->offset = offset;
    f->len = len;
    f->write = op == ENGINE_WRITE;
    f->busy = true;
    unsigned count = 0;
    uint64_t done = 0;
    for (; count < cuts && len - done > 1024; count++) {
        f->iov[count] = (struct iovec){f->buf + done, 512};
        done += 512;
    }
    f->iov[count++] = (struct iovec){f->buf + done, len - done};
    f->req = (struct engine_request){.client = &client,
                                     .image = &img,
                                     .op = op,
                                     .iov = f->iov,
                                     .iov_count = count,
                                     .offset = offset,
                                     .len = len,
                                     .sync = sync};
    if (engine_submit(engine, &f->req))
        check_flight(f);
}

START_TEST(random_requests)
{
    make_engine(_i);
    unsigned seed = 1 + (unsigned)_i;
    for (unsigned round = 0; round < 200; round++) {
        for (unsigned i = 0; i < FLIGHTS; i++) {
            struct flight *f = &flight[i];
            if (f->busy || rand_r(&seed) % 4 == 0)
                continue;
            uint64_t area = i * (DISK_SIZE / FLIGHTS);
            bool odd = rand_r(&seed) % 4 == 0; /* not in units of what direct I/O may want */
            uint64_t unit = odd ? 512 : 4096;
            uint64_t offset = (uint64_t)rand_r(&seed) % (AREA / unit) * unit;
            uint64_t len = unit * (1 + (uint64_t)rand_r(&seed) % ((AREA - offset) / unit));
            bool write = rand_r(&seed) % 2 == 0;
            for (uint64_t k = 0; write && k < len; k++)
                f->buf[k] = (uint8_t)rand_r(&seed);
            start(f, write ? ENGINE_WRITE : ENGINE_READ, area + offset, len,
                  (unsigned)rand_r(&seed) % 3, write && rand_r(&seed) % 8 == 0);
        }
        engine_kick(engine);
        if (round % 3 == 0)
            ck_assert_int_ge(loop_run_once(&loop, 0), 0);
    }
    ck_assert(engine_drain(engine, 10000));
    ck_assert_uint_eq(engine->in_flight + pool->in_flight, 0);
    uint8_t *all = malloc(DISK_SIZE);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(pread(fd, all, DISK_SIZE, 0), (ssize_t)DISK_SIZE);
    ck_assert_int_eq(memcmp(all, shadow, DISK_SIZE), 0);
    free(all);
    teardown();
}
END_TEST

static void run_range(enum engine_op op, uint64_t offset, uint64_t len)
{
    struct flight *f = &flight[0];
    f->busy = f->write = true;
    f->len = 0;
    f->req = (struct engine_request){
        .client = &client, .image = &img, .op = op, .offset = offset, .len = len};
    if (engine_submit(engine, &f->req))
        check_flight(f);
    engine_kick(engine);
    while (f->busy)
        ck_assert_int_ge(loop_run_once(&loop, 5000), 0);
}

START_TEST(other_operations)
{
    make_engine(_i);
    run_range(ENGINE_FLUSH, 0, 0);
    run_range(ENGINE_WRITE_ZEROES, 4096, 8192);
    memset(shadow + 4096, 0, 8192);
    start(&flight[1], ENGINE_READ, 0, AREA, 0, false);
    engine_kick(engine);
    ck_assert(engine_drain(engine, 10000));
    ck_assert(!flight[1].busy);
    teardown();
}
END_TEST

static int last_result;

static void keep_result(struct engine_client *c, struct engine_request *req)
{
    (void)c;
    last_result = req->result;
    container_of(req, struct flight, req)->busy = false;
}

START_TEST(a_file_that_shrinks)
{
    make_engine(_i);
    client.complete = keep_result;
    ck_assert_int_eq(truncate(path, 4096), 0);
    struct flight *f = &flight[0];
    start(f, ENGINE_READ, 8192, 4096, 0, false);
    engine_kick(engine);
    ck_assert(engine_drain(engine, 10000));
    ck_assert_int_eq(last_result, -EIO);
    /* Half of it is there. */
    start(f, ENGINE_READ, 0, AREA, 0, false);
    engine_kick(engine);
    ck_assert(engine_drain(engine, 10000));
    ck_assert_int_eq(last_result, -EIO);
    teardown();
}
END_TEST

START_TEST(more_than_it_can_hold)
{
    enum { MANY = 700 };
    make_engine(_i);
    client.complete = on_complete;
    struct flight *many = calloc(MANY, sizeof(*many));
    uint8_t *buf;
    ck_assert_int_eq(posix_memalign((void **)&buf, 4096, (size_t)MANY * 4096), 0);
    for (unsigned i = 0; i < MANY; i++) {
        many[i].buf = buf + (size_t)i * 4096;
        start(&many[i], ENGINE_READ, i % 256 * UINT64_C(4096), 4096, 0, false);
    }
    ck_assert(engine_drain(engine, 10000));
    for (unsigned i = 0; i < MANY; i++)
        ck_assert(!many[i].busy);
    free(many);
    free(buf);
    teardown();
}
END_TEST

/* No lock outlives the descriptors: a machine that ended can be started again at once. */
START_TEST(nothing_keeps_the_file_locked)
{
    make_engine(_i);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    ck_assert_int_eq(fcntl(img.fd, F_OFD_SETLK, &lock), 0);
    start(&flight[0], ENGINE_READ, 0, 4096, 0, false);
    ck_assert(engine_drain(engine, 10000));
    char again[sizeof(path)];
    snprintf(again, sizeof(again), "%s", path);
    cleanup_close int fd = open(again, O_RDWR | O_CLOEXEC);
    teardown();
    ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
}
END_TEST

/* An interface under which every write fails. */
static void queue_failing(struct native *n, struct engine_request *req)
{
    native_complete(n, req, -EIO);
}

static void do_nothing(struct native *n)
{
    (void)n;
}

static const struct native_ops failing = {
    .buffered = true, .queue = queue_failing, .submit = do_nothing, .reap = do_nothing};

/*
 * A durable write through the page cache would be told of other writes' errors: it is the pool's,
 * which keeps the order. Buffered, direct.
 */
START_TEST(durable_writes_of_the_page_cache_go_to_the_pool)
{
    make_engine(_i == 0 ? 2 : 1);
    client.complete = keep_result;
    struct native *n = container_of(engine, struct native, engine);
    const struct native_ops *ops = n->ops;
    n->ops = &failing;
    start(&flight[0], ENGINE_WRITE, 0, 4096, 0, true);
    engine_kick(engine);
    ck_assert(engine_drain(engine, 10000));
    ck_assert_int_eq(last_result, img.geometry.direct ? -EIO : 0);
    n->ops = ops;
    teardown();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("native");
    TCase *t = tcase_create("native");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, random_requests, 0, ARRAY_SIZE(modes));
    tcase_add_loop_test(t, other_operations, 0, ARRAY_SIZE(modes));
    tcase_add_loop_test(t, a_file_that_shrinks, 0, ARRAY_SIZE(modes));
    tcase_add_loop_test(t, more_than_it_can_hold, 0, ARRAY_SIZE(modes));
    tcase_add_loop_test(t, nothing_keeps_the_file_locked, 0, ARRAY_SIZE(modes));
    tcase_add_loop_test(t, durable_writes_of_the_page_cache_go_to_the_pool, 0, 2);
    suite_add_tcase(s, t);
    return run_suite(s);
}

// SPDX-License-Identifier: Apache-2.0
/* See blkkit.h. */
#include "blkkit.h"
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct vkit kit;
struct virtio_blk blk;
struct image img;
struct engine *engine;
char disk_path[64];
uint8_t *shadow;
struct virtio_blk_options disk_options;
static struct error err;

/* --- an image that a test can hold, fail and watch -------------------------------------------- */

static const struct image_ops *real;
struct blkkit_probe probe;

static void wait_while_held(void)
{
    atomic_fetch_add(&probe.waiting, 1);
    while (atomic_load(&probe.hold))
        sched_yield();
    atomic_fetch_sub(&probe.waiting, 1);
}

static ssize_t probe_read(struct image *image, const struct iovec *iov, unsigned count,
                          uint64_t offset, bool nowait)
{
    if (nowait && atomic_load(&probe.slow_reads))
        return -EAGAIN;
    if (!nowait)
        wait_while_held();
    return atomic_load(&probe.fail) ? -EIO : real->read(image, iov, count, offset, nowait);
}

static ssize_t probe_write(struct image *image, const struct iovec *iov, unsigned count,
                           uint64_t offset, bool nowait)
{
    if (nowait)
        return -EOPNOTSUPP;
    wait_while_held();
    return atomic_load(&probe.fail) ? -ENOSPC : real->write(image, iov, count, offset, false);
}

static int probe_flush(struct image *image)
{
    atomic_fetch_add(&probe.flushes, 1);
    return atomic_load(&probe.fail) ? -EIO : real->flush(image);
}

void use_probe(void)
{
    static struct image_ops ops;
    real = img.ops;
    ops = *real;
    ops.read = probe_read;
    ops.write = probe_write;
    ops.flush = probe_flush;
    memset(&probe, 0, sizeof(probe));
    atomic_store(&probe.slow_reads, true);
    img.ops = &ops;
}

/* --- fixture ---------------------------------------------------------------------------------- */

static void make_image(bool readonly)
{
    strcpy(disk_path, "/tmp/podvisor-blk-XXXXXX");
    int fd = mkstemp(disk_path);
    ck_assert_int_ge(fd, 0);
    shadow = malloc(DISK_SIZE);
    for (uint64_t i = 0; i < DISK_SIZE; i++)
        shadow[i] = (uint8_t)(i * 11 + (i >> 9) * 5 + 3);
    ck_assert_int_eq(pwrite(fd, shadow, DISK_SIZE, 0), (ssize_t)DISK_SIZE);
    struct image_config config = {.fd = fd, .discard = true, .readonly = readonly};
    ck_assert_int_eq(image_init(&img, &config, &err), 0);
}

void make_device(bool readonly, unsigned queues)
{
    err = ERROR_INIT;
    vkit_init(&kit);
    make_image(readonly);
    struct engine_pool_config pool = {.name = "io-blk"};
    ck_assert_int_eq(engine_open_pool(&pool, &kit.loop, &engine, &err), 0);
    struct virtio_blk_options options = disk_options;
    options.name = "disk0";
    options.image = &img;
    options.engine = engine;
    options.serial = "serial-0123456789";
    options.num_queues = queues;
    ck_assert_int_eq(virtio_blk_init(&blk, &options, &kit.mem, &kit.loop, &err), 0);
    vkit_attach(&kit, virtio_blk_device(&blk));
}

void setup(void)
{
    make_device(false, 1);
    ck_assert(vkit_start(&kit, ALL_FEATURES));
}

void teardown(void)
{
    ck_assert(vkit_reset(&kit));
    vkit_thread_stop(&kit);
    engine_close(engine);
    virtio_blk_done(&blk);
    image_done(&img);
    vkit_done(&kit);
    unlink(disk_path);
    free(shadow);
    disk_options = (struct virtio_blk_options){.name = NULL};
}

/* --- requests --------------------------------------------------------------------------------- */

gpa_t put_header(uint32_t type, uint64_t sector)
{
    struct virtio_blk_outhdr header = {.type = type, .sector = sector};
    gpa_t gpa = vkit_alloc(&kit, sizeof(header), 8);
    memcpy(vkit_at(&kit, gpa, sizeof(header)), &header, sizeof(header));
    return gpa;
}

gpa_t put_status(void)
{
    gpa_t gpa = vkit_alloc(&kit, 1, 1);
    *(uint8_t *)vkit_at(&kit, gpa, 1) = STATUS_UNTOUCHED;
    return gpa;
}

uint8_t get_status(gpa_t gpa)
{
    return *(uint8_t *)vkit_at(&kit, gpa, 1);
}

struct answer request(uint32_t type, uint64_t sector, gpa_t data, uint32_t len, bool data_out)
{
    gpa_t mark = kit.alloc_next;
    struct vkit_buf buf[3];
    unsigned n = 0;
    gpa_t status = put_status();
    buf[n++] = (struct vkit_buf){.gpa = put_header(type, sector), .len = 16};
    if (len > 0)
        buf[n++] = (struct vkit_buf){.gpa = data, .len = len, .writable = !data_out};
    buf[n++] = (struct vkit_buf){.gpa = status, .len = 1, .writable = true};
    struct answer a;
    ck_assert(vkit_request(&kit, 0, buf, n, &a.len));
    a.status = get_status(status);
    kit.alloc_next = mark;
    return a;
}

void expect(struct answer a, uint8_t status, uint32_t len)
{
    ck_assert_uint_eq(a.status, status);
    ck_assert_uint_eq(a.len, len);
}

void expect_disk(uint64_t offset, uint64_t len)
{
    uint8_t *buf = malloc(len);
    int fd = open(disk_path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(pread(fd, buf, len, (off_t)offset), (ssize_t)len);
    ck_assert_int_eq(memcmp(buf, shadow + offset, len), 0);
    close(fd);
    free(buf);
}

struct answer range_request(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
    struct virtio_blk_discard_write_zeroes seg = {
        .sector = sector, .num_sectors = sectors, .flags = flags};
    gpa_t data = vkit_alloc(&kit, sizeof(seg), 8);
    memcpy(vkit_at(&kit, data, sizeof(seg)), &seg, sizeof(seg));
    return request(type, 0, data, sizeof(seg), true);
}

TCase *add_case(Suite *s, const char *name, SFun before)
{
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, 100);
    tcase_add_checked_fixture(t, before, teardown);
    suite_add_tcase(s, t);
    return t;
}

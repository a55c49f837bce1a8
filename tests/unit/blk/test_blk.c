// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-blk in a box: the kit's guest memory and driver, a real file, the engine of threads. What
 * the disk should hold is kept in a shadow buffer.
 */
#include "blk.h"
#include "run_suite.h"
#include "vkit.h"
#include <check.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <podvisor/cleanup.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DISK_SIZE    ((uint64_t)2 << 20)
#define SECTOR       ((uint64_t)512)
#define DISK_SECTORS (DISK_SIZE / SECTOR)
#define FEATURE(bit) (UINT64_C(1) << (bit))
#define ALL_FEATURES                                                                  \
    (VKIT_FEATURES | FEATURE(VIRTIO_BLK_F_SEG_MAX) | FEATURE(VIRTIO_BLK_F_BLK_SIZE) | \
     FEATURE(VIRTIO_BLK_F_FLUSH) | FEATURE(VIRTIO_BLK_F_TOPOLOGY) |                   \
     FEATURE(VIRTIO_BLK_F_DISCARD) | FEATURE(VIRTIO_BLK_F_WRITE_ZEROES))
#define STATUS_UNTOUCHED 0xee

static struct vkit kit;
static struct virtio_blk blk;
static struct image img;
static struct engine *engine;
static struct error err;
static char path[64];
static uint8_t *shadow;

/* --- an image that a test can hold, fail and watch -------------------------------------------- */

static const struct image_ops *real;
static struct {
    atomic_bool hold, fail, slow_reads;
    atomic_int flushes, waiting;
} probe;

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

static void use_probe(void)
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
    strcpy(path, "/tmp/podvisor-blk-XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    shadow = malloc(DISK_SIZE);
    for (uint64_t i = 0; i < DISK_SIZE; i++)
        shadow[i] = (uint8_t)(i * 11 + (i >> 9) * 5 + 3);
    ck_assert_int_eq(pwrite(fd, shadow, DISK_SIZE, 0), (ssize_t)DISK_SIZE);
    struct image_config config = {.fd = fd, .discard = true, .readonly = readonly};
    ck_assert_int_eq(image_init(&img, &config, &err), 0);
}

static void make_device(bool readonly, unsigned queues)
{
    err = ERROR_INIT;
    vkit_init(&kit);
    make_image(readonly);
    struct engine_pool_config pool = {.name = "io-blk"};
    ck_assert_int_eq(engine_open_pool(&pool, &kit.loop, &engine, &err), 0);
    struct virtio_blk_options options = {.name = "disk0",
                                         .image = &img,
                                         .engine = engine,
                                         .serial = "serial-0123456789",
                                         .num_queues = queues};
    ck_assert_int_eq(virtio_blk_init(&blk, &options, &kit.mem, &kit.loop, &err), 0);
    vkit_attach(&kit, virtio_blk_device(&blk));
}

static void setup(void)
{
    make_device(false, 1);
    ck_assert(vkit_start(&kit, ALL_FEATURES));
}

static void teardown(void)
{
    ck_assert(vkit_reset(&kit));
    vkit_thread_stop(&kit);
    engine_close(engine);
    virtio_blk_done(&blk);
    image_done(&img);
    vkit_done(&kit);
    unlink(path);
    free(shadow);
}

/* --- requests --------------------------------------------------------------------------------- */

struct answer {
    uint8_t status;
    uint32_t len; /* of the used element */
};

static gpa_t put_header(uint32_t type, uint64_t sector)
{
    struct virtio_blk_outhdr header = {.type = type, .sector = sector};
    gpa_t gpa = vkit_alloc(&kit, sizeof(header), 8);
    memcpy(vkit_at(&kit, gpa, sizeof(header)), &header, sizeof(header));
    return gpa;
}

static gpa_t put_status(void)
{
    gpa_t gpa = vkit_alloc(&kit, 1, 1);
    *(uint8_t *)vkit_at(&kit, gpa, 1) = STATUS_UNTOUCHED;
    return gpa;
}

static uint8_t get_status(gpa_t gpa)
{
    return *(uint8_t *)vkit_at(&kit, gpa, 1);
}

/* The usual three descriptors (two without data). `data_out` tells the data's direction. */
static struct answer request(uint32_t type, uint64_t sector, gpa_t data, uint32_t len,
                             bool data_out)
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

static void expect(struct answer a, uint8_t status, uint32_t len)
{
    ck_assert_uint_eq(a.status, status);
    ck_assert_uint_eq(a.len, len);
}

static void expect_disk(uint64_t offset, uint64_t len)
{
    uint8_t *buf = malloc(len);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(pread(fd, buf, len, (off_t)offset), (ssize_t)len);
    ck_assert_int_eq(memcmp(buf, shadow + offset, len), 0);
    close(fd);
    free(buf);
}

static struct answer range_request(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
    struct virtio_blk_discard_write_zeroes seg = {
        .sector = sector, .num_sectors = sectors, .flags = flags};
    gpa_t data = vkit_alloc(&kit, sizeof(seg), 8);
    memcpy(vkit_at(&kit, data, sizeof(seg)), &seg, sizeof(seg));
    return request(type, 0, data, sizeof(seg), true);
}

/* --- reading and writing ---------------------------------------------------------------------- */

START_TEST(test_read)
{
    gpa_t data = vkit_alloc(&kit, 8192, 512);
    expect(request(VIRTIO_BLK_T_IN, 8, data, 8192, false), VIRTIO_BLK_S_OK, 8193);
    ck_assert_mem_eq(vkit_at(&kit, data, 8192), shadow + 4096, 8192);
    struct virtio_blk_metrics m;
    virtio_blk_get_metrics(&blk, &m);
    ck_assert(m.reads == 1 && m.read_bytes == 8192 && m.errors == 0 && m.rejected == 0);
}
END_TEST

START_TEST(test_write)
{
    gpa_t data = vkit_alloc(&kit, 1024, 1);
    memset(vkit_at(&kit, data, 1024), 0x42, 1024);
    memset(shadow + 512, 0x42, 1024);
    expect(request(VIRTIO_BLK_T_OUT, 1, data, 1024, true), VIRTIO_BLK_S_OK, 1);
    expect_disk(0, DISK_SIZE);
    expect(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, true), VIRTIO_BLK_S_OK, 1);
    struct virtio_blk_metrics m;
    virtio_blk_get_metrics(&blk, &m);
    ck_assert(m.writes == 1 && m.write_bytes == 1024 && m.flushes == 1);
}
END_TEST

START_TEST(test_end_of_disk)
{
    gpa_t data = vkit_alloc(&kit, 1024, 512);
    expect(request(VIRTIO_BLK_T_IN, DISK_SECTORS - 1, data, 512, false), VIRTIO_BLK_S_OK, 513);
    expect(request(VIRTIO_BLK_T_IN, DISK_SECTORS, data, 0, false), VIRTIO_BLK_S_OK, 1);
    static const uint64_t bad[] = {DISK_SECTORS - 1, DISK_SECTORS,     DISK_SECTORS + 1, UINT64_MAX,
                                   UINT64_MAX - 1,   UINT64_MAX / 512, INT64_MAX};
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        expect(request(VIRTIO_BLK_T_IN, bad[i], data, 1024, false), VIRTIO_BLK_S_IOERR, 0);
        expect(request(VIRTIO_BLK_T_OUT, bad[i], data, 1024, true), VIRTIO_BLK_S_IOERR, 1);
    }
    expect_disk(0, DISK_SIZE);
    struct virtio_blk_metrics m;
    virtio_blk_get_metrics(&blk, &m);
    ck_assert_uint_eq(m.rejected, 2 * ARRAY_SIZE(bad));
    ck_assert(!vkit_needs_reset(&kit));
}
END_TEST

START_TEST(test_odd_lengths)
{
    gpa_t data = vkit_alloc(&kit, 2048, 512);
    static const uint32_t bad[] = {1, 511, 513, 1000};
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        expect(request(VIRTIO_BLK_T_IN, 0, data, bad[i], false), VIRTIO_BLK_S_IOERR, 0);
        expect(request(VIRTIO_BLK_T_OUT, 0, data, bad[i], true), VIRTIO_BLK_S_IOERR, 1);
    }
    expect_disk(0, 4096);
}
END_TEST

START_TEST(test_wrong_direction)
{
    gpa_t data = vkit_alloc(&kit, 512, 512);
    expect(request(VIRTIO_BLK_T_IN, 0, data, 512, true), VIRTIO_BLK_S_IOERR, 1);
    expect(request(VIRTIO_BLK_T_OUT, 0, data, 512, false), VIRTIO_BLK_S_IOERR, 0);
    /* Both directions at once. */
    gpa_t status = put_status();
    struct vkit_buf buf[] = {{put_header(VIRTIO_BLK_T_IN, 0), 16, false},
                             {data, 512, false},
                             {data, 512, true},
                             {status, 1, true}};
    uint32_t len;
    ck_assert(vkit_request(&kit, 0, buf, 4, &len));
    ck_assert_uint_eq(get_status(status), VIRTIO_BLK_S_IOERR);
    expect_disk(0, 4096);
}
END_TEST

START_TEST(test_unsupported)
{
    static const uint32_t type[] = {2, 3, 5, 9, 10, 12, VIRTIO_BLK_T_SECURE_ERASE, 0x80000000u};
    for (unsigned i = 0; i < ARRAY_SIZE(type); i++)
        expect(request(type[i], 0, 0, 0, true), VIRTIO_BLK_S_UNSUPP, 1);
    ck_assert(!vkit_needs_reset(&kit));
}
END_TEST

START_TEST(test_get_id)
{
    gpa_t data = vkit_alloc(&kit, 64, 8);
    memset(vkit_at(&kit, data, 64), 0xff, 64);
    expect(request(VIRTIO_BLK_T_GET_ID, 0, data, 20, false), VIRTIO_BLK_S_OK, 21);
    ck_assert_mem_eq(vkit_at(&kit, data, 20), "serial-0123456789\0\0\0", 20);
    ck_assert_uint_eq(*(uint8_t *)vkit_at(&kit, data + 20, 1), 0xff);
    expect(request(VIRTIO_BLK_T_GET_ID, 0, data, 40, false), VIRTIO_BLK_S_OK, 20);
    expect(request(VIRTIO_BLK_T_GET_ID, 0, data, 19, false), VIRTIO_BLK_S_IOERR, 0);
    expect(request(VIRTIO_BLK_T_GET_ID, 0, 0, 0, false), VIRTIO_BLK_S_IOERR, 1);
}
END_TEST

/* --- framing: §2.7.4, the device assumes nothing ---------------------------------------------- */

static uint32_t send(const struct vkit_buf *buf, unsigned count, bool indirect)
{
    uint32_t len, head;
    if (!indirect) {
        ck_assert(vkit_request(&kit, 0, buf, count, &len));
        return len;
    }
    ck_assert_int_ge(vkit_add_indirect(&kit, 0, buf, count, count > 1), 0);
    vkit_kick(&kit, 0);
    ck_assert(vkit_wait_used(&kit, 0, 1));
    ck_assert(vkit_used(&kit, 0, &head, &len));
    return len;
}

START_TEST(test_header_in_pieces)
{
    gpa_t header = put_header(VIRTIO_BLK_T_IN, 3), data = vkit_alloc(&kit, 512, 1);
    gpa_t status = put_status();
    struct vkit_buf buf[] = {{header, 3, false},     {header + 3, 0, false},
                             {header + 3, 7, false}, {header + 10, 6, false},
                             {data, 512, true},      {status, 1, true}};
    ck_assert_uint_eq(send(buf, ARRAY_SIZE(buf), _i != 0), 513);
    ck_assert_uint_eq(get_status(status), VIRTIO_BLK_S_OK);
    ck_assert_mem_eq(vkit_at(&kit, data, 512), shadow + 1536, 512);
}
END_TEST

START_TEST(test_status_with_data)
{
    gpa_t header = put_header(VIRTIO_BLK_T_IN, 0), data = vkit_alloc(&kit, 1025, 1);
    uint8_t *p = vkit_at(&kit, data, 1025);
    p[1024] = STATUS_UNTOUCHED;
    struct vkit_buf buf[] = {{header, 16, false}, {data, 1025, true}};
    ck_assert_uint_eq(send(buf, ARRAY_SIZE(buf), _i != 0), 1025);
    ck_assert_uint_eq(p[1024], VIRTIO_BLK_S_OK);
    ck_assert_mem_eq(p, shadow, 1024);
}
END_TEST

START_TEST(test_header_with_data)
{
    gpa_t header = vkit_alloc(&kit, 16 + 1024, 8), status = put_status();
    struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_OUT, .sector = 7};
    uint8_t *p = vkit_at(&kit, header, 16 + 1024);
    memcpy(p, &h, 16);
    memset(p + 16, 0x77, 1024);
    memset(shadow + 3584, 0x77, 1024);
    struct vkit_buf buf[] = {
        {header, 16 + 100, false}, {header + 116, 924, false}, {status, 1, true}};
    ck_assert_uint_eq(send(buf, ARRAY_SIZE(buf), _i != 0), 1);
    ck_assert_uint_eq(get_status(status), VIRTIO_BLK_S_OK);
    expect_disk(0, DISK_SIZE);
}
END_TEST

/* As many pieces as a chain can have. */
START_TEST(test_many_pieces)
{
    enum { PIECES = 254 };
    struct vkit_buf buf[PIECES + 2];
    gpa_t data = vkit_alloc(&kit, SECTOR * PIECES, 512), status = put_status();
    buf[0] = (struct vkit_buf){put_header(VIRTIO_BLK_T_IN, 100), 16, false};
    for (unsigned i = 0; i < PIECES; i++)
        buf[1 + i] = (struct vkit_buf){data + SECTOR * i, 512, true};
    buf[PIECES + 1] = (struct vkit_buf){status, 1, true};
    if (_i >= 2)
        use_probe(); /* not in one step */
    ck_assert_uint_eq(send(buf, PIECES + 2, _i % 2 != 0), SECTOR * PIECES + 1);
    ck_assert_uint_eq(get_status(status), VIRTIO_BLK_S_OK);
    ck_assert_mem_eq(vkit_at(&kit, data, SECTOR * PIECES), shadow + 51200, SECTOR * PIECES);
}
END_TEST

static void expect_failure(const struct vkit_buf *buf, unsigned count)
{
    ck_assert_int_ge(vkit_add(&kit, 0, buf, count), 0);
    vkit_kick(&kit, 0);
    vkit_run(&kit);
    ck_assert(vkit_needs_reset(&kit));
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 0);
    ck_assert_uint_eq(atomic_load(&kit.config_interrupts), 1);
    ck_assert(vkit_reset(&kit));
    vkit_alloc_reset(&kit);
    ck_assert(vkit_start(&kit, ALL_FEATURES));
    expect(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, true), VIRTIO_BLK_S_OK, 1);
}

START_TEST(test_short_header)
{
    struct vkit_buf buf[] = {{put_header(0, 0), 15, false}, {put_status(), 1, true}};
    expect_failure(buf, 2);
}
END_TEST

START_TEST(test_no_header)
{
    struct vkit_buf buf[] = {{put_status(), 1, true}};
    expect_failure(buf, 1);
}
END_TEST

START_TEST(test_no_status)
{
    struct vkit_buf buf[] = {{put_header(0, 0), 16, false}};
    expect_failure(buf, 1);
}
END_TEST

START_TEST(test_broken_ring)
{
    vkit_avail_push(&kit, 0, 999);
    vkit_kick(&kit, 0);
    vkit_run(&kit);
    ck_assert(vkit_needs_reset(&kit));
}
END_TEST

/* --- discard, write zeroes -------------------------------------------------------------------- */

START_TEST(test_write_zeroes)
{
    memset(shadow + 5 * SECTOR, 0, 3000 * SECTOR);
    expect(range_request(VIRTIO_BLK_T_WRITE_ZEROES, 5, 3000, _i != 0), VIRTIO_BLK_S_OK, 1);
    expect_disk(0, DISK_SIZE);
    expect(range_request(VIRTIO_BLK_T_WRITE_ZEROES, 5, 0, 0), VIRTIO_BLK_S_OK, 1);
    struct virtio_blk_metrics m;
    virtio_blk_get_metrics(&blk, &m);
    ck_assert_uint_eq(m.write_zeroes, 2);
}
END_TEST

START_TEST(test_discard)
{
    expect(range_request(VIRTIO_BLK_T_DISCARD, 1024, 512, 0), VIRTIO_BLK_S_OK, 1);
    expect_disk(0, 1024 * SECTOR);
    expect_disk(1536 * SECTOR, DISK_SIZE - 1536 * SECTOR);
}
END_TEST

START_TEST(test_bad_ranges)
{
    static const uint32_t type[] = {VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES};
    for (unsigned i = 0; i < 2; i++) {
        uint32_t t = type[i];
        expect(range_request(t, DISK_SECTORS - 1, 2, 0), VIRTIO_BLK_S_IOERR, 1);
        expect(range_request(t, UINT64_MAX, 2, 0), VIRTIO_BLK_S_IOERR, 1);
        expect(range_request(t, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR, 1);
        expect(range_request(t, 0, 1, 2), VIRTIO_BLK_S_UNSUPP, 1);
        gpa_t data = vkit_alloc(&kit, 64, 8);
        static const uint32_t len[] = {0, 8, 15, 17, 32};
        for (unsigned k = 0; k < ARRAY_SIZE(len); k++)
            expect(request(t, 0, data, len[k], true), VIRTIO_BLK_S_IOERR, 1);
        expect(request(t, 0, data, 16, false), VIRTIO_BLK_S_IOERR, 0);
    }
    expect(range_request(VIRTIO_BLK_T_DISCARD, 0, 1, 1), VIRTIO_BLK_S_UNSUPP, 1);
    expect_disk(0, DISK_SIZE);
}
END_TEST

/* --- features --------------------------------------------------------------------------------- */

START_TEST(test_features_not_taken)
{
    ck_assert(vkit_reset(&kit));
    vkit_alloc_reset(&kit);
    ck_assert(vkit_start(&kit, FEATURE(VIRTIO_F_VERSION_1)));
    expect(range_request(VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_UNSUPP, 1);
    expect(range_request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_UNSUPP, 1);
    /* Without FLUSH a write is stable when it completes. */
    use_probe();
    gpa_t data = vkit_alloc(&kit, 512, 512);
    memset(shadow, 0, 512);
    expect(request(VIRTIO_BLK_T_OUT, 0, data, 512, true), VIRTIO_BLK_S_OK, 1);
    ck_assert_int_eq(atomic_load(&probe.flushes), 1);
    expect_disk(0, DISK_SIZE);
}
END_TEST

START_TEST(test_write_back)
{
    use_probe();
    gpa_t data = vkit_alloc(&kit, 512, 512);
    expect(request(VIRTIO_BLK_T_OUT, 0, data, 512, true), VIRTIO_BLK_S_OK, 1);
    ck_assert_int_eq(atomic_load(&probe.flushes), 0);
    expect(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, true), VIRTIO_BLK_S_OK, 1);
    ck_assert_int_eq(atomic_load(&probe.flushes), 1);
}
END_TEST

START_TEST(test_config)
{
    struct virtio_blk_config c;
    memset(&c, 0xff, sizeof(c));
    virtio_device_config_read(&blk.dev, 0, &c, sizeof(c));
    ck_assert_uint_eq(c.capacity, DISK_SECTORS);
    ck_assert_uint_eq(c.seg_max, 254);
    ck_assert_uint_eq(c.blk_size, 512);
    ck_assert_uint_eq(c.physical_block_exp, 3);
    ck_assert_uint_eq(c.num_queues, 1);
    ck_assert_uint_gt(c.max_discard_sectors, 0);
    ck_assert_uint_eq(c.max_discard_seg, 1);
    ck_assert_uint_gt(c.max_write_zeroes_sectors, 0);
    ck_assert_uint_eq(c.max_write_zeroes_seg, 1);
    ck_assert_uint_eq(c.write_zeroes_may_unmap, 1);
    ck_assert(!virtio_device_has(&blk.dev, VIRTIO_BLK_F_RO));
    ck_assert_uint_eq(blk.dev.features & FEATURE(VIRTIO_BLK_F_MQ), 0);
}
END_TEST

START_TEST(test_resize)
{
    ck_assert_int_eq(virtio_blk_set_capacity(&blk, 0), -EINVAL);
    ck_assert_int_eq(virtio_blk_set_capacity(&blk, 1000), -EINVAL);
    ck_assert_int_eq(truncate(path, (off_t)DISK_SIZE * 2), 0);
    gpa_t data = vkit_alloc(&kit, 512, 512);
    expect(request(VIRTIO_BLK_T_IN, DISK_SECTORS, data, 512, false), VIRTIO_BLK_S_IOERR, 0);
    uint8_t generation = blk.dev.config_generation;
    ck_assert_int_eq(virtio_blk_set_capacity(&blk, DISK_SIZE * 2), 0);
    ck_assert_uint_eq(atomic_load(&kit.config_interrupts), 1);
    ck_assert_uint_ne(blk.dev.config_generation, generation);
    uint64_t capacity;
    virtio_device_config_read(&blk.dev, 0, &capacity, sizeof(capacity));
    ck_assert_uint_eq(capacity, DISK_SECTORS * 2);
    expect(request(VIRTIO_BLK_T_IN, DISK_SECTORS, data, 512, false), VIRTIO_BLK_S_OK, 513);
}
END_TEST

START_TEST(test_bad_options)
{
    struct virtio_blk other;
    struct virtio_blk_options o = {.name = "disk1", .image = &img, .engine = engine};
    o.serial = "more than twenty bytes";
    ck_assert_int_eq(virtio_blk_init(&other, &o, &kit.mem, &kit.loop, &err), -EINVAL);
    o.serial = NULL;
    o.logical_block_size = 1000;
    ck_assert_int_eq(virtio_blk_init(&other, &o, &kit.mem, &kit.loop, &err), -EINVAL);
    o.logical_block_size = 4096;
    o.physical_block_size = 512;
    ck_assert_int_eq(virtio_blk_init(&other, &o, &kit.mem, &kit.loop, &err), -EINVAL);
    o.physical_block_size = 0;
    o.num_queues = VIRTIO_BLK_QUEUE_MAX + 1;
    ck_assert_int_eq(virtio_blk_init(&other, &o, &kit.mem, &kit.loop, &err), -EINVAL);
    o.num_queues = 1;
    ck_assert_int_eq(virtio_blk_init(&other, &o, &kit.mem, &kit.loop, &err), 0);
    uint32_t blk_size;
    virtio_device_config_read(&other.dev, offsetof(struct virtio_blk_config, blk_size), &blk_size,
                              4);
    ck_assert_uint_eq(blk_size, 4096);
    virtio_blk_done(&other);
}
END_TEST

/* --- errors of the host ----------------------------------------------------------------------- */

START_TEST(test_host_errors)
{
    use_probe();
    atomic_store(&probe.fail, true);
    gpa_t data = vkit_alloc(&kit, 4096, 512);
    expect(request(VIRTIO_BLK_T_IN, 0, data, 4096, false), VIRTIO_BLK_S_IOERR, 0);
    expect(request(VIRTIO_BLK_T_OUT, 0, data, 4096, true), VIRTIO_BLK_S_IOERR, 1);
    expect(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, true), VIRTIO_BLK_S_IOERR, 1);
    struct virtio_blk_metrics m;
    virtio_blk_get_metrics(&blk, &m);
    ck_assert(m.errors == 3 && m.reads == 0 && m.writes == 0 && m.flushes == 0);
    ck_assert(!vkit_needs_reset(&kit));
    atomic_store(&probe.fail, false);
    expect(request(VIRTIO_BLK_T_IN, 0, data, 4096, false), VIRTIO_BLK_S_OK, 4097);
}
END_TEST

START_TEST(test_shrunken_file)
{
    ck_assert_int_eq(truncate(path, 4096), 0);
    gpa_t data = vkit_alloc(&kit, 4096, 512);
    expect(request(VIRTIO_BLK_T_IN, 0, data, 4096, false), VIRTIO_BLK_S_OK, 4097);
    expect(request(VIRTIO_BLK_T_IN, 4, data, 4096, false), VIRTIO_BLK_S_IOERR, 0);
}
END_TEST

/* --- many in flight --------------------------------------------------------------------------- */

enum { DEPTH = 32 };

static struct {
    gpa_t data, status;
    uint64_t sector;
} flight[VIRTIO_BLK_QUEUE_SIZE];

static void start_reads(unsigned queue, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t sector = (i * UINT64_C(2654435761)) % (DISK_SECTORS - 8);
        flight[i].data = vkit_alloc(&kit, 4096, 4096);
        flight[i].status = put_status();
        flight[i].sector = sector;
        struct vkit_buf buf[] = {{put_header(VIRTIO_BLK_T_IN, sector), 16, false},
                                 {flight[i].data, 4096, true},
                                 {flight[i].status, 1, true}};
        ck_assert_int_ge(vkit_add(&kit, queue, buf, 3), 0);
    }
    vkit_kick(&kit, queue);
}

static void check_reads(unsigned queue, unsigned count)
{
    ck_assert(vkit_wait_used(&kit, queue, count));
    uint32_t head, len;
    for (unsigned i = 0; i < count; i++) {
        ck_assert(vkit_used(&kit, queue, &head, &len));
        ck_assert_uint_eq(len, 4097);
    }
    for (unsigned i = 0; i < count; i++) {
        ck_assert_uint_eq(get_status(flight[i].status), VIRTIO_BLK_S_OK);
        ck_assert_int_eq(
            memcmp(vkit_at(&kit, flight[i].data, 4096), shadow + flight[i].sector * SECTOR, 4096),
            0);
    }
}

START_TEST(test_depth)
{
    gpa_t mark = kit.alloc_next;
    if (_i != 0)
        use_probe();
    for (unsigned round = 0; round < 50; round++) {
        start_reads(0, DEPTH);
        check_reads(0, DEPTH);
        kit.alloc_next = mark;
    }
    ck_assert_uint_le(atomic_load(&kit.queue_interrupts[0]), (uintmax_t)50 * DEPTH);
}
END_TEST

/* All that hit the page cache cost one interrupt. */
START_TEST(test_batch)
{
    start_reads(0, DEPTH);
    check_reads(0, DEPTH);
    if (atomic_load(&img.nowait_read))
        ck_assert_uint_eq(atomic_load(&kit.queue_interrupts[0]), 1);
}
END_TEST

/* More than one pass of the loop, as a driver that refills at once would cause. */
START_TEST(test_full_queue)
{
    use_probe();
    gpa_t mark = kit.alloc_next;
    atomic_store(&probe.hold, true);
    enum { FULL = 85 }; /* of three descriptors */
    start_reads(0, FULL);
    vkit_run(&kit);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 0);
    atomic_store(&probe.hold, false);
    check_reads(0, FULL);
    kit.alloc_next = mark;
}
END_TEST

static bool reset_done(void *arg)
{
    (void)arg;
    return virtio_device_get_status(&blk.dev) == 0;
}

START_TEST(test_reset_in_flight)
{
    use_probe();
    atomic_store(&probe.hold, true);
    start_reads(0, DEPTH);
    vkit_run(&kit);
    virtio_device_set_status(&blk.dev, 0);
    vkit_run(&kit);
    ck_assert_uint_ne(virtio_device_get_status(&blk.dev), 0);
    while (atomic_load(&probe.waiting) == 0)
        sched_yield();
    atomic_store(&probe.hold, false);
    ck_assert(vkit_wait(&kit, reset_done, NULL));
    ck_assert_uint_eq(engine->in_flight, 0);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 0);
    vkit_alloc_reset(&kit);
    ck_assert(vkit_start(&kit, ALL_FEATURES));
    start_reads(0, DEPTH);
    check_reads(0, DEPTH);
}
END_TEST

/* The machine ends while requests are in flight: threads use the disk's memory until they are done.
 */
START_TEST(test_end_in_flight)
{
    use_probe();
    atomic_store(&probe.hold, true);
    start_reads(0, DEPTH);
    vkit_run(&kit);
    while (atomic_load(&probe.waiting) == 0)
        sched_yield();
    atomic_store(&probe.hold, false);
    virtio_blk_done(&blk);
    ck_assert_uint_eq(engine->in_flight, 0);
    /* For the tear-down. */
    struct virtio_blk_options o = {.name = "disk0", .image = &img, .engine = engine};
    ck_assert_int_eq(virtio_blk_init(&blk, &o, &kit.mem, &kit.loop, &err), 0);
    vkit_attach(&kit, &blk.dev);
}
END_TEST

/* The driver breaks a rule while requests are in flight: they still finish. */
START_TEST(test_failure_in_flight)
{
    use_probe();
    atomic_store(&probe.hold, true);
    start_reads(0, DEPTH);
    vkit_run(&kit);
    vkit_avail_push(&kit, 0, 999);
    vkit_kick(&kit, 0);
    vkit_run(&kit);
    ck_assert(vkit_needs_reset(&kit));
    atomic_store(&probe.hold, false);
    check_reads(0, DEPTH);
}
END_TEST

/* The loop on a thread of its own, for ThreadSanitizer. */
START_TEST(test_threaded)
{
    use_probe();
    vkit_thread_start(&kit);
    gpa_t mark = kit.alloc_next;
    for (unsigned round = 0; round < 20; round++) {
        start_reads(0, DEPTH);
        check_reads(0, DEPTH);
        kit.alloc_next = mark;
    }
    start_reads(0, DEPTH);
    ck_assert(vkit_reset(&kit));
    vkit_alloc_reset(&kit);
    ck_assert(vkit_start(&kit, ALL_FEATURES));
    start_reads(0, DEPTH);
    check_reads(0, DEPTH);
}
END_TEST

/* --- other devices ---------------------------------------------------------------------------- */

static void setup_readonly(void)
{
    make_device(true, 1);
    ck_assert(vkit_start(&kit, VKIT_FEATURES | FEATURE(VIRTIO_BLK_F_FLUSH)));
}

START_TEST(test_readonly)
{
    ck_assert_uint_ne(blk.dev.features & FEATURE(VIRTIO_BLK_F_RO), 0);
    ck_assert_uint_eq(blk.dev.features & FEATURE(VIRTIO_BLK_F_DISCARD), 0);
    ck_assert_uint_eq(blk.dev.features & FEATURE(VIRTIO_BLK_F_WRITE_ZEROES), 0);
    gpa_t data = vkit_alloc(&kit, 512, 512);
    expect(request(VIRTIO_BLK_T_OUT, 0, data, 512, true), VIRTIO_BLK_S_IOERR, 1);
    expect(range_request(VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_IOERR, 1);
    expect(range_request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_IOERR, 1);
    expect(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, true), VIRTIO_BLK_S_OK, 1);
    expect(request(VIRTIO_BLK_T_IN, 0, data, 512, false), VIRTIO_BLK_S_OK, 513);
    expect_disk(0, DISK_SIZE);
}
END_TEST

static void setup_queues(void)
{
    make_device(false, 4);
    ck_assert(vkit_start(&kit, ALL_FEATURES | FEATURE(VIRTIO_BLK_F_MQ)));
}

START_TEST(test_queues)
{
    for (unsigned queue = 0; queue < 4; queue++) {
        start_reads(queue, 16);
        check_reads(queue, 16);
    }
}
END_TEST

/* --- ten thousand operations against a shadow ------------------------------------------------- */

static uint64_t rng_state = 88172645463325252ull;

static uint32_t rnd(uint32_t bound)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (uint32_t)(rng_state >> 16) % bound;
}

/* Cuts [gpa, gpa + len) into random pieces. */
static unsigned cut(struct vkit_buf *buf, unsigned n, gpa_t gpa, uint32_t len, bool writable)
{
    while (len > 0) {
        uint32_t piece = n < 40 && len > 1 && rnd(3) == 0 ? 1 + rnd(len - 1) : len;
        buf[n++] = (struct vkit_buf){gpa, piece, writable};
        gpa += piece;
        len -= piece;
    }
    return n;
}

static void random_operation(gpa_t header, gpa_t data, gpa_t status)
{
    struct vkit_buf buf[64];
    uint32_t sectors = 1 + rnd(rnd(4) == 0 ? 512 : 16), len = sectors * (uint32_t)SECTOR;
    uint64_t sector = rnd((uint32_t)(DISK_SECTORS - sectors + 1)), offset = sector * SECTOR;
    uint8_t *bytes = vkit_at(&kit, data, len);
    static const uint32_t types[] = {VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
                                     VIRTIO_BLK_T_FLUSH};
    uint32_t pick = rnd(20), type = types[pick < 9 ? 0 : pick < 17 ? 1 : pick - 16];
    struct virtio_blk_outhdr h = {.type = type, .sector = sector};
    memcpy(vkit_at(&kit, header, 16), &h, 16);
    unsigned n = cut(buf, 0, header, 16, false);
    uint32_t written = 1;
    if (type == VIRTIO_BLK_T_IN) {
        memset(bytes, 0xcc, len);
        n = cut(buf, n, data, len, true);
        written += len;
    } else if (type == VIRTIO_BLK_T_OUT) {
        for (uint32_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)(sector + i + rng_state);
        memcpy(shadow + offset, bytes, len);
        n = cut(buf, n, data, len, false);
    } else if (type == VIRTIO_BLK_T_WRITE_ZEROES) {
        struct virtio_blk_discard_write_zeroes seg = {sector, sectors, rnd(2)};
        memcpy(bytes, &seg, sizeof(seg));
        memset(shadow + offset, 0, len);
        n = cut(buf, n, data, sizeof(seg), false);
    }
    n = cut(buf, n, status, 1, true);
    *(uint8_t *)vkit_at(&kit, status, 1) = STATUS_UNTOUCHED;
    uint32_t got;
    ck_assert(vkit_request(&kit, 0, buf, n, &got));
    ck_assert_uint_eq(get_status(status), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(got, written);
    if (type == VIRTIO_BLK_T_IN)
        ck_assert_int_eq(memcmp(bytes, shadow + offset, len), 0);
}

START_TEST(test_ten_thousand)
{
    gpa_t header = vkit_alloc(&kit, 16, 1), data = vkit_alloc(&kit, 512 * SECTOR, 1);
    gpa_t status = put_status();
    if (_i != 0)
        use_probe();
    for (unsigned i = 0; i < (_i == 0 ? 10000u : 2000u); i++)
        random_operation(header, data, status);
    expect_disk(0, DISK_SIZE);
}
END_TEST

static TCase *add_case(Suite *s, const char *name, SFun before)
{
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, 100);
    tcase_add_checked_fixture(t, before, teardown);
    suite_add_tcase(s, t);
    return t;
}

int main(void)
{
    Suite *s = suite_create("blk");
    TCase *t = add_case(s, "blk", setup);
    tcase_add_test(t, test_read);
    tcase_add_test(t, test_write);
    tcase_add_test(t, test_end_of_disk);
    tcase_add_test(t, test_odd_lengths);
    tcase_add_test(t, test_wrong_direction);
    tcase_add_test(t, test_unsupported);
    tcase_add_test(t, test_get_id);
    tcase_add_loop_test(t, test_header_in_pieces, 0, 2);
    tcase_add_loop_test(t, test_status_with_data, 0, 2);
    tcase_add_loop_test(t, test_header_with_data, 0, 2);
    tcase_add_loop_test(t, test_many_pieces, 0, 4);
    tcase_add_test(t, test_short_header);
    tcase_add_test(t, test_no_header);
    tcase_add_test(t, test_no_status);
    tcase_add_test(t, test_broken_ring);
    tcase_add_loop_test(t, test_write_zeroes, 0, 2);
    tcase_add_test(t, test_discard);
    tcase_add_test(t, test_bad_ranges);
    tcase_add_test(t, test_features_not_taken);
    tcase_add_test(t, test_write_back);
    tcase_add_test(t, test_config);
    tcase_add_test(t, test_resize);
    tcase_add_test(t, test_bad_options);
    tcase_add_test(t, test_host_errors);
    tcase_add_test(t, test_shrunken_file);
    tcase_add_loop_test(t, test_depth, 0, 2);
    tcase_add_test(t, test_batch);
    tcase_add_test(t, test_full_queue);
    tcase_add_test(t, test_reset_in_flight);
    tcase_add_test(t, test_end_in_flight);
    tcase_add_test(t, test_failure_in_flight);
    tcase_add_test(t, test_threaded);
    tcase_add_loop_test(t, test_ten_thousand, 0, 2);
    tcase_add_test(add_case(s, "readonly", setup_readonly), test_readonly);
    tcase_add_test(add_case(s, "queues", setup_queues), test_queues);
    return run_suite(s);
}

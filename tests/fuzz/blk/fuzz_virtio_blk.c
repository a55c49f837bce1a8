// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-blk against a driver that the input plays: mostly requests that are nearly right, so that
 * they get past the first check, between raw writes to ring and descriptors, resets, resizes and
 * completions in any order. The image is memory of exactly its size, so AddressSanitizer sees the
 * first byte outside; the engine runs a request when the input says so, without threads.
 *
 * Input: one byte of options, then commands of a byte each with their arguments behind.
 */
#include "blk.h"
#include "blockio.h"
#include "vkit.h"
#include <linux/virtio_blk.h>
#include <podvisor/cleanup.h>
#include <podvisor/iov.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DISK_SIZE  65536
#define ARENA_SIZE 16384

/* ---- an image in memory ---- */

static uint8_t *disk;
static bool answer_at_once, failing;

static ssize_t memory_read(struct image *img, const struct iovec *iov, unsigned count,
                           uint64_t offset, bool nowait)
{
    (void)img;
    if (nowait && !answer_at_once)
        return -EAGAIN;
    if (failing)
        return -EIO;
    if (offset >= DISK_SIZE)
        return 0;
    size_t len = iov_length(iov, count);
    if (len > DISK_SIZE - offset)
        len = DISK_SIZE - (size_t)offset;
    return (ssize_t)iov_write(iov, count, 0, disk + offset, len);
}

static ssize_t memory_write(struct image *img, const struct iovec *iov, unsigned count,
                            uint64_t offset, bool nowait)
{
    (void)img;
    if (nowait && !answer_at_once)
        return -EAGAIN;
    if (failing || offset >= DISK_SIZE)
        return -ENOSPC;
    size_t len = iov_length(iov, count);
    if (len > DISK_SIZE - offset)
        len = DISK_SIZE - (size_t)offset;
    return (ssize_t)iov_read(iov, count, 0, disk + offset, len);
}

static int memory_flush(struct image *img)
{
    (void)img;
    return failing ? -EIO : 0;
}

static int memory_range(struct image *img, uint64_t offset, uint64_t len)
{
    (void)img;
    if (offset > DISK_SIZE || len > DISK_SIZE - offset)
        return -EIO;
    memset(disk + offset, 0, len);
    return 0;
}

static int memory_zeroes(struct image *img, uint64_t offset, uint64_t len, bool unmap)
{
    return unmap ? memory_range(img, offset, len) : -EOPNOTSUPP;
}

static const struct image_ops memory_ops = {
    .read = memory_read,
    .write = memory_write,
    .flush = memory_flush,
    .discard = memory_range,
    .write_zeroes = memory_zeroes,
};

/* ---- an engine that waits to be told ---- */

static struct engine_request *deferred;
static struct blockio_bounce bounce;

static void deferred_submit(struct engine *engine, struct engine_request *req)
{
    (void)engine;
    req->next = deferred;
    deferred = req;
}

static void deferred_kick(struct engine *engine);

static const struct engine_ops deferred_ops;
static struct engine engine = {.ops = &deferred_ops};

/* Finishes the request `skip` places down the list, if there is one. */
static bool run_deferred(unsigned skip)
{
    struct engine_request **link = &deferred;
    while (*link != NULL && skip-- > 0)
        link = &(*link)->next;
    struct engine_request *req = *link;
    if (req == NULL)
        return false;
    *link = req->next;
    req->next = NULL;
    req->result = blockio_run(req, &bounce);
    engine_deliver(&engine, req);
    return true;
}

static bool at_end; /* the device waits for what is in flight */

static void deferred_kick(struct engine *e)
{
    (void)e;
    while (at_end && run_deferred(0))
        ;
}

static const struct engine_ops deferred_ops = {
    .name = "deferred", .submit = deferred_submit, .kick = deferred_kick};

/* ---- input ---- */

static const uint8_t *input;
static size_t input_left;

static uint64_t take(unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes && input_left > 0; i++, input_left--)
        v |= (uint64_t)*input++ << (8 * i);
    return v;
}

/* ---- driver ---- */

static struct vkit kit;
static struct virtio_blk blk;
static struct image img;
static gpa_t arena, arena_next;

static void start(void)
{
    vkit_alloc_reset(&kit);
    uint64_t features = UINT64_C(1) << VIRTIO_F_VERSION_1;
    if (take(1) % 4 != 0)
        features = blk.dev.features;
    if (!vkit_start(&kit, features))
        abort();
    arena = arena_next = vkit_alloc(&kit, ARENA_SIZE, 16);
}

static void restart(void)
{
    virtio_device_set_status(&blk.dev, 0);
    vkit_run(&kit);
    while (run_deferred(0))
        ;
    if (!vkit_reset(&kit) || engine.in_flight != 0)
        abort();
    start();
}

/* A piece of the arena, overlapping what is in use once in a while. */
static gpa_t place(uint32_t len)
{
    if (len > ARENA_SIZE || arena_next + len > arena + ARENA_SIZE)
        arena_next = arena;
    gpa_t gpa = arena_next;
    arena_next += len <= ARENA_SIZE ? len : 0;
    return gpa;
}

static uint64_t choose_sector(void)
{
    static const uint64_t edge[] = {0,          DISK_SIZE / 512 - 1, DISK_SIZE / 512,
                                    UINT64_MAX, UINT64_MAX / 512,    INT64_MAX};
    uint64_t pick = take(1);
    if (pick < 0xe0)
        return pick % (DISK_SIZE / 512);
    return pick < 0xf8 ? edge[pick % ARRAY_SIZE(edge)] : take(8);
}

static uint32_t choose_type(void)
{
    static const uint32_t type[] = {
        VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_OUT,          VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID,
        VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_T_IN,    VIRTIO_BLK_T_OUT};
    uint64_t pick = take(1);
    return pick < 0xf0 ? type[pick % ARRAY_SIZE(type)] : (uint32_t)take(4);
}

static unsigned cut(struct vkit_buf *buf, unsigned n, gpa_t gpa, uint32_t len, bool writable)
{
    uint64_t pieces = take(1) % 4;
    for (; pieces > 0 && len > 1; pieces--) {
        uint32_t piece = (uint32_t)take(2) % len;
        buf[n++] = (struct vkit_buf){gpa, piece, writable};
        gpa += piece;
        len -= piece;
    }
    buf[n++] = (struct vkit_buf){gpa, len, writable};
    return n;
}

static void add_request(void)
{
    struct vkit_buf buf[16];
    struct virtio_blk_outhdr header = {.type = choose_type(), .sector = choose_sector()};
    uint64_t odd = take(1); /* 0xf0 and above: one thing is wrong */
    uint32_t header_len = odd == 0xf0 ? (uint32_t)take(1) : sizeof(header);
    gpa_t at = place(256);
    memcpy(vkit_at(&kit, at, sizeof(header)), &header, sizeof(header));
    unsigned n = cut(buf, 0, at, header_len, false);
    bool in = header.type == VIRTIO_BLK_T_IN || header.type == VIRTIO_BLK_T_GET_ID;
    uint32_t len = (uint32_t)(take(1) % 9) * 512;
    if (header.type == VIRTIO_BLK_T_GET_ID)
        len = 20;
    if (header.type == VIRTIO_BLK_T_FLUSH)
        len = 0;
    if (header.type == VIRTIO_BLK_T_DISCARD || header.type == VIRTIO_BLK_T_WRITE_ZEROES)
        len = 16;
    if (odd == 0xf1)
        len = (uint32_t)take(2) % ARENA_SIZE;
    gpa_t data = place(len);
    if (len == 16) {
        struct virtio_blk_discard_write_zeroes seg = {
            choose_sector(), (uint32_t)take(odd == 0xf2 ? 4 : 1), (uint32_t)take(1) % 3};
        memcpy(vkit_at(&kit, data, sizeof(seg)), &seg, sizeof(seg));
    }
    if (len > 0)
        n = cut(buf, n, data, len, odd == 0xf3 ? !in : in);
    if (odd != 0xf4)
        buf[n++] = (struct vkit_buf){place(1), 1, true};
    if (odd == 0xf5)
        vkit_add_indirect(&kit, 0, buf, n, 0);
    else
        vkit_add(&kit, 0, buf, n);
}

static void command(void)
{
    uint32_t head, len;
    switch (take(1) % 16) {
    case 7:
        failing = !failing;
        virtio_blk_retry(&blk);
        break;
    case 8:
        vkit_desc_write(&kit, 0, (uint16_t)(take(1) % VIRTIO_BLK_QUEUE_SIZE), take(4),
                        (uint32_t)take(4), (uint16_t)take(1), (uint16_t)take(2));
        break;
    case 9:
        vkit_avail_push(&kit, 0, (uint16_t)take(2));
        break;
    case 10:
        vkit_avail_set_idx(&kit, 0, (uint16_t)take(2));
        break;
    case 11:
        restart();
        break;
    case 12:
        virtio_blk_set_capacity(&blk, 512 * (1 + take(1) % (DISK_SIZE / 512)));
        break;
    case 13:
        answer_at_once = !answer_at_once;
        break;
    case 14:
        run_deferred((unsigned)take(1) % 8);
        while (vkit_used(&kit, 0, &head, &len))
            ;
        break;
    case 15:
        vkit_kick(&kit, 0);
        vkit_run(&kit);
        break;
    default:
        add_request();
        break;
    }
}

static void set_up_once(void)
{
    if (disk != NULL)
        return;
    log_setup("fuzz", 2, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
    disk = malloc(DISK_SIZE);
    vkit_init(&kit);
    if (disk == NULL || blockio_bounce_init(&bounce, NULL) < 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    set_up_once();
    input = data;
    input_left = size;
    uint64_t options = take(1);
    memset(disk, 0x5a, DISK_SIZE);
    img = (struct image){.ops = &memory_ops, .fd = -1, .readonly = options & 1};
    img.discard = (options & 2) != 0 && !img.readonly;
    uint32_t align = (options & 4) != 0 ? 4096 : 1;
    img.geometry = (struct image_geometry){.size = DISK_SIZE,
                                           .logical_block_size = 512,
                                           .physical_block_size = 4096,
                                           .mem_align = align,
                                           .offset_align = align,
                                           .direct = align > 1};
    atomic_store(&img.nowait_read, align == 1);
    atomic_store(&img.nowait_write, align == 1);
    pthread_rwlock_init(&img.rmw_lock, NULL);
    answer_at_once = (options & 8) != 0;
    failing = false;
    struct virtio_blk_options o = {.name = "fuzz",
                                   .image = &img,
                                   .engine = &engine,
                                   .serial = "s",
                                   .error_policy =
                                       (enum virtio_blk_error_policy)(options >> 5 & 3)};
    if (virtio_blk_init(&blk, &o, &kit.mem, &kit.loop, NULL) < 0)
        abort();
    vkit_attach(&kit, &blk.dev);
    start();
    while (input_left > 0)
        command();
    vkit_kick(&kit, 0);
    vkit_run(&kit);
    if ((options & 16) == 0)
        restart();
    at_end = true;
    virtio_blk_done(&blk);
    at_end = false;
    if (deferred != NULL || engine.in_flight != 0)
        abort();
    pthread_rwlock_destroy(&img.rmw_lock);
    return 0;
}

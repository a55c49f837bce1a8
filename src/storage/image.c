// SPDX-License-Identifier: Apache-2.0
/*
 * Building images, and raw ones themselves: a regular file or a block device whose bytes are the
 * disk's bytes. Owns the descriptor. Any thread, once initialised.
 *
 * System calls of the operations: preadv2, pwritev2, fdatasync, fallocate (regular files), ioctl
 * BLKDISCARD and BLKZEROOUT (block devices).
 */
#include "image.h"
#include "qcow2_open.h"
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static ssize_t raw_read(struct image *img, const struct iovec *iov, unsigned count, uint64_t offset,
                        bool nowait)
{
    ssize_t n = preadv2(img->fd, iov, (int)count, (off_t)offset, nowait ? RWF_NOWAIT : 0);
    return n < 0 ? -errno : n;
}

static ssize_t raw_write(struct image *img, const struct iovec *iov, unsigned count,
                         uint64_t offset, bool nowait)
{
    ssize_t n = pwritev2(img->fd, iov, (int)count, (off_t)offset, nowait ? RWF_NOWAIT : 0);
    return n < 0 ? -errno : n;
}

/*
 * After a failed write-back the kernel marks the pages clean, so the next fdatasync() would report
 * success for data that is gone: the first error stays. The kernel tells it to one caller only, so
 * of two that flush at once the other must not believe its own success. Direct I/O has no such
 * pages.
 */
static int flush_cached(struct image *img)
{
    pthread_mutex_lock(&img->flush_lock);
    int failed = atomic_load_explicit(&img->flush_error, memory_order_relaxed);
    while (failed == 0 && fdatasync(img->fd) < 0)
        failed = errno == EINTR ? 0 : -errno;
    atomic_store_explicit(&img->flush_error, failed, memory_order_relaxed);
    pthread_mutex_unlock(&img->flush_lock);
    return failed;
}

int image_sync(struct image *img)
{
    if (!img->geometry.direct)
        return flush_cached(img);
    int failed = atomic_load_explicit(&img->flush_error, memory_order_relaxed);
    while (failed == 0 && fdatasync(img->fd) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return failed;
}

/* fallocate(2) of one kind; `able` remembers for all threads that the file system has it not. */
static int try_fallocate(struct image *img, int mode, atomic_bool *able, uint64_t offset,
                         uint64_t len)
{
    if (!atomic_load_explicit(able, memory_order_relaxed))
        return -EOPNOTSUPP;
    if (fallocate(img->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len) == 0)
        return 0;
    int r = -errno;
    if (r == -EOPNOTSUPP)
        atomic_store_explicit(able, false, memory_order_relaxed);
    return r;
}

static int raw_discard(struct image *img, uint64_t offset, uint64_t len)
{
    if (!img->geometry.block_device)
        return try_fallocate(img, FALLOC_FL_PUNCH_HOLE, &img->can_punch, offset, len);
    /* The device takes whole blocks; the rest keeps its content, as a discard may. */
    uint64_t mask = img->geometry.logical_block_size - 1;
    uint64_t start = (offset + mask) & ~mask, end = (offset + len) & ~mask;
    if (end <= start)
        return 0;
    uint64_t range[2] = {start, end - start};
    return ioctl(img->fd, BLKDISCARD, range) < 0 ? -errno : 0;
}

static int raw_write_zeroes(struct image *img, uint64_t offset, uint64_t len, bool unmap)
{
    if (img->geometry.block_device) {
        if (((offset | len) & (img->geometry.logical_block_size - 1)) != 0)
            return -EOPNOTSUPP;
        uint64_t range[2] = {offset, len};
        return ioctl(img->fd, BLKZEROOUT, range) < 0 ? -errno : 0;
    }
    if (unmap && try_fallocate(img, FALLOC_FL_PUNCH_HOLE, &img->can_punch, offset, len) == 0)
        return 0;
    return try_fallocate(img, FALLOC_FL_ZERO_RANGE, &img->can_zero, offset, len);
}

static const struct image_ops raw_ops = {
    .read = raw_read,
    .write = raw_write,
    .flush = image_sync,
    .discard = raw_discard,
    .write_zeroes = raw_write_zeroes,
};

/* Aligned requests come all the time: a waiting read-modify-write goes before later ones. */
static void init_rmw_lock(struct image *img)
{
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&img->rmw_lock, &attr);
    pthread_rwlockattr_destroy(&attr);
}

int image_init(struct image *img, const struct image_config *config, struct error *err)
{
    if (config->format != IMAGE_FORMAT_RAW && config->format != IMAGE_FORMAT_QCOW2)
        return error_set(err, ENOTSUP, "disk format %d is not supported", (int)config->format);
    if (config->format == IMAGE_FORMAT_RAW && config->backing != NULL)
        return error_set(err, EINVAL, "a raw image lies on no other");
    struct image_geometry geometry;
    struct qcow2_header header;
    int r = image_geometry_and_header(config->fd, config->format, &geometry, &header, err);
    if (r == 0 && config->backing != NULL)
        r = image_geometry_lie_on(&geometry, &header, &config->backing->geometry, err);
    if (r < 0)
        return r;
    int flags = fcntl(config->fd, F_GETFL);
    if (!config->readonly && (flags & O_ACCMODE) != O_RDWR)
        return error_set(err, EACCES, "descriptor %d is not open for writing", config->fd);

    memset(img, 0, sizeof(*img));
    img->ops = &raw_ops;
    img->format = config->format;
    img->fd = config->fd;
    img->readonly = config->readonly;
    img->discard = config->discard && !config->readonly;
    img->geometry = geometry;
    /*
     * With O_DIRECT the flag means less than it says: the request is queued without waiting, and
     * then waited for. That would stall the I/O loop, so it is not tried.
     */
    atomic_init(&img->nowait_read, !geometry.direct);
    atomic_init(&img->nowait_write, !geometry.direct);
    atomic_init(&img->can_punch, true);
    atomic_init(&img->can_zero, true);
    atomic_init(&img->flush_error, 0);
    if (config->format == IMAGE_FORMAT_QCOW2) {
        r = qcow2_open(img, &header, config->backing != NULL, err);
        if (r < 0)
            return r;
    }
    img->backing = config->backing;
    init_rmw_lock(img);
    pthread_mutex_init(&img->flush_lock, NULL);
    return 0;
}

void image_done(struct image *img)
{
    if (img->ops->done != NULL)
        img->ops->done(img);
    if (img->backing != NULL)
        image_done(img->backing);
    free(img->backing);
    img->backing = NULL;
    pthread_rwlock_destroy(&img->rmw_lock);
    pthread_mutex_destroy(&img->flush_lock);
    close(img->fd);
    img->fd = -1;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Raw images: a regular file or a block device whose bytes are the disk's bytes. Owns the
 * descriptor. Any thread, once initialised.
 *
 * System calls of the operations: preadv2, pwritev2, fdatasync, fallocate (regular files), ioctl
 * BLKDISCARD and BLKZEROOUT (block devices).
 */
#include "image.h"
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* What satisfies every disk in use when the kernel does not say (STATX_DIOALIGN is Linux 6.1). */
#define FALLBACK_FILE_ALIGN 4096

static bool is_power_of_two(uint32_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

static int read_block_device(int fd, struct image_geometry *g, struct error *err)
{
    int logical = 0;
    unsigned physical = 0;
    if (ioctl(fd, BLKGETSIZE64, &g->size) < 0 || ioctl(fd, BLKSSZGET, &logical) < 0 ||
        ioctl(fd, BLKPBSZGET, &physical) < 0)
        return error_sys(err, errno, "cannot read the size of the block device");
    g->block_device = true;
    g->logical_block_size = (uint32_t)logical;
    g->physical_block_size = physical;
    return 0;
}

static int read_alignment(int fd, struct image_geometry *g, struct error *err)
{
    struct statx stx;
    memset(&stx, 0, sizeof(stx));
    g->mem_align = g->offset_align = g->block_device ? g->logical_block_size : FALLBACK_FILE_ALIGN;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
        (stx.stx_mask & STATX_DIOALIGN) != 0) {
        g->mem_align = stx.stx_dio_mem_align;
        g->offset_align = stx.stx_dio_offset_align;
    }
    if (g->offset_align == 0)
        return error_set(err, EINVAL, "direct I/O (O_DIRECT) is not supported on this file");
    if (!is_power_of_two(g->mem_align) || !is_power_of_two(g->offset_align) ||
        g->mem_align > IMAGE_ALIGN_MAX || g->offset_align > IMAGE_ALIGN_MAX)
        return error_set(err, EINVAL, "direct I/O needs an alignment of %u bytes, more than %d",
                         g->offset_align, IMAGE_ALIGN_MAX);
    if (g->size % g->offset_align != 0)
        return error_set(err, EINVAL,
                         "the size, %llu bytes, is not a multiple of the %u bytes that direct I/O "
                         "needs",
                         (unsigned long long)g->size, g->offset_align);
    return 0;
}

int image_geometry_read(int fd, struct image_geometry *ret_geometry, struct error *err)
{
    struct image_geometry g = {.logical_block_size = IMAGE_SECTOR_SIZE,
                               .physical_block_size = 4096,
                               .mem_align = 1,
                               .offset_align = 1};
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &st) < 0)
        return error_sys(err, errno, "cannot examine descriptor %d", fd);
    if (S_ISBLK(st.st_mode)) {
        int r = read_block_device(fd, &g, err);
        if (r < 0)
            return r;
    } else if (S_ISREG(st.st_mode)) {
        g.size = (uint64_t)st.st_size;
    } else {
        return error_set(err, S_ISDIR(st.st_mode) ? EISDIR : EINVAL,
                         S_ISDIR(st.st_mode) ? "is a directory"
                                             : "is neither a regular file nor a block device");
    }
    if (g.size == 0)
        return error_set(err, EINVAL, "is empty");
    if (g.size % IMAGE_SECTOR_SIZE != 0)
        return error_set(err, EINVAL, "the size, %llu bytes, is not a multiple of %d",
                         (unsigned long long)g.size, IMAGE_SECTOR_SIZE);
    g.direct = (flags & O_DIRECT) != 0;
    if (g.direct) {
        int r = read_alignment(fd, &g, err);
        if (r < 0)
            return r;
    }
    *ret_geometry = g;
    return 0;
}

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
 * success for data that is gone. The first error therefore stays. Direct I/O has no such pages.
 */
static int raw_flush(struct image *img)
{
    int failed = atomic_load_explicit(&img->flush_error, memory_order_relaxed);
    if (failed != 0)
        return failed;
    if (fdatasync(img->fd) == 0)
        return 0;
    failed = -errno;
    if (failed != -EINTR && !img->geometry.direct)
        atomic_store_explicit(&img->flush_error, failed, memory_order_relaxed);
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
    .flush = raw_flush,
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
    if (config->format != IMAGE_FORMAT_RAW)
        return error_set(err, ENOTSUP, "disk format %d is not supported", (int)config->format);
    struct image_geometry geometry;
    int r = image_geometry_read(config->fd, &geometry, err);
    if (r < 0)
        return r;
    int flags = fcntl(config->fd, F_GETFL);
    if (!config->readonly && (flags & O_ACCMODE) != O_RDWR)
        return error_set(err, EACCES, "descriptor %d is not open for writing", config->fd);

    memset(img, 0, sizeof(*img));
    img->ops = &raw_ops;
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
    init_rmw_lock(img);
    return 0;
}

void image_done(struct image *img)
{
    pthread_rwlock_destroy(&img->rmw_lock);
    close(img->fd);
    img->fd = -1;
}

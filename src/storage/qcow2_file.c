// SPDX-License-Identifier: Apache-2.0
/*
 * See qcow2_file.h. Any thread; owns nothing. System calls: preadv2, pwritev2, fdatasync,
 * fallocate, ioctl BLKZEROOUT and BLKDISCARD.
 */
#include "qcow2_file.h"
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <podvisor/iov.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BUFFER_ALIGN 4096

/* Never written, so the pages behind it are the kernel's zero page. */
static const uint8_t zeroes[65536] __attribute__((aligned(BUFFER_ALIGN)));

void *qcow2_file_buffer(const struct image *img, uint64_t size)
{
    size_t align = img->geometry.mem_align > BUFFER_ALIGN ? img->geometry.mem_align : BUFFER_ALIGN;
    void *p = NULL;
    return posix_memalign(&p, align, size) == 0 ? p : NULL;
}

int qcow2_file_read(struct image *img, uint8_t *buf, uint64_t len, uint64_t offset)
{
    while (len > 0) {
        struct iovec iov = {.iov_base = buf, .iov_len = len};
        ssize_t n = preadv2(img->fd, &iov, 1, (off_t)offset, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        /* Direct I/O stops inside a block at the end of the file only, and goes on from none. */
        if (n == 0 || ((uint64_t)n & (img->geometry.offset_align - 1)) != 0) {
            memset(buf + n, 0, len - (size_t)n);
            return 0;
        }
        buf += n;
        len -= (uint64_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

int qcow2_file_writev(struct image *img, struct iovec *iov, unsigned count, uint64_t offset)
{
    iov_drop_front(&iov, &count, 0);
    while (count > 0) {
        ssize_t n = pwritev2(img->fd, iov, (int)count, (off_t)offset, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        offset += (uint64_t)n;
        iov_drop_front(&iov, &count, (size_t)n);
    }
    return 0;
}

int qcow2_file_write(struct image *img, const uint8_t *buf, uint64_t len, uint64_t offset)
{
    struct iovec iov = {.iov_len = len};
    memcpy(&iov.iov_base, &buf, sizeof(buf)); /* struct iovec knows no const */
    return qcow2_file_writev(img, &iov, 1, offset);
}

/* What keeps the range's blocks, so that a later write finds room. */
static int try_zero(struct image *img, uint64_t offset, uint64_t len)
{
    if (img->geometry.block_device) {
        uint64_t range[2] = {offset, len};
        if (((offset | len) & (img->geometry.logical_block_size - 1)) != 0)
            return -EOPNOTSUPP;
        return ioctl(img->fd, BLKZEROOUT, range) < 0 ? -errno : 0;
    }
    if (!atomic_load_explicit(&img->can_zero, memory_order_relaxed))
        return -EOPNOTSUPP;
    if (fallocate(img->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len) ==
        0)
        return 0;
    int r = -errno;
    if (r == -EOPNOTSUPP)
        atomic_store_explicit(&img->can_zero, false, memory_order_relaxed);
    return r;
}

int qcow2_file_zero(struct image *img, uint64_t offset, uint64_t len)
{
    int r = len > sizeof(zeroes) ? try_zero(img, offset, len) : -EOPNOTSUPP;
    if (r != -EOPNOTSUPP && r != -EINTR)
        return r;
    for (r = 0; r == 0 && len > 0;) {
        uint64_t n = len < sizeof(zeroes) ? len : sizeof(zeroes);
        r = qcow2_file_write(img, zeroes, n, offset);
        offset += n;
        len -= n;
    }
    return r;
}

void qcow2_file_punch(struct image *img, uint64_t offset, uint64_t len)
{
    if (img->geometry.block_device) {
        uint64_t range[2] = {offset, len};
        if (((offset | len) & (img->geometry.logical_block_size - 1)) == 0)
            (void)ioctl(img->fd, BLKDISCARD, range);
        return;
    }
    if (!atomic_load_explicit(&img->can_punch, memory_order_relaxed))
        return;
    if (fallocate(img->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len) <
            0 &&
        errno == EOPNOTSUPP)
        atomic_store_explicit(&img->can_punch, false, memory_order_relaxed);
}

void qcow2_iov_zero(const struct iovec *iov, unsigned count, size_t skip)
{
    for (unsigned i = 0; i < count; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        memset((uint8_t *)iov[i].iov_base + skip, 0, iov[i].iov_len - skip);
        skip = 0;
    }
}

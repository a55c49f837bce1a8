// SPDX-License-Identifier: Apache-2.0
/*
 * Reading. Any thread, many at once; on the I/O loop only what needs no waiting. One call does one
 * extent: the caller continues short reads anyway.
 */
#include "qcow2.h"
#include <podvisor/iov.h>

unsigned qcow2_iov_slice(const struct iovec *iov, unsigned count, uint64_t len, struct iovec *ret,
                         unsigned max, uint64_t *ret_len)
{
    unsigned n = 0;
    uint64_t done = 0;
    for (; n < count && n < max && done < len; n++) {
        ret[n] = iov[n];
        if (ret[n].iov_len > len - done)
            ret[n].iov_len = len - done;
        done += ret[n].iov_len;
    }
    *ret_len = done;
    return n;
}

/* Clusters in the file; behind its end they read as zeroes. */
static ssize_t read_data(struct qcow2 *q, const struct iovec *iov, unsigned count, uint64_t host,
                         uint64_t len, bool nowait)
{
    ssize_t n;
    do {
        n = preadv2(q->img->fd, iov, (int)count, (off_t)host, nowait ? RWF_NOWAIT : 0);
        if (n < 0)
            n = -errno;
    } while (n == -EINTR);
    if (n < 0)
        return n;
    /* Direct I/O ends inside a block at the end of the file only, and cannot go on there. */
    if (n == 0 || ((uint64_t)n & (q->img->geometry.offset_align - 1)) != 0) {
        qcow2_iov_zero(iov, count, (size_t)n);
        return (ssize_t)len;
    }
    return n;
}

static ssize_t read_backing(struct qcow2 *q, const struct iovec *iov, unsigned count,
                            uint64_t offset, uint64_t len, bool nowait)
{
    struct image *below = q->img->backing;
    if (below == NULL || offset >= below->geometry.size) {
        qcow2_iov_zero(iov, count, 0);
        return (ssize_t)len;
    }
    struct iovec part[QCOW2_IOV_MAX];
    uint64_t left = below->geometry.size - offset;
    count = qcow2_iov_slice(iov, count, left, part, QCOW2_IOV_MAX, &len);
    if (!nowait)
        return below->ops->read(below, part, count, offset, false);
    if (!atomic_load_explicit(&below->nowait_read, memory_order_relaxed))
        return -EAGAIN;
    ssize_t n = below->ops->read(below, part, count, offset, true);
    if (n != -EOPNOTSUPP)
        return n;
    atomic_store_explicit(&below->nowait_read, false, memory_order_relaxed);
    return -EAGAIN;
}

static int find(struct qcow2 *q, uint64_t offset, uint64_t len, bool nowait,
                struct qcow2_extent *ret, unsigned *ret_phase)
{
    const char *bad;
    if (!nowait)
        pthread_mutex_lock(&q->map_lock);
    else if (pthread_mutex_trylock(&q->map_lock) != 0)
        return -EAGAIN;
    int r = qcow2_lookup(q, offset, len, nowait, ret, &bad);
    if (r == 0 && (ret->kind == QCOW2_KIND_DATA || ret->kind == QCOW2_KIND_PACKED))
        *ret_phase = qcow2_io_begin(q);
    pthread_mutex_unlock(&q->map_lock);
    if (r == -EIO && bad != NULL)
        return nowait ? -EAGAIN : qcow2_corrupt(q, bad, offset);
    return r;
}

ssize_t qcow2_read(struct image *img, const struct iovec *iov, unsigned count, uint64_t offset,
                   bool nowait)
{
    struct qcow2 *q = img->qcow2;
    struct iovec part[QCOW2_IOV_MAX];
    struct qcow2_extent e;
    uint64_t len, size = img->geometry.size;
    unsigned phase = 0;
    if (offset >= size)
        return -EINVAL;
    count = qcow2_iov_slice(iov, count, size - offset, part, QCOW2_IOV_MAX, &len);
    int r = find(q, offset, len, nowait, &e, &phase);
    if (r < 0)
        return r;
    count = qcow2_iov_slice(part, count, e.len, part, QCOW2_IOV_MAX, &len);
    ssize_t n = -EAGAIN;
    switch (e.kind) {
    case QCOW2_KIND_NONE:
        return read_backing(q, part, count, offset, len, nowait);
    case QCOW2_KIND_ZERO:
    case QCOW2_KIND_RESERVED:
        qcow2_iov_zero(part, count, 0);
        return (ssize_t)len;
    case QCOW2_KIND_DATA:
        n = read_data(q, part, count, e.host, len, nowait);
        break;
    case QCOW2_KIND_PACKED:
        if (!nowait)
            n = qcow2_unpack(q, e.entry, part, count, offset, len);
        break;
    }
    qcow2_io_end(q, phase);
    return n;
}

int qcow2_read_all(struct qcow2 *q, uint8_t *buf, uint64_t len, uint64_t offset)
{
    while (len > 0) {
        struct iovec iov = {.iov_base = buf, .iov_len = len};
        ssize_t n = qcow2_read(q->img, &iov, 1, offset, false);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        buf += n;
        len -= (uint64_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

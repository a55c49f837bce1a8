// SPDX-License-Identifier: Apache-2.0
/*
 * Blocking execution of requests: short transfers are continued, zeroes are written where the file
 * system cannot make them, and direct I/O whose buffers, offset or length are not aligned goes
 * through the thread's bounce buffer, a piece at a time. Runs on any thread; nothing allocates.
 */
#include "blockio.h"
#include <podvisor/iov.h>
#include <stdlib.h>
#include <string.h>

/* Never written, so the pages behind it are the kernel's zero page. */
static uint8_t zeroes[65536] __attribute__((aligned(4096)));

#define ZERO_IOV 16 /* 1 MiB of zeroes a write */

int blockio_bounce_init(struct blockio_bounce *bounce, struct error *err)
{
    /* Large enough that malloc maps it: no page is resident before a request needs it. */
    void *p = NULL;
    int r = posix_memalign(&p, IMAGE_ALIGN_MAX, BLOCKIO_BOUNCE_SIZE);
    if (r != 0)
        return error_sys(err, r, "cannot allocate a bounce buffer");
    bounce->buf = p;
    return 0;
}

void blockio_bounce_done(struct blockio_bounce *bounce)
{
    free(bounce->buf);
    bounce->buf = NULL;
}

/* Lengths of the parts are held to the file's alignment because kernels before 6.0 want that. */
bool blockio_is_aligned(const struct engine_request *req)
{
    const struct image_geometry *g = &req->image->geometry;
    if (g->offset_align == 1)
        return true;
    if (((req->offset | req->len) & (g->offset_align - 1)) != 0)
        return false;
    for (unsigned i = 0; i < req->iov_count; i++) {
        if (((uintptr_t)req->iov[i].iov_base & (g->mem_align - 1)) != 0 ||
            (req->iov[i].iov_len & (g->offset_align - 1)) != 0)
            return false;
    }
    return true;
}

/*
 * Moves all `len` bytes at `offset` from or to one buffer. The end of the file inside a read means
 * that somebody shrank it: an error, as the guest was promised more.
 */
static int transfer_buffer(struct image *img, bool read, uint8_t *buf, size_t len, uint64_t offset)
{
    while (len > 0) {
        struct iovec iov = {.iov_base = buf, .iov_len = len};
        ssize_t n = (read ? img->ops->read : img->ops->write)(img, &iov, 1, offset, false);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        buf += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

/* Moves one piece through the bounce buffer. Returns the bytes of the request that it covered. */
static ssize_t bounce_piece(struct engine_request *req, struct blockio_bounce *bounce)
{
    struct image *img = req->image;
    uint64_t mask = img->geometry.offset_align - 1;
    uint64_t start = req->offset & ~mask;
    size_t skip = (size_t)(req->offset - start);
    size_t want = BLOCKIO_BOUNCE_SIZE - skip;
    if (want > req->len)
        want = (size_t)req->len;
    size_t whole = (skip + want + mask) & ~mask;
    bool read = req->op == ENGINE_READ;
    int r = 0;
    if (read || skip != 0 || whole != want)
        r = transfer_buffer(img, true, bounce->buf, whole, start);
    if (r < 0)
        return r;
    if (read) {
        iov_write(req->iov, req->iov_count, 0, bounce->buf + skip, want);
    } else {
        iov_read(req->iov, req->iov_count, 0, bounce->buf + skip, want);
        r = transfer_buffer(img, false, bounce->buf, whole, start);
    }
    return r < 0 ? r : (ssize_t)want;
}

static int run_transfer(struct engine_request *req, struct blockio_bounce *bounce)
{
    struct image *img = req->image;
    while (req->len > 0) {
        ssize_t n;
        if (!blockio_is_aligned(req))
            n = bounce_piece(req, bounce);
        else if (req->op == ENGINE_READ)
            n = img->ops->read(img, req->iov, req->iov_count, req->offset, false);
        else
            n = img->ops->write(img, req->iov, req->iov_count, req->offset, false);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? (int)n : -EIO; /* 0: see transfer_buffer() */
        req->offset += (uint64_t)n;
        req->len -= (uint64_t)n;
        iov_drop_front(&req->iov, &req->iov_count, (size_t)n);
    }
    return 0;
}

static int write_zero_data(struct engine_request *req, struct blockio_bounce *bounce)
{
    struct engine_request part = {
        .image = req->image, .op = ENGINE_WRITE, .offset = req->offset, .len = 0};
    uint64_t left = req->len;
    while (left > 0) {
        struct iovec iov[ZERO_IOV];
        unsigned count = 0;
        for (; count < ZERO_IOV && left > 0; count++) {
            size_t n = left < sizeof(zeroes) ? (size_t)left : sizeof(zeroes);
            iov[count] = (struct iovec){.iov_base = zeroes, .iov_len = n};
            part.len += n;
            left -= n;
        }
        part.iov = iov;
        part.iov_count = count;
        int r = run_transfer(&part, bounce);
        if (r < 0)
            return r;
    }
    return 0;
}

static int run_flush(struct image *img)
{
    int r;
    do
        r = img->ops->flush(img);
    while (r == -EINTR);
    return r;
}

static int run_operation(struct engine_request *req, struct blockio_bounce *bounce)
{
    struct image *img = req->image;
    int r = -EINVAL;
    switch (req->op) {
    case ENGINE_READ:
    case ENGINE_WRITE:
        r = run_transfer(req, bounce);
        break;
    case ENGINE_FLUSH:
        return run_flush(img);
    case ENGINE_DISCARD:
        r = img->ops->discard(img, req->offset, req->len);
        if (r == -EOPNOTSUPP)
            r = 0; /* a hint: keeping the content is allowed */
        break;
    case ENGINE_WRITE_ZEROES:
        r = img->ops->write_zeroes(img, req->offset, req->len, req->unmap);
        if (r == -EOPNOTSUPP)
            r = write_zero_data(req, bounce);
        break;
    }
    return r == 0 && req->sync ? run_flush(img) : r;
}

int blockio_run(struct engine_request *req, struct blockio_bounce *bounce)
{
    struct image *img = req->image;
    uint32_t align = img->geometry.offset_align;
    if (align <= IMAGE_SECTOR_SIZE || req->op == ENGINE_READ || req->op == ENGINE_FLUSH)
        return run_operation(req, bounce);
    if (((req->offset | req->len) & (align - 1)) != 0)
        pthread_rwlock_wrlock(&img->rmw_lock);
    else
        pthread_rwlock_rdlock(&img->rmw_lock);
    int r = run_operation(req, bounce);
    pthread_rwlock_unlock(&img->rmw_lock);
    return r;
}

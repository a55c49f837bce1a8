// SPDX-License-Identifier: Apache-2.0
/*
 * Scatter-gather lists (struct iovec arrays): copying in and out at a byte offset, and cutting the
 * front or the tail. The lists are the caller's own; functions that cut change them in place.
 */
#ifndef PODVISOR_IOV_H
#define PODVISOR_IOV_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

/* Sum of all lengths. The caller has bounded it: descriptor chains are below 2^32. */
static inline size_t iov_length(const struct iovec *iov, unsigned count)
{
    size_t len = 0;
    for (unsigned i = 0; i < count; i++)
        len += iov[i].iov_len;
    return len;
}

/* Copies up to `len` bytes out of the list, from byte `offset` of it. Returns the bytes copied. */
static inline size_t iov_read(const struct iovec *iov, unsigned count, size_t offset, void *buf,
                              size_t len)
{
    size_t done = 0;
    for (unsigned i = 0; i < count && done < len; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        size_t n = iov[i].iov_len - offset;
        if (n > len - done)
            n = len - done;
        memcpy((uint8_t *)buf + done, (const uint8_t *)iov[i].iov_base + offset, n);
        done += n;
        offset = 0;
    }
    return done;
}

/* Copies up to `len` bytes into the list, at byte `offset` of it. Returns the bytes copied. */
static inline size_t iov_write(const struct iovec *iov, unsigned count, size_t offset,
                               const void *buf, size_t len)
{
    size_t done = 0;
    for (unsigned i = 0; i < count && done < len; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        size_t n = iov[i].iov_len - offset;
        if (n > len - done)
            n = len - done;
        memcpy((uint8_t *)iov[i].iov_base + offset, (const uint8_t *)buf + done, n);
        done += n;
        offset = 0;
    }
    return done;
}

/* Drops the first `len` bytes (at most all) and every entry that is empty before what is left. */
static inline void iov_drop_front(struct iovec **iov, unsigned *count, size_t len)
{
    while (*count > 0 && len >= (*iov)->iov_len) {
        len -= (*iov)->iov_len;
        (*iov)++;
        (*count)--;
    }
    if (*count > 0) {
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + len;
        (*iov)->iov_len -= len;
    }
}

/* Drops the last `len` bytes (at most all) and every entry that this empties. */
static inline void iov_drop_tail(struct iovec *iov, unsigned *count, size_t len)
{
    while (*count > 0 && len >= iov[*count - 1].iov_len)
        len -= iov[--*count].iov_len;
    if (*count > 0)
        iov[*count - 1].iov_len -= len;
}

#endif

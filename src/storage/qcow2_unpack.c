// SPDX-License-Identifier: Apache-2.0
/*
 * Compressed clusters: raw deflate streams (RFC 1951), or zstd frames (RFC 8878). Any thread.
 * Neither library allocates: their state is in the buffer's workspace. A cluster that was unpacked
 * stays in its buffer, as the guest reads it in small pieces; it cannot become stale, because
 * compressed clusters are only read here and an L2 entry names one place for ever.
 */
#define ZSTD_STATIC_LINKING_ONLY /* ZSTD_initStaticDCtx() */
#include "qcow2.h"
#include <podvisor/iov.h>
#include <zlib.h>
#include <zstd.h>

/* inflate()'s state takes 10 KiB, and a window that is not needed when all comes out at once. */
#define ZLIB_WORKSPACE 65536

/* A deflate stream without zlib's header, of a window that any writer may have used. */
#define ZLIB_WINDOW_BITS (-15)

/* zlib's allocations, one after the other from the workspace. */
struct arena {
    uint8_t *memory;
    size_t used;
};

size_t qcow2_workspace_size(const struct qcow2 *q)
{
    return q->header.compression == QCOW2_COMPRESSION_ZSTD ? ZSTD_estimateDCtxSize()
                                                           : ZLIB_WORKSPACE;
}

void qcow2_packed_place(const struct qcow2 *q, uint64_t entry, uint64_t *ret_offset,
                        uint64_t *ret_len)
{
    unsigned offset_bits = 62 - (q->cluster_bits - 8);
    uint64_t descriptor = entry & ~(QCOW2_COPIED | QCOW2_COMPRESSED);
    uint64_t more_sectors = descriptor >> offset_bits;
    *ret_offset = descriptor & ((UINT64_C(1) << offset_bits) - 1);
    *ret_len = (more_sectors + 1) * QCOW2_SECTOR - *ret_offset % QCOW2_SECTOR;
}

static void *arena_alloc(void *opaque, unsigned items, unsigned size)
{
    struct arena *arena = opaque;
    size_t bytes = ((size_t)items * size + 15) & ~(size_t)15;
    if (bytes > ZLIB_WORKSPACE - arena->used)
        return Z_NULL;
    void *p = arena->memory + arena->used;
    arena->used += bytes;
    return p;
}

static void arena_free(void *opaque, void *p)
{
    (void)opaque;
    (void)p;
}

/* The end of a stream may be missing when everything came out: QEMU accepts that too. */
static int unpack_zlib(struct qcow2 *q, struct qcow2_buffer *b, uint8_t *packed, size_t len)
{
    struct arena arena = {.memory = b->workspace};
    z_stream s = {
        .next_in = packed,
        .avail_in = (uInt)len,
        .next_out = b->cluster,
        .avail_out = q->cluster_size,
        .zalloc = arena_alloc,
        .zfree = arena_free,
        .opaque = &arena,
    };
    if (inflateInit2(&s, ZLIB_WINDOW_BITS) != Z_OK)
        return -EIO;
    int r = inflate(&s, Z_FINISH);
    (void)inflateEnd(&s);
    return s.avail_out == 0 && (r == Z_STREAM_END || r == Z_BUF_ERROR) ? 0 : -EIO;
}

/* The length is of whole sectors: where the frame ends is in the frame. */
static int unpack_zstd(struct qcow2 *q, struct qcow2_buffer *b, const uint8_t *packed, size_t len)
{
    ZSTD_DCtx *ctx = ZSTD_initStaticDCtx(b->workspace, qcow2_workspace_size(q));
    size_t frame = ZSTD_findFrameCompressedSize(packed, len);
    if (ctx == NULL || ZSTD_isError(frame))
        return -EIO;
    size_t n = ZSTD_decompressDCtx(ctx, b->cluster, q->cluster_size, packed, frame);
    return n == q->cluster_size ? 0 : -EIO;
}

static int fill(struct qcow2 *q, struct qcow2_buffer *b, uint64_t entry)
{
    uint64_t offset, len, mask = q->img->geometry.offset_align - 1;
    qcow2_packed_place(q, entry, &offset, &len);
    uint64_t start = offset & ~mask, end = (offset + len + mask) & ~mask;
    int r = qcow2_file_read(q->img, b->packed, end - start, start);
    if (r < 0)
        return r;
    uint8_t *packed = b->packed + (offset - start);
    return q->header.compression == QCOW2_COMPRESSION_ZSTD ? unpack_zstd(q, b, packed, len)
                                                           : unpack_zlib(q, b, packed, len);
}

ssize_t qcow2_unpack(struct qcow2 *q, uint64_t entry, const struct iovec *iov, unsigned count,
                     uint64_t offset, uint64_t len)
{
    struct qcow2_buffer *b = qcow2_buffer_take(&q->unpack, entry);
    int r = b->tag == entry ? 0 : fill(q, b, entry);
    if (r == 0) {
        b->tag = entry;
        iov_write(iov, count, 0, b->cluster + (offset & (q->cluster_size - 1)), len);
    }
    qcow2_buffer_give(&q->unpack, b);
    uint32_t suppressed;
    if (r == -EIO && log_ratelimit_allow(&q->log, &suppressed))
        log_error("qcow2", "a compressed cluster (guest offset 0x%llx) cannot be unpacked",
                  (unsigned long long)offset);
    return r < 0 ? r : (ssize_t)len;
}

// SPDX-License-Identifier: Apache-2.0
/* What an open descriptor is: type, size, alignment. Start-up only, one thread; owns nothing. */
#include "image.h"
#include "qcow2_open.h"
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

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
    return 0;
}

static int read_type(int fd, struct image_geometry *g, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_sys(err, errno, "cannot examine descriptor %d", fd);
    if (S_ISBLK(st.st_mode))
        return read_block_device(fd, g, err);
    if (!S_ISREG(st.st_mode))
        return error_set(err, S_ISDIR(st.st_mode) ? EISDIR : EINVAL,
                         S_ISDIR(st.st_mode) ? "is a directory"
                                             : "is neither a regular file nor a block device");
    g->size = (uint64_t)st.st_size;
    return 0;
}

/* The file is the disk. */
static int check_raw_size(const struct image_geometry *g, struct error *err)
{
    if (g->size % IMAGE_SECTOR_SIZE != 0)
        return error_set(err, EINVAL, "the size, %llu bytes, is not a multiple of %d",
                         (unsigned long long)g->size, IMAGE_SECTOR_SIZE);
    if (g->size % g->offset_align != 0)
        return error_set(err, EINVAL,
                         "the size, %llu bytes, is not a multiple of the %u bytes that direct I/O "
                         "needs",
                         (unsigned long long)g->size, g->offset_align);
    return 0;
}

/* Direct I/O moves whole blocks: none may be in two clusters, or half behind the disk's end. */
static int check_qcow2_alignment(const struct image_geometry *g, const struct qcow2_header *header,
                                 struct error *err)
{
    if (g->offset_align > UINT32_C(1) << header->cluster_bits)
        return error_set(err, EINVAL,
                         "direct I/O needs an alignment of %u bytes, more than a qcow2 cluster",
                         g->offset_align);
    if (header->virtual_size % g->offset_align != 0)
        return error_set(err, EINVAL,
                         "the size, %llu bytes, is not a multiple of the %u bytes that direct I/O "
                         "needs",
                         (unsigned long long)header->virtual_size, g->offset_align);
    return 0;
}

/* The disk's size is in the header. */
static int read_qcow2_size(int fd, struct image_geometry *g, struct qcow2_header *ret_header,
                           struct error *err)
{
    struct qcow2_header header;
    int r = qcow2_header_read(fd, g->size, &header, err);
    if (r < 0)
        return r;
    r = check_qcow2_alignment(g, &header, err);
    if (r < 0)
        return r;
    g->size = header.virtual_size;
    *ret_header = header;
    return 0;
}

int image_geometry_and_header(int fd, enum image_format format, struct image_geometry *ret_geometry,
                              struct qcow2_header *ret_header, struct error *err)
{
    struct image_geometry g = {.logical_block_size = IMAGE_SECTOR_SIZE,
                               .physical_block_size = 4096,
                               .mem_align = 1,
                               .offset_align = 1};
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return error_sys(err, errno, "cannot examine descriptor %d", fd);
    int r = read_type(fd, &g, err);
    if (r < 0)
        return r;
    if (g.size == 0)
        return error_set(err, EINVAL, "is empty");
    g.direct = (flags & O_DIRECT) != 0;
    if (g.direct)
        r = read_alignment(fd, &g, err);
    if (r == 0)
        r = format == IMAGE_FORMAT_QCOW2 ? read_qcow2_size(fd, &g, ret_header, err)
                                         : check_raw_size(&g, err);
    if (r == 0)
        *ret_geometry = g;
    return r;
}

int image_geometry_read(int fd, enum image_format format, struct image_geometry *ret_geometry,
                        struct error *err)
{
    struct qcow2_header header;
    return image_geometry_and_header(fd, format, ret_geometry, &header, err);
}

int image_geometry_lie_on(struct image_geometry *g, const struct qcow2_header *header,
                          const struct image_geometry *below, struct error *err)
{
    if (below->mem_align > g->mem_align)
        g->mem_align = below->mem_align;
    if (below->offset_align > g->offset_align)
        g->offset_align = below->offset_align;
    if (check_qcow2_alignment(g, header, err) == 0)
        return 0;
    error_wrap(err, "its backing image is the stricter one");
    return error_hint(err, "open the backing image without cache=none");
}

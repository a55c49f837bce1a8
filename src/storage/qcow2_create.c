// SPDX-License-Identifier: Apache-2.0
/*
 * The layout of a new image: header, refcount table, refcount blocks, L1 table, each from a cluster
 * of its own, and nothing else. The L1 table is a hole: no L2 table is there yet. Runs in the
 * front; owns nothing.
 */
#include "qcow2_create.h"
#include "qcow2_format.h"
#include "qcow2_header.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REFCOUNT_ORDER 4 /* 16 bits */
#define REFCOUNT_BYTES 2

/* In clusters. */
struct layout {
    uint32_t cluster_bits;
    uint64_t table, blocks, l1;
    uint32_t l1_entries;
};

static uint64_t divide_up(uint64_t n, uint64_t by)
{
    return (n + by - 1) / by;
}

static uint64_t total(const struct layout *l)
{
    return 1 + l->table + l->blocks + l->l1;
}

/* The refcount blocks describe themselves and their table, so their number is approached. */
static int plan_layout(const struct qcow2_create_options *options, struct layout *l,
                       struct error *err)
{
    uint64_t cluster = UINT64_C(1) << l->cluster_bits;
    uint64_t entries = divide_up(options->size, cluster * (cluster / 8));
    if (entries * 8 > QCOW2_L1_BYTES_MAX)
        return error_set(err, EFBIG, "%llu bytes are too large for clusters of %llu bytes",
                         (unsigned long long)options->size, (unsigned long long)cluster);
    l->l1_entries = (uint32_t)entries;
    l->l1 = divide_up(entries * 8, cluster);
    for (uint64_t before = 0; before != total(l);) {
        before = total(l);
        l->blocks = divide_up(before, cluster / REFCOUNT_BYTES);
        l->table = divide_up(l->blocks * 8, cluster);
    }
    return 0;
}

static int check_options(int fd, const struct qcow2_create_options *options,
                         const struct layout *layout, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_sys(err, errno, "cannot examine descriptor %d", fd);
    if (!S_ISREG(st.st_mode) || st.st_size != 0)
        return error_set(err, EEXIST, "a qcow2 image is only made in an empty regular file");
    if (options->size == 0 || options->size % 512 != 0 || options->size > INT64_MAX)
        return error_set(err, EINVAL, "%llu bytes are no size for a disk: give a multiple of 512",
                         (unsigned long long)options->size);
    if (layout->cluster_bits < QCOW2_CLUSTER_BITS_MIN ||
        layout->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
        return error_set(err, EINVAL, "qcow2 clusters have 512 bytes to 2 MiB, not 2^%u",
                         layout->cluster_bits);
    if (options->backing_file != NULL &&
        (*options->backing_file == '\0' || strlen(options->backing_file) > QCOW2_BACKING_NAME_MAX))
        return error_set(err, ENAMETOOLONG, "the backing file's name has %zu bytes, not 1 to %d",
                         strlen(options->backing_file), QCOW2_BACKING_NAME_MAX);
    return 0;
}

static int write_at(int fd, const void *bytes, size_t len, uint64_t offset, struct error *err)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(fd, (const uint8_t *)bytes + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno != EINTR)
            return error_sys(err, errno, "cannot write the qcow2 image");
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}

/* Table and blocks lie one behind the other, and there is a cluster of each at least. */
static int write_refcounts(int fd, const struct layout *l, struct error *err)
{
    size_t cluster = (size_t)1 << l->cluster_bits, table = l->table << l->cluster_bits;
    size_t bytes = table + (l->blocks << l->cluster_bits);
    uint8_t *tables = calloc(1, bytes > cluster ? bytes : cluster);
    if (tables == NULL)
        return error_sys(err, ENOMEM, "cannot make the qcow2 image");
    for (uint64_t i = 0; i < l->blocks; i++)
        put_be64(tables + i * 8, (1 + l->table + i) << l->cluster_bits);
    for (uint64_t i = 0; i < total(l); i++)
        tables[table + i * REFCOUNT_BYTES + 1] = 1;
    int r = write_at(fd, tables, bytes, cluster, err);
    free(tables);
    return r;
}

/* Appends an extension; returns where the next one goes. */
static size_t put_extension(uint8_t *header, size_t at, uint32_t type, const void *data, size_t len)
{
    put_be32(header + at, type);
    put_be32(header + at + 4, (uint32_t)len);
    memcpy(header + at + 8, data, len);
    return at + 8 + ((len + 7) & ~(size_t)7);
}

static int write_header(int fd, const struct qcow2_create_options *options, const struct layout *l,
                        struct error *err)
{
    uint8_t header[2048] = {0};
    uint64_t first_block = 1 + l->table;
    put_be32(header, QCOW2_MAGIC);
    put_be32(header + 4, 3);
    put_be32(header + 20, l->cluster_bits);
    put_be64(header + 24, options->size);
    put_be32(header + 36, l->l1_entries);
    put_be64(header + 40, (first_block + l->blocks) << l->cluster_bits);
    put_be64(header + QCOW2_OFFSET_REFCOUNT_TABLE, UINT64_C(1) << l->cluster_bits);
    put_be32(header + QCOW2_OFFSET_REFCOUNT_TABLE + 8, (uint32_t)l->table);
    put_be32(header + 96, REFCOUNT_ORDER);
    put_be32(header + 100, QCOW2_HEADER_LENGTH_V3);
    size_t end = QCOW2_HEADER_LENGTH_V3;
    if (options->backing_file != NULL) {
        size_t len = strlen(options->backing_file);
        if (options->backing_format != NULL)
            end = put_extension(header, end, QCOW2_EXTENSION_BACKING_FORMAT,
                                options->backing_format, strlen(options->backing_format));
        end += 8; /* the end of extensions is eight zeroes */
        if (end + len > UINT64_C(1) << l->cluster_bits)
            return error_set(err, ENAMETOOLONG, "the backing file's name does not fit a cluster");
        put_be64(header + 8, end);
        put_be32(header + 16, (uint32_t)len);
        memcpy(header + end, options->backing_file, len);
        end += len;
    }
    return write_at(fd, header, end, 0, err);
}

int qcow2_create(int fd, const struct qcow2_create_options *options, struct error *err)
{
    struct layout layout = {.cluster_bits = options->cluster_bits != 0
                                                ? options->cluster_bits
                                                : QCOW2_CLUSTER_BITS_DEFAULT};
    int r = check_options(fd, options, &layout, err);
    if (r == 0)
        r = plan_layout(options, &layout, err);
    if (r < 0)
        return r;
    if (ftruncate(fd, (off_t)(total(&layout) << layout.cluster_bits)) < 0)
        return error_sys(err, errno, "cannot write the qcow2 image");
    r = write_refcounts(fd, &layout, err);
    /* Last, so that a file that is only half made is no image. */
    return r < 0 ? r : write_header(fd, options, &layout, err);
}

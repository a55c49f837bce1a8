// SPDX-License-Identifier: Apache-2.0
/*
 * Parsing of qcow2 headers: see qcow2_header.h. Everything is copied out of the bytes once, then
 * checked; order matters only for the words of a refusal. Any thread; owns nothing.
 */
#include "qcow2_header.h"
#include "qcow2_format.h"
#include <podvisor/cleanup.h>
#include <stdlib.h>
#include <unistd.h>

#define FEATURE_NAME_SIZE  48 /* u8 kind, u8 bit, 46 bytes of name */
#define FEATURE_NAME_MAX   46
#define KIND_INCOMPATIBLE  0
#define BIT_DATA_FILE      2
#define BIT_COMPRESSION    3
#define BIT_EXTENDED_L2    4
#define KNOWN_INCOMPATIBLE UINT64_C(0x1f)

/* The bytes of one parse, and where the table of feature names is in them (0 bytes: nowhere). */
struct input {
    const uint8_t *bytes;
    size_t len;
    uint64_t file_size;
    const uint8_t *feature_names;
    size_t feature_names_len;
};

/* A file's own words, made fit for a terminal and a log. */
static void copy_printable(char *to, size_t size, const uint8_t *from, size_t len)
{
    size_t n = 0;
    for (; n < len && n + 1 < size && from[n] != 0; n++) {
        to[n] = '?';
        if (from[n] >= 0x20 && from[n] < 0x7f)
            memcpy(to + n, from + n, 1);
    }
    to[n] = '\0';
}

static uint64_t cluster_size(const struct qcow2_header *h)
{
    return UINT64_C(1) << h->cluster_bits;
}

static int parse_fixed(const struct input *in, struct qcow2_header *h, struct error *err)
{
    if (in->len < QCOW2_HEADER_LENGTH_V2 || get_be32(in->bytes) != QCOW2_MAGIC)
        return error_set(err, EINVAL, "is not a qcow2 image");
    h->version = get_be32(in->bytes + 4);
    if (h->version != 2 && h->version != 3)
        return error_set(err, ENOTSUP, "qcow2 version %u is not supported, only 2 and 3",
                         h->version);
    h->cluster_bits = get_be32(in->bytes + 20);
    if (h->cluster_bits < QCOW2_CLUSTER_BITS_MIN || h->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
        return error_set(err, EINVAL, "qcow2 clusters of 2^%u bytes are not in 512 to 2 MiB",
                         h->cluster_bits);
    h->virtual_size = get_be64(in->bytes + 24);
    h->l1_entries = get_be32(in->bytes + 36);
    h->l1_offset = get_be64(in->bytes + 40);
    h->refcount_table_offset = get_be64(in->bytes + QCOW2_OFFSET_REFCOUNT_TABLE);
    h->refcount_table_clusters = get_be32(in->bytes + QCOW2_OFFSET_REFCOUNT_TABLE + 8);
    h->snapshot_count = get_be32(in->bytes + 60);
    h->length = QCOW2_HEADER_LENGTH_V2;
    h->refcount_order = 4;
    if (h->version == 2)
        return 0;
    if (in->len < QCOW2_HEADER_LENGTH_V3)
        return error_set(err, EINVAL, "its qcow2 header is cut off");
    h->incompatible = get_be64(in->bytes + QCOW2_OFFSET_INCOMPATIBLE);
    h->compatible = get_be64(in->bytes + 80);
    h->autoclear = get_be64(in->bytes + QCOW2_OFFSET_AUTOCLEAR);
    h->refcount_order = get_be32(in->bytes + 96);
    h->length = get_be32(in->bytes + 100);
    if (h->length < QCOW2_HEADER_LENGTH_V3 || h->length % 8 != 0 || h->length > in->len ||
        h->length > cluster_size(h))
        return error_set(err, EINVAL, "its qcow2 header has an impossible length, %u", h->length);
    if (h->refcount_order > 6)
        return error_set(err, EINVAL, "qcow2 refcounts of 2^%u bits are not in 1 to 64",
                         h->refcount_order);
    return 0;
}

static void take_extension(struct input *in, struct qcow2_header *h, uint32_t type,
                           const uint8_t *data, uint32_t len)
{
    if (type == QCOW2_EXTENSION_BACKING_FORMAT) {
        copy_printable(h->backing_format, sizeof(h->backing_format), data, len);
    } else if (type == QCOW2_EXTENSION_FEATURE_NAMES) {
        in->feature_names = data;
        in->feature_names_len = len;
    }
}

/* Extensions fill the header's cluster up to the backing file's name. Unknown ones are skipped. */
static int parse_extensions(struct input *in, struct qcow2_header *h, uint64_t end,
                            struct error *err)
{
    uint64_t at = h->length;
    while (at + 8 <= end) {
        if (at + 8 > in->len)
            return error_set(err, EINVAL, "its qcow2 header extensions are cut off");
        uint32_t type = get_be32(in->bytes + at), len = get_be32(in->bytes + at + 4);
        at += 8;
        if (type == QCOW2_EXTENSION_END)
            return 0;
        uint64_t padded = ((uint64_t)len + 7) & ~UINT64_C(7);
        if (len > end - at || at + len > in->len)
            return error_set(err, EINVAL, "its qcow2 header extension 0x%08x is too long", type);
        take_extension(in, h, type, in->bytes + at, len);
        at += padded;
    }
    return 0;
}

static int parse_backing(const struct input *in, struct qcow2_header *h, uint64_t *ret_end,
                         struct error *err)
{
    uint64_t offset = get_be64(in->bytes + 8);
    uint32_t len = get_be32(in->bytes + 16);
    *ret_end = cluster_size(h);
    if (offset == 0)
        return 0;
    if (len == 0 || len > QCOW2_BACKING_NAME_MAX || offset < h->length ||
        offset > cluster_size(h) || len > cluster_size(h) - offset || offset > in->len ||
        len > in->len - offset)
        return error_set(err, EINVAL, "the name of its backing file is in an impossible place");
    h->has_backing = true;
    copy_printable(h->backing_file, sizeof(h->backing_file), in->bytes + offset, len);
    *ret_end = offset;
    return 0;
}

static void feature_name(const struct input *in, unsigned bit, char *name, size_t size)
{
    snprintf(name, size, "bit %u", bit);
    for (size_t at = 0; at + FEATURE_NAME_SIZE <= in->feature_names_len; at += FEATURE_NAME_SIZE) {
        const uint8_t *entry = in->feature_names + at;
        if (entry[0] == KIND_INCOMPATIBLE && entry[1] == bit && entry[2] != 0)
            copy_printable(name, size, entry + 2, FEATURE_NAME_MAX);
    }
}

static int check_features(const struct input *in, struct qcow2_header *h, struct error *err)
{
    uint32_t encryption = get_be32(in->bytes + 32);
    if (encryption != 0)
        return error_set(err, ENOTSUP, "encrypted qcow2 images (%s) are not supported",
                         encryption == 1   ? "AES"
                         : encryption == 2 ? "LUKS"
                                           : "an unknown method");
    if (h->incompatible & (UINT64_C(1) << BIT_DATA_FILE))
        return error_set(err, ENOTSUP, "qcow2 images with an external data file are not supported");
    if (h->incompatible & (UINT64_C(1) << BIT_EXTENDED_L2))
        return error_set(err, ENOTSUP,
                         "qcow2 images with subclusters (extended L2 entries) are not supported");
    uint64_t unknown = h->incompatible & ~KNOWN_INCOMPATIBLE;
    if (unknown != 0) {
        char name[FEATURE_NAME_MAX + 1];
        feature_name(in, (unsigned)__builtin_ctzll(unknown), name, sizeof(name));
        return error_set(err, ENOTSUP, "its qcow2 feature '%s' is not supported", name);
    }
    unsigned compression = h->length > QCOW2_HEADER_LENGTH_V3 ? in->bytes[104] : 0;
    bool said = (h->incompatible & (UINT64_C(1) << BIT_COMPRESSION)) != 0;
    if (compression > QCOW2_COMPRESSION_ZSTD)
        return error_set(err, ENOTSUP,
                         "qcow2 compression type %u is not supported, only zlib and "
                         "zstd",
                         compression);
    if (said != (compression != QCOW2_COMPRESSION_ZLIB))
        return error_set(err, EINVAL, "its qcow2 header contradicts itself about compression");
    h->compression = (enum qcow2_compression)compression;
    return 0;
}

/* A table: not in the header's cluster, aligned, inside the file (whose last cluster may be cut).
 */
static int check_table(const struct input *in, const struct qcow2_header *h, const char *what,
                       uint64_t offset, uint64_t bytes, struct error *err)
{
    uint64_t size = cluster_size(h);
    if (offset == 0 || offset % size != 0 || offset > in->file_size ||
        bytes > ((in->file_size - offset + size - 1) & ~(size - 1)))
        return error_set(err, EINVAL, "its %s is in an impossible place", what);
    return 0;
}

static int check_sizes(const struct input *in, const struct qcow2_header *h, struct error *err)
{
    if (h->virtual_size == 0)
        return error_set(err, EINVAL, "is a disk of 0 bytes");
    if (h->virtual_size % 512 != 0 || h->virtual_size > INT64_MAX)
        return error_set(err, EINVAL, "its virtual size, %llu bytes, is %s",
                         (unsigned long long)h->virtual_size,
                         h->virtual_size > INT64_MAX ? "impossible" : "not a multiple of 512");
    unsigned l1_bits = 2 * h->cluster_bits - 3; /* what one L1 entry maps */
    uint64_t needed = ((h->virtual_size - 1) >> l1_bits) + 1;
    uint64_t l1_bytes = (uint64_t)h->l1_entries * 8;
    uint64_t table_bytes = (uint64_t)h->refcount_table_clusters << h->cluster_bits;
    if (l1_bytes > QCOW2_L1_BYTES_MAX || h->l1_entries < needed)
        return error_set(err, EINVAL, "its L1 table has %u entries where %llu %s", h->l1_entries,
                         (unsigned long long)needed,
                         h->l1_entries < needed ? "are needed" : "would do");
    if (table_bytes == 0 || table_bytes > QCOW2_REFCOUNT_TABLE_BYTES_MAX)
        return error_set(err, EINVAL, "its refcount table has an impossible size, %llu bytes",
                         (unsigned long long)table_bytes);
    if (h->snapshot_count > QCOW2_SNAPSHOTS_MAX)
        return error_set(err, EINVAL, "%u snapshots are impossible", h->snapshot_count);
    int r = check_table(in, h, "L1 table", h->l1_offset, l1_bytes, err);
    if (r == 0)
        r = check_table(in, h, "refcount table", h->refcount_table_offset, table_bytes, err);
    if (r < 0)
        return r;
    if (h->l1_offset < h->refcount_table_offset + table_bytes &&
        h->refcount_table_offset < h->l1_offset + l1_bytes)
        return error_set(err, EINVAL, "its L1 table and its refcount table overlap");
    return 0;
}

int qcow2_header_parse(const uint8_t *bytes, size_t len, uint64_t file_size,
                       struct qcow2_header *ret_header, struct error *err)
{
    struct input in = {.bytes = bytes, .len = len, .file_size = file_size};
    struct qcow2_header h = {.version = 0};
    uint64_t extensions_end = 0;
    int r = parse_fixed(&in, &h, err);
    if (r == 0)
        r = parse_backing(&in, &h, &extensions_end, err);
    if (r == 0)
        r = parse_extensions(&in, &h, extensions_end, err);
    if (r == 0)
        r = check_features(&in, &h, err);
    if (r == 0)
        r = check_sizes(&in, &h, err);
    if (r == 0)
        *ret_header = h;
    return r;
}

int qcow2_header_read(int fd, uint64_t file_size, struct qcow2_header *ret_header,
                      struct error *err)
{
    /* Aligned, and read to the end of a block: the descriptor may be open for direct I/O. */
    cleanup_free uint8_t *bytes = aligned_alloc(QCOW2_HEADER_BYTES, QCOW2_HEADER_BYTES);
    if (bytes == NULL)
        return error_sys(err, ENOMEM, "cannot read its header");
    ssize_t n = pread(fd, bytes, QCOW2_HEADER_BYTES, 0);
    if (n < 0)
        return error_sys(err, errno, "cannot read its header");
    return qcow2_header_parse(bytes, (size_t)n, file_size, ret_header, err);
}

int qcow2_header_check_use(const struct qcow2_header *header, bool readonly, bool has_backing,
                           struct error *err)
{
    if (header->has_backing && !has_backing) {
        error_set(err, EINVAL, "lies on a backing file, which it names '%s', and none is given",
                  header->backing_file);
        return error_hint(err, "names inside an image are never followed: say backing=PATH,"
                               "backing-format=FORMAT");
    }
    if (!header->has_backing && has_backing) {
        error_set(err, EINVAL, "has no backing file, but one is given");
        return error_hint(err, "leave out backing=, or name the image that lies on it");
    }
    if (readonly)
        return 0;
    if (header->incompatible & QCOW2_INCOMPATIBLE_CORRUPT) {
        error_set(err, EINVAL, "is marked corrupt, so it is not written to");
        return error_hint(err, "run `qemu-img check -r all` on it, or use it read-only");
    }
    if (header->incompatible & QCOW2_INCOMPATIBLE_DIRTY) {
        error_set(err, EINVAL, "was not closed, and its refcounts are out of date");
        return error_hint(err, "run `qemu-img check -r all` on it, or use it read-only");
    }
    return 0;
}

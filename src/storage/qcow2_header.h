// SPDX-License-Identifier: Apache-2.0
/*
 * The header of a qcow2 image, from bytes to a structure that cannot be wrong afterwards: a pure
 * function, for the front and the monitor alike. Specification: docs/interop/qcow2.rst of QEMU,
 * "Header" and "Header extensions".
 */
#ifndef PODVISOR_STORAGE_QCOW2_HEADER_H
#define PODVISOR_STORAGE_QCOW2_HEADER_H

#include <podvisor/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* So many bytes from the file's start are looked at; extensions behind them are refused. */
#define QCOW2_HEADER_BYTES 65536

#define QCOW2_CLUSTER_BITS_MIN     9
#define QCOW2_CLUSTER_BITS_MAX     21
#define QCOW2_CLUSTER_BITS_DEFAULT 16

/* QEMU's own limits: what is larger it does not make either. */
#define QCOW2_L1_BYTES_MAX             (32u << 20)
#define QCOW2_REFCOUNT_TABLE_BYTES_MAX (8u << 20)
#define QCOW2_SNAPSHOTS_MAX            65536
#define QCOW2_BACKING_NAME_MAX         1023

#define QCOW2_INCOMPATIBLE_DIRTY   (UINT64_C(1) << 0)
#define QCOW2_INCOMPATIBLE_CORRUPT (UINT64_C(1) << 1)

enum qcow2_compression { QCOW2_COMPRESSION_ZLIB = 0, QCOW2_COMPRESSION_ZSTD = 1 };

struct qcow2_header {
    uint32_t version;      /* 2 or 3 */
    uint32_t cluster_bits; /* 9 to 21 */
    uint64_t virtual_size; /* bytes; a multiple of 512, not 0 */
    uint64_t l1_offset;    /* the active L1 table: inside the file, cluster-aligned, not 0 */
    uint32_t l1_entries;   /* enough for virtual_size */
    uint64_t refcount_table_offset;
    uint32_t refcount_table_clusters;
    uint32_t refcount_order; /* a refcount has 1 << refcount_order bits; 0 to 6 */
    uint32_t snapshot_count;
    uint64_t incompatible, compatible, autoclear;
    uint32_t length; /* of the fixed part */
    enum qcow2_compression compression;
    bool has_backing;
    char backing_file[QCOW2_BACKING_NAME_MAX + 1]; /* printable; not to be opened: see image.h */
    char backing_format[16];                       /* printable; "": not said */
};

/*
 * Checks the first `len` bytes (QCOW2_HEADER_BYTES, or all there are) of a file of `file_size`
 * bytes. Returns 0, -ENOTSUP for what is valid but not done here (by name: encryption, external
 * data files...), or -EINVAL.
 */
int qcow2_header_parse(const uint8_t *bytes, size_t len, uint64_t file_size,
                       struct qcow2_header *ret_header, struct error *err);

/* Reads and checks the header of an open file. Start-up only: allocates. 0 or a negative errno. */
int qcow2_header_read(int fd, uint64_t file_size, struct qcow2_header *ret_header,
                      struct error *err);

/*
 * Whether the image can be used so: written only when it is neither dirty nor corrupt, with a
 * backing image exactly when it has one. Returns 0 or a negative errno with the way out.
 */
int qcow2_header_check_use(const struct qcow2_header *header, bool readonly, bool has_backing,
                           struct error *err);

#endif

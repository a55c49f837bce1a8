// SPDX-License-Identifier: Apache-2.0
/*
 * Numbers of the qcow2 format: docs/interop/qcow2.rst of QEMU. Everything in the file is
 * big-endian.
 */
#ifndef PODVISOR_STORAGE_QCOW2_FORMAT_H
#define PODVISOR_STORAGE_QCOW2_FORMAT_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define QCOW2_MAGIC 0x514649fbu /* "QFI\xfb" */

/* Header: offsets of the fields that are changed after creation, or by name elsewhere. */
#define QCOW2_OFFSET_REFCOUNT_TABLE 48 /* u64 offset, u32 clusters */
#define QCOW2_OFFSET_INCOMPATIBLE   72
#define QCOW2_OFFSET_AUTOCLEAR      88
#define QCOW2_HEADER_LENGTH_V2      72
#define QCOW2_HEADER_LENGTH_V3      104

#define QCOW2_EXTENSION_END            0x00000000u
#define QCOW2_EXTENSION_BACKING_FORMAT 0xe2792acau
#define QCOW2_EXTENSION_FEATURE_NAMES  0x6803f857u

/* L1, L2 and refcount table entries. */
#define QCOW2_OFFSET_MASK             UINT64_C(0x00fffffffffffe00)
#define QCOW2_COPIED                  (UINT64_C(1) << 63) /* the refcount is exactly 1 */
#define QCOW2_COMPRESSED              (UINT64_C(1) << 62)
#define QCOW2_ZERO                    UINT64_C(1) /* version 3: reads as zeroes */
#define QCOW2_L1_RESERVED             (~(QCOW2_OFFSET_MASK | QCOW2_COPIED))
#define QCOW2_L2_RESERVED             (~(QCOW2_OFFSET_MASK | QCOW2_COPIED | QCOW2_COMPRESSED | QCOW2_ZERO))
#define QCOW2_REFCOUNT_TABLE_RESERVED UINT64_C(0x1ff)

#define QCOW2_SECTOR 512 /* the unit of a compressed cluster's length */

static inline uint32_t get_be32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return be32toh(v);
}

static inline uint64_t get_be64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return be64toh(v);
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
    v = htobe32(v);
    memcpy(p, &v, sizeof(v));
}

static inline void put_be64(uint8_t *p, uint64_t v)
{
    v = htobe64(v);
    memcpy(p, &v, sizeof(v));
}

#endif

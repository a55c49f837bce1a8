/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block requests as tests and benchmarks make them (virtio 1.2, 5.2).
 */
#ifndef GUEST_BLK_H
#define GUEST_BLK_H

#include "virtio.h"

#define BLK_SECTOR 512

#define BLK_F_SEG_MAX      (1ul << 2)
#define BLK_F_RO           (1ul << 5)
#define BLK_F_FLUSH        (1ul << 9)
#define BLK_F_MQ           (1ul << 12)
#define BLK_F_DISCARD      (1ul << 13)
#define BLK_F_WRITE_ZEROES (1ul << 14)
#define BLK_FEATURES       (BLK_F_SEG_MAX | BLK_F_RO | BLK_F_FLUSH | BLK_F_DISCARD | BLK_F_WRITE_ZEROES)

#define BLK_T_IN           0
#define BLK_T_OUT          1
#define BLK_T_FLUSH        4
#define BLK_T_GET_ID       8
#define BLK_T_DISCARD      11
#define BLK_T_WRITE_ZEROES 13

#define BLK_S_OK     0
#define BLK_S_IOERR  1
#define BLK_S_UNSUPP 2
#define BLK_S_NONE   0xaa /* what the status byte holds before the device writes it */

#define BLK_CONFIG_CAPACITY                 0
#define BLK_CONFIG_SEG_MAX                  12
#define BLK_CONFIG_MAX_DISCARD_SECTORS      36
#define BLK_CONFIG_MAX_WRITE_ZEROES_SECTORS 48

struct blk_header {
    uint32_t type, reserved;
    uint64_t sector;
};

struct blk_range {
    uint64_t sector;
    uint32_t sectors, flags;
};

#define BLK_SEGMENTS_MAX 60

struct blk_request {
    struct blk_header header;
    volatile uint8_t status;
    struct virtq_segment segments[BLK_SEGMENTS_MAX + 2];
};

uint64_t blk_capacity(const struct virtio_device *device);
/* Queues the request with `count` data segments, which the device reads if `to_device`; -1 if the
 * queue is full. */
int blk_submit(struct virtq *queue, struct blk_request *request, uint32_t type, uint64_t sector,
               const struct virtq_segment *data, unsigned int count, bool to_device);
/* One request with one buffer, waited for; the status byte, or BLK_S_NONE and a failed TAP point.
 */
uint8_t blk_transfer(struct virtq *queue, uint32_t type, uint64_t sector, void *data,
                     uint32_t size);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block requests: header, data segments, status byte (virtio 1.2, 5.2.6).
 */
#include "blk.h"

uint64_t blk_capacity(const struct virtio_device *device)
{
    uint64_t low = mmio_read32(device->config + BLK_CONFIG_CAPACITY);

    return low | (uint64_t)mmio_read32(device->config + BLK_CONFIG_CAPACITY + 4) << 32;
}

int blk_submit(struct virtq *queue, struct blk_request *request, uint32_t type, uint64_t sector,
               const struct virtq_segment *data, unsigned int count, bool to_device)
{
    request->header = (struct blk_header){.type = type, .sector = sector};
    request->status = BLK_S_NONE;
    request->segments[0] = (struct virtq_segment){&request->header, sizeof(request->header)};
    for (unsigned int i = 0; i < count; i++)
        request->segments[1 + i] = data[i];
    request->segments[1 + count] = (struct virtq_segment){(const void *)&request->status, 1};
    return virtq_add(queue, request->segments, to_device ? 1 + count : 1,
                     to_device ? 1 : 1 + count);
}

uint8_t blk_transfer(struct virtq *queue, uint32_t type, uint64_t sector, void *data, uint32_t size)
{
    struct blk_request *request = page_alloc(sizeof(*request));
    bool to_device = type != BLK_T_IN && type != BLK_T_GET_ID;
    struct virtq_segment segment = {data, size};
    struct virtq_used_elem elem;
    uint32_t expected;

    if (blk_submit(queue, request, type, sector, &segment, data ? 1 : 0, to_device) < 0) {
        tap_fail("%s: queue full", queue->device->name);
        return BLK_S_NONE;
    }
    virtq_kick(queue);
    if (!virtq_wait(queue, &elem, REQUEST_TIMEOUT_MS)) {
        tap_fail("%s: type %u got no answer, device status 0x%x", queue->device->name, type,
                 virtio_status(queue->device));
        return BLK_S_NONE;
    }
    expected = to_device ? 1 : size + 1;
    if (request->status == BLK_S_OK && type != BLK_T_GET_ID && elem.len != expected)
        tap_fail("%s: type %u used length %u, expected %u", queue->device->name, type, elem.len,
                 expected);
    return request->status;
}

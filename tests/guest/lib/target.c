/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A valid request for each device type, and the outcome of invalid ones.
 */
#include "target.h"
#include "blk.h"
#include "net.h"

#define FRAME_SIZE 60

static uint16_t target_index(uint16_t type)
{
    return type == VIRTIO_TYPE_NET || type == VIRTIO_TYPE_CONSOLE ? 1 : 0;
}

bool target_known(const struct virtio_device *device)
{
    return device->type >= VIRTIO_TYPE_NET && device->type <= VIRTIO_TYPE_BALLOON;
}

static void set_segments(struct target *target, uint16_t type)
{
    uint8_t *memory = page_alloc(2 * PAGE_SIZE);
    static const uint8_t frame[12] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54};

    if (type == VIRTIO_TYPE_BLK) {
        target->segments[0] = (struct virtq_segment){memory, sizeof(struct blk_header)};
        target->segments[1] = (struct virtq_segment){memory + 512, BLK_SECTOR};
        target->segments[2] = (struct virtq_segment){memory + PAGE_SIZE, 1};
        target->status = memory + PAGE_SIZE;
        *target->status = BLK_S_NONE;
        target->out = 1;
        target->in = 2;
    } else if (type == VIRTIO_TYPE_NET) {
        memcpy(memory + 512, frame, sizeof(frame));
        target->segments[0] = (struct virtq_segment){memory, sizeof(struct net_header)};
        target->segments[1] = (struct virtq_segment){memory + 512, FRAME_SIZE};
        target->out = 2;
    } else if (type == VIRTIO_TYPE_RNG) {
        target->segments[0] = (struct virtq_segment){memory, 64};
        target->segments[1] = (struct virtq_segment){memory + 512, 64};
        target->in = 2;
    } else if (type == VIRTIO_TYPE_CONSOLE) {
        memcpy(memory, "#\n", 2);
        target->segments[0] = (struct virtq_segment){memory, 1};
        target->segments[1] = (struct virtq_segment){memory + 1, 1};
        target->out = 2;
    } else { /* balloon: two page numbers in two segments */
        ((uint32_t *)memory)[0] = (uint32_t)(physical_address(page_alloc(PAGE_SIZE)) / PAGE_SIZE);
        ((uint32_t *)memory)[128] = (uint32_t)(physical_address(page_alloc(PAGE_SIZE)) / PAGE_SIZE);
        target->segments[0] = (struct virtq_segment){memory, 4};
        target->segments[1] = (struct virtq_segment){memory + 512, 4};
        target->out = 2;
    }
}

bool target_prepare(struct target *target, struct virtio_device *device, uint64_t features)
{
    memset(target, 0, sizeof(*target));
    set_segments(target, device->type);
    target->queue = &target->queues[target_index(device->type)];
    return virtio_negotiate(device, features);
}

bool target_start(struct target *target, struct virtio_device *device, uint64_t features)
{
    unsigned int count = device->type == VIRTIO_TYPE_BLK || device->type == VIRTIO_TYPE_RNG ? 1 : 2;

    memset(target, 0, sizeof(*target));
    set_segments(target, device->type);
    target->queue = &target->queues[target_index(device->type)];
    if (!virtio_start(device, &(struct virtio_options){.features = features}, target->queues,
                      count))
        return false;
    target_chain(target);
    return true;
}

unsigned int target_chain(struct target *target)
{
    unsigned int count = target->out + target->in;

    for (unsigned int i = 0; i < count; i++) {
        target->queue->desc[i] = (struct virtq_desc){
            .addr = physical_address(target->segments[i].at),
            .len = target->segments[i].len,
            .flags =
                (uint16_t)((i + 1 < count ? DESC_NEXT : 0) | (i >= target->out ? DESC_WRITE : 0)),
            .next = (uint16_t)(i + 1),
        };
    }
    return count;
}

unsigned int target_outcome(struct target *target, unsigned int expected)
{
    uint64_t deadline =
        deadline_after_ms(expected & OUTCOME_IGNORED ? OUTCOME_TIMEOUT_MS : REQUEST_TIMEOUT_MS);
    struct virtq_used_elem elem;

    do {
        if (virtio_needs_reset(target->queue->device))
            return OUTCOME_BROKEN;
        if (virtq_pop_raw(target->queue, &elem))
            return target->status && *target->status == BLK_S_OK ? OUTCOME_DONE : OUTCOME_REFUSED;
        delay_us(50);
    } while (!deadline_passed(deadline));
    return OUTCOME_IGNORED;
}

bool target_recovers(struct virtio_device *device)
{
    struct target target;
    unsigned int outcome;

    if (!target_start(&target, device, 0))
        return false;
    virtq_publish(target.queue, 0);
    virtq_notify(target.queue);
    outcome = target_outcome(&target, OUTCOME_DONE);
    if (outcome == OUTCOME_DONE || (outcome == OUTCOME_REFUSED && !target.status))
        return true;
    tap_fail("%s does not work after a reset: outcome %u, status 0x%x", device->name, outcome,
             virtio_status(device));
    return false;
}

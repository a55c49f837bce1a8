/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues, the driver's side (virtio 1.2, 2.7): direct and indirect chains, notification
 * suppression by flags or by EVENT_IDX.
 */
#include "virtio.h"

#define AVAIL_FLAGS 0
#define AVAIL_IDX   1
#define AVAIL_RING  2
#define USED_FLAGS  0
#define USED_IDX    1
#define USED_RING   2 /* in 16-bit units; an element takes four */

bool virtq_setup(struct virtio_device *device, struct virtq *queue, uint16_t index,
                 const struct virtio_options *options)
{
    uint16_t size = virtio_queue_size(device, index);

    memset(queue, 0, sizeof(*queue));
    if (options->queue_max && options->queue_max < size) {
        size = options->queue_max;
        mmio_write16(device->common + COMMON_QUEUE_SIZE, size);
    }
    if (!size) {
        tap_fail("%s queue %u does not exist", device->name, index);
        return false;
    }
    queue->device = device;
    queue->index = index;
    queue->size = size;
    queue->desc = page_alloc(size * sizeof(struct virtq_desc));
    queue->avail = page_alloc(6 + 2 * (size_t)size);
    queue->used = page_alloc(6 + sizeof(struct virtq_used_elem) * size);
    queue->event_idx = device->features & VIRTIO_F_EVENT_IDX;
    if (device->features & VIRTIO_F_INDIRECT_DESC)
        queue->indirect = page_alloc(size * INDIRECT_ENTRIES * sizeof(struct virtq_desc));
    for (uint16_t i = 0; i < size; i++)
        queue->desc[i].next = (uint16_t)(i + 1);
    queue->free_count = size;
    virtio_write64(device, COMMON_QUEUE_DESC, physical_address(queue->desc));
    virtio_write64(device, COMMON_QUEUE_DRIVER, (uintptr_t)queue->avail);
    virtio_write64(device, COMMON_QUEUE_DEVICE, (uintptr_t)queue->used);
    queue->notify = virtio_notify_address(device, index);
    if (options->interrupts) {
        msix_route(&device->pci, index, (uint8_t)(VECTOR_DEVICE + index));
        mmio_write16(device->common + COMMON_QUEUE_MSIX_VECTOR, index);
    } else {
        mmio_write16(device->common + COMMON_QUEUE_MSIX_VECTOR, VIRTIO_NO_VECTOR);
        virtq_interrupts(queue, false);
    }
    return true;
}

void virtq_enable(struct virtq *queue)
{
    mmio_write16(queue->device->common + COMMON_QUEUE_SELECT, queue->index);
    mmio_write16(queue->device->common + COMMON_QUEUE_ENABLE, 1);
}

static void fill_chain(struct virtq_desc *desc, const struct virtq_segment *segments,
                       unsigned int out, unsigned int count)
{
    for (unsigned int i = 0; i < count; i++) {
        desc->addr = physical_address(segments[i].at);
        desc->len = segments[i].len;
        desc->flags = (uint16_t)((i >= out ? DESC_WRITE : 0) | (i + 1 < count ? DESC_NEXT : 0));
        desc++;
    }
}

int virtq_add(struct virtq *queue, const struct virtq_segment *segments, unsigned int out,
              unsigned int in)
{
    unsigned int count = out + in, taken = queue->indirect ? 1 : count;
    uint16_t head = queue->free_head, at = head;

    if (!count || taken > queue->free_count || (queue->indirect && count > INDIRECT_ENTRIES))
        return -1;
    if (queue->indirect) {
        struct virtq_desc *table = queue->indirect + (size_t)head * INDIRECT_ENTRIES;

        fill_chain(table, segments, out, count);
        for (unsigned int i = 0; i < count; i++)
            table[i].next = (uint16_t)(i + 1);
        queue->desc[head].addr = physical_address(table);
        queue->desc[head].len = count * (uint32_t)sizeof(struct virtq_desc);
        queue->desc[head].flags = DESC_INDIRECT;
        at = queue->desc[head].next;
    } else {
        for (unsigned int i = 0; i < count; i++) {
            struct virtq_desc *desc = &queue->desc[at];

            at = desc->next;
            fill_chain(desc, &segments[i], i < out, 1);
            if (i + 1 < count)
                desc->flags |= DESC_NEXT;
        }
    }
    queue->free_head = at;
    queue->free_count = (uint16_t)(queue->free_count - taken);
    virtq_publish(queue, head);
    return head;
}

void virtq_publish(struct virtq *queue, uint16_t head)
{
    queue->avail[AVAIL_RING + queue->avail_idx % queue->size] = head;
    compiler_barrier();
    queue->avail[AVAIL_IDX] = ++queue->avail_idx;
}

void virtq_notify(struct virtq *queue)
{
    queue->kicks++;
    mmio_write16(queue->notify, queue->index);
}

void virtq_kick(struct virtq *queue)
{
    uint16_t old = queue->kicked_idx, new = queue->avail_idx;
    bool wanted;

    memory_barrier();
    queue->kicked_idx = new;
    if (queue->event_idx) {
        uint16_t event = queue->used[USED_RING + 4 * queue->size];

        wanted = (uint16_t)(new - event - 1) < (uint16_t)(new - old);
    } else {
        wanted = !(queue->used[USED_FLAGS] & USED_NO_NOTIFY);
    }
    if (wanted)
        virtq_notify(queue);
}

bool virtq_pop_raw(struct virtq *queue, struct virtq_used_elem *ret_elem)
{
    volatile uint16_t *elem = queue->used + USED_RING + 4 * (queue->used_idx % queue->size);

    if (queue->used[USED_IDX] == queue->used_idx)
        return false;
    compiler_barrier();
    *ret_elem = *(volatile struct virtq_used_elem *)elem;
    queue->used_idx++;
    return true;
}

static void free_chain(struct virtq *queue, uint16_t head)
{
    uint16_t last = head;

    queue->free_count++;
    while ((queue->desc[last].flags & (DESC_NEXT | DESC_INDIRECT)) == DESC_NEXT) {
        last = queue->desc[last].next;
        queue->free_count++;
    }
    queue->desc[last].next = queue->free_head;
    queue->free_head = head;
}

bool virtq_pop(struct virtq *queue, struct virtq_used_elem *ret_elem)
{
    if (!virtq_pop_raw(queue, ret_elem))
        return false;
    if (ret_elem->id >= queue->size) {
        tap_fail("%s queue %u: used id %u of %u", queue->device->name, queue->index, ret_elem->id,
                 queue->size);
        return false;
    }
    free_chain(queue, (uint16_t)ret_elem->id);
    return true;
}

bool virtq_wait(struct virtq *queue, struct virtq_used_elem *ret_elem, uint64_t milliseconds)
{
    uint64_t deadline = deadline_after_ms(milliseconds);

    while (!virtq_pop(queue, ret_elem)) {
        if (deadline_passed(deadline) || tap_failed())
            return false;
        cpu_relax();
    }
    return true;
}

bool virtq_request(struct virtq *queue, const struct virtq_segment *segments, unsigned int out,
                   unsigned int in, uint32_t *ret_len)
{
    int head = virtq_add(queue, segments, out, in);
    struct virtq_used_elem elem;

    if (head < 0) {
        tap_fail("%s queue %u is full", queue->device->name, queue->index);
        return false;
    }
    virtq_kick(queue);
    if (!virtq_wait(queue, &elem, REQUEST_TIMEOUT_MS)) {
        tap_fail("%s queue %u: no completion, status 0x%x", queue->device->name, queue->index,
                 virtio_status(queue->device));
        return false;
    }
    if (elem.id != (uint32_t)head) {
        tap_fail("%s queue %u: used id %u, expected %d", queue->device->name, queue->index, elem.id,
                 head);
        return false;
    }
    if (ret_len)
        *ret_len = elem.len;
    return true;
}

/* With EVENT_IDX the flag is ignored: a used_event just passed stands for "none" (once in 65,536
 * while polling). */
void virtq_interrupts(struct virtq *queue, bool wanted)
{
    queue->avail[AVAIL_FLAGS] = wanted ? 0 : AVAIL_NO_INTERRUPT;
    if (queue->event_idx)
        queue->avail[AVAIL_RING + queue->size] =
            (uint16_t)(wanted ? queue->used_idx : queue->used_idx - 1);
}

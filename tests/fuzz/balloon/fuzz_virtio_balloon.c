// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-balloon against a driver that the input plays. Whatever it says, only whole pages of guest
 * RAM may be released.
 *
 * Input: one byte of options, then commands of a byte each with their arguments behind.
 */
#include "balloon.h"
#include "vkit.h"
#include <linux/virtio_balloon.h>
#include <podvisor/cleanup.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_SIZE 65536

static const uint8_t *input;
static size_t input_left;
static struct vkit kit;
static struct virtio_balloon balloon;
static gpa_t arena;

static uint64_t take(unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes && input_left > 0; i++, input_left--)
        v |= (uint64_t)*input++ << (8 * i);
    return v;
}

static int release(void *ctx, void *hva, uint64_t len)
{
    (void)ctx;
    uint8_t *p = hva;
    bool inside = false;
    for (unsigned i = 0; i < kit.mem.region_count; i++) {
        const struct guest_memory_region *r = &kit.mem.region[i];
        inside |= p >= r->hva && len <= r->size && (uint64_t)(p - r->hva) <= r->size - len;
    }
    if (!inside || len == 0 || len % VIRTIO_BALLOON_PAGE_SIZE != 0 ||
        (uintptr_t)hva % VIRTIO_BALLOON_PAGE_SIZE != 0)
        abort();
    return 0;
}

static void start(void)
{
    vkit_alloc_reset(&kit);
    uint64_t features = balloon.dev.features;
    if (take(1) % 4 == 0)
        features &= ~(UINT64_C(1) << VIRTIO_BALLOON_F_STATS_VQ);
    if (!vkit_start(&kit, features))
        abort();
    arena = vkit_alloc(&kit, ARENA_SIZE, 4096);
}

static void add_chain(unsigned queue)
{
    struct vkit_buf buf[4];
    unsigned count = 1 + (unsigned)take(1) % 4;
    bool writable = take(1) % 2 != 0;
    for (unsigned i = 0; i < count; i++) {
        uint32_t offset = (uint32_t)take(2), len = (uint32_t)take(2);
        if (len > ARENA_SIZE - offset)
            len = ARENA_SIZE - offset;
        buf[i] = (struct vkit_buf){arena + offset, len, writable};
    }
    vkit_add(&kit, queue, buf, count);
}

/* Page numbers, statistics: whatever the input has. */
static void fill_arena(void)
{
    uint32_t offset = (uint32_t)take(1) * 64;
    uint64_t count = take(1) % 64;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t value = (uint32_t)take(2);
        memcpy(vkit_at(&kit, arena + offset + 4 * i, 4), &value, 4);
    }
}

static void command(void)
{
    uint32_t head, len, value;
    uint64_t c = take(1);
    unsigned queue = (unsigned)(c >> 6) % balloon.dev.queue_count;
    switch (c % 11) {
    case 0:
        virtio_balloon_refresh_stats(&balloon);
        break;
    case 1:
        virtio_balloon_set_target(&balloon, (uint32_t)take(4));
        break;
    case 2:
    case 3:
        vkit_kick(&kit, queue);
        vkit_run(&kit);
        while (vkit_used(&kit, queue, &head, &len))
            ;
        break;
    case 4:
        if (!vkit_reset(&kit))
            abort();
        start();
        break;
    case 5:
        vkit_desc_write(&kit, queue, (uint16_t)(take(1) % VIRTIO_BALLOON_QUEUE_SIZE), take(4),
                        (uint32_t)take(4), (uint16_t)take(1), (uint16_t)take(2));
        break;
    case 6:
        if (take(1) % 2 == 0)
            vkit_avail_push(&kit, queue, (uint16_t)take(2));
        else
            vkit_avail_set_idx(&kit, queue, (uint16_t)take(2));
        break;
    case 7:
        value = (uint32_t)take(4);
        virtio_device_config_write(&balloon.dev, (uint32_t)take(1), &value,
                                   1 + (uint32_t)take(1) % 4);
        break;
    case 8:
        fill_arena();
        break;
    default:
        add_chain(queue);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool once;
    if (!once) {
        log_setup("fuzz", 2, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
        vkit_init(&kit);
        once = true;
    }
    input = data;
    input_left = size;
    struct virtio_balloon_options options = {.name = "fuzz",
                                             .deflate_on_oom = true,
                                             .page_reporting = take(1) % 4 != 0,
                                             .release = release};
    if (virtio_balloon_init(&balloon, &options, &kit.mem, &kit.loop, NULL) < 0)
        abort();
    vkit_attach(&kit, &balloon.dev);
    start();
    while (input_left > 0)
        command();
    vkit_run(&kit);
    if (!vkit_reset(&kit))
        abort();
    vkit_run(&kit); /* no posted work may be left behind */
    virtio_balloon_done(&balloon);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * virtio-console against a driver and a host that the input plays: buffers of any shape, raw rings,
 * typing, a reader with little room, resets.
 *
 * Input: commands of a byte each with their arguments behind.
 */
#include "console.h"
#include "vkit.h"
#include <podvisor/cleanup.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_SIZE 8192

static const uint8_t *input;
static size_t input_left;
static struct vkit kit;
static struct virtio_console console;
static size_t room_left;
static gpa_t arena;

static uint64_t take(unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes && input_left > 0; i++, input_left--)
        v |= (uint64_t)*input++ << (8 * i);
    return v;
}

static size_t room(void *ctx, size_t wanted)
{
    (void)ctx;
    return wanted < room_left ? wanted : room_left;
}

static void output(void *ctx, const void *bytes, size_t len)
{
    (void)ctx;
    (void)bytes;
    if (len == 0 || len > room_left)
        abort();
    room_left -= len;
}

static void input_ready(void *ctx)
{
    (void)ctx;
}

static const struct virtio_console_ops ops = {
    .room = room, .output = output, .input_ready = input_ready};

static void start(void)
{
    vkit_alloc_reset(&kit);
    if (!vkit_start(&kit, take(1) % 4 != 0 ? VKIT_FEATURES : UINT64_C(1) << VIRTIO_F_VERSION_1))
        abort();
    arena = vkit_alloc(&kit, ARENA_SIZE, 16);
}

static void add_chain(unsigned queue)
{
    struct vkit_buf buf[4];
    unsigned count = 1 + (unsigned)take(1) % 4;
    bool writable = queue == 0;
    if (take(1) % 16 == 0)
        writable = !writable;
    for (unsigned i = 0; i < count; i++) {
        uint32_t len = (uint32_t)take(2) % ARENA_SIZE;
        buf[i] = (struct vkit_buf){arena, len, writable};
    }
    if (take(1) % 4 == 0)
        vkit_add_indirect(&kit, queue, buf, count, count > 1);
    else
        vkit_add(&kit, queue, buf, count);
}

static void command(void)
{
    static const char text[256] = "typed";
    uint32_t head, len;
    uint64_t c = take(1);
    unsigned queue = c >= 128;
    switch (c % 9) {
    case 0:
        virtio_console_input(&console, text, take(1));
        break;
    case 1:
        room_left = take(2);
        virtio_console_output_room(&console);
        break;
    case 2:
        vkit_kick(&kit, queue);
        vkit_run(&kit);
        break;
    case 3:
        while (vkit_used(&kit, queue, &head, &len))
            ;
        break;
    case 4:
        if (!vkit_reset(&kit))
            abort();
        start();
        break;
    case 5:
        vkit_desc_write(&kit, queue, (uint16_t)(take(1) % VIRTIO_CONSOLE_QUEUE_SIZE), take(4),
                        (uint32_t)take(4), (uint16_t)take(1), (uint16_t)take(2));
        break;
    case 6:
        if (take(1) % 2 == 0)
            vkit_avail_push(&kit, queue, (uint16_t)take(2));
        else
            vkit_avail_set_idx(&kit, queue, (uint16_t)take(2));
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
    room_left = 100;
    if (virtio_console_init(&console, "fuzz", &ops, NULL, &kit.mem, &kit.loop, NULL) < 0)
        abort();
    vkit_attach(&kit, &console.dev);
    start();
    while (input_left > 0)
        command();
    vkit_run(&kit);
    if (!vkit_reset(&kit))
        abort();
    vkit_run(&kit); /* no posted work may be left behind */
    virtio_console_done(&console);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* The programs of vfuzz.h: one byte says what the driver does next, the following ones how. */
#include "vfuzz.h"
#include <podvisor/cleanup.h>
#include <stdlib.h>
#include <string.h>

/* Bounds time and guest memory (tables, restarts) an input. */
#define STEP_MAX    256
#define RESTART_MAX 4

/* Addresses of buffers lie in [BUFFER_BASE, end of the low region), rings and tables below. */
#define BUFFER_BASE UINT64_C(0x200000)

enum step { /* the rule-breaking ones are rare: see next_step() */
            STEP_ADD,
            STEP_ADD_INDIRECT,
            STEP_KICK,
            STEP_USED,
            STEP_USED_EVENT,
            STEP_CONFIG_READ,
            STEP_CONFIG_WRITE,
            STEP_RESTART,
            STEP_BAD_DESC,
            STEP_BAD_HEAD,
            STEP_BAD_IDX,
            STEP_SCRIBBLE,
            STEP_STATUS,
};

void vfuzz_bytes(struct vfuzz_input *in, void *to, size_t len)
{
    size_t n = len < in->left ? len : in->left;
    memset(to, 0, len);
    if (n > 0)
        memcpy(to, in->data, n);
    in->data += n;
    in->left -= n;
}

uint8_t vfuzz_u8(struct vfuzz_input *in)
{
    uint8_t value;
    vfuzz_bytes(in, &value, sizeof(value));
    return value;
}

uint16_t vfuzz_u16(struct vfuzz_input *in)
{
    uint16_t value;
    vfuzz_bytes(in, &value, sizeof(value));
    return value;
}

uint32_t vfuzz_u32(struct vfuzz_input *in)
{
    uint32_t value;
    vfuzz_bytes(in, &value, sizeof(value));
    return value;
}

uint64_t vfuzz_u64(struct vfuzz_input *in)
{
    uint64_t value;
    vfuzz_bytes(in, &value, sizeof(value));
    return value;
}

gpa_t vfuzz_address(struct vfuzz_input *in, uint32_t len)
{
    uint32_t choice = vfuzz_u32(in);
    if ((choice & 0xff) == 0xff)
        return vfuzz_u64(in);
    if ((choice & 0xff) == 0xfe) /* the very end of a region, perhaps beyond it */
        return ((choice & 0x100) != 0 ? VKIT_LOW_SIZE : VKIT_HIGH_BASE + VKIT_HIGH_SIZE) - len +
               ((choice >> 9) & 1);
    if ((choice & 0xff) == 0xfd && len <= VKIT_HIGH_SIZE)
        return VKIT_HIGH_BASE + (choice >> 8) % (VKIT_HIGH_SIZE - len + 1);
    uint64_t room = VKIT_LOW_SIZE - BUFFER_BASE;
    return BUFFER_BASE + (len <= room ? (choice >> 8) % (room - len + 1) : 0);
}

static unsigned random_request(struct vkit *kit, unsigned index, struct vfuzz_input *in,
                               struct vkit_buf *bufs)
{
    (void)kit;
    (void)index;
    uint8_t shape = vfuzz_u8(in);
    unsigned readable = shape & 3, writable = (shape >> 2) & 7;
    for (unsigned i = 0; i < readable + writable; i++) {
        bufs[i].len = vfuzz_u16(in);
        bufs[i].gpa = vfuzz_address(in, bufs[i].len);
        bufs[i].writable = i >= readable;
    }
    return readable + writable;
}

static void add_request(struct vkit *kit, const struct vfuzz_device *spec, unsigned index,
                        struct vfuzz_input *in, bool indirect)
{
    struct vkit_buf bufs[VFUZZ_BUF_MAX];
    unsigned direct = indirect ? vfuzz_u8(in) & 3 : 0;
    unsigned n = (spec->request != NULL ? spec->request : random_request)(kit, index, in, bufs);
    if (n == 0)
        return;
    if (indirect)
        vkit_add_indirect(kit, index, bufs, n, direct < n ? direct : n - 1);
    else
        vkit_add(kit, index, bufs, n);
}

static void settle(struct vkit *kit, const struct vfuzz_device *spec)
{
    vkit_run(kit);
    if (spec->settle != NULL)
        spec->settle(kit);
}

static void take_used(struct vkit *kit, unsigned index)
{
    uint32_t head, len;
    /* What they say is not checked: the driver may have had the device write over the ring. */
    while (vkit_used(kit, index, &head, &len))
        ;
}

/* Overwrites ring memory of the queue, or whatever the input points at. */
static void scribble(struct vkit *kit, unsigned index, struct vfuzz_input *in)
{
    const struct virtq_layout *l = &kit->queue[index].layout;
    uint8_t bytes[16];
    vfuzz_bytes(in, bytes, sizeof(bytes));
    uint16_t where = vfuzz_u16(in);
    gpa_t base = (where & 1) != 0 ? l->desc : (gpa_t)where * 32;
    gpa_t gpa = base + (where >> 1) % (16 * (gpa_t)l->size);
    void *to = guest_memory_at(&kit->mem, gpa, sizeof(bytes));
    /* The used ring is the device's: the kit itself relies on it. */
    if (to != NULL && (gpa + sizeof(bytes) <= l->used || gpa >= l->used + 6 + 8 * (gpa_t)l->size))
        memcpy(to, bytes, sizeof(bytes));
}

static void bad_desc(struct vkit *kit, unsigned index, struct vfuzz_input *in)
{
    uint16_t head = (uint16_t)(vfuzz_u8(in) % kit->queue[index].layout.size);
    uint32_t len = (vfuzz_u8(in) & 1) != 0 ? vfuzz_u32(in) : vfuzz_u16(in);
    uint16_t flags = vfuzz_u8(in);
    vkit_desc_write(kit, index, head, vfuzz_address(in, len), len, flags, vfuzz_u16(in));
    vkit_avail_push(kit, index, head);
}

static bool start(struct vkit *kit, const struct vfuzz_device *spec, struct vfuzz_input *in)
{
    vkit_alloc_reset(kit);
    uint8_t knobs = vfuzz_u8(in);
    uint64_t features = VKIT_FEATURES | (spec->features & vfuzz_u64(in));
    if ((knobs & 1) != 0)
        features &= ~(UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX);
    if ((knobs & 2) != 0)
        features &= ~(UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC);
    if (!vkit_negotiate(kit, features))
        return false;
    for (unsigned i = 0; i < kit->dev->queue_count; i++) {
        uint16_t max = kit->dev->queue[i].max_size;
        uint16_t size = (knobs & 4) != 0 && max >= 16 ? 16 : max;
        vkit_setup_queue(kit, i, size);
        if ((knobs & 0xf8) == 0xf8) /* rarely: a queue that is not enabled */
            kit->dev->queue[i].enabled = i != 0;
    }
    return vkit_driver_ok(kit);
}

static enum step next_step(struct vfuzz_input *in)
{
    static const enum step often[] = {STEP_ADD,        STEP_ADD,         STEP_ADD_INDIRECT,
                                      STEP_KICK,       STEP_KICK,        STEP_USED,
                                      STEP_USED_EVENT, STEP_CONFIG_READ, STEP_CONFIG_WRITE};
    static const enum step rarely[] = {STEP_BAD_DESC, STEP_BAD_HEAD, STEP_BAD_IDX,
                                       STEP_SCRIBBLE, STEP_RESTART,  STEP_STATUS};
    uint8_t byte = vfuzz_u8(in);
    return byte < 0xe0 ? often[byte % ARRAY_SIZE(often)] : rarely[byte % ARRAY_SIZE(rarely)];
}

static void access_config(struct vkit *kit, struct vfuzz_input *in, bool write)
{
    uint8_t data[8];
    uint8_t where = vfuzz_u8(in), len = vfuzz_u8(in) % (sizeof(data) + 1);
    vfuzz_bytes(in, data, write ? len : 0);
    if (write)
        virtio_device_config_write(kit->dev, where, data, len);
    else
        virtio_device_config_read(kit->dev, where, data, len);
}

static void do_step(struct vkit *kit, const struct vfuzz_device *spec, enum step step,
                    struct vfuzz_input *in)
{
    unsigned index = vfuzz_u8(in) % kit->dev->queue_count;
    switch (step) {
    case STEP_ADD:
    case STEP_ADD_INDIRECT:
        add_request(kit, spec, index, in, step == STEP_ADD_INDIRECT);
        break;
    case STEP_KICK:
        vkit_kick(kit, index);
        settle(kit, spec);
        break;
    case STEP_USED:
        take_used(kit, index);
        break;
    case STEP_USED_EVENT:
        vkit_set_used_event(kit, index, vfuzz_u16(in));
        break;
    case STEP_CONFIG_READ:
    case STEP_CONFIG_WRITE:
        access_config(kit, in, step == STEP_CONFIG_WRITE);
        break;
    case STEP_BAD_DESC:
        bad_desc(kit, index, in);
        break;
    case STEP_BAD_HEAD:
        vkit_avail_push(kit, index, vfuzz_u16(in));
        break;
    case STEP_BAD_IDX:
        vkit_avail_set_idx(kit, index, vfuzz_u16(in));
        break;
    case STEP_SCRIBBLE:
        scribble(kit, index, in);
        break;
    case STEP_STATUS:
        virtio_device_set_status(kit->dev, vfuzz_u8(in));
        break;
    case STEP_RESTART:
        break; /* the caller's */
    }
}

struct vkit *vfuzz_kit(void)
{
    static struct vkit kit;
    static bool ready;
    if (!ready) {
        log_setup("fuzz", 2, LOG_FORMAT_TEXT, LOG_LEVEL_ERROR);
        vkit_init(&kit);
        ready = true;
    }
    vkit_alloc_reset(&kit);
    return &kit;
}

void vfuzz_run(const struct vfuzz_device *spec, struct virtio_device *dev, const uint8_t *data,
               size_t size)
{
    struct vkit *kit = vfuzz_kit();
    struct vfuzz_input in = {.data = data, .left = size};
    unsigned restarts = 0;
    vkit_attach(kit, dev);
    bool running = start(kit, spec, &in);
    for (unsigned i = 0; running && i < STEP_MAX && in.left > 0; i++) {
        enum step step = next_step(&in);
        if (step != STEP_RESTART)
            do_step(kit, spec, step, &in);
        else if (restarts++ < RESTART_MAX)
            running = start(kit, spec, &in);
    }
    settle(kit, spec);
    if (!vkit_reset(kit))
        abort(); /* a driver must always get out by reset */
}

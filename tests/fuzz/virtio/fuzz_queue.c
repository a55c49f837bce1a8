// SPDX-License-Identifier: Apache-2.0
/*
 * The bare virtqueue on ring memory that the input writes as it likes, under operations that the
 * input chooses. Whatever comes out of virtq_pop() must be RAM, in order and within bounds.
 */
#include "vfuzz.h"
#include <stdlib.h>
#include <string.h>

#define RAM_SIZE  0x4000u
#define IOV_COUNT 20
#define STEP_MAX  1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t ram[2][RAM_SIZE] __attribute__((aligned(4096)));

/* Two regions with a hole of one page between. */
static const struct guest_memory mem = {
    .region = {{.base = 0, .size = RAM_SIZE, .hva = ram[0]},
               {.base = RAM_SIZE + 0x1000, .size = RAM_SIZE, .hva = ram[1]}},
    .region_count = 2,
};

struct state {
    struct virtq vq;
    struct iovec iov[IOV_COUNT];
    uint16_t head[VIRTQ_SIZE_MAX]; /* in flight, oldest first */
    unsigned count;
};

#define require(cond) \
    do {              \
        if (!(cond))  \
            abort();  \
    } while (0)

static bool in_ram(const struct iovec *iov)
{
    const uint8_t *p = iov->iov_base;
    for (unsigned i = 0; i < 2; i++) {
        if (p >= ram[i] && p < ram[i] + RAM_SIZE && iov->iov_len <= (size_t)(ram[i] + RAM_SIZE - p))
            return true;
    }
    return false;
}

static void check_chain(const struct state *s, const struct virtq_chain *c, unsigned iov_max)
{
    unsigned count = (unsigned)c->readable_count + c->writable_count;
    require(count <= iov_max && count <= s->vq.size && c->head < s->vq.size);
    uint64_t sum[2] = {0, 0};
    for (unsigned i = 0; i < count; i++) {
        require(c->iov[i].iov_len > 0 && in_ram(&c->iov[i]));
        sum[i >= c->readable_count] += c->iov[i].iov_len;
    }
    require(sum[0] == c->readable_len && sum[1] == c->writable_len);
    for (unsigned i = 0; i < s->count; i++)
        require(s->head[i] != c->head);
}

static void pop(struct state *s, struct vfuzz_input *in)
{
    struct virtq_chain chain;
    unsigned iov_max = 1 + vfuzz_u8(in) % IOV_COUNT;
    int r = virtq_pop(&s->vq, s->iov, iov_max, &chain);
    require((r == -EPROTO) <= s->vq.broken);
    if (r <= 0)
        return;
    check_chain(s, &chain, iov_max);
    if ((vfuzz_u8(in) & 7) == 7)
        virtq_unpop(&s->vq, &chain);
    else
        s->head[s->count++] = chain.head;
}

static void push(struct state *s, struct vfuzz_input *in)
{
    if (s->count == 0)
        return;
    unsigned i = vfuzz_u8(in) % s->count;
    virtq_push(&s->vq, s->head[i], vfuzz_u32(in));
    s->head[i] = s->head[--s->count];
}

/* A value of 2 or 16 bytes anywhere, or where the rings are. */
static void write_memory(const struct virtq_layout *l, struct vfuzz_input *in)
{
    uint8_t bytes[16];
    uint16_t where = vfuzz_u16(in);
    size_t len = (where & 0x8000) != 0 ? 16 : 2;
    const gpa_t base[] = {l->desc, l->avail, l->used, 0};
    vfuzz_bytes(in, bytes, len);
    void *to = guest_memory_at(&mem, base[(where >> 13) & 3] + (where & 0x1fff), len);
    if (to != NULL)
        memcpy(to, bytes, len);
}

static void step(struct state *s, const struct virtq_layout *layout, struct vfuzz_input *in)
{
    switch (vfuzz_u8(in) % 8) {
    case 0:
    case 1:
        write_memory(layout, in);
        break;
    case 2:
    case 3:
        pop(s, in);
        break;
    case 4:
        push(s, in);
        break;
    case 5:
        virtq_publish(&s->vq);
        break;
    case 6:
        virtq_suppress_kicks(&s->vq);
        break;
    case 7:
        require(virtq_arm_kicks(&s->vq) <= !s->vq.broken);
        break;
    }
    require(s->vq.in_flight == s->count);
    require(virtq_available(&s->vq) <= s->vq.size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vfuzz_input in = {.data = data, .left = size};
    static struct state s;
    uint8_t knobs = vfuzz_u8(&in);
    struct virtq_layout layout = {.size = (uint16_t)(1u << (knobs & 7)),
                                  .desc = 0x1000,
                                  .avail = 0x2000,
                                  .used = RAM_SIZE + 0x1000};
    if ((knobs & 0xf0) == 0xf0)
        layout = (struct virtq_layout){.size = vfuzz_u16(&in),
                                       .desc = vfuzz_u64(&in),
                                       .avail = vfuzz_u64(&in),
                                       .used = vfuzz_u64(&in)};
    memset(ram, 0, sizeof(ram));
    memset(&s, 0, sizeof(s));
    /* A start for the mutations: the first half of the ring memory comes from the input at once. */
    vfuzz_bytes(&in, ram[0] + 0x1000, (size_t)vfuzz_u8(&in) * 8);
    vfuzz_bytes(&in, ram[0] + 0x2000, vfuzz_u8(&in));
    if (virtq_init(&s.vq, &mem, &layout, (knobs & 8) == 0, true) < 0)
        return 0;
    for (unsigned i = 0; i < STEP_MAX && in.left > 0; i++)
        step(&s, &layout, &in);
    while (s.count > 0)
        push(&s, &in);
    virtq_publish(&s.vq);
    return 0;
}

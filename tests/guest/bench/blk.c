/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench=blk,op=randread|randwrite|randrw|read|write,bs=4096,qd=32,secs=2,span=MiB,notify=poll|irq
 *
 * randrw turns every request by chance into a read or a write.
 *
 * `qd` requests are always in flight on one queue. Their descriptors are built once; a round takes
 * every completion there is, makes the same slots available again and kicks at most once. Polling
 * keeps used_event in the past, so that no interrupt is raised; with notify=irq the guest halts
 * when there is nothing to take.
 */
#include "../lib/blk.h"
#include "bench.h"

#define QD_MAX 1024

struct slot {
    struct blk_header header;
    volatile uint8_t status;
    uint64_t submitted;
};

struct work {
    struct virtq queue;
    struct slot *slots;
    uint8_t *data;
    struct latency *latency;
    uint32_t type, block_size, depth, random_state;
    uint64_t blocks, next_block, requests, errors;
    bool random, mixed, interrupts;
};

static bool read_options(struct work *work, const struct virtio_device *device)
{
    uint64_t span = bench_option("span", 0) << 20, capacity = blk_capacity(device) * BLK_SECTOR;

    work->mixed = bench_option_is("op", "randrw");
    work->random =
        work->mixed || bench_option_is("op", "randread") || bench_option_is("op", "randwrite");
    work->type =
        bench_option_is("op", "write") || bench_option_is("op", "randwrite") ? BLK_T_OUT : BLK_T_IN;
    work->block_size = (uint32_t)bench_option("bs", 4096);
    work->depth = (uint32_t)bench_option("qd", 32);
    work->interrupts = bench_option_is("notify", "irq");
    work->random_state = 1;
    if (!work->block_size || work->block_size % BLK_SECTOR || !work->depth || work->depth > QD_MAX)
        return bench_fail("bs=%u qd=%u", work->block_size, work->depth);
    work->blocks = (span && span < capacity ? span : capacity) / work->block_size;
    return work->blocks ? true : bench_fail("the disk is too small");
}

/* Slot i is descriptor i with an indirect table, or the three descriptors from 3 i on. */
static struct virtq_desc *chain_of(struct work *work, uint16_t slot)
{
    struct virtq *queue = &work->queue;

    return queue->indirect ? queue->indirect + (size_t)slot * INDIRECT_ENTRIES
                           : queue->desc + (uint16_t)(3 * slot);
}

static void set_direction(struct work *work, uint16_t slot, uint32_t type)
{
    work->slots[slot].header.type = type;
    chain_of(work, slot)[1].flags = (uint16_t)(DESC_NEXT | (type == BLK_T_IN ? DESC_WRITE : 0));
}

static void build_chain(struct work *work, uint16_t slot)
{
    struct virtq *queue = &work->queue;
    uint16_t first = queue->indirect ? 0 : (uint16_t)(3 * slot);
    struct virtq_desc *desc = chain_of(work, slot);

    desc[0] = (struct virtq_desc){.addr = physical_address(&work->slots[slot].header),
                                  .len = sizeof(struct blk_header),
                                  .flags = DESC_NEXT,
                                  .next = (uint16_t)(first + 1)};
    desc[1] =
        (struct virtq_desc){.addr = physical_address(work->data + (size_t)slot * work->block_size),
                            .len = work->block_size,
                            .next = (uint16_t)(first + 2)};
    desc[2] = (struct virtq_desc){
        .addr = (uintptr_t)&work->slots[slot].status, .len = 1, .flags = DESC_WRITE};
    if (queue->indirect)
        queue->desc[slot] = (struct virtq_desc){
            .addr = physical_address(desc), .len = 3 * sizeof(*desc), .flags = DESC_INDIRECT};
    set_direction(work, slot, work->type);
}

static void submit(struct work *work, uint16_t slot, uint64_t now)
{
    uint64_t block = work->random ? (uint64_t)random_next(&work->random_state) * work->blocks >> 32
                                  : work->next_block++ % work->blocks;
    struct slot *s = &work->slots[slot];

    if (work->mixed)
        set_direction(work, slot, random_next(&work->random_state) >> 31 ? BLK_T_OUT : BLK_T_IN);
    s->header.sector = block * (work->block_size / BLK_SECTOR);
    s->status = BLK_S_NONE;
    s->submitted = now;
    virtq_publish(&work->queue, work->queue.indirect ? slot : (uint16_t)(3 * slot));
}

/* Takes what is complete, submits again unless told to stop; how many were taken. */
static unsigned int take(struct work *work, bool again)
{
    struct virtq_used_elem elem;
    unsigned int taken = 0;
    uint64_t now = rdtsc();

    while (virtq_pop_raw(&work->queue, &elem)) {
        uint16_t slot = (uint16_t)(work->queue.indirect ? elem.id : elem.id / 3);

        if (slot >= work->depth)
            return 0;
        work->errors += work->slots[slot].status != BLK_S_OK;
        latency_add(work->latency, now - work->slots[slot].submitted);
        if (again)
            submit(work, slot, now);
        taken++;
    }
    return taken;
}

static bool start(struct work *work, struct virtio_device *device)
{
    struct virtio_options options = {.features =
                                         BLK_FEATURES | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC,
                                     .interrupts = work->interrupts};

    if (!virtio_start(device, &options, &work->queue, 1))
        return bench_fail("the disk does not start");
    if (work->depth * (work->queue.indirect ? 1u : 3u) > work->queue.size)
        return bench_fail("qd=%u in a queue of %u", work->depth, work->queue.size);
    work->slots = page_alloc(work->depth * sizeof(*work->slots));
    work->data = page_alloc((size_t)work->depth * work->block_size);
    work->latency = page_alloc(sizeof(*work->latency));
    for (uint16_t i = 0; i < work->depth; i++) {
        build_chain(work, i);
    }
    return true;
}

/* Nothing was there to take. With interrupts: ask for one, look again, halt. */
static void wait(struct work *work)
{
    uint32_t seen = irq_count[VECTOR_DEVICE];

    if (!work->interrupts) {
        cpu_relax();
        return;
    }
    virtq_interrupts(&work->queue, true);
    memory_barrier();
    if (work->queue.used[1] == work->queue.used_idx)
        halt_unless(&irq_count[VECTOR_DEVICE], seen);
}

static uint64_t measure(struct work *work, uint64_t seconds)
{
    uint64_t started = rdtsc(), deadline = started + seconds * tsc_khz * 1000, ended;
    uint32_t in_flight = work->depth;

    for (uint16_t i = 0; i < work->depth; i++)
        submit(work, i, started);
    virtq_kick(&work->queue);
    while (!deadline_passed(deadline)) {
        unsigned int taken = take(work, true);

        work->requests += taken;
        if (taken) {
            virtq_interrupts(&work->queue, false);
            virtq_kick(&work->queue);
        } else {
            wait(work);
        }
    }
    ended = rdtsc();
    deadline = deadline_after_ms(REQUEST_TIMEOUT_MS);
    while (in_flight && !deadline_passed(deadline))
        in_flight -= take(work, false);
    if (in_flight)
        work->errors += in_flight;
    return ended - started;
}

bool bench_blk(void)
{
    static const char *const names[] = {"read", "write", "randread", "randwrite"};
    struct virtio_device *device = virtio_find(VIRTIO_TYPE_BLK, 0);
    static struct work work;
    uint64_t cycles, rate;

    if (!device)
        return bench_fail("no disk");
    if (!read_options(&work, device) || !start(&work, device))
        return false;
    bench_begin();
    cycles = measure(&work, bench_option("secs", 2));
    bench_end();
    rate = bench_rate(work.requests, cycles);
    print("bench blk op=%s bs=%u qd=%u notify=%s requests=%lu errors=%lu cycles=%lu tsc_khz=%lu "
          "iops=%lu mib_s=%lu kicks=%lu interrupts=%u p50_ns=%lu p99_ns=%lu p999_ns=%lu\n",
          work.mixed ? "randrw" : names[(work.type == BLK_T_OUT) + 2 * work.random],
          work.block_size, work.depth, work.interrupts ? "irq" : "poll", work.requests, work.errors,
          cycles, tsc_khz, rate, rate * work.block_size >> 20, work.queue.kicks,
          irq_count[VECTOR_DEVICE], latency_percentile(work.latency, 500),
          latency_percentile(work.latency, 990), latency_percentile(work.latency, 999));
    virtio_quiesce_all();
    return work.errors == 0 || bench_fail("%lu requests", work.errors);
}

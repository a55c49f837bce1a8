/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptor chains and rings that no driver may make (virtio 1.2, 2.7.4 to 2.7.8). The device must
 * survive every one: by NEEDS_RESET or by refusing the request, and it must work again after a
 * reset.
 */
#include "../boot/layout.h"
#include "../lib/target.h"

#define MMIO_HOLE         0xd0000000ul
#define FAR_AWAY          (1ul << 45)
#define LAPIC_PAGE        0xfee00000ul
#define RACE_ROUNDS       300
#define BROKEN_OR_REFUSED (OUTCOME_BROKEN | OUTCOME_REFUSED)

static struct target target;
static struct virtq_desc *desc; /* of the attacked queue */

static bool ready(uint64_t features)
{
    if (!target_known(dut)) {
        tap_skip("no valid request known for type %u", dut->type);
        return false;
    }
    if (!target_start(&target, dut, features))
        return false;
    desc = target.queue->desc;
    return true;
}

/* `qemu` says why QEMU's outcome may differ; NULL if it may not. */
static void judge(unsigned int outcome, unsigned int allowed, const char *qemu)
{
    if (!(outcome & allowed) && qemu && reference_is_qemu())
        tap_skip("qemu: %s", qemu);
    else
        CHECK(outcome & allowed, "outcome %u, allowed %u (1 broken, 2 refused, 4 done, 8 ignored)",
              outcome, allowed);
    target_recovers(dut);
}

/* Makes the chain at `head` available and judges what comes of it. */
static void fire_or_differ(uint16_t head, unsigned int allowed, const char *qemu)
{
    virtq_publish(target.queue, head);
    virtq_notify(target.queue);
    judge(target_outcome(&target, allowed), allowed, qemu);
}

static void fire(uint16_t head, unsigned int allowed)
{
    fire_or_differ(head, allowed, NULL);
}

/* For each segment in turn: the chain with this address and length in it. */
static void bad_buffer(uint64_t addr, uint32_t length)
{
    for (unsigned int i = 0; !tap_failed(); i++) {
        if (!ready(0) || i >= target.out + target.in)
            return;
        desc[i].addr = addr;
        if (length)
            desc[i].len = length;
        fire_or_differ(0, BROKEN_OR_REFUSED,
                       "bounces transfers to and from unassigned and device addresses");
    }
}

static void test_address_in_hole(void)
{
    bad_buffer(MMIO_HOLE, 0);
}

static void test_address_far_away(void)
{
    bad_buffer(FAR_AWAY, 0);
}

static void test_address_of_device(void)
{
    SKIP_ON_QEMU("carries transfers out on registers, and hangs");
    bad_buffer(LAPIC_PAGE, 0);
    bad_buffer(dut->pci.bar[dut->window[VIRTIO_PCI_CAP_COMMON].bar], 0);
}

static void test_length_past_ram(void)
{
    bad_buffer(memory_low_ram_end() - 8, 0x100000);
}

static void test_address_wraps(void)
{
    bad_buffer(~0ul - 8, 4096);
    if (!reference_is_qemu()) /* its rng would fill 4 GiB */
        bad_buffer(~0ul, 0xffffffff);
}

static void test_length_zero(void)
{
    for (unsigned int i = 0; !tap_failed(); i++) {
        if (!ready(0) || i >= target.out + target.in)
            return;
        desc[i].len = 0;
        fire(0, OUTCOME_ANY & ~(unsigned int)OUTCOME_IGNORED);
    }
}

static void test_total_too_long(void)
{
    uint16_t count;

    SKIP_IF(reference_is_qemu() && dut->type == VIRTIO_TYPE_BALLOON,
            "qemu: works through 2^31 page numbers");
    if (!ready(0))
        return;
    SKIP_IF(target.in, "a device may write all of it");
    count = MIN(target.queue->size, 64);
    for (uint16_t i = 1; i < count; i++) {
        desc[i].addr = HEAP_BASE;
        desc[i].len = 0x8000000; /* 64 × 128 MiB, each inside RAM */
        desc[i].flags = i + 1 < count ? DESC_NEXT : 0;
        desc[i].next = (uint16_t)(i + 1);
    }
    fire(0, OUTCOME_ANY & ~(unsigned int)OUTCOME_IGNORED);
}

static void test_loop_of_one(void)
{
    if (!ready(0))
        return;
    desc[0].flags |= DESC_NEXT;
    desc[0].next = 0;
    fire(0, OUTCOME_BROKEN);
}

static void test_loop_of_two(void)
{
    if (!ready(0))
        return;
    desc[1].flags |= DESC_NEXT;
    desc[1].next = 0;
    desc[1].flags = (uint16_t)((desc[1].flags & ~DESC_WRITE) | (desc[0].flags & DESC_WRITE));
    fire(0, OUTCOME_BROKEN);
}

static void test_next_out_of_range(void)
{
    const uint16_t bad[] = {0, 1, 0x7fff, 0xffff};

    for (unsigned int i = 0; i < ARRAY_SIZE(bad) && !tap_failed(); i++) {
        if (!ready(0))
            return;
        desc[0].flags |= DESC_NEXT;
        desc[0].next = (uint16_t)(bad[i] < 2 ? target.queue->size + bad[i] : bad[i]);
        fire(0, OUTCOME_BROKEN);
    }
}

static void test_head_out_of_range(void)
{
    const uint16_t bad[] = {0, 1, 0x7fff, 0xffff};

    for (unsigned int i = 0; i < ARRAY_SIZE(bad) && !tap_failed(); i++) {
        if (!ready(0))
            return;
        fire((uint16_t)(bad[i] < 2 ? target.queue->size + bad[i] : bad[i]), OUTCOME_BROKEN);
    }
}

static void avail_jump(uint16_t by)
{
    if (!ready(0))
        return;
    target.queue->avail[1] = by;
    virtq_notify(target.queue);
    judge(target_outcome(&target, OUTCOME_BROKEN), OUTCOME_BROKEN,
          "pops until empty: every head up to the index, once around");
}

static void test_avail_jump(void)
{
    avail_jump((uint16_t)(virtio_queue_size(dut, 0) + 1));
    if (!tap_failed())
        avail_jump(0x8000);
    if (!tap_failed())
        avail_jump(0xffff);
}

static bool ready_indirect(struct virtq_desc **ret_table, unsigned int *ret_count)
{
    if (!(virtio_offered(dut) & VIRTIO_F_INDIRECT_DESC)) {
        tap_skip("no INDIRECT_DESC");
        return false;
    }
    if (!ready(VIRTIO_F_INDIRECT_DESC))
        return false;
    *ret_count = target.out + target.in;
    *ret_table = page_alloc(PAGE_SIZE);
    memcpy(*ret_table, desc, *ret_count * sizeof(*desc));
    desc[0] = (struct virtq_desc){
        .addr = physical_address(*ret_table),
        .len = (uint32_t)(*ret_count * sizeof(*desc)),
        .flags = DESC_INDIRECT,
    };
    return true;
}

static void indirect_length(uint32_t length, unsigned int allowed)
{
    struct virtq_desc *table;
    unsigned int count;

    if (tap_failed() || !ready_indirect(&table, &count))
        return;
    desc[0].len = length;
    fire_or_differ(0, allowed, "reads only the entries that the chain names");
}

static void test_indirect_lengths(void)
{
    struct virtq_desc *table;
    unsigned int count;

    indirect_length(0, OUTCOME_BROKEN);
    indirect_length(8, OUTCOME_BROKEN);
    indirect_length(24, OUTCOME_BROKEN);
    indirect_length(0xffffffff, OUTCOME_BROKEN);
    if (tap_failed() || !ready_indirect(&table, &count))
        return;
    desc[0].len += 8; /* the whole chain and half an entry */
    fire(0, OUTCOME_BROKEN);
}

/* Past the end of RAM, wherever behind HEAP_BASE the table starts. */
static void test_indirect_too_long(void)
{
    indirect_length(0xfffffff0, OUTCOME_BROKEN);
    indirect_length((uint32_t)(memory_low_ram_end() - HEAP_BASE), OUTCOME_BROKEN);
}

static void test_indirect_outside_ram(void)
{
    static const uint64_t bad[] = {MMIO_HOLE, FAR_AWAY, ~0ul - 15};
    struct virtq_desc *table;
    unsigned int count;

    for (unsigned int i = 0; i < ARRAY_SIZE(bad) && !tap_failed(); i++) {
        if (!ready_indirect(&table, &count))
            return;
        desc[0].addr = bad[i];
        fire_or_differ(0, OUTCOME_BROKEN, "rng leaves alone a chain that it cannot measure");
    }
}

static void test_indirect_nested(void)
{
    struct virtq_desc *table;
    unsigned int count;

    if (!ready_indirect(&table, &count))
        return;
    table[0] = desc[0];
    fire_or_differ(0, OUTCOME_BROKEN, "INDIRECT inside a table is not looked at");
}

static void test_indirect_loop(void)
{
    struct virtq_desc *table;
    unsigned int count;

    if (!ready_indirect(&table, &count))
        return;
    table[0].flags |= DESC_NEXT;
    table[0].next = 0;
    fire(0, OUTCOME_BROKEN);
}

static void test_indirect_next_out_of_range(void)
{
    struct virtq_desc *table;
    unsigned int count;

    if (!ready_indirect(&table, &count))
        return;
    table[0].flags |= DESC_NEXT;
    table[0].next = (uint16_t)count;
    fire(0, OUTCOME_BROKEN);
}

/* A chain may end in an indirect table (2.7.5.3.2: the device MUST handle it). */
static void test_indirect_tail(void)
{
    struct virtq_desc *table;
    unsigned int count;

    if (!ready_indirect(&table, &count))
        return;
    desc[1] = (struct virtq_desc){
        .addr = physical_address(table + 1),
        .len = (uint32_t)((count - 1) * sizeof(*table)),
        .flags = DESC_INDIRECT,
    };
    for (unsigned int i = 1; i < count; i++)
        table[i].next = (uint16_t)i;
    desc[0] = table[0];
    fire_or_differ(0, target.status ? OUTCOME_DONE : OUTCOME_REFUSED,
                   "INDIRECT is looked at in the head only");
}

/* WRITE on the descriptor that refers to a table is to be ignored (2.7.5.3.2). */
static void test_indirect_write_flag(void)
{
    struct virtq_desc *table;
    unsigned int count;

    if (!ready_indirect(&table, &count))
        return;
    desc[0].flags |= DESC_WRITE;
    fire(0, target.status ? OUTCOME_DONE : OUTCOME_REFUSED);
}

static void test_indirect_and_next(void)
{
    struct virtq_desc *table;
    unsigned int count;

    if (!ready_indirect(&table, &count))
        return;
    desc[0].flags |= DESC_NEXT;
    desc[0].next = 0;
    fire(0, OUTCOME_ANY);
}

static void test_indirect_not_negotiated(void)
{
    if (!ready(0))
        return;
    desc[0].flags = DESC_INDIRECT;
    desc[0].len = 16;
    fire(0, OUTCOME_ANY);
}

static void test_writable_first(void)
{
    if (!ready(0))
        return;
    desc[0].flags |= DESC_WRITE;
    for (unsigned int i = 1; i < target.out + target.in; i++)
        desc[i].flags &= (uint16_t)~DESC_WRITE;
    fire(0, BROKEN_OR_REFUSED);
}

/* A request that would be in order but for a readable buffer behind a writable one. */
static void test_readable_last(void)
{
    unsigned int last;

    if (!ready(0))
        return;
    SKIP_IF(!target.in, "nothing writable in this request");
    last = target.out + target.in - 1;
    desc[last + 1] = desc[last];
    desc[last] = (struct virtq_desc){.addr = physical_address(page_alloc(PAGE_SIZE)),
                                     .len = 16,
                                     .flags = DESC_NEXT,
                                     .next = (uint16_t)(last + 1)};
    fire(0, OUTCOME_BROKEN);
}

static void test_wrong_direction(void)
{
    if (!ready(0))
        return;
    for (unsigned int i = 0; i < target.out + target.in; i++)
        desc[i].flags ^= target.out && target.in ? (desc[i].flags & DESC_WRITE) : DESC_WRITE;
    fire_or_differ(0, BROKEN_OR_REFUSED, "rng leaves alone a chain without room");
}

static void test_first_buffer_only(void)
{
    if (!ready(0))
        return;
    desc[0].flags &= (uint16_t)~DESC_NEXT;
    desc[0].len = 1;
    fire(0, BROKEN_OR_REFUSED);
}

static void test_unknown_flags(void)
{
    if (!ready(0))
        return;
    for (unsigned int i = 0; i < target.out + target.in; i++)
        desc[i].flags |= 0xfff8;
    fire(0, OUTCOME_ANY);
}

static void test_same_head_twice(void)
{
    struct virtq_used_elem elem;
    unsigned int used = 0;
    uint64_t deadline;

    if (!ready(0))
        return;
    virtq_publish(target.queue, 0);
    virtq_publish(target.queue, 0);
    virtq_publish(target.queue, 0);
    virtq_notify(target.queue);
    deadline = deadline_after_ms(OUTCOME_TIMEOUT_MS);
    while (!deadline_passed(deadline) && used < 3 && !virtio_needs_reset(dut))
        used += virtq_pop_raw(target.queue, &elem);
    CHECK(used == 3 || virtio_needs_reset(dut), "%u of 3 used", used);
    target_recovers(dut);
}

/* The whole ring full of one and the same head: more in flight than the device can own. */
static void test_ring_full_of_one_head(void)
{
    if (!ready(0))
        return;
    for (uint16_t i = 0; i < target.queue->size; i++)
        virtq_publish(target.queue, 0);
    virtq_notify(target.queue);
    delay_us(20000);
    target_recovers(dut);
}

/* The device must decide on its own copy: fields change under its eyes (CVE-class: double fetch).
 */
static void test_race(void)
{
    uint32_t state = 12345;

    if (!ready(0))
        return;
    for (unsigned int round = 0; round < RACE_ROUNDS; round++) {
        unsigned int count = target_chain(&target), flips = random_next(&state) % 200;

        virtq_publish(target.queue, 0);
        virtq_notify(target.queue);
        for (unsigned int i = 0; i < flips; i++) {
            volatile struct virtq_desc *victim = &desc[random_next(&state) % count];

            victim->addr ^= FAR_AWAY;
            victim->len ^= 0x7ffff000;
            victim->next ^= 0x7f00;
        }
        if (virtio_needs_reset(dut) && !ready(0))
            return;
        if (round % 32 == 31 && !ready(0))
            return;
    }
    target_recovers(dut);
}

static void test_notify_after_broken(void)
{
    if (!ready(0))
        return;
    virtq_publish(target.queue, 0xffff);
    virtq_notify(target.queue);
    CHECK(target_outcome(&target, OUTCOME_BROKEN) == OUTCOME_BROKEN,
          "not broken by a head of 65535");
    virtq_publish(target.queue, 0);
    virtq_notify(target.queue);
    delay_us(5000);
    CHECK(virtio_needs_reset(dut), "NEEDS_RESET went away by itself");
    CHECK(target.queue->used[1] == 0, "a broken device used a buffer");
    target_recovers(dut);
}

static const struct test tests[] = {
    {"address in a hole", test_address_in_hole},
    {"address far away", test_address_far_away},
    {"address of a device", test_address_of_device},
    {"length past the end of RAM", test_length_past_ram},
    {"address wraps around", test_address_wraps},
    {"length zero", test_length_zero},
    {"total length above 4 GiB", test_total_too_long},
    {"loop of one", test_loop_of_one},
    {"loop of two", test_loop_of_two},
    {"next out of range", test_next_out_of_range},
    {"head out of range", test_head_out_of_range},
    {"avail index jumps", test_avail_jump},
    {"indirect table of bad length", test_indirect_lengths},
    {"indirect table too long", test_indirect_too_long},
    {"indirect table outside RAM", test_indirect_outside_ram},
    {"indirect table nested", test_indirect_nested},
    {"indirect table with a loop", test_indirect_loop},
    {"indirect next out of range", test_indirect_next_out_of_range},
    {"chain ends in an indirect table", test_indirect_tail},
    {"WRITE on an indirect descriptor", test_indirect_write_flag},
    {"INDIRECT and NEXT together", test_indirect_and_next},
    {"INDIRECT not negotiated", test_indirect_not_negotiated},
    {"writable before readable", test_writable_first},
    {"readable between writable", test_readable_last},
    {"wrong direction", test_wrong_direction},
    {"one byte where a header belongs", test_first_buffer_only},
    {"unknown flags", test_unknown_flags},
    {"same head three times", test_same_head_twice},
    {"ring full of one head", test_ring_full_of_one_head},
    {"descriptors change in flight", test_race},
    {"notify after NEEDS_RESET", test_notify_after_broken},
};

const struct suite suite_hostile_queue = {
    .name = "hostile-queue",
    .device_type = VIRTIO_TYPE_ANY,
    .tests = tests,
    .count = ARRAY_SIZE(tests),
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block requests that are no requests, in chains that are in order (virtio 1.2, 5.2.6): headers and
 * status bytes cut short or missing, data in the wrong direction, ranges that lie. The disk must
 * refuse or want a reset, and write nothing where it was not asked to.
 */
#include "../lib/blk.h"
#include "../lib/target.h"

#define SCRATCH 65536 /* sectors: 32 MiB */

static struct target target;
static struct blk_header *header;
static uint8_t *data;
static volatile uint8_t *status;

/* A fresh disk with one queue; header, data and status as a read of sector 0 has them. */
static bool ready(void)
{
    if (tap_failed() || !target_start(&target, dut, BLK_FEATURES))
        return false;
    header = page_alloc(sizeof(*header));
    data = page_alloc(2 * PAGE_SIZE);
    status = page_alloc(PAGE_SIZE);
    *status = BLK_S_NONE;
    target.status = status;
    return true;
}

/* Runs the chain and judges it; a request that was done although it could not be is what must not
 * happen. */
static void refused(const struct virtq_segment *segments, unsigned int out, unsigned int in)
{
    unsigned int outcome;

    virtq_add(target.queue, segments, out, in);
    virtq_notify(target.queue);
    outcome = target_outcome(&target, OUTCOME_BROKEN | OUTCOME_REFUSED);
    CHECK(outcome & (OUTCOME_BROKEN | OUTCOME_REFUSED), "outcome %u, status byte %u", outcome,
          *status);
    target_recovers(dut);
}

static void test_header_cut(void)
{
    static const uint32_t lengths[] = {1, 4, 8, 15};

    for (unsigned int i = 0; i < ARRAY_SIZE(lengths); i++) {
        if (!ready())
            return;
        struct virtq_segment segments[] = {{header, lengths[i]}, {(const void *)status, 1}};
        refused(segments, 1, 1);
    }
}

static void test_no_status(void)
{
    if (!ready())
        return;
    struct virtq_segment segments[] = {{header, sizeof(*header)}, {data, BLK_SECTOR}};
    header->type = BLK_T_OUT;
    header->sector = SCRATCH;
    refused(segments, 2, 0);
}

static void test_header_writable(void)
{
    if (!ready())
        return;
    struct virtq_segment segments[] = {
        {header, sizeof(*header)}, {data, BLK_SECTOR}, {(const void *)status, 1}};
    refused(segments, 0, 3);
}

static void test_read_without_room(void)
{
    if (!ready())
        return;
    struct virtq_segment segments[] = {
        {header, sizeof(*header)}, {data, BLK_SECTOR}, {(const void *)status, 1}};
    memset(data, 0x5a, BLK_SECTOR);
    SKIP_ON_QEMU("takes a read of nothing for done");
    refused(segments, 2, 1);
    CHECK(data[0] == 0x5a, "readable memory was written");
}

static void test_write_without_data(void)
{
    uint8_t *before = page_alloc(BLK_SECTOR);

    if (!ready())
        return;
    struct virtq_segment segments[] = {
        {header, sizeof(*header)}, {data, BLK_SECTOR}, {(const void *)status, 1}};
    header->type = BLK_T_OUT;
    header->sector = SCRATCH;
    memcpy(before, data, BLK_SECTOR);
    SKIP_ON_QEMU("takes a write of nothing for done");
    refused(segments, 1, 2);
    CHECK(!memcmp(before, data, BLK_SECTOR), "a write request wrote to memory");
}

static void test_get_id_short(void)
{
    if (!ready())
        return;
    struct virtq_segment segments[] = {
        {header, sizeof(*header)}, {data, 4}, {(const void *)status, 1}};
    header->type = BLK_T_GET_ID;
    virtq_add(target.queue, segments, 1, 2);
    virtq_notify(target.queue);
    CHECK(target_outcome(&target, OUTCOME_BROKEN | OUTCOME_REFUSED) != OUTCOME_IGNORED,
          "no answer");
    for (unsigned int i = 4; i < 64; i++)
        CHECK(data[i] == 0, "byte %u behind a buffer of 4 was written", i);
    target_recovers(dut);
}

static void test_flush_with_data(void)
{
    if (!ready())
        return;
    struct virtq_segment segments[] = {
        {header, sizeof(*header)}, {data, BLK_SECTOR}, {(const void *)status, 1}};
    header->type = BLK_T_FLUSH;
    header->sector = 12345;
    virtq_add(target.queue, segments, 2, 1);
    virtq_notify(target.queue);
    CHECK(target_outcome(&target, OUTCOME_BROKEN | OUTCOME_REFUSED) != OUTCOME_IGNORED,
          "no answer");
    target_recovers(dut);
}

static void bad_range(uint32_t type, const struct blk_range *range, uint32_t length)
{
    if (!ready())
        return;
    struct virtq_segment segments[] = {
        {header, sizeof(*header)}, {data, length}, {(const void *)status, 1}};
    header->type = type;
    memcpy(data, range, sizeof(*range));
    refused(segments, 2, 1);
}

static void bad_ranges(uint32_t type)
{
    uint64_t capacity = blk_capacity(dut);
    const struct blk_range ranges[] = {
        {capacity, 1, 0},         {capacity - 1, 2, 0}, {~0ul, 1, 0},      {~0ul - 7, 16, 0},
        {SCRATCH, 0xffffffff, 0}, {SCRATCH, 8, 0xfe},   {1ul << 55, 8, 0},
    };

    for (unsigned int i = 0; i < ARRAY_SIZE(ranges); i++)
        bad_range(type, &ranges[i], sizeof(*ranges));
    bad_range(type, &(struct blk_range){SCRATCH, 8, 0}, 15);
    bad_range(type, &(struct blk_range){SCRATCH, 8, 0}, 17);
    bad_range(type, &(struct blk_range){SCRATCH, 8, 0}, 1);
}

static void test_discard_ranges(void)
{
    SKIP_IF(!(virtio_offered(dut) & BLK_F_DISCARD), "not offered");
    bad_ranges(BLK_T_DISCARD);
}

static void test_write_zeroes_ranges(void)
{
    SKIP_IF(!(virtio_offered(dut) & BLK_F_WRITE_ZEROES), "not offered");
    bad_ranges(BLK_T_WRITE_ZEROES);
}

/* The range is read once: it changes while the request is under way. */
static void test_range_race(void)
{
    volatile struct blk_range *range;
    uint8_t *guard = page_alloc(BLK_SECTOR);

    SKIP_IF(!(virtio_offered(dut) & BLK_F_WRITE_ZEROES), "not offered");
    SKIP_IF(virtio_offered(dut) & BLK_F_RO, "read-only disk");
    if (!ready())
        return;
    fill_pattern(guard, BLK_SECTOR, 21);
    CHECK(blk_transfer(target.queue, BLK_T_OUT, SCRATCH - 1, guard, BLK_SECTOR) == BLK_S_OK,
          "write");
    struct virtq_segment segments[] = {
        {header, sizeof(*header)}, {data, sizeof(*range)}, {(const void *)status, 1}};
    range = (volatile struct blk_range *)data;
    header->type = BLK_T_WRITE_ZEROES;
    for (unsigned int round = 0; round < 100; round++) {
        struct virtq_used_elem elem;

        range->sector = SCRATCH;
        range->sectors = 8;
        virtq_add(target.queue, segments, 2, 1);
        virtq_notify(target.queue);
        for (unsigned int i = 0; i < 100; i++)
            range->sector = i & 1 ? SCRATCH : ~0ul - i;
        CHECK(virtq_wait(target.queue, &elem, REQUEST_TIMEOUT_MS), "round %u", round);
    }
    CHECK(blk_transfer(target.queue, BLK_T_IN, SCRATCH - 1, guard, BLK_SECTOR) == BLK_S_OK, "read");
    CHECK(match_pattern(guard, BLK_SECTOR, 21), "a sector outside the range was cleared");
}

static void test_sector_race(void)
{
    if (!ready())
        return;
    struct virtq_segment segments[] = {
        {header, sizeof(*header)}, {data, BLK_SECTOR}, {(const void *)status, 1}};
    for (unsigned int round = 0; round < 200; round++) {
        struct virtq_used_elem elem;

        header->type = BLK_T_IN;
        header->sector = 0;
        virtq_add(target.queue, segments, 1, 2);
        virtq_notify(target.queue);
        for (unsigned int i = 0; i < 100; i++)
            ((volatile struct blk_header *)header)->sector ^= ~0ul - i;
        CHECK(virtq_wait(target.queue, &elem, REQUEST_TIMEOUT_MS), "round %u", round);
    }
    target_recovers(dut);
}

static void test_config_writes(void)
{
    uint64_t before = blk_capacity(dut);

    for (unsigned int i = 0; i < 60; i += 4)
        mmio_write32(dut->config + i, 0xffffffff);
    CHECK(blk_capacity(dut) == before, "the capacity is writable");
    target_recovers(dut);
}

static const struct test tests[] = {
    {"header cut short", test_header_cut},
    {"no status byte", test_no_status},
    {"writable header", test_header_writable},
    {"read without room", test_read_without_room},
    {"write without data", test_write_without_data},
    {"GET_ID into four bytes", test_get_id_short},
    {"flush with data", test_flush_with_data},
    {"discard of bad ranges", test_discard_ranges},
    {"write zeroes of bad ranges", test_write_zeroes_ranges},
    {"range changes in flight", test_range_race},
    {"header changes in flight", test_sector_race},
    {"configuration writes", test_config_writes},
};

const struct suite suite_hostile_blk = {
    .name = "hostile-blk",
    .device_type = VIRTIO_TYPE_BLK,
    .tests = tests,
    .count = ARRAY_SIZE(tests),
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk (virtio 1.2, 5.2). The host numbers the first SEEDED sectors: each starts with its own
 * number, 64-bit little-endian. The tests write from SCRATCH on.
 */
#include "../lib/blk.h"

#define SEEDED      2048
#define SCRATCH     32768 /* sectors: 16 MiB */
#define QUEUE_DEPTH 32
#define ID_BYTES    20

static struct virtq queue;

static bool start(uint64_t features)
{
    return virtio_start(dut, &(struct virtio_options){.features = BLK_FEATURES | features}, &queue,
                        1);
}

static bool read_only(void)
{
    return virtio_offered(dut) & BLK_F_RO;
}

static void test_capacity(void)
{
    uint64_t capacity = blk_capacity(dut);
    uint8_t *data = page_alloc(BLK_SECTOR);

    CHECK(capacity >= SEEDED, "%lu sectors", capacity);
    if (!start(0))
        return;
    CHECK(blk_transfer(&queue, BLK_T_IN, capacity - 1, data, BLK_SECTOR) == BLK_S_OK,
          "the last sector");
}

static void test_read(void)
{
    uint8_t *data = page_alloc(SEEDED * BLK_SECTOR);

    if (!start(0))
        return;
    CHECK(blk_transfer(&queue, BLK_T_IN, 0, data, SEEDED * BLK_SECTOR) == BLK_S_OK, "1 MiB");
    for (uint64_t i = 0; i < SEEDED; i++)
        CHECK(*(uint64_t *)(data + i * BLK_SECTOR) == i, "sector %lu holds other data", i);
    CHECK(blk_transfer(&queue, BLK_T_IN, 77, data, BLK_SECTOR) == BLK_S_OK, "one sector");
    CHECK(*(uint64_t *)data == 77, "sector 77 holds %lu", *(uint64_t *)data);
}

static void write_read_back(uint32_t size, uint32_t seed)
{
    uint8_t *out = page_alloc(size), *in = page_alloc(size);
    uint8_t status;

    fill_pattern(out, size, seed);
    status = blk_transfer(&queue, BLK_T_OUT, SCRATCH, out, size);
    CHECK(status == BLK_S_OK, "write of %u: status %u", size, status);
    status = blk_transfer(&queue, BLK_T_IN, SCRATCH, in, size);
    CHECK(status == BLK_S_OK, "read of %u: status %u", size, status);
    CHECK(match_pattern(in, size, seed), "other data of %u bytes came back", size);
}

static void test_write_direct(void)
{
    SKIP_IF(read_only(), "read-only disk");
    if (!start(0))
        return;
    write_read_back(BLK_SECTOR, 1);
    write_read_back(4096, 2);
    write_read_back(1 << 20, 3);
}

static void test_write_indirect(void)
{
    SKIP_IF(read_only(), "read-only disk");
    if (!start(VIRTIO_F_INDIRECT_DESC))
        return;
    write_read_back(BLK_SECTOR, 4);
    write_read_back(1 << 20, 5);
}

static void test_write_event_idx(void)
{
    SKIP_IF(read_only(), "read-only disk");
    if (!start(VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX))
        return;
    for (uint32_t i = 0; i < 600 && !tap_failed(); i++)
        write_read_back(BLK_SECTOR, 100 + i);
}

static void test_flush(void)
{
    uint8_t status;

    SKIP_IF(!(virtio_offered(dut) & BLK_F_FLUSH), "not offered");
    if (!start(0))
        return;
    status = blk_transfer(&queue, BLK_T_FLUSH, 0, NULL, 0);
    CHECK(status == BLK_S_OK, "status %u", status);
}

static void test_get_id(void)
{
    const char *serial = parameter("serial");
    char *id = page_alloc(ID_BYTES + 1);

    if (!start(0))
        return;
    CHECK(blk_transfer(&queue, BLK_T_GET_ID, 0, id, ID_BYTES) == BLK_S_OK, "status");
    SKIP_IF(!serial || !string_equal(dut->name, "blk0"), "no serial number to compare: \"%s\"", id);
    CHECK(string_equal(id, serial), "\"%s\"", id);
}

static void test_out_of_range(void)
{
    static const uint64_t beyond[] = {0, 1, 1ul << 32, 1ul << 55, ~0ul, ~0ul >> 9};
    uint8_t *data = page_alloc(2 * BLK_SECTOR);
    uint64_t capacity = blk_capacity(dut);

    if (!start(0))
        return;
    for (unsigned int i = 0; i < ARRAY_SIZE(beyond); i++) {
        uint64_t sector = beyond[i] < 2 ? capacity + beyond[i] : beyond[i];
        uint8_t in = blk_transfer(&queue, BLK_T_IN, sector, data, BLK_SECTOR);
        uint8_t out = blk_transfer(&queue, BLK_T_OUT, sector, data, BLK_SECTOR);

        CHECK(in == BLK_S_IOERR, "read of sector 0x%lx: status %u", sector, in);
        CHECK(out == BLK_S_IOERR, "write of sector 0x%lx: status %u", sector, out);
    }
    CHECK(blk_transfer(&queue, BLK_T_IN, capacity - 1, data, 2 * BLK_SECTOR) == BLK_S_IOERR,
          "across the end");
    CHECK(blk_transfer(&queue, BLK_T_IN, capacity - 1, data, BLK_SECTOR) == BLK_S_OK,
          "not usable afterwards");
}

static void test_misaligned_length(void)
{
    static const uint32_t lengths[] = {1, 511, 513, 4095};
    uint8_t *data = page_alloc(4096);

    if (!start(0))
        return;
    for (unsigned int i = 0; i < ARRAY_SIZE(lengths); i++) {
        uint8_t status = blk_transfer(&queue, BLK_T_IN, 0, data, lengths[i]);

        CHECK(status == BLK_S_IOERR, "%u bytes: status %u", lengths[i], status);
    }
}

static void test_unsupported_type(void)
{
    static const uint32_t types[] = {6, 77, 0x7fffffff};
    uint8_t *data = page_alloc(BLK_SECTOR);

    if (!start(0))
        return;
    for (unsigned int i = 0; i < ARRAY_SIZE(types); i++) {
        uint8_t status = blk_transfer(&queue, types[i], 0, data, BLK_SECTOR);

        CHECK(status == BLK_S_UNSUPP, "type %u: status %u", types[i], status);
    }
}

static void test_many_segments(void)
{
    struct virtq_segment segments[BLK_SEGMENTS_MAX];
    struct blk_request *request = page_alloc(sizeof(*request));
    uint32_t limit = mmio_read32(dut->config + BLK_CONFIG_SEG_MAX),
             count = MIN(limit, BLK_SEGMENTS_MAX);
    uint8_t *data = page_alloc(2 * BLK_SEGMENTS_MAX * BLK_SECTOR);
    struct virtq_used_elem elem;

    SKIP_IF(!(virtio_offered(dut) & BLK_F_SEG_MAX), "no SEG_MAX");
    CHECK(count >= 2, "seg_max %u", limit);
    for (unsigned int indirect = 0; indirect < 2; indirect++) {
        if (!start(indirect ? VIRTIO_F_INDIRECT_DESC : 0))
            return;
        memset(data, 0xff, 2 * BLK_SEGMENTS_MAX * BLK_SECTOR);
        for (uint32_t i = 0; i < count; i++)
            segments[i] = (struct virtq_segment){data + 2 * i * BLK_SECTOR, BLK_SECTOR};
        blk_submit(&queue, request, BLK_T_IN, 5, segments, count, false);
        virtq_kick(&queue);
        CHECK(virtq_wait(&queue, &elem, REQUEST_TIMEOUT_MS), "no answer");
        CHECK(request->status == BLK_S_OK && elem.len == count * BLK_SECTOR + 1,
              "status %u length %u", request->status, elem.len);
        for (uint64_t i = 0; i < count; i++)
            CHECK(*(uint64_t *)(data + 2 * i * BLK_SECTOR) == 5 + i, "segment %lu", i);
        CHECK(data[BLK_SECTOR] == 0xff, "written between the segments");
    }
}

/* Framing is the driver's choice (2.7.4.2): header and data cut anywhere, status behind data in one
 * buffer. */
static void test_odd_framing(void)
{
    struct blk_header *header = page_alloc(sizeof(*header));
    uint8_t *data = page_alloc(BLK_SECTOR + 1);
    struct virtq_segment segments[] = {
        {header, 7}, {(uint8_t *)header + 7, 9}, {data, 100}, {data + 100, 411}, {data + 511, 2},
    };
    uint32_t length = 0;

    header->sector = 9;
    data[BLK_SECTOR] = BLK_S_NONE;
    if (!start(0) || !virtq_request(&queue, segments, 2, 3, &length))
        return;
    CHECK(data[BLK_SECTOR] == BLK_S_OK, "status %u", data[BLK_SECTOR]);
    CHECK(length == BLK_SECTOR + 1 && *(uint64_t *)data == 9, "length %u, sector %lu", length,
          *(uint64_t *)data);
}

static void test_high_memory(void)
{
    struct blk_request *request = page_alloc(sizeof(*request));
    uint64_t high = memory_high_ram();
    struct virtq_used_elem elem;
    volatile uint8_t *data;

    SKIP_IF(!high, "no RAM above 4 GiB");
    data = physical_map(high, 4096);
    if (!start(0))
        return;
    blk_submit(&queue, request, BLK_T_IN, 20, &(struct virtq_segment){(void *)high, 4096}, 1,
               false);
    virtq_kick(&queue);
    CHECK(virtq_wait(&queue, &elem, REQUEST_TIMEOUT_MS), "no answer");
    CHECK(request->status == BLK_S_OK, "status %u", request->status);
    for (uint64_t i = 0; i < 8; i++)
        CHECK(*(volatile uint64_t *)(data + i * BLK_SECTOR) == 20 + i, "sector %lu", 20 + i);
}

static void test_queue_depth(void)
{
    struct blk_request *requests = page_alloc(QUEUE_DEPTH * sizeof(*requests));
    uint8_t *data = page_alloc(QUEUE_DEPTH * 4096);
    struct virtq_used_elem elem;
    uint32_t seen = 0;

    if (!start(VIRTIO_F_INDIRECT_DESC))
        return;
    for (uint32_t i = 0; i < QUEUE_DEPTH; i++) {
        struct virtq_segment segment = {data + i * 4096, 4096};

        CHECK(blk_submit(&queue, &requests[i], BLK_T_IN, i * 8, &segment, 1, false) >= 0,
              "request %u", i);
    }
    virtq_kick(&queue);
    for (uint32_t i = 0; i < QUEUE_DEPTH; i++) {
        CHECK(virtq_wait(&queue, &elem, REQUEST_TIMEOUT_MS), "completion %u", i);
        CHECK(elem.id < QUEUE_DEPTH && !(seen >> elem.id & 1), "head %u comes twice", elem.id);
        seen |= 1u << elem.id;
    }
    for (uint64_t i = 0; i < QUEUE_DEPTH; i++)
        CHECK(requests[i].status == BLK_S_OK && *(uint64_t *)(data + i * 4096) == i * 8,
              "request %lu", i);
}

static void test_full_ring(void)
{
    struct blk_request *requests;
    uint8_t *data = page_alloc(4096);
    struct virtq_used_elem elem;
    unsigned int count = 0;

    if (!start(VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX))
        return;
    requests = page_alloc(queue.size * sizeof(*requests));
    for (unsigned int round = 0; round < 3; round++) {
        for (count = 0; count < queue.size; count++) {
            struct virtq_segment segment = {data, BLK_SECTOR};

            CHECK(blk_submit(&queue, &requests[count], BLK_T_IN, count, &segment, 1, false) >= 0,
                  "request %u", count);
        }
        virtq_kick(&queue);
        while (count--)
            CHECK(virtq_wait(&queue, &elem, REQUEST_TIMEOUT_MS), "%u of round %u missing", count,
                  round);
    }
}

static void test_read_only_refuses(void)
{
    uint8_t *data = page_alloc(BLK_SECTOR), *before = page_alloc(BLK_SECTOR);
    struct blk_range *range = page_alloc(sizeof(*range));
    uint8_t status;

    SKIP_IF(!read_only(), "writable disk");
    if (!start(0))
        return;
    blk_transfer(&queue, BLK_T_IN, 3, before, BLK_SECTOR);
    status = blk_transfer(&queue, BLK_T_OUT, 3, data, BLK_SECTOR);
    CHECK(status == BLK_S_IOERR, "write: status %u", status);
    range->sector = 3;
    range->sectors = 1;
    status = blk_transfer(&queue, BLK_T_WRITE_ZEROES, 0, range, sizeof(*range));
    CHECK(status == BLK_S_IOERR || status == BLK_S_UNSUPP, "write zeroes: status %u", status);
    blk_transfer(&queue, BLK_T_IN, 3, data, BLK_SECTOR);
    CHECK(!memcmp(before, data, BLK_SECTOR), "the sector changed");
}

static void clear_range(uint32_t type, bool must_be_zero)
{
    uint8_t *data = page_alloc(16 * BLK_SECTOR);
    struct blk_range *range = page_alloc(sizeof(*range));
    uint8_t status;

    fill_pattern(data, 16 * BLK_SECTOR, 11);
    CHECK(blk_transfer(&queue, BLK_T_OUT, SCRATCH, data, 16 * BLK_SECTOR) == BLK_S_OK, "write");
    *range = (struct blk_range){.sector = SCRATCH + 8, .sectors = 8};
    status = blk_transfer(&queue, type, 0, range, sizeof(*range));
    CHECK(status == BLK_S_OK, "status %u", status);
    CHECK(blk_transfer(&queue, BLK_T_IN, SCRATCH, data, 16 * BLK_SECTOR) == BLK_S_OK, "read");
    CHECK(match_pattern(data, 8 * BLK_SECTOR, 11), "neighbours changed");
    for (unsigned int i = 8 * BLK_SECTOR; must_be_zero && i < 16 * BLK_SECTOR; i++)
        CHECK(data[i] == 0, "byte %u is 0x%x", i, data[i]);
    *range = (struct blk_range){.sector = blk_capacity(dut) - 1, .sectors = 8};
    status = blk_transfer(&queue, type, 0, range, sizeof(*range));
    CHECK(status == BLK_S_IOERR, "across the end: status %u", status);
    *range = (struct blk_range){.sector = ~0ul, .sectors = 8};
    status = blk_transfer(&queue, type, 0, range, sizeof(*range));
    CHECK(status == BLK_S_IOERR, "sector overflow: status %u", status);
    *range = (struct blk_range){.sector = SCRATCH, .sectors = 8, .flags = 0x80000000};
    status = blk_transfer(&queue, type, 0, range, sizeof(*range));
    CHECK(status == BLK_S_UNSUPP, "unknown flag: status %u", status);
}

static void test_discard(void)
{
    SKIP_IF(read_only() || !(virtio_offered(dut) & BLK_F_DISCARD), "not offered");
    if (start(0))
        clear_range(BLK_T_DISCARD, false);
}

static void test_write_zeroes(void)
{
    SKIP_IF(read_only() || !(virtio_offered(dut) & BLK_F_WRITE_ZEROES), "not offered");
    if (start(0))
        clear_range(BLK_T_WRITE_ZEROES, true);
}

static void test_second_queue(void)
{
    uint8_t *data = page_alloc(BLK_SECTOR);
    struct virtq queues[2];

    SKIP_IF(virtio_queue_count(dut) < 2 || !(virtio_offered(dut) & BLK_F_MQ), "one queue");
    if (!virtio_start(dut, &(struct virtio_options){.features = BLK_FEATURES | BLK_F_MQ}, queues,
                      2))
        return;
    CHECK(blk_transfer(&queues[1], BLK_T_IN, 6, data, BLK_SECTOR) == BLK_S_OK && data[0] == 6,
          "queue 1");
    CHECK(blk_transfer(&queues[0], BLK_T_IN, 7, data, BLK_SECTOR) == BLK_S_OK && data[0] == 7,
          "queue 0");
}

static const struct test tests[] = {
    {"capacity", test_capacity},
    {"read", test_read},
    {"write and read back", test_write_direct},
    {"indirect", test_write_indirect},
    {"EVENT_IDX", test_write_event_idx},
    {"flush", test_flush},
    {"GET_ID", test_get_id},
    {"out of range", test_out_of_range},
    {"misaligned length", test_misaligned_length},
    {"unsupported type", test_unsupported_type},
    {"many segments", test_many_segments},
    {"odd framing", test_odd_framing},
    {"buffer above 4 GiB", test_high_memory},
    {"queue depth 32", test_queue_depth},
    {"full ring, three rounds", test_full_ring},
    {"read-only disk refuses writes", test_read_only_refuses},
    {"discard", test_discard},
    {"write zeroes", test_write_zeroes},
    {"second queue", test_second_queue},
};

const struct suite suite_blk = {
    .name = "blk",
    .device_type = VIRTIO_TYPE_BLK,
    .tests = tests,
    .count = ARRAY_SIZE(tests),
};

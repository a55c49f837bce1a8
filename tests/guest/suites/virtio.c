/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every virtio-pci device owes its driver (virtio 1.2: 2.1 status, 2.2 features, 2.4
 * resets, 3.1 initialisation, 4.1.4.3 common configuration, 4.1.4.5 ISR, 4.1.5.1.2 MSI-X vectors).
 */
#include "../lib/virtio.h"

#define STATUS_SETUP    (VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER)
#define UNKNOWN_FEATURE (1ul << 57)
#define QUEUE_SIZE_MAX  32768

static void test_version_1_offered(void)
{
    uint64_t offered = virtio_offered(dut);

    CHECK(offered & VIRTIO_F_VERSION_1, "features 0x%lx", offered);
    CHECK(offered & VIRTIO_F_INDIRECT_DESC, "no INDIRECT_DESC: 0x%lx", offered);
    CHECK(offered & VIRTIO_F_EVENT_IDX, "no EVENT_IDX: 0x%lx", offered);
}

static void test_feature_selects(void)
{
    static const uint32_t selects[] = {2, 3, 31, 32, 0x7fffffff, 0xffffffff};

    for (unsigned int i = 0; i < ARRAY_SIZE(selects); i++) {
        mmio_write32(dut->common + COMMON_DEVICE_FEATURE_SELECT, selects[i]);
        CHECK(mmio_read32(dut->common + COMMON_DEVICE_FEATURE) == 0, "select 0x%x", selects[i]);
        mmio_write32(dut->common + COMMON_DRIVER_FEATURE_SELECT, selects[i]);
        mmio_write32(dut->common + COMMON_DRIVER_FEATURE, ~0u);
    }
    CHECK(virtio_negotiate(dut, 0), "not negotiable afterwards");
}

static void test_reset(void)
{
    struct virtq queue;
    uint16_t size = virtio_queue_size(dut, 0);

    if (!virtio_start(dut, &(struct virtio_options){.queue_max = (uint16_t)(size / 2)}, &queue, 1))
        return;
    CHECK(virtio_status(dut) ==
              (STATUS_SETUP | VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK),
          "status 0x%x", virtio_status(dut));
    CHECK(virtio_reset(dut), "status 0x%x after reset", virtio_status(dut));
    CHECK(virtio_queue_size(dut, 0) == size, "queue size %u, at first %u",
          virtio_queue_size(dut, 0), size);
    CHECK(mmio_read16(dut->common + COMMON_QUEUE_ENABLE) == 0, "queue still enabled");
    CHECK(mmio_read16(dut->common + COMMON_QUEUE_MSIX_VECTOR) == VIRTIO_NO_VECTOR,
          "queue vector kept");
    CHECK(mmio_read8(dut->isr) == 0, "ISR set after reset");
    CHECK(virtio_reset(dut), "a second reset");
}

/* FEATURES_OK must not stay set when the driver's choice cannot work (2.2.2, 6.1). */
static bool features_refused(uint64_t features)
{
    virtio_reset(dut);
    virtio_set_status(dut, STATUS_SETUP);
    virtio_accept(dut, features);
    virtio_set_status(dut, STATUS_SETUP | VIRTIO_STATUS_FEATURES_OK);
    return !(virtio_status(dut) & VIRTIO_STATUS_FEATURES_OK);
}

static void test_needs_version_1(void)
{
    SKIP_ON_QEMU("takes FEATURES_OK without VERSION_1");
    CHECK(features_refused(0), "no feature at all was accepted");
    CHECK(features_refused(virtio_offered(dut) & ~VIRTIO_F_VERSION_1),
          "all but VERSION_1 was accepted");
}

static void test_unknown_feature(void)
{
    SKIP_ON_QEMU("drops unknown bits and goes on");
    CHECK(!(virtio_offered(dut) & UNKNOWN_FEATURE), "bit 57 is offered");
    CHECK(features_refused(VIRTIO_F_VERSION_1 | UNKNOWN_FEATURE),
          "an unknown feature was accepted");
    CHECK(features_refused(~0ul), "all ones were accepted");
}

static void test_features_frozen(void)
{
    uint64_t before;

    SKIP_ON_QEMU("driver_feature reads back what was written last, in force or not");
    CHECK(virtio_negotiate(dut, VIRTIO_F_EVENT_IDX), "negotiation");
    before = dut->features;
    mmio_write32(dut->common + COMMON_DRIVER_FEATURE_SELECT, 0);
    mmio_write32(dut->common + COMMON_DRIVER_FEATURE, 0);
    CHECK(mmio_read32(dut->common + COMMON_DRIVER_FEATURE) == (uint32_t)before,
          "changed after FEATURES_OK");
}

static void test_queue_sizes(void)
{
    uint16_t count = virtio_queue_count(dut);

    CHECK(count >= 1, "no queues");
    for (uint16_t i = 0; i < count; i++) {
        uint16_t size = virtio_queue_size(dut, i);

        CHECK(size && !(size & (size - 1)) && size <= QUEUE_SIZE_MAX, "queue %u size %u", i, size);
    }
    CHECK(virtio_queue_size(dut, count) == 0, "queue %u beyond the last has size %u", count,
          virtio_queue_size(dut, count));
    CHECK(virtio_queue_size(dut, 0xffff) == 0, "queue 65535 has size %u",
          virtio_queue_size(dut, 0xffff));
}

static void test_queue_size_lower(void)
{
    virtio_reset(dut);
    virtio_queue_size(dut, 0);
    mmio_write16(dut->common + COMMON_QUEUE_SIZE, 8);
    CHECK(virtio_queue_size(dut, 0) == 8, "reads %u", virtio_queue_size(dut, 0));
}

/* Refused at once, or by NEEDS_RESET when the driver goes on with it. */
static void test_queue_size_bad(void)
{
    uint16_t size = virtio_queue_size(dut, 0);
    const uint16_t bad[] = {0, 3, (uint16_t)(size - 1), (uint16_t)(size * 2), 0x8001, 0xffff};
    struct virtq queue;

    SKIP_ON_QEMU("takes any size from 1 to 1024");
    for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
        if (!virtio_negotiate(dut, 0) || !virtq_setup(dut, &queue, 0, &(struct virtio_options){0}))
            return;
        virtio_queue_size(dut, 0);
        mmio_write16(dut->common + COMMON_QUEUE_SIZE, bad[i]);
        if (virtio_queue_size(dut, 0) == size)
            continue;
        virtq_enable(&queue);
        virtio_set_status(dut, STATUS_SETUP | VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK);
        CHECK(virtio_needs_reset(dut), "went on with a queue of %u", bad[i]);
    }
}

static void test_queue_enable(void)
{
    struct virtq queue;

    if (!virtio_negotiate(dut, 0) || !virtq_setup(dut, &queue, 0, &(struct virtio_options){0}))
        return;
    CHECK(mmio_read16(dut->common + COMMON_QUEUE_ENABLE) == 0, "enabled before it was asked for");
    virtq_enable(&queue);
    CHECK(mmio_read16(dut->common + COMMON_QUEUE_ENABLE) == 1, "reads %u",
          mmio_read16(dut->common + COMMON_QUEUE_ENABLE));
    CHECK(mmio_read32(dut->common + COMMON_QUEUE_DESC) == (uint32_t)physical_address(queue.desc),
          "queue_desc");
    CHECK(mmio_read32(dut->common + COMMON_QUEUE_DESC + 4) == 0, "queue_desc, high half");
}

/* CVE-2026-5747: the configuration of a live queue is not the driver's to change. */
static void test_queue_frozen(void)
{
    struct virtq queue;
    uint16_t size;
    uint32_t desc;

    SKIP_ON_QEMU("queue_size stays writable after DRIVER_OK");
    if (!virtio_start(dut, &(struct virtio_options){0}, &queue, 1))
        return;
    size = virtio_queue_size(dut, 0);
    desc = mmio_read32(dut->common + COMMON_QUEUE_DESC);
    mmio_write16(dut->common + COMMON_QUEUE_SIZE, (uint16_t)(size / 2));
    virtio_write64(dut, COMMON_QUEUE_DESC, ~0ul);
    virtio_write64(dut, COMMON_QUEUE_DRIVER, ~0ul);
    virtio_write64(dut, COMMON_QUEUE_DEVICE, ~0ul);
    mmio_write16(dut->common + COMMON_QUEUE_ENABLE, 0);
    CHECK(virtio_queue_size(dut, 0) == size, "size now %u", virtio_queue_size(dut, 0));
    CHECK(mmio_read32(dut->common + COMMON_QUEUE_DESC) == desc, "queue_desc changed");
    CHECK(mmio_read16(dut->common + COMMON_QUEUE_ENABLE) == 1, "disabled");
}

static void test_config_generation(void)
{
    uint8_t first = mmio_read8(dut->common + COMMON_CONFIG_GENERATION);

    delay_us(1000);
    CHECK(mmio_read8(dut->common + COMMON_CONFIG_GENERATION) == first, "changes by itself");
}

static void test_vectors(void)
{
    static const unsigned int registers[] = {COMMON_CONFIG_MSIX_VECTOR, COMMON_QUEUE_MSIX_VECTOR};
    uint16_t count = dut->pci.msix_count;

    SKIP_IF(!count, "no MSI-X");
    CHECK(virtio_negotiate(dut, 0), "negotiation");
    msix_enable(&dut->pci, true);
    virtio_queue_size(dut, 0);
    for (unsigned int i = 0; i < ARRAY_SIZE(registers); i++) {
        volatile uint8_t *at = dut->common + registers[i];

        CHECK(mmio_read16(at) == VIRTIO_NO_VECTOR, "0x%x at first 0x%x", registers[i],
              mmio_read16(at));
        mmio_write16(at, (uint16_t)(count - 1));
        CHECK(mmio_read16(at) == count - 1, "the last vector reads 0x%x", mmio_read16(at));
        mmio_write16(at, count);
        CHECK(mmio_read16(at) == VIRTIO_NO_VECTOR, "vector %u of %u reads 0x%x", count, count,
              mmio_read16(at));
        mmio_write16(at, 0);
        mmio_write16(at, VIRTIO_NO_VECTOR);
        CHECK(mmio_read16(at) == VIRTIO_NO_VECTOR, "NO_VECTOR reads 0x%x", mmio_read16(at));
    }
}

static void test_status_bits(void)
{
    virtio_reset(dut);
    virtio_set_status(dut, VIRTIO_STATUS_ACKNOWLEDGE);
    CHECK(virtio_status(dut) == VIRTIO_STATUS_ACKNOWLEDGE, "0x%x after ACKNOWLEDGE",
          virtio_status(dut));
    virtio_set_status(dut, STATUS_SETUP);
    CHECK(virtio_status(dut) == STATUS_SETUP, "0x%x after DRIVER", virtio_status(dut));
    virtio_set_status(dut, STATUS_SETUP | VIRTIO_STATUS_FAILED);
    CHECK(virtio_status(dut) & VIRTIO_STATUS_FAILED, "0x%x after FAILED", virtio_status(dut));
}

static const struct test tests[] = {
    {"VERSION_1, INDIRECT_DESC and EVENT_IDX offered", test_version_1_offered},
    {"feature selects from 2 on read 0", test_feature_selects},
    {"status bits", test_status_bits},
    {"reset", test_reset},
    {"FEATURES_OK needs VERSION_1", test_needs_version_1},
    {"FEATURES_OK refuses unknown features", test_unknown_feature},
    {"features frozen after FEATURES_OK", test_features_frozen},
    {"queue sizes", test_queue_sizes},
    {"queue size can be lowered", test_queue_size_lower},
    {"bad queue sizes", test_queue_size_bad},
    {"queue enable", test_queue_enable},
    {"queue registers frozen after DRIVER_OK", test_queue_frozen},
    {"config generation is stable", test_config_generation},
    {"MSI-X vector registers", test_vectors},
};

const struct suite suite_virtio = {
    .name = "virtio",
    .device_type = VIRTIO_TYPE_ANY,
    .tests = tests,
    .count = ARRAY_SIZE(tests),
};

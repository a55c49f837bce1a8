/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings where no ring may be, queues of impossible shape, and requests at the wrong time
 * (virtio 1.2: 2.7 alignment, 3.1.1 initialisation, 4.1.4.3 common configuration, 4.1.5.2
 * notifications).
 */
#include "../lib/blk.h"
#include "../lib/target.h"

#define IN_FLIGHT 64
#define QUIET_MS  100

static struct target target;

static bool known(void)
{
    if (target_known(dut))
        return true;
    tap_skip("no valid request known for type %u", dut->type);
    return false;
}

static void driver_ok(void)
{
    virtio_set_status(dut, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
                               VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK);
}

static bool setup_queue(void)
{
    if (tap_failed() || !target_prepare(&target, dut, 0))
        return false;
    return virtq_setup(dut, target.queue, (uint16_t)(target.queue - target.queues),
                       &(struct virtio_options){0});
}

/* Puts one ring of the queue that has been set up at `address` and lets the device run into it. */
static void bad_ring(unsigned int reg, uint64_t address, const char *qemu)
{
    unsigned int outcome;

    target_chain(&target);
    virtio_queue_size(dut, target.queue->index);
    virtio_write64(dut, reg, address);
    virtq_enable(target.queue);
    driver_ok();
    virtq_publish(target.queue, 0);
    virtq_notify(target.queue);
    outcome = target_outcome(&target, OUTCOME_BROKEN | OUTCOME_IGNORED);
    if (!(outcome & (OUTCOME_BROKEN | OUTCOME_IGNORED)) && reference_is_qemu())
        tap_skip("qemu: %s", qemu);
    else
        CHECK(outcome & (OUTCOME_BROKEN | OUTCOME_IGNORED), "register 0x%x = 0x%lx: outcome %u",
              reg, address, outcome);
    target_recovers(dut);
}

static void test_outside_ram(void)
{
    static const unsigned int registers[] = {COMMON_QUEUE_DESC, COMMON_QUEUE_DRIVER,
                                             COMMON_QUEUE_DEVICE};
    const uint64_t bad[] = {0xd0000000, 0xfee00000, 1ul << 45, memory_low_ram_end() - 16};

    if (!known())
        return;
    for (unsigned int r = 0; r < ARRAY_SIZE(registers); r++) {
        for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
            if (setup_queue())
                bad_ring(registers[r], bad[i], "a ring in unassigned memory reads as zeroes");
        }
    }
}

static void test_wrapping(void)
{
    static const unsigned int registers[] = {COMMON_QUEUE_DESC, COMMON_QUEUE_DRIVER,
                                             COMMON_QUEUE_DEVICE};

    if (!known())
        return;
    for (unsigned int r = 0; r < ARRAY_SIZE(registers); r++) {
        if (setup_queue())
            bad_ring(registers[r], ~0ul & ~15ul, "a ring in unassigned memory reads as zeroes");
    }
}

/* The driver's side moves along: a device that does not care about alignment would serve it. */
static void misaligned(unsigned int reg, uint64_t by)
{
    uint8_t *ring = (uint8_t *)page_alloc(16 * PAGE_SIZE) + by;

    if (!setup_queue())
        return;
    if (reg == COMMON_QUEUE_DESC)
        target.queue->desc = (struct virtq_desc *)ring;
    else if (reg == COMMON_QUEUE_DRIVER)
        target.queue->avail = (volatile uint16_t *)ring;
    else
        target.queue->used = (volatile uint16_t *)ring;
    bad_ring(reg, physical_address(ring), "does not check alignment");
}

static void test_misaligned(void)
{
    if (!known())
        return;
    misaligned(COMMON_QUEUE_DESC, 8);
    misaligned(COMMON_QUEUE_DESC, 1);
    misaligned(COMMON_QUEUE_DRIVER, 1);
    misaligned(COMMON_QUEUE_DEVICE, 2);
    misaligned(COMMON_QUEUE_DEVICE, 1);
}

/* Used ring, avail ring and descriptors in one place: the device eats its own words. */
static void test_overlapping(void)
{
    uint8_t *ring = page_alloc(16 * PAGE_SIZE);

    SKIP_ON_QEMU("what the overlap makes available can be without end");
    if (!known() || !target_prepare(&target, dut, 0))
        return;
    virtio_queue_size(dut, (uint16_t)(target.queue - target.queues));
    virtio_write64(dut, COMMON_QUEUE_DESC, physical_address(ring));
    virtio_write64(dut, COMMON_QUEUE_DRIVER, physical_address(ring));
    virtio_write64(dut, COMMON_QUEUE_DEVICE, physical_address(ring));
    mmio_write16(dut->common + COMMON_QUEUE_ENABLE, 1);
    driver_ok();
    for (uint16_t i = 0; i < 64; i++) {
        ((volatile uint16_t *)ring)[1] = (uint16_t)(i + 1);
        mmio_write16(virtio_notify_address(dut, (uint16_t)(target.queue - target.queues)), 0);
    }
    target_recovers(dut);
}

static void test_addresses_never_set(void)
{
    if (!known() || !target_prepare(&target, dut, 0))
        return;
    for (uint16_t i = 0; i < virtio_queue_count(dut); i++) {
        virtio_queue_size(dut, i);
        mmio_write16(dut->common + COMMON_QUEUE_ENABLE, 1);
    }
    driver_ok();
    for (uint16_t i = 0; i < MIN(virtio_queue_count(dut), 8); i++)
        mmio_write16(virtio_notify_address(dut, i), i);
    delay_us(2000);
    target_recovers(dut);
}

static void test_no_queue_enabled(void)
{
    if (!known() || !target_prepare(&target, dut, 0))
        return;
    driver_ok();
    for (uint16_t i = 0; i < MIN(virtio_queue_count(dut), 8); i++)
        mmio_write16(virtio_notify_address(dut, i), i);
    delay_us(2000);
    target_recovers(dut);
}

/* 3.1.1: the device must not take buffers before DRIVER_OK. */
static void test_before_driver_ok(void)
{
    if (!known() || !setup_queue())
        return;
    virtq_enable(target.queue);
    target_chain(&target);
    virtq_publish(target.queue, 0);
    virtq_notify(target.queue);
    delay_us(5000);
    SKIP_IF(reference_is_qemu() && target.queue->used[1], "qemu: serves a queue before DRIVER_OK");
    CHECK(target.queue->used[1] == 0, "a buffer was used before DRIVER_OK");
    target_recovers(dut);
}

static void test_without_initialisation(void)
{
    if (!known())
        return;
    virtio_reset(dut);
    virtio_set_status(dut, VIRTIO_STATUS_DRIVER_OK);
    mmio_write16(virtio_notify_address(dut, 0), 0);
    virtio_set_status(dut, 0xff);
    mmio_write16(virtio_notify_address(dut, 0), 0);
    delay_us(2000);
    target_recovers(dut);
}

static void test_reset_in_flight(void)
{
    uint8_t *data;
    uint32_t bytes = IN_FLIGHT * 4096;

    SKIP_IF(dut->type != VIRTIO_TYPE_BLK, "only a disk has requests in flight");
    data = page_alloc(bytes);
    for (unsigned int round = 0; round < 20; round++) {
        struct blk_request *requests = page_alloc(IN_FLIGHT * sizeof(*requests));
        struct virtq queue;

        if (!virtio_start(dut, &(struct virtio_options){.features = VIRTIO_F_INDIRECT_DESC}, &queue,
                          1))
            return;
        for (uint32_t i = 0; i < IN_FLIGHT; i++) {
            struct virtq_segment segment = {data + i * 4096, 4096};

            blk_submit(&queue, &requests[i], BLK_T_IN, i * 8, &segment, 1, false);
        }
        virtq_notify(&queue);
        delay_us(round * 20);
        CHECK(virtio_reset(dut), "reset with requests in flight");
        memset(data, 0xee, bytes);
    }
    delay_us(QUIET_MS * 1000);
    for (uint32_t i = 0; i < bytes; i++)
        CHECK(data[i] == 0xee, "byte %u was written after the reset", i);
    target_recovers(dut);
}

static void test_reset_storm(void)
{
    if (!known())
        return;
    for (unsigned int i = 0; i < 50 && !tap_failed(); i++) {
        if (!target_start(&target, dut, 0))
            return;
        virtq_publish(target.queue, 0);
        virtq_notify(target.queue);
        virtio_set_status(dut, 0);
    }
    target_recovers(dut);
}

static const struct test tests[] = {
    {"ring outside RAM", test_outside_ram},
    {"ring wraps around", test_wrapping},
    {"ring misaligned", test_misaligned},
    {"rings overlap", test_overlapping},
    {"ring addresses never set", test_addresses_never_set},
    {"no queue enabled", test_no_queue_enabled},
    {"notify before DRIVER_OK", test_before_driver_ok},
    {"notify without initialisation", test_without_initialisation},
    {"reset with requests in flight", test_reset_in_flight},
    {"fifty starts and resets", test_reset_storm},
};

const struct suite suite_hostile_ring = {
    .name = "hostile-ring",
    .device_type = VIRTIO_TYPE_ANY,
    .tests = tests,
    .count = ARRAY_SIZE(tests),
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-rng (virtio 1.2, 5.4).
 */
#include "../lib/virtio.h"

#define SAMPLE      256
#define HUGE_BUFFER (8u << 20)

static struct virtq queue;

static bool draw(void *to, uint32_t size, uint32_t *ret_len)
{
    struct virtq_segment segment = {to, size};

    return virtq_request(&queue, &segment, 0, 1, ret_len);
}

static void test_fills(void)
{
    uint8_t *data = page_alloc(SAMPLE);
    uint32_t length, zeroes = 0;

    if (!virtio_start(dut, &(struct virtio_options){0}, &queue, 1) || !draw(data, SAMPLE, &length))
        return;
    CHECK(length > 0 && length <= SAMPLE, "used length %u", length);
    for (uint32_t i = 0; i < length; i++)
        zeroes += !data[i];
    CHECK(length < 32 || zeroes < length / 4, "%u of %u bytes are zero", zeroes, length);
}

static void test_differs(void)
{
    uint8_t *first = page_alloc(SAMPLE), *second = page_alloc(SAMPLE);
    uint32_t a, b;

    if (!virtio_start(dut, &(struct virtio_options){.features = VIRTIO_F_EVENT_IDX}, &queue, 1))
        return;
    if (!draw(first, SAMPLE, &a) || !draw(second, SAMPLE, &b))
        return;
    CHECK(a >= 16 && b >= 16, "%u and %u bytes", a, b);
    CHECK(memcmp(first, second, MIN(a, b)), "the same bytes twice");
}

static void test_indirect(void)
{
    uint8_t *data = page_alloc(3 * SAMPLE);
    struct virtq_segment segments[] = {
        {data, SAMPLE}, {data + SAMPLE, 1}, {data + 2 * SAMPLE, SAMPLE}};
    uint32_t length;

    if (!virtio_start(dut, &(struct virtio_options){.features = VIRTIO_F_INDIRECT_DESC}, &queue, 1))
        return;
    if (!virtq_request(&queue, segments, 0, 3, &length))
        return;
    CHECK(length > 0 && length <= 2 * SAMPLE + 1, "used length %u", length);
    CHECK(data[SAMPLE + 1] == 0 && data[2 * SAMPLE - 1] == 0, "written between the segments");
}

static void test_huge(void)
{
    uint8_t *data = page_alloc(HUGE_BUFFER);
    uint32_t length;

    if (!virtio_start(dut, &(struct virtio_options){0}, &queue, 1) ||
        !draw(data, HUGE_BUFFER, &length))
        return;
    CHECK(length > 0 && length <= HUGE_BUFFER, "used length %u", length);
    for (uint32_t i = length; i < MIN(length + 4096, HUGE_BUFFER); i++)
        CHECK(data[i] == 0, "byte %u written, used length %u", i, length);
}

static void test_small(void)
{
    uint8_t *data = page_alloc(16);
    uint32_t length;

    if (!virtio_start(dut, &(struct virtio_options){0}, &queue, 1))
        return;
    for (unsigned int i = 0; i < 32; i++) {
        if (!draw(data, 1, &length))
            return;
        CHECK(length == 1 && data[1] == 0, "used length %u", length);
    }
}

static const struct test tests[] = {
    {"fills a buffer", test_fills}, {"differs each time", test_differs},
    {"indirect", test_indirect},    {"huge buffer", test_huge},
    {"single bytes", test_small},
};

const struct suite suite_rng = {
    .name = "rng",
    .device_type = VIRTIO_TYPE_RNG,
    .tests = tests,
    .count = ARRAY_SIZE(tests),
};

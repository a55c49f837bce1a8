// SPDX-License-Identifier: Apache-2.0
/* The entropy device through its queue: virtio 1.2 §5.4. */
#include "rng.h"
#include "run_suite.h"
#include "vkit.h"
#include <check.h>
#include <string.h>

static struct vkit kit;
static struct virtio_rng rng;

static void setup(void)
{
    vkit_init(&kit);
    ck_assert_int_eq(virtio_rng_init(&rng, "rng", &kit.mem, &kit.loop, NULL), 0);
    vkit_attach(&kit, &rng.dev);
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
}

static void teardown(void)
{
    ck_assert(vkit_reset(&kit));
    virtio_rng_done(&rng);
    vkit_done(&kit);
}

static unsigned zeros(gpa_t gpa, uint32_t len)
{
    const uint8_t *p = vkit_at(&kit, gpa, len);
    unsigned n = 0;
    for (uint32_t i = 0; i < len; i++)
        n += p[i] == 0;
    return n;
}

START_TEST(fills_buffers)
{
    gpa_t data = vkit_alloc(&kit, 8192, 4096);
    const struct vkit_buf bufs[] = {{.gpa = data, .len = 4000, .writable = true},
                                    {.gpa = data + 4096, .len = 100, .writable = true}};
    uint32_t len;
    ck_assert(vkit_request(&kit, 0, bufs, 2, &len));
    ck_assert_uint_eq(len, 4100);
    /* 16 zeros are expected of 4,000 random bytes; 100 have a chance of less than 2^-128. */
    ck_assert_uint_lt(zeros(data, 4000), 100);
    ck_assert_uint_lt(zeros(data + 4096, 100), 30);
    ck_assert_uint_eq(zeros(data + 4000, 96), 96); /* nothing beyond the buffers */
    ck_assert_uint_eq(zeros(data + 4196, 3996), 3996);
    ck_assert_uint_eq(kit.queue_interrupts[0], 1);
}
END_TEST

START_TEST(caps_a_request)
{
    const uint32_t size = 200000;
    gpa_t data = vkit_alloc(&kit, size, 4096);
    const struct vkit_buf bufs[] = {{.gpa = data, .len = 60000, .writable = true},
                                    {.gpa = data + 60000, .len = 140000, .writable = true}};
    uint32_t len;
    ck_assert(vkit_request(&kit, 0, bufs, 2, &len));
    ck_assert_uint_eq(len, VIRTIO_RNG_REQUEST_MAX);
    ck_assert_uint_eq(zeros(data + VIRTIO_RNG_REQUEST_MAX, size - VIRTIO_RNG_REQUEST_MAX),
                      size - VIRTIO_RNG_REQUEST_MAX);
}
END_TEST

START_TEST(empty_request)
{
    struct vkit_buf buf = {.gpa = 0, .len = 0, .writable = true};
    uint32_t len;
    ck_assert(vkit_request(&kit, 0, &buf, 1, &len));
    ck_assert_uint_eq(len, 0);
}
END_TEST

START_TEST(full_queue_in_turns)
{
    struct vkit_buf buf = {.gpa = vkit_alloc(&kit, 64, 16), .len = 64, .writable = true};
    for (unsigned i = 0; i < VIRTIO_RNG_QUEUE_SIZE; i++)
        ck_assert_int_ge(vkit_add(&kit, 0, &buf, 1), 0);
    vkit_kick(&kit, 0);
    ck_assert(vkit_wait_used(&kit, 0, VIRTIO_RNG_QUEUE_SIZE));
    uint32_t head, len;
    while (vkit_used(&kit, 0, &head, &len))
        ck_assert_uint_eq(len, 64);
    ck_assert_uint_gt(rng.dev.counters.kicks, 1); /* it yielded to the loop in between */
    /* And it is armed again in the end. */
    vkit_run(&kit);
    ck_assert_uint_eq(vkit_avail_event(&kit, 0), VIRTIO_RNG_QUEUE_SIZE);
}
END_TEST

START_TEST(readable_buffer_refused)
{
    gpa_t data = vkit_alloc(&kit, 64, 16);
    const struct vkit_buf bufs[] = {{.gpa = data, .len = 32},
                                    {.gpa = data + 32, .len = 32, .writable = true}};
    uint32_t len;
    ck_assert(vkit_request(&kit, 0, bufs, 2, &len));
    ck_assert_uint_eq(len, 0);
    ck_assert(vkit_needs_reset(&kit));
    ck_assert_uint_eq(zeros(data, 64), 64);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("virtio entropy");
    TCase *tc = tcase_create("rng");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, fills_buffers);
    tcase_add_test(tc, caps_a_request);
    tcase_add_test(tc, empty_request);
    tcase_add_test(tc, full_queue_in_turns);
    tcase_add_test(tc, readable_buffer_refused);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

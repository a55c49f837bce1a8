// SPDX-License-Identifier: Apache-2.0
/* The device core: status machine, freezing, start, reset, failure, configuration. Virtio 1.2 §2.1,
 * §2.4, §2.5, §3.1. */
#include "run_suite.h"
#include "vkit.h"
#include <check.h>
#include <podvisor/cleanup.h>
#include <string.h>

#define ACK      VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER   VIRTIO_CONFIG_S_DRIVER
#define FEATURES VIRTIO_CONFIG_S_FEATURES_OK
#define RUN      VIRTIO_CONFIG_S_DRIVER_OK
#define BAD      VIRTIO_CONFIG_S_NEEDS_RESET
#define FAILED   VIRTIO_CONFIG_S_FAILED

#define QUEUES 3

/* A device that echoes: completes each chain at once, or keeps it until told otherwise. */
struct probe {
    struct virtio_device dev;
    unsigned starts, stops, kicks[QUEUES];
    bool hold;       /* keep chains in flight */
    bool fail_start; /* call virtio_device_fail() in start */
    unsigned held;
    uint16_t held_head[64];
};

static struct vkit kit;
static struct probe probe;

static void probe_start(struct virtio_device *dev)
{
    struct probe *p = container_of(dev, struct probe, dev);
    p->starts++;
    if (p->fail_start)
        virtio_device_fail(dev, "test");
}

static void finish_held(struct probe *p)
{
    for (; p->held > 0; p->held--)
        virtq_push(&p->dev.queue[0].vq, p->held_head[p->held - 1], 0);
    virtio_device_notify(&p->dev, 0);
}

static void probe_stop(struct virtio_device *dev)
{
    struct probe *p = container_of(dev, struct probe, dev);
    p->stops++;
    if (p->held == 0)
        virtio_device_stopped(dev);
}

static void probe_kicked(struct virtio_device *dev, unsigned index)
{
    struct probe *p = container_of(dev, struct probe, dev);
    struct virtq *vq = &dev->queue[index].vq;
    p->kicks[index]++;
    do {
        struct iovec iov[64];
        struct virtq_chain chain;
        int r;
        while ((r = virtq_pop(vq, iov, 64, &chain)) > 0) {
            if (p->hold)
                p->held_head[p->held++] = chain.head;
            else
                virtq_push(vq, chain.head, chain.writable_len);
        }
        if (r < 0)
            virtio_device_fail(dev, vq->fault);
        virtio_device_notify(dev, index);
    } while (virtq_arm_kicks(vq));
}

static bool probe_config_write(struct virtio_device *dev, uint32_t offset, const void *data,
                               uint32_t len)
{
    (void)dev;
    (void)data;
    return offset == 4 && len == 4;
}

static const struct virtio_device_ops ops = {.start = probe_start,
                                             .stop = probe_stop,
                                             .kicked = probe_kicked,
                                             .config_write = probe_config_write};

static void setup(void)
{
    static const uint16_t sizes[QUEUES] = {64, 16, 16};
    vkit_init(&kit);
    memset(&probe, 0, sizeof(probe));
    ck_assert_int_eq(virtio_device_init(&probe.dev, &ops, "probe", 4, 1u << 5, sizes, QUEUES,
                                        &kit.mem, &kit.loop, NULL),
                     0);
    probe.dev.config_len = 8;
    vkit_attach(&kit, &probe.dev);
}

static void teardown(void)
{
    vkit_thread_stop(&kit);
    virtio_device_done(&probe.dev);
    vkit_done(&kit);
}

static uint8_t status(void)
{
    return virtio_device_get_status(&probe.dev);
}

static uint8_t set_status(unsigned value)
{
    virtio_device_set_status(&probe.dev, (uint8_t)value);
    return status();
}

static void set_features(uint64_t features)
{
    virtio_device_set_features(&probe.dev, 0, (uint32_t)features);
    virtio_device_set_features(&probe.dev, 1, (uint32_t)(features >> 32));
}

/* ---- status ---- */

START_TEST(bits_in_order)
{
    ck_assert_uint_eq(status(), 0);
    ck_assert_uint_eq(set_status(DRIVER), 0);
    ck_assert_uint_eq(set_status(RUN), 0);
    ck_assert_uint_eq(set_status(ACK), ACK);
    ck_assert_uint_eq(set_status(ACK | FEATURES), ACK);
    ck_assert_uint_eq(set_status(ACK | DRIVER), ACK | DRIVER);
    ck_assert_uint_eq(set_status(ACK | DRIVER | RUN), ACK | DRIVER);
    set_features(VKIT_FEATURES);
    ck_assert_uint_eq(set_status(ACK | DRIVER | FEATURES), ACK | DRIVER | FEATURES);
    ck_assert_uint_eq(set_status(ACK | DRIVER | FEATURES | RUN), ACK | DRIVER | FEATURES | RUN);
}
END_TEST

START_TEST(several_bits_at_once)
{
    ck_assert_uint_eq(set_status(ACK | DRIVER), ACK | DRIVER);
}
END_TEST

START_TEST(bits_cannot_be_cleared)
{
    set_status(ACK | DRIVER);
    ck_assert_uint_eq(set_status(ACK), ACK | DRIVER);
    ck_assert_uint_eq(set_status(DRIVER), ACK | DRIVER);
    set_features(VKIT_FEATURES);
    set_status(ACK | DRIVER | FEATURES);
    /* One that clears and adds does neither. */
    ck_assert_uint_eq(set_status(ACK | DRIVER | RUN), ACK | DRIVER | FEATURES);
}
END_TEST

START_TEST(driver_cannot_set_our_bits)
{
    ck_assert_uint_eq(set_status(ACK | BAD | 0x30), ACK);
}
END_TEST

START_TEST(driver_gives_up)
{
    set_status(ACK);
    ck_assert_uint_eq(set_status(ACK | FAILED), ACK | FAILED);
    ck_assert_uint_eq(set_status(ACK | DRIVER | FAILED), ACK | FAILED);
    ck_assert_uint_eq(set_status(0), 0);
}
END_TEST

START_TEST(features_checked)
{
    /* VERSION_1 missing; a bit not offered; both in order. */
    ck_assert(!vkit_negotiate(&kit, 0));
    ck_assert(!vkit_negotiate(&kit, VKIT_FEATURES | 1u << 6));
    ck_assert(!vkit_negotiate(&kit, VKIT_FEATURES | UINT64_C(1) << 63));
    ck_assert(vkit_negotiate(&kit, VKIT_FEATURES | 1u << 5));
    ck_assert(virtio_device_has(&probe.dev, 5));
    /* Final now. */
    set_features(0);
    ck_assert(virtio_device_has(&probe.dev, 5));
    virtio_device_set_features(&probe.dev, 2, UINT32_MAX);
    ck_assert_uint_eq(probe.dev.driver_features, VKIT_FEATURES | 1u << 5);
}
END_TEST

START_TEST(features_refused_then_corrected)
{
    set_status(ACK | DRIVER);
    ck_assert_uint_eq(set_status(ACK | DRIVER | FEATURES), ACK | DRIVER);
    set_features(VKIT_FEATURES);
    ck_assert_uint_eq(set_status(ACK | DRIVER | FEATURES), ACK | DRIVER | FEATURES);
}
END_TEST

/* ---- start ---- */

START_TEST(starts_and_looks_at_every_queue)
{
    ck_assert(vkit_negotiate(&kit, VKIT_FEATURES));
    vkit_setup_queue(&kit, 0, 0);
    vkit_setup_queue(&kit, 2, 8);
    struct vkit_buf buf = {.gpa = vkit_alloc(&kit, 16, 16), .len = 16, .writable = true};
    vkit_add(&kit, 0, &buf, 1);
    vkit_kick(&kit, 0); /* too early (§3.1.1), but not lost */
    vkit_run(&kit);
    ck_assert_uint_eq(probe.kicks[0], 0);
    ck_assert(vkit_driver_ok(&kit));
    ck_assert_uint_eq(probe.starts, 1);
    ck_assert_uint_eq(probe.kicks[0], 1);
    ck_assert_uint_eq(probe.kicks[1], 0); /* was not enabled */
    ck_assert_uint_eq(probe.kicks[2], 1);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 1);
    ck_assert_uint_eq(kit.queue_interrupts[0], 1);
    vkit_kick(&kit, 1);
    vkit_run(&kit);
    ck_assert_uint_eq(probe.kicks[1], 0);
    ck_assert_uint_eq(probe.dev.counters.kicks, 0);
}
END_TEST

START_TEST(every_kick_counts)
{
    /* The eventfd is never read: a second kick must be seen as well as the first. */
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    for (unsigned i = 0; i < 3; i++) {
        vkit_kick(&kit, 1);
        vkit_run(&kit);
        ck_assert_uint_eq(probe.kicks[1], i + 2);
    }
    ck_assert_uint_eq(probe.dev.counters.kicks, 3);
    virtio_device_rekick(&probe.dev, 1);
    vkit_run(&kit);
    ck_assert_uint_eq(probe.dev.counters.kicks, 4);
}
END_TEST

START_TEST(bad_layout_needs_reset)
{
    ck_assert(vkit_negotiate(&kit, VKIT_FEATURES));
    vkit_setup_queue(&kit, 0, 0);
    probe.dev.queue[0].layout.used = VKIT_LOW_SIZE;
    ck_assert(!vkit_driver_ok(&kit));
    vkit_run(&kit);
    ck_assert(vkit_needs_reset(&kit));
    ck_assert_uint_eq(probe.starts, 0);
    ck_assert_uint_eq(kit.config_interrupts, 1);
    ck_assert_uint_eq(probe.dev.counters.failures, 1);
    ck_assert_uint_eq(set_status(0), 0); /* nothing runs, so at once */
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
}
END_TEST

START_TEST(queue_larger_than_offered)
{
    ck_assert(vkit_negotiate(&kit, VKIT_FEATURES));
    vkit_setup_queue(&kit, 1, 32); /* 16 were offered */
    ck_assert(!vkit_driver_ok(&kit));
    ck_assert(vkit_needs_reset(&kit));
    ck_assert_uint_eq(probe.starts, 0);
}
END_TEST

START_TEST(queues_frozen)
{
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    struct virtio_queue_slot before = probe.dev.queue[0];
    vkit_setup_queue(&kit, 0, 4);
    ck_assert_uint_eq(probe.dev.queue[0].layout.size, before.layout.size);
    ck_assert_uint_eq(probe.dev.queue[0].layout.desc, before.layout.desc);
    ck_assert(virtio_device_frozen(&probe.dev));
}
END_TEST

/* ---- reset ---- */

START_TEST(reset_restores_registers)
{
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    unsigned resets = kit.transport_resets;
    ck_assert(vkit_reset(&kit));
    ck_assert_uint_eq(probe.stops, 1);
    ck_assert_uint_eq(kit.transport_resets, resets + 1);
    ck_assert_uint_eq(probe.dev.driver_features, 0);
    for (unsigned i = 0; i < QUEUES; i++) {
        const struct virtio_queue_slot *slot = &probe.dev.queue[i];
        ck_assert(!slot->enabled);
        ck_assert_uint_eq(slot->layout.size, slot->max_size);
        ck_assert_uint_eq(slot->layout.desc, 0);
        ck_assert_uint_eq(slot->msix_vector, VIRTIO_NO_VECTOR);
    }
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    ck_assert_uint_eq(probe.starts, 2);
}
END_TEST

START_TEST(reset_waits_for_requests_in_flight)
{
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    probe.hold = true;
    struct vkit_buf buf = {.gpa = vkit_alloc(&kit, 16, 16), .len = 16, .writable = true};
    vkit_add(&kit, 0, &buf, 1);
    vkit_kick(&kit, 0);
    vkit_run(&kit);
    ck_assert_uint_eq(probe.held, 1);

    unsigned running = ACK | DRIVER | FEATURES | RUN;
    ck_assert_uint_eq(set_status(0), running);
    vkit_run(&kit);
    ck_assert_uint_eq(probe.stops, 1);
    ck_assert_uint_eq(status(), running); /* not yet */
    /* Neither impatience nor a new start changes anything. */
    ck_assert_uint_eq(set_status(0), running);
    ck_assert_uint_eq(set_status(ACK), running);
    set_features(0);
    ck_assert_uint_eq(probe.dev.driver_features, VKIT_FEATURES);
    vkit_setup_queue(&kit, 0, 4);
    ck_assert_uint_eq(probe.dev.queue[0].layout.size, 64);
    vkit_kick(&kit, 1);
    vkit_run(&kit);
    ck_assert_uint_eq(probe.kicks[1], 1); /* only the one of the start */
    ck_assert_uint_eq(probe.stops, 1);

    finish_held(&probe);
    virtio_device_stopped(&probe.dev);
    ck_assert_uint_eq(status(), 0);
    ck_assert_uint_eq(probe.dev.counters.resets, 2); /* vkit_negotiate() resets too */
    virtio_device_stopped(&probe.dev);               /* once too often: nothing */
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
}
END_TEST

START_TEST(reset_overtakes_start)
{
    ck_assert(vkit_negotiate(&kit, VKIT_FEATURES));
    vkit_setup_queue(&kit, 0, 0);
    set_status(ACK | DRIVER | FEATURES | RUN);
    ck_assert_uint_ne(set_status(0), 0); /* the loop has not been there yet */
    vkit_run(&kit);
    ck_assert_uint_eq(status(), 0);
    ck_assert_uint_eq(probe.starts, 0);
    ck_assert_uint_eq(probe.stops, 0);
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    ck_assert_uint_eq(probe.starts, 1);
}
END_TEST

START_TEST(stale_kick_after_reset)
{
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    vkit_kick(&kit, 0);
    set_status(0);
    unsigned kicks = probe.kicks[0];
    vkit_run(&kit); /* the kick is dispatched before the posted work, the rest after */
    ck_assert_uint_eq(status(), 0);
    ck_assert_uint_eq(probe.kicks[0], kicks + 1);
    vkit_kick(&kit, 0);
    vkit_run(&kit);
    ck_assert_uint_eq(probe.kicks[0], kicks + 1);
}
END_TEST

/* ---- failure ---- */

static void break_queue(unsigned index)
{
    vkit_avail_push(&kit, index, 0xffff);
    vkit_kick(&kit, index);
    vkit_run(&kit);
}

START_TEST(broken_rule_needs_reset)
{
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    break_queue(0);
    ck_assert(vkit_needs_reset(&kit));
    ck_assert_uint_eq(kit.config_interrupts, 1);
    ck_assert_uint_eq(probe.dev.counters.failures, 1);
    /* All queues are dead, and nothing is reported twice. */
    unsigned kicks = probe.kicks[1];
    break_queue(1);
    ck_assert_uint_eq(probe.kicks[1], kicks);
    virtio_device_fail(&probe.dev, "test");
    ck_assert_uint_eq(probe.dev.counters.failures, 1);
    ck_assert_uint_eq(kit.config_interrupts, 1);
    /* The driver may not have seen the bit: its write neither clears it nor counts as clearing. */
    unsigned running = ACK | DRIVER | FEATURES | RUN;
    ck_assert_uint_eq(set_status(running), running | BAD);
    ck_assert(vkit_reset(&kit));
    ck_assert_uint_eq(probe.stops, 1);
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    ck_assert_uint_eq(probe.kicks[1], kicks + 1);
}
END_TEST

START_TEST(requests_in_flight_outlive_failure)
{
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    probe.hold = true;
    struct vkit_buf buf = {.gpa = vkit_alloc(&kit, 16, 16), .len = 16, .writable = true};
    vkit_add(&kit, 0, &buf, 1);
    vkit_kick(&kit, 0);
    vkit_run(&kit);
    break_queue(0);
    ck_assert(vkit_needs_reset(&kit));
    finish_held(&probe);
    ck_assert_uint_eq(vkit_used_count(&kit, 0), 1);
    ck_assert(vkit_reset(&kit));
}
END_TEST

START_TEST(failure_in_start)
{
    probe.fail_start = true;
    ck_assert(!vkit_start(&kit, VKIT_FEATURES));
    ck_assert(vkit_needs_reset(&kit));
    ck_assert_uint_eq(probe.kicks[0], 0);
    ck_assert(vkit_reset(&kit));
}
END_TEST

START_TEST(failure_during_reset)
{
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    probe.hold = true;
    struct vkit_buf buf = {.gpa = vkit_alloc(&kit, 16, 16), .len = 16, .writable = true};
    vkit_add(&kit, 0, &buf, 1);
    vkit_kick(&kit, 0);
    vkit_run(&kit);
    set_status(0);
    vkit_run(&kit);
    virtio_device_fail(&probe.dev, "test");
    ck_assert(!vkit_needs_reset(&kit));
    ck_assert_uint_eq(kit.config_interrupts, 0);
    finish_held(&probe);
    virtio_device_stopped(&probe.dev);
    ck_assert_uint_eq(status(), 0);
}
END_TEST

/* ---- configuration ---- */

START_TEST(config_access)
{
    uint8_t in[16], out[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    virtio_device_config_changed(&probe.dev, 0, out, 8);
    ck_assert_uint_eq(probe.dev.config_generation, 1);
    ck_assert_uint_eq(kit.config_interrupts, 0); /* no driver yet */
    memset(in, 0xee, sizeof(in));
    virtio_device_config_read(&probe.dev, 6, in, 4);
    ck_assert_mem_eq(in, "\7\10\0\0\xee", 5);
    virtio_device_config_read(&probe.dev, UINT32_MAX, in, 8);
    ck_assert_mem_eq(in, "\0\0\0\0\0\0\0\0\xee", 9);

    virtio_device_config_write(&probe.dev, 0, "wxyz", 4); /* the device refuses */
    virtio_device_config_write(&probe.dev, 6, "wxyz", 4); /* outside */
    virtio_device_config_write(&probe.dev, UINT32_MAX - 1, "wxyz", 4);
    ck_assert_mem_eq(probe.dev.config, out, 8);
    virtio_device_config_write(&probe.dev, 4, "wxyz", 4);
    ck_assert_mem_eq(probe.dev.config + 4, "wxyz", 4);

    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    virtio_device_config_changed(&probe.dev, 0, out, 8);
    ck_assert_uint_eq(probe.dev.config_generation, 2);
    ck_assert_uint_eq(kit.config_interrupts, 1);
    virtio_device_config_changed(&probe.dev, 4, out, 8); /* does not fit: nothing */
    ck_assert_uint_eq(probe.dev.config_generation, 2);
}
END_TEST

START_TEST(init_refuses_bad_queues)
{
    struct virtio_device dev;
    static const uint16_t bad[] = {16, 24};
    ck_assert_int_eq(virtio_device_init(&dev, &ops, "x", 4, 0, bad, 2, &kit.mem, &kit.loop, NULL),
                     -EINVAL);
    ck_assert_int_eq(virtio_device_init(&dev, &ops, "x", 4, 0, bad, VIRTIO_QUEUE_MAX + 1, &kit.mem,
                                        &kit.loop, NULL),
                     -EINVAL);
}
END_TEST

/* ---- threads: for ThreadSanitizer, and for what must hold whoever wins ---- */

static void *write_statuses(void *arg)
{
    static const uint8_t value[] = {0, ACK, ACK | DRIVER, ACK | DRIVER | FEATURES,
                                    ACK | DRIVER | FEATURES | RUN};
    unsigned seed = *(const unsigned *)arg;
    for (unsigned i = 0; i < 20000; i++) {
        seed = seed * 1103515245 + 12345;
        set_features(VKIT_FEATURES);
        virtio_device_set_status(&probe.dev, value[(seed >> 16) % sizeof(value)]);
        vkit_kick(&kit, (seed >> 20) % QUEUES);
        uint8_t config[8];
        virtio_device_config_read(&probe.dev, 0, config, sizeof(config));
        virtio_device_config_changed(&probe.dev, 0, config, sizeof(config));
    }
    return NULL;
}

START_TEST(two_vcpus_fight)
{
    for (unsigned i = 0; i < QUEUES; i++)
        vkit_setup_queue(&kit, i, 0);
    vkit_thread_start(&kit);
    pthread_t vcpu[2];
    unsigned seed[2] = {1, 2};
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&vcpu[i], NULL, write_statuses, &seed[i]), 0);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(vcpu[i], NULL);
    ck_assert(vkit_reset(&kit));
    vkit_thread_stop(&kit);
    ck_assert_uint_eq(probe.starts, probe.stops);
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
}
END_TEST

START_TEST(driver_and_loop_in_parallel)
{
    vkit_thread_start(&kit);
    ck_assert(vkit_start(&kit, VKIT_FEATURES));
    struct vkit_buf buf = {.gpa = vkit_alloc(&kit, 16, 16), .len = 16, .writable = true};
    unsigned added = 0, done = 0;
    while (done < 5000) {
        while (added < 5000 && vkit_add(&kit, 0, &buf, 1) >= 0)
            added++;
        vkit_kick_if_needed(&kit, 0);
        ck_assert_msg(vkit_wait_used(&kit, 0, 1), "lost kick after %u", done);
        uint32_t head, len;
        while (vkit_used(&kit, 0, &head, &len))
            done++;
        vkit_set_used_event(&kit, 0, kit.queue[0].last_used);
    }
    ck_assert_uint_eq(done, 5000);
    ck_assert(vkit_reset(&kit));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("virtio device");
    TCase *tc = tcase_create("device");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, bits_in_order);
    tcase_add_test(tc, several_bits_at_once);
    tcase_add_test(tc, bits_cannot_be_cleared);
    tcase_add_test(tc, driver_cannot_set_our_bits);
    tcase_add_test(tc, driver_gives_up);
    tcase_add_test(tc, features_checked);
    tcase_add_test(tc, features_refused_then_corrected);
    tcase_add_test(tc, starts_and_looks_at_every_queue);
    tcase_add_test(tc, every_kick_counts);
    tcase_add_test(tc, bad_layout_needs_reset);
    tcase_add_test(tc, queue_larger_than_offered);
    tcase_add_test(tc, queues_frozen);
    tcase_add_test(tc, reset_restores_registers);
    tcase_add_test(tc, reset_waits_for_requests_in_flight);
    tcase_add_test(tc, reset_overtakes_start);
    tcase_add_test(tc, stale_kick_after_reset);
    tcase_add_test(tc, broken_rule_needs_reset);
    tcase_add_test(tc, requests_in_flight_outlive_failure);
    tcase_add_test(tc, failure_in_start);
    tcase_add_test(tc, failure_during_reset);
    tcase_add_test(tc, config_access);
    tcase_add_test(tc, init_refuses_bad_queues);
    tcase_add_test(tc, two_vcpus_fight);
    tcase_add_test(tc, driver_and_loop_in_parallel);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return run_suite(suite());
}

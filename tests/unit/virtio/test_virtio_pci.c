// SPDX-License-Identifier: Apache-2.0
/* The register map of virtio over PCI, virtio 1.2 §4.1, with the entropy device behind it: a driver
 * that has nothing but configuration space, the BAR and its memory. */
#include "rng.h"
#include "run_suite.h"
#include "virtio_pci.h"
#include "vkit.h"
#include <check.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <poll.h>
#include <string.h>

#define BAR_GPA 0xc0000000
#define VECTORS 2

static struct vkit kit;
static struct virtio_rng rng;
static struct virtio_pci vp;

static struct {
    unsigned raises[VECTORS];
    unsigned adds, removes;
    uint64_t gpa;
    int fd;
} seen;

static void route(void *ctx, unsigned vector, const struct msi_message *msg)
{
    (void)ctx;
    (void)vector;
    (void)msg;
}

static void raise_vector(void *ctx, unsigned vector)
{
    (void)ctx;
    seen.raises[vector]++;
}

static void set_kick(void *ctx, bool add, uint64_t gpa, int fd)
{
    (void)ctx;
    seen.adds += add;
    seen.removes += !add;
    seen.gpa = gpa;
    seen.fd = fd;
}

static const struct pci_irq_ops irq_ops = {.route = route, .raise = raise_vector};
static const struct virtio_pci_kick_ops kick_ops = {.set = set_kick};

static void setup(void)
{
    memset(&seen, 0, sizeof(seen));
    vkit_init(&kit);
    ck_assert_int_eq(virtio_rng_init(&rng, "rng", &kit.mem, &kit.loop, NULL), 0);
    rng.dev.config_len = 8; /* it has none of its own: something to read */
    memcpy(rng.dev.config, "\1\2\3\4\5\6\7\10", 8);
    ck_assert_int_eq(virtio_pci_init(&vp, &rng.dev, &irq_ops, NULL, &kick_ops, NULL, NULL), 0);
    kit.dev = &rng.dev;
    pci_assign_bar(&vp.fn, VIRTIO_PCI_BAR, BAR_GPA);
}

static void teardown(void)
{
    virtio_pci_reset(&vp);
    vkit_run(&kit);
    ck_assert_uint_eq(virtio_device_get_status(&rng.dev), 0);
    virtio_rng_done(&rng);
    vkit_done(&kit);
}

static uint64_t rd(uint64_t offset, unsigned len)
{
    uint64_t value = 0;
    vp.fn.ops->bar_read(&vp.fn, VIRTIO_PCI_BAR, offset, &value, len);
    return value;
}

static void wr(uint64_t offset, unsigned len, uint64_t value)
{
    vp.fn.ops->bar_write(&vp.fn, VIRTIO_PCI_BAR, offset, &value, len);
}

static uint32_t crd(unsigned offset, unsigned len)
{
    return pci_config_read(&vp.fn, offset, len);
}

static void cwr(unsigned offset, unsigned len, uint32_t value)
{
    pci_config_write(&vp.fn, offset, len, value);
}

/* Offset of the virtio capability of this type, or 0. */
static unsigned find_cap(unsigned type)
{
    for (unsigned at = crd(PCI_CAPABILITY_LIST, 1); at != 0; at = crd(at + 1, 1)) {
        if (crd(at, 1) == PCI_CAP_ID_VNDR && crd(at + VIRTIO_PCI_CAP_CFG_TYPE, 1) == type)
            return at;
    }
    return 0;
}

/* ---- discovery ---- */

START_TEST(identity)
{
    ck_assert_uint_eq(crd(0, 4), 0x10441af4);
    ck_assert_uint_eq(crd(8, 4), 0xff000001);
    ck_assert_uint_eq(crd(0x2c, 4), 0x11041af4);
}
END_TEST

START_TEST(classes)
{
    static const struct {
        uint16_t type;
        uint32_t class_code;
    } expected[] = {{1, 0x020000}, {2, 0x018000}, {3, 0x078000}, {5, 0xff0000}};
    for (unsigned i = 0; i < 4; i++) {
        struct virtio_pci other;
        struct virtio_device dev = rng.dev;
        dev.type = expected[i].type;
        ck_assert_int_eq(virtio_pci_init(&other, &dev, &irq_ops, NULL, NULL, NULL, NULL), 0);
        ck_assert_uint_eq(pci_config_read(&other.fn, 8, 4) >> 8, expected[i].class_code);
        ck_assert_uint_eq(pci_config_read(&other.fn, 2, 2), 0x1040u + dev.type);
    }
}
END_TEST

START_TEST(capabilities)
{
    static const struct {
        unsigned type, offset, length, cap_len;
    } expected[] = {
        {VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_AT_COMMON, 56, 16},
        {VIRTIO_PCI_CAP_NOTIFY_CFG, VIRTIO_PCI_AT_NOTIFY, 4, 20},
        {VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_PCI_AT_ISR, 1, 16},
        {VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_AT_DEVICE, 8, 16},
        {VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 20},
    };
    for (unsigned i = 0; i < 5; i++) {
        unsigned at = find_cap(expected[i].type);
        ck_assert_uint_ne(at, 0);
        ck_assert_uint_eq(crd(at + VIRTIO_PCI_CAP_LEN, 1), expected[i].cap_len);
        ck_assert_uint_eq(crd(at + VIRTIO_PCI_CAP_BAR, 1), 0);
        ck_assert_uint_eq(crd(at + VIRTIO_PCI_CAP_OFFSET, 4), expected[i].offset);
        ck_assert_uint_eq(crd(at + VIRTIO_PCI_CAP_LENGTH, 4), expected[i].length);
    }
    ck_assert_uint_eq(crd(find_cap(VIRTIO_PCI_CAP_NOTIFY_CFG) + VIRTIO_PCI_NOTIFY_CAP_MULT, 4), 4);
    ck_assert_uint_eq(vp.fn.msix.vector_count, VECTORS);
}
END_TEST

/* ---- common configuration ---- */

START_TEST(features)
{
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_DF, 4), (uint32_t)rng.dev.features);
    wr(VIRTIO_PCI_COMMON_DFSELECT, 4, 1);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_DFSELECT, 4), 1);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_DF, 4), 1); /* VERSION_1 */
    wr(VIRTIO_PCI_COMMON_DFSELECT, 4, 2);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_DF, 4), 0);
    wr(VIRTIO_PCI_COMMON_GF, 4, 0x30000000);
    wr(VIRTIO_PCI_COMMON_GFSELECT, 8, UINT64_C(1) << 32 | 1); /* select and value in one */
    ck_assert_uint_eq(rng.dev.driver_features, UINT64_C(0x130000000));
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_GF, 4), 1);
    wr(VIRTIO_PCI_COMMON_GFSELECT, 1, 0);
    wr(VIRTIO_PCI_COMMON_GF + 1, 1, 0xab); /* a byte of it */
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_GF, 4), 0x3000ab00);
    wr(VIRTIO_PCI_COMMON_GFSELECT, 4, UINT32_MAX);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_GF, 4), 0);
    wr(VIRTIO_PCI_COMMON_GF, 4, UINT32_MAX);
    ck_assert_uint_eq(rng.dev.driver_features, UINT64_C(0x13000ab00));
}
END_TEST

START_TEST(vectors)
{
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
    wr(VIRTIO_PCI_COMMON_MSIX, 2, VECTORS - 1);
    wr(VIRTIO_PCI_COMMON_Q_MSIX, 2, 0);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_MSIX, 2), VECTORS - 1);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_MSIX, 2), 0);
    wr(VIRTIO_PCI_COMMON_MSIX, 2, VECTORS);
    wr(VIRTIO_PCI_COMMON_Q_MSIX, 2, 0xfffe);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
}
END_TEST

START_TEST(queue_registers)
{
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_NUMQ, 2), 1);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_SIZE, 2), VIRTIO_RNG_QUEUE_SIZE);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_NOFF, 2), 0);
    wr(VIRTIO_PCI_COMMON_Q_SIZE, 2, 16);
    wr(VIRTIO_PCI_COMMON_Q_DESCLO, 4, 0x11111110);
    wr(VIRTIO_PCI_COMMON_Q_DESCHI, 4, 0x2);
    wr(VIRTIO_PCI_COMMON_Q_AVAILLO, 8, 0x333333330);
    wr(VIRTIO_PCI_COMMON_Q_USEDLO, 2, 0x4440);
    wr(VIRTIO_PCI_COMMON_Q_USEDHI + 1, 1, 0x5);
    const struct virtq_layout *l = &rng.dev.queue[0].layout;
    ck_assert_uint_eq(l->size, 16);
    ck_assert_uint_eq(l->desc, 0x211111110);
    ck_assert_uint_eq(l->avail, 0x333333330);
    ck_assert_uint_eq(l->used, 0x50000004440);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0x211111110);
    wr(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 2);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
    wr(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    wr(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
    wr(VIRTIO_PCI_COMMON_NUMQ, 2, 7);
    wr(VIRTIO_PCI_COMMON_Q_NOFF, 2, 7);
    wr(VIRTIO_PCI_COMMON_CFGGENERATION, 1, 7);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_NUMQ, 2), 1);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_NOFF, 2), 0);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_CFGGENERATION, 1), 0);
}
END_TEST

START_TEST(queue_that_is_not)
{
    for (uint32_t select = 1; select <= 0xffff; select += 0x1fff) {
        wr(VIRTIO_PCI_COMMON_Q_SELECT, 2, select);
        ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_SELECT, 2), select);
        for (unsigned at = VIRTIO_PCI_COMMON_Q_SIZE; at < 56; at += 2) {
            ck_assert_uint_eq(rd(at, 2), 0);
            wr(at, 2, 1);
        }
    }
    wr(VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_SIZE, 2), VIRTIO_RNG_QUEUE_SIZE);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
}
END_TEST

START_TEST(elsewhere_in_the_bar)
{
    for (uint64_t at = 0; at < VIRTIO_PCI_BAR_SIZE; at += 8)
        rd(at, 8);
    ck_assert_uint_eq(rd(52, 8), 0); /* partly outside the common configuration */
    ck_assert_uint_eq(rd(0x200, 4), 0);
    ck_assert_uint_eq(rd(VIRTIO_PCI_AT_NOTIFY, 4), 0);
    wr(0x200, 8, UINT64_MAX);
    wr(VIRTIO_PCI_AT_ISR, 1, 0xff);
    wr(VIRTIO_PCI_AT_NOTIFY + 4, 4, 0); /* no such queue */
    wr(VIRTIO_PCI_AT_NOTIFY + 1, 1, 0);
    ck_assert_uint_eq(rd(VIRTIO_PCI_AT_ISR, 1), 0);
    /* The MSI-X table answers through the BAR. */
    ck_assert_uint_eq(rd(VIRTIO_PCI_AT_MSIX_TABLE + 12, 4), 1);
    ck_assert_uint_eq(rd(VIRTIO_PCI_AT_MSIX_PBA, 8), 0);
}
END_TEST

START_TEST(device_configuration)
{
    ck_assert_uint_eq(rd(VIRTIO_PCI_AT_DEVICE, 8), 0x0807060504030201);
    ck_assert_uint_eq(rd(VIRTIO_PCI_AT_DEVICE + 3, 2), 0x0504);
    ck_assert_uint_eq(rd(VIRTIO_PCI_AT_DEVICE + 6, 4), 0x0807);
    ck_assert_uint_eq(rd(VIRTIO_PCI_AT_DEVICE + 8, 4), 0);
    wr(VIRTIO_PCI_AT_DEVICE, 4, 0); /* read-only here */
    ck_assert_uint_eq(rd(VIRTIO_PCI_AT_DEVICE, 4), 0x04030201);
}
END_TEST

/* ---- a driver's life through registers ---- */

static void driver_up(void)
{
    wr(VIRTIO_PCI_COMMON_STATUS, 1, 1);
    wr(VIRTIO_PCI_COMMON_STATUS, 1, 3);
    for (uint32_t half = 0; half < 2; half++) {
        wr(VIRTIO_PCI_COMMON_GFSELECT, 4, half);
        wr(VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(VKIT_FEATURES >> (32 * half)));
    }
    wr(VIRTIO_PCI_COMMON_STATUS, 1, 0xb);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_STATUS, 1), 0xb);
    struct virtq_layout l = vkit_ring_alloc(&kit, 16);
    vkit_queue_init(&kit, 0, &l);
    wr(VIRTIO_PCI_COMMON_Q_SIZE, 2, l.size);
    wr(VIRTIO_PCI_COMMON_Q_DESCLO, 4, (uint32_t)l.desc);
    wr(VIRTIO_PCI_COMMON_Q_AVAILLO, 4, (uint32_t)l.avail);
    wr(VIRTIO_PCI_COMMON_Q_USEDLO, 4, (uint32_t)l.used);
    wr(VIRTIO_PCI_COMMON_MSIX, 2, 0);
    wr(VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
    wr(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    for (unsigned v = 0; v < VECTORS; v++) {
        wr(VIRTIO_PCI_AT_MSIX_TABLE + 16 * v, 4, 0xfee00000);
        wr(VIRTIO_PCI_AT_MSIX_TABLE + 16 * v + 8, 4, 0x40 + v);
        wr(VIRTIO_PCI_AT_MSIX_TABLE + 16 * v + 12, 4, 0);
    }
    cwr(vp.fn.msix.capability + 2u, 2, PCI_MSIX_FLAGS_ENABLE);
    wr(VIRTIO_PCI_COMMON_STATUS, 1, 0xf);
    vkit_run(&kit);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_STATUS, 1), 0xf);
}

START_TEST(request_and_interrupt)
{
    driver_up();
    struct vkit_buf buf = {.gpa = vkit_alloc(&kit, 64, 16), .len = 64, .writable = true};
    vkit_add(&kit, 0, &buf, 1);
    wr(VIRTIO_PCI_AT_NOTIFY, 2, 0);
    ck_assert(vkit_wait_used(&kit, 0, 1));
    ck_assert_uint_eq(seen.raises[1], 1);
    ck_assert_uint_eq(seen.raises[0], 0);
    ck_assert_uint_eq(rd(VIRTIO_PCI_AT_ISR, 1), 1);
    ck_assert_uint_eq(rd(VIRTIO_PCI_AT_ISR, 1), 0); /* reading cleared it */
}
END_TEST

START_TEST(configuration_interrupt)
{
    driver_up();
    virtio_device_config_changed(&rng.dev, 0, "\xff", 1);
    ck_assert_uint_eq(seen.raises[0], 1);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_CFGGENERATION, 1), 1);
    ck_assert_uint_eq(rd(VIRTIO_PCI_AT_ISR, 4), 2);
}
END_TEST

START_TEST(registers_frozen_while_running)
{
    driver_up();
    struct virtq_layout before = rng.dev.queue[0].layout;
    for (unsigned at = VIRTIO_PCI_COMMON_Q_SIZE; at < 56; at += 4)
        wr(at, 4, 0x01010101);
    ck_assert_mem_eq(&rng.dev.queue[0].layout, &before, sizeof(before));
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_MSIX, 2), 1);
    wr(VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
    wr(VIRTIO_PCI_COMMON_GF, 4, 0);
    ck_assert_uint_eq(rng.dev.driver_features, VKIT_FEATURES);
}
END_TEST

START_TEST(reset_through_status)
{
    driver_up();
    virtio_device_config_changed(&rng.dev, 0, "\xff", 1);
    wr(VIRTIO_PCI_COMMON_STATUS, 1, 0);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_STATUS, 1), 0xf); /* until the loop has stopped */
    vkit_run(&kit);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_STATUS, 1), 0);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_Q_SIZE, 2), VIRTIO_RNG_QUEUE_SIZE);
    ck_assert_uint_eq(rd(VIRTIO_PCI_AT_ISR, 1), 0);
    driver_up();
}
END_TEST

/* ---- notifications ---- */

START_TEST(kicks_follow_the_bar)
{
    ck_assert_uint_eq(seen.adds, 1);
    ck_assert_uint_eq(seen.gpa, BAR_GPA + VIRTIO_PCI_AT_NOTIFY);
    ck_assert_int_eq(seen.fd, rng.dev.queue[0].kick_fd);
    cwr(PCI_COMMAND, 2, 0);
    cwr(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    ck_assert_uint_eq(seen.adds, 1);
    cwr(PCI_BASE_ADDRESS_0, 4, 0xd0000000);
    ck_assert_uint_eq(seen.adds, 2);
    ck_assert_uint_eq(seen.removes, 1);
    ck_assert_uint_eq(seen.gpa, 0xd0000000 + VIRTIO_PCI_AT_NOTIFY);
    cwr(PCI_BASE_ADDRESS_0, 4, 0);
    ck_assert_uint_eq(seen.removes, 2);
    ck_assert_uint_eq(vp.kick_gpa, 0);
}
END_TEST

/* ---- the window in configuration space, §4.1.4.9 ---- */

static unsigned window(uint8_t bar, uint32_t offset, uint32_t length)
{
    unsigned at = find_cap(VIRTIO_PCI_CAP_PCI_CFG);
    cwr(at + VIRTIO_PCI_CAP_BAR, 1, bar);
    cwr(at + VIRTIO_PCI_CAP_OFFSET, 4, offset);
    cwr(at + VIRTIO_PCI_CAP_LENGTH, 4, length);
    return at + 16;
}

START_TEST(window_reads)
{
    unsigned data = window(0, VIRTIO_PCI_COMMON_Q_SIZE, 2);
    ck_assert_uint_eq(crd(data, 2), VIRTIO_RNG_QUEUE_SIZE);
    window(0, VIRTIO_PCI_AT_DEVICE + 4, 4);
    ck_assert_uint_eq(crd(data, 4), 0x08070605);
    ck_assert_uint_eq(crd(data + 3, 1), 0x08);
}
END_TEST

START_TEST(window_writes)
{
    unsigned data = window(0, VIRTIO_PCI_COMMON_STATUS, 1);
    cwr(data, 1, 1);
    ck_assert_uint_eq(rd(VIRTIO_PCI_COMMON_STATUS, 1), 1);
    window(0, VIRTIO_PCI_COMMON_Q_SIZE, 2);
    cwr(data, 2, 32);
    ck_assert_uint_eq(rng.dev.queue[0].layout.size, 32);
    struct pollfd p = {.fd = rng.dev.queue[0].kick_fd, .events = POLLIN};
    ck_assert_int_eq(poll(&p, 1, 0), 0);
    window(0, VIRTIO_PCI_AT_NOTIFY, 2);
    cwr(data, 2, 0);
    ck_assert_int_eq(poll(&p, 1, 0), 1);
}
END_TEST

START_TEST(window_refuses)
{
    static const struct {
        uint8_t bar;
        uint32_t offset, length;
    } bad[] = {
        {1, 24, 2},         {255, 24, 2},           {0, 24, 0}, {0, 24, 3},
        {0, 24, 8},         {0, 24, UINT32_MAX},    {0, 25, 2}, {0, VIRTIO_PCI_BAR_SIZE, 1},
        {0, UINT32_MAX, 1}, {0, UINT32_MAX - 3, 4},
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        unsigned data = window(bad[i].bar, bad[i].offset, bad[i].length);
        cwr(data, 4, 0x5a5a5a5a);
        ck_assert_uint_eq(crd(data, 4), 0x5a5a5a5a); /* plain memory */
        ck_assert_uint_eq(rng.dev.queue[0].layout.size, VIRTIO_RNG_QUEUE_SIZE);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("virtio over PCI");
    TCase *tc = tcase_create("virtio_pci");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, identity);
    tcase_add_test(tc, classes);
    tcase_add_test(tc, capabilities);
    tcase_add_test(tc, features);
    tcase_add_test(tc, vectors);
    tcase_add_test(tc, queue_registers);
    tcase_add_test(tc, queue_that_is_not);
    tcase_add_test(tc, elsewhere_in_the_bar);
    tcase_add_test(tc, device_configuration);
    tcase_add_test(tc, request_and_interrupt);
    tcase_add_test(tc, configuration_interrupt);
    tcase_add_test(tc, registers_frozen_while_running);
    tcase_add_test(tc, reset_through_status);
    tcase_add_test(tc, kicks_follow_the_bar);
    tcase_add_test(tc, window_reads);
    tcase_add_test(tc, window_writes);
    tcase_add_test(tc, window_refuses);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

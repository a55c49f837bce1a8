// SPDX-License-Identifier: Apache-2.0
/* The PCI root over real functions: both configuration mechanisms, BAR placing and moving. */
#include "layout.h"
#include "platform/pci_root.h"
#include "run_suite.h"
#include <check.h>
#include <podvisor/cleanup.h>
#include <stdlib.h>
#include <string.h>

static struct bus pio, mmio;
static struct pci_root root;
static unsigned resets;

struct device {
    struct pci_function fn;
    unsigned reads, writes, bar;
    uint64_t offset;
};
static struct device device[PCI_ROOT_SLOTS];

static void host_reset(void *ctx)
{
    (void)ctx;
    resets++;
}

static void device_read(struct pci_function *fn, unsigned bar, uint64_t offset, void *data,
                        unsigned len)
{
    struct device *d = container_of(fn, struct device, fn);
    d->reads++;
    d->bar = bar;
    d->offset = offset;
    memset(data, 0x42, len);
}

static void device_write(struct pci_function *fn, unsigned bar, uint64_t offset, const void *data,
                         unsigned len)
{
    (void)data;
    (void)len;
    struct device *d = container_of(fn, struct device, fn);
    d->writes++;
    d->bar = bar;
    d->offset = offset;
}

static const struct pci_function_ops ops = {.bar_read = device_read, .bar_write = device_write};

static void make_device(struct device *d, uint64_t bar_size)
{
    memset(d, 0, sizeof(*d));
    pci_function_init(&d->fn, "test", &ops, 0x1af4, 0x1042, 0x018000, 1, 0x1af4, 0x1100);
    pci_add_bar(&d->fn, 0, bar_size, true, false);
}

static uint32_t port_read(uint16_t port, unsigned len)
{
    uint32_t value = 0;
    bus_read(&pio, port, &value, len);
    return value;
}

static void port_write(uint16_t port, uint32_t value, unsigned len)
{
    bus_write(&pio, port, &value, len);
}

static uint32_t cf8_read(unsigned slot, unsigned reg, unsigned len)
{
    port_write(0xcf8, 0x80000000 | slot << 11 | (reg & 0xfc), 4);
    return port_read((uint16_t)(0xcfc + (reg & 3)), len);
}

static uint64_t ecam(unsigned slot, unsigned reg)
{
    return LAYOUT_ECAM_BASE + ((uint64_t)slot << 15) + reg;
}

static uint32_t ecam_read(unsigned slot, unsigned reg, unsigned len)
{
    uint32_t value = 0;
    bus_read(&mmio, ecam(slot, reg), &value, len);
    return value;
}

static void ecam_write(unsigned slot, unsigned reg, uint32_t value, unsigned len)
{
    bus_write(&mmio, ecam(slot, reg), &value, len);
}

static void setup(void)
{
    resets = 0;
    bus_init(&pio, "pio");
    bus_init(&mmio, "mmio");
    ck_assert_int_eq(pci_root_init(&root, &pio, &mmio, host_reset, NULL, NULL), 0);
    make_device(&device[1], 0x4000);
    make_device(&device[2], 0x10000);
    ck_assert_int_eq(pci_root_add(&root, &device[1].fn, NULL), 0);
    ck_assert_int_eq(pci_root_add(&root, &device[2].fn, NULL), 0);
}

static void teardown(void)
{
    pci_root_done(&root);
}

START_TEST(identities_by_both_mechanisms)
{
    ck_assert_uint_eq(cf8_read(0, 0, 4), 0x00081b36);
    ck_assert_uint_eq(ecam_read(0, 0x08, 4), 0x06000000);
    ck_assert_uint_eq(cf8_read(1, 0, 4), 0x10421af4);
    ck_assert_uint_eq(ecam_read(1, 0, 4), 0x10421af4);
    ck_assert_uint_eq(cf8_read(2, 2, 2), 0x1042);
    ck_assert_uint_eq(cf8_read(2, 3, 1), 0x10);
    ck_assert_uint_eq(ecam_read(2, 3, 1), 0x10);
}
END_TEST

START_TEST(absent_functions)
{
    ck_assert_uint_eq(cf8_read(3, 0, 4), UINT32_MAX);
    ck_assert_uint_eq(ecam_read(31, 0, 4), UINT32_MAX);
    ck_assert_uint_eq(ecam_read(1, 1 << 12, 4), UINT32_MAX); /* function 1 */
    port_write(0xcf8, 0x80010000 | 1 << 11, 4);              /* bus 1 */
    ck_assert_uint_eq(port_read(0xcfc, 4), UINT32_MAX);
    port_write(0xcf8, 1 << 11, 4); /* enable bit clear */
    ck_assert_uint_eq(port_read(0xcfc, 4), UINT32_MAX);
    ecam_write(3, 4, 0xffff, 2);
    /* No extended capabilities; nothing across a register space's end. */
    ck_assert_uint_eq(ecam_read(1, 0x100, 4), 0);
    ck_assert_uint_eq(ecam_read(1, 0xffc, 4), 0);
    ck_assert_uint_eq(ecam_read(1, 0xfe, 4), UINT32_MAX);
}
END_TEST

START_TEST(address_port_is_a_dword)
{
    port_write(0xcf8, 0xffffffff, 4);
    ck_assert_uint_eq(port_read(0xcf8, 4), 0x80fffffc);
    port_write(0xcf8, 0, 2);
    port_write(0xcfa, 0, 1);
    ck_assert_uint_eq(port_read(0xcf8, 4), 0x80fffffc);
    ck_assert_uint_eq(port_read(0xcf8, 2), 0xffff);
    ck_assert_uint_eq(port_read(0xcfe, 4), UINT32_MAX); /* crosses the data port's end */
}
END_TEST

START_TEST(reset_control)
{
    port_write(0xcf9, 0x02, 1);
    ck_assert_uint_eq(resets, 0);
    ck_assert_uint_eq(port_read(0xcf9, 1), 0x02);
    port_write(0xcf9, 0x04, 1);
    port_write(0xcf9, 0x0606, 2);
    ck_assert_uint_eq(resets, 0);
    port_write(0xcf9, 0x06, 1);
    ck_assert_uint_eq(resets, 1);
    port_write(0xcf9, 0x0e, 1);
    ck_assert_uint_eq(resets, 2);
}
END_TEST

START_TEST(bars_are_placed_aligned)
{
    ck_assert_uint_eq(device[1].fn.bar[0].address, LAYOUT_MMIO32_BASE);
    ck_assert_uint_eq(device[2].fn.bar[0].address, LAYOUT_MMIO32_BASE + 0x10000);
    uint32_t value;
    bus_read(&mmio, LAYOUT_MMIO32_BASE + 0x13ff8, &value, 4);
    ck_assert_uint_eq(value, 0x42424242);
    ck_assert_uint_eq(device[2].reads, 1);
    ck_assert_uint_eq(device[2].offset, 0x3ff8);
    bus_write(&mmio, LAYOUT_MMIO32_BASE + 0x10, &value, 4);
    ck_assert_uint_eq(device[1].writes, 1);
    ck_assert_uint_eq(device[1].offset, 0x10);
    bus_read(&mmio, LAYOUT_MMIO32_BASE + 0x4000, &value, 4);
    ck_assert_uint_eq(value, UINT32_MAX);
}
END_TEST

START_TEST(windows_follow_the_bars)
{
    uint32_t value;
    uint64_t old = device[1].fn.bar[0].address, new = LAYOUT_MMIO32_BASE + 0x100000;
    ecam_write(1, 0x10, (uint32_t) new, 4);
    bus_read(&mmio, old, &value, 4);
    ck_assert_uint_eq(device[1].reads, 0);
    bus_read(&mmio, new, &value, 4);
    ck_assert_uint_eq(device[1].reads, 1);
    ecam_write(1, 0x14, 0x12, 4); /* the upper half, above 4 GiB */
    bus_read(&mmio, 0x1200000000ull + new, &value, 4);
    ck_assert_uint_eq(device[1].reads, 2);

    ecam_write(1, 4, 0, 2); /* memory decoding off */
    bus_read(&mmio, 0x1200000000ull + new, &value, 4);
    ck_assert_uint_eq(value, UINT32_MAX);
    ecam_write(1, 4, 2, 2);
    bus_read(&mmio, 0x1200000000ull + new, &value, 4);
    ck_assert_uint_eq(device[1].reads, 3);

    pci_function_reset(&device[1].fn);
    pci_root_reset(&root);
    bus_read(&mmio, old, &value, 4);
    ck_assert_uint_eq(device[1].reads, 4);
    ck_assert_uint_eq(port_read(0xcf8, 4), 0);
}
END_TEST

/* Onto another BAR, ECAM and the top of the address space: the guest's own problem. */
START_TEST(overlapping_bars)
{
    uint32_t value;
    ecam_write(2, 0x10, LAYOUT_MMIO32_BASE, 4);
    bus_read(&mmio, LAYOUT_MMIO32_BASE, &value, 4);
    ck_assert_uint_eq(device[1].reads, 1);
    ck_assert_uint_eq(device[2].reads, 0);
    ecam_write(2, 0x10, (uint32_t)LAYOUT_ECAM_BASE, 4);
    ck_assert_uint_eq(ecam_read(0, 0, 4), 0x00081b36);
    ecam_write(2, 0x10, 0xffffffff, 4);
    ecam_write(2, 0x14, 0xffffffff, 4);
    bus_read(&mmio, UINT64_MAX - 3, &value, 4);
    ck_assert_uint_eq(device[2].offset, 0xfffc);
}
END_TEST

START_TEST(limits)
{
    struct error err = ERROR_INIT;
    static struct device huge;
    make_device(&huge, 2 * LAYOUT_MMIO32_SIZE);
    ck_assert_int_eq(pci_root_add(&root, &huge.fn, &err), -ENOSPC);
    for (unsigned slot = 3; slot < PCI_ROOT_SLOTS; slot++) {
        make_device(&device[slot], 0x4000);
        ck_assert_int_eq(pci_root_add(&root, &device[slot].fn, &err), 0);
    }
    static struct device excess;
    make_device(&excess, 0x4000);
    ck_assert_int_eq(pci_root_add(&root, &excess.fn, &err), -ENOSPC);
    ck_assert_uint_eq(ecam_read(31, 0, 4), 0x10421af4);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pci-root");
    TCase *tc = tcase_create("root");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, identities_by_both_mechanisms);
    tcase_add_test(tc, absent_functions);
    tcase_add_test(tc, address_port_is_a_dword);
    tcase_add_test(tc, reset_control);
    tcase_add_test(tc, bars_are_placed_aligned);
    tcase_add_test(tc, windows_follow_the_bars);
    tcase_add_test(tc, overlapping_bars);
    tcase_add_test(tc, limits);
    suite_add_tcase(s, tc);
    return run_suite(s);
}

// SPDX-License-Identifier: Apache-2.0
/* The I/O APIC: registers, messages, edge and level, EOI by broadcast, by register and by toggle.
 */
#include "platform/ioapic.h"
#include "run_suite.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

#define LEVEL  0x8000u
#define MASKED 0x10000u

static struct bus bus;
static struct ioapic ioapic;
static struct {
    unsigned deliveries[LAYOUT_IOAPIC_PINS];
    unsigned routes[LAYOUT_IOAPIC_PINS];
    bool routed[LAYOUT_IOAPIC_PINS];
    struct msi_message route[LAYOUT_IOAPIC_PINS];
} host;

static void host_route(void *ctx, unsigned pin, const struct msi_message *msg)
{
    (void)ctx;
    host.routes[pin]++;
    host.routed[pin] = msg != NULL;
    if (msg != NULL)
        host.route[pin] = *msg;
}

static void host_deliver(void *ctx, unsigned pin, const struct msi_message *msg)
{
    (void)ctx;
    host.deliveries[pin]++;
    ck_assert(host.routed[pin]);
    ck_assert_uint_eq(msg->address, host.route[pin].address);
    ck_assert_uint_eq(msg->data, host.route[pin].data);
}

static const struct ioapic_ops ops = {.route = host_route, .deliver = host_deliver};

static uint32_t mmio_read(unsigned offset)
{
    uint32_t value;
    bus_read(&bus, LAYOUT_IOAPIC_BASE + offset, &value, 4);
    return value;
}

static void mmio_write(unsigned offset, uint32_t value)
{
    bus_write(&bus, LAYOUT_IOAPIC_BASE + offset, &value, 4);
}

static uint32_t reg_read(uint8_t reg)
{
    mmio_write(0, reg);
    return mmio_read(0x10);
}

static void reg_write(uint8_t reg, uint32_t value)
{
    mmio_write(0, reg);
    mmio_write(0x10, value);
}

static void program(unsigned pin, uint32_t low, uint8_t dest)
{
    reg_write((uint8_t)(0x11 + 2 * pin), (uint32_t)dest << 24);
    reg_write((uint8_t)(0x10 + 2 * pin), low);
}

static void setup(void)
{
    memset(&host, 0, sizeof(host));
    bus_init(&bus, "mmio");
    ck_assert_int_eq(ioapic_init(&ioapic, &bus, &ops, NULL, NULL), 0);
}

static void teardown(void)
{
    ioapic_done(&ioapic);
}

START_TEST(registers)
{
    ck_assert_uint_eq(reg_read(1), 0x00170020);
    reg_write(1, UINT32_MAX);
    ck_assert_uint_eq(reg_read(1), 0x00170020);
    reg_write(0, UINT32_MAX);
    ck_assert_uint_eq(reg_read(0), 0x0f000000);
    ck_assert_uint_eq(reg_read(2), 0x0f000000);
    ck_assert_uint_eq(mmio_read(0), 2);
    for (unsigned pin = 0; pin < LAYOUT_IOAPIC_PINS; pin++)
        ck_assert_uint_eq(reg_read((uint8_t)(0x10 + 2 * pin)), MASKED);
    /* Read-only and reserved bits of an entry; registers that do not exist. */
    program(3, UINT32_MAX, 0xff);
    ck_assert_uint_eq(reg_read(0x16), 0x1afff);
    reg_write(0x17, UINT32_MAX);
    ck_assert_uint_eq(reg_read(0x17), 0xff000000);
    static const uint8_t absent[] = {0x03, 0x0f, 0x40, 0x41, 0xff};
    for (unsigned i = 0; i < sizeof(absent); i++) {
        reg_write(absent[i], UINT32_MAX);
        ck_assert_uint_eq(reg_read(absent[i]), 0);
    }
    ck_assert_uint_eq(mmio_read(0x20), 0);
}
END_TEST

START_TEST(parts_of_registers)
{
    program(4, 0x30, 1);
    mmio_write(0, 0x18);
    uint16_t half = 0xffff;
    bus_write(&bus, LAYOUT_IOAPIC_BASE + 0x10, &half, 2);
    ck_assert_uint_eq(mmio_read(0x10), 0x30);
    bus_read(&bus, LAYOUT_IOAPIC_BASE + 0x10, &half, 2);
    ck_assert_uint_eq(half, 0x30);
    uint8_t select = 1;
    bus_write(&bus, LAYOUT_IOAPIC_BASE, &select, 1);
    ck_assert_uint_eq(mmio_read(0x10), 0x00170020);
    uint64_t wide;
    bus_read(&bus, LAYOUT_IOAPIC_BASE + 0x10, &wide, 8);
    ck_assert_uint_eq(wide, 0x00170020);
}
END_TEST

START_TEST(messages)
{
    static const struct {
        uint32_t low;
        uint8_t dest;
        uint64_t address;
        uint32_t data;
    } entry[] = {
        {0x0030, 0x00, 0xfee00000, 0x0030},          /* fixed, physical, edge */
        {0x8931, 0x03, 0xfee0300c, 0xc131},          /* lowest priority, logical, level */
        {0x0400, 0xff, 0xfeeff000, 0x0400},          /* NMI to all */
        {0x0032 | MASKED, 0x01, 0xfee01000, 0x0032}, /* masked: still the one in service */
    };
    for (unsigned i = 0; i < sizeof(entry) / sizeof(entry[0]); i++) {
        program(i, entry[i].low, entry[i].dest);
        ck_assert(host.routed[i]);
        ck_assert_uint_eq(host.route[i].address, entry[i].address);
        ck_assert_uint_eq(host.route[i].data, entry[i].data);
    }
    /* Illegal vector, reserved mode, ExtINT: nothing to send. */
    static const uint32_t mute[] = {0x000f, 0x0340, 0x0700};
    for (unsigned i = 0; i < sizeof(mute) / sizeof(mute[0]); i++) {
        program(10 + i, mute[i], 0);
        ioapic_set_pin(&ioapic, 10 + i, true);
        ck_assert(!host.routed[10 + i]);
        ck_assert_uint_eq(host.deliveries[10 + i], 0);
    }
}
END_TEST

START_TEST(route_is_told_of_changes_only)
{
    program(4, 0x30, 0);
    ck_assert_uint_eq(host.routes[4], 1);
    program(4, 0x30 | MASKED, 0);
    program(4, 0x30, 0);
    ck_assert_uint_eq(host.routes[4], 1);
    program(4, 0, 0);
    ck_assert_uint_eq(host.routes[4], 2);
    ck_assert(!host.routed[4]);
}
END_TEST

START_TEST(edge)
{
    program(4, 0x30, 0);
    ioapic_set_pin(&ioapic, 4, true);
    ck_assert_uint_eq(host.deliveries[4], 1);
    ioapic_set_pin(&ioapic, 4, true);
    ck_assert_uint_eq(host.deliveries[4], 1);
    ioapic_set_pin(&ioapic, 4, false);
    ioapic_set_pin(&ioapic, 4, true);
    ck_assert_uint_eq(host.deliveries[4], 2);
    ck_assert_uint_eq(reg_read(0x18) & 0x4000, 0); /* no remote IRR */

    ioapic_set_pin(&ioapic, 4, false);
    program(4, 0x30 | MASKED, 0);
    ioapic_set_pin(&ioapic, 4, true);
    program(4, 0x30, 0);
    ck_assert_uint_eq(host.deliveries[4], 2); /* lost while masked */
}
END_TEST

START_TEST(level_until_eoi)
{
    program(9, 0x40 | LEVEL, 0);
    ioapic_set_pin(&ioapic, 9, true);
    ck_assert_uint_eq(host.deliveries[9], 1);
    ck_assert_uint_eq(reg_read(0x22), 0x40 | LEVEL | 0x4000);
    ioapic_set_pin(&ioapic, 9, false);
    ioapic_set_pin(&ioapic, 9, true);
    ck_assert_uint_eq(host.deliveries[9], 1); /* still in service */
    ioapic_eoi(&ioapic, 0x41);
    ck_assert_uint_eq(host.deliveries[9], 1); /* somebody else's vector */
    ioapic_eoi(&ioapic, 0x40);
    ck_assert_uint_eq(host.deliveries[9], 2); /* still asserted */
    ioapic_set_pin(&ioapic, 9, false);
    mmio_write(0x40, 0x40); /* EOI register */
    ck_assert_uint_eq(host.deliveries[9], 2);
    ck_assert_uint_eq(reg_read(0x22), 0x40 | LEVEL);
}
END_TEST

/* A threaded handler: masked in the hard interrupt, EOI while masked, unmasked by the thread. */
START_TEST(level_masked_in_service)
{
    program(9, 0x40 | LEVEL, 0);
    ioapic_set_pin(&ioapic, 9, true);
    program(9, 0x40 | LEVEL | MASKED, 0);
    ck_assert(host.routed[9]); /* or KVM would not tell us of the EOI */
    ioapic_eoi(&ioapic, 0x40);
    ck_assert_uint_eq(host.deliveries[9], 1);
    program(9, 0x40 | LEVEL, 0);
    ck_assert_uint_eq(host.deliveries[9], 2);
    ck_assert_uint_eq(host.routes[9], 1);
}
END_TEST

START_TEST(level_asserted_before_unmask)
{
    ioapic_set_pin(&ioapic, 9, true);
    ck_assert_uint_eq(host.deliveries[9], 0);
    program(9, 0x40 | LEVEL, 0);
    ck_assert_uint_eq(host.deliveries[9], 1);
}
END_TEST

START_TEST(toggling_the_trigger_mode_ends_service)
{
    program(9, 0x40 | LEVEL, 0);
    ioapic_set_pin(&ioapic, 9, true);
    reg_write(0x22, 0x40 | MASKED);
    ck_assert_uint_eq(reg_read(0x22), 0x40 | MASKED);
    reg_write(0x22, 0x40 | LEVEL);
    ck_assert_uint_eq(host.deliveries[9], 2);
}
END_TEST

START_TEST(one_vector_on_two_pins)
{
    program(9, 0x40 | LEVEL, 0);
    program(10, 0x40 | LEVEL, 0);
    ioapic_set_pin(&ioapic, 9, true);
    ioapic_set_pin(&ioapic, 10, true);
    ioapic_eoi(&ioapic, 0x40);
    ck_assert_uint_eq(host.deliveries[9], 2);
    ck_assert_uint_eq(host.deliveries[10], 2);
}
END_TEST

START_TEST(reset)
{
    program(9, 0x40 | LEVEL, 0);
    ioapic_set_pin(&ioapic, 9, true);
    reg_write(0, 0x05000000);
    ioapic_reset(&ioapic);
    ck_assert(!host.routed[9]);
    ck_assert_uint_eq(mmio_read(0), 0);
    ck_assert_uint_eq(reg_read(0), 0);
    ck_assert_uint_eq(reg_read(0x22), MASKED);
    program(9, 0x40 | LEVEL, 0); /* the pin is still high */
    ck_assert_uint_eq(host.deliveries[9], 2);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ioapic");
    TCase *tc = tcase_create("82093AA");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, registers);
    tcase_add_test(tc, parts_of_registers);
    tcase_add_test(tc, messages);
    tcase_add_test(tc, route_is_told_of_changes_only);
    tcase_add_test(tc, edge);
    tcase_add_test(tc, level_until_eoi);
    tcase_add_test(tc, level_masked_in_service);
    tcase_add_test(tc, level_asserted_before_unmask);
    tcase_add_test(tc, toggling_the_trigger_mode_ends_service);
    tcase_add_test(tc, one_vector_on_two_pins);
    tcase_add_test(tc, reset);
    suite_add_tcase(s, tc);
    return run_suite(s);
}

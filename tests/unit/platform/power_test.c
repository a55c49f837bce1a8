// SPDX-License-Identifier: Apache-2.0
/* The ports by which a guest ends or resets itself: power, i8042, pvpanic, debug exit. */
#include "layout.h"
#include "platform/debug_exit.h"
#include "platform/power.h"
#include "platform/pvpanic.h"
#include "run_suite.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct bus bus;
static struct power power;
static struct pvpanic pvpanic;
static struct debug_exit debug_exit;
static struct {
    unsigned off, reset, panics, exits, irq_calls;
    bool irq[4];
    uint8_t events;
    uint32_t exit_code;
} host;

static void host_off(void *ctx)
{
    (void)ctx;
    host.off++;
}

static void host_reset(void *ctx)
{
    (void)ctx;
    host.reset++;
}

static void host_set_irq(void *ctx, bool level)
{
    (void)ctx;
    host.irq[host.irq_calls++ % 4] = level;
}

static void host_panic(void *ctx, uint8_t events)
{
    (void)ctx;
    host.panics++;
    host.events = events;
}

static void host_exit(void *ctx, uint32_t code)
{
    (void)ctx;
    host.exits++;
    host.exit_code = code;
}

static const struct power_ops ops = {
    .off = host_off,
    .reset = host_reset,
    .set_irq = host_set_irq,
};

static void out(uint16_t port, uint8_t value)
{
    bus_write(&bus, port, &value, 1);
}

static uint8_t in(uint16_t port)
{
    uint8_t value = 0x5a;
    bus_read(&bus, port, &value, 1);
    return value;
}

static void setup(void)
{
    memset(&host, 0, sizeof(host));
    bus_init(&bus, "pio");
    ck_assert_int_eq(power_init(&power, &bus, &ops, NULL, NULL), 0);
    ck_assert_int_eq(pvpanic_init(&pvpanic, &bus, host_panic, NULL, NULL), 0);
    ck_assert_int_eq(debug_exit_init(&debug_exit, &bus, host_exit, NULL, NULL), 0);
}

START_TEST(soft_off)
{
    out(LAYOUT_PORT_SLEEP_CONTROL, 5 << 2); /* SLP_EN missing */
    for (unsigned type = 0; type < 8; type++) {
        if (type != 5)
            out(LAYOUT_PORT_SLEEP_CONTROL, (uint8_t)(0x20 | type << 2));
    }
    out(LAYOUT_PORT_SLEEP_STATUS, 0x20 | 5 << 2);
    ck_assert_uint_eq(host.off, 0);
    out(LAYOUT_PORT_SLEEP_CONTROL, 0x20 | 5 << 2);
    ck_assert_uint_eq(host.off, 1);
    ck_assert_uint_eq(host.reset, 0);
    ck_assert_uint_eq(in(LAYOUT_PORT_SLEEP_CONTROL), 0);
    ck_assert_uint_eq(in(LAYOUT_PORT_SLEEP_STATUS), 0);
}
END_TEST

START_TEST(resets)
{
    out(LAYOUT_PORT_RESET, LAYOUT_RESET_VALUE + 1);
    out(LAYOUT_PORT_I8042_COMMAND, 0xff);
    out(LAYOUT_PORT_I8042_DATA, 0xfe);
    ck_assert_uint_eq(host.reset, 0);
    out(LAYOUT_PORT_RESET, LAYOUT_RESET_VALUE);
    ck_assert_uint_eq(host.reset, 1);
    ck_assert_uint_eq(in(LAYOUT_PORT_I8042_COMMAND), 0); /* input buffer free: kb_wait() ends */
    out(LAYOUT_PORT_I8042_COMMAND, 0xfe);
    ck_assert_uint_eq(host.reset, 2);
    ck_assert_uint_eq(host.off, 0);
}
END_TEST

START_TEST(button_is_one_pulse)
{
    power_press_button(&power);
    ck_assert_uint_eq(host.irq_calls, 2);
    ck_assert(host.irq[0] && !host.irq[1]);
}
END_TEST

START_TEST(panic)
{
    ck_assert_uint_eq(in(LAYOUT_PORT_PVPANIC), PVPANIC_PANICKED | PVPANIC_CRASH_LOADED);
    out(LAYOUT_PORT_PVPANIC, 0xfc); /* nothing that we know of */
    ck_assert_uint_eq(host.panics, 0);
    out(LAYOUT_PORT_PVPANIC, 0xfd);
    ck_assert_uint_eq(host.panics, 1);
    ck_assert_uint_eq(host.events, PVPANIC_PANICKED);
}
END_TEST

START_TEST(exit_code)
{
    out(LAYOUT_PORT_DEBUG_EXIT, 0x10);
    ck_assert_uint_eq(host.exit_code, 0x21);
    uint32_t wide = 0x80000003;
    bus_write(&bus, LAYOUT_PORT_DEBUG_EXIT, &wide, 4);
    ck_assert_uint_eq(host.exit_code, 7);
    ck_assert_uint_eq(host.exits, 2);
    ck_assert_uint_eq(in(LAYOUT_PORT_DEBUG_EXIT), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("power");
    TCase *tc = tcase_create("ports");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, soft_off);
    tcase_add_test(tc, resets);
    tcase_add_test(tc, button_is_one_pulse);
    tcase_add_test(tc, panic);
    tcase_add_test(tc, exit_code);
    suite_add_tcase(s, tc);
    return run_suite(s);
}

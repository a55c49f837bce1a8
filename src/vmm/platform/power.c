// SPDX-License-Identifier: Apache-2.0
/* Power and reset registers; vCPU threads, no state. Specifications: see power.h. */
#include "power.h"
#include "layout.h"
#include <string.h>

#define SLEEP_ENABLE     0x20 /* SLP_EN, write-only */
#define SLEEP_TYPE_SHIFT 2    /* SLP_TYP */
#define SLEEP_TYPE_MASK  7

#define SLEEP_PORTS         2 /* control, status */
#define I8042_COMMAND_RESET 0xfe

_Static_assert(LAYOUT_PORT_SLEEP_STATUS == LAYOUT_PORT_SLEEP_CONTROL + 1, "one region for both");

/* Nothing to read: no sleep state is left (WAK_STS), the keyboard controller is idle. */
static void read_zero(void *ctx, uint64_t offset, void *data, unsigned len)
{
    (void)ctx;
    (void)offset;
    memset(data, 0, len);
}

static void sleep_write(void *ctx, uint64_t offset, const void *data, unsigned len)
{
    (void)len;
    const struct power *power = ctx;
    uint8_t value = *(const uint8_t *)data;
    if (offset != 0 || !(value & SLEEP_ENABLE))
        return;
    /* S5 is the only state that the DSDT offers; the specification leaves others to us. */
    if ((value >> SLEEP_TYPE_SHIFT & SLEEP_TYPE_MASK) == LAYOUT_SLEEP_TYPE_S5)
        power->ops->off(power->ctx);
}

static void reset_write(void *ctx, uint64_t offset, const void *data, unsigned len)
{
    (void)offset;
    (void)len;
    const struct power *power = ctx;
    if (*(const uint8_t *)data == LAYOUT_RESET_VALUE)
        power->ops->reset(power->ctx);
}

static void i8042_write(void *ctx, uint64_t offset, const void *data, unsigned len)
{
    (void)offset;
    (void)len;
    const struct power *power = ctx;
    if (*(const uint8_t *)data == I8042_COMMAND_RESET)
        power->ops->reset(power->ctx);
}

static const struct bus_ops sleep_ops = {.read = read_zero, .write = sleep_write, .width = 1};
static const struct bus_ops reset_ops = {.read = read_zero, .write = reset_write, .width = 1};
static const struct bus_ops i8042_ops = {.read = read_zero, .write = i8042_write, .width = 1};

int power_init(struct power *power, struct bus *pio, const struct power_ops *ops, void *ctx,
               struct error *err)
{
    *power = (struct power){.ops = ops, .ctx = ctx};
    int r =
        bus_add(pio, "acpi-sleep", LAYOUT_PORT_SLEEP_CONTROL, SLEEP_PORTS, &sleep_ops, power, err);
    if (r == 0)
        r = bus_add(pio, "acpi-reset", LAYOUT_PORT_RESET, 1, &reset_ops, power, err);
    if (r == 0)
        r = bus_add(pio, "i8042-reset", LAYOUT_PORT_I8042_COMMAND, 1, &i8042_ops, power, err);
    return r;
}

void power_press_button(struct power *power)
{
    power->ops->set_irq(power->ctx, true);
    power->ops->set_irq(power->ctx, false);
}

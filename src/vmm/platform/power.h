// SPDX-License-Identifier: Apache-2.0
/*
 * How a guest turns itself off or resets, and how we press its power button: the registers of
 * hardware-reduced ACPI (ACPI 6.4 §4.8.3.6 reset, §4.8.3.7 sleep), the reset command of the i8042
 * keyboard controller that kernels fall back to, and the line of the generic event device (§5.6.9).
 */
#ifndef PODVISOR_VMM_POWER_H
#define PODVISOR_VMM_POWER_H

#include "bus.h"
#include <stdbool.h>

struct power_ops {
    /* vCPU thread: the guest entered S5. */
    void (*off)(void *ctx);
    /* vCPU thread: the guest asked for a system reset. */
    void (*reset)(void *ctx);
    /* The caller of power_press_button(): level of the event device's interrupt line. */
    void (*set_irq)(void *ctx, bool level);
};

struct power {
    const struct power_ops *ops;
    void *ctx;
};

/* Claims the ports on `pio`. All is borrowed for the device's life. Returns 0 or negative errno. */
int power_init(struct power *power, struct bus *pio, const struct power_ops *ops, void *ctx,
               struct error *err);

/*
 * Any thread: one pulse on the event device's edge-triggered line. Its _EVT method tells the guest
 * that the power button was pressed; that is the only event there is.
 */
void power_press_button(struct power *power);

#endif

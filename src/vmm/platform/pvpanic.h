// SPDX-License-Identifier: Apache-2.0
/*
 * The pvpanic device: one port by which a guest kernel says that it panicked (QEMU, docs/specs/
 * pvpanic.rst). The DSDT declares it as QEMU0001.
 */
#ifndef PODVISOR_VMM_PVPANIC_H
#define PODVISOR_VMM_PVPANIC_H

#include "bus.h"

#define PVPANIC_PANICKED     0x01 /* the guest died and expects us to deal with it */
#define PVPANIC_CRASH_LOADED 0x02 /* it died and now runs its own crash kernel */

struct pvpanic {
    /* vCPU thread: the guest reported these events, never 0. */
    void (*report)(void *ctx, uint8_t events);
    void *ctx;
};

/* Claims the port on `pio`. Borrowed for the device's life. Returns 0 or a negative errno. */
int pvpanic_init(struct pvpanic *pvpanic, struct bus *pio,
                 void (*report)(void *ctx, uint8_t events), void *ctx, struct error *err);

#endif

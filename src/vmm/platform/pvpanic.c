// SPDX-License-Identifier: Apache-2.0
/* The pvpanic port; vCPU threads, no state. QEMU, docs/specs/pvpanic.rst. */
#include "pvpanic.h"
#include "layout.h"

#define EVENTS (PVPANIC_PANICKED | PVPANIC_CRASH_LOADED)

static void pvpanic_read(void *ctx, uint64_t offset, void *data, unsigned len)
{
    (void)ctx;
    (void)offset;
    (void)len;
    *(uint8_t *)data = EVENTS;
}

static void pvpanic_write(void *ctx, uint64_t offset, const void *data, unsigned len)
{
    (void)offset;
    (void)len;
    const struct pvpanic *pvpanic = ctx;
    uint8_t events = *(const uint8_t *)data & EVENTS;
    if (events != 0)
        pvpanic->report(pvpanic->ctx, events);
}

static const struct bus_ops pvpanic_bus_ops = {
    .read = pvpanic_read,
    .write = pvpanic_write,
    .width = 1,
};

int pvpanic_init(struct pvpanic *pvpanic, struct bus *pio,
                 void (*report)(void *ctx, uint8_t events), void *ctx, struct error *err)
{
    *pvpanic = (struct pvpanic){.report = report, .ctx = ctx};
    return bus_add(pio, "pvpanic", LAYOUT_PORT_PVPANIC, 1, &pvpanic_bus_ops, pvpanic, err);
}

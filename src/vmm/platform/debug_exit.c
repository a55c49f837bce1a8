// SPDX-License-Identifier: Apache-2.0
/* QEMU's isa-debug-exit device at its usual place; vCPU threads, no state. Reads give 0. */
#include "debug_exit.h"
#include "layout.h"
#include <string.h>

#define PORTS 4

static void debug_exit_read(void *ctx, uint64_t offset, void *data, unsigned len)
{
    (void)ctx;
    (void)offset;
    memset(data, 0, len);
}

static void debug_exit_write(void *ctx, uint64_t offset, const void *data, unsigned len)
{
    (void)offset;
    const struct debug_exit *device = ctx;
    uint32_t value = 0;
    memcpy(&value, data, len);
    device->exit(device->ctx, value << 1 | 1);
}

static const struct bus_ops debug_exit_bus_ops = {
    .read = debug_exit_read,
    .write = debug_exit_write,
    .width = PORTS,
};

int debug_exit_init(struct debug_exit *device, struct bus *pio,
                    void (*exit)(void *ctx, uint32_t code), void *ctx, struct error *err)
{
    *device = (struct debug_exit){.exit = exit, .ctx = ctx};
    return bus_add(pio, "debug-exit", LAYOUT_PORT_DEBUG_EXIT, PORTS, &debug_exit_bus_ops, device,
                   err);
}

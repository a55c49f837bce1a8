// SPDX-License-Identifier: Apache-2.0
/* A port that ends the process with a code of the guest's choice, for tests (--debug-exit). */
#ifndef PODVISOR_VMM_DEBUG_EXIT_H
#define PODVISOR_VMM_DEBUG_EXIT_H

#include "bus.h"

struct debug_exit {
    /* vCPU thread: end with this code; of a value v that was written it is (v << 1) | 1. */
    void (*exit)(void *ctx, uint32_t code);
    void *ctx;
};

/* Claims the ports on `pio`. Borrowed for the device's life. Returns 0 or a negative errno. */
int debug_exit_init(struct debug_exit *device, struct bus *pio,
                    void (*exit)(void *ctx, uint32_t code), void *ctx, struct error *err);

#endif

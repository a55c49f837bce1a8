// SPDX-License-Identifier: Apache-2.0
/*
 * A guest's stream of configuration and BAR accesses to the PCI root with three functions behind
 * it. Each step is twelve bytes: what, length, register (2), value (8). Checked beside memory
 * safety: a BAR access that reaches a function lies wholly inside the BAR.
 */
#include "layout.h"
#include "platform/pci_root.h"
#include <podvisor/cleanup.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEP_BYTES 12

static void check_access(const struct pci_function *fn, unsigned bar, uint64_t offset, unsigned len)
{
    if (bar >= PCI_BAR_MAX || offset >= fn->bar[bar].size || len > fn->bar[bar].size - offset)
        abort();
}

static void bar_read(struct pci_function *fn, unsigned bar, uint64_t offset, void *data,
                     unsigned len)
{
    check_access(fn, bar, offset, len);
    if (!pci_msix_bar_read(fn, bar, offset, data, len))
        memset(data, 0, len);
}

static void bar_write(struct pci_function *fn, unsigned bar, uint64_t offset, const void *data,
                      unsigned len)
{
    check_access(fn, bar, offset, len);
    pci_msix_bar_write(fn, bar, offset, data, len);
}

static void irq_route(void *ctx, unsigned vector, const struct msi_message *msg)
{
    (void)ctx;
    (void)msg;
    if (vector >= PCI_MSIX_VEC_MAX)
        abort();
}

static void irq_raise(void *ctx, unsigned vector)
{
    irq_route(ctx, vector, NULL);
}

static void ignore_reset(void *ctx)
{
    (void)ctx;
}

static const struct pci_function_ops ops = {.bar_read = bar_read, .bar_write = bar_write};
static const struct pci_irq_ops irq_ops = {.route = irq_route, .raise = irq_raise};

static void run_step(struct bus *pio, struct bus *mmio, const struct pci_function *fn,
                     const uint8_t *step)
{
    unsigned len = 1u << (step[1] & 3);
    uint16_t reg;
    uint64_t value;
    memcpy(&reg, step + 2, sizeof(reg));
    memcpy(&value, step + 4, sizeof(value));
    uint64_t gpa = (step[0] & 8 ? fn->bar[0].address
                                : LAYOUT_ECAM_BASE + ((uint64_t)(step[1] >> 2 & 3) << 15)) +
                   (reg & 0x7fff);
    uint64_t port = LAYOUT_PORT_PCI_ADDRESS + (reg & 7);
    switch (step[0] & 3) {
    case 0:
        bus_read(mmio, gpa, &value, len);
        break;
    case 1:
        bus_write(mmio, gpa, &value, len);
        break;
    case 2:
        bus_read(pio, port, &value, len);
        break;
    default:
        bus_write(pio, port, &value, len);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bus pio, mmio;
    static struct pci_root root;
    static struct pci_function fn[3];
    bus_init(&pio, "pio");
    bus_init(&mmio, "mmio");
    if (pci_root_init(&root, &pio, &mmio, ignore_reset, NULL, NULL) < 0)
        abort();
    for (unsigned i = 0; i < ARRAY_SIZE(fn); i++) {
        pci_function_init(&fn[i], "fuzz", &ops, 0x1af4, 0x1042, 0x018000, 1, 0x1af4, 0x1100);
        pci_add_bar(&fn[i], 0, 0x4000, i != 0, false);
        pci_add_msix(&fn[i], 4, 0, 0x2000, 0x3000, &irq_ops, &fn[i]);
        if (pci_root_add(&root, &fn[i], NULL) < 0)
            abort();
    }
    for (size_t at = 0; size - at >= STEP_BYTES; at += STEP_BYTES)
        run_step(&pio, &mmio, &fn[data[at] >> 4 & 1], data + at);
    pci_root_done(&root);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Routes configuration and BAR accesses to PCI functions; owns the address latch of port 0xcf8 and
 * the BAR windows. vCPU threads. PCI Local Bus 3.0 §3.2.2.3.2 (configuration mechanism #1), PCI
 * Express 4.0 §7.2.2 (ECAM); port 0xcf9 is the reset control register of Intel's ICH (RST_CNT).
 */
#include "pci_root.h"
#include "layout.h"
#include <podvisor/cleanup.h>
#include <string.h>

#define HOST_BRIDGE_VENDOR 0x1b36 /* Red Hat, Inc.: the generic PCIe host bridge */
#define HOST_BRIDGE_DEVICE 0x0008
#define HOST_BRIDGE_CLASS  0x060000

#define CONFIG_PORTS           8 /* 0xcf8..0xcff */
#define CONFIG_DATA_OFFSET     4
#define CONFIG_ADDRESS_ENABLE  0x80000000u
#define CONFIG_ADDRESS_MASK    0x80fffffcu
#define RESET_CONTROL_OFFSET   1 /* 0xcf9 */
#define RESET_CONTROL_SYS_RST  0x02
#define RESET_CONTROL_RST_CPU  0x04
#define RESET_CONTROL_FULL_RST 0x08

static const struct pci_function_ops host_bridge_ops = {0};

/* Bus, device and function as both mechanisms encode them; NULL: nobody answers there. */
static struct pci_function *function_at(struct pci_root *root, unsigned bus, unsigned devfn)
{
    return bus == 0 && (devfn & 7) == 0 ? root->slot[devfn >> 3] : NULL;
}

/* The windows are a function of bar[]: applied after whatever may have changed it. */
static void follow_bars(struct pci_root *root, const struct pci_function *fn)
{
    for (unsigned i = 0; i < root->bar_count; i++) {
        const struct pci_root_bar *b = &root->bar[i];
        if (fn == NULL || b->fn == fn) {
            const struct pci_bar *bar = &b->fn->bar[b->index];
            bus_window_move(b->window, bar->mapped ? bar->address : BUS_UNMAPPED);
        }
    }
}

static uint32_t config_read(struct pci_function *fn, unsigned offset, unsigned len)
{
    if (fn == NULL)
        return UINT32_MAX;
    /* No function has extended capabilities: PCI Express 4.0 §7.9.1 wants a null header. */
    if (offset >= PCI_CONFIG_SIZE)
        return 0;
    if (len > PCI_CONFIG_SIZE - offset)
        return UINT32_MAX;
    return pci_config_read(fn, offset, len);
}

static void config_write(struct pci_root *root, struct pci_function *fn, unsigned offset,
                         unsigned len, uint32_t value)
{
    if (fn == NULL || offset >= PCI_CONFIG_SIZE || len > PCI_CONFIG_SIZE - offset)
        return;
    pci_config_write(fn, offset, len, value);
    follow_bars(root, fn);
}

static struct pci_function *ecam_target(struct pci_root *root, uint64_t offset)
{
    return function_at(root, (unsigned)(offset >> 20), (unsigned)(offset >> 12) & 0xff);
}

static void ecam_read(void *ctx, uint64_t offset, void *data, unsigned len)
{
    struct pci_root *root = ctx;
    pthread_mutex_lock(&root->lock);
    uint32_t value = config_read(ecam_target(root, offset), offset & 0xfff, len);
    pthread_mutex_unlock(&root->lock);
    memcpy(data, &value, len);
}

static void ecam_write(void *ctx, uint64_t offset, const void *data, unsigned len)
{
    struct pci_root *root = ctx;
    uint32_t value = 0;
    memcpy(&value, data, len);
    pthread_mutex_lock(&root->lock);
    config_write(root, ecam_target(root, offset), offset & 0xfff, len, value);
    pthread_mutex_unlock(&root->lock);
}

static struct pci_function *latched_target(struct pci_root *root)
{
    uint32_t address = root->config_address;
    if (!(address & CONFIG_ADDRESS_ENABLE))
        return NULL;
    return function_at(root, address >> 16 & 0xff, address >> 8 & 0xff);
}

static void ports_read(void *ctx, uint64_t offset, void *data, unsigned len)
{
    struct pci_root *root = ctx;
    uint32_t value = UINT32_MAX;
    pthread_mutex_lock(&root->lock);
    if (offset >= CONFIG_DATA_OFFSET) {
        unsigned reg = (root->config_address & 0xfc) + (unsigned)(offset - CONFIG_DATA_OFFSET);
        value = config_read(latched_target(root), reg, len);
    } else if (offset == 0 && len == 4) {
        value = root->config_address;
    } else if (offset == RESET_CONTROL_OFFSET && len == 1) {
        value = root->reset_control;
    }
    pthread_mutex_unlock(&root->lock);
    memcpy(data, &value, len);
}

/* Returns true when the guest asked for a hard reset. */
static bool write_reset_control(struct pci_root *root, uint32_t value)
{
    root->reset_control = value & (RESET_CONTROL_SYS_RST | RESET_CONTROL_FULL_RST);
    return (value & RESET_CONTROL_SYS_RST) && (value & RESET_CONTROL_RST_CPU);
}

static void ports_write(void *ctx, uint64_t offset, const void *data, unsigned len)
{
    struct pci_root *root = ctx;
    uint32_t value = 0;
    bool reset = false;
    memcpy(&value, data, len);
    pthread_mutex_lock(&root->lock);
    if (offset >= CONFIG_DATA_OFFSET) {
        unsigned reg = (root->config_address & 0xfc) + (unsigned)(offset - CONFIG_DATA_OFFSET);
        config_write(root, latched_target(root), reg, len, value);
    } else if (offset == 0 && len == 4) {
        root->config_address = value & CONFIG_ADDRESS_MASK;
    } else if (offset == RESET_CONTROL_OFFSET && len == 1) {
        reset = write_reset_control(root, value);
    }
    pthread_mutex_unlock(&root->lock);
    if (reset)
        root->reset(root->reset_ctx);
}

static void window_read(void *ctx, uint64_t offset, void *data, unsigned len)
{
    const struct pci_root_bar *bar = ctx;
    bar->fn->ops->bar_read(bar->fn, bar->index, offset, data, len);
}

static void window_write(void *ctx, uint64_t offset, const void *data, unsigned len)
{
    const struct pci_root_bar *bar = ctx;
    bar->fn->ops->bar_write(bar->fn, bar->index, offset, data, len);
}

static const struct bus_ops ecam_ops = {.read = ecam_read, .write = ecam_write, .width = 4};
static const struct bus_ops ports_ops = {.read = ports_read, .write = ports_write, .width = 4};
static const struct bus_ops window_ops = {.read = window_read, .write = window_write};

/* Gives one BAR the next address that is aligned to its size, as the specification demands. */
static int place_bar(struct pci_root *root, struct pci_function *fn, unsigned index,
                     struct error *err)
{
    uint64_t size = fn->bar[index].size;
    uint64_t end = LAYOUT_MMIO32_BASE + LAYOUT_MMIO32_SIZE;
    if (size > LAYOUT_MMIO32_SIZE)
        return error_set(err, ENOSPC, "%s: BAR %u is larger than the BAR window", fn->name, index);
    uint64_t address = (root->bar_next + size - 1) & ~(size - 1);
    if (address > end || size > end - address)
        return error_set(err, ENOSPC, "%s: no address left for BAR %u", fn->name, index);

    if (root->bar_count == ARRAY_SIZE(root->bar))
        return error_set(err, ENOSPC, "%s: no window left for BAR %u", fn->name, index);
    struct pci_root_bar *bar = &root->bar[root->bar_count];
    *bar = (struct pci_root_bar){.fn = fn, .index = index};
    int r = bus_add_window(root->mmio, size, &window_ops, bar, &bar->window, err);
    if (r < 0)
        return r;
    root->bar_count++;
    root->bar_next = address + size;
    pci_assign_bar(fn, index, address);
    return 0;
}

int pci_root_init(struct pci_root *root, struct bus *pio, struct bus *mmio,
                  void (*reset)(void *ctx), void *reset_ctx, struct error *err)
{
    memset(root, 0, sizeof(*root));
    root->mmio = mmio;
    root->reset = reset;
    root->reset_ctx = reset_ctx;
    root->bar_next = LAYOUT_MMIO32_BASE;
    int r =
        bus_add(pio, "pci-config", LAYOUT_PORT_PCI_ADDRESS, CONFIG_PORTS, &ports_ops, root, err);
    if (r == 0)
        r = bus_add(mmio, "pci-ecam", LAYOUT_ECAM_BASE, LAYOUT_ECAM_SIZE, &ecam_ops, root, err);
    if (r < 0)
        return r;
    pthread_mutex_init(&root->lock, NULL);
    pci_function_init(&root->host_bridge, "host-bridge", &host_bridge_ops, HOST_BRIDGE_VENDOR,
                      HOST_BRIDGE_DEVICE, HOST_BRIDGE_CLASS, 0, 0, 0);
    return pci_root_add(root, &root->host_bridge, err);
}

void pci_root_done(struct pci_root *root)
{
    pthread_mutex_destroy(&root->lock);
}

int pci_root_add(struct pci_root *root, struct pci_function *fn, struct error *err)
{
    unsigned slot = 0;
    while (slot < PCI_ROOT_SLOTS && root->slot[slot] != NULL)
        slot++;
    if (slot == PCI_ROOT_SLOTS)
        return error_set(err, ENOSPC, "%s: all %d PCI slots are taken", fn->name, PCI_ROOT_SLOTS);
    for (unsigned i = 0; i < PCI_BAR_MAX; i++) {
        if (fn->bar[i].size == 0)
            continue;
        int r = place_bar(root, fn, i, err);
        if (r < 0)
            return r;
    }
    root->slot[slot] = fn;
    follow_bars(root, fn);
    return 0;
}

void pci_root_reset(struct pci_root *root)
{
    pthread_mutex_lock(&root->lock);
    root->config_address = 0;
    root->reset_control = 0;
    pci_function_reset(&root->host_bridge);
    follow_bars(root, NULL);
    pthread_mutex_unlock(&root->lock);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Configuration space of a PCI function: identity, command register, BARs, capability list. PCI
 * Local Bus 3.0 §6.1, §6.2, §6.7. Owns config[], write_mask[] and bar[]; runs in vCPU threads,
 * serialised by the root complex. MSI-X has a file of its own.
 *
 * Every access is a loop over bytes under write_mask[], so unaligned accesses and such that cross
 * registers need no case of their own, and sizing a BAR is nothing but writing ones to a register
 * whose low bits are not writable. What a write means is found out afterwards, from the result.
 */
#include "msix.h"
#include <linux/pci_regs.h>
#include <string.h>

#define FIRST_CAPABILITY 0x40

static void put(struct pci_function *fn, unsigned offset, unsigned len, uint32_t value)
{
    for (unsigned i = 0; i < len; i++)
        fn->config[offset + i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get(const struct pci_function *fn, unsigned offset, unsigned len)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < len; i++)
        value |= (uint32_t)fn->config[offset + i] << (8 * i);
    return value;
}

static void open_for_writing(struct pci_function *fn, unsigned offset, unsigned len, uint32_t mask)
{
    for (unsigned i = 0; i < len; i++)
        fn->write_mask[offset + i] = (uint8_t)(mask >> (8 * i));
}

static bool overlaps(unsigned offset, unsigned len, unsigned first, unsigned end)
{
    return offset < end && offset + len > first;
}

static unsigned bar_register(unsigned index)
{
    return PCI_BASE_ADDRESS_0 + 4 * index;
}

void pci_function_init(struct pci_function *fn, const char *name,
                       const struct pci_function_ops *ops, uint16_t vendor, uint16_t device,
                       uint32_t class_code, uint8_t revision, uint16_t subsys_vendor,
                       uint16_t subsys)
{
    memset(fn, 0, sizeof(*fn));
    fn->name = name;
    fn->ops = ops;
    fn->next_capability = FIRST_CAPABILITY;
    fn->last_capability_link = PCI_CAPABILITY_LIST;
    put(fn, PCI_VENDOR_ID, 2, vendor);
    put(fn, PCI_DEVICE_ID, 2, device);
    put(fn, PCI_CLASS_REVISION, 4, class_code << 8 | revision);
    put(fn, PCI_SUBSYSTEM_VENDOR_ID, 2, subsys_vendor);
    put(fn, PCI_SUBSYSTEM_ID, 2, subsys);
    /* No I/O BARs, so no I/O decoding either. Firmware keeps notes in the interrupt line. */
    open_for_writing(fn, PCI_COMMAND, 2,
                     PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
    open_for_writing(fn, PCI_INTERRUPT_LINE, 1, 0xff);
}

uint8_t pci_add_capability(struct pci_function *fn, uint8_t id, const void *body, uint8_t len)
{
    unsigned offset = fn->next_capability;
    unsigned end = offset + PCI_CAP_FLAGS + len;
    if (offset == 0 || end > PCI_CONFIG_SIZE)
        return 0;
    fn->config[offset + PCI_CAP_LIST_ID] = id;
    memcpy(&fn->config[offset + PCI_CAP_FLAGS], body, len);
    fn->config[fn->last_capability_link] = (uint8_t)offset;
    fn->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    fn->last_capability_link = (uint8_t)(offset + PCI_CAP_LIST_NEXT);
    /* Capabilities are 4-byte aligned; 0 when the last one ended exactly at the end. */
    fn->next_capability = (uint8_t)((end + 3) & ~3u);
    return (uint8_t)offset;
}

void pci_add_bar(struct pci_function *fn, unsigned index, uint64_t size, bool is_64bit,
                 bool prefetchable)
{
    fn->bar[index] =
        (struct pci_bar){.size = size, .is_64bit = is_64bit, .prefetchable = prefetchable};
    unsigned reg = bar_register(index);
    put(fn, reg, 4,
        (is_64bit ? PCI_BASE_ADDRESS_MEM_TYPE_64 : PCI_BASE_ADDRESS_MEM_TYPE_32) |
            (prefetchable ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0));
    open_for_writing(fn, reg, 4, (uint32_t) ~(size - 1));
    if (is_64bit)
        open_for_writing(fn, reg + 4, 4, UINT32_MAX);
}

/* True for what a BAR holds while the guest sizes it: all writable bits of one half set. */
static bool is_sizing(const struct pci_bar *bar, uint64_t address)
{
    uint32_t ones = (uint32_t) ~(bar->size - 1);
    return (uint32_t)address == ones || (address >> 32) == UINT32_MAX;
}

/* Takes over what the registers say about one BAR, and tells the owner when it moved. */
static void follow_bar(struct pci_function *fn, unsigned index)
{
    struct pci_bar *bar = &fn->bar[index];
    if (bar->size == 0)
        return;
    unsigned reg = bar_register(index);
    bar->address = get(fn, reg, 4) & ~(bar->size - 1) & UINT32_MAX;
    if (bar->is_64bit)
        bar->address |= (uint64_t)get(fn, reg + 4, 4) << 32;
    bar->mapped = (fn->config[PCI_COMMAND] & PCI_COMMAND_MEMORY) != 0 && bar->address != 0;

    if (bar->address == bar->told || (!bar->mapped && is_sizing(bar, bar->address)))
        return;
    uint64_t told = bar->told;
    bar->told = bar->mapped ? bar->address : 0;
    if (bar->told != told && fn->ops->bar_moved != NULL)
        fn->ops->bar_moved(fn, index, bar->mapped, bar->mapped ? bar->address : told);
}

static void follow_bars(struct pci_function *fn)
{
    for (unsigned i = 0; i < PCI_BAR_MAX; i++)
        follow_bar(fn, i);
}

uint32_t pci_config_read(struct pci_function *fn, unsigned offset, unsigned len)
{
    if (len > 4 || offset > PCI_CONFIG_SIZE - len)
        return UINT32_MAX;
    if (fn->ops->config_before_read != NULL)
        fn->ops->config_before_read(fn, offset, len);
    return get(fn, offset, len);
}

void pci_config_write(struct pci_function *fn, unsigned offset, unsigned len, uint32_t value)
{
    if (len > 4 || offset > PCI_CONFIG_SIZE - len)
        return;
    for (unsigned i = 0; i < len; i++) {
        uint8_t mask = fn->write_mask[offset + i];
        uint8_t byte = (uint8_t)(value >> (8 * i));
        uint8_t *at = &fn->config[offset + i];
        *at = (uint8_t)((*at & ~mask) | (byte & mask));
    }
    if (overlaps(offset, len, PCI_COMMAND, PCI_COMMAND + 2) ||
        overlaps(offset, len, PCI_BASE_ADDRESS_0, PCI_BASE_ADDRESS_5 + 4))
        follow_bars(fn);
    unsigned msix = fn->msix.capability;
    if (msix != 0 && overlaps(offset, len, msix + PCI_MSIX_FLAGS, msix + PCI_MSIX_FLAGS + 2))
        msix_control_written(fn);
    if (fn->ops->config_after_write != NULL)
        fn->ops->config_after_write(fn, offset, len);
}

static void program_bar(struct pci_function *fn, unsigned index)
{
    const struct pci_bar *bar = &fn->bar[index];
    if (bar->assigned == 0)
        return;
    unsigned reg = bar_register(index);
    uint32_t flags = get(fn, reg, 1) & (uint32_t)~PCI_BASE_ADDRESS_MEM_MASK;
    put(fn, reg, 4, (uint32_t)bar->assigned | flags);
    if (bar->is_64bit)
        put(fn, reg + 4, 4, (uint32_t)(bar->assigned >> 32));
    fn->config[PCI_COMMAND] |= PCI_COMMAND_MEMORY;
}

void pci_assign_bar(struct pci_function *fn, unsigned index, uint64_t address)
{
    fn->bar[index].assigned = address;
    program_bar(fn, index);
    follow_bars(fn);
}

void pci_function_reset(struct pci_function *fn)
{
    for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++)
        fn->config[i] &= (uint8_t)~fn->write_mask[i];
    for (unsigned i = 0; i < PCI_BAR_MAX; i++)
        program_bar(fn, i);
    follow_bars(fn);
    if (fn->msix.capability != 0)
        msix_reset(fn);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI configuration space as a driver and a curious reader meet it (PCI Local Bus 3.0, chapter 6;
 * virtio 1.2, 4.1.2).
 */
#include "../lib/payload.h"
#include "../lib/virtio.h"

#define MSIX_TABLE_ALIGN 8

static void test_vendor_and_class(void)
{
    uint16_t devfn = dut->pci.devfn;
    uint32_t revision = pci_read(devfn, PCI_REVISION, 1),
             base_class = pci_read(devfn, PCI_CLASS, 1);

    CHECK(dut->pci.vendor == 0x1af4, "vendor 0x%x", dut->pci.vendor);
    CHECK(dut->pci.device == 0x1040 + dut->type, "device 0x%x for type %u", dut->pci.device,
          dut->type);
    CHECK(revision >= 1, "revision %u", revision);
    CHECK(base_class != 0xff || dut->type > 3, "class 0x%x", base_class);
    CHECK((pci_read(devfn, PCI_HEADER_TYPE, 1) & 0x7f) == 0, "header type");
}

static void test_access_widths_agree(void)
{
    uint16_t devfn = dut->pci.devfn;

    for (unsigned int at = 0; at < 0x40; at += 4) {
        uint32_t whole = pci_read(devfn, at, 4);

        for (unsigned int byte = 0; byte < 4; byte++) {
            uint32_t got = pci_read(devfn, at + byte, 1);
            CHECK(got == (whole >> byte * 8 & 0xff), "byte 0x%x: 0x%x of 0x%x", at + byte, got,
                  whole);
        }
        for (unsigned int half = 0; half < 4; half += 2) {
            uint32_t got = pci_read(devfn, at + half, 2);
            CHECK(got == (whole >> half * 8 & 0xffff), "word 0x%x: 0x%x of 0x%x", at + half, got,
                  whole);
        }
    }
}

static void test_read_only_fields(void)
{
    static const uint8_t offsets[] = {PCI_VENDOR_ID, PCI_REVISION, PCI_SUBSYSTEM_VENDOR,
                                      PCI_CAPABILITIES};
    uint16_t devfn = dut->pci.devfn;

    for (unsigned int i = 0; i < ARRAY_SIZE(offsets); i++) {
        uint32_t before = pci_read(devfn, offsets[i], 4);

        pci_write(devfn, offsets[i], 4, ~before);
        CHECK(pci_read(devfn, offsets[i], 4) == before, "0x%x changed from 0x%x", offsets[i],
              before);
    }
}

static void test_command_register(void)
{
    uint16_t devfn = dut->pci.devfn;
    uint32_t before = pci_read(devfn, PCI_COMMAND, 2), off;

    pci_write(devfn, PCI_COMMAND, 2, before & ~(uint32_t)PCI_COMMAND_MASTER);
    off = pci_read(devfn, PCI_COMMAND, 2);
    pci_write(devfn, PCI_COMMAND, 2, before);
    CHECK(!(off & PCI_COMMAND_MASTER), "bus master stays set: 0x%x", off);
    CHECK(pci_read(devfn, PCI_COMMAND, 2) == before, "not restored");
}

static void test_memory_decode_off(void)
{
    uint16_t devfn = dut->pci.devfn;
    uint32_t before = pci_read(devfn, PCI_COMMAND, 2);
    uint16_t queues = virtio_queue_count(dut), off;

    pci_write(devfn, PCI_COMMAND, 2, before & ~(uint32_t)PCI_COMMAND_MEMORY);
    off = virtio_queue_count(dut);
    pci_write(devfn, PCI_COMMAND, 2, before);
    CHECK(off == 0xffff || off == 0, "BAR still decoded: 0x%x", off);
    CHECK(virtio_queue_count(dut) == queues, "BAR gone after decoding is on again");
}

static void test_bar_sizing(void)
{
    for (unsigned int i = 0; i < PCI_BARS; i++) {
        uint64_t size = pci_bar_size(dut->pci.devfn, i);

        CHECK((size & (size - 1)) == 0, "BAR %u size 0x%lx", i, size);
        CHECK(!size || dut->pci.bar_is_io[i] || size >= 16, "BAR %u size 0x%lx", i, size);
        CHECK(!size || (dut->pci.bar[i] & (size - 1)) == 0, "BAR %u at 0x%lx, size 0x%lx", i,
              dut->pci.bar[i], size);
        i += pci_bar_is_64(dut->pci.devfn, i);
    }
    CHECK(virtio_queue_count(dut) != 0xffff, "the device is lost after sizing");
}

static bool bar_at(uint64_t address)
{
    for (unsigned int i = 0; i < virtio_device_count; i++) {
        for (unsigned int bar = 0; bar < PCI_BARS; bar++) {
            if (virtio_devices[i].pci.bar[bar] == address)
                return true;
        }
    }
    return false;
}

static void test_bar_moves(void)
{
    struct virtio_window *window = &dut->window[VIRTIO_PCI_CAP_COMMON];
    uint16_t devfn = dut->pci.devfn, queues = virtio_queue_count(dut), moved, back;
    uint32_t command = pci_read(devfn, PCI_COMMAND, 2),
             low = pci_read(devfn, PCI_BAR0 + window->bar * 4u, 4);
    uint64_t to = dut->pci.bar[window->bar];

    while (bar_at(to))
        to += dut->pci.bar_size[window->bar];
    pci_write(devfn, PCI_COMMAND, 2, command & ~(uint32_t)PCI_COMMAND_MEMORY);
    pci_write(devfn, PCI_BAR0 + window->bar * 4u, 4, (uint32_t)to | (low & 15));
    pci_write(devfn, PCI_COMMAND, 2, command);
    moved = mmio_read16(physical_map(to + window->offset, window->length) + COMMON_NUM_QUEUES);
    pci_write(devfn, PCI_COMMAND, 2, command & ~(uint32_t)PCI_COMMAND_MEMORY);
    pci_write(devfn, PCI_BAR0 + window->bar * 4u, 4, low);
    pci_write(devfn, PCI_COMMAND, 2, command);
    back = virtio_queue_count(dut);
    CHECK(back == queues, "lost after moving back: 0x%x", back);
    CHECK(moved == queues, "not at the new address: 0x%x", moved);
}

static void test_capability_list(void)
{
    uint16_t devfn = dut->pci.devfn;
    uint8_t at = (uint8_t)pci_read(devfn, PCI_CAPABILITIES, 1);
    unsigned int count = 0;

    CHECK(pci_read(devfn, PCI_STATUS, 2) & PCI_STATUS_CAPABILITIES, "no capability list");
    while (at) {
        CHECK(at >= 0x40 && !(at & 3), "capability at 0x%x", at);
        CHECK(++count <= 48, "the list does not end");
        at = (uint8_t)pci_read(devfn, at + 1u, 1);
    }
}

static void test_virtio_windows(void)
{
    for (unsigned int type = VIRTIO_PCI_CAP_COMMON; type < VIRTIO_PCI_CAP_TYPES; type++) {
        struct virtio_window *window = &dut->window[type];

        if (type == VIRTIO_PCI_CAP_DEVICE && dut->type == VIRTIO_TYPE_RNG)
            continue;
        CHECK(window->at, "no window of type %u inside a BAR", type);
        CHECK(type == VIRTIO_PCI_CAP_ISR || !(window->offset & 3), "window %u at 0x%x", type,
              window->offset);
    }
    CHECK(dut->window[VIRTIO_PCI_CAP_COMMON].length >= COMMON_SIZE, "common window too short");
    CHECK((dut->notify_multiplier & (dut->notify_multiplier - 1)) == 0, "multiplier %u",
          dut->notify_multiplier);
    for (uint16_t i = 0; i < virtio_queue_count(dut); i++) {
        uint64_t offset;

        mmio_write16(dut->common + COMMON_QUEUE_SELECT, i);
        offset =
            (uint64_t)mmio_read16(dut->common + COMMON_QUEUE_NOTIFY_OFF) * dut->notify_multiplier;
        CHECK(offset + 2 <= dut->window[VIRTIO_PCI_CAP_NOTIFY].length, "queue %u notifies at 0x%lx",
              i, offset);
    }
}

static void test_msix_capability(void)
{
    uint32_t table, pba;
    uint64_t table_end, pba_start, pba_end;

    SKIP_IF(!dut->pci.msix && reference_is_qemu(), "qemu: the balloon has no MSI-X");
    CHECK(dut->pci.msix, "no MSI-X");
    table = pci_read(dut->pci.devfn, dut->pci.msix + PCI_MSIX_TABLE, 4);
    pba = pci_read(dut->pci.devfn, dut->pci.msix + PCI_MSIX_PBA, 4);
    CHECK(dut->pci.msix_table && dut->pci.msix_pba, "table 0x%x or PBA 0x%x outside their BAR",
          table, pba);
    CHECK(dut->pci.msix_count >= 1, "no vectors");
    table_end = (table & ~7u) + dut->pci.msix_count * (uint64_t)MSIX_ENTRY_SIZE;
    pba_start = pba & ~7u;
    pba_end = pba_start + (dut->pci.msix_count + 63u) / 64 * 8;
    CHECK((table & 7) != (pba & 7) || pba_start >= table_end || pba_end <= (table & ~7u),
          "table and PBA overlap");
}

static void test_msix_table(void)
{
    volatile uint8_t *last = dut->pci.msix_table + (dut->pci.msix_count - 1) * MSIX_ENTRY_SIZE;

    SKIP_IF(!dut->pci.msix_table || !dut->pci.msix_pba, "no MSI-X");
    CHECK(mmio_read32(last + MSIX_ENTRY_CONTROL) & MSIX_ENTRY_MASKED,
          "the last entry is not masked at start");
    mmio_write32(last, 0xfee01000);
    mmio_write32(last + MSIX_ENTRY_DATA, 0x1234);
    CHECK(mmio_read32(last) == 0xfee01000 && mmio_read32(last + MSIX_ENTRY_DATA) == 0x1234,
          "the entry does not hold");
    mmio_write32(last, 0);
    mmio_write32(last + MSIX_ENTRY_DATA, 0);
    mmio_write32(dut->pci.msix_pba, ~0u);
    CHECK(mmio_read32(dut->pci.msix_pba) == 0, "the PBA is writable");
}

static const struct test device_tests[] = {
    {"vendor, device and class", test_vendor_and_class},
    {"byte, word and dword reads agree", test_access_widths_agree},
    {"read-only fields stay", test_read_only_fields},
    {"command register", test_command_register},
    {"memory decode off", test_memory_decode_off},
    {"BAR sizing", test_bar_sizing},
    {"BAR moves", test_bar_moves},
    {"capability list ends", test_capability_list},
    {"virtio windows lie in their BARs", test_virtio_windows},
    {"MSI-X capability", test_msix_capability},
    {"MSI-X table and PBA", test_msix_table},
};

const struct suite suite_pci = {
    .name = "pci",
    .device_type = VIRTIO_TYPE_ANY,
    .tests = device_tests,
    .count = ARRAY_SIZE(device_tests),
};

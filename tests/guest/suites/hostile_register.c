/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Register accesses that no driver makes: every width at every place of the BAR, past the ends of
 * structures, to MSI-X entries that are not there, and configuration space written at random
 * (virtio 1.2, 4.1.3.1 and 4.1.4; PCI Local Bus 3.0, 6.8.2). The device must work after a reset.
 */
#include "../boot/layout.h"
#include "../lib/target.h"

#define RANDOM_WRITES 1500
#define STRIDE_LIMIT  256

static void access(volatile uint8_t *at, unsigned int width, bool write, uint64_t value)
{
    if (width == 1)
        write ? mmio_write8(at, (uint8_t)value) : (void)mmio_read8(at);
    else if (width == 2)
        write ? mmio_write16(at, (uint16_t)value) : (void)mmio_read16(at);
    else if (width == 4)
        write ? mmio_write32(at, (uint32_t)value) : (void)mmio_read32(at);
    else
        write ? mmio_write64(at, value) : (void)mmio_read64(at);
}

static bool known(void)
{
    if (target_known(dut))
        return true;
    tap_skip("no valid request known for type %u", dut->type);
    return false;
}

/* The BAR that holds the common configuration; with our monitor it holds everything. */
static volatile uint8_t *main_bar(uint64_t *ret_size)
{
    unsigned int bar = dut->window[VIRTIO_PCI_CAP_COMMON].bar;

    *ret_size = dut->pci.bar_size[bar];
    return pci_bar_map(&dut->pci, bar, 0, *ret_size);
}

static void test_read_everywhere(void)
{
    uint64_t size;
    volatile uint8_t *bar = main_bar(&size);

    if (!known())
        return;
    for (unsigned int type = VIRTIO_PCI_CAP_COMMON; type < VIRTIO_PCI_CAP_TYPES; type++) {
        const struct virtio_window *window = &dut->window[type];

        for (uint32_t i = 0; window->at && i < MIN(window->length, 64u); i++) {
            for (unsigned int width = 1; width <= 8; width *= 2)
                access(window->at + i, width, false, 0);
        }
    }
    for (uint64_t i = 0; i < size; i += STRIDE_LIMIT)
        access(bar + i, 4, false, 0);
    target_recovers(dut);
}

static void test_ends(void)
{
    uint64_t size;
    volatile uint8_t *bar = main_bar(&size);

    if (!known())
        return;
    for (uint64_t back = 1; back <= 8; back++) {
        for (unsigned int width = 1; width <= back; width *= 2) {
            access(bar + size - back, width, false, 0);
            access(bar + size - back, width, true, ~0ul);
        }
    }
    for (unsigned int type = VIRTIO_PCI_CAP_COMMON; type < VIRTIO_PCI_CAP_TYPES; type++) {
        const struct virtio_window *window = &dut->window[type];

        if (!window->at || window->length < 8 || window->offset + window->length + 8 > size)
            continue;
        for (uint32_t i = window->length - 8; i < window->length + 8; i++) {
            for (unsigned int width = 1; width <= 8; width *= 2)
                access(window->at + i, width, false, 0);
        }
    }
    target_recovers(dut);
}

/* Writes at random, but no ring address is kept from run to run: the queue may be anything. */
static void random_writes(uint32_t seed, volatile uint8_t *at, uint64_t size)
{
    uint32_t state = seed;

    for (unsigned int i = 0; i < RANDOM_WRITES; i++) {
        uint64_t offset = random_next(&state) % size;
        unsigned int width = 1u << random_next(&state) % 4;
        uint64_t value = (uint64_t)random_next(&state) << 32 | random_next(&state);

        if (offset + width > size)
            continue;
        if (random_next(&state) & 1)
            value &= 0xf;
        access(at + offset, width, random_next(&state) & 3, value);
    }
}

static void test_random_common(void)
{
    if (!known())
        return;
    random_writes(11, dut->common, COMMON_SIZE);
    if (!virtio_reset(dut))
        tap_fail("does not reset");
    target_recovers(dut);
}

static void test_random_config(void)
{
    if (!known())
        return;
    SKIP_IF(!dut->config, "no device configuration");
    if (!virtio_negotiate(dut, 0))
        return;
    random_writes(12, dut->config, MIN(dut->window[VIRTIO_PCI_CAP_DEVICE].length, 256u));
    target_recovers(dut);
}

static void test_random_bar(void)
{
    uint64_t size;
    volatile uint8_t *bar = main_bar(&size);
    struct target target;

    if (!known() || !target_start(&target, dut, 0))
        return;
    random_writes(13, bar, size);
    target_recovers(dut);
}

static void test_queue_select(void)
{
    const uint16_t bad[] = {virtio_queue_count(dut), 1023, 1024, 0x7fff, 0xffff};

    if (!known() || !virtio_negotiate(dut, 0))
        return;
    for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
        mmio_write16(dut->common + COMMON_QUEUE_SELECT, bad[i]);
        CHECK(mmio_read16(dut->common + COMMON_QUEUE_SIZE) == 0, "queue %u exists", bad[i]);
        mmio_write16(dut->common + COMMON_QUEUE_SIZE, 64);
        mmio_write16(dut->common + COMMON_QUEUE_MSIX_VECTOR, 0);
        virtio_write64(dut, COMMON_QUEUE_DESC, HEAP_BASE);
        virtio_write64(dut, COMMON_QUEUE_DRIVER, HEAP_BASE);
        virtio_write64(dut, COMMON_QUEUE_DEVICE, HEAP_BASE);
        mmio_write16(dut->common + COMMON_QUEUE_ENABLE, 1);
        (void)mmio_read16(dut->common + COMMON_QUEUE_ENABLE);
        (void)mmio_read16(dut->common + COMMON_QUEUE_NOTIFY_OFF);
    }
    target_recovers(dut);
}

static void test_notify(void)
{
    const struct virtio_window *window = &dut->window[VIRTIO_PCI_CAP_NOTIFY];
    struct target target;

    if (!known() || !target_start(&target, dut, 0))
        return;
    for (uint32_t i = 0; i + 4 <= MIN(window->length, 512u); i += 2) {
        access(window->at + i, 2, true, 0xffff);
        access(window->at + i, 4, true, ~0ul);
        access(window->at + i, 1, true, 0);
    }
    access(window->at + window->length - 2, 2, true, 0);
    access(window->at + window->length - 1, 1, true, 0);
    virtq_publish(target.queue, 0);
    virtq_notify(target.queue);
    CHECK(target_outcome(&target, OUTCOME_DONE) & (OUTCOME_DONE | OUTCOME_REFUSED),
          "a valid request gets no answer, status 0x%x", virtio_status(dut));
}

static void test_msix_out_of_range(void)
{
    struct pci_device *pci = &dut->pci;
    volatile uint8_t *end = pci->msix_table + pci->msix_count * MSIX_ENTRY_SIZE;

    SKIP_IF(!pci->msix_table, "no MSI-X");
    if (!known())
        return;
    for (int i = -17; i < 24; i++) {
        for (unsigned int width = 1; width <= 8; width *= 2) {
            if ((uintptr_t)(end + i) % width == 0 || width == 8)
                access(end + i, width, true, ~0ul);
            access(end + i, width, false, 0);
        }
    }
    for (unsigned int width = 1; width <= 8; width *= 2)
        access(pci->msix_pba, width, true, ~0ul);
    msix_mask(pci, pci->msix_count - 1u, true);
    target_recovers(dut);
}

/* A vector that leads nowhere: no such address, no such mode, then one that works. */
static void test_msix_to_nowhere(void)
{
    static const struct {
        uint64_t address;
        uint32_t data;
    } messages[] = {{0, 0},
                    {0x12345678, 0x4242},
                    {~0ul & ~3ul, ~0u},
                    {0xfeeff000, 0xffffffff},
                    {0xfee00000, 0x0000}, /* vector 0 is illegal */
                    {1ul << 40, 0x50}};
    struct virtio_options options = {.interrupts = true};
    struct virtq_used_elem elem;
    struct target target;

    SKIP_IF(!dut->pci.msix_table || dut->type != VIRTIO_TYPE_RNG,
            "tried with an rng that has MSI-X");
    if (!target_prepare(&target, dut, 0))
        return;
    if (!virtio_start(dut, &options, target.queues, 1))
        return;
    for (unsigned int i = 0; i < ARRAY_SIZE(messages); i++) {
        mmio_write32(dut->pci.msix_table, (uint32_t)messages[i].address);
        mmio_write32(dut->pci.msix_table + 4, (uint32_t)(messages[i].address >> 32));
        mmio_write32(dut->pci.msix_table + MSIX_ENTRY_DATA, messages[i].data);
        virtq_add(target.queue, target.segments, 0, 1);
        virtq_notify(target.queue);
        CHECK(virtq_wait(target.queue, &elem, REQUEST_TIMEOUT_MS), "request %u", i);
        delay_us(500);
    }
    irq_count[VECTOR_DEVICE] = 0;
    msix_route(&dut->pci, 0, VECTOR_DEVICE);
    virtq_add(target.queue, target.segments, 0, 1);
    virtq_notify(target.queue);
    CHECK(interrupt_wait(VECTOR_DEVICE, 1, 1000), "no interrupt once the message is good again");
}

/* Random writes to the header and capabilities, BARs and command register put back afterwards. */
static void test_random_configuration_space(void)
{
    uint16_t devfn = dut->pci.devfn;
    uint32_t saved[64], state = 14;

    if (!known())
        return;
    for (unsigned int i = 0; i < ARRAY_SIZE(saved); i++)
        saved[i] = pci_read(devfn, i * 4, 4);
    pci_write(devfn, PCI_COMMAND, 2, 0);
    for (unsigned int i = 0; i < RANDOM_WRITES; i++) {
        unsigned int width = 1u << random_next(&state) % 3;
        unsigned int offset = random_next(&state) % 256 & ~(width - 1);

        /* decoding stays off, or a stray BAR could cover the RAM we run in */
        if (offset / 4 != PCI_COMMAND / 4)
            pci_write(devfn, offset, width, random_next(&state));
    }
    for (unsigned int i = 0; i < ARRAY_SIZE(saved); i++) {
        if (i != PCI_COMMAND / 4)
            pci_write(devfn, i * 4, 4, saved[i]);
    }
    pci_write(devfn, PCI_COMMAND, 2, saved[PCI_COMMAND / 4] & 0xffff);
    target_recovers(dut);
}

static void test_bar_over_other_devices(void)
{
    static const uint32_t places[] = {0xfee00000, 0xfec00000, 0xe0000000, 0xfffff000};
    struct virtio_window *window = &dut->window[VIRTIO_PCI_CAP_COMMON];
    uint16_t devfn = dut->pci.devfn, queues = virtio_queue_count(dut);
    unsigned int at = PCI_BAR0 + window->bar * 4u;
    uint32_t command = pci_read(devfn, PCI_COMMAND, 2), low = pci_read(devfn, at, 4);
    bool wide = pci_bar_is_64(devfn, window->bar);
    uint32_t high = wide ? pci_read(devfn, at + 4, 4) : 0;

    SKIP_ON_QEMU("lets a BAR cover the local APIC, the I/O APIC and ECAM");
    if (!known())
        return;
    for (unsigned int i = 0; i < ARRAY_SIZE(places); i++) {
        pci_write(devfn, at, 4, places[i] | (low & 15));
        if (wide)
            pci_write(devfn, at + 4, 4, 0);
        (void)lapic_read(0x20);
        pci_write(devfn, at, 4, low);
        if (wide)
            pci_write(devfn, at + 4, 4, high);
        pci_write(devfn, PCI_COMMAND, 2, command);
        CHECK(virtio_queue_count(dut) == queues, "lost after a BAR at 0x%x", places[i]);
    }
    target_recovers(dut);
}

static void test_ecam_widths(void)
{
    volatile uint8_t *at;

    SKIP_IF(!pci_has_ecam(), "no ECAM");
    if (!known())
        return;
    at = (volatile uint8_t *)(pci_ecam_base() + ((uint64_t)dut->pci.devfn << 12));
    for (unsigned int i = 0; i < 70; i++) {
        for (unsigned int width = 1; width <= 8; width *= 2)
            access(at + i, width, false, 0);
    }
    access(at + 0xffc, 8, false, 0);
    access(at + 0xffe, 4, false, 0);
    access(at + 0xfff, 2, false, 0);
    access((volatile uint8_t *)(pci_ecam_base() + 0xffffc), 4, false, 0);
    target_recovers(dut);
}

static const struct test tests[] = {
    {"every width everywhere", test_read_everywhere},
    {"ends of windows and BAR", test_ends},
    {"common configuration at random", test_random_common},
    {"device configuration at random", test_random_config},
    {"whole BAR at random", test_random_bar},
    {"queues that do not exist", test_queue_select},
    {"stray notifications", test_notify},
    {"MSI-X entries out of range", test_msix_out_of_range},
    {"MSI-X messages to nowhere", test_msix_to_nowhere},
    {"configuration space at random", test_random_configuration_space},
    {"BAR over other devices", test_bar_over_other_devices},
    {"ECAM in odd widths", test_ecam_widths},
};

const struct suite suite_hostile_register = {
    .name = "hostile-register",
    .device_type = VIRTIO_TYPE_ANY,
    .tests = tests,
    .count = ARRAY_SIZE(tests),
};

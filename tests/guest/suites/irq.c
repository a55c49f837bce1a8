/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts: MSI-X from a device (PCI Local Bus 3.0, 6.8.2; virtio 1.2, 2.7.7 and 4.1.5), the
 * local APIC's timer (Intel SDM vol. 3, 11.5.4) and COM1 through the I/O APIC (ICH9
 * datasheet, 13.5).
 *
 * The device is an rng, else a disk: both answer one request with one interrupt.
 */
#include "../boot/layout.h"
#include "../lib/blk.h"

#define ROUNDS         200
#define IRQ_TIMEOUT_MS 2000
#define QUEUE_VECTOR   VECTOR_DEVICE

#define LAPIC_LVT_TIMER         0x320
#define LAPIC_TIMER_INITIAL     0x380
#define LAPIC_TIMER_DIVIDE      0x3e0
#define LAPIC_TIMER_DIVIDE_BY_1 0xb
#define LAPIC_LVT_MASKED        0x10000

#define IOAPIC_BASE        0xfec00000ul
#define IOAPIC_VERSION     1
#define IOAPIC_REDIRECTION 0x10
#define IOAPIC_MASKED      0x10000
#define SERIAL_PIN         4
#define COM1_IER           0x3f9
#define COM1_IIR           0x3fa
#define UART_IER_THRI      2

static struct virtq queue;

static bool start(struct virtio_device **ret_device, uint64_t features)
{
    struct virtio_device *device = virtio_find(VIRTIO_TYPE_RNG, 0);

    if (!device)
        device = virtio_find(VIRTIO_TYPE_BLK, 0);
    if (!device || !device->pci.msix) {
        tap_skip("no device with MSI-X");
        return false;
    }
    *ret_device = device;
    irq_count[QUEUE_VECTOR] = 0;
    return virtio_start(device, &(struct virtio_options){.features = features, .interrupts = true},
                        &queue, 1);
}

static void submit(void)
{
    struct blk_request *request = page_alloc(sizeof(*request));
    struct virtq_segment segment = {page_alloc(BLK_SECTOR), BLK_SECTOR};

    if (queue.device->type == VIRTIO_TYPE_BLK)
        blk_submit(&queue, request, BLK_T_IN, 0, &segment, 1, false);
    else
        virtq_add(&queue, &segment, 0, 1);
    virtq_kick(&queue);
}

static void test_count(void)
{
    struct virtio_device *device;
    struct virtq_used_elem elem;

    if (!start(&device, 0))
        return;
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        submit();
        CHECK(virtq_wait(&queue, &elem, REQUEST_TIMEOUT_MS), "request %u", i);
        CHECK(interrupt_wait(QUEUE_VECTOR, i, IRQ_TIMEOUT_MS), "%u interrupts for %u requests",
              irq_count[QUEUE_VECTOR], i);
    }
    delay_us(2000);
    CHECK(irq_count[QUEUE_VECTOR] == ROUNDS, "%u interrupts for %u requests",
          irq_count[QUEUE_VECTOR], ROUNDS);
}

static void test_suppressed(void)
{
    struct virtio_device *device;
    struct virtq_used_elem elem;

    if (!start(&device, 0))
        return;
    virtq_interrupts(&queue, false);
    submit();
    CHECK(virtq_wait(&queue, &elem, REQUEST_TIMEOUT_MS), "request");
    delay_us(5000);
    CHECK(irq_count[QUEUE_VECTOR] == 0, "NO_INTERRUPT, and %u interrupts", irq_count[QUEUE_VECTOR]);
}

static bool request(void)
{
    struct virtq_used_elem elem;

    submit();
    if (virtq_wait(&queue, &elem, REQUEST_TIMEOUT_MS))
        return true;
    tap_fail("no completion");
    return false;
}

/* The first notification after a reset may come uncalled for; from the second on used_event
 * decides. */
static void test_event_idx(void)
{
    struct virtio_device *device;
    uint32_t before;

    if (!start(&device, VIRTIO_F_EVENT_IDX))
        return;
    virtq_interrupts(&queue, false);
    if (!request())
        return;
    delay_us(5000);
    before = irq_count[QUEUE_VECTOR];
    if (!request())
        return;
    delay_us(5000);
    CHECK(irq_count[QUEUE_VECTOR] == before, "used_event is past, and an interrupt");
    virtq_interrupts(&queue, true);
    if (!request())
        return;
    CHECK(interrupt_wait(QUEUE_VECTOR, before + 1, IRQ_TIMEOUT_MS),
          "used_event reached, and no interrupt");
}

static void masked_then_unmasked(bool whole_function)
{
    struct virtio_device *device;
    struct virtq_used_elem elem;

    if (!start(&device, 0))
        return;
    if (whole_function)
        pci_write(device->pci.devfn, device->pci.msix + PCI_MSIX_CONTROL, 2,
                  PCI_MSIX_ENABLE | PCI_MSIX_MASK_ALL);
    else
        msix_mask(&device->pci, 0, true);
    submit();
    CHECK(virtq_wait(&queue, &elem, REQUEST_TIMEOUT_MS), "request");
    delay_us(5000);
    CHECK(irq_count[QUEUE_VECTOR] == 0, "masked, and %u interrupts", irq_count[QUEUE_VECTOR]);
    CHECK(msix_pending(&device->pci, 0), "masked, and not pending");
    if (whole_function)
        msix_enable(&device->pci, true);
    else
        msix_mask(&device->pci, 0, false);
    CHECK(interrupt_wait(QUEUE_VECTOR, 1, IRQ_TIMEOUT_MS), "nothing after unmasking");
    CHECK(!msix_pending(&device->pci, 0), "still pending after delivery");
}

static void test_masked_vector(void)
{
    masked_then_unmasked(false);
}

static void test_masked_function(void)
{
    masked_then_unmasked(true);
}

static void test_reroute(void)
{
    struct virtio_device *device;
    struct virtq_used_elem elem;

    if (!start(&device, 0))
        return;
    irq_count[QUEUE_VECTOR + 1] = 0;
    msix_mask(&device->pci, 0, true);
    msix_route(&device->pci, 0, QUEUE_VECTOR + 1);
    submit();
    CHECK(virtq_wait(&queue, &elem, REQUEST_TIMEOUT_MS), "request");
    CHECK(interrupt_wait(QUEUE_VECTOR + 1, 1, IRQ_TIMEOUT_MS), "no interrupt at the new vector");
    CHECK(irq_count[QUEUE_VECTOR] == 0, "one at the old vector");
}

static void test_round_trip(void)
{
    struct virtio_device *device;
    struct virtq_used_elem elem;
    uint64_t started, cycles = 0;

    if (!start(&device, 0))
        return;
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        started = rdtsc();
        submit();
        CHECK(interrupt_wait(QUEUE_VECTOR, i, IRQ_TIMEOUT_MS), "interrupt %u", i);
        cycles += rdtsc() - started;
        CHECK(virtq_wait(&queue, &elem, REQUEST_TIMEOUT_MS), "request %u", i);
    }
    diagnostic("%s: submit to interrupt %lu ns on average", device->name,
               cycles_to_ns(cycles / ROUNDS));
}

static void test_halt(void)
{
    struct virtio_device *device;
    struct virtq_used_elem elem;

    if (!start(&device, 0))
        return;
    for (uint32_t i = 0; i < 20; i++) {
        submit();
        halt_unless(&irq_count[QUEUE_VECTOR], i);
        CHECK(virtq_wait(&queue, &elem, REQUEST_TIMEOUT_MS), "request %u", i);
        CHECK(interrupt_wait(QUEUE_VECTOR, i + 1, IRQ_TIMEOUT_MS), "interrupt %u", i);
    }
}

static void test_lapic_timer(void)
{
    uint32_t before = irq_count[VECTOR_TIMER];

    lapic_write(LAPIC_TIMER_DIVIDE, LAPIC_TIMER_DIVIDE_BY_1);
    lapic_write(LAPIC_LVT_TIMER, VECTOR_TIMER);
    lapic_write(LAPIC_TIMER_INITIAL, 1000000);
    CHECK(interrupt_wait(VECTOR_TIMER, before + 1, IRQ_TIMEOUT_MS), "no timer interrupt");
    lapic_write(LAPIC_LVT_TIMER, LAPIC_LVT_MASKED | VECTOR_TIMER);
    CHECK(irq_count[VECTOR_TIMER] == before + 1, "%u from a one-shot timer",
          irq_count[VECTOR_TIMER] - before);
}

static uint32_t ioapic_read(uint32_t reg)
{
    mmio_write32((volatile uint8_t *)IOAPIC_BASE, reg);
    return mmio_read32((volatile uint8_t *)IOAPIC_BASE + 0x10);
}

static void ioapic_write(uint32_t reg, uint32_t value)
{
    mmio_write32((volatile uint8_t *)IOAPIC_BASE, reg);
    mmio_write32((volatile uint8_t *)IOAPIC_BASE + 0x10, value);
}

static void test_serial_interrupt(void)
{
    uint32_t pins = (ioapic_read(IOAPIC_VERSION) >> 16 & 0xff) + 1,
             before = irq_count[VECTOR_SERIAL];
    bool arrived;

    CHECK(pins == 24, "%u pins", pins);
    ioapic_write(IOAPIC_REDIRECTION + 2 * SERIAL_PIN + 1, 0);
    ioapic_write(IOAPIC_REDIRECTION + 2 * SERIAL_PIN, VECTOR_SERIAL);
    out8(COM1_IER, UART_IER_THRI);
    arrived = interrupt_wait(VECTOR_SERIAL, before + 1, IRQ_TIMEOUT_MS);
    (void)in8(COM1_IIR);
    out8(COM1_IER, 0);
    ioapic_write(IOAPIC_REDIRECTION + 2 * SERIAL_PIN, IOAPIC_MASKED);
    CHECK(arrived, "no interrupt from an empty transmitter");
}

static const struct test tests[] = {
    {"one MSI-X interrupt a request", test_count},
    {"NO_INTERRUPT", test_suppressed},
    {"EVENT_IDX", test_event_idx},
    {"masked vector is pending, then fires", test_masked_vector},
    {"masked function is pending, then fires", test_masked_function},
    {"vector moved while masked", test_reroute},
    {"round trip", test_round_trip},
    {"halt until interrupt", test_halt},
    {"local APIC timer", test_lapic_timer},
    {"COM1 through the I/O APIC", test_serial_interrupt},
};

const struct suite suite_irq = {.name = "irq", .tests = tests, .count = ARRAY_SIZE(tests)};

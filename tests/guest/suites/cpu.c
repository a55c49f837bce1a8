/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processors: the MADT names them, INIT-SIPI starts them (Intel SDM vol. 3, 9.4.4).
 */
#include "../boot/layout.h"
#include "../lib/acpi.h"
#include "../lib/payload.h"

#define LAPIC_ID           0x20
#define LAPIC_ICR_LOW      0x300
#define LAPIC_ICR_HIGH     0x310
#define ICR_INIT           0x4500
#define ICR_STARTUP        0x4600
#define PROCESSORS_MAX     64
#define STARTUP_TIMEOUT_MS 5000

extern const uint8_t ap_trampoline[], ap_trampoline_end[], ap_trampoline_count[];

static uint8_t apic_ids[PROCESSORS_MAX];

static void test_madt(void)
{
    unsigned int count = acpi_processors(apic_ids, PROCESSORS_MAX);
    uint64_t expected = parameter_number("cpus", 0);

    CHECK(acpi_present(), "no RSDP from the loader");
    CHECK(count >= 1, "no processors in the MADT");
    CHECK(!expected || count == expected, "%u processors, started with %lu", count, expected);
    CHECK(apic_ids[0] == lapic_read(LAPIC_ID) >> 24, "the first processor has APIC id %u",
          apic_ids[0]);
}

static void test_acpi_tables(void)
{
    uint32_t length;

    CHECK(acpi_present(), "no RSDP from the loader");
    CHECK(acpi_table("FACP", &length), "no FADT");
    CHECK(acpi_table("APIC", &length), "no MADT");
    SKIP_IF(reference_is_qemu() && !acpi_table("MCFG", &length), "qemu: microvm has no MCFG");
    CHECK(acpi_table("MCFG", &length), "no MCFG");
}

static void test_startup(void)
{
    unsigned int count = acpi_processors(apic_ids, PROCESSORS_MAX);
    volatile uint16_t *started =
        (volatile uint16_t *)(AP_TRAMPOLINE + (ap_trampoline_count - ap_trampoline));
    uint64_t deadline;

    SKIP_IF(count < 2, "one processor");
    memcpy((void *)AP_TRAMPOLINE, ap_trampoline, (size_t)(ap_trampoline_end - ap_trampoline));
    for (unsigned int i = 1; i < count; i++) {
        lapic_write(LAPIC_ICR_HIGH, (uint32_t)apic_ids[i] << 24);
        lapic_write(LAPIC_ICR_LOW, ICR_INIT);
        delay_us(10000);
        lapic_write(LAPIC_ICR_HIGH, (uint32_t)apic_ids[i] << 24);
        lapic_write(LAPIC_ICR_LOW, ICR_STARTUP | AP_TRAMPOLINE >> 12);
    }
    deadline = deadline_after_ms(STARTUP_TIMEOUT_MS);
    while (*started < count - 1 && !deadline_passed(deadline))
        cpu_relax();
    CHECK(*started == count - 1, "%u of %u processors started", *started, count - 1);
}

static const struct test tests[] = {
    {"MADT", test_madt},
    {"ACPI tables", test_acpi_tables},
    {"INIT-SIPI", test_startup},
};

const struct suite suite_cpu = {.name = "cpu", .tests = tests, .count = ARRAY_SIZE(tests)};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI table look-up from the RSDP that the PVH loader names. Only tables below 4 GiB are followed.
 */
#include "acpi.h"
#include "payload.h"

#define ACPI_HEADER_SIZE 36
#define MADT_ENTRIES     44
#define MADT_LOCAL_APIC  0
#define MCFG_ENTRIES     44

static const uint8_t *rsdp;

static uint32_t load32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

static uint64_t load64(const uint8_t *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

static bool checksum_valid(const uint8_t *at, uint32_t size)
{
    uint8_t sum = 0;

    for (uint32_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + at[i]);
    return sum == 0;
}

void acpi_init(uint64_t address)
{
    const uint8_t *at = (const uint8_t *)address;

    if (address && !memcmp(at, "RSD PTR ", 8) && checksum_valid(at, 20))
        rsdp = at;
}

bool acpi_present(void)
{
    return rsdp != NULL;
}

const uint8_t *acpi_table(const char *signature, uint32_t *ret_length)
{
    bool extended = rsdp && rsdp[15] >= 2 && load64(rsdp + 24);
    uint64_t root = !rsdp ? 0 : extended ? load64(rsdp + 24) : load32(rsdp + 16);
    uint32_t step = extended ? 8 : 4;

    if (!root)
        return NULL;
    for (uint32_t at = ACPI_HEADER_SIZE; at + step <= load32((const uint8_t *)root + 4);
         at += step) {
        const uint8_t *entry = (const uint8_t *)root + at;
        const uint8_t *table = (const uint8_t *)(extended ? load64(entry) : load32(entry));

        if (memcmp(table, signature, 4) || !checksum_valid(table, load32(table + 4)))
            continue;
        *ret_length = load32(table + 4);
        return table;
    }
    return NULL;
}

uint64_t acpi_ecam_base(void)
{
    uint32_t length;
    const uint8_t *table = acpi_table("MCFG", &length);

    return table && length >= MCFG_ENTRIES + 16 ? load64(table + MCFG_ENTRIES) : 0;
}

unsigned int acpi_processors(uint8_t *apic_ids, unsigned int room)
{
    uint32_t length;
    const uint8_t *table = acpi_table("APIC", &length);
    unsigned int count = 0;

    if (!table)
        return 0;
    for (uint32_t at = MADT_ENTRIES; at + 2 <= length && table[at + 1] >= 2; at += table[at + 1]) {
        if (table[at] == MADT_LOCAL_APIC && (load32(table + at + 4) & 1) && count < room)
            apic_ids[count++] = table[at + 3];
    }
    return count;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * acpi_build(): lays the static tables of ACPI 6.4 §5.2 out behind each other in the firmware area
 * of guest RAM, the RSDP first (16-byte aligned, where a scan finds it: §5.2.5.1). Runs before the
 * guest does.
 */
#include "acpi.h"
#include "dsdt.h"
#include "layout.h"
#include "tables.h"
#include <string.h>

#define OEM_ID       "PODVSR"
#define OEM_TABLE_ID "PODVISOR"
#define CREATOR_ID   "PDVR"

#define TABLE_ALIGN 16u
#define DSDT_MAX    4096u /* PkgLength of two bytes */

/* FADT: §5.2.9.3 (IA-PC boot architecture flags), table 5.10 (fixed feature flags). */
#define BOOT_ARCH_NO_VGA       (1u << 2)
#define BOOT_ARCH_NO_ASPM      (1u << 4)
#define BOOT_ARCH_NO_RTC       (1u << 5)
#define FADT_WBINVD            (1u << 0)
#define FADT_PWR_BUTTON_METHOD (1u << 4) /* no fixed-hardware button */
#define FADT_SLP_BUTTON_METHOD (1u << 5)
#define FADT_RESET_REG         (1u << 10)
#define FADT_HEADLESS          (1u << 12)
#define FADT_HW_REDUCED        (1u << 20)
#define FADT_REVISION          6
#define FADT_MINOR             4
#define MADT_REVISION          5
#define MADT_LAPIC             0
#define MADT_IOAPIC            1
#define MADT_X2APIC            9
#define MADT_ENABLED           1u
#define LAPIC_ID_END           255u /* 255 is the xAPIC broadcast id */
#define IOAPIC_ID              0
#define GAS_IO                 1
#define GAS_BYTE_ACCESS        1

_Static_assert(LAYOUT_ACPI_BASE % TABLE_ALIGN == 0, "the RSDP is found on 16-byte boundaries");

/* The firmware area while it is filled. */
struct area {
    uint8_t *hva;
    size_t used;
};

/* Zeroed memory for a table, or NULL when the area is full. */
static void *reserve(struct area *area, size_t size)
{
    size_t at = (area->used + TABLE_ALIGN - 1) & ~(size_t)(TABLE_ALIGN - 1);
    if (at > LAYOUT_ACPI_SIZE || size > LAYOUT_ACPI_SIZE - at)
        return NULL;
    area->used = at + size;
    return memset(area->hva + at, 0, size);
}

static gpa_t gpa_of(const struct area *area, const void *p)
{
    return LAYOUT_ACPI_BASE + (gpa_t)((const uint8_t *)p - area->hva);
}

/* What makes the byte sum of `len` bytes zero when the checksum byte among them is zero now. */
static uint8_t checksum(const void *data, size_t len)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)data)[i]);
    return (uint8_t)-sum;
}

/* Fills the header of a table whose other bytes are final. */
static gpa_t finish(const struct area *area, struct acpi_header *h, const char *signature,
                    uint8_t revision, size_t length)
{
    memcpy(h->signature, signature, sizeof(h->signature));
    h->length = (uint32_t)length;
    h->revision = revision;
    memcpy(h->oem_id, OEM_ID, sizeof(h->oem_id));
    memcpy(h->oem_table_id, OEM_TABLE_ID, sizeof(h->oem_table_id));
    h->oem_revision = 1;
    memcpy(h->creator_id, CREATOR_ID, sizeof(h->creator_id));
    h->creator_revision = 1;
    h->checksum = checksum(h, length);
    return gpa_of(area, h);
}

/* Each of these returns the table's address, or 0 when there is no room for it. */

static gpa_t build_dsdt(struct area *area, const struct acpi_config *config)
{
    struct acpi_header *h = reserve(area, sizeof(*h) + DSDT_MAX);
    if (h == NULL)
        return 0;
    struct aml a = {.data = (uint8_t *)(h + 1), .max = DSDT_MAX};
    dsdt_emit(&a, config);
    if (a.overflow)
        return 0;
    area->used -= DSDT_MAX - a.len;
    return finish(area, h, "DSDT", 2, sizeof(*h) + a.len); /* revision 2: 64-bit integers */
}

static struct acpi_gas io_register(uint64_t port)
{
    return (struct acpi_gas){
        .space = GAS_IO, .bit_width = 8, .access_size = GAS_BYTE_ACCESS, .address = port};
}

static gpa_t build_fadt(struct area *area, const struct acpi_config *config, gpa_t dsdt)
{
    struct acpi_fadt *t = reserve(area, sizeof(*t));
    if (t == NULL)
        return 0;
    t->dsdt = (uint32_t)dsdt;
    t->x_dsdt = dsdt;
    t->iapc_boot_arch = BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_ASPM; /* and neither 8042 nor LPC bus */
    if (!config->rtc)
        t->iapc_boot_arch |= BOOT_ARCH_NO_RTC;
    t->flags = FADT_WBINVD | FADT_PWR_BUTTON_METHOD | FADT_SLP_BUTTON_METHOD | FADT_RESET_REG |
               FADT_HEADLESS | FADT_HW_REDUCED;
    t->reset_reg = io_register(LAYOUT_PORT_RESET);
    t->reset_value = LAYOUT_RESET_VALUE;
    t->sleep_control = io_register(LAYOUT_PORT_SLEEP_CONTROL);
    t->sleep_status = io_register(LAYOUT_PORT_SLEEP_STATUS);
    t->minor_version = FADT_MINOR;
    memcpy(t->hypervisor_vendor, OEM_TABLE_ID, sizeof(t->hypervisor_vendor));
    return finish(area, &t->header, "FACP", FADT_REVISION, sizeof(*t));
}

static bool add_cpu(struct area *area, uint32_t id)
{
    /* Entries follow each other without padding; all sizes are multiples of 4. */
    if (id < LAPIC_ID_END) {
        struct acpi_madt_lapic lapic = {.type = MADT_LAPIC,
                                        .length = sizeof(lapic),
                                        .processor_uid = (uint8_t)id,
                                        .apic_id = (uint8_t)id,
                                        .flags = MADT_ENABLED};
        if (sizeof(lapic) > LAYOUT_ACPI_SIZE - area->used)
            return false;
        memcpy(area->hva + area->used, &lapic, sizeof(lapic));
        area->used += sizeof(lapic);
        return true;
    }
    struct acpi_madt_x2apic x2apic = {.type = MADT_X2APIC,
                                      .length = sizeof(x2apic),
                                      .x2apic_id = id,
                                      .flags = MADT_ENABLED,
                                      .processor_uid = id};
    if (sizeof(x2apic) > LAYOUT_ACPI_SIZE - area->used)
        return false;
    memcpy(area->hva + area->used, &x2apic, sizeof(x2apic));
    area->used += sizeof(x2apic);
    return true;
}

/* PCAT_COMPAT stays clear: there is no 8259. ISA interrupts are identity-mapped, no overrides. */
static gpa_t build_madt(struct area *area, const struct acpi_config *config)
{
    struct acpi_madt *t = reserve(area, sizeof(*t) + sizeof(struct acpi_madt_ioapic));
    if (t == NULL)
        return 0;
    t->lapic_address = LAYOUT_LAPIC_BASE;
    const struct acpi_madt_ioapic ioapic = {.type = MADT_IOAPIC,
                                            .length = sizeof(ioapic),
                                            .ioapic_id = IOAPIC_ID,
                                            .address = LAYOUT_IOAPIC_BASE,
                                            .gsi_base = 0};
    memcpy(t + 1, &ioapic, sizeof(ioapic));
    for (uint32_t id = 0; id < config->cpus; id++) {
        if (!add_cpu(area, id))
            return 0;
    }
    size_t length = (size_t)(area->hva + area->used - (uint8_t *)t);
    return finish(area, &t->header, "APIC", MADT_REVISION, length);
}

static gpa_t build_mcfg(struct area *area)
{
    struct acpi_mcfg *t = reserve(area, sizeof(*t));
    if (t == NULL)
        return 0;
    t->base = LAYOUT_ECAM_BASE;
    return finish(area, &t->header, "MCFG", 1, sizeof(*t)); /* segment 0, bus 0 to 0 */
}

static void build_rsdp(struct acpi_rsdp *rsdp, gpa_t xsdt)
{
    memcpy(rsdp->signature, "RSD PTR ", sizeof(rsdp->signature));
    memcpy(rsdp->oem_id, OEM_ID, sizeof(rsdp->oem_id));
    rsdp->revision = 2;
    rsdp->length = sizeof(*rsdp);
    rsdp->xsdt = xsdt;
    rsdp->checksum = checksum(rsdp, offsetof(struct acpi_rsdp, length));
    rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
}

int acpi_build(const struct guest_memory *mem, const struct acpi_config *config, gpa_t *ret_rsdp,
               struct error *err)
{
    struct area area = {.hva = guest_memory_at(mem, LAYOUT_ACPI_BASE, LAYOUT_ACPI_SIZE)};
    if (area.hva == NULL)
        return error_set(err, EINVAL, "the guest has no RAM at 0x%x for ACPI tables",
                         LAYOUT_ACPI_BASE);
    if (config->cpus == 0)
        return error_set(err, EINVAL, "a machine needs at least one CPU");

    struct acpi_rsdp *rsdp = reserve(&area, sizeof(*rsdp));
    struct acpi_xsdt *xsdt = reserve(&area, sizeof(*xsdt));
    gpa_t dsdt = build_dsdt(&area, config);
    gpa_t fadt = build_fadt(&area, config, dsdt);
    gpa_t mcfg = build_mcfg(&area);
    gpa_t madt = build_madt(&area, config);
    if (dsdt == 0 || fadt == 0 || mcfg == 0 || madt == 0)
        return error_set(err, ENOSPC, "the ACPI tables of %u CPUs do not fit into %u KiB",
                         config->cpus, LAYOUT_ACPI_SIZE / 1024);

    const uint64_t table[] = {fadt, madt, mcfg};
    memcpy(xsdt->table, table, sizeof(table));
    build_rsdp(rsdp, finish(&area, &xsdt->header, "XSDT", 1, sizeof(*xsdt)));
    *ret_rsdp = gpa_of(&area, rsdp);
    return 0;
}

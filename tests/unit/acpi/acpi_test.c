// SPDX-License-Identifier: Apache-2.0
/*
 * The tables as a guest finds them: by pointer from the RSDP, with good checksums; and what ACPICA
 * says about them: `iasl` disassembles each table, compiles the result without a complaint into the
 * same bytes, and `acpiexec` runs the AML. Debian package acpica-tools; without it, this fails.
 */
#include "acpi.h"
#include "layout.h"
#include "run_suite.h"
#include "tables.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RAM_BYTES 0x200000u

static uint8_t ram[RAM_BYTES];
static const struct guest_memory mem = {.region = {{0, RAM_BYTES, ram}}, .region_count = 1};

static const struct acpi_config full = {.cpus = 3, .rtc = true, .pvpanic = true};
static const struct acpi_config bare = {.cpus = 1};

static void setup(void)
{
    memset(ram, 0xa5, sizeof(ram)); /* a reset finds the guest's own bytes here */
}

static void *at(gpa_t gpa, uint64_t len)
{
    ck_assert_uint_ge(gpa, LAYOUT_ACPI_BASE);
    ck_assert_uint_le(gpa + len, LAYOUT_ACPI_BASE + LAYOUT_ACPI_SIZE);
    return ram + gpa;
}

static uint8_t byte_sum(const void *data, size_t len)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)data)[i]);
    return sum;
}

static struct acpi_header *table_at(gpa_t gpa, const char *signature)
{
    struct acpi_header *h = at(gpa, sizeof(*h));
    ck_assert_mem_eq(h->signature, signature, 4);
    ck_assert_uint_ge(h->length, sizeof(*h));
    at(gpa, h->length);
    ck_assert_uint_eq(byte_sum(h, h->length), 0);
    ck_assert_mem_eq(h->oem_id, "PODVSR", 6);
    return h;
}

struct found {
    struct acpi_xsdt *xsdt;
    struct acpi_fadt *fadt;
    struct acpi_madt *madt;
    struct acpi_mcfg *mcfg;
    struct acpi_header *dsdt;
};

static struct found build(const struct acpi_config *config)
{
    gpa_t gpa = 0;
    struct error err = ERROR_INIT;
    ck_assert_msg(acpi_build(&mem, config, &gpa, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(gpa % 16, 0);
    struct acpi_rsdp *rsdp = at(gpa, sizeof(*rsdp));
    ck_assert_mem_eq(rsdp->signature, "RSD PTR ", 8);
    ck_assert_uint_eq(byte_sum(rsdp, 20), 0);
    ck_assert_uint_eq(byte_sum(rsdp, 36), 0);
    ck_assert_uint_eq(rsdp->revision, 2);
    ck_assert_uint_eq(rsdp->length, 36);
    ck_assert_uint_eq(rsdp->rsdt, 0);

    struct found f;
    f.xsdt = (struct acpi_xsdt *)table_at(rsdp->xsdt, "XSDT");
    ck_assert_uint_eq(f.xsdt->header.length, 36 + 3 * 8);
    f.fadt = (struct acpi_fadt *)table_at(f.xsdt->table[0], "FACP");
    f.madt = (struct acpi_madt *)table_at(f.xsdt->table[1], "APIC");
    f.mcfg = (struct acpi_mcfg *)table_at(f.xsdt->table[2], "MCFG");
    f.dsdt = table_at(f.fadt->x_dsdt, "DSDT");
    return f;
}

/* What setup() wrote is still there, but for the area of the tables. */
static void expect_nothing_outside(void)
{
    size_t changed = 0;
    for (size_t i = 0; i < RAM_BYTES; i++) {
        if (i < LAYOUT_ACPI_BASE || i >= LAYOUT_ACPI_BASE + LAYOUT_ACPI_SIZE)
            changed += ram[i] != 0xa5;
    }
    ck_assert_uint_eq(changed, 0);
}

START_TEST(nothing_outside_of_the_area)
{
    build(&full);
    expect_nothing_outside();
}
END_TEST

static void expect_port(const struct acpi_gas *gas, uint64_t port)
{
    ck_assert_uint_eq(gas->space, 1);
    ck_assert_uint_eq(gas->bit_width, 8);
    ck_assert_uint_eq(gas->bit_offset, 0);
    ck_assert_uint_eq(gas->access_size, 1);
    ck_assert_uint_eq(gas->address, port);
}

START_TEST(fadt)
{
    struct found f = build(&full);
    ck_assert_uint_eq(f.fadt->header.revision, 6);
    ck_assert_uint_eq(f.fadt->minor_version, 4);
    ck_assert_uint_eq(f.fadt->header.length, 276);
    ck_assert_uint_eq(f.fadt->dsdt, f.fadt->x_dsdt);
    ck_assert_uint_eq(f.fadt->flags >> 20 & 1, 1); /* HW_REDUCED_ACPI */
    ck_assert_uint_eq(f.fadt->flags >> 10 & 1, 1); /* RESET_REG_SUP */
    ck_assert_uint_eq(f.fadt->flags >> 4 & 3, 3);  /* no fixed buttons */
    expect_port(&f.fadt->reset_reg, LAYOUT_PORT_RESET);
    ck_assert_uint_eq(f.fadt->reset_value, LAYOUT_RESET_VALUE);
    expect_port(&f.fadt->sleep_control, LAYOUT_PORT_SLEEP_CONTROL);
    expect_port(&f.fadt->sleep_status, LAYOUT_PORT_SLEEP_STATUS);
    const struct acpi_gas none = {0};
    for (unsigned i = 0; i < 8; i++)
        ck_assert_mem_eq(&f.fadt->fixed_hardware1[i], &none, sizeof(none));
    /* No VGA (2) and no ASPM (4); neither 8042 (1) nor LPC devices (0); an RTC (5). */
    ck_assert_uint_eq(f.fadt->iapc_boot_arch, 0x14);
    ck_assert_uint_eq(build(&bare).fadt->iapc_boot_arch, 0x34);
}
END_TEST

START_TEST(mcfg)
{
    struct found f = build(&full);
    ck_assert_uint_eq(f.mcfg->header.length, 60);
    ck_assert_uint_eq(f.mcfg->base, LAYOUT_ECAM_BASE);
    ck_assert_uint_eq(f.mcfg->segment, 0);
    ck_assert_uint_eq(f.mcfg->first_bus, 0);
    ck_assert_uint_eq(f.mcfg->last_bus, 0);
}
END_TEST

/* Every CPU once, in order; one I/O APIC. */
static void expect_cpus(const struct acpi_madt *madt, uint32_t cpus)
{
    ck_assert_uint_eq(madt->lapic_address, LAYOUT_LAPIC_BASE);
    ck_assert_uint_eq(madt->flags, 0); /* no 8259 */
    const uint8_t *p = (const uint8_t *)(madt + 1);
    const uint8_t *end = (const uint8_t *)madt + madt->header.length;
    uint32_t next = 0, ioapics = 0;
    for (; p < end; p += p[1]) {
        ck_assert_uint_ge(p[1], 8);
        ck_assert_int_le(p[1], end - p);
        if (p[0] == 0) {
            const struct acpi_madt_lapic *e = (const void *)p;
            ck_assert_uint_eq(e->apic_id, next);
            ck_assert_uint_eq(e->processor_uid, next++);
            ck_assert_uint_eq(e->flags, 1);
        } else if (p[0] == 9) {
            const struct acpi_madt_x2apic *e = (const void *)p;
            ck_assert_uint_ge(next, 255);
            ck_assert_uint_eq(e->x2apic_id, next);
            ck_assert_uint_eq(e->processor_uid, next++);
            ck_assert_uint_eq(e->flags, 1);
        } else {
            const struct acpi_madt_ioapic *e = (const void *)p;
            ck_assert_uint_eq(e->type, 1);
            ck_assert_uint_eq(e->address, LAYOUT_IOAPIC_BASE);
            ck_assert_uint_eq(e->gsi_base, 0);
            ioapics++;
        }
    }
    ck_assert_uint_eq(next, cpus);
    ck_assert_uint_eq(ioapics, 1);
}

START_TEST(madt)
{
    static const uint32_t counts[] = {1, 2, 64, 254, 255, 256, 300, 4096};
    for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        const struct acpi_config config = {.cpus = counts[i]};
        expect_cpus(build(&config).madt, counts[i]);
    }
}
END_TEST

START_TEST(refusals)
{
    gpa_t rsdp = 77;
    struct error err = ERROR_INIT;
    const struct acpi_config none = {.cpus = 0}, many = {.cpus = UINT32_MAX};
    ck_assert_int_eq(acpi_build(&mem, &none, &rsdp, &err), -EINVAL);
    ck_assert_int_eq(acpi_build(&mem, &many, &rsdp, &err), -ENOSPC);
    const struct guest_memory small = {.region = {{0, 0xfffff, ram}}, .region_count = 1};
    ck_assert_int_eq(acpi_build(&small, &full, &rsdp, &err), -EINVAL);
    ck_assert_uint_eq(rsdp, 77);
    expect_nothing_outside();
}
END_TEST

/* Runs a shell command; it must end well. Returns its output. */
static const char *run(const char *command)
{
    static char output[65536];
    FILE *p = popen(command, "r");
    ck_assert_ptr_nonnull(p);
    size_t len = fread(output, 1, sizeof(output) - 1, p);
    output[len] = '\0';
    int status = pclose(p);
    ck_assert_msg(status == 0, "'%s' ended with status 0x%x (is acpica-tools installed?):\n%s",
                  command, (unsigned)status, output);
    return output;
}

static void expect_said(const char *output, const char *text)
{
    ck_assert_msg(strstr(output, text) != NULL, "no '%s' in:\n%s", text, output);
}

static char folder[64];

static void make_folder(void)
{
    setup();
    snprintf(folder, sizeof(folder), "/tmp/podvisor-acpi-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -r -- '%s'", folder);
    run(command);
}

static void dump(const struct acpi_header *h)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/table.dat", folder);
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(h, 1, h->length, f), h->length);
    ck_assert_int_eq(fclose(f), 0);
}

static void round_trip(const struct acpi_header *h)
{
    dump(h);
    char command[256];
    snprintf(command, sizeof(command), "cd '%s' && iasl -d table.dat 2>&1", folder);
    const char *output = run(command);
    ck_assert_msg(strstr(output, "rror") == NULL, "%s", output);
    ck_assert_msg(strstr(output, "arning") == NULL, "%s", output);
    snprintf(command, sizeof(command), "cd '%s' && iasl -p again table.dsl 2>&1", folder);
    output = run(command);
    expect_said(output, "0 Errors, 0 Warnings, 0 Remarks");

    char path[128];
    snprintf(path, sizeof(path), "%s/again.aml", folder);
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    static uint8_t again[65536];
    size_t len = fread(again, 1, sizeof(again), f);
    fclose(f);
    ck_assert_uint_eq(len, h->length);
    /* Behind the header, which names the compiler. */
    ck_assert_mem_eq(again + sizeof(*h), h + 1, len - sizeof(*h));
}

/* Loop: the fullest and the barest machine. */
START_TEST(iasl_round_trip)
{
    struct found f = build(_i == 0 ? &full : &bare);
    round_trip(f.dsdt);
    round_trip(&f.fadt->header);
    round_trip(&f.madt->header);
    round_trip(&f.mcfg->header);
    round_trip(&f.xsdt->header);
}
END_TEST

START_TEST(iasl_x2apic)
{
    const struct acpi_config config = {.cpus = 300};
    round_trip(&build(&config).madt->header);
}
END_TEST

/* One run for all objects: acpiexec takes a second to end. */
static const char *acpiexec(const struct acpi_header *dsdt, const char *commands)
{
    dump(dsdt);
    char command[256];
    snprintf(command, sizeof(command), "cd '%s' && timeout 20 acpiexec -b '%s' table.dat 2>&1",
             folder, commands);
    return run(command);
}

START_TEST(acpica_runs_it)
{
    const char *said =
        acpiexec(build(&full).dsdt, "evaluate \\_S5; evaluate \\_SB.GED._EVT 9;"
                                    "evaluate \\_SB.PEVT._STA; evaluate \\_SB.PCI0._CRS;"
                                    "evaluate \\_SB.RTC._CRS; evaluate \\_SB.COM1._CRS");
    expect_said(said, "[Integer] = 0000000000000005");
    expect_said(said, "Device Notify on [PWRB]");
    expect_said(said, "Value 0x80");
    expect_said(said, "[Integer] = 000000000000000F");
    expect_said(said, "_SB.PCI0._CRS returned");
    expect_said(said, "_SB.RTC._CRS returned");
    expect_said(said, "_SB.COM1._CRS returned");

    said = acpiexec(build(&bare).dsdt, "evaluate \\_SB.RTC._CRS; evaluate \\_SB.PEVT._CRS;"
                                       "evaluate \\_SB.COM1._CRS");
    expect_said(said, "_SB.COM1._CRS returned");
    ck_assert_ptr_null(strstr(said, "_SB.RTC._CRS returned"));
    ck_assert_ptr_null(strstr(said, "_SB.PEVT._CRS returned"));
}
END_TEST

/* The guest's interpreter pays for every byte. */
START_TEST(dsdt_stays_small)
{
    ck_assert_uint_le(build(&full).dsdt->length, 512);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("acpi");
    TCase *tc = tcase_create("tables");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, nothing_outside_of_the_area);
    tcase_add_test(tc, fadt);
    tcase_add_test(tc, mcfg);
    tcase_add_test(tc, madt);
    tcase_add_test(tc, refusals);
    tcase_add_test(tc, dsdt_stays_small);
    suite_add_tcase(s, tc);
    tc = tcase_create("acpica");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, make_folder, remove_folder);
    tcase_add_loop_test(tc, iasl_round_trip, 0, 2);
    tcase_add_test(tc, iasl_x2apic);
    tcase_add_test(tc, acpica_runs_it);
    suite_add_tcase(s, tc);
    return run_suite(s);
}

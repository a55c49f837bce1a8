// SPDX-License-Identifier: Apache-2.0
/* PCI function and MSI-X without a device: PCI Local Bus 3.0 §6. */
#include "run_suite.h"
#include <check.h>
#include <linux/pci_regs.h>
#include <podvisor/cleanup.h>
#include <podvisor/pci.h>
#include <string.h>

#define VECTORS    3
#define BAR_SIZE   0x4000u
#define TABLE      0x2000u
#define PBA        0x3000u
#define CAP_VENDOR 9

static struct pci_function fn;

static struct {
    unsigned routes[VECTORS], frees[VECTORS], raises[VECTORS];
    struct msi_message msg[VECTORS];
    unsigned moves;
    bool mapped;
    uint64_t gpa;
    unsigned before_reads, after_writes;
} seen;

static void route(void *ctx, unsigned vector, const struct msi_message *msg)
{
    ck_assert_ptr_eq(ctx, &seen);
    if (msg == NULL) {
        seen.frees[vector]++;
    } else {
        seen.routes[vector]++;
        seen.msg[vector] = *msg;
    }
}

static void raise_vector(void *ctx, unsigned vector)
{
    ck_assert_ptr_eq(ctx, &seen);
    seen.raises[vector]++;
}

static const struct pci_irq_ops irq_ops = {.route = route, .raise = raise_vector};

static void bar_moved(struct pci_function *f, unsigned bar, bool mapped, uint64_t gpa)
{
    (void)f;
    (void)bar;
    seen.moves++;
    seen.mapped = mapped;
    seen.gpa = gpa;
}

static void before_read(struct pci_function *f, unsigned offset, unsigned len)
{
    (void)f;
    (void)offset;
    (void)len;
    seen.before_reads++;
}

static void after_write(struct pci_function *f, unsigned offset, unsigned len)
{
    (void)f;
    (void)offset;
    (void)len;
    seen.after_writes++;
}

static const struct pci_function_ops ops = {
    .bar_moved = bar_moved, .config_before_read = before_read, .config_after_write = after_write};

static void setup(void)
{
    memset(&seen, 0, sizeof(seen));
    pci_function_init(&fn, "test", &ops, 0x1af4, 0x1044, 0xff0000, 1, 0x1af4, 0x1104);
    pci_add_bar(&fn, 0, BAR_SIZE, true, false);
    pci_add_bar(&fn, 2, 4096, false, true);
    pci_add_msix(&fn, VECTORS, 0, TABLE, PBA, &irq_ops, &seen);
}

static uint32_t rd(unsigned offset, unsigned len)
{
    return pci_config_read(&fn, offset, len);
}

static void wr(unsigned offset, unsigned len, uint32_t value)
{
    pci_config_write(&fn, offset, len, value);
}

/* ---- configuration space ---- */

START_TEST(identity)
{
    ck_assert_uint_eq(rd(0, 4), 0x10441af4);
    ck_assert_uint_eq(rd(8, 4), 0xff000001);
    ck_assert_uint_eq(rd(0x2c, 4), 0x11041af4);
    ck_assert_uint_eq(rd(0x0e, 1), 0);      /* header type */
    ck_assert_uint_eq(rd(0x3d, 1), 0);      /* no interrupt pin */
    ck_assert_uint_eq(rd(0x06, 2), 0x10);   /* capability list */
    ck_assert_uint_eq(rd(0x01, 2), 0x441a); /* unaligned */
    ck_assert_uint_eq(rd(0x03, 4), 0x10000010);
    for (unsigned i = 0; i < 256; i += 4)
        wr(i, 4, UINT32_MAX);
    ck_assert_uint_eq(rd(0, 4), 0x10441af4);
    ck_assert_uint_eq(rd(8, 4), 0xff000001);
    ck_assert_uint_eq(rd(6, 2), 0x10);
    ck_assert_uint_eq(rd(4, 2), PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
}
END_TEST

START_TEST(outside_config_space)
{
    ck_assert_uint_eq(rd(253, 4), UINT32_MAX);
    ck_assert_uint_eq(rd(256, 1), UINT32_MAX);
    ck_assert_uint_eq(rd(UINT32_MAX, 4), UINT32_MAX);
    wr(254, 4, 0);
    wr(UINT32_MAX - 1, 4, 0);
    ck_assert_uint_eq(seen.before_reads + seen.after_writes, 0);
    ck_assert_uint_eq(rd(252, 4), 0);
}
END_TEST

START_TEST(capability_list)
{
    uint8_t at = (uint8_t)rd(PCI_CAPABILITY_LIST, 1);
    ck_assert_uint_eq(at, 0x40);
    ck_assert_uint_eq(rd(at, 1), PCI_CAP_ID_MSIX);
    ck_assert_uint_eq(rd(at + 1u, 1), 0);
    ck_assert_uint_eq(rd(at + 2u, 2), VECTORS - 1);
    ck_assert_uint_eq(rd(at + 4u, 4), TABLE);
    ck_assert_uint_eq(rd(at + 8u, 4), PBA);

    uint8_t second = pci_add_capability(&fn, CAP_VENDOR, "\x05xy", 3);
    ck_assert_uint_eq(second, 0x4c);
    ck_assert_uint_eq(rd(at + 1u, 1), second);
    ck_assert_uint_eq(rd(second, 4), 0x78050009);
    wr(second + 2u, 2, 0); /* read-only */
    ck_assert_uint_eq(rd(second, 4), 0x78050009);
}
END_TEST

START_TEST(capabilities_until_full)
{
    static const uint8_t body[62];
    uint8_t at = 0x4c;
    ck_assert_uint_eq(pci_add_capability(&fn, CAP_VENDOR, body, 62), at);
    ck_assert_uint_eq(pci_add_capability(&fn, CAP_VENDOR, body, 62), at + 64);
    ck_assert_uint_eq(pci_add_capability(&fn, CAP_VENDOR, body, 62), 0);
    ck_assert_uint_eq(pci_add_capability(&fn, CAP_VENDOR, body, 50), at + 128); /* to the end */
    ck_assert_uint_eq(pci_add_capability(&fn, CAP_VENDOR, body, 1), 0);
    ck_assert_uint_eq(rd(at + 128u + 1, 1), 0);
}
END_TEST

/* ---- BARs ---- */

START_TEST(bar_sizing)
{
    ck_assert_uint_eq(rd(0x10, 4), PCI_BASE_ADDRESS_MEM_TYPE_64);
    wr(0x10, 4, UINT32_MAX);
    wr(0x14, 4, UINT32_MAX);
    ck_assert_uint_eq(rd(0x10, 4), ~(BAR_SIZE - 1) | PCI_BASE_ADDRESS_MEM_TYPE_64);
    ck_assert_uint_eq(rd(0x14, 4), UINT32_MAX);
    wr(0x18, 4, UINT32_MAX);
    ck_assert_uint_eq(rd(0x18, 4), 0xfffff000 | PCI_BASE_ADDRESS_MEM_PREFETCH);
    wr(0x1c, 4, UINT32_MAX);
    ck_assert_uint_eq(rd(0x1c, 4), 0); /* not implemented */
    wr(0x30, 4, UINT32_MAX);
    ck_assert_uint_eq(rd(0x30, 4), 0); /* no ROM */
    ck_assert(!fn.bar[0].mapped);
    ck_assert_uint_eq(seen.moves, 0);
}
END_TEST

START_TEST(bar_mapping)
{
    wr(0x10, 4, 0xc0004000);
    wr(0x14, 4, 1);
    ck_assert(!fn.bar[0].mapped);
    wr(4, 2, PCI_COMMAND_MEMORY);
    ck_assert(fn.bar[0].mapped);
    ck_assert_uint_eq(fn.bar[0].address, 0x1c0004000);
    ck_assert(!fn.bar[2].mapped); /* no address yet */
    ck_assert_uint_eq(seen.moves, 1);
    ck_assert(seen.mapped);
    ck_assert_uint_eq(seen.gpa, 0x1c0004000);

    /* Off and on, as around every sizing, moves nothing. */
    wr(4, 1, 0);
    ck_assert(!fn.bar[0].mapped);
    wr(0x10, 4, UINT32_MAX);
    wr(0x10, 4, 0xc0004000);
    wr(0x14, 4, UINT32_MAX);
    wr(0x14, 4, 1);
    wr(4, 1, PCI_COMMAND_MEMORY);
    ck_assert(fn.bar[0].mapped);
    ck_assert_uint_eq(seen.moves, 1);

    /* Programmed elsewhere while off: the old place is free at once. */
    wr(4, 1, 0);
    wr(0x10, 4, 0xc0008000);
    ck_assert_uint_eq(seen.moves, 2);
    ck_assert(!seen.mapped);
    ck_assert_uint_eq(seen.gpa, 0x1c0004000);
    wr(0x14, 4, 0);
    ck_assert_uint_eq(seen.moves, 2);
    wr(4, 1, PCI_COMMAND_MEMORY);
    ck_assert_uint_eq(seen.moves, 3);
    ck_assert_uint_eq(seen.gpa, 0xc0008000);

    /* Moved while on; then put at 0, which is nowhere. */
    wr(0x10, 4, 0xc0010000);
    ck_assert_uint_eq(seen.moves, 4);
    ck_assert_uint_eq(seen.gpa, 0xc0010000);
    wr(0x10, 4, 0);
    ck_assert_uint_eq(seen.moves, 5);
    ck_assert(!seen.mapped);
    ck_assert(!fn.bar[0].mapped);
}
END_TEST

START_TEST(bar_written_by_bytes)
{
    wr(4, 2, PCI_COMMAND_MEMORY);
    wr(0x13, 1, 0xc0);
    ck_assert_uint_eq(fn.bar[0].address, 0xc0000000);
    wr(0x11, 1, 0xff); /* two of the bits are below the size */
    ck_assert_uint_eq(fn.bar[0].address, 0xc000c000);
    wr(0x12, 4, 0x0001c001); /* across the two halves */
    ck_assert_uint_eq(fn.bar[0].address, 0x1c001c000);
    ck_assert_uint_eq(rd(0x12, 4), 0x0001c001);
}
END_TEST

START_TEST(reset_restores_assigned_bars)
{
    pci_assign_bar(&fn, 0, 0xc0000000);
    pci_assign_bar(&fn, 2, 0xd0000000);
    ck_assert(fn.bar[0].mapped && fn.bar[2].mapped);
    ck_assert_uint_eq(rd(0x18, 4), 0xd0000000 | PCI_BASE_ADDRESS_MEM_PREFETCH);
    wr(0x10, 4, 0xc1000000);
    wr(4, 2, PCI_COMMAND_MASTER);
    wr(0x3c, 1, 11);
    wr(0x42, 2, 0xc000);
    pci_function_reset(&fn);
    ck_assert_uint_eq(fn.bar[0].address, 0xc0000000);
    ck_assert(fn.bar[0].mapped && fn.bar[2].mapped);
    ck_assert_uint_eq(rd(4, 2), PCI_COMMAND_MEMORY);
    ck_assert_uint_eq(rd(0x3c, 1), 0);
    ck_assert_uint_eq(rd(0x42, 2), VECTORS - 1);
    ck_assert(!fn.msix.enabled);
    ck_assert_uint_eq(seen.gpa, 0xc0000000);
}
END_TEST

/* ---- MSI-X ---- */

static void entry(unsigned vector, unsigned word, uint32_t value)
{
    ck_assert(pci_msix_bar_write(&fn, 0, TABLE + 16 * vector + 4 * word, &value, 4));
}

static uint64_t bar_read(uint64_t offset, unsigned len)
{
    uint64_t value = 0;
    ck_assert(pci_msix_bar_read(&fn, 0, offset, &value, len));
    return value;
}

static void control(uint16_t value)
{
    wr(0x42, 2, value);
}

static void program(unsigned vector)
{
    entry(vector, 0, 0xfee01000 + vector * 16);
    entry(vector, 1, 0);
    entry(vector, 2, 0x40 + vector);
    entry(vector, 3, 0);
}

START_TEST(msix_routed_when_deliverable)
{
    program(1);
    ck_assert_uint_eq(seen.routes[1], 0); /* disabled */
    pci_msix_raise(&fn, 1);
    ck_assert_uint_eq(fn.msix.pending, 0);
    control(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    ck_assert_uint_eq(seen.routes[1], 0); /* masked */
    control(PCI_MSIX_FLAGS_ENABLE);
    ck_assert_uint_eq(seen.routes[1], 1);
    ck_assert_uint_eq(seen.msg[1].address, 0xfee01010);
    ck_assert_uint_eq(seen.msg[1].data, 0x41);
    ck_assert_uint_eq(seen.routes[0] + seen.routes[2], 0);
    pci_msix_raise(&fn, 1);
    ck_assert_uint_eq(seen.raises[1], 1);
    pci_msix_raise(&fn, VECTORS);
    pci_msix_raise(&fn, 0xffff);
}
END_TEST

START_TEST(msix_no_needless_routes)
{
    control(PCI_MSIX_FLAGS_ENABLE);
    program(0);
    ck_assert_uint_eq(seen.routes[0], 1);
    for (unsigned i = 0; i < 10; i++) {
        entry(0, 3, 1);
        entry(0, 3, 0);
        control(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
        control(PCI_MSIX_FLAGS_ENABLE);
    }
    ck_assert_uint_eq(seen.routes[0], 1);
    entry(0, 3, 1);
    entry(0, 0, 0xfee02000); /* another CPU */
    ck_assert_uint_eq(seen.routes[0], 1);
    entry(0, 3, 0);
    ck_assert_uint_eq(seen.routes[0], 2);
    ck_assert_uint_eq(seen.msg[0].address, 0xfee02000);
    ck_assert_uint_eq(seen.frees[0], 0);
    control(0);
    control(0);
    ck_assert_uint_eq(seen.frees[0], 1);
    control(PCI_MSIX_FLAGS_ENABLE);
    ck_assert_uint_eq(seen.routes[0], 3);
}
END_TEST

START_TEST(msix_pending_while_masked)
{
    control(PCI_MSIX_FLAGS_ENABLE);
    program(0);
    program(2);
    entry(2, 3, 1);
    pci_msix_raise(&fn, 2);
    pci_msix_raise(&fn, 2);
    ck_assert_uint_eq(seen.raises[2], 0);
    ck_assert_uint_eq(bar_read(PBA, 4), 4);
    ck_assert_uint_eq(bar_read(PBA, 8), 4);
    ck_assert_uint_eq(bar_read(PBA + 4, 4), 0);
    entry(2, 3, 0);
    ck_assert_uint_eq(seen.raises[2], 1);
    ck_assert_uint_eq(bar_read(PBA, 8), 0);

    control(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    pci_msix_raise(&fn, 0);
    pci_msix_raise(&fn, 2);
    ck_assert_uint_eq(bar_read(PBA, 8), 5);
    control(PCI_MSIX_FLAGS_ENABLE);
    ck_assert_uint_eq(seen.raises[0], 1);
    ck_assert_uint_eq(seen.raises[2], 2);

    entry(0, 3, 1);
    pci_msix_raise(&fn, 0);
    control(0);
    control(PCI_MSIX_FLAGS_ENABLE);
    entry(0, 3, 0);
    ck_assert_uint_eq(seen.raises[0], 1); /* disabling forgot it */
}
END_TEST

START_TEST(msix_table_accesses)
{
    ck_assert_uint_eq(bar_read(TABLE + 12, 4), 1); /* masked from the start */
    uint64_t address = 0x11fee01007, data = UINT64_C(0x1) << 32 | 0x4142;
    ck_assert(pci_msix_bar_write(&fn, 0, TABLE + 16, &address, 8));
    ck_assert(pci_msix_bar_write(&fn, 0, TABLE + 24, &data, 8));
    ck_assert_uint_eq(bar_read(TABLE + 16, 8), 0x11fee01004);
    ck_assert_uint_eq(bar_read(TABLE + 20, 4), 0x11);
    ck_assert_uint_eq(bar_read(TABLE + 24, 8), data);
    /* Other widths and alignments: ignored, all ones. */
    uint64_t ones = UINT64_MAX;
    ck_assert(pci_msix_bar_write(&fn, 0, TABLE + 16, &ones, 1));
    ck_assert(pci_msix_bar_write(&fn, 0, TABLE + 16, &ones, 2));
    ck_assert(pci_msix_bar_write(&fn, 0, TABLE + 18, &ones, 4));
    ck_assert(pci_msix_bar_write(&fn, 0, TABLE + 20, &ones, 8));
    ck_assert(pci_msix_bar_write(&fn, 0, TABLE + 16 * VECTORS - 2, &ones, 4));
    ck_assert_uint_eq(bar_read(TABLE + 16, 8), 0x11fee01004);
    ck_assert_uint_eq(bar_read(TABLE + 16, 1), 0xff);
    ck_assert_uint_eq(bar_read(TABLE + 18, 4), UINT32_MAX);
    ck_assert_uint_eq(bar_read(PBA + 7, 2), 0xffff);
    /* The PBA is read-only; beside both there is nothing of ours. */
    ck_assert(pci_msix_bar_write(&fn, 0, PBA, &ones, 8));
    ck_assert_uint_eq(bar_read(PBA, 8), 0);
    ck_assert(!pci_msix_bar_write(&fn, 0, TABLE + 16 * VECTORS, &ones, 4));
    ck_assert(!pci_msix_bar_write(&fn, 0, PBA + 8, &ones, 4));
    ck_assert(!pci_msix_bar_write(&fn, 0, TABLE - 4, &ones, 4));
    ck_assert(!pci_msix_bar_write(&fn, 2, TABLE, &ones, 4));
    uint64_t value;
    ck_assert(!pci_msix_bar_read(&fn, 2, TABLE, &value, 4));
    ck_assert(!pci_msix_bar_read(&fn, 0, 0, &value, 4));
}
END_TEST

START_TEST(no_msix)
{
    struct pci_function plain;
    pci_function_init(&plain, "plain", &ops, 1, 2, 3, 4, 5, 6);
    uint64_t value = 0;
    ck_assert(!pci_msix_bar_read(&plain, 0, 0, &value, 4));
    ck_assert(!pci_msix_bar_write(&plain, 0, 0, &value, 4));
    pci_msix_raise(&plain, 0);
    pci_function_reset(&plain);
    ck_assert_uint_eq(pci_config_read(&plain, 6, 2), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pci function");
    TCase *tc = tcase_create("pci");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, identity);
    tcase_add_test(tc, outside_config_space);
    tcase_add_test(tc, capability_list);
    tcase_add_test(tc, capabilities_until_full);
    tcase_add_test(tc, bar_sizing);
    tcase_add_test(tc, bar_mapping);
    tcase_add_test(tc, bar_written_by_bytes);
    tcase_add_test(tc, reset_restores_assigned_bars);
    tcase_add_test(tc, msix_routed_when_deliverable);
    tcase_add_test(tc, msix_no_needless_routes);
    tcase_add_test(tc, msix_pending_while_masked);
    tcase_add_test(tc, msix_table_accesses);
    tcase_add_test(tc, no_msix);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}

// SPDX-License-Identifier: Apache-2.0
/* Registers of the boot vCPU, and that they agree with the GDT in guest memory. */
#include "check_main.h"
#include "layout.h"

static const struct boot_entry long64 = {.mode = BOOT_ENTRY_LONG64,
                                         .rip = 0x1000200,
                                         .rsp = 0x8ff0,
                                         .info = 0x7000,
                                         .page_table = 0x9000,
                                         .gdt = 0x500,
                                         .gdt_limit = 47};
static const struct boot_entry pvh32 = {.mode = BOOT_ENTRY_PVH32,
                                        .rip = 0x1000010,
                                        .rsp = 0x8ff0,
                                        .info = 0x6000,
                                        .gdt = 0x500,
                                        .gdt_limit = 47};

static void registers_of(const struct boot_entry *entry, struct kvm_sregs *sregs,
                         struct kvm_regs *regs)
{
    memset(sregs, 0xff, sizeof(*sregs)); /* a vCPU after reset holds other things than zeroes */
    sregs->apic_base = 0xfee00900;
    memset(regs, 0xff, sizeof(*regs));
    boot_entry_sregs(entry, sregs, regs);
    ck_assert_uint_eq(sregs->apic_base, 0xfee00900);
    ck_assert_uint_eq(regs->rip, entry->rip);
    ck_assert_uint_eq(regs->rsp, entry->rsp);
    ck_assert_uint_eq(regs->rflags, 2);
    ck_assert_uint_eq(sregs->gdt.base, 0x500);
    ck_assert_uint_eq(sregs->gdt.limit, 47);
    ck_assert_uint_eq(sregs->idt.limit, 0);
    ck_assert_uint_eq(sregs->ldt.unusable, 1);
}

static void expect_flat(const struct kvm_segment *seg, uint16_t selector, uint8_t type)
{
    ck_assert_uint_eq(seg->base, 0);
    ck_assert_uint_eq(seg->limit, 0xffffffff);
    ck_assert_uint_eq(seg->selector, selector);
    ck_assert_uint_eq(seg->type, type);
    ck_assert_uint_eq(seg->s, 1);
    ck_assert_uint_eq(seg->dpl, 0);
    ck_assert_uint_eq(seg->present, 1);
    ck_assert_uint_eq(seg->g, 1);
    ck_assert_uint_eq(seg->unusable, 0);
}

static void expect_data_and_tss(const struct kvm_sregs *sregs)
{
    expect_flat(&sregs->ds, 0x18, 3);
    expect_flat(&sregs->es, 0x18, 3);
    expect_flat(&sregs->fs, 0x18, 3);
    expect_flat(&sregs->gs, 0x18, 3);
    expect_flat(&sregs->ss, 0x18, 3);
    ck_assert_uint_eq(sregs->ss.db, 1);
    ck_assert_uint_eq(sregs->tr.type, 0xb); /* busy: VM entry wants it so */
    ck_assert_uint_eq(sregs->tr.s, 0);
    ck_assert_uint_eq(sregs->tr.present, 1);
    ck_assert_uint_eq(sregs->tr.limit, 0x67);
    ck_assert_uint_eq(sregs->tr.selector, 0x20);
}

START_TEST(linux_64_bit)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs;
    registers_of(&long64, &sregs, &regs);
    expect_flat(&sregs.cs, 0x10, 0xb);
    ck_assert_uint_eq(sregs.cs.l, 1);
    ck_assert_uint_eq(sregs.cs.db, 0);
    expect_data_and_tss(&sregs);
    ck_assert_uint_eq(sregs.cr0, 0x80000011);
    ck_assert_uint_eq(sregs.cr3, 0x9000);
    ck_assert_uint_eq(sregs.cr4, 0x20);
    ck_assert_uint_eq(sregs.efer, 0x500);
    ck_assert_uint_eq(regs.rsi, 0x7000);
    ck_assert_uint_eq(regs.rbx, 0);
}
END_TEST

START_TEST(pvh_32_bit)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs;
    registers_of(&pvh32, &sregs, &regs);
    expect_flat(&sregs.cs, 0x10, 0xb);
    ck_assert_uint_eq(sregs.cs.l, 0);
    ck_assert_uint_eq(sregs.cs.db, 1);
    expect_data_and_tss(&sregs);
    ck_assert_uint_eq(sregs.cr0, 0x11);
    ck_assert_uint_eq(sregs.cr3, 0);
    ck_assert_uint_eq(sregs.cr4, 0);
    ck_assert_uint_eq(sregs.efer, 0);
    ck_assert_uint_eq(regs.rbx, 0x6000);
    ck_assert_uint_eq(regs.rsi, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("boot-entry");
    TCase *tc = tcase_create("registers");
    tcase_add_test(tc, linux_64_bit);
    tcase_add_test(tc, pvh_32_bit);
    suite_add_tcase(s, tc);
    return run_suite(s);
}

// SPDX-License-Identifier: Apache-2.0
/* The KVM wrapper: errors keep their errno, and a host that lacks something is told so by name. */
#include "kvm.h"
#include "run_suite.h"
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int api_version = KVM_API_VERSION;
static int missing_cap = -1;
static int fail_errno;
static int msrs_taken;

int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
    (void)fd;
    if (fail_errno != 0) {
        errno = fail_errno;
        return -1;
    }
    switch (request) {
    case KVM_GET_API_VERSION:
        return api_version;
    case KVM_CHECK_EXTENSION:
        return (int)(intptr_t)arg == missing_cap ? 0 : 1;
    case KVM_SET_MSRS:
        return msrs_taken;
    case KVM_IRQFD:
        return (int)((struct kvm_irqfd *)arg)->flags;
    default:
        return 0;
    }
}

static void setup(void)
{
    api_version = KVM_API_VERSION;
    missing_cap = -1;
    fail_errno = 0;
}

START_TEST(a_complete_host_passes)
{
    ck_assert_int_eq(kvm_sys_require(3, NULL), 0);
}
END_TEST

START_TEST(another_api_version_is_refused)
{
    struct error err = ERROR_INIT;
    api_version = 11;
    ck_assert_int_eq(kvm_sys_require(3, &err), -EPROTO);
    ck_assert_ptr_nonnull(strstr(err.text, "11"));
}
END_TEST

START_TEST(a_missing_capability_is_named)
{
    struct error err = ERROR_INIT;
    missing_cap = KVM_CAP_SPLIT_IRQCHIP;
    ck_assert_int_eq(kvm_sys_require(3, &err), -EOPNOTSUPP);
    ck_assert_ptr_nonnull(strstr(err.text, "KVM_CAP_SPLIT_IRQCHIP"));
}
END_TEST

START_TEST(an_optional_capability_may_be_missing)
{
    missing_cap = KVM_CAP_READONLY_MEM;
    ck_assert_int_eq(kvm_sys_require(3, NULL), 0);
}
END_TEST

START_TEST(errors_keep_their_errno)
{
    fail_errno = EBADF;
    struct kvm_regs regs;
    ck_assert_int_eq(kvm_vcpu_get_regs(3, &regs), -EBADF);
    ck_assert_int_eq(kvm_vcpu_run(3), -EBADF);
    ck_assert_int_eq(kvm_sys_create_vm(3), -EBADF);
}
END_TEST

START_TEST(a_refused_msr_is_an_error)
{
    struct kvm_msr_table table = {.head = {.nmsrs = 3}};
    msrs_taken = 3;
    ck_assert_int_eq(kvm_vcpu_set_msrs(3, &table), 0);
    msrs_taken = 1;
    ck_assert_int_eq(kvm_vcpu_set_msrs(3, &table), -EINVAL);
}
END_TEST

START_TEST(irqfd_is_deassigned_by_flag)
{
    ck_assert_int_eq(kvm_vm_irqfd(3, 5, 24, true), 0);
    ck_assert_int_eq(kvm_vm_irqfd(3, 5, 24, false), KVM_IRQFD_FLAG_DEASSIGN);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kvm");
    TCase *tc = tcase_create("wrapper");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, a_complete_host_passes);
    tcase_add_test(tc, another_api_version_is_refused);
    tcase_add_test(tc, a_missing_capability_is_named);
    tcase_add_test(tc, an_optional_capability_may_be_missing);
    tcase_add_test(tc, errors_keep_their_errno);
    tcase_add_test(tc, a_refused_msr_is_an_error);
    tcase_add_test(tc, irqfd_is_deassigned_by_flag);
    suite_add_tcase(s, tc);
    return run_suite(s);
}

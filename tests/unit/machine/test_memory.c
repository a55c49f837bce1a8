// SPDX-License-Identifier: Apache-2.0
/* Guest RAM: where it lies, its guards, that released memory reads as zeroes; KVM slots by a fake
 * ioctl. */
#include "layout.h"
#include "memory.h"
#include "run_suite.h"
#include <check.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static struct kvm_userspace_memory_region slots[4];
static unsigned slot_count;

int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
    (void)fd;
    ck_assert_uint_eq(request, KVM_SET_USER_MEMORY_REGION);
    slots[slot_count++] = *(struct kvm_userspace_memory_region *)arg;
    return 0;
}

START_TEST(small_memory_is_one_region)
{
    struct machine_memory m;
    struct error err = ERROR_INIT;
    ck_assert_int_eq(machine_memory_map(&m, 64 * MIB, MACHINE_MEMORY_ANONYMOUS, &err), 0);
    ck_assert_uint_eq(m.guest.region_count, 1);
    ck_assert_uint_eq(guest_memory_size(&m.guest), 64 * MIB);
    ck_assert_uint_eq((uintptr_t)m.guest.region[0].hva % (2 * MIB), 0);
    ck_assert_ptr_nonnull(guest_memory_at(&m.guest, 64 * MIB - 1, 1));
    ck_assert_ptr_null(guest_memory_at(&m.guest, 64 * MIB - 1, 2));
    machine_memory_unmap(&m);
}
END_TEST

START_TEST(large_memory_goes_around_the_hole)
{
    struct machine_memory m;
    struct error err = ERROR_INIT;
    ck_assert_int_eq(machine_memory_map(&m, 5 * GIB, MACHINE_MEMORY_ANONYMOUS, &err), 0);
    ck_assert_uint_eq(m.guest.region_count, 2);
    ck_assert_uint_eq(m.guest.region[0].size, LAYOUT_HOLE_BASE);
    ck_assert_uint_eq(m.guest.region[1].base, LAYOUT_HOLE_END);
    ck_assert_uint_eq(guest_memory_size(&m.guest), 5 * GIB);
    ck_assert_ptr_null(guest_memory_at(&m.guest, LAYOUT_HOLE_BASE, 1));
    ck_assert_ptr_null(guest_memory_at(&m.guest, LAYOUT_HOLE_BASE - 1, 2));

    slot_count = 0;
    ck_assert_int_eq(machine_memory_register(&m, 7, &err), 0);
    ck_assert_uint_eq(slot_count, 2);
    ck_assert_uint_eq(slots[0].guest_phys_addr, 0);
    ck_assert_uint_eq(slots[1].guest_phys_addr, LAYOUT_HOLE_END);
    ck_assert_uint_eq(slots[1].userspace_addr, (uintptr_t)m.guest.region[1].hva);
    machine_memory_unmap(&m);
}
END_TEST

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/* The sanitizers want this signal for themselves. */
static sigjmp_buf fault;

static void on_fault(int sig)
{
    siglongjmp(fault, sig);
}

static bool touch_faults(volatile uint8_t *p)
{
    if (sigsetjmp(fault, 1) != 0)
        return true;
    *p = 1;
    return false;
}

START_TEST(guards_fault)
{
    struct machine_memory m;
    struct error err = ERROR_INIT;
    struct sigaction sa = {.sa_handler = on_fault}, old;
    ck_assert_int_eq(machine_memory_map(&m, 4 * MIB, MACHINE_MEMORY_ANONYMOUS, &err), 0);
    sigaction(SIGSEGV, &sa, &old);
    ck_assert(touch_faults(m.guest.region[0].hva - 1));
    ck_assert(touch_faults(m.guest.region[0].hva + 4 * MIB));
    ck_assert(!touch_faults(m.guest.region[0].hva));
    sigaction(SIGSEGV, &old, NULL);
    machine_memory_unmap(&m);
}
END_TEST
#endif

static void check_release(enum machine_memory_backing backing)
{
    struct machine_memory m;
    struct error err = ERROR_INIT;
    ck_assert_int_eq(machine_memory_map(&m, 4 * MIB, backing, &err), 0);
    uint8_t *ram = m.guest.region[0].hva;
    memset(ram, 0xaa, 4 * MIB);
    ck_assert_int_eq(machine_memory_release(&m, ram + 4096, 8192), 0);
    ck_assert_uint_eq(ram[4095], 0xaa);
    ck_assert_uint_eq(ram[4096], 0);
    ck_assert_uint_eq(ram[4096 + 8191], 0);
    ck_assert_uint_eq(ram[4096 + 8192], 0xaa);
    machine_memory_clear(&m);
    for (size_t i = 0; i < 4 * MIB; i += 4096)
        ck_assert_uint_eq(ram[i], 0);
    machine_memory_unmap(&m);
}

START_TEST(released_memory_reads_as_zeroes)
{
    check_release(MACHINE_MEMORY_ANONYMOUS);
    check_release(MACHINE_MEMORY_MEMFD);
}
END_TEST

START_TEST(missing_huge_pages_are_named)
{
    struct machine_memory m;
    struct error err = ERROR_INIT;
    /* More than any machine has reserved. */
    int r = machine_memory_map(&m, 1024 * GIB, MACHINE_MEMORY_HUGE_1G, &err);
    ck_assert_int_lt(r, 0);
    ck_assert_ptr_nonnull(strstr(err.text, "hugepages-1048576kB"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("memory");
    TCase *tc = tcase_create("guest RAM");
    tcase_add_test(tc, small_memory_is_one_region);
    tcase_add_test(tc, large_memory_goes_around_the_hole);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    tcase_add_test(tc, guards_fault);
#endif
    tcase_add_test(tc, released_memory_reads_as_zeroes);
    tcase_add_test(tc, missing_huge_pages_are_named);
    suite_add_tcase(s, tc);
    return run_suite(s);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * The protocol between the main thread and vCPU threads: parking, kicks, resets, the end. KVM is
 * replaced below ioctl(): a guest that spins until immediate_exit, or leaves as a test tells it.
 */
#include "run_suite.h"
#include "vcpu.h"
#include <check.h>
#include <podvisor/cleanup.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RUN_SIZE 4096
#define VCPUS    4
#define SYS_FD   -100
#define VM_FD    -101
#define MMIO     0x1000
#define TURN_US  50 /* how long a spinning guest takes to notice a kick */

/* The kernel's side of one vCPU. */
static struct kernel {
    int fd;
    struct kvm_run *run; /* a mapping of its own, like the kernel's */
    atomic_uint parts;   /* MMIO exits that one instruction still causes */
    atomic_uint entries; /* KVM_RUNs that got as far as the guest */
    atomic_uint regs_set;
    atomic_ullong rip;
    struct kvm_xsave xsave; /* as the reset left it: look once the guest was entered */
    struct kvm_xcrs xcrs;
} kernel[VCPUS];
static unsigned created;
static bool has_xcr0;

static struct kernel *kernel_of(int fd)
{
    for (unsigned i = 0; i < created; i++) {
        if (kernel[i].fd == fd)
            return &kernel[i];
    }
    ck_abort_msg("no vCPU has descriptor %d", fd);
}

static int create(void)
{
    struct kernel *k = &kernel[created++];
    memset(k, 0, sizeof(*k));
    k->fd = memfd_create("vcpu", MFD_CLOEXEC);
    ck_assert_int_eq(ftruncate(k->fd, RUN_SIZE), 0);
    k->run = mmap(NULL, RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, k->fd, 0);
    ck_assert(k->run != MAP_FAILED);
    return k->fd;
}

/* As KVM_RUN: first finishes what the last exit began, then looks at immediate_exit, then runs. */
static int run(struct kernel *k)
{
    if (atomic_load(&k->parts) > 0) {
        unsigned left = atomic_fetch_sub(&k->parts, 1) - 1;
        k->run->exit_reason = KVM_EXIT_MMIO;
        k->run->mmio.phys_addr = MMIO + left;
        k->run->mmio.len = 1;
        k->run->mmio.is_write = 0;
        return 0;
    }
    atomic_fetch_add(&k->entries, !__atomic_load_n(&k->run->immediate_exit, __ATOMIC_SEQ_CST));
    while (!__atomic_load_n(&k->run->immediate_exit, __ATOMIC_SEQ_CST))
        usleep(TURN_US);
    errno = EINTR;
    return -1;
}

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    va_start(ap, request);
    void *arg = va_arg(ap, void *);
    va_end(ap);
    switch (request) {
    case KVM_GET_VCPU_MMAP_SIZE:
        return RUN_SIZE;
    case KVM_GET_SUPPORTED_CPUID:
        ((struct kvm_cpuid2 *)arg)->nent = 0;
        return 0;
    case KVM_CHECK_EXTENSION:
        return has_xcr0 && (intptr_t)arg == KVM_CAP_XCRS;
    case KVM_SET_XSAVE:
        kernel_of(fd)->xsave = *(struct kvm_xsave *)arg;
        return 0;
    case KVM_SET_XCRS:
        kernel_of(fd)->xcrs = *(struct kvm_xcrs *)arg;
        return 0;
    case KVM_CREATE_VCPU:
        return create();
    case KVM_RUN:
        return run(kernel_of(fd));
    case KVM_SET_REGS:
        atomic_fetch_add(&kernel_of(fd)->regs_set, 1);
        atomic_store(&kernel_of(fd)->rip, ((struct kvm_regs *)arg)->rip);
        return 0;
    default:
        return request == KVM_SET_MSRS;
    }
}

/* The machine's side. */

static struct vcpu_group group;
static struct bus pio, mmio;
static struct loop main_loop;
static struct loop_work parked_work;
static unsigned parked; /* times that `parked` was posted and run */
static int start_result;
static atomic_uint mmio_reads;
static bool hold_on_read;

static int thread_started(void *ctx, struct error *err)
{
    (void)ctx;
    return start_result < 0 ? error_set(err, -start_result, "no sandbox") : 0;
}

static void unexpected(void *ctx)
{
    (void)ctx;
    ck_abort_msg("unexpected exit");
}

static void unexpected_eoi(void *ctx, uint8_t vector)
{
    (void)vector;
    unexpected(ctx);
}

static void unexpected_crash(void *ctx, const char *why)
{
    (void)ctx;
    ck_abort_msg("unexpected crash: %s", why);
}

static const struct vcpu_ops ops = {
    .thread_started = thread_started,
    .ioapic_eoi = unexpected_eoi,
    .triple_fault = unexpected,
    .crashed = unexpected_crash,
};

static void mmio_read(void *ctx, uint64_t offset, void *data, unsigned len)
{
    (void)ctx;
    (void)offset;
    memset(data, 0, len);
    atomic_fetch_add(&mmio_reads, 1);
    if (hold_on_read)
        vcpu_group_hold(&group);
}

static const struct bus_ops mmio_ops = {.read = mmio_read};

static void count_parked(struct loop_work *work)
{
    (void)work;
    parked++;
}

static const struct machine_config config = {.kvm_fd = SYS_FD, .cpus = VCPUS};

static void create_group(void)
{
    created = parked = 0;
    start_result = 0;
    atomic_store(&mmio_reads, 0);
    hold_on_read = false;
    memset(&group, 0, sizeof(group));
    parked_work = (struct loop_work){.run = count_parked};
    bus_init(&pio, "pio");
    bus_init(&mmio, "mmio");
    ck_assert_int_eq(bus_add(&mmio, "device", MMIO, 0x100, &mmio_ops, NULL, NULL), 0);
    ck_assert_int_eq(loop_init(&main_loop, NULL), 0);
    ck_assert_int_eq(vcpu_group_init(&group, &config, VM_FD, &ops, NULL, &pio, &mmio, &main_loop,
                                     &parked_work, NULL),
                     0);
    ck_assert_int_eq(vcpu_group_start(&group, NULL), 0);
}

static void setup(void)
{
    has_xcr0 = true;
    create_group();
}

static void setup_without_xcr0(void)
{
    has_xcr0 = false;
    create_group();
}

static void teardown(void)
{
    vcpu_group_stop(&group);
    vcpu_group_done(&group);
    for (unsigned i = 0; i < created; i++)
        munmap(kernel[i].run, RUN_SIZE);
    loop_done(&main_loop);
}

/* Waits until the vCPUs have parked for the `times`th time, and that this is said once. */
static void await_parked(unsigned times)
{
    while (parked < times)
        ck_assert_int_eq(loop_run_once(&main_loop, 10000), 0);
    ck_assert_uint_eq(parked, times);
}

/* Each vCPU has been in the guest more often than `before` says. */
static void await_entries(const unsigned *before)
{
    for (unsigned i = 0; i < VCPUS; i++) {
        while (atomic_load(&kernel[i].entries) <= before[i])
            usleep(TURN_US);
    }
}

static void count_entries(unsigned *ret)
{
    for (unsigned i = 0; i < VCPUS; i++)
        ret[i] = atomic_load(&kernel[i].entries);
}

START_TEST(nothing_runs_before_the_release)
{
    await_parked(1);
    ck_assert_int_eq(vcpu_group_check(&group, NULL), 0);
    for (unsigned i = 0; i < VCPUS; i++) {
        ck_assert_uint_eq(atomic_load(&kernel[i].entries), 0);
        ck_assert_uint_eq(atomic_load(&kernel[i].regs_set), 0);
    }
}
END_TEST

START_TEST(release_and_park)
{
    const unsigned none[VCPUS] = {0};
    await_parked(1);
    vcpu_group_release(&group);
    await_entries(none);
    vcpu_group_park(&group);
    await_parked(2);
    vcpu_group_park(&group); /* parked already: says so again */
    await_parked(3);
}
END_TEST

/* Whichever way the two race, a park is answered once and a release lets all run. */
START_TEST(park_right_after_release)
{
    await_parked(1);
    for (unsigned i = 2; i < 1000; i++) {
        vcpu_group_release(&group);
        if (i % 3 == 0)
            usleep(i % 100);
        vcpu_group_park(&group);
        await_parked(i);
    }
    unsigned before[VCPUS];
    count_entries(before);
    vcpu_group_release(&group);
    await_entries(before);
}
END_TEST

START_TEST(stop_while_running)
{
    const unsigned none[VCPUS] = {0};
    await_parked(1);
    vcpu_group_release(&group);
    await_entries(none);
}
END_TEST

START_TEST(stop_before_anything_parked)
{
    vcpu_group_stop(&group);
}
END_TEST

START_TEST(reset_sets_the_entry_once)
{
    const struct boot_entry entry = {.rip = 0x123456};
    const unsigned none[VCPUS] = {0};
    await_parked(1);
    vcpu_group_reset(&group, &entry);
    vcpu_group_release(&group);
    await_entries(none);
    ck_assert_uint_eq(atomic_load(&kernel[0].rip), 0x123456);
    ck_assert_uint_eq(atomic_load(&kernel[1].rip), 0xfff0);
    vcpu_group_park(&group);
    await_parked(2);
    unsigned before[VCPUS];
    count_entries(before);
    vcpu_group_release(&group);
    await_entries(before);
    for (unsigned i = 0; i < VCPUS; i++)
        ck_assert_uint_eq(atomic_load(&kernel[i].regs_set), 1);
}
END_TEST

/* The vector registers do not survive, and the guest has none enabled: SDM vol. 3 §9.1, table 9-1.
 */
static void check_extended_state(const struct kernel *k)
{
    struct kvm_xsave wanted = {.region = {[0] = 0x37f, [6] = 0x1f80, [128] = 3}};
    ck_assert_mem_eq(&k->xsave, &wanted, sizeof(wanted));
    ck_assert_uint_eq(k->xcrs.nr_xcrs, has_xcr0);
    ck_assert_uint_eq(k->xcrs.xcrs[0].xcr, 0);
    ck_assert_uint_eq(k->xcrs.xcrs[0].value, has_xcr0);
}

START_TEST(reset_clears_the_extended_state)
{
    const struct boot_entry entry = {.rip = 0x123456};
    unsigned before[VCPUS] = {0};
    await_parked(1);
    for (unsigned times = 2; times < 4; times++) {
        for (unsigned i = 0; i < VCPUS; i++) /* what the last guest left */
            memset(&kernel[i].xsave, 0xff, sizeof(kernel[i].xsave));
        vcpu_group_reset(&group, &entry);
        vcpu_group_release(&group);
        await_entries(before);
        vcpu_group_park(&group);
        await_parked(times);
        for (unsigned i = 0; i < VCPUS; i++)
            check_extended_state(&kernel[i]);
        count_entries(before);
    }
}
END_TEST

/* An access that crosses a page is several exits; the vCPU does not park between them. */
START_TEST(an_access_in_parts_is_finished_before_parking)
{
    await_parked(1);
    hold_on_read = true;
    atomic_store(&kernel[2].parts, 3);
    vcpu_group_release(&group);
    while (atomic_load(&mmio_reads) == 0)
        usleep(TURN_US);
    vcpu_group_park(&group);
    await_parked(2);
    ck_assert_uint_eq(atomic_load(&mmio_reads), 3);
}
END_TEST

START_TEST(a_thread_that_cannot_start_is_reported)
{
    struct error err = ERROR_INIT;
    await_parked(1);
    vcpu_group_stop(&group);
    vcpu_group_done(&group);
    memset(&group, 0, sizeof(group));
    for (unsigned i = 0; i < created; i++)
        munmap(kernel[i].run, RUN_SIZE);
    created = 0;
    start_result = -EPERM;
    ck_assert_int_eq(vcpu_group_init(&group, &config, VM_FD, &ops, NULL, &pio, &mmio, &main_loop,
                                     &parked_work, NULL),
                     0);
    ck_assert_int_eq(vcpu_group_start(&group, NULL), 0);
    await_parked(2);
    ck_assert_int_eq(vcpu_group_check(&group, &err), -EPERM);
    ck_assert_str_eq(err.text, "no sandbox");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("vcpu");
    TCase *tc = tcase_create("parking");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, nothing_runs_before_the_release);
    tcase_add_test(tc, release_and_park);
    tcase_add_test(tc, park_right_after_release);
    tcase_add_test(tc, stop_while_running);
    tcase_add_test(tc, stop_before_anything_parked);
    tcase_add_test(tc, reset_sets_the_entry_once);
    tcase_add_test(tc, an_access_in_parts_is_finished_before_parking);
    tcase_add_test(tc, a_thread_that_cannot_start_is_reported);
    tcase_add_test(tc, reset_clears_the_extended_state);
    suite_add_tcase(s, tc);
    TCase *old = tcase_create("no-xsave");
    tcase_add_checked_fixture(old, setup_without_xcr0, teardown);
    tcase_add_test(old, reset_clears_the_extended_state);
    suite_add_tcase(s, old);
    return run_suite(s);
}

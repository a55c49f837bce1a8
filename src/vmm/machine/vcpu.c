// SPDX-License-Identifier: Apache-2.0
/* vCPU threads: preparation, run loop, exits, parking. Theory of operation in vcpu.h. */
#include "vcpu.h"
#include <podvisor/cleanup.h>
#include <podvisor/counter.h>
#include <podvisor/log.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KICK_SIGNAL SIGUSR1

#define VCPU_STACK_SIZE ((size_t)128 * 1024)

#define MSR_IA32_MISC_ENABLE    0x1a0
#define MISC_ENABLE_FAST_STRING 1
#define MSR_MTRR_DEF_TYPE       0x2ff
#define MTRR_DEF_ENABLED_WB     0x806
#define LAPIC_LVT_LINT0         0x350
#define LAPIC_LVT_LINT1         0x360
#define LAPIC_DELIVERY_EXTINT   (7u << 8)
#define LAPIC_DELIVERY_NMI      (4u << 8)

/* KVM_SET_XSAVE's image (SDM vol. 1 §13.4), in words of 32 bits. */
#define XSAVE_FCW       0
#define XSAVE_MXCSR     6
#define XSAVE_XSTATE_BV 128
#define XSTATE_X87      1
#define XSTATE_SSE      2
#define FCW_INITIAL     0x37f
#define MXCSR_INITIAL   0x1f80

/*
 * Registers that a kernel may leave behind and that must not survive a reset: above all the KVM
 * clock areas, into which KVM would go on writing after RAM was cleared.
 */
static const struct kvm_msr_entry reset_msrs[] = {
    {.index = MSR_IA32_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING},
    {.index = MSR_MTRR_DEF_TYPE, .data = MTRR_DEF_ENABLED_WB},
    {.index = 0x48},                              /* IA32_SPEC_CTRL */
    {.index = 0x174},                             /* IA32_SYSENTER_CS */
    {.index = 0x175},                             /* IA32_SYSENTER_ESP */
    {.index = 0x176},                             /* IA32_SYSENTER_EIP */
    {.index = 0x1c4},                             /* IA32_XFD */
    {.index = 0x1c5},                             /* IA32_XFD_ERR */
    {.index = 0x1d9},                             /* IA32_DEBUGCTL */
    {.index = 0x277, .data = 0x0007040600070406}, /* IA32_PAT after reset, SDM vol. 3 §11.12.4 */
    {.index = 0x38f},                             /* IA32_PERF_GLOBAL_CTRL */
    {.index = 0x6a0},                             /* IA32_U_CET */
    {.index = 0x6a2},                             /* IA32_S_CET */
    {.index = 0x6a4},                             /* IA32_PL0_SSP */
    {.index = 0x6a5},                             /* IA32_PL1_SSP */
    {.index = 0x6a6},                             /* IA32_PL2_SSP */
    {.index = 0x6a7},                             /* IA32_PL3_SSP */
    {.index = 0x6a8},                             /* IA32_INTERRUPT_SSP_TABLE_ADDR */
    {.index = 0x6e0},                             /* IA32_TSC_DEADLINE */
    {.index = 0xda0},                             /* IA32_XSS */
    {.index = 0xc0000081},                        /* STAR */
    {.index = 0xc0000082},                        /* LSTAR */
    {.index = 0xc0000083},                        /* CSTAR */
    {.index = 0xc0000084},                        /* SFMASK */
    {.index = 0xc0000102},                        /* KERNEL_GS_BASE */
    {.index = 0xc0000103},                        /* TSC_AUX */
    {.index = 0x4b564d00},                        /* KVM wall clock */
    {.index = 0x4b564d01},                        /* KVM system time */
    {.index = 0x4b564d02},                        /* KVM async page fault */
    {.index = 0x4b564d03},                        /* KVM steal time */
    {.index = 0x4b564d04},                        /* KVM PV EOI */
    {.index = 0x4b564d05, .data = 1},             /* KVM poll control: the host may poll */
};

static void kick_handler(int sig)
{
    (void)sig;
}

/* Written by the main thread while the vCPU thread may be inside KVM_RUN: that is what it is for.
 */
static void set_immediate_exit(struct vcpu *v, uint8_t value)
{
    __atomic_store_n(&v->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

static void reset_all_msrs(struct vcpu *v)
{
    for (size_t i = 0; i < ARRAY_SIZE(reset_msrs); i++) {
        struct kvm_msr_table table = {.head = {.nmsrs = 1}, .entry = {reset_msrs[i]}};
        /* A register that this KVM does not know holds no state of the guest's either. */
        (void)kvm_vcpu_set_msrs(v->fd, &table);
    }
}

static void lapic_set(struct kvm_lapic_state *lapic, unsigned reg, uint32_t value)
{
    memcpy(&lapic->regs[reg], &value, sizeof(value));
}

/* What a processor is told once; runs on its own thread, before the sandbox closes. */
static int prepare(struct vcpu *v, struct error *err)
{
    struct vcpu_group *g = v->group;
    struct kvm_cpuid_table cpuid = g->cpuid;
    cpuid_for_vcpu(&cpuid, v->id, &g->traits);
    int r = kvm_vcpu_set_cpuid(v->fd, &cpuid);
    if (r < 0)
        return error_sys(err, -r, "KVM refuses the processor description of vCPU %u", v->id);
    r = kvm_vcpu_get_sregs(v->fd, &v->initial_sregs);
    if (r == 0)
        r = kvm_vcpu_get_lapic(v->fd, &v->initial_lapic);
    if (r < 0)
        return error_sys(err, -r, "cannot read the initial state of vCPU %u", v->id);
    lapic_set(&v->initial_lapic, LAPIC_LVT_LINT0, LAPIC_DELIVERY_EXTINT);
    lapic_set(&v->initial_lapic, LAPIC_LVT_LINT1, LAPIC_DELIVERY_NMI);
    return g->ops->thread_started(g->ctx, err);
}

/*
 * Everything that XSAVE manages, whatever the guest enabled: XSTATE_BV names x87 and SSE, given
 * here, and by leaving out the others (AVX and all later ones) puts them into their initial state.
 */
static int reset_extended_state(struct vcpu *v)
{
    static const struct kvm_xsave xsave = {.region = {[XSAVE_FCW] = FCW_INITIAL,
                                                      [XSAVE_MXCSR] = MXCSR_INITIAL,
                                                      [XSAVE_XSTATE_BV] = XSTATE_X87 | XSTATE_SSE}};
    int r = kvm_vcpu_set_xsave(v->fd, &xsave);
    if (r == 0 && v->group->has_xcr0)
        r = kvm_vcpu_set_xcr0(v->fd, XSTATE_X87);
    return r;
}

/* Power-on state (SDM vol. 3 §9.1), except that processor 0 starts where the boot protocol says. */
static int reset_processor(struct vcpu *v)
{
    struct kvm_sregs sregs = v->initial_sregs;
    struct kvm_regs regs = {.rip = 0xfff0, .rflags = 2};
    static const struct kvm_debugregs debug = {.dr6 = 0xffff0ff0, .dr7 = 0x400};
    /* Nothing pending: without the flags KVM would leave NMIs and the interrupt shadow alone. */
    static const struct kvm_vcpu_events events = {.flags = KVM_VCPUEVENT_VALID_NMI_PENDING |
                                                           KVM_VCPUEVENT_VALID_SHADOW};

    if (v->id == 0)
        boot_entry_sregs(&v->group->entry, &sregs, &regs);
    int r = kvm_vcpu_set_sregs(v->fd, &sregs);
    if (r == 0)
        r = kvm_vcpu_set_regs(v->fd, &regs);
    if (r == 0)
        r = kvm_vcpu_set_lapic(v->fd, &v->initial_lapic);
    if (r == 0)
        r = reset_extended_state(v);
    if (r == 0)
        r = kvm_vcpu_set_debugregs(v->fd, &debug);
    if (r == 0)
        r = kvm_vcpu_set_events(v->fd, &events);
    reset_all_msrs(v);
    if (r == 0)
        r = kvm_vcpu_set_mp_state(v->fd,
                                  v->id == 0 ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED);
    return r;
}

static void handle_pio(struct vcpu *v)
{
    struct kvm_run *run = v->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
        if (run->io.direction == KVM_EXIT_IO_OUT)
            bus_write(v->group->pio, run->io.port, data, run->io.size);
        else
            bus_read(v->group->pio, run->io.port, data, run->io.size);
    }
}

static void handle_mmio(struct vcpu *v)
{
    struct kvm_run *run = v->run;
    if (run->mmio.is_write)
        bus_write(v->group->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
    else
        bus_read(v->group->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
}

static void report_crash(struct vcpu *v, const char *what, uint64_t detail)
{
    struct kvm_regs regs = {0};
    struct kvm_sregs sregs = {0};
    (void)kvm_vcpu_get_regs(v->fd, &regs);
    (void)kvm_vcpu_get_sregs(v->fd, &sregs);
    char why[256];
    snprintf(why, sizeof(why), "vCPU %u: %s (0x%llx) at rip 0x%llx cr0 0x%llx cr3 0x%llx", v->id,
             what, (unsigned long long)detail, regs.rip, sregs.cr0, sregs.cr3);
    v->group->ops->crashed(v->group->ctx, why);
    vcpu_group_hold(v->group);
}

static void handle_exit(struct vcpu *v)
{
    struct kvm_run *run = v->run;
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        handle_pio(v);
        break;
    case KVM_EXIT_MMIO:
        handle_mmio(v);
        break;
    case KVM_EXIT_IOAPIC_EOI:
        v->group->ops->ioapic_eoi(v->group->ctx, run->eoi.vector);
        break;
    case KVM_EXIT_SHUTDOWN:
        v->group->ops->triple_fault(v->group->ctx);
        vcpu_group_hold(v->group);
        break;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_HLT:
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        report_crash(v, "KVM cannot emulate an instruction or event, suberror",
                     run->internal.suberror);
        break;
    case KVM_EXIT_FAIL_ENTRY:
        report_crash(v, "the processor refuses to enter the guest, reason",
                     run->fail_entry.hardware_entry_failure_reason);
        break;
    default:
        report_crash(v, "KVM left for a reason this program does not handle", run->exit_reason);
        break;
    }
}

/* Waits while parking is wanted, then resets the processor if asked to; false: the thread must end.
 */
static bool wait_released(struct vcpu *v)
{
    struct vcpu_group *g = v->group;
    pthread_mutex_lock(&g->lock);
    if (g->park_wanted && !g->stop_wanted) {
        if (++g->parked_count == g->count)
            loop_post(g->main_loop, g->parked);
        while (g->park_wanted && !g->stop_wanted)
            pthread_cond_wait(&g->changed, &g->lock);
        g->parked_count--;
    }
    bool go_on = !g->stop_wanted;
    bool reset = v->reset_needed;
    v->reset_needed = false;
    /* A kick that comes from here on must not be lost: it sets the flag again. */
    set_immediate_exit(v, 0);
    pthread_mutex_unlock(&g->lock);
    if (go_on && reset) {
        int r = reset_processor(v);
        if (r < 0) {
            log_error("vcpu", "cannot reset vCPU %u: %s", v->id, strerror(-r));
            report_crash(v, "KVM refuses the reset state, errno", (uint64_t)-r);
        }
    }
    return go_on;
}

static bool must_park(struct vcpu_group *g)
{
    return atomic_load_explicit(&g->park_wanted, memory_order_relaxed) ||
           atomic_load_explicit(&g->stop_wanted, memory_order_relaxed);
}

/* Runs the guest until its next exit and does what that asks for. Returns whether there was one. */
static bool run_once(struct vcpu *v)
{
    int r = kvm_vcpu_run(v->fd);
    if (r == -EINTR || r == -EAGAIN)
        return false;
    counter_add(&v->exits, 1);
    if (r == 0)
        handle_exit(v);
    else
        report_crash(v, "KVM_RUN failed, errno", (uint64_t)-r);
    return r == 0;
}

static void run_guest(struct vcpu *v)
{
    while (wait_released(v)) {
        while (!must_park(v->group))
            (void)run_once(v);
        /*
         * An instruction whose exit was handled but not completed (KVM finishes a read on the next
         * entry) is completed here, so that a parked vCPU has no half-done access: §5,
         * "immediate_exit". An access to several places is one exit after the other.
         */
        set_immediate_exit(v, 1);
        while (run_once(v))
            ;
    }
}

static void *vcpu_thread(void *arg)
{
    struct vcpu *v = arg;
    struct vcpu_group *g = v->group;
    char name[16];
    snprintf(name, sizeof(name), "vcpu%u", v->id);
    prctl(PR_SET_NAME, name);
    v->tid = (pid_t)syscall(SYS_gettid);

    struct error err = ERROR_INIT;
    int r = prepare(v, &err);
    if (r < 0) {
        pthread_mutex_lock(&g->lock);
        if (g->failure == 0) {
            g->failure = r;
            g->failure_text = err;
        }
        pthread_mutex_unlock(&g->lock);
    }
    run_guest(v);
    return NULL;
}

static int create_vcpu(struct vcpu *v, int vm_fd, struct error *err)
{
    v->fd = kvm_vm_create_vcpu(vm_fd, v->id);
    if (v->fd < 0)
        return error_sys(err, -v->fd, "KVM cannot create vCPU %u", v->id);
    v->run = mmap(NULL, v->group->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (v->run == MAP_FAILED) {
        v->run = NULL;
        return error_sys(err, errno, "cannot map the run area of vCPU %u", v->id);
    }
    return 0;
}

int vcpu_group_init(struct vcpu_group *group, const struct machine_config *config, int vm_fd,
                    const struct vcpu_ops *ops, void *ctx, struct bus *pio, struct bus *mmio,
                    struct loop *main_loop, struct loop_work *parked, struct error *err)
{
    group->ops = ops;
    group->ctx = ctx;
    group->pio = pio;
    group->mmio = mmio;
    group->main_loop = main_loop;
    group->parked = parked;
    group->pid = getpid();
    group->park_wanted = true;
    pthread_mutex_init(&group->lock, NULL);
    pthread_cond_init(&group->changed, NULL);

    int kvm_fd = config->kvm_fd;
    int size = kvm_sys_get_vcpu_mmap_size(kvm_fd);
    if (size < (int)sizeof(struct kvm_run))
        return error_set(err, EPROTO, "KVM reports a vCPU run area of %d bytes", size);
    group->run_size = (unsigned)size;
    int r = kvm_sys_get_supported_cpuid(kvm_fd, &group->cpuid);
    if (r < 0)
        return error_sys(err, -r, "KVM does not say which CPUID leaves it supports");
    group->traits = (struct cpuid_traits){
        .cpus = config->cpus,
        .tsc_deadline = kvm_sys_check_extension(kvm_fd, KVM_CAP_TSC_DEADLINE_TIMER) > 0,
        .no_hypercalls = config->no_hypercalls,
    };
    group->has_xcr0 = kvm_sys_check_extension(kvm_fd, KVM_CAP_XCRS) > 0;
    for (r = 0; r == 0 && group->count < config->cpus;) {
        struct vcpu *v = &group->vcpu[group->count];
        v->group = group;
        v->id = group->count++;
        v->reset_needed = true;
        r = create_vcpu(v, vm_fd, err);
    }
    return r;
}

int vcpu_group_start(struct vcpu_group *group, struct error *err)
{
    /* No SA_RESTART: KVM_RUN must come back. Whoever started us may have blocked the signal. */
    struct sigaction sa = {.sa_handler = kick_handler};
    sigaction(KICK_SIGNAL, &sa, NULL);
    sigset_t kick;
    sigemptyset(&kick);
    sigaddset(&kick, KICK_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &kick, NULL);

    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, VCPU_STACK_SIZE);
    int r = 0;
    for (unsigned i = 0; r == 0 && i < group->count; i++) {
        r = pthread_create(&group->vcpu[i].thread, &attr, vcpu_thread, &group->vcpu[i]);
        if (r == 0)
            group->vcpu[i].started = true;
    }
    pthread_attr_destroy(&attr);
    return r == 0 ? 0 : error_sys(err, r, "cannot start a vCPU thread");
}

int vcpu_group_check(struct vcpu_group *group, struct error *err)
{
    pthread_mutex_lock(&group->lock);
    int r = group->failure;
    if (r < 0 && err != NULL)
        *err = group->failure_text;
    pthread_mutex_unlock(&group->lock);
    return r;
}

static void kick_all(struct vcpu_group *group)
{
    for (unsigned i = 0; i < group->count; i++) {
        struct vcpu *v = &group->vcpu[i];
        if (!v->started || v->tid == 0)
            continue;
        set_immediate_exit(v, 1);
        syscall(SYS_tgkill, group->pid, v->tid, KICK_SIGNAL);
    }
}

void vcpu_group_hold(struct vcpu_group *group)
{
    atomic_store_explicit(&group->park_wanted, true, memory_order_relaxed);
}

void vcpu_group_park(struct vcpu_group *group)
{
    pthread_mutex_lock(&group->lock);
    atomic_store_explicit(&group->park_wanted, true, memory_order_relaxed);
    bool all = group->parked_count == group->count;
    kick_all(group);
    pthread_mutex_unlock(&group->lock);
    if (all)
        loop_post(group->main_loop, group->parked);
}

void vcpu_group_reset(struct vcpu_group *group, const struct boot_entry *entry)
{
    pthread_mutex_lock(&group->lock);
    group->entry = *entry;
    for (unsigned i = 0; i < group->count; i++)
        group->vcpu[i].reset_needed = true;
    pthread_mutex_unlock(&group->lock);
}

void vcpu_group_release(struct vcpu_group *group)
{
    pthread_mutex_lock(&group->lock);
    atomic_store_explicit(&group->park_wanted, false, memory_order_relaxed);
    pthread_cond_broadcast(&group->changed);
    pthread_mutex_unlock(&group->lock);
}

void vcpu_group_stop(struct vcpu_group *group)
{
    pthread_mutex_lock(&group->lock);
    atomic_store_explicit(&group->stop_wanted, true, memory_order_relaxed);
    pthread_cond_broadcast(&group->changed);
    kick_all(group);
    pthread_mutex_unlock(&group->lock);
    for (unsigned i = 0; i < group->count; i++) {
        if (group->vcpu[i].started)
            pthread_join(group->vcpu[i].thread, NULL);
        group->vcpu[i].started = false;
    }
}

void vcpu_group_done(struct vcpu_group *group)
{
    for (unsigned i = 0; i < group->count; i++) {
        if (group->vcpu[i].run != NULL)
            munmap(group->vcpu[i].run, group->run_size);
        if (group->vcpu[i].fd >= 0)
            close(group->vcpu[i].fd);
    }
    pthread_cond_destroy(&group->changed);
    pthread_mutex_destroy(&group->lock);
}

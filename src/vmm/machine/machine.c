// SPDX-License-Identifier: Apache-2.0
/* The machine's construction and life cycle; theory of operation in machine.h. Main thread. */
#include "machine.h"
#include "../acpi/acpi.h"
#include "../sandbox/sandbox.h"
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/log.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISK_SETTLE_NS      (500 * NSEC_PER_MSEC)
#define IMAGE_SAVE_NS       (5 * NSEC_PER_SEC)
#define DEVICE_POLL_NS      NSEC_PER_MSEC
#define TRIPLE_FAULT_WINDOW (60 * NSEC_PER_SEC)
#define TRIPLE_FAULT_MAX    5
#define CONSOLE_FLUSH_MS    1000
#define CONTROL_FLUSH_MS    200
#define QCOW2_ROOM          (UINT64_C(64) << 20)
#define TERMINATION_MAX     65536 /* bytes: more than the termination message's file ever holds */

const char *machine_state_name(enum machine_state state)
{
    static const char *const name[] = {
        [MACHINE_STARTING] = "starting",   [MACHINE_RUNNING] = "running",
        [MACHINE_PAUSING] = "pausing",     [MACHINE_PAUSED] = "paused",
        [MACHINE_RESETTING] = "resetting", [MACHINE_ENDING] = "ending",
    };
    return name[state];
}

void machine_report(struct machine *m, unsigned event)
{
    atomic_fetch_or_explicit(&m->events, event, memory_order_release);
    loop_post(&m->loop, &m->events_work);
}

void machine_end(struct machine *m, int exit_code, const char *reason, const char *fmt, ...)
{
    if (m->state == MACHINE_ENDING)
        return;
    m->state = MACHINE_ENDING;
    m->result.exit_code = exit_code;
    m->result.reason = reason;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(m->result.message, sizeof(m->result.message), fmt, ap);
    va_end(ap);
    loop_stop(&m->loop);
}

/* The guest runs. */
static void press_button(struct machine *m)
{
    m->button_wanted = false;
    machine_devices_press_button(&m->devices);
    log_info("machine", "power button pressed");
}

static int load_kernel(struct machine *m, bool ram_is_zero, struct boot_entry *ret_entry,
                       struct error *err)
{
    struct acpi_config acpi = {
        .cpus = m->config->cpus,
        .rtc = true,
        .pvpanic = true,
    };
    int r = acpi_build(&m->memory.guest, &acpi, &m->rsdp, err);
    if (r < 0)
        return r;
    struct boot_source source = {
        .kernel_fd = m->config->kernel_fd,
        .initrd_fd = m->config->initrd_fd,
        .cmdline = m->config->cmdline,
        .rsdp = m->rsdp,
        .ram_is_zero = ram_is_zero,
    };
    return boot_load(&m->memory.guest, &source, ret_entry, err);
}

static void complete_pause(struct machine *m)
{
    if (m->pause_token != 0)
        control_complete(m->control, m->pause_token, 0, NULL);
    m->pause_token = 0;
}

/* The guest can run: lets it. */
static void enter_running(struct machine *m)
{
    m->state = MACHINE_RUNNING;
    if (m->first_run_ns == 0) {
        m->first_run_ns = clock_now_ns();
        log_debug(
            "machine", "guest started %llu us after exec",
            (unsigned long long)((m->first_run_ns - m->config->exec_time_ns) / NSEC_PER_USEC));
    }
    vcpu_group_release(&m->vcpus);
    if (m->button_wanted)
        press_button(m);
}

/* All vCPUs are parked and shall stay so, unless the machine is to end: a paused guest never sees
 * the power button. */
static void enter_paused(struct machine *m)
{
    m->state = MACHINE_PAUSED;
    complete_pause(m);
    log_info("machine", "paused");
    if (m->button_wanted) {
        io_error_retry(m);
        enter_running(m);
    } else {
        io_error_take_event(m); /* that which it was paused for may be over */
    }
}

/* Everything stands still and is reset: start over. */
static void restart(struct machine *m)
{
    struct error err = ERROR_INIT;
    struct boot_entry entry;
    machine_memory_clear(&m->memory);
    if (load_kernel(m, true, &entry, &err) < 0) {
        machine_end(m, MACHINE_EXIT_INTERNAL, "ResetFailed", "cannot reset the machine: %s",
                    err.text);
        return;
    }
    m->resets++;
    vcpu_group_reset(&m->vcpus, &entry);
    if (m->reset_token != 0)
        control_complete(m->control, m->reset_token, 0, NULL);
    m->reset_token = 0;
    bool pause = m->pause_after_reset;
    m->pause_after_reset = false;
    if (pause)
        enter_paused(m);
    else
        enter_running(m);
}

static void poll_devices(struct loop_timer *timer)
{
    struct machine *m = container_of(timer, struct machine, device_poll);
    if (machine_devices_quiet(&m->devices)) {
        machine_devices_reset(&m->devices);
        irq_reset(&m->irq);
        restart(m);
    } else {
        (void)loop_timer_arm(&m->loop, timer, clock_now_ns() + DEVICE_POLL_NS);
    }
}

static int await_threads(struct machine *m, struct error *err)
{
    int r = vcpu_group_check(&m->vcpus, err);
    for (unsigned i = 0; r == 0 && i < m->io_count; i++) {
        r = io_thread_await_start(&m->io[i].thread, err);
        if (r == 0 && m->io[i].pool != NULL)
            r = engine_await_start(m->io[i].pool, err);
    }
    return r;
}

static void all_parked(struct loop_work *work)
{
    struct machine *m = container_of(work, struct machine, parked_work);
    struct error err = ERROR_INIT;
    switch (m->state) {
    case MACHINE_STARTING:
        /* No guest instruction before every thread has its sandbox. */
        if (await_threads(m, &err) < 0) {
            machine_end(m, MACHINE_EXIT_INTERNAL, "StartFailed", "%s", err.text);
            return;
        }
        if (m->config->start_paused)
            enter_paused(m);
        else
            enter_running(m);
        break;
    case MACHINE_PAUSING:
        enter_paused(m);
        break;
    case MACHINE_RESETTING:
        machine_devices_begin_reset(&m->devices);
        poll_devices(&m->device_poll);
        break;
    case MACHINE_RUNNING:
    case MACHINE_PAUSED:
    case MACHINE_ENDING:
        break; /* a park that something newer made void */
    }
}

int machine_pause(struct machine *m, uint64_t token, struct error *err)
{
    switch (m->state) {
    case MACHINE_RUNNING:
        m->state = MACHINE_PAUSING;
        m->pause_reason = MACHINE_PAUSE_REQUEST;
        m->pause_token = token;
        vcpu_group_park(&m->vcpus);
        return CONTROL_PENDING;
    case MACHINE_PAUSED:
        m->pause_reason = MACHINE_PAUSE_REQUEST;
        return 0;
    default:
        return error_set(err, EBUSY, "the machine is %s; try again in a moment",
                         machine_state_name(m->state));
    }
}

int machine_resume(struct machine *m, struct error *err)
{
    switch (m->state) {
    case MACHINE_PAUSED:
        m->pause_reason = MACHINE_PAUSE_REQUEST;
        io_error_retry(m);
        enter_running(m);
        log_info("machine", "resumed");
        return 0;
    case MACHINE_RUNNING:
        io_error_retry(m); /* a disk may have failed in this moment */
        return 0;
    default:
        return error_set(err, EBUSY, "the machine is %s; try again in a moment",
                         machine_state_name(m->state));
    }
}

int machine_reset(struct machine *m, uint64_t token, struct error *err)
{
    if (m->state != MACHINE_RUNNING && m->state != MACHINE_PAUSED && m->state != MACHINE_PAUSING)
        return error_set(err, EBUSY, "the machine is %s; try again in a moment",
                         machine_state_name(m->state));
    m->pause_after_reset = m->state != MACHINE_RUNNING;
    m->reset_token = token;
    m->state = MACHINE_RESETTING;
    log_info("machine", "reset");
    vcpu_group_park(&m->vcpus);
    return CONTROL_PENDING;
}

int machine_press_power_button(struct machine *m, struct error *err)
{
    if (m->state != MACHINE_RUNNING)
        return error_set(err, EBUSY, "the machine is %s: the guest cannot see the power button",
                         machine_state_name(m->state));
    press_button(m);
    return 0;
}

/* The guest asked for it, or fell into it. */
static void take_reboot(struct machine *m)
{
    if (m->config->reboot_terminates)
        machine_end(m, MACHINE_EXIT_POWER_OFF, "GuestReset",
                    "the guest rebooted, which by its reboot policy is the end");
    else
        (void)machine_reset(m, 0, NULL);
}

static void take_triple_fault(struct machine *m)
{
    uint64_t now = clock_now_ns();
    if (m->config->reboot_terminates) {
        take_reboot(m);
        return;
    }
    if (now - m->triple_fault_since_ns > TRIPLE_FAULT_WINDOW) {
        m->triple_fault_since_ns = now;
        m->triple_faults = 0;
    }
    if (++m->triple_faults >= TRIPLE_FAULT_MAX) {
        machine_end(m, MACHINE_EXIT_GUEST_CRASH, "TripleFault",
                    "the guest triple-faulted %u times within a minute", m->triple_faults);
        return;
    }
    log_warn("machine", "triple fault: the guest is reset");
    (void)machine_reset(m, 0, NULL);
}

static void take_events(struct loop_work *work)
{
    struct machine *m = container_of(work, struct machine, events_work);
    unsigned events = atomic_exchange_explicit(&m->events, 0, memory_order_acquire);
    if (events & MACHINE_EVENT_DEBUG_EXIT)
        machine_end(m, atomic_load(&m->debug_exit_code), "DebugExit",
                    "the guest ended the run through the debug port");
    if (events & MACHINE_EVENT_POWER_OFF)
        machine_end(m, MACHINE_EXIT_POWER_OFF, "PowerOff", "the guest powered off");
    if (events & MACHINE_EVENT_PANIC)
        machine_end(m, MACHINE_EXIT_GUEST_CRASH, "GuestPanicked", "the guest's kernel panicked");
    if (events & MACHINE_EVENT_CRASH)
        machine_end(m, MACHINE_EXIT_GUEST_CRASH, "GuestCrashed", "%s", m->crash_text);
    if (events & MACHINE_EVENT_TRIPLE_FAULT)
        take_triple_fault(m);
    if (events & MACHINE_EVENT_RESET)
        take_reboot(m);
    if (events & MACHINE_EVENT_DISK)
        io_error_take_event(m);
}

static void grace_over(struct loop_timer *timer)
{
    struct machine *m = container_of(timer, struct machine, grace);
    machine_end(m, MACHINE_EXIT_POWER_OFF, "GracePeriodExpired",
                "the guest did not power off within %u s and was stopped",
                m->config->grace_period_seconds);
}

static void take_signal(struct loop_source *src, uint32_t events)
{
    (void)events;
    struct machine *m = container_of(src, struct machine, signals);
    struct signalfd_siginfo info;
    if (read(src->fd, &info, sizeof(info)) != sizeof(info))
        return;
    if (m->terminating) {
        machine_end(m, MACHINE_EXIT_POWER_OFF, "Stopped", "stopped by signal %u", info.ssi_signo);
        return;
    }
    m->terminating = true;
    m->button_wanted = true;
    if (m->state == MACHINE_RUNNING)
        press_button(m);
    else if (m->state == MACHINE_PAUSED)
        (void)machine_resume(m, NULL);
    /* All other states end in one of these, or are the end. */
    log_info("machine", "waiting up to %u s for the guest; a second signal stops it at once",
             m->config->grace_period_seconds);
    (void)loop_timer_arm(&m->loop, &m->grace,
                         clock_now_ns() + m->config->grace_period_seconds * NSEC_PER_SEC);
}

/* vCPU threads from here on. */

static int vcpu_thread_started(void *ctx, struct error *err)
{
    struct machine *m = ctx;
    return sandbox_thread(SANDBOX_VCPU, m->config->sandbox, err);
}

static void vcpu_ioapic_eoi(void *ctx, uint8_t vector)
{
    struct machine *m = ctx;
    ioapic_eoi(&m->devices.ioapic, vector);
}

static void vcpu_triple_fault(void *ctx)
{
    machine_report(ctx, MACHINE_EVENT_TRIPLE_FAULT);
}

static void vcpu_crashed(void *ctx, const char *why)
{
    struct machine *m = ctx;
    /* Two vCPUs may crash at once; either text will do, a mixture would not. */
    static atomic_flag taken = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&taken))
        snprintf(m->crash_text, sizeof(m->crash_text), "%s", why);
    machine_report(m, MACHINE_EVENT_CRASH);
}

static const struct vcpu_ops vcpu_ops = {
    .thread_started = vcpu_thread_started,
    .ioapic_eoi = vcpu_ioapic_eoi,
    .triple_fault = vcpu_triple_fault,
    .crashed = vcpu_crashed,
};

/* Main thread again. */

static size_t console_input(void *ctx, const uint8_t *bytes, size_t len)
{
    struct machine *m = ctx;
    return machine_devices_console_input(&m->devices, bytes, len);
}

static void console_escape(void *ctx)
{
    machine_end(ctx, MACHINE_EXIT_POWER_OFF, "Stopped", "stopped from the console");
}

static void console_output_room_grew(void *ctx)
{
    struct machine *m = ctx;
    machine_devices_console_room(&m->devices);
}

static const struct console_ops console_ops = {
    .input = console_input,
    .escape = console_escape,
    .output_room = console_output_room_grew,
};

static int create_vm(struct machine *m, struct error *err)
{
    const struct machine_config *config = m->config;
    int r = kvm_sys_require(config->kvm_fd, err);
    if (r < 0)
        return r;
    m->vm_fd = kvm_sys_create_vm(config->kvm_fd);
    if (m->vm_fd < 0)
        return error_sys(err, -m->vm_fd, "KVM cannot create a virtual machine");
    r = machine_memory_map(&m->memory, config->memory, config->memory_backing, err);
    if (r == 0)
        r = machine_memory_register(&m->memory, m->vm_fd, err);
    if (r < 0)
        return r;
    r = kvm_vm_set_tss_addr(m->vm_fd, LAYOUT_TSS);
    if (r < 0)
        return error_sys(err, -r, "KVM refuses the TSS address");
    /* Only old Intel processors need it, and only their kernels know it. */
    (void)kvm_vm_set_identity_map_addr(m->vm_fd, LAYOUT_IDENTITY_MAP);
    r = kvm_vm_enable_split_irqchip(m->vm_fd, LAYOUT_IOAPIC_PINS);
    if (r < 0)
        return error_sys(err, -r, "KVM refuses the split interrupt controller");
    irq_init(&m->irq, m->vm_fd);
    return 0;
}

static int create_control(struct machine *m, struct error *err)
{
    const struct machine_config *config = m->config;
    if (config->console_is_terminal) {
        int r = terminal_make_raw(&m->terminal, config->console_in_fd, err);
        if (r < 0)
            return r;
    }
    int r = console_create(&m->loop, &console_ops, m, config->console_in_fd, config->console_out_fd,
                           config->console_is_terminal, &m->console, err);
    if (r == 0 && config->control_fd >= 0)
        r = control_create(&m->loop, config->control_fd, &machine_control_ops, m, m->console,
                           &m->control, err);
    return r;
}

static bool is_regular_file(int fd)
{
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* A qcow2 image has tables beside the data, and maybe snapshots: bounded, not exact. */
static uint64_t largest_file(const struct image *image)
{
    struct stat st;
    uint64_t size = image->geometry.size;
    if (image->format == IMAGE_FORMAT_RAW || fstat(image->fd, &st) < 0)
        return size;
    return (uint64_t)st.st_size + size + size / 16 + QCOW2_ROOM;
}

/*
 * A monitor that was taken over shall not fill the host's file system by way of a disk: nothing
 * grows beyond the largest. The limit is the process's, so not where log or console are files,
 * which may become as long as they like. After all of guest RAM, which may be a file, has its size.
 */
static int limit_file_size(struct machine *m, struct error *err)
{
    if (is_regular_file(STDERR_FILENO) || is_regular_file(m->config->console_out_fd))
        return 0;
    uint64_t largest = TERMINATION_MAX;
    for (unsigned i = 0; i < m->devices.image_count; i++) {
        uint64_t size = largest_file(&m->devices.image[i]);
        if (size > largest)
            largest = size;
    }
    return sandbox_limit_file_size(largest, m->config->sandbox, err);
}

int machine_create(struct machine *m, const struct machine_config *config, struct error *err)
{
    m->config = config;
    m->vm_fd = -1;
    m->memory.fd = -1;
    m->terminal = TERMINAL_INIT;
    m->started_ns = clock_now_ns();
    m->events_work.run = take_events;
    m->parked_work.run = all_parked;
    m->device_poll = LOOP_TIMER_INIT(poll_devices);
    m->grace = LOOP_TIMER_INIT(grace_over);
    m->signals = LOOP_SOURCE_INIT(take_signal);
    io_error_init(&m->io_error);

    int r = loop_init(&m->loop, err);
    while (r == 0 && m->io_count < config->io_threads) {
        r = machine_io_init(&m->io[m->io_count], m, m->io_count, err);
        m->io_count += r == 0;
    }
    if (r == 0)
        r = create_vm(m, err);
    if (r == 0)
        r = create_control(m, err);
    /*
     * vCPUs before devices: creating one may add memory slots of KVM's own, and a slot that comes
     * after an ioeventfd waits for a grace period of 8 ms (Linux 6.18).
     */
    if (r == 0)
        r = vcpu_group_init(&m->vcpus, config, m->vm_fd, &vcpu_ops, m, &m->devices.pio,
                            &m->devices.mmio, &m->loop, &m->parked_work, err);
    if (r == 0)
        r = machine_devices_create(&m->devices, m, err);
    if (r == 0)
        r = limit_file_size(m, err);
    if (r < 0)
        terminal_restore(&m->terminal); /* before somebody prints why */
    return r;
}

/* No request stays without an answer. */
static void refuse_pending(struct machine *m)
{
    struct error err = ERROR_INIT;
    error_set(&err, ECANCELED, "the machine ended: %s", m->result.message);
    if (m->pause_token != 0)
        control_complete(m->control, m->pause_token, -ECANCELED, &err);
    if (m->reset_token != 0)
        control_complete(m->control, m->reset_token, -ECANCELED, &err);
    m->pause_token = m->reset_token = 0;
}

/* Waits a moment for what the disks are busy with, longer where an image has to be completed. */
static void stop_io(struct machine *m)
{
    uint64_t deadline = clock_now_ns() + DISK_SETTLE_NS;
    for (unsigned i = 0; i < m->config->disk_count; i++) {
        const struct machine_disk *disk = &m->config->disk[i];
        if (disk->format != MACHINE_DISK_RAW && !disk->readonly) {
            deadline += IMAGE_SAVE_NS;
            break;
        }
    }
    for (unsigned i = 0; i < m->io_count; i++)
        io_thread_stop(&m->io[i].thread);
    for (unsigned i = 0; i < m->io_count; i++) {
        if (!io_thread_join(&m->io[i].thread, deadline))
            m->io_in_flight = true;
    }
}

int machine_run(struct machine *m, int signal_fd, struct error *err)
{
    struct boot_entry entry;
    int r = 0;
    for (unsigned i = 0; r == 0 && i < m->io_count; i++)
        r = io_thread_start(&m->io[i].thread, err);
    if (r == 0)
        r = vcpu_group_start(&m->vcpus, err);
    if (r == 0)
        r = loop_add(&m->loop, &m->signals, signal_fd, EPOLLIN, err);
    /* From here on this thread can start nothing and open nothing either; now the hostile kernel.
     */
    if (r == 0)
        r = sandbox_thread(SANDBOX_MAIN, m->config->sandbox, err);
    if (r == 0)
        r = load_kernel(m, true, &entry, err);
    if (r == 0) {
        vcpu_group_reset(&m->vcpus, &entry);
        r = loop_run(&m->loop);
        if (r < 0)
            machine_end(m, MACHINE_EXIT_INTERNAL, "InternalError", "the main loop ended: %s",
                        strerror(-r));
        r = 0;
    }
    vcpu_group_stop(&m->vcpus);
    stop_io(m);
    if (m->console != NULL)
        console_flush(m->console, CONSOLE_FLUSH_MS);
    if (m->control != NULL) {
        refuse_pending(m);
        control_flush(m->control, CONTROL_FLUSH_MS);
    }
    terminal_restore(&m->terminal);
    return r;
}

bool machine_settle(struct machine *m)
{
    return !m->io_in_flight;
}

void machine_destroy(struct machine *m)
{
    terminal_restore(&m->terminal);
    control_destroy(m->control);
    machine_devices_destroy(&m->devices);
    console_destroy(m->console);
    vcpu_group_done(&m->vcpus);
    irq_done(&m->irq);
    if (m->vm_fd >= 0)
        close(m->vm_fd);
    machine_memory_unmap(&m->memory);
    for (unsigned i = 0; i < m->io_count; i++)
        machine_io_done(&m->io[i]);
    loop_done(&m->loop);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * The machine: everything that one VM is made of, and its life. Owned and driven by the main
 * thread.
 *
 * Theory of operation. The machine is always in one state; vCPU threads and devices only report
 * events (reset wanted, power off, crash), which the main loop takes up:
 *
 *   STARTING --all parked--> RUNNING <--resume-- PAUSED (there from the start, if wanted)
 *                              |  \--pause-> PAUSING --all parked--^
 *                              +--reset--> RESETTING --all parked, devices drained, RAM cleared,
 *                              |                      kernel loaded again--> RUNNING or PAUSED
 *                              +--power off, crash, stop, debug exit--> ENDING --> machine_run()
 * returns
 *
 * Reset is asynchronous in the devices (a request in flight must finish first), so the machine
 * polls their status once a millisecond. Nothing here ever waits for the guest.
 */
#ifndef PODVISOR_VMM_MACHINE_H
#define PODVISOR_VMM_MACHINE_H

#include "../control/console.h"
#include "../control/control.h"
#include "../control/terminal.h"
#include "devices.h"
#include "io_error.h"
#include "irq.h"
#include "machine_io.h"
#include "memory.h"
#include "vcpu.h"

enum machine_state {
    MACHINE_STARTING,
    MACHINE_RUNNING,
    MACHINE_PAUSING,
    MACHINE_PAUSED,
    MACHINE_RESETTING,
    MACHINE_ENDING,
};

/* What vCPU threads and devices report; bits of machine.events. */
#define MACHINE_EVENT_RESET        (1u << 0)
#define MACHINE_EVENT_POWER_OFF    (1u << 1)
#define MACHINE_EVENT_PANIC        (1u << 2)
#define MACHINE_EVENT_CRASH        (1u << 3)
#define MACHINE_EVENT_TRIPLE_FAULT (1u << 4)
#define MACHINE_EVENT_DEBUG_EXIT   (1u << 5)
#define MACHINE_EVENT_DISK         (1u << 6) /* io_error.h */

/* Why it is paused, or shall be. */
enum machine_pause {
    MACHINE_PAUSE_REQUEST,
    MACHINE_PAUSE_IO_ERROR, /* a disk's error policy; ends by itself when the disk recovers */
};

/* Process exit codes, as vmm(1) documents them. */
enum machine_exit {
    MACHINE_EXIT_POWER_OFF = 0,
    MACHINE_EXIT_CONFIG = 1,
    MACHINE_EXIT_GUEST_CRASH = 2,
    MACHINE_EXIT_INTERNAL = 3,
};

struct machine_result {
    int exit_code;
    const char *reason;           /* one word, for programs: "PowerOff", "GuestPanicked"... */
    char message[ERROR_TEXT_MAX]; /* one line, for people */
};

struct machine {
    const struct machine_config *config;
    struct loop loop;                     /* the main loop */
    struct machine_io io[MACHINE_IO_MAX]; /* config->io_threads of them */
    unsigned io_count;                    /* initialised */
    bool io_in_flight;                    /* at the end: some thread is busy with a disk */
    struct machine_memory memory;
    int vm_fd;
    struct irq_controller irq;
    struct vcpu_group vcpus;
    struct machine_devices devices;
    struct console *console;
    struct control *control;
    struct terminal terminal;

    enum machine_state state;
    enum machine_pause pause_reason;
    bool pause_after_reset;
    uint64_t pause_token, reset_token; /* control requests that wait; 0: none */
    unsigned triple_faults;            /* since triple_fault_since_ns */
    uint64_t triple_fault_since_ns;
    uint64_t started_ns, first_run_ns;
    unsigned resets;
    bool terminating;   /* a signal came: another one stops at once */
    bool button_wanted; /* press it as soon as the guest runs */
    gpa_t rsdp;

    atomic_uint events;
    atomic_int debug_exit_code;
    char crash_text[256]; /* written before MACHINE_EVENT_CRASH is set */
    struct loop_work events_work, parked_work;
    struct loop_timer device_poll, grace;
    struct loop_source signals;
    struct io_error io_error;
    struct machine_result result;
};

/*
 * Builds the machine of `config` (borrowed for its life) up to the point where vCPU threads could
 * start. `m` is all zeroes, untouched memory at best: it is large, and only what is used shall be
 * resident. Returns 0 or a negative errno; then machine_destroy() is still to be called.
 */
int machine_create(struct machine *m, const struct machine_config *config, struct error *err);

/*
 * Runs it until it ends; what happened is in m->result. `signal_fd` (borrowed) is a signalfd of
 * SIGTERM, SIGINT and SIGHUP. Returns 0, or a negative errno when it could not start.
 */
int machine_run(struct machine *m, int signal_fd, struct error *err);

/*
 * After machine_run(). Returns false when disks are busy with what the guest asked for last, which
 * may be hours of work: machine_destroy() would wait for it, the end of the process does not.
 */
bool machine_settle(struct machine *m);

void machine_destroy(struct machine *m);

/* Any thread: reports an event. */
void machine_report(struct machine *m, unsigned event);

/* Main thread: the verbs of the control socket and of signals. */
int machine_pause(struct machine *m, uint64_t token, struct error *err);
int machine_resume(struct machine *m, struct error *err);
int machine_reset(struct machine *m, uint64_t token, struct error *err);
int machine_press_power_button(struct machine *m, struct error *err);
void machine_end(struct machine *m, int exit_code, const char *reason, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The state's name as `vmm ctl status` shows it. */
const char *machine_state_name(enum machine_state state);

/* The operations behind the control socket; ctx is the machine (control_ops.c). */
extern const struct control_ops machine_control_ops;

#endif

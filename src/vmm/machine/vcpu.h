// SPDX-License-Identifier: Apache-2.0
/*
 * The virtual processors: one thread each, which does nothing but KVM_RUN and what its exits ask
 * for.
 *
 * Theory of operation. All vCPUs of a machine share one state: parked or running.
 * vcpu_group_start() makes the threads; each prepares its processor, installs its sandbox and
 * parks. Once all are parked the group posts `parked` to the main loop. The machine then may do
 * what needs a standing still guest (load the kernel, reset devices, pause) and lets go with
 * vcpu_group_release(). So the first boot, a reset and a pause are the same path. To park running
 * vCPUs the main thread raises park_wanted and kicks each thread: immediate_exit closes the race
 * between the check and KVM_RUN, the signal ends a KVM_RUN in progress. KVM API §4.10, §5 (struct
 * kvm_run).
 *
 * Main thread: all functions here. vCPU threads: the callbacks in vcpu_ops.
 */
#ifndef PODVISOR_VMM_VCPU_H
#define PODVISOR_VMM_VCPU_H

#include "../boot/boot.h"
#include "../kvm/kvm.h"
#include "../platform/bus.h"
#include "cpuid.h"
#include <podvisor/loop.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

struct vcpu_group;

/* Called by vCPU threads. */
struct vcpu_ops {
    /* Once, before anything of the guest runs: install the thread's sandbox. 0 or a negative errno.
     */
    int (*thread_started)(void *ctx, struct error *err);
    /* The guest ended a level-triggered interrupt of the I/O APIC. */
    void (*ioapic_eoi)(void *ctx, uint8_t vector);
    /* Triple fault: the processor asks for a reset. The vCPU parks. */
    void (*triple_fault)(void *ctx);
    /* The guest cannot go on (`why` says so for a person). The vCPU parks. */
    void (*crashed)(void *ctx, const char *why);
};

struct vcpu {
    struct vcpu_group *group;
    unsigned id;
    int fd;
    _Atomic pid_t tid; /* 0 until the thread runs */
    pthread_t thread;
    bool started;
    struct kvm_run *run;
    bool reset_needed; /* group->lock */
    struct kvm_sregs initial_sregs;
    struct kvm_lapic_state initial_lapic;
    atomic_uint_fast64_t exits; /* metrics */
};

struct vcpu_group {
    const struct vcpu_ops *ops;
    void *ctx;
    struct bus *pio, *mmio;
    struct loop *main_loop;
    struct loop_work *parked; /* posted each time the last vCPU has parked */
    unsigned run_size;
    struct cpuid_traits traits;
    struct kvm_cpuid_table cpuid; /* KVM's supported leaves */
    bool has_xcr0;                /* the processor has XSAVE, and KVM gives access to XCR0 */

    pthread_mutex_t lock; /* what follows */
    pthread_cond_t changed;
    atomic_bool park_wanted, stop_wanted; /* also used without the lock, as hints */
    unsigned parked_count;
    int failure; /* first negative errno of a thread's start-up */
    struct error failure_text;
    struct boot_entry entry; /* where processor 0 starts after a reset */

    pid_t pid;
    unsigned count;
    struct vcpu vcpu[MACHINE_CPU_MAX];
};

/*
 * Creates the vCPUs that `config` asks for in the VM; `group` is all zeroes. Memory and the split
 * irqchip are there already. Borrows everything.
 */
int vcpu_group_init(struct vcpu_group *group, const struct machine_config *config, int vm_fd,
                    const struct vcpu_ops *ops, void *ctx, struct bus *pio, struct bus *mmio,
                    struct loop *main_loop, struct loop_work *parked, struct error *err);

/* Starts the threads, which prepare and park (the work `parked` is posted). */
int vcpu_group_start(struct vcpu_group *group, struct error *err);

/* After the first `parked`: 0, or the negative errno of the thread that could not start. */
int vcpu_group_check(struct vcpu_group *group, struct error *err);

/* Asks all vCPUs to park; `parked` is posted when they have. Harmless when parked already. */
void vcpu_group_park(struct vcpu_group *group);

/* All parked: put every processor back to its power-on state; 0 will start at `entry`. */
void vcpu_group_reset(struct vcpu_group *group, const struct boot_entry *entry);

/* Lets parked vCPUs run. */
void vcpu_group_release(struct vcpu_group *group);

/* Ends and joins all threads; they must not be needed again. */
void vcpu_group_stop(struct vcpu_group *group);

/* Closes the descriptors. */
void vcpu_group_done(struct vcpu_group *group);

/* vCPU thread, inside a bus access or a callback: do not return to the guest, park. */
void vcpu_group_hold(struct vcpu_group *group);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * Least privilege for the monitor. Theory of operation:
 *
 * The front opened everything, so the monitor needs no name of any file. sandbox_process() runs
 * first thing, while there is one thread: capabilities, no_new_privs and Landlock belong to threads
 * and are inherited by those made later. It closes what it was not told to keep, gives up root and
 * every capability, forbids regaining either, and forbids all of the file system. What must still
 * be done to build the machine (memory, threads, KVM objects) remains possible. Then each thread,
 * when it needs nothing more than its work, calls sandbox_thread(): from there only the system
 * calls of rules.def exist for it. All of that comes before the first guest instruction.
 *
 * A call outside the rules ends the process with SIGSYS. In log mode it is let through and the
 * kernel notes it in the audit log; everything else is as usual.
 */
#ifndef PODVISOR_VMM_SANDBOX_H
#define PODVISOR_VMM_SANDBOX_H

#include <podvisor/error.h>
#include <podvisor/machine_config.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

/* Who runs when we were started as root: KubeVirt's uid for the same purpose. */
#define SANDBOX_UID 107
#define SANDBOX_GID 107

/* What a thread is for decides what it may do; the names are those of rules.def. */
enum sandbox_class {
    SANDBOX_VCPU,
    SANDBOX_IO,     /* I/O loops: virtqueues */
    SANDBOX_WORKER, /* pool of the block engine */
    SANDBOX_MAIN,
    SANDBOX_CLASS_COUNT,
};

struct sandbox_config {
    enum machine_sandbox mode; /* MACHINE_SANDBOX_OFF: sandbox_process() does nothing */
    const int *keep_fds;       /* all that stay open; in any order, -1 entries are skipped */
    size_t keep_fd_count;
    rlim_t fd_limit; /* highest descriptor number + 1 from now on; 0: as it is */
};

struct sandbox_info {
    unsigned syscalls;     /* distinct ones allowed */
    unsigned rules;        /* with argument conditions */
    unsigned instructions; /* of the filter */
};

/*
 * The process-wide part, in the only thread. Standard streams that are not kept are replaced with
 * /dev/null. Started as root, the process becomes SANDBOX_UID and SANDBOX_GID unless its user
 * namespace has no such ids. A kernel without Landlock is no error: see sandbox_landlock_abi().
 * Returns 0 or a negative errno; after an error the process is good for reporting it only.
 */
int sandbox_process(const struct sandbox_config *config, struct error *err);

/*
 * No thread of the process can make a file larger than `bytes` from now on: a write that would ends
 * with EFBIG (whoever calls this ignores SIGXFSZ). Returns 0 (also in MACHINE_SANDBOX_OFF) or a
 * negative errno.
 */
int sandbox_limit_file_size(uint64_t bytes, enum machine_sandbox mode, struct error *err);

/*
 * Installs the calling thread's filter, for good. Call after sandbox_process(). Returns 0 (also in
 * MACHINE_SANDBOX_OFF) or a negative errno.
 */
int sandbox_thread(enum sandbox_class thread_class, enum machine_sandbox mode, struct error *err);

/* The size of a class's filter, for `vmm check`. */
struct sandbox_info sandbox_describe(enum sandbox_class thread_class);

/* The kernel's Landlock ABI version, 0 when it has none or does not let us use it. */
int sandbox_landlock_abi(void);

#endif

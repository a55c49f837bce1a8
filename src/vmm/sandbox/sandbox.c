// SPDX-License-Identifier: Apache-2.0
/*
 * Gives up what the process does not need; order and threads are explained in sandbox.h. Manual
 * pages: capabilities(7), seccomp(2), close_range(2), prctl(2).
 */
#include "sandbox.h"
#include "filters.h"
#include "landlock.h"
#include <cap-ng.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static bool is_kept(const struct sandbox_config *config, int fd)
{
    for (size_t i = 0; i < config->keep_fd_count; i++) {
        if (config->keep_fds[i] == fd)
            return true;
    }
    return false;
}

/* The smallest descriptor above `fd` that is kept, or -1. */
static int next_kept(const struct sandbox_config *config, int fd)
{
    int next = -1;
    for (size_t i = 0; i < config->keep_fd_count; i++) {
        int kept = config->keep_fds[i];
        if (kept > fd && (next < 0 || kept < next))
            next = kept;
    }
    return next;
}

/* close_range() came with Linux 5.9; before, one by one up to the limit. */
static int close_between(unsigned first, unsigned last)
{
    if (syscall(SYS_close_range, first, last, 0) == 0)
        return 0;
    if (errno != ENOSYS)
        return -errno;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -errno;
    for (unsigned fd = first; fd <= last && fd < limit.rlim_cur; fd++)
        close((int)fd);
    return 0;
}

/* A closed standard stream would be taken by the next descriptor, and then printed to. */
static int replace_standard_streams(const struct sandbox_config *config, struct error *err)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (is_kept(config, fd))
            continue;
        close(fd);
        if (open("/dev/null", O_RDWR) != fd)
            return error_sys(err, errno, "cannot put /dev/null in the place of descriptor %d", fd);
    }
    return 0;
}

static int close_others(const struct sandbox_config *config, struct error *err)
{
    int r = replace_standard_streams(config, err);
    if (r < 0)
        return r;
    int below = STDERR_FILENO;
    for (int kept; (kept = next_kept(config, below)) >= 0; below = kept) {
        if (kept > below + 1)
            r = close_between((unsigned)below + 1, (unsigned)kept - 1);
        if (r < 0)
            return error_sys(err, -r, "cannot close inherited descriptors");
    }
    r = close_between((unsigned)below + 1, ~0u);
    return r < 0 ? error_sys(err, -r, "cannot close inherited descriptors") : 0;
}

static int limit_resources(const struct sandbox_config *config, struct error *err)
{
    const struct rlimit no_core = {0, 0};
    if (setrlimit(RLIMIT_CORE, &no_core) < 0)
        return error_sys(err, errno, "cannot forbid core dumps");
    if (config->fd_limit == 0)
        return 0;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return error_sys(err, errno, "cannot read the limit of open files");
    if (files.rlim_max > config->fd_limit)
        files.rlim_max = config->fd_limit;
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) < 0)
        return error_sys(err, errno, "cannot limit open files");
    return 0;
}

/* Every file is open, so an unprivileged id serves as well as root. */
static int leave_root(struct error *err)
{
    if (setgroups(0, NULL) < 0 || setresgid(SANDBOX_GID, SANDBOX_GID, SANDBOX_GID) < 0 ||
        setresuid(SANDBOX_UID, SANDBOX_UID, SANDBOX_UID) < 0) {
        /* A user namespace without that id: root there is nobody here. */
        if (errno == EINVAL || errno == EPERM)
            return 0;
        return error_sys(err, errno, "cannot become user %d", SANDBOX_UID);
    }
    return 0;
}

static int drop_privileges(struct error *err)
{
    bool root = geteuid() == 0;
    capng_get_caps_process();
    bool bounds = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
    capng_clear(CAPNG_SELECT_ALL);
    /* Needs a capability itself, so it comes before those go. */
    if (bounds && (capng_apply(CAPNG_SELECT_BOUNDS) < 0 || capng_lock() < 0))
        return error_set(err, EPERM, "cannot empty the capability bounding set");
    if (root) {
        int r = leave_root(err);
        if (r < 0)
            return r;
    }
    capng_clear(CAPNG_SELECT_ALL);
    if (capng_apply(CAPNG_SELECT_CAPS) < 0)
        return error_set(err, EPERM, "cannot drop capabilities");
    return 0;
}

int sandbox_process(const struct sandbox_config *config, struct error *err)
{
    if (config->mode == MACHINE_SANDBOX_OFF)
        return 0;
    /* libc reads the time zone file on first use, even for UTC; log lines carry times. */
    tzset();
    int r = close_others(config, err);
    if (r == 0)
        r = limit_resources(config, err);
    if (r == 0)
        r = drop_privileges(err);
    if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        r = error_sys(err, errno, "cannot set no_new_privs");
    /* After the change of ids, which sets it anew. */
    if (r == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        r = error_sys(err, errno, "cannot hide the process from debuggers");
    if (r == 0)
        r = landlock_deny_all(err);
    return r < 0 ? error_wrap(err, "sandbox") : 0;
}

int sandbox_limit_file_size(uint64_t bytes, enum machine_sandbox mode, struct error *err)
{
    if (mode == MACHINE_SANDBOX_OFF)
        return 0;
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) < 0)
        return error_sys(err, errno, "sandbox: cannot read the limit of file sizes");
    if (limit.rlim_max > bytes)
        limit.rlim_max = bytes;
    if (limit.rlim_cur > limit.rlim_max)
        limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
        return error_sys(err, errno, "sandbox: cannot limit file sizes");
    return 0;
}

int sandbox_thread(enum sandbox_class thread_class, enum machine_sandbox mode, struct error *err)
{
    if (mode == MACHINE_SANDBOX_OFF)
        return 0;
    const struct sandbox_filter *filter = &sandbox_filters[thread_class];
    const struct sandbox_program *program =
        mode == MACHINE_SANDBOX_LOG ? &filter->log : &filter->kill;
    /*
     * Kernels before 5.16 turn on a store-bypass mitigation with every filter, which is meant for
     * processes that run foreign code beside their secrets. Ours runs none outside of the guest.
     */
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, program) != 0)
        return error_sys(err, errno, "sandbox: cannot install the system call filter");
    return 0;
}

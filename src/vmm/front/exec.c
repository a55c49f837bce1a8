// SPDX-License-Identifier: Apache-2.0
/* Hands a configuration to the monitor and execs it; the last thing that `vmm run` does. */
#include "exec.h"
#include <fcntl.h>
#include <linux/close_range.h>
#include <podvisor/cleanup.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define MONITOR_NAME "vmm-monitor"
#define PATH_SIZE    4096
#define ENV_MAX      8

int find_monitor(char *ret_path, size_t size, struct error *err)
{
    static const char *const places[] = {"", "../libexec/podvisor/"};
    const char *given = secure_getenv("PODVISOR_MONITOR");
    if (given != NULL && *given != '\0') {
        snprintf(ret_path, size, "%s", given);
        return access(ret_path, X_OK) == 0
                   ? 0
                   : error_sys(err, errno, "PODVISOR_MONITOR names %s", given);
    }
    char self[PATH_SIZE];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (len < 0)
        return error_sys(err, errno, "cannot find " MONITOR_NAME ": /proc is not mounted");
    self[len] = '\0';
    char *slash = strrchr(self, '/');
    for (size_t i = 0; slash != NULL && i < ARRAY_SIZE(places); i++) {
        snprintf(ret_path, size, "%.*s%s" MONITOR_NAME, (int)(slash + 1 - self), self, places[i]);
        if (access(ret_path, X_OK) == 0)
            return 0;
    }
    return error_set(err, ENOENT,
                     MONITOR_NAME " is neither beside %s nor in ../libexec/podvisor; "
                                  "install both programs of the package, or name it in "
                                  "PODVISOR_MONITOR",
                     self);
}

/* Sealed: what the monitor reads is what was checked. */
static int write_config(const struct machine_config *config, int *ret_fd, struct error *err)
{
    cleanup_close int fd = memfd_create("machine_config", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return error_sys(err, errno, "cannot create a memfd");
    ssize_t n = write(fd, config, sizeof(*config));
    if (n != (ssize_t)sizeof(*config))
        return error_sys(err, n < 0 ? errno : EIO, "cannot write the machine configuration");
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
        return error_sys(err, errno, "cannot seal the machine configuration");
    *ret_fd = steal_fd(&fd);
    return 0;
}

static void pass_fd(int fd)
{
    if (fd > STDERR_FILENO)
        (void)fcntl(fd, F_SETFD, 0);
}

static void pass_fds(const struct machine_config *config, int config_fd)
{
    /* What our caller left open is not the machine's: on kernels without this call it is kept, and
     * the monitor's own list still closes it. */
    (void)close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
    pass_fd(config_fd);
    pass_fd(config->kvm_fd);
    pass_fd(config->kernel_fd);
    pass_fd(config->initrd_fd);
    pass_fd(config->console_in_fd);
    pass_fd(config->console_out_fd);
    pass_fd(config->control_fd);
    pass_fd(config->termination_fd);
    for (unsigned i = 0; i < config->disk_count; i++) {
        pass_fd(config->disk[i].fd);
        for (unsigned k = 0; k < config->disk[i].backing_count; k++)
            pass_fd(config->disk[i].backing[k].fd);
    }
    for (unsigned i = 0; i < config->net_count; i++)
        pass_fd(config->net[i].tap_fd);
    for (unsigned i = 0; i < config->keep_fd_count; i++)
        pass_fd(config->keep_fd[i]);
}

/* The environment may hold secrets, and the monitor needs none of it but what instrumented builds
 * read. */
static void keep_environment(char *kept[ENV_MAX + 1])
{
    size_t count = 0;
    for (char **e = environ; *e != NULL && count < ENV_MAX; e++) {
        const char *equals = strchr(*e, '=');
        bool sanitizer =
            equals != NULL && equals - *e > 11 && strncmp(equals - 11, "SAN_OPTIONS", 11) == 0;
        if (sanitizer || strncmp(*e, "GCOV_", 5) == 0)
            kept[count++] = *e;
    }
    kept[count] = NULL;
}

int exec_monitor(const char *path, const struct machine_config *config, struct error *err)
{
    int config_fd = -1;
    int r = write_config(config, &config_fd, err);
    if (r < 0)
        return r;
    pass_fds(config, config_fd);
    char title[sizeof(config->name) + 16], number[16];
    snprintf(title, sizeof(title), MONITOR_NAME ":%s", config->name);
    snprintf(number, sizeof(number), "%d", config_fd);
    char flag[] = "--config-fd";
    char *argv[] = {title, flag, number, NULL};
    char *environment[ENV_MAX + 1];
    keep_environment(environment);
    execve(path, argv, environment);
    return error_sys(err, errno, "cannot start %s", path);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * vmm-monitor: the program that is the virtual machine. `vmm` execs it with a descriptor of a
 * struct machine_config (docs/adr/0001); nobody else starts it. This file owns the process:
 * configuration, signals, privileges, the termination message and the exit code. Main thread.
 */
#include "../sandbox/sandbox.h"
#include "machine.h"
#include <malloc.h>
#include <podvisor/cleanup.h>
#include <podvisor/clock.h>
#include <podvisor/json_write.h>
#include <podvisor/log.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

/* Large (one slot a vCPU, a ring for the console), so not on the stack; touched only where used. */
static struct machine machine;
static struct machine_config config;

static int parse_config_fd(int argc, char **argv, struct error *err)
{
    char end;
    int fd;
    if (argc != 3 || strcmp(argv[1], "--config-fd") != 0 ||
        sscanf(argv[2], "%d%c", &fd, &end) != 1 || fd < 0)
        return error_set(err, EINVAL, "this program is started by `vmm run`, not by hand");
    return fd;
}

static int read_config(int fd, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_sys(err, errno, "cannot read the machine configuration");
    ssize_t n = pread(fd, &config, sizeof(config), 0);
    if (n != (ssize_t)sizeof(config) || st.st_size != (off_t)sizeof(config) ||
        config.magic != MACHINE_CONFIG_MAGIC || config.version != MACHINE_CONFIG_VERSION ||
        config.size != sizeof(config)) {
        config.termination_fd = -1; /* whatever that number means: nothing of it can be trusted */
        return error_set(
            err, EPROTO,
            "vmm and vmm-monitor are of different versions; install both from one build");
    }
    if (config.cpus < 1 || config.cpus > MACHINE_CPU_MAX || config.disk_count > MACHINE_DISK_MAX ||
        config.net_count > MACHINE_NET_MAX || config.keep_fd_count > MACHINE_KEEP_MAX ||
        config.io_threads < 1 || config.io_threads > MACHINE_IO_MAX ||
        memchr(config.cmdline, 0, sizeof(config.cmdline)) == NULL)
        return error_set(err, EINVAL, "the machine configuration is inconsistent");
    return 0;
}

/* Signals become events of the main loop; blocked before any thread exists, so in all of them. */
static int open_signals(struct error *err)
{
    /* Both are errors of a write as well: a guest that fills its disk must not end the process. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    /* The first process of a container inherits the orphans there: the kernel reaps them. */
    signal(SIGCHLD, SIG_IGN);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? error_sys(err, errno, "cannot create a signalfd") : fd;
}

/* Everything that the process keeps open; all else was inherited by accident and is closed. */
static size_t list_fds(int *fds, int config_fd, int signal_fd)
{
    size_t n = 0;
    const int fixed[] = {STDERR_FILENO,
                         config_fd,
                         signal_fd,
                         config.kvm_fd,
                         config.kernel_fd,
                         config.initrd_fd,
                         config.console_in_fd,
                         config.console_out_fd,
                         config.control_fd,
                         config.termination_fd};
    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
        fds[n++] = fixed[i];
    for (unsigned i = 0; i < config.disk_count; i++) {
        fds[n++] = config.disk[i].fd;
        for (unsigned k = 0; k < config.disk[i].backing_count; k++)
            fds[n++] = config.disk[i].backing[k].fd;
    }
    for (unsigned i = 0; i < config.net_count; i++)
        fds[n++] = config.net[i].tap_fd;
    for (unsigned i = 0; i < config.keep_fd_count; i++)
        fds[n++] = config.keep_fd[i];
    return n;
}

static void write_termination(const struct machine_result *result)
{
    if (config.termination_fd < 0)
        return;
    char line[2 * ERROR_TEXT_MAX];
    size_t len;
    struct json_writer w;
    json_write_init(&w, line, sizeof(line) - 1);
    json_write_object(&w, NULL);
    json_write_int64(&w, "exitCode", result->exit_code);
    json_write_string(&w, "reason", result->reason);
    json_write_string(&w, "message", result->message);
    json_write_end(&w);
    if (json_write_finish(&w, &len) < 0)
        return;
    line[len++] = '\n';
    if (write(config.termination_fd, line, len) < 0)
        log_warn("monitor", "cannot write the termination message: %s", strerror(errno));
}

static int fail(const struct error *err)
{
    struct machine_result result = {.exit_code = MACHINE_EXIT_CONFIG, .reason = "StartFailed"};
    snprintf(result.message, sizeof(result.message), "%s", err->text);
    log_error("", "%s", err->text);
    write_termination(&result);
    return result.exit_code;
}

static int run(int signal_fd, struct error *err)
{
    int r = machine_create(&machine, &config, err);
    if (r == 0)
        r = machine_run(&machine, signal_fd, err);
    int exit_code = r < 0 ? fail(err) : machine.result.exit_code;
    if (r == 0) {
        if (exit_code == MACHINE_EXIT_POWER_OFF || config.debug_exit)
            log_info("", "%s", machine.result.message);
        else
            log_error("", "%s", machine.result.message);
        write_termination(&machine.result);
    }
    if (machine_settle(&machine))
        machine_destroy(&machine);
    return exit_code;
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    config.termination_fd = -1;
    /* One heap for all threads: they allocate only while the machine is built. */
    mallopt(M_ARENA_MAX, 1);
    log_setup("vmm", STDERR_FILENO, LOG_FORMAT_TEXT, LOG_LEVEL_INFO);

    int config_fd = parse_config_fd(argc, argv, &err);
    if (config_fd < 0 || read_config(config_fd, &err) < 0)
        return fail(&err);
    log_setup("vmm", STDERR_FILENO, config.log_format, config.log_level);

    int signal_fd = open_signals(&err);
    if (signal_fd < 0)
        return fail(&err);
    int fds[16 + MACHINE_DISK_MAX * (1 + MACHINE_BACKING_MAX) + MACHINE_NET_MAX + MACHINE_KEEP_MAX];
    struct sandbox_config sandbox = {
        .mode = config.sandbox,
        .keep_fds = fds,
        .keep_fd_count = list_fds(fds, config_fd, signal_fd),
    };
    if (sandbox_process(&sandbox, &err) < 0)
        return fail(&err);
    return run(signal_fd, &err);
}

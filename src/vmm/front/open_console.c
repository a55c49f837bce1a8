// SPDX-License-Identifier: Apache-2.0
/* Where the guest's console comes from and goes to. */
#include "open.h"
#include <fcntl.h>
#include <podvisor/cleanup.h>
#include <podvisor/log.h>
#include <sys/stat.h>

/*
 * The monitor must not wait for a reader of standard output, and O_NONBLOCK is a property of the
 * open file, which we share with whoever gave it to us: so a pipe or a terminal is opened once
 * more. Where that fails, the monitor asks poll before it writes.
 */
static int open_stdout(void)
{
    struct stat st;
    if (fstat(STDOUT_FILENO, &st) < 0)
        return -1;
    if (!S_ISFIFO(st.st_mode) && !isatty(STDOUT_FILENO))
        return STDOUT_FILENO;
    int fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return fd >= 0 ? fd : STDOUT_FILENO;
}

/* Standard input, if reading it makes sense: not from a background job, which that would stop. */
static int find_stdin(bool *ret_is_terminal)
{
    struct stat st;
    *ret_is_terminal = false;
    if (fstat(STDIN_FILENO, &st) < 0)
        return -1;
    if (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || S_ISREG(st.st_mode))
        return STDIN_FILENO;
    if (!isatty(STDIN_FILENO) || tcgetpgrp(STDIN_FILENO) != getpgrp())
        return -1;
    *ret_is_terminal = true;
    return STDIN_FILENO;
}

static int open_file(const char *path, int *ret_fd, struct created *created, struct error *err)
{
    bool is_new = access(path, F_OK) != 0;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd < 0)
        return error_sys(err, errno, "cannot write the console to %s", path);
    if (is_new)
        created_add(created, path);
    *ret_fd = fd;
    return 0;
}

int open_console(const struct plan *plan, struct machine_config *config, struct created *created,
                 struct error *err)
{
    if (plan->console == CONSOLE_OFF)
        return 0;
    if (plan->console == CONSOLE_FILE)
        return open_file(plan->console_path, &config->console_out_fd, created, err);
    bool is_terminal;
    config->console_out_fd = open_stdout();
    config->console_in_fd = find_stdin(&is_terminal);
    config->console_is_terminal = is_terminal;
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* Raw mode of a terminal and the way back; main thread. See terminal.h; POSIX termios(3). */
#include "terminal.h"

int terminal_make_raw(struct terminal *terminal, int fd, struct error *err)
{
    struct termios mode;
    if (tcgetattr(fd, &mode) < 0)
        return error_sys(err, errno, "cannot read the mode of terminal descriptor %d", fd);
    struct termios raw = mode;
    cfmakeraw(&raw);
    raw.c_oflag = mode.c_oflag; /* newlines of log lines keep returning the carriage */
    if (tcsetattr(fd, TCSANOW, &raw) < 0)
        return error_sys(err, errno, "cannot make terminal descriptor %d raw", fd);
    terminal->saved = mode;
    terminal->fd = fd;
    return 0;
}

void terminal_restore(struct terminal *terminal)
{
    if (terminal->fd < 0)
        return;
    /* TCSANOW: draining could wait for ever on a terminal that is stopped. */
    tcsetattr(terminal->fd, TCSANOW, &terminal->saved);
    terminal->fd = -1;
}

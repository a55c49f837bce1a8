// SPDX-License-Identifier: Apache-2.0
/*
 * A terminal's raw mode, for the monitor (`--console stdio`) and for `vmm console`. Output
 * processing stays on, so that log lines on the same terminal still start in column one; keys,
 * Ctrl-C among them, go to the guest as they are. System calls: ioctl (TCGETS, TCSETS).
 */
#ifndef PODVISOR_TERMINAL_H
#define PODVISOR_TERMINAL_H

#include <podvisor/error.h>
#include <stdbool.h>
#include <termios.h>

struct terminal {
    int fd; /* borrowed; -1: nothing to restore */
    struct termios saved;
};

#define TERMINAL_INIT ((struct terminal){.fd = -1})

/* Saves the mode of `fd` (borrowed) and makes it raw. Returns 0 or a negative errno. */
int terminal_make_raw(struct terminal *terminal, int fd, struct error *err);

/* Puts the saved mode back; harmless when nothing was saved. */
void terminal_restore(struct terminal *terminal);

#endif

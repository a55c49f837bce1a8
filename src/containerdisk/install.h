// SPDX-License-Identifier: Apache-2.0
/* Puts this program where containers of other images can run it. */
#ifndef PODVISOR_CONTAINERDISK_INSTALL_H
#define PODVISOR_CONTAINERDISK_INSTALL_H

#include <podvisor/error.h>

#define INSTALL_NAME "container-disk"

/*
 * Copies the program at `program` into `folder` as INSTALL_NAME, mode 0555, at once: whoever looks
 * finds all of it or what was there before. Returns 0 or a negative errno.
 */
int install_program(const char *program, const char *folder, struct error *err);

#endif

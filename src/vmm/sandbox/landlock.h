// SPDX-License-Identifier: Apache-2.0
/* Landlock: the calling thread, and those it makes later, lose all files and all of the network. */
#ifndef PODVISOR_VMM_SANDBOX_LANDLOCK_H
#define PODVISOR_VMM_SANDBOX_LANDLOCK_H

#include <podvisor/error.h>

/*
 * Denies everything the kernel's Landlock can deny: opening, making or changing any file, binding
 * and connecting TCP, and reaching abstract sockets or processes outside. Descriptors that are open
 * keep working. Needs no_new_privs. Returns 0, also when the kernel has no Landlock, or a negative
 * errno.
 */
int landlock_deny_all(struct error *err);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Becoming the monitor (docs/adr/0001). */
#ifndef PODVISOR_FRONT_EXEC_H
#define PODVISOR_FRONT_EXEC_H

#include <podvisor/error.h>
#include <podvisor/machine_config.h>
#include <stddef.h>

/*
 * Finds vmm-monitor: what PODVISOR_MONITOR names, beside this program, or in ../libexec/podvisor.
 * Returns 0 or -ENOENT.
 */
int find_monitor(char *ret_path, size_t size, struct error *err);

/*
 * Replaces this process by the monitor at `path`, which inherits the standard descriptors, those
 * in *config, and no other. Returns only on failure: a negative errno.
 */
int exec_monitor(const char *path, const struct machine_config *config, struct error *err);

#endif

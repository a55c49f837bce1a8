// SPDX-License-Identifier: Apache-2.0
/*
 * The device nodes that are handed out: what each is, whether machines can use it, and the mode
 * that lets them. Loop thread only.
 */
#ifndef PODVISOR_DEVICEPLUGIN_DEVICE_H
#define PODVISOR_DEVICEPLUGIN_DEVICE_H

#include <podvisor/error.h>
#include <stdbool.h>
#include <sys/types.h>

#define DEVICE_MODE_KEEP   ((mode_t)-1)
#define DEVICE_REASON_MAX  512
#define DEVICE_MACHINE_UID 107 /* the user and group of a machine's pod (docs/pod.md) */

struct device_type {
    const char *name; /* of the resource: devices.kubevirt.io/NAME */
    const char *node; /* the node's path below /dev */
    unsigned major, minor;
    const char *missing_hint; /* the way out when the node is not there */
};

/* kvm, tun, vhost-net; the last has no name. */
extern const struct device_type device_types[];

/* The type of that name, or NULL. */
const struct device_type *device_type_find(const char *name);

struct device_health {
    bool healthy;
    char
        reason[DEVICE_REASON_MAX]; /* unhealthy: why, and the way out; healthy: empty or a remark */
};

/*
 * Looks at the node below `dev_dir` (the host's /dev, wherever it is mounted): it must be the
 * character device of its type. Gives it the mode `mode` (DEVICE_MODE_KEEP: leaves it), and opens
 * it once, which also loads a module that waits for that. A container may be forbidden to open
 * devices: then existing is all that is asked.
 */
void device_check(const struct device_type *type, const char *dev_dir, mode_t mode,
                  struct device_health *ret);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * The device plugin: its endpoints, the folders it watches, the checks of its device nodes, and how
 * it stops. Everything runs in one loop on one thread; only the node's report has its own.
 */
#ifndef PODVISOR_DEVICEPLUGIN_PLUGIN_H
#define PODVISOR_DEVICEPLUGIN_PLUGIN_H

#include "device.h"
#include <podvisor/log.h>

#define PLUGIN_RESOURCES_MAX 8

struct plugin_options {
    const struct device_type *types[PLUGIN_RESOURCES_MAX];
    unsigned type_count;
    unsigned max_devices;   /* of each resource */
    const char *plugin_dir; /* the kubelet's */
    const char *dev_dir;    /* the host's /dev */
    mode_t device_mode;     /* or DEVICE_MODE_KEEP */
    const char *node_name;  /* NULL: nothing is written to the Node */
    const char *kubeconfig; /* NULL: the usual places */
    unsigned heartbeat_s;   /* seconds between two updates of the Node; 0: none */
    enum log_format log_format;
    enum log_level log_level;
};

/*
 * Runs until SIGTERM or SIGINT, which must be blocked in every thread. Returns 0 after an orderly
 * end, or a negative errno when it cannot start, or when only a new process can go on.
 */
int plugin_run(const struct plugin_options *options, struct error *err);

#endif

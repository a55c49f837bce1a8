// SPDX-License-Identifier: Apache-2.0
/* Load for a real control plane without machines: nodes that only pretend to run pods. */
#ifndef PODVISOR_SIMULATE_H
#define PODVISOR_SIMULATE_H

#include <podvisor/kube.h>

#define SIMULATED_LABEL "podvisor.io/simulated" /* on nodes that this program made */

/*
 * Makes `count` nodes, and plays their kubelets until SIGTERM or SIGINT: a pod that was bound to
 * one runs at once, becomes ready when its readiness gate opens, and is gone when deleted. The
 * nodes are deleted at the end.
 */
int simulate_nodes(struct kube_client *client, unsigned count, struct error *err);

struct machines_options {
    const char *namespace_;
    const char *manifest; /* a VirtualMachine in YAML; its name is a prefix */
    unsigned count;
    unsigned timeout_seconds; /* for each of the two ways */
    unsigned hold_seconds;    /* between both */
};

/* Creates machines, waits until all run, deletes them, waits until none is left. Prints a line of
 * JSON. */
int simulate_machines(struct kube_client *client, const struct machines_options *options,
                      struct error *err);

#endif

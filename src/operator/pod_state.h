// SPDX-License-Identifier: Apache-2.0
/* What a launcher pod's status says about the machine in it. Borrowed from the pod's tree. */
#ifndef PODVISOR_OPERATOR_POD_STATE_H
#define PODVISOR_OPERATOR_POD_STATE_H

#include <podvisor/json.h>
#include <stdbool.h>

enum compute_state {
    COMPUTE_NONE,    /* no guest yet: waiting, pulling, init containers, files from sidecars */
    COMPUTE_RUNNING, /* vmm runs, and all that it needs files from */
    COMPUTE_ENDED,   /* vmm has ended, or never will start: the pod failed before */
};

struct pod_state {
    enum compute_state compute;
    bool deleting;
    bool finished;       /* no container runs any more, nor will */
    int exit_code;       /* of compute, once it has ended; -1: it never ran */
    const char *message; /* why it ended: termination message, or the pod's; "" none */
    const char *reason;  /* the kubelet's word for it: OOMKilled, Evicted...; "" none */
    const char *waiting_reason, *waiting_message; /* of a container that cannot start; NULL: none */
    const cJSON *unschedulable; /* the PodScheduled condition when that is False; else NULL */
    const char *node;           /* NULL: none yet */
    bool waits_for_all;         /* none of its containers has started */
    const char *accepted;       /* when its node took it, RFC 3339; "" not yet */
};

/* `pod` is not NULL. */
void pod_state_read(const cJSON *pod, struct pod_state *ret);

#endif

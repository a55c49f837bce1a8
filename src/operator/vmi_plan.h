// SPDX-License-Identifier: Apache-2.0
/*
 * What to do about one VirtualMachineInstance: a pure function from what is known (the instance,
 * its pod, its claims, its node) to what should be. It makes no call, so it may be interrupted,
 * repeated and tested at every point of an object's life; src/operator/vmi_controller.c carries the
 * plan out.
 *
 * Phases and conditions are KubeVirt's (pkg/virt-controller/watch/vmi/lifecycle.go; for what its
 * node agent does there, pkg/virt-handler/vm.go): Pending -> Scheduling -> Scheduled -> Running ->
 * Succeeded or Failed. The kubelet is our node agent: compute runs is Scheduled and Running, its
 * exit code is the end.
 */
#ifndef PODVISOR_OPERATOR_VMI_PLAN_H
#define PODVISOR_OPERATOR_VMI_PLAN_H

#include "conditions.h"
#include "diagnostics.h"
#include "pod.h"

struct vmi_view {
    const struct pod_config *config;
    const cJSON *vmi;
    const cJSON *pod;          /* the launcher pod; NULL: none */
    const cJSON *node;         /* the pod's node; NULL: unknown */
    const struct vmspec *spec; /* NULL: the specification is wrong; see `diagnostics` */
    const struct vmspec_diagnostics *diagnostics;
    const struct pod_claim *claims;
    size_t claim_count;
    const char *missing_claim; /* a PVC that the machine names and nobody has; NULL: none */
    int64_t now;               /* wall time, ns */
};

struct vmi_plan {
    cJSON *vmi;        /* as it should be; only metadata and status differ */
    cJSON *create_pod; /* NULL: none */
    bool delete_pod;
    int64_t delete_grace; /* seconds */
    uint64_t requeue_ns;  /* 0: nothing to wait for but changes */
    const char *gate;     /* the readiness gate's status to set on the pod; NULL: as it is */
    struct planned_events events;
};

void vmi_plan_make(const struct vmi_view *view, struct vmi_plan *ret);
void vmi_plan_done(struct vmi_plan *plan);

/* Changes the plan for that view to say that its pod could not be made. */
void vmi_plan_failed_create(const struct vmi_view *view, struct vmi_plan *plan,
                            const char *message);

/* "Succeeded" or "Failed". */
bool vmi_phase_is_final(const char *phase);
const char *vmi_phase(const cJSON *vmi); /* "" before the first */

/* vmi_status.c: what status says about the machine's parts, from specification and pod. */
void vmi_status_fill(const struct vmi_view *view, cJSON *status);

#endif

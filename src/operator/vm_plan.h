// SPDX-License-Identifier: Apache-2.0
/*
 * What to do about one VirtualMachine: a pure function from the object and its instance to what
 * should be. Run strategies, requests and printable status are KubeVirt's
 * (pkg/virt-controller/watch/vm/vm.go).
 */
#ifndef PODVISOR_OPERATOR_VM_PLAN_H
#define PODVISOR_OPERATOR_VM_PLAN_H

#include "conditions.h"
#include <podvisor/vmspec.h>

struct vm_view {
    const cJSON *vm;
    const cJSON *vmi;          /* the instance of that name; NULL: none */
    const struct vmspec *spec; /* NULL: the template is wrong; see `diagnostics` */
    const struct vmspec_diagnostics *diagnostics;
    bool claim_is_unbound; /* a PVC that the machine names is there, and has no volume yet */
    int64_t now;           /* wall time, ns */
    uint32_t random;       /* spreads the back-off of machines that fail together */
};

struct vm_plan {
    cJSON *vm;         /* as it should be: metadata, status, and whether it is to run */
    cJSON *create_vmi; /* NULL: none */
    bool delete_vmi;
    bool adopt_vmi;      /* then nothing else in this plan */
    uint64_t requeue_ns; /* 0: nothing to wait for but changes */
    struct planned_events events;
};

void vm_plan_make(const struct vm_view *view, struct vm_plan *ret);
void vm_plan_done(struct vm_plan *plan);
/* Changes the plan for that view to say that the instance could not be made. */
void vm_plan_failed_create(const struct vm_view *view, struct vm_plan *plan, const char *message);

/* The run strategy an object asks for: its own words, or that of `running`; NULL: neither or both.
 */
const char *vm_run_strategy(const cJSON *vm);

/* vm_status.c: conditions, printableStatus and the rest, from object, instance and intent. */
enum vm_intent { VM_LEAVE, VM_START, VM_STOP, VM_BACK_OFF };
void vm_status_fill(const struct vm_view *view, enum vm_intent intent, cJSON *status);

#endif

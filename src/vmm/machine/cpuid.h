// SPDX-License-Identifier: Apache-2.0
/*
 * What the guest's processors say of themselves: KVM's supported leaves with our topology (one
 * socket, one thread a core). Pure functions; Intel SDM vol. 2A CPUID, AMD APM vol. 3 appendix E,
 * Linux Documentation/virt/kvm/x86/cpuid.rst.
 */
#ifndef PODVISOR_VMM_CPUID_H
#define PODVISOR_VMM_CPUID_H

#include "../kvm/kvm.h"

/* What all processors of a machine have in common. */
struct cpuid_traits {
    uint32_t cpus;
    bool tsc_deadline;  /* KVM_CAP_TSC_DEADLINE_TIMER is there; the supported leaves do not say */
    bool no_hypercalls; /* they never return on this host: offer nothing that makes one */
};

/* Rewrites `table` (KVM_GET_SUPPORTED_CPUID's answer) for the processor with this APIC id. */
void cpuid_for_vcpu(struct kvm_cpuid_table *table, uint32_t apic_id,
                    const struct cpuid_traits *traits);

#endif

// SPDX-License-Identifier: Apache-2.0
/* CPUID leaves for one vCPU; see cpuid.h. No state. */
#include "cpuid.h"
#include <asm/kvm_para.h>
#include <podvisor/cleanup.h>

#define LEAF1_ECX_X2APIC       (1u << 21)
#define LEAF1_ECX_TSC_DEADLINE (1u << 24)
#define LEAF1_ECX_HYPERVISOR   (1u << 31)
#define LEAF1_EDX_HTT          (1u << 28)

/* What a guest does by hypercall: waking a CPU that waits for a lock, IPIs, yielding to a vCPU. */
#define PV_HYPERCALL_FEATURES \
    (1u << KVM_FEATURE_PV_UNHALT | 1u << KVM_FEATURE_PV_SEND_IPI | 1u << KVM_FEATURE_PV_SCHED_YIELD)

#define LEVEL_TYPE_SMT  (1u << 8)
#define LEVEL_TYPE_CORE (2u << 8)

/* Bits that an APIC id needs to number `cpus` processors. */
static uint32_t id_bits(uint32_t cpus)
{
    uint32_t bits = 0;
    while ((UINT32_C(1) << bits) < cpus)
        bits++;
    return bits;
}

static void patch_leaf1(struct kvm_cpuid_entry2 *e, uint32_t apic_id,
                        const struct cpuid_traits *traits)
{
    uint32_t cpus = traits->cpus;
    e->ebx = (e->ebx & 0x0000ffff) | (apic_id << 24) | ((cpus < 255 ? cpus : 255) << 16);
    e->ecx |= LEAF1_ECX_HYPERVISOR | LEAF1_ECX_X2APIC;
    if (traits->tsc_deadline)
        e->ecx |= LEAF1_ECX_TSC_DEADLINE;
    if (cpus > 1)
        e->edx |= LEAF1_EDX_HTT;
    else
        e->edx &= ~LEAF1_EDX_HTT;
}

/* Leaf 4 (Intel) and 0x8000001d (AMD): who shares a cache. L3 is everybody's, the rest a core's
 * own. */
static void patch_cache(struct kvm_cpuid_entry2 *e, uint32_t cpus)
{
    uint32_t type = e->eax & 0x1f, level = (e->eax >> 5) & 7;
    if (type == 0)
        return;
    uint32_t sharing = level == 3 ? (UINT32_C(1) << id_bits(cpus)) - 1 : 0;
    e->eax = (e->eax & 0x3fff) | (sharing << 14);
    if (e->function == 4)
        e->eax |= ((UINT32_C(1) << id_bits(cpus)) - 1) << 26;
}

static void patch_topology(struct kvm_cpuid_entry2 *e, uint32_t apic_id, uint32_t cpus)
{
    e->edx = apic_id;
    e->ecx = e->index & 0xff;
    if (e->index == 0) {
        e->eax = 0;
        e->ebx = 1;
        e->ecx |= LEVEL_TYPE_SMT;
    } else if (e->index == 1) {
        e->eax = id_bits(cpus);
        e->ebx = cpus;
        e->ecx |= LEVEL_TYPE_CORE;
    } else {
        e->eax = e->ebx = 0;
    }
}

static bool has_leaf(const struct kvm_cpuid_table *table, uint32_t function)
{
    for (uint32_t i = 0; i < table->head.nent; i++) {
        if (table->entry[i].function == function)
            return true;
    }
    return false;
}

static void add_level(struct kvm_cpuid_table *table, uint32_t function, uint32_t index)
{
    for (uint32_t i = 0; i < table->head.nent; i++) {
        if (table->entry[i].function == function && table->entry[i].index == index)
            return;
    }
    if (table->head.nent < KVM_CPUID_MAX)
        table->entry[table->head.nent++] = (struct kvm_cpuid_entry2){
            .function = function, .index = index, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX};
}

void cpuid_for_vcpu(struct kvm_cpuid_table *table, uint32_t apic_id,
                    const struct cpuid_traits *traits)
{
    uint32_t cpus = traits->cpus;
    static const uint32_t topology[] = {0xb, 0x1f};
    for (unsigned i = 0; i < ARRAY_SIZE(topology); i++) {
        /* KVM reports the levels of this host's processor or none; ours has two and an end. */
        for (uint32_t index = 0; index < 3 && has_leaf(table, topology[i]); index++)
            add_level(table, topology[i], index);
    }
    for (uint32_t i = 0; i < table->head.nent; i++) {
        struct kvm_cpuid_entry2 *e = &table->entry[i];
        switch (e->function) {
        case 1:
            patch_leaf1(e, apic_id, traits);
            break;
        case 4:
        case 0x8000001d:
            patch_cache(e, cpus);
            break;
        case 0xb:
        case 0x1f:
            patch_topology(e, apic_id, cpus);
            break;
        case KVM_CPUID_FEATURES:
            if (traits->no_hypercalls)
                e->eax &= ~PV_HYPERCALL_FEATURES;
            break;
        case 0x80000008:
            e->ecx = (e->ecx & 0xffff0f00) | (id_bits(cpus) << 12) | ((cpus - 1) & 0xff);
            break;
        case 0x8000001e:
            e->eax = apic_id;
            e->ebx = apic_id & 0xff; /* core id, one thread */
            e->ecx = 0;              /* one node */
            break;
        default:
            break;
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
/* The topology that CPUID shows: one socket, one thread a core, whatever the host is. */
#include "cpuid.h"
#include "run_suite.h"
#include <check.h>
#include <stdlib.h>

static struct kvm_cpuid_table host_table(void)
{
    struct kvm_cpuid_table t = {0};
    static const struct kvm_cpuid_entry2 entries[] = {
        {.function = 0, .eax = 0x1f},
        {.function = 1, .ebx = 0x07100800, .ecx = 0, .edx = 1u << 28},
        {.function = 4, .index = 0, .eax = 0xfc004121},
        {.function = 4, .index = 3, .eax = 0xfc1fc163},
        {.function = 4, .index = 4, .eax = 0},
        {.function = 0xb, .index = 0, .eax = 1, .ebx = 2, .ecx = 0x100, .edx = 7},
        {.function = 0x1f, .index = 0},
        {.function = 0x40000001, .eax = 0x01007efb},
        {.function = 0x80000008, .eax = 0x3030, .ecx = 0x7007},
        {.function = 0x8000001d, .index = 3, .eax = 0x1c163},
        {.function = 0x8000001e, .eax = 7, .ebx = 0x103, .ecx = 0x100},
    };
    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
        t.entry[t.head.nent++] = entries[i];
    return t;
}

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid_table *t, uint32_t function,
                                           uint32_t index)
{
    for (uint32_t i = 0; i < t->head.nent; i++) {
        if (t->entry[i].function == function && t->entry[i].index == index)
            return &t->entry[i];
    }
    ck_abort_msg("no leaf 0x%x.%u", function, index);
}

START_TEST(leaf1_names_this_processor)
{
    struct kvm_cpuid_table t = host_table();
    cpuid_for_vcpu(&t, 3, &(struct cpuid_traits){.cpus = 4, .tsc_deadline = true});
    const struct kvm_cpuid_entry2 *e = find(&t, 1, 0);
    ck_assert_uint_eq(e->ebx >> 24, 3);
    ck_assert_uint_eq((e->ebx >> 16) & 0xff, 4);
    ck_assert_uint_eq(e->ebx & 0xffff, 0x0800);
    ck_assert(e->ecx & (1u << 31)); /* hypervisor */
    ck_assert(e->ecx & (1u << 24)); /* TSC deadline */
    ck_assert(e->ecx & (1u << 21)); /* x2APIC */
    ck_assert(e->edx & (1u << 28));
}
END_TEST

START_TEST(one_processor_is_not_hyperthreaded)
{
    struct kvm_cpuid_table t = host_table();
    cpuid_for_vcpu(&t, 0, &(struct cpuid_traits){.cpus = 1});
    const struct kvm_cpuid_entry2 *e = find(&t, 1, 0);
    ck_assert(!(e->edx & (1u << 28)));
    ck_assert(!(e->ecx & (1u << 24)));
}
END_TEST

START_TEST(extended_topology_has_two_levels)
{
    struct kvm_cpuid_table t = host_table();
    cpuid_for_vcpu(&t, 5, &(struct cpuid_traits){.cpus = 6, .tsc_deadline = true});
    const struct kvm_cpuid_entry2 *smt = find(&t, 0xb, 0), *core = find(&t, 0xb, 1),
                                  *end = find(&t, 0xb, 2);
    ck_assert_uint_eq(smt->eax, 0);
    ck_assert_uint_eq(smt->ebx, 1);
    ck_assert_uint_eq(smt->ecx, 0x100);
    ck_assert_uint_eq(core->eax, 3); /* six processors need three bits */
    ck_assert_uint_eq(core->ebx, 6);
    ck_assert_uint_eq(core->ecx, 0x201);
    ck_assert_uint_eq(end->ebx, 0);
    ck_assert_uint_eq(end->ecx, 2);
    ck_assert_uint_eq(smt->edx, 5);
    ck_assert_uint_eq(core->edx, 5);
}
END_TEST

/* Linux 6.2 and later: KVM says nothing of the topology but an empty first level. */
START_TEST(second_topology_leaf_says_the_same)
{
    struct kvm_cpuid_table t = host_table();
    cpuid_for_vcpu(&t, 5, &(struct cpuid_traits){.cpus = 6, .tsc_deadline = true});
    for (uint32_t level = 0; level < 3; level++) {
        const struct kvm_cpuid_entry2 *b = find(&t, 0xb, level), *v2 = find(&t, 0x1f, level);
        ck_assert_uint_eq(b->eax, v2->eax);
        ck_assert_uint_eq(b->ebx, v2->ebx);
        ck_assert_uint_eq(b->ecx, v2->ecx);
        ck_assert_uint_eq(b->edx, v2->edx);
    }
}
END_TEST

START_TEST(levels_are_added_once)
{
    struct kvm_cpuid_table t = host_table();
    uint32_t before = t.head.nent;
    cpuid_for_vcpu(&t, 0, &(struct cpuid_traits){.cpus = 2, .tsc_deadline = true});
    ck_assert_uint_eq(t.head.nent, before + 4);
    cpuid_for_vcpu(&t, 0, &(struct cpuid_traits){.cpus = 2, .tsc_deadline = true});
    ck_assert_uint_eq(t.head.nent, before + 4);
}
END_TEST

START_TEST(a_full_table_stays_in_its_bounds)
{
    struct kvm_cpuid_table t = host_table();
    while (t.head.nent < KVM_CPUID_MAX)
        t.entry[t.head.nent++] = (struct kvm_cpuid_entry2){.function = 0x40000000};
    cpuid_for_vcpu(&t, 0, &(struct cpuid_traits){.cpus = 2, .tsc_deadline = true});
    ck_assert_uint_eq(t.head.nent, KVM_CPUID_MAX);
}
END_TEST

START_TEST(caches_are_shared_only_at_level_3)
{
    struct kvm_cpuid_table t = host_table();
    cpuid_for_vcpu(&t, 1, &(struct cpuid_traits){.cpus = 4, .tsc_deadline = true});
    ck_assert_uint_eq((find(&t, 4, 0)->eax >> 14) & 0xfff, 0);
    ck_assert_uint_eq((find(&t, 4, 3)->eax >> 14) & 0xfff, 3);
    ck_assert_uint_eq(find(&t, 4, 3)->eax >> 26, 3);
    ck_assert_uint_eq(find(&t, 4, 4)->eax, 0);
    ck_assert_uint_eq((find(&t, 0x8000001d, 3)->eax >> 14) & 0xfff, 3);
}
END_TEST

START_TEST(amd_leaves_agree)
{
    struct kvm_cpuid_table t = host_table();
    cpuid_for_vcpu(&t, 2, &(struct cpuid_traits){.cpus = 4, .tsc_deadline = true});
    ck_assert_uint_eq(find(&t, 0x80000008, 0)->ecx & 0xff, 3);
    ck_assert_uint_eq((find(&t, 0x80000008, 0)->ecx >> 12) & 0xf, 2);
    ck_assert_uint_eq(find(&t, 0x8000001e, 0)->eax, 2);
    ck_assert_uint_eq(find(&t, 0x8000001e, 0)->ebx, 2);
    ck_assert_uint_eq(find(&t, 0x8000001e, 0)->ecx, 0);
}
END_TEST

START_TEST(hypercalls_are_offered_where_they_work)
{
    struct kvm_cpuid_table t = host_table();
    cpuid_for_vcpu(&t, 0, &(struct cpuid_traits){.cpus = 4});
    ck_assert_uint_eq(find(&t, 0x40000001, 0)->eax, 0x01007efb);
    cpuid_for_vcpu(&t, 0, &(struct cpuid_traits){.cpus = 4, .no_hypercalls = true});
    /* PV_UNHALT, PV_SEND_IPI and PV_SCHED_YIELD: bits 7, 11 and 13 */
    ck_assert_uint_eq(find(&t, 0x40000001, 0)->eax, 0x0100567b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpuid");
    TCase *tc = tcase_create("topology");
    tcase_add_test(tc, leaf1_names_this_processor);
    tcase_add_test(tc, one_processor_is_not_hyperthreaded);
    tcase_add_test(tc, extended_topology_has_two_levels);
    tcase_add_test(tc, second_topology_leaf_says_the_same);
    tcase_add_test(tc, levels_are_added_once);
    tcase_add_test(tc, a_full_table_stays_in_its_bounds);
    tcase_add_test(tc, caches_are_shared_only_at_level_3);
    tcase_add_test(tc, amd_leaves_agree);
    tcase_add_test(tc, hypercalls_are_offered_where_they_work);
    suite_add_tcase(s, tc);
    return run_suite(s);
}

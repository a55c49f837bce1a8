/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time from the TSC. Its rate comes from the parameter tsc_khz=, else CPUID leaf 0x15, else the
 * hypervisor's leaf 0x40000010.
 */
#include "payload.h"

#define CPUID_TSC            0x15
#define CPUID_HYPERVISOR     0x40000000
#define CPUID_HYPERVISOR_TSC 0x40000010
#define TSC_KHZ_GUESS        2000000

uint64_t tsc_khz;

void time_init(void)
{
    struct cpuid leaf = cpuid(0, 0);

    tsc_khz = parameter_number("tsc_khz", 0);
    if (!tsc_khz && leaf.eax >= CPUID_TSC) {
        leaf = cpuid(CPUID_TSC, 0);
        if (leaf.eax && leaf.ebx)
            tsc_khz = (uint64_t)leaf.ecx * leaf.ebx / leaf.eax / 1000;
    }
    if (!tsc_khz && cpuid(CPUID_HYPERVISOR, 0).eax >= CPUID_HYPERVISOR_TSC)
        tsc_khz = cpuid(CPUID_HYPERVISOR_TSC, 0).eax;
    if (!tsc_khz) {
        tsc_khz = TSC_KHZ_GUESS;
        diagnostic("TSC rate unknown: times assume %lu kHz", tsc_khz);
    }
}

uint64_t deadline_after_ms(uint64_t milliseconds)
{
    return rdtsc() + milliseconds * tsc_khz;
}

bool deadline_passed(uint64_t deadline)
{
    return (int64_t)(rdtsc() - deadline) >= 0;
}

void delay_us(uint64_t microseconds)
{
    uint64_t end = rdtsc() + microseconds * tsc_khz / 1000;

    while (!deadline_passed(end))
        cpu_relax();
}

uint64_t cycles_to_ns(uint64_t cycles)
{
    return cycles / tsc_khz * 1000000 + cycles % tsc_khz * 1000000 / tsc_khz;
}

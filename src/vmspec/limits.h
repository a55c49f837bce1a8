// SPDX-License-Identifier: Apache-2.0
/* Bounds of a machine that manifests and flags share. */
#ifndef PODVISOR_VMSPEC_LIMITS_H
#define PODVISOR_VMSPEC_LIMITS_H

#include <podvisor/vmspec.h>

#define VMSPEC_MEMORY_MIN   UINT64_C(1000000) /* KubeVirt's 1M */
#define VMSPEC_MEMORY_MAX   (UINT64_C(16) << 40)
#define VMSPEC_MEMORY_ALIGN (UINT64_C(2) << 20) /* see machine_config.memory */

/* Rounds up to VMSPEC_MEMORY_ALIGN. `bytes` is at most VMSPEC_MEMORY_MAX. */
static inline uint64_t align_memory(uint64_t bytes)
{
    return (bytes + VMSPEC_MEMORY_ALIGN - 1) & ~(VMSPEC_MEMORY_ALIGN - 1);
}

/* 0 for the sizes that hosts have (2 MiB, 1 GiB), else -EINVAL. */
static inline int check_huge_page_size(uint64_t size, struct error *err)
{
    if (size == UINT64_C(2) << 20 || size == UINT64_C(1) << 30)
        return 0;
    return error_set(err, EINVAL, "huge pages are 2Mi or 1Gi large");
}

/* 0, or -ERANGE with the reason why a machine cannot have that much or little. */
static inline int check_memory_size(uint64_t bytes, struct error *err)
{
    if (bytes < VMSPEC_MEMORY_MIN)
        return error_set(err, ERANGE, "must be greater than or equal to 1M.");
    if (bytes > VMSPEC_MEMORY_MAX)
        return error_set(err, ERANGE, "must be less than or equal to 16Ti.");
    return 0;
}

#endif

// SPDX-License-Identifier: Apache-2.0
#include "overhead.h"

#define MIB (UINT64_C(1) << 20)

#define OVERHEAD_FIXED   (10 * MIB)
#define OVERHEAD_VCPU    (MIB / 2)
#define OVERHEAD_DEVICE  (MIB / 4) /* rings, buffers and a thread's stack for a disk or a card */
#define PAGE_TABLE_SHARE 512

uint64_t memory_overhead(const struct vmspec *spec)
{
    return OVERHEAD_FIXED + spec->cpu.count * OVERHEAD_VCPU +
           (spec->disks.count + spec->interfaces.count) * OVERHEAD_DEVICE +
           spec->memory.guest / PAGE_TABLE_SHARE;
}

uint64_t memory_request(const struct vmspec *spec)
{
    uint64_t overhead = memory_overhead(spec);
    return spec->memory.huge_page_size != 0 ? overhead : spec->memory.guest + overhead;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Memory that a machine's pod needs beside the guest's RAM (docs/figures.md has the measurements).
 */
#ifndef PODVISOR_OPERATOR_OVERHEAD_H
#define PODVISOR_OPERATOR_OVERHEAD_H

#include <podvisor/vmspec.h>

/*
 * Bytes: the monitor with its devices, a part for each vCPU (KVM's structures and stacks), and the
 * page tables that map the guest's memory.
 */
uint64_t memory_overhead(const struct vmspec *spec);

/* What the container `compute` asks for beside huge pages: requests.memory, in bytes. */
uint64_t memory_request(const struct vmspec *spec);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * Guest RAM of this machine: maps it, registers it with KVM, gives it back. Owned by the main
 * thread; release may be called from I/O loops.
 *
 * RAM is 0..3 GiB and from 4 GiB on (layout.h). Each part lies between inaccessible guard pages, so
 * a host-side overrun faults instead of reading a neighbour. Slots are registered before any
 * in-kernel device exists: on Linux 6.18 the other order costs 8 ms.
 */
#ifndef PODVISOR_VMM_MEMORY_H
#define PODVISOR_VMM_MEMORY_H

#include <podvisor/error.h>
#include <podvisor/guest_memory.h>
#include <podvisor/machine_config.h>

struct machine_memory {
    struct guest_memory guest;
    enum machine_memory_backing backing;
    int fd; /* memfd, or -1 */
};

/*
 * Maps `size` bytes (a multiple of 2 MiB) of RAM. Hugetlbfs pages are reserved here, so that a lack
 * of them is an error now and not a SIGBUS later. Returns 0 or a negative errno.
 */
int machine_memory_map(struct machine_memory *mem, uint64_t size,
                       enum machine_memory_backing backing, struct error *err);

/* Registers the regions as KVM memory slots 0 and 1. */
int machine_memory_register(const struct machine_memory *mem, int vm_fd, struct error *err);

/*
 * Gives the host pages behind hva[0..len) back; they read as zeroes afterwards. Any thread. `hva`
 * and `len` are multiples of 4 KiB inside guest RAM. Returns 0 or a negative errno (-EINVAL for
 * part of a huge page).
 */
int machine_memory_release(const struct machine_memory *mem, void *hva, uint64_t len);

/* All of RAM back to zeroes, for a system reset. No vCPU and no device may be running. */
void machine_memory_clear(const struct machine_memory *mem);

/* Unmaps; the VM is gone already. */
void machine_memory_unmap(struct machine_memory *mem);

#endif

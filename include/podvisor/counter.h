// SPDX-License-Identifier: Apache-2.0
/*
 * Figures for `vmm ctl metrics`: counted by one thread, read by any. Each is true by itself;
 * nothing is said about the order in which two of them change.
 */
#ifndef PODVISOR_COUNTER_H
#define PODVISOR_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

static inline uint64_t counter_read(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* The one thread that counts: so this needs no locked instruction. */
static inline void counter_add(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, counter_read(counter) + n, memory_order_relaxed);
}

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * Kubernetes' resource.Quantity ("1.5Gi", "500m", "2e3") as plain numbers: digits with an optional
 * fraction, then one of n u m k M G T P E (powers of 1000), Ki Mi Gi Ti Pi Ei (powers of 1024) or
 * an exponent e3, E3. No allocation; any thread.
 */
#ifndef PODVISOR_QUANTITY_H
#define PODVISOR_QUANTITY_H

#include <podvisor/error.h>
#include <stdint.h>

/*
 * The amount in whole units (bytes, CPUs), rounded up. Not negative. Returns 0, -EINVAL for what is
 * no quantity (with a proposal for "GB", "gi"...), -ERANGE above 2^63 - 1 or below 0.
 */
int quantity_parse(const char *text, uint64_t *ret, struct error *err);

/* The amount in thousandths (milli-CPU), rounded up. As quantity_parse(). */
int quantity_parse_milli(const char *text, uint64_t *ret, struct error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the benchmarks share: options of bench=…, the frame of a measurement, latency percentiles.
 *
 * The guest polls on one host CPU; the monitor and the host's side of the traffic need another. On
 * a host with fewer than two free CPUs the figures say nothing.
 */
#ifndef GUEST_BENCH_H
#define GUEST_BENCH_H

#include "../lib/payload.h"

#define LATENCY_BUCKETS 512

/* Eight buckets for each power of two of cycles. */
struct latency {
    uint64_t count[LATENCY_BUCKETS];
    uint64_t total;
};

void latency_add(struct latency *latency, uint64_t cycles);
/* The upper bound, in ns, of the bucket that holds this share of the values (in thousandths). */
uint64_t latency_percentile(const struct latency *latency, uint32_t thousandths);

/* A number among the options of bench=. */
uint64_t bench_option(const char *name, uint64_t otherwise);
bool bench_option_is(const char *name, const char *value);
/* Around the measured part: the host takes its own time at these lines. */
void bench_begin(void);
void bench_end(void);
bool bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* `amount` a second, given the cycles it took. */
uint64_t bench_rate(uint64_t amount, uint64_t cycles);

bool bench_blk(void);
bool bench_net(void);
bool bench_store(void); /* measures nothing: says what disks hold */

#endif

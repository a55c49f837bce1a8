/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chooses the benchmark of bench=WHAT,option=value,… and keeps the books.
 */
#include "bench.h"
#include "../lib/suites.h"

#define SUB_BUCKETS 8

void latency_add(struct latency *latency, uint64_t cycles)
{
    unsigned int power = 63 - (unsigned int)__builtin_clzl(cycles | SUB_BUCKETS);
    unsigned int bucket =
        power * SUB_BUCKETS + (unsigned int)(cycles >> (power - 3) & (SUB_BUCKETS - 1));

    latency->count[MIN(bucket, LATENCY_BUCKETS - 1u)]++;
    latency->total++;
}

uint64_t latency_percentile(const struct latency *latency, uint32_t thousandths)
{
    uint64_t wanted = (latency->total * thousandths + 999) / 1000, seen = 0;

    for (unsigned int i = 0; i < LATENCY_BUCKETS; i++) {
        seen += latency->count[i];
        if (seen >= wanted && seen)
            return cycles_to_ns((uint64_t)(SUB_BUCKETS + i % SUB_BUCKETS + 1)
                                << (i / SUB_BUCKETS - 3));
    }
    return 0;
}

uint64_t bench_option(const char *name, uint64_t otherwise)
{
    return parameter_option_number("bench", name, otherwise);
}

bool bench_option_is(const char *name, const char *value)
{
    const char *at = parameter_option("bench", name);

    return at && string_equal(at, value);
}

void bench_begin(void)
{
    print("bench-begin\n");
}

void bench_end(void)
{
    print("bench-end\n");
}

bool bench_fail(const char *format, ...)
{
    va_list arguments;

    print("bench-failed ");
    va_start(arguments, format);
    print_va(format, arguments);
    va_end(arguments);
    print("\n");
    return false;
}

uint64_t bench_rate(uint64_t amount, uint64_t cycles)
{
    uint64_t microseconds = cycles_to_ns(cycles) / 1000;

    return microseconds ? amount * 1000000 / microseconds : 0;
}

bool bench_run(void)
{
    if (parameter_lists("bench", "blk"))
        return bench_blk();
    if (parameter_lists("bench", "net"))
        return bench_net();
    if (parameter_lists("bench", "store"))
        return bench_store();
    return bench_fail("unknown benchmark");
}

// SPDX-License-Identifier: Apache-2.0
/*
 * A token bucket: how fast something may happen, and how much of what was not used may be made up
 * for at once. Time is the caller's (nanoseconds of a clock that does not go back), so that a test
 * can be its own clock. One thread.
 */
#ifndef PODVISOR_STORAGE_LIMIT_H
#define PODVISOR_STORAGE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#define LIMIT_RATE_MAX (UINT64_C(1) << 40) /* a second; also the largest burst */

struct limit {
    uint64_t rate;  /* tokens a second; 0: no limit */
    uint64_t burst; /* tokens that the bucket holds */
    int64_t level;  /* tokens; below 0: owed */
    uint64_t then;  /* when `level` was true */
    uint64_t carry; /* what was earned since but is no whole token: token nanoseconds */
};

/*
 * A full bucket. `rate` and `burst` are at most LIMIT_RATE_MAX; a burst of 0 is a tenth of a
 * second's worth, at least one.
 */
void limit_init(struct limit *limit, uint64_t rate, uint64_t burst, uint64_t now);

/*
 * How long until something may happen: 0 while there are tokens, or when there is no limit. The
 * last of them may be spent on something large: it is owed, and what comes next waits.
 */
uint64_t limit_delay(struct limit *limit, uint64_t now);

/* Spends `tokens` (at most 2^32), after limit_delay() said 0. */
void limit_spend(struct limit *limit, uint64_t tokens);

#endif

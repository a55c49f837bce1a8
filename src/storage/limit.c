// SPDX-License-Identifier: Apache-2.0
/* See limit.h. */
#include "limit.h"
#include <podvisor/clock.h>

void limit_init(struct limit *limit, uint64_t rate, uint64_t burst, uint64_t now)
{
    if (burst == 0)
        burst = rate >= 10 ? rate / 10 : 1;
    *limit = (struct limit){.rate = rate, .burst = burst, .level = (int64_t)burst, .then = now};
}

/* 128 bits: 2^40 tokens a second for years. */
static void refill(struct limit *limit, uint64_t now)
{
    if (now <= limit->then)
        return;
    unsigned __int128 earned = (unsigned __int128)limit->rate * (now - limit->then) + limit->carry;
    unsigned __int128 whole = earned / NSEC_PER_SEC;
    uint64_t room = limit->burst - (uint64_t)limit->level; /* modulo 2^64: right below 0, too */
    limit->then = now;
    limit->carry = (uint64_t)(earned % NSEC_PER_SEC);
    if (whole >= room) {
        limit->level = (int64_t)limit->burst;
        limit->carry = 0;
    } else {
        limit->level += (int64_t)whole;
    }
}

uint64_t limit_delay(struct limit *limit, uint64_t now)
{
    if (limit->rate == 0)
        return 0;
    refill(limit, now);
    if (limit->level > 0)
        return 0;
    unsigned __int128 missing = (unsigned __int128)(1 - limit->level) * NSEC_PER_SEC - limit->carry;
    return (uint64_t)((missing + limit->rate - 1) / limit->rate);
}

void limit_spend(struct limit *limit, uint64_t tokens)
{
    if (limit->rate != 0)
        limit->level -= (int64_t)tokens;
}

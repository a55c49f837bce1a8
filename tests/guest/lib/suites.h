/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The suites and the benchmark entry (suites/…).
 */
#ifndef GUEST_SUITES_H
#define GUEST_SUITES_H

#include "payload.h"

extern const struct suite *const suites[];
extern const unsigned int suite_count;

/* Runs bench=…; false after a failure, which it has printed. */
bool bench_run(void);

#endif

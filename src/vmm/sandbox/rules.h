// SPDX-License-Identifier: Apache-2.0
/*
 * The table of rules.def as data, with names and reasons: for the compiler of the filters, for
 * `vmm check` and for tests. The monitor itself carries only the compiled filters.
 */
#ifndef PODVISOR_VMM_SANDBOX_RULES_H
#define PODVISOR_VMM_SANDBOX_RULES_H

#include "sandbox.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sandbox_rule {
    unsigned classes; /* bit 1 << enum sandbox_class: these threads may */
    int nr;           /* system call, as in <sys/syscall.h> */
    const char *syscall;
    bool conditional;      /* else arguments do not matter */
    unsigned arg;          /* 0 to 5 */
    uint32_t mask;         /* of the argument's low 32 bits... */
    uint32_t value;        /* ...these are this */
    const char *condition; /* as written in the table */
    const char *why;
};

/* All rules, in the order of the table. */
const struct sandbox_rule *sandbox_rules(size_t *ret_count);

/* "vcpu", "io", "worker", "main". */
const char *sandbox_class_name(enum sandbox_class thread_class);

#endif

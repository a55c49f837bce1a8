// SPDX-License-Identifier: Apache-2.0
/* The seccomp programs that mkfilters generated from rules.def when podvisor was built. */
#ifndef PODVISOR_VMM_SANDBOX_FILTERS_H
#define PODVISOR_VMM_SANDBOX_FILTERS_H

#include "sandbox.h"
#include <linux/filter.h>
#include <stddef.h>

/* What seccomp(2) takes: struct sock_fprog, but for the const. */
struct sandbox_program {
    unsigned short len; /* instructions */
    const struct sock_filter *code;
};

_Static_assert(sizeof(struct sandbox_program) == sizeof(struct sock_fprog) &&
                   offsetof(struct sandbox_program, code) == offsetof(struct sock_fprog, filter),
               "the kernel reads one as the other");

struct sandbox_filter {
    struct sandbox_program kill, log; /* what becomes of a call that no rule allows */
    unsigned syscall_count;           /* distinct ones allowed */
    unsigned rule_count;
};

extern const struct sandbox_filter sandbox_filters[SANDBOX_CLASS_COUNT];

#endif

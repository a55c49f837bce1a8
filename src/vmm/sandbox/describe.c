// SPDX-License-Identifier: Apache-2.0
/* The figures of `vmm check`. Apart from sandbox.c, so that the front does not carry libcap-ng,
 * whose constructor reads /proc at every start. */
#include "filters.h"

struct sandbox_info sandbox_describe(enum sandbox_class thread_class)
{
    const struct sandbox_filter *filter = &sandbox_filters[thread_class];
    return (struct sandbox_info){
        .syscalls = filter->syscall_count,
        .rules = filter->rule_count,
        .instructions = filter->kill.len,
    };
}

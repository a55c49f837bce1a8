// SPDX-License-Identifier: Apache-2.0
/*
 * Build-time tool: prints rules.def as tab-separated lines, one for each thread class a rule is
 * for: class, system call, number, argument ("-": any), mask, value, condition, reason. The input
 * of tests/integration/sandbox_coverage.py.
 */
#include "rules.h"
#include <stdio.h>

int main(void)
{
    size_t count;
    const struct sandbox_rule *rule = sandbox_rules(&count);
    for (; count > 0; count--, rule++) {
        for (unsigned c = 0; c < SANDBOX_CLASS_COUNT; c++) {
            if (!(rule->classes & 1u << c))
                continue;
            printf("%s\t%s\t%d\t", sandbox_class_name(c), rule->syscall, rule->nr);
            if (rule->conditional)
                printf("%u\t0x%x\t0x%x", rule->arg, rule->mask, rule->value);
            else
                printf("-\t-\t-");
            printf("\t%s\t%s\n", rule->condition, rule->why);
        }
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

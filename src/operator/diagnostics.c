// SPDX-License-Identifier: Apache-2.0
#include "diagnostics.h"
#include <podvisor/str.h>
#include <stdio.h>
#include <stdlib.h>

void diagnostics_first_error(const struct vmspec_diagnostics *diagnostics,
                             char ret[DIAGNOSTIC_TEXT_MAX])
{
    snprintf(ret, DIAGNOSTIC_TEXT_MAX, "the specification cannot be read");
    for (size_t i = 0; i < diagnostics->list.count; i++) {
        const struct vmspec_diagnostic *item = &diagnostics->list.item[i];
        if (item->severity == VMSPEC_ERROR) {
            vmspec_diagnostic_text(item, ret, DIAGNOSTIC_TEXT_MAX);
            return;
        }
    }
}

char *diagnostics_join(const struct vmspec_diagnostics *diagnostics, enum vmspec_severity most)
{
    char text[DIAGNOSTIC_TEXT_MAX];
    char *all = NULL;
    for (size_t i = 0; i < diagnostics->list.count; i++) {
        const struct vmspec_diagnostic *item = &diagnostics->list.item[i];
        if (item->severity > most)
            continue;
        vmspec_diagnostic_text(item, text, sizeof(text));
        char *more = all == NULL ? xstrdup(text) : xasprintf("%s; %s", all, text);
        free(all);
        all = more;
    }
    return all;
}

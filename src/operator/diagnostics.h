// SPDX-License-Identifier: Apache-2.0
/* What a specification's diagnostics say, as text for conditions and events. Any thread. */
#ifndef PODVISOR_OPERATOR_DIAGNOSTICS_H
#define PODVISOR_OPERATOR_DIAGNOSTICS_H

#include <podvisor/vmspec.h>

#define DIAGNOSTIC_TEXT_MAX 1024 /* one in words; cut */

/* The first error; there is one where a specification could not be read. */
void diagnostics_first_error(const struct vmspec_diagnostics *diagnostics,
                             char ret[DIAGNOSTIC_TEXT_MAX]);

/*
 * All of at most this severity (VMSPEC_WARNING: no errors), "; " between them, for free(). NULL:
 * none.
 */
char *diagnostics_join(const struct vmspec_diagnostics *diagnostics, enum vmspec_severity most);

#endif

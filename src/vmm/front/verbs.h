// SPDX-License-Identifier: Apache-2.0
/* The verbs of `vmm`, one file each. */
#ifndef PODVISOR_FRONT_VERBS_H
#define PODVISOR_FRONT_VERBS_H

#include "flags.h"

/* Exit codes of every verb; `vmm run` also ends with the monitor's (0 to 3). */
#define EXIT_OK         0
#define EXIT_BAD_CONFIG 1

extern const struct verb verb_run, verb_ctl, verb_console, verb_check, verb_inspect;

/* Writes "vmm: TEXT" on standard error; returns EXIT_BAD_CONFIG. */
int report_error(const struct error *err);

#endif

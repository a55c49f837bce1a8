// SPDX-License-Identifier: Apache-2.0
/* KubeVirt manifests as the front uses them: for a plan (plan.h), and for `vmm inspect`. */
#ifndef PODVISOR_FRONT_MANIFEST_H
#define PODVISOR_FRONT_MANIFEST_H

#include <podvisor/error.h>

/* Logs what there is to say about the manifest of the plan that was made, before the start. */
void manifest_log_warnings(void);

/*
 * Prints which machine the manifest at `path` describes, and everything that is to say about it.
 * Returns the exit code, or a negative errno when the file cannot be read.
 */
int manifest_inspect(const char *path, struct error *err);

#endif

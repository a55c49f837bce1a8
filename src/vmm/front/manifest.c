// SPDX-License-Identifier: Apache-2.0
/* Manifests of `vmm run`. */
#include "plan.h"

int plan_read_manifest(struct plan *plan, const struct run_options *options, uint32_t *used_disks,
                       uint32_t *used_nets, struct error *err)
{
    (void)plan;
    (void)used_disks;
    (void)used_nets;
    return error_set(err, ENOTSUP, "%s: this build reads no manifests; use flags",
                     options->manifest);
}

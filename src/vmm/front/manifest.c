// SPDX-License-Identifier: Apache-2.0
/* Manifests of `vmm run` and `vmm inspect`. */
#include "manifest.h"
#include "plan.h"

static int unsupported(const char *path, struct error *err)
{
    return error_set(err, ENOTSUP, "%s: this build reads no manifests; use flags", path);
}

int plan_read_manifest(struct plan *plan, const struct run_options *options, uint32_t *used_disks,
                       uint32_t *used_nets, struct error *err)
{
    (void)plan;
    (void)used_disks;
    (void)used_nets;
    return unsupported(options->manifest, err);
}

int manifest_inspect(const char *path, struct error *err)
{
    return unsupported(path, err);
}

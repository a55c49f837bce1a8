// SPDX-License-Identifier: Apache-2.0
/* What a specification may ask for that a pod of ours cannot give: said before there is a pod. */
#include "pod.h"
#include <stdio.h>

#define PATH_MAX_TEXT 256

static const char *prefix(const struct vmspec *spec)
{
    return spec->is_instance ? "spec" : "spec.template.spec";
}

static void check_volumes(const struct vmspec *spec, struct vmspec_diagnostics *diag)
{
    for (size_t i = 0; i < spec->disks.count; i++) {
        size_t n = spec->disks.item[i].volume;
        const struct vmspec_volume *volume = &spec->volumes.item[n];
        char path[PATH_MAX_TEXT];
        if (volume->kind == VMSPEC_VOLUME_CONTAINER_DISK && !spec->disks.item[i].readonly) {
            snprintf(path, sizeof(path), "%s.volumes[%zu].containerDisk", prefix(spec), n);
            vmspec_diagnose(diag, VMSPEC_WARNING, path,
                            "the guest can only read it: there are no overlays yet");
        }
        if (volume->kind == VMSPEC_VOLUME_PVC || volume->kind == VMSPEC_VOLUME_DATA_VOLUME ||
            volume->kind == VMSPEC_VOLUME_CONTAINER_DISK ||
            volume->kind == VMSPEC_VOLUME_EMPTY_DISK)
            continue;
        snprintf(path, sizeof(path), "%s.volumes[%zu].%s", prefix(spec), n,
                 vmspec_volume_kind_name(volume->kind));
        vmspec_diagnose(diag, VMSPEC_ERROR, path,
                        "is not supported in a cluster yet; persistentVolumeClaim, dataVolume, "
                        "containerDisk and emptyDisk are");
    }
}

static void check_networks(const struct vmspec *spec, struct vmspec_diagnostics *diag)
{
    for (size_t i = 0; i < spec->interfaces.count; i++) {
        const struct vmspec_interface *nic = &spec->interfaces.item[i];
        char path[PATH_MAX_TEXT];
        if (nic->link == VMSPEC_LINK_ABSENT)
            continue;
        if (spec->networks.item[nic->network].kind != VMSPEC_NETWORK_POD) {
            snprintf(path, sizeof(path), "%s.networks[%zu]", prefix(spec), nic->network);
            vmspec_diagnose(diag, VMSPEC_ERROR, path,
                            "only the pod network is supported in a cluster yet");
        } else if (nic->binding == VMSPEC_BINDING_PASST) {
            snprintf(path, sizeof(path), "%s.domain.devices.interfaces[%zu]", prefix(spec), i);
            vmspec_diagnose(diag, VMSPEC_ERROR, path,
                            "only bridge and masquerade are supported in a cluster yet");
        }
    }
}

static void check_boot(const struct vmspec *spec, struct vmspec_diagnostics *diag)
{
    char path[PATH_MAX_TEXT];
    if (spec->kernel.given && spec->kernel.image != NULL)
        return;
    snprintf(path, sizeof(path), "%s.domain.firmware", prefix(spec));
    vmspec_diagnose(diag, VMSPEC_ERROR, path,
                    "needs kernelBoot.container: machines cannot boot from disks through BIOS or "
                    "EFI yet");
}

bool pod_check(const struct vmspec *spec, struct vmspec_diagnostics *diag)
{
    unsigned before = diag->errors;
    check_boot(spec, diag);
    check_volumes(spec, diag);
    check_networks(spec, diag);
    return diag->errors == before;
}

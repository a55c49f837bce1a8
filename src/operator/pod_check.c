// SPDX-License-Identifier: Apache-2.0
/* What a specification may ask for that a pod of ours cannot give: said before there is a pod. */
#include "pod_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_TEXT 256

/* Of 128 KiB; the rest is for the variable's name, and the instance's own. */
#define SPECIFICATION_MAX (120u << 10)

static const char *prefix(const struct vmspec *spec)
{
    return spec->is_instance ? "spec" : "spec.template.spec";
}

bool pod_is_plain_path(const char *path)
{
    for (const char *at = path; *at != '\0'; at += strcspn(at, "/")) {
        if (*at++ != '/')
            return false;
        size_t len = strcspn(at, "/");
        if (len == 0 || (at[0] == '.' && (len == 1 || (len == 2 && at[1] == '.'))))
            return false;
    }
    return *path == '/';
}

/*
 * The pod gets the whole folder of a host disk, as in KubeVirt. Folders below one that is allowed
 * are not: who writes there could have put a link in the way, which the node follows as root.
 */
static bool is_allowed_folder(const struct pod_config *config, const char *path, size_t len)
{
    for (unsigned i = 0; i < config->host_disk_folders; i++) {
        const char *folder = config->host_disk_folder[i];
        if (strlen(folder) == len && memcmp(folder, path, len) == 0)
            return true;
    }
    return false;
}

static void check_host_disk(const struct pod_config *config, const struct vmspec_volume *volume,
                            const char *path, struct vmspec_diagnostics *diag)
{
    const char *file = volume->host_disk.path;
    int len = pod_host_folder_length(file);
    char at[PATH_MAX_TEXT + sizeof(".path")];
    snprintf(at, sizeof(at), "%s.path", path);
    if (config->host_disk_folders == 0)
        vmspec_diagnose(
            diag, VMSPEC_ERROR, path,
            "files of nodes are no disks here: who runs the operator allows a folder of "
            "them with --host-disk-folder");
    else if (!pod_is_plain_path(file))
        vmspec_diagnose(diag, VMSPEC_ERROR, at,
                        "'%.200s' must be the absolute path of a file, without '.', '..' and '//'",
                        file);
    else if (!is_allowed_folder(config, file, (size_t)len))
        vmspec_diagnose(diag, VMSPEC_ERROR, at,
                        "the folder of '%.200s' is none that the operator allows "
                        "(--host-disk-folder), such as %.200s",
                        file, config->host_disk_folder[0]);
}

static void check_volumes(const struct pod_config *config, const struct vmspec *spec,
                          struct vmspec_diagnostics *diag)
{
    for (size_t i = 0; i < spec->disks.count; i++) {
        size_t n = spec->disks.item[i].volume;
        const struct vmspec_volume *volume = &spec->volumes.item[n];
        char path[PATH_MAX_TEXT];
        snprintf(path, sizeof(path), "%s.volumes[%zu].%s", prefix(spec), n,
                 vmspec_volume_kind_name(volume->kind));
        if (volume->kind == VMSPEC_VOLUME_HOST_DISK)
            check_host_disk(config, volume, path, diag);
        else if (volume->kind == VMSPEC_VOLUME_MEMORY_DUMP)
            vmspec_diagnose(diag, VMSPEC_ERROR, path, "cannot be a disk");
    }
}

/* A pod has one account: its token would be given to the guest under another one's name. */
static void check_account(const struct vmspec *spec, struct vmspec_diagnostics *diag)
{
    const char *account = pod_account(spec);
    for (size_t i = 0; i < spec->volumes.count; i++) {
        const struct vmspec_volume *volume = &spec->volumes.item[i];
        char path[PATH_MAX_TEXT];
        if (volume->kind != VMSPEC_VOLUME_SERVICE_ACCOUNT ||
            strcmp(volume->files.name, account) == 0)
            continue;
        snprintf(path, sizeof(path), "%s.volumes[%zu].serviceAccount.serviceAccountName",
                 prefix(spec), i);
        vmspec_diagnose(
            diag, VMSPEC_ERROR, path,
            "'%.253s' is not the machine's account '%.253s': the pod has one, and its "
            "token is what the guest gets; name the same, or leave %s.serviceAccountName "
            "out",
            volume->files.name, account, prefix(spec));
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

static void check_probe(const struct vmspec *spec, const char *name,
                        struct vmspec_diagnostics *diag)
{
    const cJSON *probe = json_get(pod_specification(spec), name);
    char path[PATH_MAX_TEXT];
    if (probe == NULL || json_get(probe, "httpGet") != NULL || json_get(probe, "tcpSocket") != NULL)
        return;
    snprintf(path, sizeof(path), "%s.%s", prefix(spec), name);
    vmspec_diagnose(diag, VMSPEC_WARNING, path,
                    "is left out: only httpGet and tcpSocket reach the guest, others need an agent "
                    "in it");
}

/* A machine that should move away from its node is evicted like any pod. */
static void check_eviction(const struct vmspec *spec, struct vmspec_diagnostics *diag)
{
    const cJSON *strategy = json_get(pod_specification(spec), "evictionStrategy");
    char path[PATH_MAX_TEXT];
    if (!cJSON_IsString(strategy) || strcmp(strategy->valuestring, "LiveMigrate") != 0)
        return;
    snprintf(path, sizeof(path), "%s.evictionStrategy", prefix(spec));
    vmspec_diagnose(diag, VMSPEC_WARNING, path,
                    "running machines cannot migrate: the pod is evicted, and the guest shut down");
}

/* The instance travels to vmm in one environment variable, which the kernel bounds
 * (MAX_ARG_STRLEN). */
static void check_size(const struct vmspec *spec, struct vmspec_diagnostics *diag)
{
    char *text;
    size_t len;
    if (pod_specification(spec) == NULL ||
        json_print(pod_specification(spec), &text, &len, NULL) < 0)
        return;
    free(text);
    if (len > SPECIFICATION_MAX)
        vmspec_diagnose(diag, VMSPEC_ERROR, prefix(spec),
                        "takes %zu bytes as JSON; a machine's pod can be given %u", len,
                        SPECIFICATION_MAX);
}

bool pod_check(const struct pod_config *config, const struct vmspec *spec,
               struct vmspec_diagnostics *diag)
{
    unsigned before = diag->errors;
    check_size(spec, diag);
    check_boot(spec, diag);
    check_volumes(config, spec, diag);
    check_account(spec, diag);
    check_networks(spec, diag);
    check_probe(spec, "livenessProbe", diag);
    check_probe(spec, "readinessProbe", diag);
    check_eviction(spec, diag);
    return diag->errors == before;
}

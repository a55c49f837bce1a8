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

/* Is `path`, of `len` bytes, the folder `other` or in it? */
static bool is_within(const char *path, size_t len, const char *other)
{
    size_t n = strlen(other);
    return len >= n && memcmp(path, other, n) == 0 && (len == n || path[n] == '/');
}

/*
 * The pod gets the whole folder of a host disk, as in KubeVirt. Folders in which a node keeps what
 * it lives by, and those around them, are nobody's place for disks.
 */
static bool is_system_folder(const char *path, size_t len)
{
    static const char *const folders[] = {"/bin",
                                          "/boot",
                                          "/dev",
                                          "/etc",
                                          "/lib",
                                          "/lib32",
                                          "/lib64",
                                          "/proc",
                                          "/root",
                                          "/run",
                                          "/sbin",
                                          "/sys",
                                          "/usr",
                                          "/var/log",
                                          "/var/run",
                                          "/var/lib/cni",
                                          "/var/lib/containerd",
                                          "/var/lib/containers",
                                          "/var/lib/docker",
                                          "/var/lib/etcd",
                                          "/var/lib/kubelet",
                                          "/var/lib/rancher"};
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        if (is_within(path, len, folders[i]) ||
            (strlen(folders[i]) > len && strncmp(folders[i], path, len) == 0 &&
             (len == 1 || folders[i][len] == '/')))
            return true;
    }
    return false;
}

/* A path with one reading: absolute, without "//", "." and "..", and with a file's name. */
static bool is_plain_path(const char *path)
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

static void check_host_disk(const struct pod_config *config, const struct vmspec_volume *volume,
                            const char *path, struct vmspec_diagnostics *diag)
{
    const char *file = volume->host_disk.path;
    char at[PATH_MAX_TEXT + sizeof(".path")];
    snprintf(at, sizeof(at), "%s.path", path);
    if (!config->host_disk)
        vmspec_diagnose(diag, VMSPEC_ERROR, path,
                        "HostDisk feature gate is not enabled: start the operator with "
                        "--feature-gates HostDisk where everybody who makes machines may use files "
                        "of nodes");
    else if (!is_plain_path(file))
        vmspec_diagnose(diag, VMSPEC_ERROR, at,
                        "'%.200s' must be the absolute path of a file, without '.', '..' and '//'",
                        file);
    else if (is_system_folder(file, (size_t)pod_host_folder_length(file)))
        vmspec_diagnose(diag, VMSPEC_ERROR, at,
                        "'%.200s' is in a folder of the node's own, which a machine's pod is not "
                        "given; keep disks in one of their own, such as /var/data",
                        file);
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

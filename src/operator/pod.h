// SPDX-License-Identifier: Apache-2.0
/*
 * The pod that becomes the machine, as docs/pod.md draws it (KubeVirt's template.go for what users
 * see: names, labels, resources, probes). A pure function: no call is made. Any thread.
 */
#ifndef PODVISOR_OPERATOR_POD_H
#define PODVISOR_OPERATOR_POD_H

#include <podvisor/json.h>
#include <podvisor/vmspec.h>

#define HOST_DISK_FOLDERS_MAX 32

/* What the operator was configured with. Borrowed strings that outlive all use. */
struct pod_config {
    const char *launcher_image;
    const char *launcher_pull_policy; /* "IfNotPresent" */
    const char *log_level;            /* for PODVISOR_LOG; NULL: none */
    uint32_t cpu_allocation_ratio;    /* vCPUs a CPU requested; KubeVirt: 10 */
    /* Folders of nodes, plain paths, whose files may be disks; none: hostDisk is refused, as with
     * KubeVirt's feature gate HostDisk off. */
    const char *host_disk_folder[HOST_DISK_FOLDERS_MAX];
    unsigned host_disk_folders;
};

/* A PVC of the machine's, as far as the pod depends on it. */
struct pod_claim {
    const char *name;
    bool block;        /* volumeMode: Block */
    uint64_t capacity; /* bytes; 0: unknown */
    cJSON *object;     /* the claim as it is cached, for what status says of it; NULL: unknown */
};

struct pod_input {
    const struct pod_config *config;
    const cJSON *vmi;
    const struct vmspec *spec; /* of `vmi`, without errors */
    const struct pod_claim *claims;
    size_t claim_count;
};

/* True when a pod can give all that is asked for; else there is an error in `diag` for each field.
 */
bool pod_check(const struct pod_config *config, const struct vmspec *spec,
               struct vmspec_diagnostics *diag);

/* A path with one reading: absolute, without "//", "." and "..", and with a name at its end. */
bool pod_is_plain_path(const char *path);

/* Does the volume show a PVC? Its name is volume->claim.claim then. */
bool pod_volume_is_claim(const struct vmspec_volume *volume);

/* "virt-launcher-NAME-hash" for free(); the hash is of the uid. */
char *pod_name(const cJSON *vmi);

/*
 * Is it the instance's pod? Its controller says so, by uid: labels are anybody's who may change
 * pods, and one taken away would let a second machine start beside the first.
 */
bool pod_is_of(const cJSON *pod, const cJSON *vmi);

/* The Pod object. The caller's. */
cJSON *pod_render(const struct pod_input *input);

/* The secrets and config maps without which its node cannot start it, as words for free(); NULL. */
char *pod_mounted_objects(const struct vmspec *spec);

/* The container's name for a containerDisk volume, for free(). */
char *pod_volume_container(const char *volume);

#endif

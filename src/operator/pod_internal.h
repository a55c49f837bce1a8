// SPDX-License-Identifier: Apache-2.0
/* What the files that render a pod share: its paths and the making of containers. */
#ifndef PODVISOR_OPERATOR_POD_INTERNAL_H
#define PODVISOR_OPERATOR_POD_INTERNAL_H

#include "pod.h"

#define POD_UID 107

#define PATH_VMM         "/run/podvisor/vmm"
#define PATH_IMAGES      PATH_VMM "/images"
#define PATH_NET         "/run/podvisor/net"
#define PATH_EPHEMERAL   "/run/podvisor/ephemeral"
#define PATH_BIN         "/run/podvisor/bin"
#define PATH_VOLUMES     "/run/podvisor/volumes/"
#define PATH_CREDENTIALS "/run/podvisor/credentials/"
#define PATH_BLOCK_DISKS "/dev/disks/"

/* Is there anything that comes out of a container image? */
bool pod_has_images(const struct vmspec *spec);
/* Is there a card that podnet has to connect? */
bool pod_has_network(const struct vmspec *spec);
/* The claim of a volume; NULL when it has none or the claim is unknown. */
const struct pod_claim *pod_claim_of(const struct pod_input *input,
                                     const struct vmspec_volume *volume);

/*
 * The volume that stands for the claim of volume `index` in the pod: the first of that claim, since
 * a kubelet waits for ever for a claim that has two names in one pod.
 */
size_t pod_claim_index(const struct vmspec *spec, size_t index);

/* What an object of either kind specifies of the instance; NULL: it is from flags. */
const cJSON *pod_specification(const struct vmspec *spec);

/* hostDisk: how much of an absolute path is its folder. */
int pod_host_folder_length(const char *path);

/* A container with name, image, pull policy (NULL: default) and the restricted security context. */
cJSON *pod_container(const char *name, const char *image, const char *pull_policy);
/*
 * A text for a container's command or environment as the kubelet is to pass it on, for free():
 * "$(NAME)" stands for a variable there, and "$$" for "$".
 */
char *pod_literal(const char *text);
void pod_mount(cJSON *container, const char *volume, const char *path, bool readonly);
/* resources.requests and limits of a helper that does next to nothing. */
void pod_small_resources(cJSON *container);

/* pod_files.c: the volumes that vmm makes disks of files from, and their places in compute. */
void pod_add_file_volumes(const struct vmspec *spec, cJSON *volumes);
void pod_mount_files(const struct vmspec *spec, cJSON *container);
/* The pod's service account: the machine's own, else the one that a volume names; NULL: none. */
const char *pod_account(const struct vmspec *spec);

/* pod_compute.c, pod_network.c, pod_images.c: the containers. */
cJSON *pod_compute(const struct pod_input *input);
cJSON *pod_podnet(const struct pod_input *input);
cJSON *pod_install_container_disk(const struct pod_input *input);
/* Appends kernel-boot and the containerDisks. */
void pod_add_image_servers(const struct pod_input *input, cJSON *containers);

#endif

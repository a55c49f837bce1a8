// SPDX-License-Identifier: Apache-2.0
/* Containers that hand files of images to vmm: docs/pod.md, "Image files by descriptor". */
#include "pod_internal.h"
#include "tree.h"
#include <podvisor/cleanup.h>
#include <podvisor/str.h>

cJSON *pod_install_container_disk(const struct pod_input *input)
{
    cJSON *container = pod_container("container-disk", input->config->launcher_image,
                                     input->config->launcher_pull_policy);
    cJSON *command = tree_put(container, "command", tree_array());
    tree_push_string(command, "/usr/bin/container-disk");
    tree_push_string(command, "--install");
    tree_push_string(command, PATH_BIN);
    pod_small_resources(container);
    pod_mount(container, "bin", PATH_BIN, false);
    return container;
}

/* KubeVirt's rule is the kubelet's own: Always for ":latest" or no tag. */
static cJSON *image_server(const char *name, const char *image, const char *pull_policy,
                           cJSON **ret_command)
{
    cJSON *container = pod_container(name, image, pull_policy);
    *ret_command = tree_put(container, "command", tree_array());
    tree_push_string(*ret_command, PATH_BIN "/container-disk");
    tree_push_string(*ret_command, "--socket");
    tree_push_string(*ret_command, PATH_IMAGES);
    pod_small_resources(container);
    pod_mount(container, "bin", PATH_BIN, true);
    pod_mount(container, "vmm", PATH_VMM, false);
    return container;
}

static void push_flag(cJSON *command, const char *flag, const char *value)
{
    if (value == NULL)
        return;
    cleanup_free char *literal = pod_literal(value);
    tree_push_string(command, flag);
    tree_push_string(command, literal);
}

void pod_add_image_servers(const struct pod_input *input, cJSON *containers)
{
    const struct vmspec *spec = input->spec;
    cJSON *command;
    if (spec->kernel.given && spec->kernel.image != NULL) {
        tree_push(containers, image_server("kernel-boot", spec->kernel.image,
                                           spec->kernel.pull_policy, &command));
        push_flag(command, "--kernel", spec->kernel.kernel_path);
        push_flag(command, "--initrd", spec->kernel.initrd_path);
    }
    for (size_t i = 0; i < spec->volumes.count; i++) {
        const struct vmspec_volume *volume = &spec->volumes.item[i];
        if (volume->kind != VMSPEC_VOLUME_CONTAINER_DISK)
            continue;
        cleanup_free char *name = pod_volume_container(volume->name);
        tree_push(containers, image_server(name, volume->container_disk.image,
                                           volume->container_disk.pull_policy, &command));
        push_flag(command, "--name", volume->name);
        push_flag(command, "--path", volume->container_disk.path);
    }
}

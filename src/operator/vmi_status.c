// SPDX-License-Identifier: Apache-2.0
/* The parts of status that describe the machine: KubeVirt's
 * VirtualMachineInstanceStatus (api/core/v1/types.go). */
#include "kinds.h"
#include "overhead.h"
#include "pod_internal.h"
#include "pod_state.h"
#include "tree.h"
#include "vmi_plan.h"
#include <inttypes.h>
#include <podvisor/cleanup.h>
#include <podvisor/str.h>
#include <string.h>

static void put_guest(const struct vmspec *spec, const cJSON *vmi, cJSON *status)
{
    cJSON *topology = tree_put(status, "currentCPUTopology", tree_object());
    tree_put_int(topology, "cores", spec->cpu.cores);
    tree_put_int(topology, "sockets", spec->cpu.sockets);
    tree_put_int(topology, "threads", spec->cpu.threads);
    cJSON *memory = tree_put(status, "memory", tree_object());
    static const char *const names[] = {"guestAtBoot", "guestCurrent", "guestRequested"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        tree_put_format(memory, names[i], "%" PRIu64, spec->memory.guest);
    tree_put_format(memory, "memoryOverhead", "%" PRIu64, memory_overhead(spec));
    const char *type = tree_text(kube_path(vmi, "spec.domain.machine.type"), "q35");
    tree_put_string(tree_put(status, "machine", tree_object()), "type", type);
    tree_put_int(status, "runtimeUser", POD_UID);
    tree_put_string(status, "selinuxContext", "none");
}

/* The guest has the pod's addresses, whatever the binding. */
static void put_interface(const struct vmi_view *view, const struct vmspec_interface *nic,
                          cJSON *list)
{
    const cJSON *pod_status = json_get(view->pod, "status");
    const char *address = tree_text(json_get(pod_status, "podIP"), NULL);
    cJSON *item = tree_push(list, tree_object());
    tree_put_string(item, "name", nic->name);
    if (address != NULL && view->spec->networks.item[nic->network].kind == VMSPEC_NETWORK_POD) {
        tree_put_string(item, "ipAddress", address);
        cJSON *all = tree_put(item, "ipAddresses", tree_array());
        json_for_each (ip, json_get(pod_status, "podIPs"))
            tree_push_string(all, tree_text(json_get(ip, "ip"), address));
        tree_put_string(item, "podInterfaceName", "eth0");
    }
    if (nic->has_mac || nic->binding == VMSPEC_BINDING_MASQUERADE) {
        uint8_t mac[6];
        vmspec_interface_mac(view->spec, nic, mac);
        tree_put_format(item, "mac", "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
                        mac[3], mac[4], mac[5]);
    }
    tree_put_string(item, "infoSource", "domain");
    tree_put_int(item, "queueCount", 1);
    tree_put_string(item, "linkState", "up"); /* state: down is a warning, and not acted on */
}

static void put_interfaces(const struct vmi_view *view, cJSON *status)
{
    cJSON *list = tree_put(status, "interfaces", tree_array());
    for (size_t i = 0; i < view->spec->interfaces.count; i++) {
        const struct vmspec_interface *nic = &view->spec->interfaces.item[i];
        if (nic->link != VMSPEC_LINK_ABSENT)
            put_interface(view, nic, list);
    }
}

/* The share of a file system that vmm leaves free when it makes a disk: docs/pod.md. */
#define CLAIM_OVERHEAD "0.06"

static void put_claim(const struct vmi_view *view, const struct vmspec_volume *volume, cJSON *item)
{
    struct pod_input input = {view->config, view->vmi, view->spec, view->claims, view->claim_count};
    const struct pod_claim *claim = pod_claim_of(&input, volume);
    if (claim == NULL)
        return;
    cJSON *info = tree_put(item, "persistentVolumeClaimInfo", tree_object());
    tree_put_string(info, "claimName", claim->name);
    tree_put_string(info, "volumeMode", claim->block ? "Block" : "Filesystem");
    tree_put_copy(info, "accessModes", kube_path(claim->object, "spec.accessModes"));
    tree_put_copy(info, "requests", kube_path(claim->object, "spec.resources.requests"));
    tree_put_copy(info, "capacity", kube_path(claim->object, "status.capacity"));
    if (!claim->block)
        tree_put_string(info, "filesystemOverhead", CLAIM_OVERHEAD);
}

/* Disks are virtio whatever bus was asked for: vda, vdb... in the manifest's order. */
static void put_volumes(const struct vmi_view *view, cJSON *status)
{
    cJSON *list = tree_put(status, "volumeStatus", tree_array());
    for (size_t i = 0; i < view->spec->disks.count && i < 26; i++) {
        const struct vmspec_volume *volume =
            vmspec_disk_volume(view->spec, &view->spec->disks.item[i]);
        cJSON *item = tree_push(list, tree_object());
        tree_put_string(item, "name", volume->name);
        tree_put_format(item, "target", "vd%c", (char)('a' + i));
        if (volume->kind == VMSPEC_VOLUME_CONTAINER_DISK)
            tree_put(item, "containerDiskVolume", tree_object());
        put_claim(view, volume, item);
    }
}

static void put_pod(const struct vmi_view *view, cJSON *status)
{
    const cJSON *pod_status = json_get(view->pod, "status");
    struct pod_state pod;
    pod_state_read(view->pod, &pod);
    /* Not before there is a node: API servers of 1.20 that were built with a newer Go refuse "". */
    if (pod.node != NULL) {
        cJSON *active = tree_put(status, "activePods", tree_object());
        tree_put_string(active, kube_uid(view->pod), pod.node);
        tree_put_string(status, "nodeName", pod.node);
    }
    tree_put_copy(status, "qosClass", json_get(pod_status, "qosClass"));
    tree_put_string(status, "launcherContainerImageVersion", view->config->launcher_image);
}

void vmi_status_fill(const struct vmi_view *view, cJSON *status)
{
    if (view->spec != NULL) {
        put_guest(view->spec, view->vmi, status);
        put_volumes(view, status);
    }
    if (view->pod == NULL)
        return;
    put_pod(view, status);
    if (view->spec != NULL)
        put_interfaces(view, status);
}

// SPDX-License-Identifier: Apache-2.0
/* The container whose first process is the machine. */
#include "kinds.h"
#include "overhead.h"
#include "pod_internal.h"
#include "tree.h"
#include <inttypes.h>
#include <podvisor/cleanup.h>
#include <podvisor/kube.h>
#include <podvisor/quantity.h>
#include <podvisor/str.h>

static void push_env(cJSON *container, const char *name, const char *value)
{
    cleanup_free char *literal = pod_literal(value);
    cJSON *item = tree_push(tree_need_array(container, "env"), tree_object());
    tree_put_string(item, "name", name);
    tree_put_string(item, "value", literal);
}

/* What vmm reads: the instance without status and managed fields. */
static char *manifest_text(const cJSON *vmi)
{
    cleanup_json cJSON *object = tree_object();
    char *text;
    tree_put_string(object, "apiVersion", KUBEVIRT_API_VERSION);
    tree_put_string(object, "kind", "VirtualMachineInstance");
    cJSON *meta = tree_put(object, "metadata", tree_object());
    tree_put_string(meta, "name", kube_name(vmi));
    tree_put_string(meta, "namespace", kube_namespace(vmi));
    tree_put_string(meta, "uid", kube_uid(vmi));
    tree_put_copy(object, "spec", json_get(vmi, "spec"));
    if (json_print(object, &text, NULL, NULL) < 0)
        out_of_memory(); /* the tree was parsed by us: nothing else can be wrong with it */
    return text;
}

/*
 * An empty claim becomes a disk of the claim's size, which only the API knows: volumes of one file
 * system look larger from inside. {"data":"10737418240"}
 */
static void push_claim_sizes(cJSON *container, const struct pod_input *input)
{
    cleanup_json cJSON *sizes = tree_object();
    char *text;
    for (size_t i = 0; i < input->spec->volumes.count; i++) {
        const struct vmspec_volume *volume = &input->spec->volumes.item[i];
        const struct pod_claim *claim = pod_claim_of(input, volume);
        if (claim != NULL && !claim->block && claim->capacity != 0 &&
            volume->kind != VMSPEC_VOLUME_EPHEMERAL)
            tree_put_format(sizes, volume->name, "%" PRIu64, claim->capacity);
    }
    if (sizes->child == NULL)
        return;
    if (json_print(sizes, &text, NULL, NULL) < 0)
        out_of_memory();
    push_env(container, "PODVISOR_CLAIM_SIZES", text);
    free(text);
}

/* The quantity that the manifest has, as text: kept as the user wrote it. */
static const cJSON *asked(const cJSON *vmi, const char *which, const char *what)
{
    return json_get(kube_path(vmi, which), what);
}

static void put_bytes(cJSON *object, const char *key, uint64_t bytes)
{
    tree_put_format(object, key, "%" PRIu64, bytes);
}

static uint64_t quantity_of(const cJSON *item, uint64_t otherwise)
{
    uint64_t value;
    if (cJSON_IsNumber(item))
        return item->valuedouble >= 0 && item->valuedouble < 0x1p63 ? (uint64_t)item->valuedouble
                                                                    : otherwise;
    return cJSON_IsString(item) && quantity_parse(item->valuestring, &value, NULL) == 0 ? value
                                                                                        : otherwise;
}

static void put_cpu(const struct pod_input *input, cJSON *requests, cJSON *limits)
{
    const struct vmspec *spec = input->spec;
    if (spec->cpu.dedicated) {
        uint32_t count = spec->cpu.count + (spec->cpu.isolate_emulator_thread ? 1 : 0);
        tree_put_format(requests, "cpu", "%u", count);
        tree_put_format(limits, "cpu", "%u", count);
        return;
    }
    const cJSON *request = asked(input->vmi, "spec.domain.resources.requests", "cpu");
    if (request != NULL)
        tree_put_copy(requests, "cpu", request);
    else
        tree_put_format(requests, "cpu", "%um",
                        spec->cpu.count * 1000 / input->config->cpu_allocation_ratio);
    tree_put_copy(limits, "cpu", asked(input->vmi, "spec.domain.resources.limits", "cpu"));
}

static void put_memory(const struct pod_input *input, cJSON *requests, cJSON *limits)
{
    const struct vmspec *spec = input->spec;
    const cJSON *resources = kube_path(input->vmi, "spec.domain.resources");
    const cJSON *request = asked(input->vmi, "spec.domain.resources.requests", "memory");
    const cJSON *limit = asked(input->vmi, "spec.domain.resources.limits", "memory");
    uint64_t overhead = memory_overhead(spec), total = memory_request(spec);
    if (spec->memory.huge_page_size != 0) {
        const char *key =
            spec->memory.huge_page_size == UINT64_C(1) << 30 ? "hugepages-1Gi" : "hugepages-2Mi";
        put_bytes(requests, key, spec->memory.guest);
        put_bytes(limits, key, spec->memory.guest);
        put_bytes(limits, "memory", overhead);
    } else {
        total = quantity_of(request, spec->memory.guest);
        if (!cJSON_IsTrue(json_get(resources, "overcommitGuestOverhead")))
            total += overhead;
        if (limit != NULL)
            put_bytes(limits, "memory", quantity_of(limit, spec->memory.guest) + overhead);
        else if (spec->cpu.dedicated)
            put_bytes(limits, "memory", total); /* Guaranteed: requests and limits are the same */
    }
    put_bytes(requests, "memory", total);
}

/* KubeVirt's rule: what was asked for is the disks', and this much is for the pod itself. */
#define EPHEMERAL_STORAGE_OVERHEAD UINT64_C(50000000)

static void put_ephemeral_storage(const struct pod_input *input, cJSON *requests, cJSON *limits)
{
    const cJSON *request = asked(input->vmi, "spec.domain.resources.requests", "ephemeral-storage");
    const cJSON *limit = asked(input->vmi, "spec.domain.resources.limits", "ephemeral-storage");
    put_bytes(requests, "ephemeral-storage", quantity_of(request, 0) + EPHEMERAL_STORAGE_OVERHEAD);
    if (limit != NULL)
        put_bytes(limits, "ephemeral-storage", quantity_of(limit, 0) + EPHEMERAL_STORAGE_OVERHEAD);
}

static cJSON *render_resources(const struct pod_input *input)
{
    cJSON *resources = tree_object();
    cJSON *requests = tree_put(resources, "requests", tree_object());
    cJSON *limits = tree_put(resources, "limits", tree_object());
    put_cpu(input, requests, limits);
    put_memory(input, requests, limits);
    put_ephemeral_storage(input, requests, limits);
    tree_put_int(limits, "devices.kubevirt.io/kvm", 1);
    if (pod_has_network(input->spec))
        tree_put_int(limits, "devices.kubevirt.io/tun", 1);
    return resources;
}

static void put_ports(cJSON *container, const struct vmspec *spec)
{
    for (size_t i = 0; i < spec->interfaces.count; i++) {
        const struct vmspec_interface *nic = &spec->interfaces.item[i];
        for (size_t k = 0; nic->link != VMSPEC_LINK_ABSENT && k < nic->ports.count; k++) {
            const struct vmspec_port *port = &nic->ports.item[k];
            cJSON *item = tree_push(tree_need_array(container, "ports"), tree_object());
            tree_put_int(item, "containerPort", port->port);
            tree_put_string(item, "protocol", port->udp ? "UDP" : "TCP");
            if (port->name != NULL)
                tree_put_string(item, "name", port->name);
        }
    }
}

/*
 * The kubelet asks the pod's address, where the guest answers, and no other host: it stands in the
 * node's network, where users have no business. Other kinds of probes need a guest agent.
 */
static void put_probe(cJSON *container, const cJSON *vmi, const char *name)
{
    static const char *const kinds[] = {"httpGet", "tcpSocket"};
    const cJSON *asked_for = json_get(json_get(vmi, "spec"), name);
    if (json_get(asked_for, "httpGet") == NULL && json_get(asked_for, "tcpSocket") == NULL)
        return;
    cJSON *probe = tree_put(container, name, tree_copy(asked_for));
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        cJSON_DeleteItemFromObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(probe, kinds[i]),
                                                "host");
}

static void put_volume(cJSON *container, size_t index, const struct vmspec_volume *volume,
                       const struct pod_claim *claim)
{
    bool block = claim != NULL && claim->block;
    cleanup_free char *name = xasprintf("volume%zu", index);
    cleanup_free char *path =
        xasprintf("%s%s", block ? PATH_BLOCK_DISKS : PATH_VOLUMES, volume->name);
    if (!block) {
        pod_mount(container, name, path, claim != NULL && volume->claim.readonly);
        return;
    }
    cJSON *device = tree_push(tree_need_array(container, "volumeDevices"), tree_object());
    tree_put_string(device, "name", name);
    tree_put_string(device, "devicePath", path);
}

static void put_volumes(cJSON *container, const struct pod_input *input)
{
    for (size_t i = 0; i < input->spec->volumes.count; i++) {
        const struct vmspec_volume *volume = &input->spec->volumes.item[i];
        const struct pod_claim *claim = pod_claim_of(input, volume);
        if (claim != NULL)
            put_volume(container, pod_claim_index(input->spec, i), volume, claim);
        else if (volume->kind == VMSPEC_VOLUME_HOST_DISK)
            put_volume(container, i, volume, NULL);
    }
}

cJSON *pod_compute(const struct pod_input *input)
{
    cJSON *container = pod_container(COMPUTE_CONTAINER, input->config->launcher_image,
                                     input->config->launcher_pull_policy);
    cJSON *command = tree_put(container, "command", tree_array());
    tree_push_string(command, "/usr/bin/vmm");
    tree_push_string(command, "run");
    tree_push_string(command, "--pod");
    cleanup_free char *manifest = manifest_text(input->vmi);
    push_env(container, "PODVISOR_VMI", manifest);
    push_env(container, "TMPDIR", PATH_EPHEMERAL);
    push_claim_sizes(container, input);
    if (input->config->log_level != NULL)
        push_env(container, "PODVISOR_LOG", input->config->log_level);
    tree_put(container, "resources", render_resources(input));
    put_ports(container, input->spec);
    put_probe(container, input->vmi, "livenessProbe");
    put_probe(container, input->vmi, "readinessProbe");
    tree_put_string(container, "terminationMessagePolicy", "FallbackToLogsOnError");
    pod_mount(container, "vmm", PATH_VMM, false);
    pod_mount(container, "ephemeral", PATH_EPHEMERAL, false);
    if (pod_has_network(input->spec))
        pod_mount(container, "net", PATH_NET, true);
    put_volumes(container, input);
    pod_mount_files(input->spec, container);
    return container;
}

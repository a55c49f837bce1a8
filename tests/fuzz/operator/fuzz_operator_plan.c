// SPDX-License-Identifier: Apache-2.0
/*
 * Plans about objects that users with edit rights have written anything into. The input's first
 * bytes choose objects at some point of a machine's life; each four that follow change one value
 * somewhere in a spec or status. Whatever is in them, a plan
 *
 *   - creates or deletes, never both, and touches nothing of the spec but the run strategy;
 *   - can be written as JSON;
 *   - settles: made again and again from its own outcome, a second later each time, it changes
 *     nothing any more; neither do creations that fail again and again. Else the operator would
 *     be woken by its own writes for ever.
 */
#include "pod.h"
#include "tree.h"
#include "vm_plan.h"
#include "vmi_plan.h"
#include <podvisor/cleanup.h>
#include <podvisor/kube.h>
#include <podvisor/str.h>
#include <podvisor/yaml.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW     INT64_C(1767323045000000000) /* 2026-01-02T03:04:05Z */
#define SECOND  INT64_C(1000000000)
#define SETTLED 8 /* steps of the longest way to an end */
#define OPS_MAX 24

static const struct pod_config config = {
    .launcher_image = "launcher:1", .launcher_pull_policy = "Never", .cpu_allocation_ratio = 10};

#define SPEC                                                                                   \
    "{domain: {cpu: {cores: 2}, memory: {guest: 128Mi}, machine: {type: q35},"                 \
    " resources: {requests: {memory: 128Mi, cpu: 100m}, limits: {cpu: 2}},"                    \
    " devices: {interfaces: [{name: default, masquerade: {}, ports: [{port: 80}]}],"           \
    " disks: [{name: root, disk: {bus: virtio}}, {name: data, disk: {}}]},"                    \
    " firmware: {kernelBoot: {kernelArgs: a, container: {image: g, kernelPath: /k}}}},"        \
    " networks: [{name: default, pod: {}}], nodeSelector: {a: b}, tolerations: [{key: a}],"    \
    " terminationGracePeriodSeconds: 30, startStrategy: null, readinessProbe: {httpGet: {}},"  \
    " volumes: [{name: root, containerDisk: {image: d}}, {name: data, persistentVolumeClaim: " \
    "{claimName: data}}]}"

#define CONDITIONS                                                                                \
    "conditions: [{type: Ready, status: \"True\", lastTransitionTime: \"2026-01-02T03:00:00Z\"}," \
    " {type: Synchronized, status: \"False\", reason: FailedCreate, message: m},"                 \
    " {type: Failure, status: \"True\", reason: FailedCreate, message: m},"                       \
    " {type: Completed, status: \"False\"}, {type: FieldsSupported, status: \"False\"},"          \
    " {type: RestartRequired, status: \"True\"}, {type: Other, status: \"True\", reason: r}]"

static const char vm_yaml[] =
    "---\n{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: box, namespace: lab,"
    " uid: vm-1, generation: 3, resourceVersion: \"5\", finalizers: "
    "[kubevirt.io/virtualMachineControllerFinalize]},"
    " spec: {runStrategy: Always, template: {metadata: {creationTimestamp: null, labels: {a: b},"
    " annotations: {c: d}}, spec: " SPEC "}},"
    " status: {created: true, ready: true, printableStatus: Running, runStrategy: RerunOnFailure,"
    " startFailure: {consecutiveFailCount: 2, lastFailedVMIUID: uid-0, retryAfterTimestamp: "
    "\"2026-01-02T03:05:00Z\"}, stateChangeRequests: [{action: Stop, uid: uid-1}, {action: Start,"
    " data: {paused: \"true\"}}], " CONDITIONS "}}";

static const char vmi_yaml[] =
    "---\n{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: box,"
    " namespace: lab, uid: uid-1, resourceVersion: \"7\", labels: {a: b}, annotations: {c: d},"
    " finalizers: [kubevirt.io/foregroundDeleteVirtualMachine], ownerReferences: [{kind: "
    "VirtualMachine, name: box, uid: vm-1, controller: true}]}, spec: " SPEC ","
    " status: {phase: Running, nodeName: node1, reason: NodeUnresponsive, activePods: {pod-1: "
    "node1}, phaseTransitionTimestamps: [{phase: Pending, phaseTransitionTimestamp: "
    "\"2026-01-02T03:00:00Z\"}, {phase: Running, phaseTransitionTimestamp: "
    "\"2026-01-02T03:00:01Z\"}], " CONDITIONS "}}";

static const char pod_yaml[] =
    "---\n{apiVersion: v1, kind: Pod, metadata: {name: virt-launcher-box-x, namespace: lab, uid: "
    "pod-1, labels: {kubevirt.io/created-by: uid-1}}, spec: {nodeName: node1}, status: {phase: "
    "Running, podIP: 10.1.2.3, podIPs: [{ip: 10.1.2.3}], qosClass: Burstable, conditions: [{type: "
    "Ready, status: \"True\"}, {type: PodScheduled, status: \"False\", reason: Unschedulable}],"
    " initContainerStatuses: [{name: podnet, state: {terminated: {exitCode: 0}}}],"
    " containerStatuses: [{name: compute, state: {running: {}}}, {name: volumeroot, state: "
    "{waiting: {reason: ErrImagePull, message: m}}}]}}";

static const char node_yaml[] =
    "---\n{apiVersion: v1, kind: Node, metadata: {name: node1, uid: node-1}, spec: {}, status: "
    "{conditions: [{type: Ready, status: \"True\"}]}}";

/* What can be where something else belongs. */
static const char *const values[] = {
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1e300",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "[]",
    "{}",
    "[null]",
    "[[]]",
    "[{}]",
    "[1, {\"type\": 2}]",
    "{\"a\": null}",
    "{\"a\": {\"type\": \"Ready\", \"status\": \"Unknown\"}}",
    "\"\"",
    "\"x\"",
    "\"True\"",
    "\"False\"",
    "\"Pending\"",
    "\"Scheduling\"",
    "\"Running\"",
    "\"Succeeded\"",
    "\"Failed\"",
    "\"Unknown\"",
    "\"Always\"",
    "\"Halted\"",
    "\"Manual\"",
    "\"RerunOnFailure\"",
    "\"Once\"",
    "\"Start\"",
    "\"Stop\"",
    "\"Ready\"",
    "\"Paused\"",
    "\"ImagePullBackOff\"",
    "\"2026-01-02T03:04:45Z\"",
    "\"2200-01-01T00:00:00Z\"",
    "\"9999-12-31T23:59:59Z\"",
    "\"1677-01-01T00:00:00Z\"",
    "\"18446744073709551615\"",
    "\"16Ei\"",
    "{\"terminated\": {\"exitCode\": 0}}",
    "{\"terminated\": {\"exitCode\": 3, \"message\": \"m\"}}",
    "{\"terminated\": {\"exitCode\": \"x\"}}",
    "{\"waiting\": {\"reason\": \"CreateContainerError\"}}",
};

enum { VM, VMI, POD, NODE, OBJECTS };

struct world {
    cJSON *object[OBJECTS];
    bool missing_claim;
    struct vmspec *spec;
    struct vmspec_diagnostics diagnostics;
};

static void require(bool what)
{
    if (!what)
        abort();
}

static cJSON *parse(const char *yaml)
{
    cJSON *ret = NULL;
    require(yaml_parse(yaml, strlen(yaml), NULL, &ret, NULL) == 0);
    return ret;
}

/* --- the world --- */

static cJSON *descend(cJSON *item, unsigned *steps)
{
    for (cJSON *child = item->child; child != NULL; child = child->next) {
        if ((*steps)-- == 0)
            return child;
        cJSON *found = descend(child, steps);
        if (found != NULL)
            return found;
    }
    return NULL;
}

static void take_out(cJSON *root, cJSON *item)
{
    for (cJSON *child = root->child; child != NULL; child = child->next) {
        if (child == item) {
            cJSON_Delete(cJSON_DetachItemViaPointer(root, item));
            return;
        }
        take_out(child, item);
    }
}

static void replace(cJSON *item, const char *text)
{
    cJSON *now = NULL;
    require(json_parse(text, strlen(text), NULL, &now, NULL) == 0);
    cJSON_Delete(item->child);
    free(item->valuestring);
    item->type = now->type;
    item->child = steal_ptr(now->child);
    item->valuestring = steal_ptr(now->valuestring);
    item->valuedouble = now->valuedouble;
    cJSON_Delete(now);
}

/* One change: which object, which value of its spec or status, what is done to it. */
static void change(struct world *world, const uint8_t op[4])
{
    cJSON *object = world->object[op[0] % OBJECTS];
    if (object == NULL)
        return;
    cJSON *part = cJSON_GetObjectItemCaseSensitive(object, op[0] & 0x80 ? "spec" : "status");
    unsigned steps = op[1] | (op[0] & 0x70u) << 4;
    cJSON *item = part != NULL ? descend(part, &steps) : NULL;
    if (item == NULL)
        return;
    if (op[3] % 8 == 7)
        take_out(object, item);
    else if (op[3] % 8 == 6 && cJSON_IsArray(item) && item->child != NULL)
        tree_push(item, tree_copy(item->child)); /* there twice */
    else
        replace(item, values[op[2] % ARRAY_SIZE(values)]);
}

static void set_meta(cJSON *object, bool deleting, bool no_finalizer)
{
    cJSON *meta = tree_need_object(object, "metadata");
    if (deleting)
        tree_put_string(meta, "deletionTimestamp", "2026-01-02T03:00:00Z");
    if (no_finalizer)
        cJSON_DeleteItemFromObjectCaseSensitive(meta, "finalizers");
}

static void world_make(struct world *world, const uint8_t *data, size_t size)
{
    static const char *const yaml[OBJECTS] = {vm_yaml, vmi_yaml, pod_yaml, node_yaml};
    static cJSON *parsed[OBJECTS]; /* once: it takes longer than all the rest */
    for (unsigned i = 0; i < OBJECTS; i++) {
        bool there = i == VM || (data[0] >> i & 1) == 0;
        if (parsed[i] == NULL)
            parsed[i] = parse(yaml[i]);
        world->object[i] = there ? tree_copy(parsed[i]) : NULL;
        if (there)
            set_meta(world->object[i], (data[1] >> i & 1) != 0, (data[1] >> (i + 4) & 1) != 0);
    }
    static const char *const phases[] = {"Running", "Pending", "Scheduling", "Failed"};
    if (world->object[VMI] != NULL)
        tree_put_string(tree_need_object(world->object[VMI], "status"), "phase",
                        phases[data[0] >> 6]);
    world->missing_claim = (data[0] & 0x10) != 0;
    for (size_t at = 2; at + 4 <= size && at < 2 + 4 * OPS_MAX; at += 4)
        change(world, data + at);
}

static void read_spec(struct world *world, const cJSON *object)
{
    struct error err = ERROR_INIT;
    vmspec_free(world->spec);
    vmspec_diagnostics_done(&world->diagnostics);
    world->spec = NULL;
    world->diagnostics = (struct vmspec_diagnostics){0};
    if (vmspec_from_object(object, &world->spec, &world->diagnostics, &err) == 0 &&
        !pod_check(&config, world->spec, &world->diagnostics)) {
        vmspec_free(world->spec);
        world->spec = NULL;
    }
}

/* --- what a plan promises --- */

/* A Start request makes Halted Always. */
static cJSON *spec_without_strategy(const cJSON *object)
{
    const cJSON *spec = json_get(object, "spec");
    cJSON *copy = spec != NULL ? tree_copy(spec) : tree_object();
    cJSON_DeleteItemFromObjectCaseSensitive(copy, "runStrategy");
    cJSON_DeleteItemFromObjectCaseSensitive(copy, "running");
    return copy;
}

/* Users' fields are theirs. */
static void check_update(const cJSON *from, const cJSON *to)
{
    cleanup_free char *text = NULL;
    cleanup_json cJSON *old = spec_without_strategy(from), *now = spec_without_strategy(to);
    require(kube_equal(old, now));
    require(kube_equal(json_get(from, "kind"), json_get(to, "kind")));
    require(json_print(to, &text, NULL, NULL) == 0);
}

static void check_created(const cJSON *object)
{
    cleanup_free char *text = NULL;
    if (object == NULL)
        return;
    require(json_print(object, &text, NULL, NULL) == 0);
    require(*kube_name(object) != '\0' && kube_controller_ref(object) != NULL);
}

/* --- steps: what the API server has after a plan was carried out --- */

static cJSON *vm_step(struct world *world, const cJSON *vm, unsigned step, bool create_fails)
{
    struct vm_plan plan;
    read_spec(world, vm);
    struct vm_view view = {.vm = vm,
                           .vmi = world->object[VMI],
                           .spec = world->spec,
                           .diagnostics = &world->diagnostics,
                           .now = NOW + step * SECOND,
                           .random = 7};
    vm_plan_make(&view, &plan);
    require(plan.create_vmi == NULL || !plan.delete_vmi);
    require(plan.create_vmi == NULL || view.vmi == NULL);
    check_created(plan.create_vmi);
    if (create_fails && plan.create_vmi != NULL)
        vm_plan_failed_create(&view, &plan, "exceeded quota");
    check_update(vm, plan.vm);
    cJSON *next = steal_ptr(plan.vm);
    vm_plan_done(&plan);
    return next;
}

static cJSON *vmi_step(struct world *world, const cJSON *vmi, unsigned step, bool create_fails)
{
    static const struct pod_claim claims[] = {{.name = "data", .capacity = 1 << 20}};
    struct vmi_plan plan;
    read_spec(world, vmi);
    struct vmi_view view = {.config = &config,
                            .vmi = vmi,
                            .pod = world->object[POD],
                            .node = world->object[NODE],
                            .spec = world->spec,
                            .diagnostics = &world->diagnostics,
                            .claims = claims,
                            .claim_count = world->missing_claim ? 0 : 1,
                            .missing_claim = world->missing_claim ? "data" : NULL,
                            .now = NOW + step * SECOND};
    vmi_plan_make(&view, &plan);
    require(plan.create_pod == NULL || (!plan.delete_pod && view.pod == NULL));
    require(!plan.delete_pod || (view.pod != NULL && plan.delete_grace >= 0));
    check_created(plan.create_pod);
    if (create_fails && plan.create_pod != NULL)
        vmi_plan_failed_create(&view, &plan, "exceeded quota");
    check_update(vmi, plan.vmi);
    cJSON *next = steal_ptr(plan.vmi);
    vmi_plan_done(&plan);
    return next;
}

typedef cJSON *step_function(struct world *world, const cJSON *object, unsigned step,
                             bool create_fails);

static void settle(struct world *world, const cJSON *object, step_function *step, bool create_fails)
{
    cJSON *now = tree_copy(object);
    for (unsigned i = 0;; i++) {
        cJSON *next = step(world, now, i, create_fails);
        bool same = kube_equal(now, next);
        cJSON_Delete(now);
        now = next;
        if (same)
            break;
        require(i < SETTLED);
    }
    cJSON_Delete(now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world world = {.spec = NULL};
    if (size < 2)
        return 0;
    world_make(&world, data, size);
    bool create_fails = (data[0] & 0x20) != 0;
    settle(&world, world.object[VM], vm_step, create_fails);
    if (world.object[VMI] != NULL)
        settle(&world, world.object[VMI], vmi_step, create_fails);
    vmspec_free(world.spec);
    vmspec_diagnostics_done(&world.diagnostics);
    for (unsigned i = 0; i < OBJECTS; i++)
        cJSON_Delete(world.object[i]);
    return 0;
}

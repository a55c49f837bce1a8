// SPDX-License-Identifier: Apache-2.0
#include "kinds.h"

const struct kube_resource kind_vm = {
    .group = "kubevirt.io", .version = "v1", .plural = "virtualmachines", .kind = "VirtualMachine"};
const struct kube_resource kind_vmi = {.group = "kubevirt.io",
                                       .version = "v1",
                                       .plural = "virtualmachineinstances",
                                       .kind = "VirtualMachineInstance"};
const struct kube_resource kind_pod = {
    .group = "", .version = "v1", .plural = "pods", .kind = "Pod"};
const struct kube_resource kind_node = {
    .group = "", .version = "v1", .plural = "nodes", .kind = "Node", .cluster_scoped = true};
const struct kube_resource kind_pvc = {.group = "",
                                       .version = "v1",
                                       .plural = "persistentvolumeclaims",
                                       .kind = "PersistentVolumeClaim"};

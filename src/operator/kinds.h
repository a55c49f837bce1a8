// SPDX-License-Identifier: Apache-2.0
/* The kinds of objects the operator reads and writes, and the names KubeVirt gives things on them.
 */
#ifndef PODVISOR_OPERATOR_KINDS_H
#define PODVISOR_OPERATOR_KINDS_H

#include <podvisor/kube.h>

extern const struct kube_resource kind_vm, kind_vmi, kind_pod, kind_node, kind_pvc;

#define LABEL_APP          "kubevirt.io" /* "virt-launcher" on pods */
#define LABEL_APP_LAUNCHER "virt-launcher"
#define LABEL_CREATED_BY   "kubevirt.io/created-by" /* the VMI's uid, on pods */
#define LABEL_VM_NAME      "vm.kubevirt.io/name"
#define LABEL_VMI_ID       "vmi.kubevirt.io/id"
#define LABEL_NODE_NAME    "kubevirt.io/nodeName"
#define LABEL_SCHEDULABLE  "kubevirt.io/schedulable" /* on nodes, by the device plugin */

#define ANNOTATION_DOMAIN            "kubevirt.io/domain"
#define ANNOTATION_DEFAULT_CONTAINER "kubectl.kubernetes.io/default-container"
#define ANNOTATION_DEFAULT_LOGS      "kubectl.kubernetes.io/default-logs-container" /* before 1.21 */
#define ANNOTATION_OVERHEAD          "kubevirt.io/memory-overhead-bytes"
#define ANNOTATION_VM_GENERATION     "kubevirt.io/vm-generation"

#define FINALIZER_VMI "kubevirt.io/foregroundDeleteVirtualMachine"
#define FINALIZER_VM  "kubevirt.io/virtualMachineControllerFinalize"

/* Puts it on the object, unless it is there; takes it off, if it is. */
void finalizer_add(cJSON *object, const char *finalizer);
void finalizer_remove(cJSON *object, const char *finalizer);

#define READINESS_GATE "kubevirt.io/virtual-machine-unpaused"

#define COMPUTE_CONTAINER "compute"

#define KUBEVIRT_API_VERSION "kubevirt.io/v1"

#endif

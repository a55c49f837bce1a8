// SPDX-License-Identifier: Apache-2.0
/*
 * KubeVirt itself in the same cluster: its controllers would write the same objects and start each
 * machine a second time. Two marks, neither of which needs a permission of its own: the kind that
 * only KubeVirt's installation brings, and a launcher pod that is not of our making.
 */
#ifndef PODVISOR_OPERATOR_KUBEVIRT_H
#define PODVISOR_OPERATOR_KUBEVIRT_H

#include "operator.h"

#define KUBEVIRT_KIND "kubevirts" /* of kubevirt.io: what virt-operator is configured with */

/*
 * Asks the API server whether KubeVirt is installed. When it does not say (discovery may be closed
 * to us), the answer is no, and the log has the reason.
 */
bool kubevirt_is_installed(struct operator* op);

/*
 * The name of a pod that another controller made for the instance and that may still run, for
 * free(); NULL: none. Reads the cache alone.
 */
char *kubevirt_pod_of(struct operator* op, const cJSON *vmi);

#endif

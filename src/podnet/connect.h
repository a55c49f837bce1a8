// SPDX-License-Identifier: Apache-2.0
/* Connects the pod's card to the machine's tap: all of podnet that needs NET_ADMIN. */
#ifndef PODVISOR_PODNET_CONNECT_H
#define PODVISOR_PODNET_CONNECT_H

#include "lease_file.h"
#include "options.h"
#include "pod.h"

/*
 * Makes the tap and the binding, and fills *ret but for the hostname and what is in resolv.conf.
 * Both may be there already, of a run before. When something fails, what was done is undone.
 * *ret_pod must outlive *ret. Returns 0 or a negative errno.
 */
int connect_card(const struct card *card, uid_t uid, struct pod_network *ret_pod,
                 struct lease_values *ret, struct error *err);

#endif

// SPDX-License-Identifier: Apache-2.0
/* tc: everything that comes in at one interface goes out at the other, before the pod's own stack
 * sees it. */
#ifndef PODVISOR_PODNET_REDIRECT_H
#define PODVISOR_PODNET_REDIRECT_H

#include "netlink.h"

/* Redirects what arrives at `from` (interface indices) to `to`; what stood there before goes.
 * Returns 0 or a negative errno. */
int redirect_add(struct nl_sock *sk, int from, int to, struct error *err);

/* Best effort: removes a redirection if there is one. */
void redirect_delete(struct nl_sock *sk, int from);

#endif

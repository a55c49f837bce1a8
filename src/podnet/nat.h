// SPDX-License-Identifier: Apache-2.0
/*
 * masquerade: the guest has an address of its own behind the pod's. nftables, table "podvisor":
 * what comes to the pod goes to the guest, what the guest sends leaves as the pod's. The rules are
 * KubeVirt's (its pkg/network/setup/netpod/masquerade), as one table.
 */
#ifndef PODVISOR_PODNET_NAT_H
#define PODVISOR_PODNET_NAT_H

#include "netlink.h"
#include "options.h"
#include <stddef.h>

struct nat {
    const char *card, *tap; /* names of interfaces */
    uint32_t pod, gateway, guest;
    const struct port *port; /* none: everything goes to the guest */
    unsigned port_count;
};

/* Replaces the table in one transaction. Returns 0 or a negative errno. */
int nat_set(const struct nat *nat, struct error *err);

/* Best effort: removes the table if it is there. */
void nat_delete(void);

/* The commands that nat_set() gives to nftables, for free(). */
char *nat_script(const struct nat *nat);

/*
 * Lets packets pass between `name` and others: the interface's own switch, through rtnetlink,
 * because /proc/sys is read-only in a pod; through that where rtnetlink refuses. `loopback` also
 * takes 127.0.0.0/8 there, for what this pod itself sends to the guest as "localhost". Returns 0 or
 * a negative errno.
 */
int forwarding_enable(struct nl_sock *sk, const char *name, bool loopback, struct error *err);

#endif

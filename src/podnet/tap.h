// SPDX-License-Identifier: Apache-2.0
/* The tap that vmm will open: tun(4), made to last and given to vmm's user. */
#ifndef PODVISOR_PODNET_TAP_H
#define PODVISOR_PODNET_TAP_H

#include "netlink.h"
#include <stdbool.h>
#include <sys/types.h>

struct tap_address {
    uint32_t address; /* of the host's end; 0: none */
    unsigned prefix;
};

/*
 * Makes the tap `name`, which is down and has no address, and gives it to `uid`. One of that name
 * that is there already is replaced; another interface is left alone: -EEXIST. Returns 0 or a
 * negative errno.
 */
int tap_create(struct nl_sock *sk, const char *name, uid_t uid, struct error *err);

/*
 * Sets the MTU, the address of the host's end and its MAC (NULL: as the kernel chose), and puts it
 * up. The kernel does no IPv6 of its own on it. Returns 0 or a negative errno.
 */
int tap_set_up(struct nl_sock *sk, const char *name, unsigned mtu, const uint8_t *mac,
               struct tap_address address, int *ret_ifindex, struct error *err);

/* Best effort: for undoing. */
void tap_delete(struct nl_sock *sk, const char *name);

#endif

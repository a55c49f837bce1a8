// SPDX-License-Identifier: Apache-2.0
/* The lease file, docs/pod.md: what vmm is told of a card. vmm's reader is
 * src/vmm/front/open_lease.c.
 */
#ifndef PODVISOR_PODNET_LEASE_FILE_H
#define PODVISOR_PODNET_LEASE_FILE_H

#include "options.h"
#include "pod.h"
#include "resolv.h"

struct lease_values {
    const char *name, *tap, *hostname;
    uint8_t mac[6];
    unsigned mtu;
    uint32_t address, router, server; /* router 0: none */
    unsigned prefix;
    unsigned route_count;
    const struct pod_route *route;
    const struct resolv *resolv;
};

/*
 * How many of the routes, from the first, fit into the option that the guest gets with the default
 * route and one to its router.
 */
unsigned lease_routes_that_fit(const struct pod_route *route, unsigned count);

/* The file's text into `buf` of LEASE_FILE_MAX bytes. Returns its length, or -E2BIG. */
int lease_format(const struct lease_values *values, char *buf);

/* Writes FOLDER/NAME.json, whole or not at all, readable by everybody. Returns 0 or a negative
 * errno. */
int lease_write(const char *folder, const struct lease_values *values, struct error *err);

#endif

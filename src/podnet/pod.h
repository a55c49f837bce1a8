// SPDX-License-Identifier: Apache-2.0
/* The network that the pod got from its CNI plugin: what is on eth0. IPv4. */
#ifndef PODVISOR_PODNET_POD_H
#define PODVISOR_PODNET_POD_H

#include "netlink.h"
#include <stdbool.h>

#define POD_CARD      "eth0"
#define POD_ROUTE_MAX 51 /* that fit into a DHCP option of 255 bytes: 5 each at least */

struct pod_route {
    uint32_t to;
    unsigned prefix;
    uint32_t via; /* 0: on the link */
};

struct pod_network {
    int ifindex;
    uint8_t mac[6];
    unsigned mtu;
    uint32_t address;
    unsigned prefix;
    uint32_t router; /* of the default route; 0: it has none */
    unsigned route_count;
    struct pod_route route[POD_ROUTE_MAX]; /* all others but that of the own network */
    bool routes_left_out;
};

/* Returns 0 or a negative errno. */
int pod_read(struct nl_sock *sk, struct pod_network *ret, struct error *err);

#endif

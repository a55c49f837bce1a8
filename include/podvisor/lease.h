// SPDX-License-Identifier: Apache-2.0
/*
 * The lease of a card on the pod's network: what `podnet` found out and wrote, and what the guest
 * is told by DHCP. Between the two it is a file, /run/podvisor/net/<interface>.json, in the form
 * that docs/pod.md shows; src/podnet writes it, src/vmm/front reads it into the flat structure
 * here, and src/virtio/dhcp.c answers from that.
 *
 * Addresses are four bytes in the order of the wire; 0.0.0.0 means absent.
 */
#ifndef PODVISOR_LEASE_H
#define PODVISOR_LEASE_H

#include <stdint.h>

#define LEASE_FOLDER  "/run/podvisor/net"
#define LEASE_VERSION 1 /* of the file */

#define LEASE_FILE_MAX     16384 /* bytes; the longest that podnet writes has less than half */
#define LEASE_DNS_MAX      3     /* resolv.conf(5): MAXNS */
#define LEASE_OPTION_MAX   255   /* bytes of one DHCP option, RFC 2132 §2 */
#define LEASE_HOSTNAME_MAX 64    /* with NUL; RFC 1123 label */
#define LEASE_DOMAIN_MAX   254   /* with NUL */
#define LEASE_MTU_MIN      576   /* RFC 791: what every host takes */
#define LEASE_MTU_MAX      65521 /* tap: 65535 - an Ethernet header */

/* The host's end of a guest's link, as in KubeVirt: no guest may have it. */
#define LEASE_HOST_MAC      \
    {                       \
        0x02, 0, 0, 0, 0, 0 \
    }

struct lease {
    uint8_t enabled; /* else all is zero, and the device leaves DHCP alone */
    uint8_t prefix;  /* bits of the address that are the network's: 1 to 32 */
    uint8_t address[4];
    uint8_t router[4];
    uint8_t server[4]; /* the server identifier, which the guest sends its renewals to */
    uint16_t mtu;      /* 0: not told */
    uint8_t dns_count;
    uint8_t dns[LEASE_DNS_MAX][4];
    uint8_t search_len, search[LEASE_OPTION_MAX]; /* contents of option 119, RFC 3397 */
    uint8_t routes_len, routes[LEASE_OPTION_MAX]; /* contents of option 121, RFC 3442 */
    char hostname[LEASE_HOSTNAME_MAX];            /* "": not told */
    char domain[LEASE_DOMAIN_MAX];                /* "": not told */
};

#endif

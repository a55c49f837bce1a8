// SPDX-License-Identifier: Apache-2.0
/* resolv.conf(5), as the kubelet writes it: which of it can be told to a guest by DHCPv4. */
#ifndef PODVISOR_PODNET_RESOLV_H
#define PODVISOR_PODNET_RESOLV_H

#include <podvisor/error.h>
#include <podvisor/lease.h>
#include <stdbool.h>
#include <stddef.h>

#define RESOLV_PATH       "/etc/resolv.conf"
#define RESOLV_TEXT_MAX   65536
#define RESOLV_SEARCH_MAX 32

struct resolv {
    unsigned dns_count;
    uint32_t dns[LEASE_DNS_MAX];
    unsigned search_count;
    char search[RESOLV_SEARCH_MAX][LEASE_DOMAIN_MAX]; /* without a dot at the end */
    unsigned left_out; /* servers and domains that a guest cannot be told, or not reach */
};

/* Never fails: what is not understood is not there. */
void resolv_parse(const char *text, size_t len, struct resolv *ret);

/* Reads RESOLV_PATH. Returns 0 (also when there is none) or a negative errno. */
int resolv_read(struct resolv *ret, struct error *err);

#endif

// SPDX-License-Identifier: Apache-2.0
/* IPv4 addresses as numbers in host order. */
#ifndef PODVISOR_PODNET_ADDRESS_H
#define PODVISOR_PODNET_ADDRESS_H

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>

#define ADDRESS_TEXT_MAX INET_ADDRSTRLEN

struct address_text {
    char text[ADDRESS_TEXT_MAX];
};

/* Dotted, four parts. */
static inline bool address_parse(const char *text, uint32_t *ret)
{
    struct in_addr in;
    if (inet_pton(AF_INET, text, &in) != 1)
        return false;
    *ret = ntohl(in.s_addr);
    return true;
}

static inline struct address_text address_format(uint32_t address)
{
    struct address_text out;
    const struct in_addr in = {.s_addr = htonl(address)};
    inet_ntop(AF_INET, &in, out.text, sizeof(out.text));
    return out;
}

/* The bits of a network of 0 to 32 bits. */
static inline uint32_t address_mask(unsigned prefix)
{
    return (uint32_t)(UINT64_C(0xffffffff) << (32 - prefix));
}

static inline bool address_in(uint32_t address, uint32_t network, unsigned prefix)
{
    return ((address ^ network) & address_mask(prefix)) == 0;
}

/* No "this network", loopback, multicast or broadcast: what vmm takes from a lease. */
static inline bool address_is_host(uint32_t address)
{
    uint32_t first = address >> 24;
    return first != 0 && first != 127 && first < 224;
}

#endif

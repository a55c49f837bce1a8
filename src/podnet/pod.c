// SPDX-License-Identifier: Apache-2.0
/* Reads the pod's card through rtnetlink(7); see pod.h. One thread. */
#include "pod.h"
#include "address.h"
#include <linux/rtnetlink.h>
#include <net/if_arp.h>
#include <netlink/addr.h>
#include <netlink/cache.h>
#include <netlink/route/addr.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <podvisor/cleanup.h>
#include <podvisor/lease.h>
#include <string.h>

static void cleanup_cache_fn(struct nl_cache **cache)
{
    nl_cache_free(*cache);
}

#define cleanup_cache __attribute__((cleanup(cleanup_cache_fn)))

/* 0 for none, or for one that is not of IPv4. */
static uint32_t to_number(const struct nl_addr *addr)
{
    uint32_t number;
    if (addr == NULL || nl_addr_get_family(addr) != AF_INET ||
        nl_addr_get_len(addr) != sizeof(number))
        return 0;
    memcpy(&number, nl_addr_get_binary_addr(addr), sizeof(number));
    return ntohl(number);
}

static int read_card(struct nl_sock *sk, struct pod_network *pod, struct error *err)
{
    cleanup_link struct rtnl_link *link = NULL;
    int r = netlink_find_link(sk, POD_CARD, &link, err);
    if (r < 0)
        return error_hint(err, "a pod on the host's network, or without one, cannot share it");
    const struct nl_addr *mac = rtnl_link_get_addr(link);
    if (mac == NULL || nl_addr_get_len(mac) != 6 || rtnl_link_get_arptype(link) != ARPHRD_ETHER)
        return error_set(err, ENOTSUP, POD_CARD " is not an Ethernet interface");
    memcpy(pod->mac, nl_addr_get_binary_addr(mac), 6);
    pod->ifindex = rtnl_link_get_ifindex(link);
    pod->mtu = rtnl_link_get_mtu(link);
    if (pod->mtu < LEASE_MTU_MIN)
        return error_set(err, ENOTSUP, POD_CARD " has an MTU of %u; at least %d is needed",
                         pod->mtu, LEASE_MTU_MIN);
    if (pod->mtu > LEASE_MTU_MAX)
        pod->mtu = LEASE_MTU_MAX;
    return 0;
}

/* The first one is that of the pod; others are secondary to it. */
static int read_address(struct nl_sock *sk, struct pod_network *pod, struct error *err)
{
    cleanup_cache struct nl_cache *cache = NULL;
    int r = rtnl_addr_alloc_cache(sk, &cache);
    if (r < 0)
        return netlink_error(err, r, "cannot list addresses");
    for (struct nl_object *o = nl_cache_get_first(cache); o != NULL; o = nl_cache_get_next(o)) {
        struct rtnl_addr *addr = (struct rtnl_addr *)o;
        const struct nl_addr *local = rtnl_addr_get_local(addr);
        if (rtnl_addr_get_ifindex(addr) != pod->ifindex || !address_is_host(to_number(local)))
            continue;
        pod->address = to_number(local);
        pod->prefix = (unsigned)rtnl_addr_get_prefixlen(addr);
        if (pod->prefix >= 1 && pod->prefix <= 32)
            return 0;
    }
    return error_set(err, EADDRNOTAVAIL, POD_CARD " has no IPv4 address, which the guest needs");
}

static bool is_ours(struct rtnl_route *route, const struct pod_network *pod)
{
    return rtnl_route_get_table(route) == RT_TABLE_MAIN &&
           rtnl_route_get_type(route) == RTN_UNICAST && rtnl_route_get_nnexthops(route) == 1 &&
           rtnl_route_nh_get_ifindex(rtnl_route_nexthop_n(route, 0)) == pod->ifindex;
}

/* The default route with the best metric; others among equals lose. */
static void add_route(struct pod_network *pod, struct rtnl_route *route, uint32_t *best)
{
    const struct nl_addr *destination = rtnl_route_get_dst(route);
    const struct pod_route new = {
        .to = to_number(destination),
        .prefix = nl_addr_get_prefixlen(destination),
        .via = to_number(rtnl_route_nh_get_gateway(rtnl_route_nexthop_n(route, 0))),
    };
    if (new.prefix == 0 && new.via != 0) {
        if (pod->router == 0 || rtnl_route_get_priority(route) < *best) {
            pod->router = new.via;
            *best = rtnl_route_get_priority(route);
        }
    } else if (new.via == 0 && new.prefix == pod->prefix &&
               address_in(new.to, pod->address, pod->prefix)) {
        return; /* the mask tells the guest that */
    } else if (pod->route_count < POD_ROUTE_MAX) {
        pod->route[pod->route_count++] = new;
    } else {
        pod->routes_left_out = true;
    }
}

static int read_routes(struct nl_sock *sk, struct pod_network *pod, struct error *err)
{
    cleanup_cache struct nl_cache *cache = NULL;
    uint32_t best = 0;
    int r = rtnl_route_alloc_cache(sk, AF_INET, 0, &cache);
    if (r < 0)
        return netlink_error(err, r, "cannot list routes");
    for (struct nl_object *o = nl_cache_get_first(cache); o != NULL; o = nl_cache_get_next(o)) {
        struct rtnl_route *route = (struct rtnl_route *)o;
        if (is_ours(route, pod))
            add_route(pod, route, &best);
    }
    return 0;
}

int pod_read(struct nl_sock *sk, struct pod_network *ret, struct error *err)
{
    struct pod_network pod = {.ifindex = 0};
    int r = read_card(sk, &pod, err);
    if (r == 0)
        r = read_address(sk, &pod, err);
    if (r == 0)
        r = read_routes(sk, &pod, err);
    if (r == 0)
        *ret = pod;
    return r;
}

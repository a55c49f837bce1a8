// SPDX-License-Identifier: Apache-2.0
/*
 * The two bindings of connect.h.
 *
 * bridge. The guest is the pod: tc takes every frame that arrives at eth0 to the tap, and every
 * frame of the guest's to eth0, before the pod's own stack. That stack keeps its address and
 * answers nothing, because it hears nothing.
 *
 * masquerade. The tap is a network of its own, where the pod has the first address and the guest
 * the second; nftables translates between that and the pod's address.
 */
#include "connect.h"
#include "address.h"
#include "nat.h"
#include "redirect.h"
#include "tap.h"
#include <podvisor/log.h>
#include <string.h>

/* Where a guest in a network without a router sends its renewals; KubeVirt's. vmm answers requests
 * to any address, and a client that cannot reach this one broadcasts in the end. */
#define LINK_LOCAL_SERVER (UINT32_C(169) << 24 | 254 << 16 | 75 << 8 | 10)

static int bridge(struct nl_sock *sk, const struct card *card, const struct pod_network *pod,
                  struct error *err)
{
    int tap;
    int r = tap_set_up(sk, card->tap, pod->mtu, NULL, (struct tap_address){0}, &tap, err);
    if (r == 0)
        r = redirect_add(sk, tap, pod->ifindex, err);
    if (r == 0)
        r = redirect_add(sk, pod->ifindex, tap, err);
    return r;
}

static void fill_bridge(const struct card *card, const struct pod_network *pod,
                        struct lease_values *lease)
{
    memcpy(lease->mac, card->has_mac ? card->mac : pod->mac, 6);
    lease->address = pod->address;
    lease->prefix = pod->prefix;
    lease->router = pod->router;
    lease->server = pod->router != 0 ? pod->router : LINK_LOCAL_SERVER;
    lease->route = pod->route;
    lease->route_count = lease_routes_that_fit(pod->route, pod->route_count);
    if (pod->routes_left_out || lease->route_count < pod->route_count)
        log_warn("", "the guest learns %u of the pod's routes; there is no room for the others",
                 lease->route_count);
}

static int check_network(const struct card *card, const struct pod_network *pod, struct error *err)
{
    bool clash = address_in(pod->address, card->network, card->prefix) ||
                 (pod->router != 0 && address_in(pod->router, card->network, card->prefix));
    if (!clash)
        return 0;
    error_set(err, EINVAL, "the network of the guest, %s/%u, is the pod's own",
              address_format(card->network).text, card->prefix);
    return error_hint(err, "choose another with the VirtualMachine's networks[].pod.vmNetworkCIDR");
}

static int masquerade(struct nl_sock *sk, const struct card *card, const struct pod_network *pod,
                      struct error *err)
{
    static const uint8_t host_mac[6] = LEASE_HOST_MAC;
    const struct tap_address address = {.address = card->network + 1, .prefix = card->prefix};
    const struct nat nat = {
        .card = POD_CARD,
        .tap = card->tap,
        .pod = pod->address,
        .gateway = card->network + 1,
        .guest = card->network + 2,
        .port = card->port,
        .port_count = card->port_count,
    };
    int tap;
    int r = check_network(card, pod, err);
    if (r == 0)
        r = nat_set(&nat, err);
    if (r == 0)
        r = tap_set_up(sk, card->tap, pod->mtu, host_mac, address, &tap, err);
    if (r == 0)
        r = forwarding_enable(sk, card->tap, true, err);
    if (r == 0)
        r = forwarding_enable(sk, POD_CARD, false, err);
    return r;
}

static void fill_masquerade(const struct card *card, const struct pod_network *pod,
                            struct lease_values *lease)
{
    memcpy(lease->mac, card->has_mac ? card->mac : pod->mac, 6);
    lease->address = card->network + 2;
    lease->prefix = card->prefix;
    lease->router = lease->server = card->network + 1;
}

static void undo(struct nl_sock *sk, const struct card *card, const struct pod_network *pod)
{
    redirect_delete(sk, pod->ifindex);
    nat_delete();
    tap_delete(sk, card->tap);
}

int connect_card(const struct card *card, uid_t uid, struct pod_network *ret_pod,
                 struct lease_values *ret, struct error *err)
{
    cleanup_nl_sock struct nl_sock *sk = NULL;
    int r = netlink_open(&sk, err);
    if (r == 0)
        r = pod_read(sk, ret_pod, err);
    if (r == 0)
        r = tap_create(sk, card->tap, uid, err);
    if (r < 0)
        return r;
    /* What a run with the other binding left would be in the way. */
    redirect_delete(sk, ret_pod->ifindex);
    nat_delete();
    r = card->binding == BINDING_BRIDGE ? bridge(sk, card, ret_pod, err)
                                        : masquerade(sk, card, ret_pod, err);
    if (r < 0) {
        undo(sk, card, ret_pod);
        return r;
    }
    *ret = (struct lease_values){.name = card->name, .tap = card->tap, .mtu = ret_pod->mtu};
    if (card->binding == BINDING_BRIDGE)
        fill_bridge(card, ret_pod, ret);
    else
        fill_masquerade(card, ret_pod, ret);
    return 0;
}

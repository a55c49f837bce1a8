// SPDX-License-Identifier: Apache-2.0
/* See tap.h; Linux Documentation/networking/tuntap.rst. One thread. */
#include "tap.h"
#include "address.h"
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netlink/errno.h>
#include <netlink/route/addr.h>
#include <netlink/route/link/inet6.h>
#include <podvisor/cleanup.h>
#include <podvisor/log.h>
#include <string.h>
#include <sys/ioctl.h>

#define TUN_DEVICE "/dev/net/tun"

static void cleanup_rtaddr_fn(struct rtnl_addr **addr)
{
    rtnl_addr_put(*addr);
}

static void cleanup_nladdr_fn(struct nl_addr **addr)
{
    nl_addr_put(*addr);
}

#define cleanup_rtaddr __attribute__((cleanup(cleanup_rtaddr_fn)))
#define cleanup_nladdr __attribute__((cleanup(cleanup_nladdr_fn)))

void tap_delete(struct nl_sock *sk, const char *name)
{
    cleanup_link struct rtnl_link *link = NULL;
    if (netlink_find_link(sk, name, &link, NULL) == 0)
        (void)rtnl_link_delete(sk, link);
}

static int delete_former(struct nl_sock *sk, const char *name, struct error *err)
{
    cleanup_link struct rtnl_link *link = NULL;
    int r = netlink_find_link(sk, name, &link, err);
    if (r == -ENODEV)
        return 0;
    if (r < 0)
        return r;
    const char *type = rtnl_link_get_type(link);
    if (type == NULL || strcmp(type, "tun") != 0)
        return error_set(err, EEXIST,
                         "the interface %s is there already and is no tap; choose "
                         "another name with tap=",
                         name);
    r = rtnl_link_delete(sk, link);
    return r < 0 ? netlink_error(err, r, "cannot replace the tap %s", name) : 0;
}

static int open_tun(int *ret_fd, struct error *err)
{
    int fd = open(TUN_DEVICE, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        int r = error_sys(err, errno, "cannot open " TUN_DEVICE);
        error_hint(err, "the container needs the device devices.kubevirt.io/tun, and its node the "
                        "module tun");
        return r;
    }
    *ret_fd = fd;
    return 0;
}

int tap_create(struct nl_sock *sk, const char *name, uid_t uid, struct error *err)
{
    cleanup_close int fd = -1;
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    memcpy(ifr.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
    int r = delete_former(sk, name, err);
    if (r == 0)
        r = open_tun(&fd, err);
    if (r < 0)
        return r;
    if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
        r = error_sys(err, errno, "cannot make the tap %s", name);
        if (r == -EPERM)
            error_hint(err, "podnet needs the capability NET_ADMIN, and user 0 for it to count");
        return r;
    }
    if (ioctl(fd, TUNSETOWNER, (unsigned long)uid) < 0)
        return error_sys(err, errno, "cannot give the tap %s to user %u", name, (unsigned)uid);
    if (ioctl(fd, TUNSETPERSIST, 1UL) < 0)
        return error_sys(err, errno, "cannot make the tap %s last", name);
    return 0;
}

static int change(struct nl_sock *sk, struct rtnl_link *link, unsigned mtu, const uint8_t *mac,
                  struct error *err)
{
    cleanup_link struct rtnl_link *changes = rtnl_link_alloc();
    cleanup_nladdr struct nl_addr *address = mac != NULL ? nl_addr_build(AF_LLC, mac, 6) : NULL;
    if (changes == NULL || (mac != NULL && address == NULL))
        return error_set(err, ENOMEM, "out of memory");
    rtnl_link_set_mtu(changes, mtu);
    if (address != NULL)
        rtnl_link_set_addr(changes, address);
    int r = rtnl_link_change(sk, link, changes, 0);
    return r < 0 ? netlink_error(err, r, "cannot set the MTU and address of %s",
                                 rtnl_link_get_name(link))
                 : 0;
}

/* No link-local address, router solicitations and the like of the pod's kernel towards the guest.
 * Without IPv6 in the kernel there are none. */
static void silence_ipv6(struct nl_sock *sk, struct rtnl_link *link)
{
    cleanup_link struct rtnl_link *changes = rtnl_link_alloc();
    if (changes == NULL)
        return;
    int r = rtnl_link_inet6_set_addr_gen_mode(changes, IN6_ADDR_GEN_MODE_NONE);
    if (r == 0)
        r = rtnl_link_change(sk, link, changes, 0);
    if (r < 0)
        log_debug("", "IPv6 on %s: %s", rtnl_link_get_name(link), nl_geterror(r));
}

static int add_address(struct nl_sock *sk, struct rtnl_link *link, struct tap_address wanted,
                       struct error *err)
{
    const uint32_t bytes = htonl(wanted.address);
    cleanup_rtaddr struct rtnl_addr *addr = rtnl_addr_alloc();
    cleanup_nladdr struct nl_addr *local = nl_addr_build(AF_INET, &bytes, sizeof(bytes));
    if (addr == NULL || local == NULL)
        return error_set(err, ENOMEM, "out of memory");
    nl_addr_set_prefixlen(local, (int)wanted.prefix);
    rtnl_addr_set_ifindex(addr, rtnl_link_get_ifindex(link));
    int r = rtnl_addr_set_local(addr, local);
    if (r == 0)
        r = rtnl_addr_add(sk, addr, 0);
    return r < 0
               ? netlink_error(err, r, "cannot give %s the address %s/%u", rtnl_link_get_name(link),
                               address_format(wanted.address).text, wanted.prefix)
               : 0;
}

static int put_up(struct nl_sock *sk, struct rtnl_link *link, struct error *err)
{
    cleanup_link struct rtnl_link *changes = rtnl_link_alloc();
    if (changes == NULL)
        return error_set(err, ENOMEM, "out of memory");
    rtnl_link_set_flags(changes, IFF_UP);
    int r = rtnl_link_change(sk, link, changes, 0);
    return r < 0 ? netlink_error(err, r, "cannot put %s up", rtnl_link_get_name(link)) : 0;
}

int tap_set_up(struct nl_sock *sk, const char *name, unsigned mtu, const uint8_t *mac,
               struct tap_address address, int *ret_ifindex, struct error *err)
{
    cleanup_link struct rtnl_link *link = NULL;
    int r = netlink_find_link(sk, name, &link, err);
    if (r == 0)
        r = change(sk, link, mtu, mac, err);
    if (r < 0)
        return r;
    silence_ipv6(sk, link);
    if (address.address != 0)
        r = add_address(sk, link, address, err);
    if (r == 0)
        r = put_up(sk, link, err);
    if (r == 0)
        *ret_ifindex = rtnl_link_get_ifindex(link);
    return r;
}

// SPDX-License-Identifier: Apache-2.0
/* Forwarding between interfaces; see nat.h. One thread. */
#include "nat.h"
#include <fcntl.h>
#include <linux/ip.h>
#include <netlink/errno.h>
#include <netlink/route/link/inet.h>
#include <podvisor/cleanup.h>
#include <podvisor/log.h>
#include <stdio.h>

#define SYSCTL_PATH_MAX 96

static const struct setting {
    unsigned devconf; /* IFLA_AF_SPEC, AF_INET, IFLA_INET_CONF */
    const char *sysctl;
    bool loopback;
} settings[] = {
    {IPV4_DEVCONF_FORWARDING, "forwarding", false},
    {IPV4_DEVCONF_ROUTE_LOCALNET, "route_localnet", true},
};

/* 0 when the kernel says that it is set. */
static int set_by_netlink(struct nl_sock *sk, const char *name, unsigned devconf)
{
    cleanup_link struct rtnl_link *link = NULL;
    cleanup_link struct rtnl_link *changes = rtnl_link_alloc();
    cleanup_link struct rtnl_link *after = NULL;
    uint32_t value = 0;
    if (changes == NULL)
        return -NLE_NOMEM;
    int r = rtnl_link_get_kernel(sk, 0, name, &link);
    if (r == 0)
        r = rtnl_link_inet_set_conf(changes, devconf, 1);
    if (r == 0)
        r = rtnl_link_change(sk, link, changes, 0);
    if (r == 0)
        r = rtnl_link_get_kernel(sk, 0, name, &after);
    if (r == 0)
        r = rtnl_link_inet_get_conf(after, devconf, &value);
    if (r == 0 && value == 0)
        r = -NLE_OPNOTSUPP;
    return r;
}

static int set_by_sysctl(const char *name, const char *sysctl)
{
    char path[SYSCTL_PATH_MAX];
    snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/%s", name, sysctl);
    cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "1\n", 2) != 2)
        return -errno;
    return 0;
}

int forwarding_enable(struct nl_sock *sk, const char *name, bool loopback, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
        if (settings[i].loopback && !loopback)
            continue;
        int r = set_by_netlink(sk, name, settings[i].devconf);
        if (r == 0)
            continue;
        log_debug("", "%s of %s through rtnetlink: %s", settings[i].sysctl, name, nl_geterror(r));
        int s = set_by_sysctl(name, settings[i].sysctl);
        if (s < 0)
            return netlink_error(err, r, "cannot set %s of %s", settings[i].sysctl, name);
    }
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* See netlink.h. One thread. */
#include "netlink.h"
#include <netlink/errno.h>
#include <podvisor/cleanup.h>
#include <stdarg.h>
#include <stdio.h>

static int to_errno(int code)
{
    switch (-code) {
    case NLE_PERM:
    case NLE_NOACCESS:
        return EPERM;
    case NLE_NOMEM:
        return ENOMEM;
    case NLE_NODEV:
        return ENODEV;
    case NLE_OBJ_NOTFOUND:
        return ENOENT;
    case NLE_EXIST:
        return EEXIST;
    case NLE_OPNOTSUPP:
    case NLE_AF_NOSUPPORT:
        return ENOTSUP;
    default:
        return EIO;
    }
}

int netlink_error(struct error *err, int code, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    int r = error_set(err, to_errno(code), "%s: %s", text, nl_geterror(code));
    if (r == -EPERM)
        error_hint(err, "podnet needs the capability NET_ADMIN, and user 0 for it to count");
    return r;
}

int netlink_open(struct nl_sock **ret, struct error *err)
{
    cleanup_nl_sock struct nl_sock *sk = nl_socket_alloc();
    if (sk == NULL)
        return error_set(err, ENOMEM, "out of memory");
    int r = nl_connect(sk, NETLINK_ROUTE);
    if (r < 0)
        return netlink_error(err, r, "cannot open a netlink socket");
    *ret = steal_ptr(sk);
    return 0;
}

int netlink_find_link(struct nl_sock *sk, const char *name, struct rtnl_link **ret,
                      struct error *err)
{
    int r = rtnl_link_get_kernel(sk, 0, name, ret);
    if (r == -NLE_OBJ_NOTFOUND || r == -NLE_NODEV)
        return error_set(err, ENODEV, "there is no network interface %s", name);
    if (r < 0)
        return netlink_error(err, r, "cannot ask for the network interface %s", name);
    return 0;
}

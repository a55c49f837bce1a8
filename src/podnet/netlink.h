// SPDX-License-Identifier: Apache-2.0
/* libnl's errors as ours, and what several parts ask of rtnetlink. */
#ifndef PODVISOR_PODNET_NETLINK_H
#define PODVISOR_PODNET_NETLINK_H

#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <podvisor/error.h>

/* A connected NETLINK_ROUTE socket, for nl_socket_free(). Returns 0 or a negative errno. */
int netlink_open(struct nl_sock **ret, struct error *err);

/*
 * Sets `err` from a negative libnl code: the text, libnl's reason, and the way out if it is a want
 * of permission. Returns a negative errno.
 */
int netlink_error(struct error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));

/* The link of that name, for rtnl_link_put(). -ENODEV when there is none. */
int netlink_find_link(struct nl_sock *sk, const char *name, struct rtnl_link **ret,
                      struct error *err);

static inline void cleanup_nl_sock_fn(struct nl_sock **sk)
{
    nl_socket_free(*sk);
}

static inline void cleanup_link_fn(struct rtnl_link **link)
{
    rtnl_link_put(*link);
}

#define cleanup_nl_sock __attribute__((cleanup(cleanup_nl_sock_fn)))
#define cleanup_link    __attribute__((cleanup(cleanup_link_fn)))

#endif

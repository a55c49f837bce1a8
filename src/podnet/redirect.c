// SPDX-License-Identifier: Apache-2.0
/* See redirect.h: an ingress qdisc, a u32 filter that matches anything, a mirred action. The first
 * of these that a kernel got, so that it need not have clsact, matchall or flower. One thread. */
#include "redirect.h"
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <netlink/errno.h>
#include <netlink/route/act/mirred.h>
#include <netlink/route/action.h>
#include <netlink/route/classifier.h>
#include <netlink/route/cls/u32.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/tc.h>

#define INGRESS_HANDLE TC_H_MAKE(0xffff0000u, 0)

static void cleanup_qdisc_fn(struct rtnl_qdisc **qdisc)
{
    rtnl_qdisc_put(*qdisc);
}

static void cleanup_cls_fn(struct rtnl_cls **cls)
{
    rtnl_cls_put(*cls);
}

static void cleanup_act_fn(struct rtnl_act **act)
{
    rtnl_act_put(*act);
}

#define cleanup_qdisc __attribute__((cleanup(cleanup_qdisc_fn)))
#define cleanup_cls   __attribute__((cleanup(cleanup_cls_fn)))
#define cleanup_act   __attribute__((cleanup(cleanup_act_fn)))

static struct rtnl_qdisc *make_ingress(int ifindex)
{
    struct rtnl_qdisc *qdisc = rtnl_qdisc_alloc();
    if (qdisc == NULL)
        return NULL;
    rtnl_tc_set_ifindex(TC_CAST(qdisc), ifindex);
    rtnl_tc_set_parent(TC_CAST(qdisc), TC_H_INGRESS);
    rtnl_tc_set_handle(TC_CAST(qdisc), INGRESS_HANDLE);
    rtnl_tc_set_kind(TC_CAST(qdisc), "ingress");
    return qdisc;
}

void redirect_delete(struct nl_sock *sk, int from)
{
    cleanup_qdisc struct rtnl_qdisc *qdisc = make_ingress(from);
    if (qdisc != NULL)
        (void)rtnl_qdisc_delete(sk, qdisc);
}

static struct rtnl_act *make_action(int to)
{
    struct rtnl_act *act = rtnl_act_alloc();
    if (act == NULL)
        return NULL;
    rtnl_tc_set_kind(TC_CAST(act), "mirred");
    rtnl_mirred_set_action(act, TCA_EGRESS_REDIR);
    rtnl_mirred_set_ifindex(act, (uint32_t)to);
    rtnl_mirred_set_policy(act, TC_ACT_STOLEN);
    return act;
}

static int add_filter(struct nl_sock *sk, int from, int to)
{
    cleanup_cls struct rtnl_cls *cls = rtnl_cls_alloc();
    cleanup_act struct rtnl_act *act = make_action(to);
    if (cls == NULL || act == NULL)
        return -NLE_NOMEM;
    rtnl_tc_set_ifindex(TC_CAST(cls), from);
    rtnl_tc_set_parent(TC_CAST(cls), INGRESS_HANDLE);
    rtnl_tc_set_kind(TC_CAST(cls), "u32");
    rtnl_cls_set_protocol(cls, ETH_P_ALL);
    rtnl_cls_set_prio(cls, 1);
    int r = rtnl_u32_add_key_uint32(cls, 0, 0, 0, 0); /* match u32 0 0 */
    if (r == 0)
        r = rtnl_u32_set_cls_terminal(cls);
    if (r == 0)
        r = rtnl_u32_add_action(cls, act);
    if (r == 0)
        r = rtnl_cls_add(sk, cls, NLM_F_CREATE | NLM_F_EXCL);
    return r;
}

int redirect_add(struct nl_sock *sk, int from, int to, struct error *err)
{
    redirect_delete(sk, from);
    cleanup_qdisc struct rtnl_qdisc *qdisc = make_ingress(from);
    int r = qdisc == NULL ? -NLE_NOMEM : rtnl_qdisc_add(sk, qdisc, NLM_F_CREATE | NLM_F_EXCL);
    if (r == 0)
        r = add_filter(sk, from, to);
    if (r < 0) {
        r = netlink_error(err, r, "cannot redirect interface %d to %d", from, to);
        if (r == -ENOENT)
            error_hint(err, "the node needs the modules sch_ingress, cls_u32 and act_mirred");
        return r;
    }
    return 0;
}

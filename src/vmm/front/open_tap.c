// SPDX-License-Identifier: Apache-2.0
/*
 * Taps: existing interfaces of this host that a machine's network card is connected to. None is
 * ever created here. Linux Documentation/networking/tuntap.rst; drivers/net/tun.c for what EINVAL
 * and EBUSY mean.
 */
#include "open.h"
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <podvisor/cleanup.h>
#include <podvisor/log.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define VNET_HEADER_SIZE 12 /* struct virtio_net_hdr_mrg_rxbuf; virtio 1.2 §5.1.6.1 */

/* Linux 6.2; absent from older headers. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

static void set_name(struct ifreq *ifr, const char *name)
{
    memset(ifr, 0, sizeof(*ifr));
    memcpy(ifr->ifr_name, name, strnlen(name, IFNAMSIZ - 1));
}

/* The flags of an interface. -ENODEV: there is none of that name. */
static int get_flags(const char *tap, short *ret_flags)
{
    struct ifreq ifr;
    cleanup_close int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s < 0)
        return -errno;
    set_name(&ifr, tap);
    if (ioctl(s, SIOCGIFFLAGS, &ifr) < 0)
        return -errno;
    *ret_flags = ifr.ifr_flags;
    return 0;
}

/* TUNSETIFF would make an interface that is not there, if it may. */
static int check_exists(const char *tap, struct error *err)
{
    short flags;
    int r = get_flags(tap, &flags);
    if (r == 0)
        return 0;
    error_set(err, -r, "there is no network interface %s", tap);
    return error_hint(err,
                      "make it: `sudo ip tuntap add dev %s mode tap user $USER && sudo ip link set "
                      "%s up`",
                      tap, tap);
}

void warn_taps_down(const struct plan *plan)
{
    for (unsigned i = 0; i < plan->net_count; i++) {
        const char *tap = plan->net[i].tap;
        short flags = 0;
        if (get_flags(tap, &flags) == 0 && (flags & IFF_UP) == 0)
            log_warn("", "%s is down, so the machine is alone on it; `sudo ip link set %s up`", tap,
                     tap);
    }
}

static int open_tun(int *ret_fd, struct error *err)
{
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        int r = error_sys(err, errno, "cannot open /dev/net/tun");
        if (r == -EACCES || r == -EPERM)
            error_hint(err, "`sudo chmod 666 /dev/net/tun` is what distributions do; in a pod, ask "
                            "for the tun device");
        else
            error_hint(err, "`sudo modprobe tun`");
        return r;
    }
    *ret_fd = fd;
    return 0;
}

static int attach(int fd, const char *tap, struct error *err)
{
    struct ifreq ifr;
    set_name(&ifr, tap);
    ifr.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    int r = ioctl(fd, TUNSETIFF, &ifr);
    if (r < 0 && errno == EINVAL) {
        /* One made with several queues takes only those who say that they know. */
        ifr.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE);
        r = ioctl(fd, TUNSETIFF, &ifr);
    }
    if (r == 0)
        return 0;
    switch (errno) {
    case EINVAL:
        return error_set(err, EINVAL,
                         "%s is not a tap; make one: `sudo ip tuntap add dev NAME mode "
                         "tap user $USER`",
                         tap);
    case EBUSY:
        return error_set(err, EBUSY,
                         "the tap %s is in use by another machine; stop that one or make another "
                         "tap",
                         tap);
    case EPERM:
        return error_set(err, EPERM,
                         "the tap %s belongs to somebody else; make it anew: `sudo ip tuntap del "
                         "dev %s mode tap && sudo ip tuntap add dev %s mode tap user $USER`",
                         tap, tap, tap);
    default:
        return error_sys(err, errno, "cannot attach to the tap %s", tap);
    }
}

static int set_features(int fd, const char *tap, struct machine_net *net, struct error *err)
{
    int size = VNET_HEADER_SIZE;
    if (ioctl(fd, TUNSETVNETHDRSZ, &size) < 0)
        return error_sys(err, errno, "the tap %s does not take headers of %d bytes", tap, size);
    unsigned offload = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
    net->offload_uso = ioctl(fd, TUNSETOFFLOAD, offload | TUN_F_USO4 | TUN_F_USO6) == 0;
    net->offload = net->offload_uso || ioctl(fd, TUNSETOFFLOAD, offload) == 0;
    if (!net->offload && ioctl(fd, TUNSETOFFLOAD, 0) < 0)
        return error_sys(err, errno, "cannot set the offloads of the tap %s", tap);
    return 0;
}

static int open_tap(const struct plan_net *plan, struct machine_net *net, struct error *err)
{
    cleanup_close int fd = -1;
    int r = check_exists(plan->tap, err);
    if (r == 0)
        r = open_tun(&fd, err);
    if (r == 0)
        r = attach(fd, plan->tap, err);
    if (r == 0)
        r = set_features(fd, plan->tap, net, err);
    if (r < 0)
        return error_wrap(err, "network card %s", plan->name);
    memcpy(net->name, plan->name, sizeof(net->name));
    memcpy(net->mac, plan->mac, sizeof(net->mac));
    net->mtu = plan->mtu;
    net->lease = plan->lease;
    net->tap_fd = steal_fd(&fd);
    return 0;
}

int open_taps(const struct plan *plan, struct machine_config *config, struct error *err)
{
    config->net_count = plan->net_count;
    for (unsigned i = 0; i < plan->net_count; i++) {
        config->net[i].tap_fd = -1;
        int r = open_tap(&plan->net[i], &config->net[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

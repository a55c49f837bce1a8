#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""In vmm's and a guest's place: copies frames between the tap that podnet made, opened as vmm's user, and one that is
eth0 of another namespace, whose Linux is the guest. Arguments: the processes that keep pod and guest, the pod's tap,
the guest's MAC."""

import ctypes
import fcntl
import os
import select
import signal
import struct
import sys

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
OFFLOADS = 1 | 2 | 4  # checksums, TCP segments: what vmm asks for
FRAME_MAX = 65601
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


def open_tun(pid):
    """The device belongs to the namespace that it is opened in."""
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    if libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    os.close(fd)
    return os.open("/dev/net/tun", os.O_RDWR)


def attach(fd, name):
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(fd, TUNSETOFFLOAD, OFFLOADS)
    os.set_blocking(fd, False)


def main(pod, guest, tap, mac):
    inside = open_tun(guest)
    attach(inside, "eth0")
    if os.system(f"ip link set eth0 address {mac}") != 0:
        sys.exit("cannot set the MAC address")
    outside = open_tun(pod)
    os.setgroups([])
    os.setgid(107)
    os.setuid(107)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    attach(outside, tap)
    print("ready", flush=True)
    other = {inside: outside, outside: inside}
    while True:
        for fd in select.select([inside, outside], [], [])[0]:
            try:
                os.write(other[fd], os.read(fd, FRAME_MAX))
            except OSError:  # that one is down or full
                pass


main(*sys.argv[1:])

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Linux in a pod, from podnet to its first connection: what podnet found, `vmm run --pod` tells the guest by DHCP, and
the node reaches it at the pod's address."""

import pathlib
import socket
import sys
import unittest

import podnet_case
from podnet_case import POD_IP, PodNetwork, lib, neighbour, ping

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "pod"))
from pod_case import UNPRIVILEGED, Pod, vmi  # noqa: E402

BOOT, STEP = 240, 150  # seconds, on the slowest host when it is busy
PORT = 7
TEXT = b"lark" * 512


def echo():
    """One connection to the guest: what it gives back."""
    with socket.create_connection((POD_IP, PORT), STEP) as peer:
        peer.settimeout(STEP)
        peer.sendall(TEXT)
        peer.shutdown(socket.SHUT_WR)
        got = b""
        while block := peer.recv(65536):
            got += block
    return got


class DhcpCase(unittest.TestCase):
    def boot(self, binding):
        """A pod whose guest asks for its address; once it listens."""
        lib.enter_network_namespace()
        network, pod, guest = PodNetwork(self), Pod(self), lib.find_guest()
        self.assertEqual(network.connect(f"name=default,binding={binding}")["name"], "default")
        lease = pod.run / "podvisor/net/default.json"
        lease.write_bytes((network.leases / "default.json").read_bytes())
        lines = (guest / "cmdline").read_text().splitlines()
        cmdline = " ".join([*(line for line in lines if not line.startswith("#")),
                            "ip=dhcp podvisor.test=echo", f"podvisor.echo_port={PORT}"])
        machine = vmi(domain={"devices": {"autoattachPodInterface": True,
                                          "interfaces": [{"name": "default", binding: {}}]}},
                      networks=[{"name": "default", "pod": {}}])
        kernel = {name: pod.programs / name for name in ("vmlinux", "initramfs.cpio")}
        for name, path in kernel.items():
            path.write_bytes((guest / name).read_bytes())
        self.vmm = pod.compute(
            machine, "--kernel", kernel["vmlinux"], "--initrd", kernel["initramfs.cpio"], "--cmdline", cmdline,
            wrapper=["nsenter", f"--net=/proc/{network.holder.pid}/ns/net", *UNPRIVILEGED])
        self.vmm.console.expect(r"^GUEST (echo port|fail)", BOOT)
        self.assertIn(f"GUEST echo port={PORT}", self.vmm.console.text(), self.vmm.said())
        return network

    def told(self, *words):
        for word in words:
            self.assertIn(f"GUEST info {word}", self.vmm.console.text())

    def check_reached(self):
        self.told("pnp nameserver 10.96.0.10", "pnp domain default.svc.cluster.local", "hostname myvm",
                  "link name=eth0 mtu=1440")
        self.assertTrue(ping(POD_IP, wait=20))
        self.assertEqual(echo(), TEXT)
        self.vmm.console.expect(f"^GUEST ok echo bytes={len(TEXT)}", STEP)
        self.vmm.expect_end(0, "PowerOff", STEP)


class Masquerade(DhcpCase):
    def test_boot(self):
        self.boot("masquerade")
        self.told("address eth0=10.0.2.2")
        self.check_reached()


class Bridge(DhcpCase):
    def test_boot(self):
        network = self.boot("bridge")
        self.told(f"address eth0={POD_IP}")
        self.check_reached()
        self.assertEqual(neighbour(POD_IP), network.mac())


if __name__ == "__main__":
    if not podnet_case.PODNET.exists():
        sys.exit(f"FAILED: {podnet_case.PODNET} is missing; build first")
    lib.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""podnet in a pod's namespace: what it makes, what passes through it, and that it leaves nothing behind when it fails.
The guest is a namespace of its own behind relay.py."""

import pathlib
import socket
import stat
import subprocess
import sys
import threading
import time
import unittest

import podnet_case
from podnet_case import NODE_IP, POD_IP, PodNetwork, lib, neighbour, ping, run

MASQUERADE = "name=default,binding=masquerade"
BRIDGE = "name=default,binding=bridge"
HERE = pathlib.Path(__file__).resolve().parent
PORT, OTHER_PORT = 8080, 8081
BYTES = 4 << 20

# TCP: gives back what it gets; UDP: says where it came from.
SERVER = """
import socket, threading
def serve(connection):
    while block := connection.recv(1 << 16): connection.sendall(block)
    connection.close()
def tcp(port):
    listener = socket.create_server(("", port))
    while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
def udp():
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); datagrams.bind(("", %d))
    while True:
        _, peer = datagrams.recvfrom(2048); datagrams.sendto(peer[0].encode(), peer)
for port in (%d, %d): threading.Thread(target=tcp, args=(port,), daemon=True).start()
print("ready", flush=True)
udp()
""" % (PORT, PORT, OTHER_PORT)

CLIENT = """
import socket, sys
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
peer.sendall(b"hello"); print(peer.recv(5).decode())
"""


class Guest:
    """A namespace behind the pod's tap, configured as the lease says."""

    def __init__(self, pod, lease, mac=None):
        self.pod, self.lease, test = pod, lease, pod.test
        self.holder = pod.hold("--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep infinity")
        self.relay = self.process(sys.executable, HERE / "relay.py", pod.holder.pid, self.holder.pid, lease["tap"],
                                  mac or lease["mac"])
        self("ip", "link", "set", "eth0", "mtu", lease["mtu"], "up")
        self("ip", "address", "add", f"{lease['address']}/{lease['prefix']}", "dev", "eth0")
        if "router" in lease:
            self("ip", "route", "add", "default", "via", lease["router"], "dev", "eth0", "onlink")
        self.server = self.process(*self.enter(), sys.executable, "-c", SERVER)
        test.assertEqual(lease["tap"], "tap0")

    def process(self, *words):
        process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True,
                                   preexec_fn=lib.die_with_parent)
        self.pod.test.addCleanup(self.end, process)
        self.pod.test.assertEqual(process.stdout.readline(), "ready\n")
        return process

    def end(self, process):
        process.kill()
        process.wait()
        process.stdout.close()

    def unplug(self):
        self.end(self.relay)

    def enter(self):
        return ["nsenter", "--target", str(self.holder.pid), "--net"]

    def __call__(self, *words, check=True):
        return run(*self.enter(), *words, check=check)


def echo(address, port=PORT, size=BYTES):
    """Sends `size` bytes and takes them back; true when they are the same."""
    data = bytes(range(256)) * (size // 256)
    with socket.create_connection((address, port), 10) as peer:
        peer.settimeout(lib.DEADLINE)
        sender = threading.Thread(target=lambda: (peer.sendall(data), peer.shutdown(socket.SHUT_WR)))
        sender.start()
        got = bytearray()
        while block := peer.recv(1 << 18):
            got += block
        sender.join()
    return got == data


class PodnetCase(unittest.TestCase):
    def setUp(self):
        lib.enter_network_namespace()

    def refused(self, pod, card, said, wrapper=podnet_case.ONLY_NET_ADMIN):
        done = pod.podnet(card, wrapper)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(said, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def check_tap(self, pod, mtu=1440):
        tap = pod.link("tap0")
        self.assertEqual(tap["linkinfo"]["info_data"]["user"], 107)
        self.assertTrue(tap["linkinfo"]["info_data"]["persist"])
        self.assertTrue(tap["linkinfo"]["info_data"]["vnet_hdr"])
        self.assertEqual(tap["mtu"], mtu)
        self.assertIn("UP", tap["flags"])
        return tap

    def assert_clean(self, pod):
        self.assertNotIn("tap0", pod.links())
        self.assertEqual(pod("nft", "list", "ruleset").stdout, "")
        self.assertNotIn("ingress", pod("tc", "qdisc", "show", "dev", "eth0").stdout)


class MasqueradeBinding(PodnetCase):
    def test_lease(self):
        pod = PodNetwork(self)
        self.assertNotEqual(pod("sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/eth0/forwarding", check=False).returncode, 0)
        self.assertEqual(pod.connect(MASQUERADE), {
            "version": 1, "name": "default", "tap": "tap0", "mac": pod.mac(), "mtu": 1440, "address": "10.0.2.2",
            "prefix": 24, "router": "10.0.2.1", "server": "10.0.2.1", "routes": [], "dns": ["10.96.0.10"],
            "search": ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"], "hostname": "myvm"})
        self.assertEqual(self.check_tap(pod)["address"], "02:00:00:00:00:00")
        mode = (pod.leases / "default.json").stat().st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o444)
        self.assertEqual([path.name for path in pod.leases.iterdir()], ["default.json"])
        for path, value in (("eth0/forwarding", 1), ("tap0/forwarding", 1), ("tap0/route_localnet", 1),
                            ("all/forwarding", 0), ("eth0/route_localnet", 0)):
            self.assertEqual(pod("cat", f"/proc/sys/net/ipv4/conf/{path}").stdout, f"{value}\n", path)

    def test_everything_reaches_the_guest(self):
        pod = PodNetwork(self)
        guest = Guest(pod, pod.connect(MASQUERADE))
        self.assertTrue(ping(POD_IP))
        self.assertTrue(echo(POD_IP))
        self.assertTrue(echo(POD_IP, OTHER_PORT, 256))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.settimeout(5)
            datagrams.sendto(b"x", (POD_IP, PORT))
            self.assertEqual(datagrams.recv(100).decode(), NODE_IP, "the guest sees the client's own address")
        # From inside the pod, as "localhost" and by its address.
        for address in ("127.0.0.1", POD_IP):
            self.assertEqual(pod(sys.executable, "-c", CLIENT, address, PORT).stdout, "hello\n", address)
        # The guest goes out as the pod, and no other way.
        with socket.create_server((NODE_IP, PORT)) as listener:
            client = subprocess.Popen([*guest.enter(), sys.executable, "-c", CLIENT, NODE_IP, str(PORT)],
                                      stdout=subprocess.PIPE, text=True)
            listener.settimeout(lib.DEADLINE)
            connection, peer = listener.accept()
            with connection:
                connection.sendall(connection.recv(5))
            self.assertEqual((peer[0], client.communicate(timeout=lib.DEADLINE)[0]), (POD_IP, "hello\n"))
        self.assert_guest_is_held(pod, guest)
        guest.unplug()
        self.assertFalse(ping(POD_IP, 1, 1), "somebody else answers for the guest")

    def assert_guest_is_held(self, pod, guest):
        """No other sender than itself, and nothing of the pod's loopback."""
        guest("ip", "address", "add", "10.0.2.99/24", "dev", "eth0")
        self.assertNotEqual(guest("ping", "-c", "1", "-W", "1", "-I", "10.0.2.99", NODE_IP, check=False).returncode, 0)
        self.assertEqual(guest("ping", "-c", "1", "-W", "2", "-I", "10.0.2.2", NODE_IP, check=False).returncode, 0)
        dropped = pod("nft", "list", "chain", "ip", "podvisor", "raw").stdout
        self.assertIn('iifname "tap0" ip daddr 127.0.0.0/8 drop', dropped)

    def test_ports(self):
        """Only those: the others are the pod's, where nobody listens."""
        pod = PodNetwork(self)
        guest = Guest(pod, pod.connect(f"{MASQUERADE},port=tcp/{PORT},cidr=192.168.9.0/24,mac=02:00:00:00:00:77"))
        self.assertEqual((guest.lease["address"], guest.lease["router"]), ("192.168.9.2", "192.168.9.1"))
        self.assertEqual(guest.lease["mac"], "02:00:00:00:00:77")
        self.assertTrue(echo(POD_IP, size=4096))
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection((POD_IP, OTHER_PORT), 5)
        # A neighbour that knows where the guest is gets there no other way.
        run("ip", "route", "add", "192.168.9.0/24", "via", POD_IP)
        with self.assertRaises(TimeoutError):
            socket.create_connection(("192.168.9.2", OTHER_PORT), 2)
        guest.unplug()
        self.assertTrue(ping(POD_IP, 1), "the pod answers for itself")

    def test_network_of_the_pod(self):
        pod = PodNetwork(self)
        self.refused(pod, f"{MASQUERADE},cidr=10.244.0.0/16", "is the pod's own; choose another")
        self.assert_clean(pod)


class BridgeBinding(PodnetCase):
    def test_lease(self):
        pod = PodNetwork(self)
        self.assertEqual(pod.connect(BRIDGE), {
            "version": 1, "name": "default", "tap": "tap0", "mac": pod.mac(), "mtu": 1440, "address": POD_IP,
            "prefix": 24, "router": NODE_IP, "server": NODE_IP,
            "routes": [{"to": "10.96.0.0", "prefix": 16, "via": "10.244.0.254"}], "dns": ["10.96.0.10"],
            "search": ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"], "hostname": "myvm"})
        self.check_tap(pod)
        self.assertEqual(pod("nft", "list", "ruleset").stdout, "")

    def test_the_guest_is_the_pod(self):
        pod = PodNetwork(self)
        mac = "02:00:00:00:00:99"
        lease = pod.connect(f"{BRIDGE},mac={mac}")
        guest = Guest(pod, lease)
        self.assertTrue(ping(POD_IP))
        self.assertEqual(neighbour(POD_IP), mac)
        self.assertTrue(echo(POD_IP))
        self.assertEqual(guest("ping", "-c", "1", "-W", "5", NODE_IP, check=False).returncode, 0)
        # The pod's own stack has the address too, and must stay silent: no ARP, no RST.
        guest.unplug()
        run("ip", "neigh", "flush", "dev", "node0")
        self.assertFalse(ping(POD_IP, 1, 1))
        self.assertIsNone(neighbour(POD_IP))

    def test_routers_outside(self):
        """As some CNI plugins have it: an address without a network, a router by a route of its own."""
        pod = PodNetwork(self, address=f"{POD_IP}/32", routes=False)
        pod("ip", "route", "add", "169.254.1.1", "dev", "eth0", "scope", "link")
        pod("ip", "route", "add", "default", "via", "169.254.1.1", "dev", "eth0")
        lease = pod.connect(BRIDGE)
        self.assertEqual((lease["prefix"], lease["router"], lease["server"]), (32, "169.254.1.1", "169.254.1.1"))
        self.assertEqual(lease["routes"], [{"to": "169.254.1.1", "prefix": 32}])

    def test_no_router(self):
        pod = PodNetwork(self, routes=False)
        lease = pod.connect(BRIDGE)
        self.assertNotIn("router", lease)
        self.assertEqual((lease["server"], lease["routes"]), ("169.254.75.10", []))


class AgainAndFailing(PodnetCase):
    def test_again(self):
        """The kubelet starts it as often as it likes; one binding replaces the other."""
        pod = PodNetwork(self)
        for binding in (MASQUERADE, MASQUERADE, BRIDGE, BRIDGE, MASQUERADE):
            lease = pod.connect(binding)
        guest = Guest(pod, lease)
        self.assertTrue(echo(POD_IP, size=4096))
        guest.unplug()
        lib.wait_until(lambda: "NO-CARRIER" in pod.link("tap0")["flags"], what="the tap's end")
        guest = Guest(pod, pod.connect(BRIDGE))
        self.assertTrue(echo(POD_IP, size=4096))

    def test_not_permitted(self):
        pod = PodNetwork(self)
        wrapper = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
        self.refused(pod, MASQUERADE, "NET_ADMIN", wrapper)
        self.assert_clean(pod)

    def test_no_network(self):
        pod = PodNetwork(self, card=False)
        self.refused(pod, BRIDGE, "there is no network interface eth0")

    def test_no_address(self):
        pod = PodNetwork(self, address=None, routes=False)
        self.refused(pod, BRIDGE, "no IPv4 address")
        self.assert_clean(pod)

    def test_name_taken(self):
        pod = PodNetwork(self)
        for name in ("eth0", "lo"):
            self.refused(pod, f"{MASQUERADE},tap={name}", "is no tap")
        self.assertEqual(pod.links(), {"lo", "eth0"})

    def test_lease_folder(self):
        pod = PodNetwork(self)
        pod.leases.rmdir()
        self.refused(pod, MASQUERADE, "cannot write the lease")

    def test_no_tun(self):
        pod = PodNetwork(self)
        pod("mount", "-t", "tmpfs", "none", "/dev/net")
        self.refused(pod, MASQUERADE, "devices.kubevirt.io/tun")
        self.assert_clean(pod)

    def test_killed(self):
        """Wherever it is killed, the next run works."""
        pod = PodNetwork(self)
        words = [*pod.enter(), *podnet_case.ONLY_NET_ADMIN, podnet_case.PODNET, "--lease-dir", pod.leases, "--uid",
                 "107", "--hostname", "myvm", "--interface"]
        started = time.monotonic()
        pod.connect(MASQUERADE)
        whole = time.monotonic() - started
        for i in range(12):
            card = (MASQUERADE, BRIDGE)[i % 2]
            process = subprocess.Popen([str(word) for word in (*words, card)], stderr=subprocess.DEVNULL)
            time.sleep(whole * i / 12)
            process.kill()
            process.wait()
        lease = pod.connect(BRIDGE)
        self.assertEqual(lease["address"], POD_IP)
        self.assertEqual([path.name for path in pod.leases.glob("*")], ["default.json"])
        self.assertEqual(pod("nft", "list", "ruleset").stdout, "")
        guest = Guest(pod, lease)
        self.assertTrue(ping(POD_IP))
        guest.unplug()


if __name__ == "__main__":
    if not podnet_case.PODNET.exists():
        sys.exit(f"FAILED: {podnet_case.PODNET} is missing; build first")
    lib.main()

# SPDX-License-Identifier: Apache-2.0
"""The network of a pod on its node. The test program is the node: a network namespace with the other end of the pod's
eth0, which is also the pod's router. The pod is a namespace that a process of its own keeps."""

import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import lib  # noqa: E402

PODNET = lib.BUILD / "bin" / "podnet"
NODE_IP, POD_IP, POD_PREFIX = "10.244.0.1", "10.244.0.7", 24
SERVICES, SERVICES_VIA = "10.96.0.0/16", "10.244.0.254"
RESOLV = "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
ONLY_NET_ADMIN = ["setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all", "--ambient-caps=-all",
                  "--no-new-privs"]

# Keeps namespaces; read-only as a container runtime makes it.
HOLD = """
mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys &&
mount --bind "$1" /etc/resolv.conf && ip link set lo up && echo ready && exec sleep infinity
"""


def run(*words, check=True, **options):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=lib.DEADLINE,
                          **options)
    if check and done.returncode:
        raise AssertionError(f"{words}: {done.stderr}{done.stdout}")
    return done


class PodNetwork:
    """A pod's namespaces with eth0, an address and routes; gone at the end of `test`."""

    def __init__(self, test, mtu=1440, address=f"{POD_IP}/{POD_PREFIX}", routes=True, card=True):
        self.test = test
        self.folder = lib.new_folder(test)
        self.leases = self.folder / "net"
        self.leases.mkdir()
        resolv = self.folder / "resolv.conf"
        resolv.write_text(RESOLV)
        self.holder = self.hold("--net", "--mount", "sh", "-c", HOLD, "sh", resolv)
        if not card:
            return
        run("ip", "link", "add", "node0", "type", "veth", "peer", "name", "eth0", "netns", self.holder.pid)
        test.addCleanup(run, "ip", "link", "del", "node0", check=False)
        run("ip", "address", "add", f"{NODE_IP}/{POD_PREFIX}", "dev", "node0")
        run("ip", "link", "set", "node0", "mtu", mtu, "up")
        self("ip", "link", "set", "eth0", "mtu", mtu, "up")
        if address:
            self("ip", "address", "add", address, "dev", "eth0")
        if routes:
            self("ip", "route", "add", "default", "via", NODE_IP)
            self("ip", "route", "add", SERVICES, "via", SERVICES_VIA)

    def hold(self, *words):
        """A process in new namespaces, once it has said that it is ready."""
        process = subprocess.Popen(["unshare", *map(str, words)], stdout=subprocess.PIPE, text=True,
                                   preexec_fn=lib.die_with_parent)

        def end():
            process.kill()
            process.communicate()
        self.test.addCleanup(end)
        self.test.assertEqual(process.stdout.readline(), "ready\n")
        return process

    def enter(self):
        return ["nsenter", "--target", str(self.holder.pid), "--net", "--mount", "--root"]

    def __call__(self, *words, check=True):
        """Runs a command in the pod."""
        return run(*self.enter(), *words, check=check)

    def podnet(self, card, wrapper=ONLY_NET_ADMIN):
        return self(*wrapper, PODNET, "--lease-dir", self.leases, "--uid", "107", "--hostname", "myvm",
                    "--interface", card, check=False)

    def connect(self, card):
        """podnet must succeed; returns the lease."""
        done = self.podnet(card)
        self.test.assertEqual(done.returncode, 0, done.stderr)
        return self.lease()

    def lease(self):
        return json.loads((self.leases / "default.json").read_text())

    def link(self, name):
        return json.loads(self("ip", "-d", "-j", "link", "show", name).stdout)[0]

    def links(self):
        return {link["ifname"] for link in json.loads(self("ip", "-j", "link").stdout)}

    def mac(self):
        return self.link("eth0")["address"]


def ping(address, count=3, wait=2):
    return subprocess.run(["ping", "-c", str(count), "-i", "0.2", "-W", str(wait), address], capture_output=True,
                          text=True, timeout=lib.DEADLINE + count * wait).returncode == 0


def neighbour(address):
    """The MAC address that the node found for it; None: nobody answered."""
    for entry in json.loads(run("ip", "-j", "neigh", "show", "dev", "node0").stdout or "[]"):
        if entry["dst"] == address:
            return entry.get("lladdr")
    return None

"""The guest on the pod network, behind NAT and with the pod's own address, as another pod and a Service see it."""
import json
import re
import unittest

import lib
import linux

PORT = 7
LISTENS = rf"^GUEST echo port={PORT}$"
STEP = 60  # seconds for a few packets there and back: the guest's kernel may be emulated
# The kubelet knocks on the guest's own port.
PROBE = {"tcpSocket": {"port": PORT}, "periodSeconds": 5, "timeoutSeconds": 20, "failureThreshold": 1}


def client():
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
                "name": "client", "image": linux.BUSYBOX, "imagePullPolicy": "Never", "command": ["sleep", "3600"]}]}}


def service(name):
    """Reaches whatever has the machine's label, on a port of its own."""
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"test": name},
                     "ports": [{"name": "echo", "port": 8007, "targetPort": PORT, "protocol": "TCP"}]}}


class Network(linux.Case):
    """Both machines boot at the same time, once."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        case = cls()
        case.apply(client())
        case.wait_condition("pod", "client", "Ready")
        peer = case.get("pod", "client")["status"]["podIP"]
        case.apply(*(item for name, binding in (("nat", "masquerade"), ("flat", "bridge"))
                     for item in (service(name), case.guest(name, binding, peer))))
        cls.early = case.watch_until_ready(("nat", "flat"))

    @staticmethod
    def guest(name, binding, peer):
        """It pings the other pod, then gives back what comes to its port."""
        args = f"info,net,echo podvisor.gateway={peer} ip=dhcp podvisor.echo_port={PORT} podvisor.echo_count=1000000 " \
               "podvisor.timeout=3600"
        return linux.machine(name, args, readinessProbe=PROBE, domain={"devices": {
            "autoattachPodInterface": None, "interfaces": [{"name": "default", binding: {}}]}},
            networks=[{"name": "default", "pod": {}}])

    def watch_until_ready(self, names):
        """Waits until all are ready; the states of those that were so while their guest did not listen yet."""
        early = []
        lib.wait_until(lambda: all([self.is_ready(name, early) for name in names]), linux.PATIENCE, "all ready", every=2)
        return early

    def is_ready(self, name, early):
        pod = next(iter(self.pods(name)), None)
        things = {"pod": pod, "vmi": self.get("vmi", name), "vm": self.get("vm", name)}
        states = {kind: lib.condition(thing, "Ready").get("status") for kind, thing in things.items()}
        if "True" in states.values():
            try:
                self.wait_console(name, LISTENS, timeout=5)
            except AssertionError as error:
                early.append(f"{name}: {states}: {error}")
        return set(states.values()) == {"True"}

    def address(self, name):
        pod, = self.pods(name)
        return pod["status"]["podIP"]

    def in_client(self, *words):
        return self.kubectl("exec", "client", "--", *words, timeout=2 * STEP).stdout

    def echo(self, address, port):
        return self.in_client("sh", "-c", f"echo hello from a pod | nc -w {STEP} {address} {port}")

    def test_ready_when_the_guest_answers(self):
        self.assertEqual(self.early, [])
        for name in ("nat", "flat"):
            pod, = self.pods(name)
            compute = pod["spec"]["containers"][0]
            self.assertEqual(compute["readinessProbe"]["tcpSocket"]["port"], PORT)

    def test_address_by_dhcp(self):
        self.wait_console("nat", r"^GUEST info address eth0=10\.0\.2\.2$")
        self.wait_console("flat", rf"^GUEST info address eth0={re.escape(self.address('flat'))}$")
        for name in ("nat", "flat"):
            self.wait_console(name, rf"^GUEST info hostname {name}$")
            self.wait_console(name, rf"^GUEST info pnp domain {self.namespace}\.svc\.")

    def test_guest_reaches_another_pod(self):
        peer = self.get("pod", "client")["status"]["podIP"]
        for name in ("nat", "flat"):
            self.wait_console(name, rf"^GUEST ok net gateway={re.escape(peer)}$")

    def test_ping(self):
        """Behind NAT there is one hop more, the pod: so it is the guest that answers, not the pod."""
        for name, ttl in (("nat", 63), ("flat", 64)):
            with self.subTest(name):
                told = self.in_client("ping", "-c", "3", "-w", str(STEP), self.address(name))
                self.assertIn("3 packets received", told)
                self.assertIn(f"ttl={ttl} ", told)

    def test_tcp(self):
        for name in ("nat", "flat"):
            with self.subTest(name):
                self.assertEqual(self.echo(self.address(name), PORT), "hello from a pod\n")

    def test_service(self):
        for name in ("nat", "flat"):
            with self.subTest(name):
                subset, = self.get("endpoints", name)["subsets"]
                self.assertEqual([end["ip"] for end in subset["addresses"]], [self.address(name)])
                cluster_ip = self.get("service", name)["spec"]["clusterIP"]
                self.assertEqual(self.echo(cluster_ip, 8007), "hello from a pod\n")

    def test_status(self):
        for name in ("nat", "flat"):
            with self.subTest(name):
                card, = self.get("vmi", name)["status"]["interfaces"]
                self.assertEqual((card["name"], card["ipAddress"], card["ipAddresses"], card["podInterfaceName"]),
                                 ("default", self.address(name), [self.address(name)], "eth0"))
                columns = self.kubectl("get", "vmi", name, "--no-headers").stdout.split()
                self.assertIn(self.address(name), columns)
        mac = self.wait_console("nat", r"^GUEST info net name=eth0 mac=(\S+)$")[1]
        self.assertEqual(self.get("vmi", "nat")["status"]["interfaces"][0]["mac"], mac)

    def test_bridge_takes_the_pods_mac(self):
        """As the node's neighbours see it, which asked for the pod's address and heard the guest."""
        mac = self.wait_console("flat", r"^GUEST info net name=eth0 mac=(\S+)$")[1]
        self.in_client("ping", "-c", "1", "-w", str(STEP), self.address("flat"))
        self.assertIn(mac, self.in_client("cat", "/proc/net/arp"))

    def test_only_podnet_has_a_capability(self):
        for name in ("nat", "flat"):
            pod, = self.pods(name)
            added = {container["name"]: container["securityContext"]["capabilities"].get("add")
                     for container in pod["spec"]["initContainers"] + pod["spec"]["containers"]}
            self.assertEqual(added.pop("podnet"), ["NET_ADMIN"])
            self.assertEqual(set(added.values()), {None}, json.dumps(added))


if __name__ == "__main__":
    unittest.main(verbosity=2)

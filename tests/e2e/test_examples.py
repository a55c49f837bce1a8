"""Each manifest of deploy/examples, as it is but for the command line that this host's kernel wants, comes to the state that its
head promises."""
import unittest

import lib
import linux

FOLDER = lib.ROOT / "deploy/examples"
# What is to be seen of a machine from outside; what a guest finds on these networks is in test_network.py.
SEEN = ["bridge.yaml", "instance.yaml", "masquerade-ports.yaml", "placement.yaml"]
# One for each way to a disk, and one that ends by itself: booted at the same time.
BOOTED = ["claim.yaml", "container-disk.yaml", "run-strategy.yaml", "vm.yaml"]


class Examples(linux.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        volume = f"{cls.namespace}-data"
        lib.run(lib.CLUSTER, "volume", volume, "64Mi")
        cls.addClassCleanup(lib.kubectl, "delete", "pv", volume, "--wait=false", check=False)

    def apply_examples(self, names):
        for name in names:
            self.kubectl("apply", "-f", "-", stdin=linux.adapted((FOLDER / name).read_text()))

    def test_each_has_a_test(self):
        self.assertEqual(sorted(path.name for path in FOLDER.glob("*.yaml")), sorted(SEEN + BOOTED))

    def test_seen(self):
        self.apply_examples(SEEN)
        for name in ("bridge", "placed", "ports"):
            self.wait_condition("vm", name, "Ready")
        self.wait_condition("vmi", "scratch", "Ready")
        self.check_service()
        self.check_placement()
        self.check_bridge()
        self.kubectl("delete", "vmi", "scratch", "--timeout=100s")
        self.kubectl("delete", "vm", "bridge", "placed", "ports", "--timeout=100s")

    def test_booted(self):
        self.apply_examples(BOOTED)
        for name in ("claim", "container-disk", "example"):
            self.wait_condition("vm", name, "Ready")
        for name, mib in (("claim", 64), ("container-disk", 8), ("example", 64)):
            self.wait_console(name, rf"^GUEST info block name=vda sectors={mib * 2048}$")
        self.wait_console("container-disk", r"^GUEST ok disk ")
        self.wait_printable("errand", "Stopped", linux.PATIENCE)
        self.assertEqual(self.pods_that_run("errand"), [])
        self.kubectl("delete", "vm", "--all", "--timeout=100s")

    def pods_that_run(self, name):
        pods = self.list("pod", "-l", f"vm.kubevirt.io/name={name}")
        return [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] in ("Pending", "Running")]

    def check_service(self):
        """The head of masquerade-ports.yaml: kubectl get endpoints ports."""
        address = self.get("vmi", "ports")["status"]["interfaces"][0]["ipAddress"]
        subset, = lib.wait_until(lambda: (self.get("endpoints", "ports") or {}).get("subsets"), what="endpoints")
        self.assertEqual([end["ip"] for end in subset["addresses"]], [address])
        self.assertEqual({(port["name"], port["protocol"], port["port"]) for port in subset["ports"]},
                         {("http", "TCP", 80), ("dns", "UDP", 53)})

    def check_placement(self):
        pod, = self.list("pod", "-l", "vm.kubevirt.io/name=placed")
        asked = self.get("vm", "placed")["spec"]["template"]["spec"]
        self.assertLessEqual(asked["nodeSelector"].items(), pod["spec"]["nodeSelector"].items())
        self.assertIn(asked["tolerations"][0], pod["spec"]["tolerations"])
        self.assertEqual(pod["spec"]["topologySpreadConstraints"], asked["topologySpreadConstraints"])
        self.assertIn("podAntiAffinity", pod["spec"]["affinity"])
        self.assertEqual(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"], "500m")

    def check_bridge(self):
        pod, = self.list("pod", "-l", "vm.kubevirt.io/name=bridge")
        self.assertEqual(self.get("vmi", "bridge")["status"]["interfaces"][0]["ipAddress"], pod["status"]["podIP"])


if __name__ == "__main__":
    unittest.main(verbosity=2)

"""What kubectl shows of the API, and what the API server takes and refuses, before any of our programs sees it."""
import json
import re
import unittest

import lib

EXAMPLES = sorted((lib.ROOT / "deploy/examples").glob("*.yaml"))


class Api(lib.Case):
    def create(self, thing, *words):
        """Through the API server's checks and no further."""
        return self.kubectl("create", "--dry-run=server", *words, "-f", "-", stdin=json.dumps(thing), check=False)

    def refusal_of(self, thing, *words):
        done = self.create(thing, *words)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        return done.stderr

    def assert_taken(self, thing):
        done = self.create(thing)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_explain(self):
        for path, words in (("vm.spec.template.spec.domain", ["cpu", "Virtual processors.", "devices", "firmware"]),
                            ("vm.spec.runStrategy", ["RerunOnFailure"]),
                            ("vm.spec.template.spec.volumes.containerDisk", ["imagePullPolicy", "Absolute path"]),
                            ("vm.spec.template.spec.affinity.podAntiAffinity", ["requiredDuringScheduling"]),
                            ("vm.spec.template.spec.domain.devices.gpus", ["Refused: GPUs are not supported."]),
                            ("vmi.spec.networks.pod", ["vmNetworkCIDR"]),
                            ("vmi.status.interfaces", ["ipAddress", "MAC address"]),
                            ("vm.status.printableStatus", ["CrashLoopBackOff"])):
            with self.subTest(path):
                text = " ".join(self.kubectl("explain", path).stdout.split())
                for word in words:
                    self.assertIn(word, text)

    def test_examples_and_manifests_are_taken(self):
        for path in (*EXAMPLES, lib.ROOT / "deploy/podvisor.yaml"):
            with self.subTest(path.name):
                where = [] if path.name == "podvisor.yaml" else ["-n", self.namespace]
                lib.kubectl(*where, "apply", "--dry-run=server", "-f", path)

    def test_what_go_clients_write_is_taken(self):
        """Empty metadata and status, and null for what a pointer does not point to."""
        vm = lib.machine("go")
        vm["metadata"]["creationTimestamp"] = None
        vm["spec"]["template"]["metadata"] = {"creationTimestamp": None, "labels": {"a": "b"}}
        vm["spec"]["dataVolumeTemplates"] = [{"metadata": {"name": "x", "creationTimestamp": None}, "status": {},
                                              "spec": {"source": {"blank": {}}, "pvc": {
                                                  "accessModes": ["ReadWriteOnce"],
                                                  "resources": {"requests": {"storage": "1Gi"}}}}}]
        vm["status"] = {"startFailure": None, "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": None}]}
        self.assert_taken(vm)
        vm["spec"]["template"]["metadata"] = None
        self.assert_taken(vm)

    def test_quantities_are_strings_or_integers(self):
        for value in ("64Mi", "0.5Gi", "64e6", 67108864):
            with self.subTest(value):
                self.assert_taken(lib.machine("memory", domain={"memory": {"guest": value}}))

    def test_refused_at_once(self):
        port = {"interfaces": [{"name": "default", "masquerade": {}, "ports": [{"port": 0}]}]}
        spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
        for changes, path in (({"domain": {"cpu": {"cores": "2"}}}, "spec.template.spec.domain.cpu.cores"),
                              ({"domain": {"memory": {"guest": "12Q"}}}, "spec.template.spec.domain.memory.guest"),
                              ({"domain": {"devices": None}}, "spec.template.spec.domain.devices"),
                              ({"domain": {"devices": port}}, "spec.template.spec.domain.devices.interfaces.ports.port"),
                              ({"evictionStrategy": "Never"}, "spec.template.spec.evictionStrategy"),
                              ({"topologySpreadConstraints": [spread, spread]}, "spec.template.spec.topologySpread")):
            with self.subTest(path):
                words = self.refusal_of(lib.machine("bad", **changes), "--validate=false")
                self.assertIn(path, re.sub(r"\[\d+\]", "", words))  # newer servers say which element, too
        words = self.refusal_of(lib.machine("bad", strategy="Allways"), "--validate=false")
        self.assertIn('spec.runStrategy: Unsupported value: "Allways": supported values: "Always"', words)

    def test_a_misspelt_field_is_refused(self):
        """By this kubectl itself, or by the API server that a newer one asks to be strict."""
        words = self.refusal_of(lib.machine("bad", domain={"firmware": {"kernelBoot": {"kernelArg": "x"}}}))
        self.assertRegex(words, r'unknown field "(spec\.template\.spec\.domain\.firmware\.kernelBoot\.)?kernelArg"')

    def test_what_is_not_supported_is_kept(self):
        """So that the operator can name it."""
        vm = lib.machine("kept", strategy="Halted", domain={"devices": {
            "watchdog": {"name": "w", "i6300esb": {"action": "poweroff"}}, "inputs": [{"name": "t", "type": "tablet"}]}})
        self.apply(vm)
        devices = self.get("vm", "kept")["spec"]["template"]["spec"]["domain"]["devices"]
        self.assertEqual(devices, vm["spec"]["template"]["spec"]["domain"]["devices"])

    def test_columns_names_and_versions(self):
        self.apply(lib.machine("listed", strategy="Halted"))
        header = self.kubectl("get", "vms").stdout.splitlines()[0].split()
        self.assertEqual(header, ["NAME", "AGE", "STATUS", "READY"])
        resources = lib.kubectl("api-resources", "--api-group=kubevirt.io", "--no-headers", "-o", "wide").stdout
        self.assertRegex(resources, r"(?m)^virtualmachines +vm,vms ")
        self.assertRegex(resources, r"(?m)^virtualmachineinstances +vmi,vmis ")
        self.assertIn("virtualmachine.kubevirt.io/listed", self.kubectl("get", "all", "-o", "name").stdout)
        old = self.kubectl("get", "vm.v1alpha3.kubevirt.io", "listed", "-o", "json")
        self.assertEqual(json.loads(old.stdout)["apiVersion"], "kubevirt.io/v1alpha3")
        self.assertIn("kubevirt.io/v1alpha3 is now deprecated", old.stderr)

    def test_users_roles(self):
        """The cluster's own roles reach machines, as far as they reach other things."""
        for role, verbs in (("view", {"yes": ["get", "list", "watch"], "no": ["create", "delete"]}),
                            ("edit", {"yes": ["get", "create", "patch", "delete"], "no": ["deletecollection"]}),
                            ("admin", {"yes": ["create", "deletecollection"], "no": []})):
            user = f"e2e-{role}"
            self.kubectl("create", "rolebinding", user, f"--clusterrole={role}", f"--user={user}")
            for answer, asked in verbs.items():
                for verb in asked:
                    with self.subTest(f"{role} {verb}"):
                        def says(verb=verb, user=user):
                            return self.kubectl("auth", "can-i", verb, "vm", "--as", user, check=False).stdout.strip()
                        lib.wait_until(lambda says=says, answer=answer: says() == answer, timeout=20, what=answer)


if __name__ == "__main__":
    unittest.main(verbosity=2)

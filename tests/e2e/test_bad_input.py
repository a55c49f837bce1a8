"""Wrong manifests and hostile surroundings: a reason with the field's path, no crash, no hot loop, no silence."""
import json
import time

import lib


class BadInput(lib.Case):
    def failure_of(self, vm):
        """The Failure condition's message of a machine that must not start."""
        name = vm["metadata"]["name"]
        self.apply(vm)
        self.wait_condition("vm", name, "Failure")
        self.assertIsNone(self.get("vmi", name))
        lib.wait_until(lambda: self.events(name, "FailedCreate"), what="a warning event")
        event, = self.events(name, "FailedCreate")
        self.assertEqual(event["type"], "Warning")
        return lib.condition(self.get("vm", name), "Failure")["message"]

    def refusal_of(self, thing):
        """What the API server says to an object that it does not take."""
        done = self.kubectl("apply", "-f", "-", stdin=json.dumps(thing), check=False)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        return done.stderr

    def test_templates(self):
        spec = "spec.template.spec."
        cases = {
            "unit": ({"domain": {"memory": {"guest": "12XB"}}}, "domain.memory.guest"),
            "small": ({"domain": {"memory": {"guest": "1k"}}}, "domain.memory.guest"),
            "huge": ({"domain": {"memory": {"guest": "64Ti"}}}, "domain.memory.guest"),
            "cpus": ({"domain": {"cpu": {"sockets": 1000}}}, "domain.cpu"),
            "bus": ({"domain": {"devices": {"disks": [{"name": "a", "disk": {"bus": "ide"}}]}},
                     "volumes": [{"name": "a", "emptyDisk": {"capacity": "1Mi"}}]}, "domain.devices.disks[0]"),
            "volume-kind": ({"volumes": [{"name": "a", "floppy": {}}]}, "volumes[0]"),
            "two-volumes": ({"volumes": [{"name": "a", "emptyDisk": {"capacity": "1Mi"}},
                                         {"name": "a", "emptyDisk": {"capacity": "1Mi"}}]}, "volumes[1]"),
            "no-volume": ({"domain": {"devices": {"disks": [{"name": "a", "disk": {}}]}}},
                          "domain.devices.disks[0].name"),
            "unknown-field": ({"domain": {"devises": {}}}, "domain.devises"),
            "gpu": ({"domain": {"devices": {"gpus": [{"name": "g", "deviceName": "x"}]}}}, "domain.devices.gpus"),
        }
        for name, (changes, path) in cases.items():
            with self.subTest(name):
                vm = lib.machine(name, **changes)
                done = self.kubectl("apply", "-f", "-", stdin=json.dumps(vm), check=False)
                if done.returncode != 0:  # the schema has seen it already
                    self.assertIn(path.split("[")[0].split(".")[-1], done.stderr)
                    continue
                message = self.failure_of(vm)
                self.assertIn(spec + path, message)

    def test_corrected_template(self):
        """What was wrong is forgotten once it is right, and the machine starts without another word."""
        message = self.failure_of(lib.machine("typo", domain={"memory": {"guest": "1k"}}))
        self.assertIn("domain.memory.guest", message)
        self.apply(lib.machine("typo"))
        self.wait_condition("vm", "typo", "Ready")
        self.assertEqual(lib.condition(self.get("vm", "typo"), "Failure"), {})

    def test_run_strategy(self):
        both = lib.machine("both")
        both["spec"]["running"] = True
        neither = lib.machine("neither")
        del neither["spec"]["runStrategy"]
        for vm, words in ((both, "mutually exclusive"), (neither, "must be specified")):
            name = vm["metadata"]["name"]
            self.apply(vm)
            self.wait_condition("vm", name, "Failure")
            self.assert_condition(self.get("vm", name), "Failure", "True", message=words)

    def test_instance_with_bad_specification(self):
        self.apply(lib.instance("wrong", volumes=[{"name": "a", "emptyDisk": {"capacity": "1Mi"}},
                                                  {"name": "a", "emptyDisk": {"capacity": "1Mi"}}]))
        self.wait_phase("wrong", "Failed")
        self.assert_condition(self.get("vmi", "wrong"), "Synchronized", "False", message="spec.volumes[1]")
        self.assertEqual(self.list("pod", "-l", "test=wrong"), [])

    def test_unsupported_field_is_named(self):
        self.apply(lib.machine("tablet", domain={"devices": {
            "autoattachPodInterface": False, "inputs": [{"name": "t", "type": "tablet", "bus": "usb"}]}}))
        self.wait_condition("vm", "tablet", "Ready")
        self.assert_condition(self.get("vm", "tablet"), "FieldsSupported", "False", message="domain.devices.inputs")
        lib.wait_until(lambda: self.events("tablet", "UnsupportedFields"), what="a warning event")

    def test_claim_that_comes_late(self):
        self.apply(lib.machine("waits", volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "later"}}]))
        self.wait_printable("waits", "ErrorPvcNotFound")
        lib.wait_until(lambda: self.events("waits", "FailedPvcNotFound"), what="a warning event")
        self.assertEqual(self.pods("waits"), [])
        self.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "later"},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}})
        lib.wait_until(lambda: self.pods("waits"), what="a pod, now that there is a claim")

    def test_image_missing(self):
        self.apply(lib.machine("no-image", domain={"firmware": {"kernelBoot": {
            "container": {"image": "podvisor/nothing:dev", "imagePullPolicy": "Never"}}}}))
        lib.wait_until(lambda: (self.get("vm", "no-image") or {}).get("status", {}).get("printableStatus") in
                       ("ErrImagePull", "ImagePullBackOff"), what="status ErrImagePull")
        vmi = self.get("vmi", "no-image")
        self.assertIn("podvisor/nothing", lib.condition(vmi, "Synchronized")["message"])
        self.kubectl("delete", "vm", "no-image", "--timeout=60s")
        lib.wait_until(lambda: not self.pods("no-image"), what="no pod")

    def test_file_missing_in_image(self):
        self.apply(lib.instance("no-file", domain={"firmware": {"kernelBoot": {"container": {"kernelPath": "/boot/x"}}}}))
        self.wait_phase("no-file", "Failed")
        self.assertIn("/boot/x", json.dumps(self.get("vmi", "no-file")["status"]))

    def test_no_node(self):
        self.apply(lib.machine("nowhere", nodeSelector={"there-is": "none"}))
        self.wait_printable("nowhere", "ErrorUnschedulable")
        self.assert_condition(self.get("vmi", "nowhere"), "PodScheduled", "False", "Unschedulable")

    def test_quota(self):
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"},
                 "spec": {"hard": {"pods": "0"}}}
        namespace = self.namespace + "-quota"
        lib.kubectl("create", "namespace", namespace)
        self.addCleanup(lib.kubectl, "delete", "namespace", namespace, "--timeout=60s", check=False)
        lib.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(quota))
        lib.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(lib.machine("over")))

        def refused():
            done = lib.kubectl("-n", namespace, "get", "vmi", "over", "-o", "json", check=False)
            return done.returncode == 0 and "quota" in lib.condition(json.loads(done.stdout), "Synchronized").get(
                "message", "")
        lib.wait_until(refused, what="a condition that names the quota")
        lib.kubectl("-n", namespace, "delete", "quota", "none")
        lib.kubectl("-n", namespace, "wait", "--for=condition=Ready", "vm/over", "--timeout=120s")
        lib.kubectl("-n", namespace, "delete", "vm", "over", "--timeout=60s")

    def test_long_name(self):
        name = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
        self.assertEqual(len(name), 253)
        vm = lib.machine(name)
        vm["spec"]["template"]["metadata"]["labels"]["test"] = "long"
        self.apply(vm)
        self.wait_condition("vm", name, "Ready")
        self.kubectl("delete", "vm", name, "--timeout=60s")

    def test_no_hot_loop(self):
        """A machine that cannot start costs next to nothing."""
        self.apply(lib.machine("stuck", nodeSelector={"there-is": "none"}))
        self.wait_printable("stuck", "ErrorUnschedulable")
        version = self.get("vmi", "stuck")["metadata"]["resourceVersion"]
        time.sleep(5)
        self.assertEqual(self.get("vmi", "stuck")["metadata"]["resourceVersion"], version)


if __name__ == "__main__":
    lib.main(jobs=4)

"""kubectl as its user knows it from every other object: apply, watch, wait, select, delete. (What it shows of the API is
in test_api.py.)"""
import json
import pathlib
import subprocess
import tempfile
import time
import unittest

import lib


class Kubectl(lib.Case):
    def test_get_watch(self):
        """Every status of a machine's life goes by, in order, in `kubectl get vm -w`."""
        watch = subprocess.Popen([lib.CLUSTER, "kubectl", "-n", self.namespace, "get", "vm", "-w", "--no-headers"],
                                 stdout=subprocess.PIPE, text=True)
        self.addCleanup(watch.stdout.close)
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)
        time.sleep(1)
        self.apply(lib.machine("seen"))
        self.wait_condition("vm", "seen", "Ready")
        self.kubectl("delete", "vm", "seen", "--timeout=60s")
        time.sleep(1)
        watch.terminate()
        states = [line.split()[2] for line in watch.stdout.read().splitlines() if len(line.split()) > 2]
        order = ["Stopped", "Provisioning", "WaitingForVolumeBinding", "Starting", "Running", "Terminating"]
        self.assertLessEqual(set(states), set(order), states)
        self.assertLessEqual({"Starting", "Running"}, set(states))
        self.assertEqual(states, sorted(states, key=order.index), "statuses go forward only")

    def test_wait_for_conditions_and_deletion(self):
        self.apply(lib.machine("waited"))
        self.wait_condition("vm", "waited", "Ready")
        self.kubectl("wait", "--for=condition=Ready", "vm/waited", "vmi/waited", "--timeout=20s")
        self.kubectl("delete", "vm", "waited", "--wait=false")
        self.kubectl("wait", "--for=delete", "vm/waited", "--timeout=60s")
        self.assertIsNone(self.get("vmi", "waited"))

    def test_apply_again_changes_nothing(self):
        vm = lib.machine("same")
        self.assertIn("same created", self.apply(vm).stdout)
        self.wait_condition("vm", "same", "Ready")
        before = self.get("vm", "same")["metadata"]["generation"]
        self.assertIn("same unchanged", self.apply(vm).stdout)
        done = self.kubectl("diff", "-f", "-", stdin=json.dumps(vm), check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""), "kubectl diff")
        self.assertEqual(self.get("vm", "same")["metadata"]["generation"], before)
        pod, = self.pods("same")
        self.assertFalse(pod["metadata"].get("deletionTimestamp"))
        self.kubectl("delete", "vm", "same", "--timeout=60s")

    def test_server_side_apply(self):
        """Two appliers have a field each; the operator's status is in nobody's way."""
        vm = lib.machine("shared", strategy="Halted")
        own = ["--server-side", "--field-manager=first"]
        self.kubectl("apply", *own, "-f", "-", stdin=json.dumps(vm))
        label = {key: vm[key] for key in ("apiVersion", "kind")}
        label["metadata"] = {"name": "shared", "labels": {"by": "second"}}
        second = ["--server-side", "--field-manager=second", "--validate=false"]  # or an old kubectl misses the spec
        self.kubectl("apply", *second, "-f", "-", stdin=json.dumps(label))
        label["spec"] = {"runStrategy": "Always"}
        done = self.kubectl("apply", *second, "-f", "-", stdin=json.dumps(label), check=False)
        self.assertRegex(done.stderr, r'conflict with "first".*\.spec\.runStrategy')
        vm["spec"]["runStrategy"] = "Always"
        self.kubectl("apply", *own, "-f", "-", stdin=json.dumps(vm))
        self.wait_condition("vm", "shared", "Ready")
        self.kubectl("apply", *own, "-f", "-", stdin=json.dumps(vm))
        found = self.get("vm", "shared")
        self.assertEqual(found["metadata"]["labels"]["by"], "second")
        self.kubectl("delete", "vm", "shared", "--timeout=60s")

    def test_kustomize(self):
        """`kubectl apply -k` and `delete -k`, with a prefix, a label and an image from the kustomization."""
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "vm.json").write_text(json.dumps(lib.machine("one")))
            (folder / "kustomization.yaml").write_text(
                "namePrefix: k-\nresources: [vm.json]\ncommonLabels: {tier: k}\n")
            self.kubectl("apply", "-k", folder)
            self.wait_condition("vm", "k-one", "Ready")
            self.kubectl("delete", "-k", folder, "--timeout=60s")
        self.assertIsNone(self.get("vm", "k-one"))
        lib.wait_until(lambda: not self.pods("one"), what="no pod")

    def test_get_all_and_selectors(self):
        """The machine, its instance and its pod together; labels of the template select instance and pod."""
        self.apply(lib.machine("whole"), lib.machine("other", strategy="Halted"))
        self.wait_condition("vm", "whole", "Ready")
        lines = self.kubectl("get", "all", "-o", "name").stdout.split()
        for kind in ("virtualmachine.kubevirt.io/whole", "virtualmachineinstance.kubevirt.io/whole",
                     "virtualmachine.kubevirt.io/other"):
            self.assertIn(kind, lines)
        chosen = self.kubectl("get", "vmi,pod", "-l", "test=whole", "-o", "name").stdout.split()
        self.assertEqual(len(chosen), 2, chosen)
        self.assertRegex(" ".join(chosen), r"pod/virt-launcher-whole-")
        self.assertEqual(self.kubectl("get", "vmi,pod", "-l", "test=other", "-o", "name").stdout, "")
        wide = self.kubectl("get", "vmi", "whole", "-o", "wide").stdout.splitlines()
        self.assertEqual(wide[0].split()[:6], ["NAME", "AGE", "PHASE", "IP", "NODENAME", "READY"])
        self.kubectl("delete", "vm", "-l", "test=whole", "--timeout=60s")  # the template's labels are not the machine's
        self.assertIsNotNone(self.get("vm", "whole"))
        self.kubectl("delete", "vm", "whole", "other", "--timeout=60s")

    def test_describe(self):
        """What happened, in words, without knowing where to look."""
        self.apply(lib.machine("told"))
        self.wait_condition("vm", "told", "Ready")
        lib.wait_until(lambda: self.events("told", "Started"), what="event Started")
        words = self.kubectl("describe", "vmi", "told").stdout
        for word in ("Phase:", "Running", "SuccessfulCreate", "Started", "virt-launcher-told-"):
            self.assertIn(word, words)
        self.assertRegex(self.kubectl("describe", "vm", "told").stdout, r"Normal +SuccessfulCreate")
        self.kubectl("delete", "vm", "told", "--timeout=60s")

    def test_scale(self):
        """A machine is one machine: KubeVirt has no scale subresource here, and says so."""
        self.apply(lib.machine("single", strategy="Halted"))
        done = self.kubectl("scale", "vm/single", "--replicas=2", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIsNotNone(self.get("vm", "single"))
        self.kubectl("delete", "vm", "single", "--timeout=60s")


if __name__ == "__main__":
    unittest.main(verbosity=2)

"""A machine from `kubectl apply` to `kubectl delete`, as its user sees it."""
import json

import lib


class Life(lib.Case):
    def test_virtual_machine(self):
        self.apply(lib.machine("box"))
        self.wait_condition("vm", "box", "Ready")
        vm, vmi = self.get("vm", "box"), self.get("vmi", "box")
        self.check_machine(vm)
        self.check_instance(vmi)
        pod, = self.pods("box")
        self.check_pod(pod, vmi)
        self.check_columns()
        self.check_console(pod)
        self.check_events()
        self.kubectl("delete", "vm", "box", "--timeout=60s")
        self.wait_gone("vmi", "box")
        lib.wait_until(lambda: not self.pods("box"), what="no pod")

    def check_machine(self, vm):
        self.assertEqual(vm["status"]["printableStatus"], "Running")
        self.assertIs(vm["status"]["created"], True)
        self.assertIs(vm["status"]["ready"], True)
        self.assertEqual(vm["status"]["observedGeneration"], vm["metadata"]["generation"])
        self.assertEqual(vm["status"]["runStrategy"], "Always")
        self.assertIn("kubevirt.io/virtualMachineControllerFinalize", vm["metadata"]["finalizers"])
        self.assert_condition(vm, "LiveMigratable", "False", "NotMigratable")

    def check_instance(self, vmi):
        status = vmi["status"]
        self.assertEqual(status["phase"], "Running")
        self.assertTrue(status["nodeName"])
        self.assertEqual(list(status["activePods"].values()), [status["nodeName"]])
        self.assertEqual([stamp["phase"] for stamp in status["phaseTransitionTimestamps"]],
                         ["Pending", "Scheduling", "Scheduled", "Running"])
        self.assertEqual(status["runtimeUser"], 107)
        owner, = vmi["metadata"]["ownerReferences"]
        self.assertEqual((owner["kind"], owner["name"], owner["controller"]), ("VirtualMachine", "box", True))

    def check_pod(self, pod, vmi):
        self.assertEqual(pod["metadata"]["labels"]["kubevirt.io/created-by"], vmi["metadata"]["uid"])
        self.assertEqual(pod["spec"]["containers"][0]["name"], "compute")
        uid = self.kubectl("exec", pod["metadata"]["name"], "-c", "compute", "--", "/usr/bin/vmm", "ctl", "status")
        self.assertIn('"running"', uid.stdout)

    def check_columns(self):
        header, line = self.kubectl("get", "vm", "box").stdout.splitlines()
        self.assertEqual(header.split(), ["NAME", "AGE", "STATUS", "READY"])
        self.assertEqual(line.split()[2:], ["Running", "True"])
        header, line = self.kubectl("get", "vmi", "box").stdout.splitlines()
        self.assertEqual(header.split(), ["NAME", "AGE", "PHASE", "IP", "NODENAME", "READY"])
        self.assertIn("Running", line.split())

    def check_console(self, pod):
        lib.wait_until(lambda: "READY" in self.kubectl("logs", pod["metadata"]["name"], "-c", "compute").stdout,
                       what="the guest's word in kubectl logs")

    def check_events(self):
        lib.wait_until(lambda: self.events("box", "Started"), what="event Started")
        reasons = [event["reason"] for event in self.events("box")]
        self.assertEqual(reasons.count("SuccessfulCreate"), 2, "one of the machine, one of the instance")

    def test_instance_alone(self):
        self.apply(lib.instance("alone"))
        self.wait_phase("alone", "Running")
        self.kubectl("delete", "vmi", "alone", "--timeout=60s")
        lib.wait_until(lambda: not self.pods("alone"), what="no pod")

    def test_guest_powers_off(self):
        self.apply(lib.instance("off", args="o"))
        self.wait_phase("off", "Succeeded")
        self.assertTrue(lib.wait_until(lambda: self.events("off", "Stopped"), what="event Stopped"))

    def test_guest_panics(self):
        self.apply(lib.instance("panics", args="p"))
        self.wait_phase("panics", "Failed")
        status = self.get("vmi", "panics")["status"]
        self.assertIn("GuestPanic", json.dumps(status))

    def test_graceful_stop(self):
        """SIGTERM is the power button, and the guest's answer is a clean end."""
        self.apply(lib.instance("stops"))
        self.wait_phase("stops", "Running")
        pod, = self.pods("stops")
        name = pod["metadata"]["name"]
        lib.wait_until(lambda: "READY" in self.kubectl("logs", name, "-c", "compute").stdout, what="READY")
        self.kubectl("delete", "vmi", "stops", "--wait=false")
        seen = set()

        def gone():
            vmi = self.get("vmi", "stops")
            seen.add((vmi or {}).get("status", {}).get("phase"))
            return vmi is None
        lib.wait_until(gone, what="the instance gone", every=0.05)
        self.assertNotIn("Failed", seen)

    def test_labels_select(self):
        self.apply(lib.machine("one"), lib.machine("two"))
        self.wait_condition("vm", "one", "Ready")
        self.wait_condition("vm", "two", "Ready")
        chosen = self.list("vmi", "-l", "test=two")
        self.assertEqual([vmi["metadata"]["name"] for vmi in chosen], ["two"])
        self.kubectl("delete", "vm", "one", "two", "--timeout=60s")

    def owner(self, name):
        owners = self.get("vmi", name)["metadata"].get("ownerReferences", [])
        return owners[0]["uid"] if owners else None

    def test_orphan_is_adopted(self):
        """kubectl delete --cascade=orphan leaves the machine running, and one of its name takes it over."""
        self.apply(lib.machine("left"))
        self.wait_condition("vm", "left", "Ready")
        pod, = self.pods("left")
        self.kubectl("delete", "vm", "left", "--cascade=orphan", "--timeout=60s")
        lib.wait_until(lambda: self.owner("left") is None, what="an instance without owner")
        self.assertEqual(self.get("vmi", "left")["status"]["phase"], "Running")
        self.apply(lib.machine("left"))
        self.wait_condition("vm", "left", "Ready")
        self.assertEqual(self.owner("left"), self.get("vm", "left")["metadata"]["uid"])
        self.assertEqual([each["metadata"]["uid"] for each in self.pods("left")], [pod["metadata"]["uid"]])
        self.kubectl("delete", "vm", "left", "--timeout=60s")
        self.wait_gone("vmi", "left")

    def test_instance_of_another(self):
        """It is neither stopped nor shown; when it goes, the machine starts."""
        self.kubectl("create", "configmap", "somebody")
        somebody = self.get("configmap", "somebody")
        vmi = lib.instance("taken")
        vmi["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "somebody",
                                               "uid": somebody["metadata"]["uid"], "controller": True}]
        self.apply(vmi)
        self.wait_phase("taken", "Running")
        self.apply(lib.machine("taken"))
        self.wait_condition("vm", "taken", "Failure")
        vm = self.get("vm", "taken")
        self.assert_condition(vm, "Failure", "True", "FailedCreate")
        self.assert_condition(vm, "Ready", "False", "VMINotExists")
        self.assertEqual(lib.condition(vm, "LiveMigratable"), {})
        self.assertEqual(vm["status"]["printableStatus"], "Stopped")
        self.kubectl("delete", "vmi", "taken", "--timeout=60s")
        self.wait_condition("vm", "taken", "Ready")
        self.assertEqual(lib.condition(self.get("vm", "taken"), "Failure"), {})
        self.kubectl("delete", "vm", "taken", "--timeout=60s")

    def test_pod_deleted_by_hand(self):
        """Always: a new instance, in a new pod."""
        self.apply(lib.machine("hit"))
        self.wait_condition("vm", "hit", "Ready")
        first, = self.pods("hit")
        self.kubectl("delete", "pod", first["metadata"]["name"], "--wait=false")
        lib.wait_until(lambda: [pod for pod in self.pods("hit") if pod["metadata"]["uid"] != first["metadata"]["uid"]],
                       what="another pod")
        self.wait_condition("vm", "hit", "Ready")
        self.kubectl("delete", "vm", "hit", "--timeout=60s")


if __name__ == "__main__":
    lib.main(jobs=4)

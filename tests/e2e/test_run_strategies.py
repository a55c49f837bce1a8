"""When a machine runs: KubeVirt's run strategies, with guests that end by themselves."""
import json

import lib


class RunStrategies(lib.Case):
    def uid(self, name):
        vmi = self.get("vmi", name)
        return vmi["metadata"]["uid"] if vmi else None

    def set_strategy(self, name, strategy):
        self.kubectl("patch", "vm", name, "--type=merge", "-p", json.dumps({"spec": {"runStrategy": strategy}}))

    def request(self, name, *requests):
        """What the subresource API writes for virtctl start, stop and restart."""
        path = f"/apis/kubevirt.io/v1/namespaces/{self.namespace}/virtualmachines/{name}/status"
        lib.patch_status(path, {"status": {"stateChangeRequests": list(requests)}})

    def test_halted_and_back(self):
        self.apply(lib.machine("switch", strategy="Halted"))
        self.wait_printable("switch", "Stopped")
        self.assertIsNone(self.get("vmi", "switch"))
        self.set_strategy("switch", "Always")
        self.wait_condition("vm", "switch", "Ready")
        self.set_strategy("switch", "Halted")
        self.wait_gone("vmi", "switch")
        self.wait_printable("switch", "Stopped")

    def test_running_field(self):
        vm = lib.machine("old")
        del vm["spec"]["runStrategy"]
        vm["spec"]["running"] = True
        self.apply(vm)
        self.wait_condition("vm", "old", "Ready")
        self.kubectl("patch", "vm", "old", "--type=merge", "-p", '{"spec": {"running": false}}')
        self.wait_gone("vmi", "old")

    def test_always_restarts(self):
        """A guest that powers off is started again, after the back-off of one that ended at once."""
        self.apply(lib.machine("again", args="o"))
        first = lib.wait_until(lambda: self.uid("again"), what="an instance")
        lib.wait_until(lambda: self.uid("again") not in (None, first), what="another instance")

    def test_crash_loop(self):
        self.apply(lib.machine("crashes", args="p"))
        self.wait_printable("crashes", "CrashLoopBackOff")
        failure = self.get("vm", "crashes")["status"]["startFailure"]
        self.assertGreaterEqual(failure["consecutiveFailCount"], 1)
        self.assertTrue(failure["retryAfterTimestamp"])

    def test_rerun_on_failure(self):
        self.apply(lib.machine("good", args="o", strategy="RerunOnFailure"),
                   lib.machine("bad", args="p", strategy="RerunOnFailure"))
        self.wait_printable("good", "Stopped")
        self.wait_gone("vmi", "good")
        self.wait_printable("bad", "CrashLoopBackOff")
        self.wait_printable("good", "Stopped")

    def test_once(self):
        self.apply(lib.machine("once", args="o", strategy="Once"))
        self.wait_phase("once", "Succeeded")
        self.wait_printable("once", "Stopped")
        self.assertEqual(self.get("vmi", "once")["status"]["phase"], "Succeeded")

    def test_manual(self):
        self.apply(lib.machine("manual", strategy="Manual"))
        self.wait_printable("manual", "Stopped")
        self.request("manual", {"action": "Start"})
        self.wait_condition("vm", "manual", "Ready")
        lib.wait_until(lambda: "stateChangeRequests" not in self.get("vm", "manual")["status"], what="the request met")
        uid = self.uid("manual")
        self.request("manual", {"action": "Stop", "uid": uid}, {"action": "Start"})
        lib.wait_until(lambda: self.uid("manual") not in (None, uid), what="another instance")
        self.wait_condition("vm", "manual", "Ready")
        self.request("manual", {"action": "Stop", "uid": self.uid("manual")})
        self.wait_gone("vmi", "manual")
        self.wait_printable("manual", "Stopped")

    def test_restart_required(self):
        self.apply(lib.machine("grows"))
        self.wait_condition("vm", "grows", "Ready")
        self.apply(lib.machine("grows", domain={"memory": {"guest": "32Mi"}}))
        self.wait_condition("vm", "grows", "RestartRequired")
        self.assertEqual(self.get("vmi", "grows")["spec"]["domain"]["memory"]["guest"], "16Mi")


if __name__ == "__main__":
    lib.main(jobs=4)

"""When a machine runs: KubeVirt's run strategies, with guests that end by themselves."""
import json
import time

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

    def restart(self, name):
        """What virtctl restart writes; the next instance's uid."""
        uid = self.uid(name)
        self.request(name, {"action": "Stop", "uid": uid}, {"action": "Start"})
        return lib.wait_until(lambda: self.uid(name) not in (None, uid) and self.uid(name), what="another instance")

    def stays(self, name, uid, seconds=4):
        """Nothing comes and nothing goes."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            vmi = self.get("vmi", name)
            self.assertEqual((vmi or {}).get("metadata", {}).get("uid"), uid)
            self.assertNotIn("deletionTimestamp", (vmi or {}).get("metadata", {}))
            time.sleep(0.5)

    def test_start_paused(self):
        """A Start request turns Halted into Always, and the guest waits."""
        self.apply(lib.machine("frozen", strategy="Halted"))
        self.wait_printable("frozen", "Stopped")
        self.request("frozen", {"action": "Start", "data": {"paused": "true"}})
        self.wait_printable("frozen", "Paused")
        vm = lib.wait_until(lambda: "stateChangeRequests" not in self.get("vm", "frozen")["status"] and
                            self.get("vm", "frozen"), what="the request met")
        self.assertEqual(vm["spec"]["runStrategy"], "Always")
        self.assertEqual(self.get("vmi", "frozen")["spec"]["startStrategy"], "Paused")
        self.assertNotIn("startStrategy", vm["spec"]["template"]["spec"])

    def test_rerun_on_failure_obeys(self):
        """Stopped on request it stays so, and starts and restarts on request."""
        self.apply(lib.machine("obeys", strategy="RerunOnFailure"))
        self.wait_condition("vm", "obeys", "Ready")
        self.request("obeys", {"action": "Stop", "uid": self.uid("obeys")})
        self.wait_gone("vmi", "obeys")
        self.wait_printable("obeys", "Stopped")
        self.stays("obeys", None)
        self.request("obeys", {"action": "Start"})
        self.wait_condition("vm", "obeys", "Ready")
        self.restart("obeys")
        self.wait_condition("vm", "obeys", "Ready")

    def test_once_takes_no_requests(self):
        self.apply(lib.machine("only", strategy="Once"))
        self.wait_condition("vm", "only", "Ready")
        uid = self.uid("only")
        self.request("only", {"action": "Stop", "uid": uid})
        self.stays("only", uid)

    def test_manual_start_after_the_end(self):
        """An instance that ended is kept until somebody asks for its end, too."""
        self.apply(lib.machine("ended", args="o", strategy="Manual"))
        self.request("ended", {"action": "Start"})
        self.wait_phase("ended", "Succeeded")
        uid = self.uid("ended")
        self.request("ended", {"action": "Start"})
        self.stays("ended", uid)
        self.restart("ended")

    def test_grace_period_is_cut(self):
        """virtctl stop --grace-period=0 of a guest that does not hear, which was given five minutes."""
        self.apply(lib.machine("deaf", args="h", strategy="Manual", terminationGracePeriodSeconds=300))
        self.request("deaf", {"action": "Start"})
        self.wait_condition("vm", "deaf", "Ready")
        self.kubectl("patch", "vmi", "deaf", "--type=merge", "-p", '{"spec": {"terminationGracePeriodSeconds": 0}}')
        self.request("deaf", {"action": "Stop", "uid": self.uid("deaf")})
        self.wait_gone("vmi", "deaf", timeout=60)
        self.wait_printable("deaf", "Stopped")

    def test_forced_restart(self):
        """virtctl restart --force --grace-period=0: requests, and the pod deleted. The pod first, since a kubelet before
        1.22 does not hear of less grace than it began with."""
        self.apply(lib.machine("hung", args="h", terminationGracePeriodSeconds=300))
        self.wait_condition("vm", "hung", "Ready")
        pod, = self.pods("hung")
        uid = self.uid("hung")
        self.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=1", "--wait=false")
        self.request("hung", {"action": "Stop", "uid": uid}, {"action": "Start"})
        lib.wait_until(lambda: self.uid("hung") not in (None, uid), timeout=60, what="another instance")
        self.wait_condition("vm", "hung", "Ready")
        self.assertNotIn("startFailure", self.get("vm", "hung")["status"])
        # The next end comes at once, too: nobody waits five minutes for this class.
        self.kubectl("patch", "vmi", "hung", "--type=merge", "-p", '{"spec": {"terminationGracePeriodSeconds": 0}}')
        self.kubectl("delete", "vm", "hung", "--timeout=60s")

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
        self.restart("manual")
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
        status = self.get("vm", "grows")["status"]
        self.assertLess(status["observedGeneration"], status["desiredGeneration"])


if __name__ == "__main__":
    lib.main(jobs=4)

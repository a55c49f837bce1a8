"""The operator killed at every point, nodes of the control plane restarted: nothing is left over, nothing runs twice."""
import json
import random
import threading
import time
import unittest

import lib

OPERATOR = ("-n", "podvisor", "-l", "app.kubernetes.io/name=podvisor-operator")


class Watcher(threading.Thread):
    """Looks at the pods all the time: two that run for one machine are two machines on one disk."""

    def __init__(self, case):
        super().__init__(daemon=True)
        self.case = case
        self.ending = threading.Event()
        self.doubles = []

    def run(self):
        while not self.ending.wait(0.3):
            running = {}
            for pod in self.case.list("pod", "-l", "kubevirt.io=virt-launcher"):
                if pod["status"]["phase"] in ("Pending", "Running"):
                    name = pod["metadata"]["labels"]["test"]
                    running.setdefault(name, []).append(pod["metadata"]["name"])
            self.doubles += [pods for pods in running.values() if len(pods) > 1]

    def stop(self):
        self.ending.set()
        self.join(30)


class Interruptions(lib.Case):
    def setUp(self):
        self.watcher = Watcher(self)
        self.watcher.start()
        self.addCleanup(self.watcher.stop)

    def kill_operators(self):
        """As kill -9 does it: no grace, no farewell; the lease stays until it runs out."""
        lib.run(lib.CLUSTER, "node", "pkill", "-KILL", "-x", "operator", check=False)

    def restart_count(self):
        pods = json.loads(lib.kubectl("get", "pods", *OPERATOR, "-o", "json").stdout)["items"]
        return sum(status["restartCount"] for pod in pods for status in pod["status"].get("containerStatuses", []))

    def leftovers(self):
        return [f"{thing['kind']} {thing['metadata']['name']}" for kind in ("vm", "vmi", "pod")
                for thing in self.list(kind)]

    def expect_nothing_left(self):
        lib.wait_until(lambda: not self.leftovers(), timeout=240, what="nothing left over", every=1)
        self.watcher.stop()
        self.assertEqual(self.watcher.doubles, [], "a machine ran twice")

    def test_killed_while_machines_come_and_go(self):
        names = [f"m{i}" for i in range(20)]
        before = self.restart_count()
        killing = threading.Event()

        def kill():
            while not killing.wait(random.uniform(0.5, 3)):
                self.kill_operators()
        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        try:
            self.apply(*(lib.machine(name) for name in names))
            time.sleep(10)
            for name in names[::2]:
                self.kubectl("patch", "vm", name, "--type=merge", "-p", '{"spec": {"runStrategy": "Halted"}}')
            time.sleep(5)
            self.kubectl("delete", "vm", *names[:10], "--wait=false")
            time.sleep(5)
        finally:
            killing.set()
            killer.join(30)
        self.assertGreater(self.restart_count(), before, "no operator was killed")
        for name in names[11::2]:
            self.wait_condition("vm", name, "Ready", timeout=240)
        self.kubectl("delete", "vm", "--all", "--wait=false")
        self.expect_nothing_left()

    def test_api_server_and_etcd_restart(self):
        self.apply(lib.machine("before"))
        self.wait_condition("vm", "before", "Ready")
        uid = self.pods("before")[0]["metadata"]["uid"]
        for component in ("apiserver", "etcd"):
            with self.subTest(component):
                lib.run(lib.CLUSTER, "restart", component)
                lib.wait_until(lambda: lib.kubectl("get", "--raw=/readyz", check=False).returncode == 0,
                               what="the API server")
                self.apply(lib.machine(f"after-{component}"))
                self.wait_condition("vm", f"after-{component}", "Ready", timeout=240)
                self.assertEqual(self.pods("before")[0]["metadata"]["uid"], uid, "the running machine was left alone")
        self.kubectl("delete", "vm", "--all", "--timeout=120s")
        self.expect_nothing_left()

    def test_conflicting_writers(self):
        """Users who write all the time: the operator's own writes still arrive."""
        self.apply(lib.machine("busy", strategy="Halted"))
        writing = threading.Event()

        def write():
            number = 0
            while not writing.is_set():
                number += 1
                self.kubectl("annotate", "vm", "busy", f"number={number}", "--overwrite")
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        try:
            self.kubectl("patch", "vm", "busy", "--type=merge", "-p", '{"spec": {"runStrategy": "Always"}}')
            self.wait_condition("vm", "busy", "Ready")
        finally:
            writing.set()
            writer.join(30)
        self.kubectl("delete", "vm", "busy", "--timeout=60s")
        self.expect_nothing_left()

    def test_deleted_at_every_point(self):
        for i in range(10):
            name = f"short-{i}"
            self.apply(lib.machine(name))
            time.sleep(i * 0.4)
            self.kubectl("delete", "vm", name, "--wait=false")
        self.expect_nothing_left()


if __name__ == "__main__":
    unittest.main(verbosity=2)

"""The operator killed at every point, nodes of the control plane restarted: nothing is left over, nothing runs twice."""
import json
import random
import subprocess
import threading
import time
import unittest

import lib

NAMESPACE = ("-n", "podvisor")
DEPLOYMENT = (*NAMESPACE, "deployment/podvisor-operator")
OPERATORS = (*NAMESPACE, "-l", "app.kubernetes.io/name=podvisor-operator")


class Watcher(threading.Thread):
    """Looks at the pods all the time: two that run for one machine are two machines on one disk."""

    def __init__(self, case):
        super().__init__(daemon=True)
        self.case = case
        self.ending = threading.Event()
        self.looks = 0
        self.made = {}  # an instance's uid: the uids of its pods
        self.doubles = []

    def look(self, pods):
        there = {}
        for pod in pods:
            labels = pod["metadata"]["labels"]
            self.made.setdefault(labels["kubevirt.io/created-by"], set()).add(pod["metadata"]["uid"])
            if pod["status"]["phase"] in ("Pending", "Running"):
                there.setdefault(labels["test"], []).append(pod["metadata"]["name"])
        self.doubles += [pods for pods in there.values() if len(pods) > 1]
        self.looks += 1

    def run(self):
        while not self.ending.wait(0.3):
            try:
                self.look(self.case.list("pod", "-l", "kubevirt.io=virt-launcher"))
            except lib.Failed:
                continue  # the API server is being restarted

    def stop(self):
        self.ending.set()
        self.join(30)
        self.doubles += [pods for pods in self.made.values() if len(pods) > 1]


class Killer(threading.Thread):
    """Runs this build's operator outside of the cluster, for a moment; kills it as kill -9 does; begins again."""

    def __init__(self):
        super().__init__(daemon=True)
        self.ending = threading.Event()
        self.kills = 0
        self.died = []  # exit statuses that are not ours
        image = json.loads(lib.kubectl("get", *DEPLOYMENT, "-o", "json").stdout)
        environment = image["spec"]["template"]["spec"]["containers"][0]["env"]
        values = {variable["name"]: variable["value"] for variable in environment}
        self.words = [lib.BUILD / "bin/operator", "--kubeconfig", lib.run(lib.CLUSTER, "kubeconfig").stdout.strip(),
                      "--listen", "none", "--launcher-image", values["PODVISOR_LAUNCHER_IMAGE"],
                      "--launcher-pull-policy", values["PODVISOR_LAUNCHER_PULL_POLICY"]]

    def run(self):
        while not self.ending.is_set():
            with subprocess.Popen(self.words, stderr=subprocess.DEVNULL) as operator:
                self.ending.wait(random.uniform(0.1, 2.5))
                if operator.poll() is not None:
                    self.died.append(operator.returncode)
                operator.kill()
                self.kills += 1

    def stop(self):
        self.ending.set()
        self.join(30)


class Interruptions(lib.Case):
    def setUp(self):
        self.watcher = Watcher(self)
        self.watcher.start()
        self.addCleanup(self.watcher.stop)

    def scale_operators(self, count):
        lib.kubectl("scale", *DEPLOYMENT, f"--replicas={count}")
        lib.wait_until(lambda: len(json.loads(lib.kubectl("get", "pods", *OPERATORS, "-o", "json").stdout)["items"])
                       == count, what=f"{count} operators")
        lib.kubectl("rollout", "status", *DEPLOYMENT, "--timeout=100s")

    def leftovers(self):
        return [f"{thing['kind']} {thing['metadata']['name']}" for kind in ("vm", "vmi", "pod")
                for thing in self.list(kind)]

    def expect_nothing_left(self):
        lib.wait_until(lambda: not self.leftovers(), timeout=240, what="nothing left over", every=1)
        self.watcher.stop()
        self.assertGreater(self.watcher.looks, 0)
        self.assertEqual(self.watcher.doubles, [], "a machine ran twice")

    def come_and_go(self, names):
        """The first half is deleted; of the rest every second one is halted."""
        self.apply(*(lib.machine(name) for name in names))
        time.sleep(8)
        for name in names[::2]:
            self.kubectl("patch", "vm", name, "--type=merge", "-p", '{"spec": {"runStrategy": "Halted"}}')
        time.sleep(4)
        self.kubectl("delete", "vm", *names[:len(names) // 2], "--wait=false")
        time.sleep(4)

    def test_killed_while_machines_come_and_go(self):
        names = [f"m{i}" for i in range(20)]
        self.addCleanup(self.scale_operators, 2)
        self.scale_operators(0)
        killer = Killer()
        killer.start()
        try:
            self.come_and_go(names)
        finally:
            killer.stop()
        self.assertEqual(killer.died, [])
        self.assertGreater(killer.kills, 8)
        self.scale_operators(2)
        for name in names[11::2]:
            self.wait_condition("vm", name, "Ready")
        for name in names[10::2]:
            self.wait_printable(name, "Stopped")
            self.assertIsNone(self.get("vmi", name))
        self.kubectl("delete", "vm", "--all", "--wait=false")
        self.expect_nothing_left()

    def operators(self):
        return json.loads(lib.kubectl("get", "pods", *OPERATORS, "-o", "json").stdout)["items"]

    def test_operators_killed_in_their_pods(self):
        """No farewell: the lease stays until it runs out, or until the same pod is back."""
        self.apply(lib.machine("early"))
        for pod in self.operators():
            for status in pod["status"]["containerStatuses"]:
                lib.run(lib.CLUSTER, "ctr", "tasks", "kill", "-s", "SIGKILL",
                        status["containerID"].removeprefix("containerd://"))
        self.apply(lib.machine("late"))
        self.wait_condition("vm", "early", "Ready")
        self.wait_condition("vm", "late", "Ready")
        restarts = [status["restartCount"] for pod in self.operators() for status in pod["status"]["containerStatuses"]]
        self.assertTrue(all(restarts), restarts)
        self.kubectl("delete", "vm", "--all", "--wait=false")
        self.expect_nothing_left()

    def test_leader_leaves(self):
        """SIGTERM: it ends at once and gives its lease back; the other one leads without waiting for the lease's end."""
        lease = ("get", "lease", *NAMESPACE, "podvisor-operator", "-o", "jsonpath={.spec.holderIdentity}")
        leader = lib.wait_until(lambda: lib.kubectl(*lease).stdout or None, what="a leader").split("_")[0]
        # The kubelet may take its time to remove the pod; a lease that was not given back would run for 30 s.
        lib.kubectl("delete", "pod", *NAMESPACE, leader, "--wait=false")
        lib.wait_until(lambda: lib.kubectl(*lease).stdout.split("_")[0] not in ("", leader), timeout=22,
                       what="another leader")
        self.apply(lib.machine("after"))
        self.wait_condition("vm", "after", "Ready")
        self.kubectl("delete", "vm", "after", "--wait=false")
        self.expect_nothing_left()

    def test_namespace_deleted(self):
        namespace = self.namespace + "-gone"
        lib.kubectl("create", "namespace", namespace)
        lib.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(lib.machine("inside")))
        lib.kubectl("-n", namespace, "wait", "--for=condition=Ready", "vm/inside", f"--timeout={lib.PATIENCE}s")
        lib.kubectl("delete", "namespace", namespace, f"--timeout={lib.PATIENCE}s", timeout=lib.PATIENCE + 10)

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
                self.kubectl("annotate", "vm", "busy", f"number={number}", "--overwrite", check=False)
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

"""The operator killed at every point, nodes of the control plane restarted: nothing is left over, nothing runs twice."""
import json
import os
import pathlib
import random
import signal
import subprocess
import threading
import time
import unittest

import lib

NAMESPACE = ("-n", "podvisor")
DEPLOYMENT = (*NAMESPACE, "deployment/podvisor-operator")
PLUGIN = ("-n", "podvisor-node", "daemonset/podvisor-device-plugin")
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


CARD = {"domain": {"devices": {"autoattachPodInterface": None, "interfaces": [{"name": "default", "masquerade": {}}]}},
        "networks": [{"name": "default", "pod": {}}]}
RUN = pathlib.Path(os.environ.get("PODVISOR_CLUSTER_DIR", "/run/podvisor-cluster"))


def on_node(*words, check=True):
    """What a command says in the node's namespaces."""
    return lib.run(lib.CLUSTER, "node", *words, check=check).stdout


def node_networks():
    """Network namespaces, ends of links and addresses that the node has for pods, how many; and their taps, by name."""
    namespaces = [line.split()[4] for line in on_node("cat", "/proc/self/mountinfo").splitlines() if " - nsfs " in line]
    links = on_node("ip", "-o", "link", "show", "master", "cni0").splitlines()
    addresses = [path for path in (RUN / "addresses" / "podvisor").iterdir() if path.name[0].isdigit()]
    taps = [line for path in namespaces  # one may go while others are looked at
            for line in on_node("nsenter", f"--net={path}", "ip", "-o", "link", "show", "type", "tun",
                                check=False).splitlines()]
    return {"namespaces": len(namespaces), "links": len(links), "addresses": len(addresses), "taps": taps}


def pods_on_network():
    pods = json.loads(lib.kubectl("get", "pods", "--all-namespaces", "-o", "json").stdout)["items"]
    return sum("podIP" in pod["status"] and not pod["spec"].get("hostNetwork", False) for pod in pods)


def pid_of(component):
    """The process and when it started, as tools/cluster notes it: the number alone could be another's by now."""
    pid, started = (RUN / "pids" / component).read_text().split()
    if pathlib.Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[19] != started:
        raise AssertionError(f"{component} does not run")
    return int(pid)


def kubevirts():
    """The kind that only KubeVirt's installation brings."""
    names = {"plural": "kubevirts", "singular": "kubevirt", "kind": "KubeVirt", "shortNames": ["kv", "kvs"]}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "kubevirts.kubevirt.io"},
            "spec": {"group": "kubevirt.io", "scope": "Namespaced", "names": names,
                     "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}]}}


def pod_of_another_controller(vmi):
    """As KubeVirt's virt-controller makes it for the same instance; no node takes it."""
    name, uid = vmi["metadata"]["name"], vmi["metadata"]["uid"]
    owner = {"apiVersion": vmi["apiVersion"], "kind": vmi["kind"], "name": name, "uid": uid, "controller": True}
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": f"virt-launcher-{name}-other", "ownerReferences": [owner],
                         "labels": {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": uid, "test": "other"}},
            "spec": {"nodeSelector": {"there-is": "none"},
                     "containers": [{"name": "compute", "image": lib.TEST_GUEST}]}}


# What users with a shell do to a machine that starts. It starts all the same.
EDITS = {
    "memory": ("vm", {"spec": {"template": {"spec": {"domain": {"memory": {"guest": "24Mi"}}}}}}),
    "finalizer": ("vm", {"metadata": {"finalizers": None}}),
    "vmi-finalizer": ("vmi", {"metadata": {"finalizers": None}}),
    "status": ("vmi", {"status": None}),
    "phase": ("vmi", {"status": {"phase": "Running"}}),
    "end": ("vmi", {"status": {"phase": "Failed"}}),
    "owner": ("vmi", {"metadata": {"ownerReferences": None}}),
    "specification": ("vmi", {"spec": {"domain": {"memory": {"guest": "12XB"}}}}),
}


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

    def expect_clean_node(self):
        """Only what the pods that are there need."""
        def clean():
            count = pods_on_network()
            return node_networks() == {"namespaces": count, "links": count, "addresses": count, "taps": []}
        try:
            lib.wait_until(clean, timeout=60, every=1)
        except AssertionError:
            self.fail(f"left on the node, beside {pods_on_network()} pods: {node_networks()}")

    def come_and_go(self, names):
        """The first half is deleted; of the rest every second one is halted."""
        self.apply(*(lib.machine(name, **CARD) for name in names))
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
            self.wait_gone("vmi", name)
        self.assertEqual(len(node_networks()["taps"]), len(names[11::2]))
        self.kubectl("delete", "vm", "--all", "--wait=false")
        self.expect_nothing_left()
        self.expect_clean_node()

    def operators(self):
        return json.loads(lib.kubectl("get", "pods", *OPERATORS, "-o", "json").stdout)["items"]

    def test_operators_killed_in_their_pods(self):
        """No farewell: the lease stays until it runs out; the same pods, back again, are others."""
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

    def test_node_lost_and_found(self):
        """A kubelet that says nothing: its machine may run, so no other is started; later all is as before."""
        self.apply(lib.machine("lost"))
        self.wait_condition("vm", "lost", "Ready")
        vmi, pod = self.get("vmi", "lost"), self.pods("lost")[0]
        kubelet = pid_of("kubelet")
        os.kill(kubelet, signal.SIGSTOP)
        try:
            self.wait_phase("lost", "Unknown")
            lost = self.get("vmi", "lost")
            self.assertEqual(lost["status"]["reason"], "NodeUnresponsive")
            self.assert_condition(lost, "Ready", "False")
            lib.wait_until(lambda: self.events("lost", "NodeUnresponsive"), what="event NodeUnresponsive")
            self.wait_printable("lost", "Unknown")
            self.assertIs(self.get("vm", "lost")["status"]["ready"], False)
        finally:
            os.kill(kubelet, signal.SIGCONT)
        self.wait_phase("lost", "Running")
        self.wait_condition("vm", "lost", "Ready")
        self.wait_printable("lost", "Running")
        found = self.get("vmi", "lost")
        self.assertEqual(found["metadata"]["uid"], vmi["metadata"]["uid"])
        self.assertNotIn("reason", found["status"])
        self.assertEqual([each["metadata"]["uid"] for each in self.pods("lost")], [pod["metadata"]["uid"]])
        self.assertEqual(self.pods("lost")[0]["status"]["containerStatuses"][0]["restartCount"], 0)
        self.kubectl("delete", "vm", "lost", "--wait=false")
        self.expect_nothing_left()

    def ready_operators(self):
        return json.loads(lib.kubectl("get", *DEPLOYMENT, "-o", "json").stdout)["status"].get("readyReplicas", 0)

    def test_kubevirt_beside(self):
        """podvisor says that it is not alone and leaves all as it is; when KubeVirt is gone it goes on by itself."""
        self.apply(lib.machine("ours"))
        self.wait_condition("vm", "ours", "Ready")
        pod, = self.pods("ours")
        self.addCleanup(lib.kubectl, "delete", "crd", "kubevirts.kubevirt.io", "--ignore-not-found")
        lib.kubectl("apply", "-f", "-", stdin=json.dumps(kubevirts()))
        lib.kubectl("wait", "--for=condition=Established", "crd/kubevirts.kubevirt.io", "--timeout=30s")
        self.apply(pod_of_another_controller(self.get("vmi", "ours")))
        lib.wait_until(lambda: self.events("ours", "OtherController"), what="event OtherController")
        lib.wait_until(lambda: self.ready_operators() == 0, what="no operator is ready")
        self.apply(lib.machine("later"))
        words = "".join(lib.kubectl("logs", *NAMESPACE, each["metadata"]["name"]).stdout for each in self.operators())
        self.assertIn("KubeVirt is installed in this cluster", words)
        self.assertIsNone(self.get("vmi", "later"))
        self.assertEqual([each["metadata"]["uid"] for each in self.pods("ours")], [pod["metadata"]["uid"]])
        self.kubectl("delete", "pod", "virt-launcher-ours-other", "--timeout=60s")
        lib.kubectl("delete", "crd", "kubevirts.kubevirt.io", "--timeout=60s")
        lib.kubectl("rollout", "status", *DEPLOYMENT, "--timeout=100s")
        self.wait_condition("vm", "later", "Ready")
        self.assertEqual(self.get("vmi", "ours")["status"]["phase"], "Running")
        self.kubectl("delete", "vm", "--all", "--timeout=60s")
        lib.wait_until(lambda: not self.leftovers(), what="nothing left over", every=1)

    @staticmethod
    def choose_nodes_of_plugin(selector):
        lib.kubectl("patch", *PLUGIN, "--type=merge", "-p",
                    json.dumps({"spec": {"template": {"spec": {"nodeSelector": selector}}}}))

    def test_no_node_with_kvm(self):
        """No node offers what a machine needs: the scheduler says what, and the machine starts when one does."""
        def offered():
            node, = json.loads(lib.kubectl("get", "nodes", "-o", "json").stdout)["items"]
            return node["status"]["allocatable"]["devices.kubevirt.io/kvm"]
        self.addCleanup(self.choose_nodes_of_plugin, {"there-is": None})
        self.choose_nodes_of_plugin({"there-is": "none"})
        lib.wait_until(lambda: offered() == "0", what="a node without KVM")
        self.apply(lib.machine("slow"))
        self.wait_printable("slow", "ErrorUnschedulable")
        self.assert_condition(self.get("vmi", "slow"), "PodScheduled", "False", "Unschedulable", "0/1 nodes")
        self.choose_nodes_of_plugin({"there-is": None})
        self.wait_condition("vm", "slow", "Ready")
        self.kubectl("delete", "vm", "slow", "--wait=false")
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

    def test_edited_at_every_point(self):
        for delay in (0, 1, 3, 6):
            self.apply(*(lib.machine(f"{name}-{delay}", domain={"resources": {"requests": {"cpu": "10m"}}})
                         for name in EDITS))
            time.sleep(delay)
            for name, (kind, patch) in EDITS.items():
                self.kubectl("patch", kind, f"{name}-{delay}", "--type=merge", "-p", json.dumps(patch), check=False)
        for delay in (0, 1, 3, 6):
            for name in EDITS:
                self.wait_condition("vm", f"{name}-{delay}", "Ready")
        self.kubectl("delete", "vm", "--all", "--wait=false")
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

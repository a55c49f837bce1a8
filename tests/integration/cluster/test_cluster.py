#!/usr/bin/env python3
"""tools/cluster: a cluster comes up, does what a Kubernetes does, survives its components, and leaves nothing behind.

One cluster for all tests, in a folder of its own, beside any other that runs. The tests run in the order of their
names.
"""
import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
FOLDER = "/run/podvisor-cluster-test"
NODE_FOLDERS = ("/run/containerd", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods")
SYSCTLS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")


def free_number():
    """A cluster number whose link is not there."""
    for number in range(1, 12):
        if not os.path.exists(f"/sys/class/net/podvisor{number}"):
            return number
    raise RuntimeError("eleven clusters run already")


def output(*command):
    """What a command prints; nothing if it is not there."""
    if not shutil.which(command[0]):
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def commands_with(text):
    """The processes with TEXT in their command lines."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found


class Cluster(unittest.TestCase):
    """Each test uses what those before it left."""

    @classmethod
    def setUpClass(cls):
        cls.number = free_number()
        cls.environment = {key: value for key, value in os.environ.items()
                           if key != "KUBECONFIG" and not key.startswith("PODVISOR_CLUSTER")}
        cls.environment.update(PODVISOR_CLUSTER_DIR=FOLDER, PODVISOR_CLUSTER_NUMBER=str(cls.number))
        cls.temporary = tempfile.mkdtemp(prefix="podvisor-cluster-")
        cls.before = cls.host()
        answer = cls.tool("up")
        if answer.returncode != 0:
            cls.tearDownClass()
            raise AssertionError(answer.stderr)
        cls.up_messages = answer.stderr

    @classmethod
    def tearDownClass(cls):
        cls.tool("down")
        shutil.rmtree(cls.temporary)

    @classmethod
    def tool(cls, *arguments, environment=None, stdin=None, timeout=1800):
        """tools/cluster."""
        return subprocess.run([os.path.join(ROOT, "tools", "cluster"), *arguments], capture_output=True, text=True,
                              check=False, input=stdin, timeout=timeout, env={**cls.environment, **(environment or {})})

    @classmethod
    def host(cls):
        """What a cluster could leave on the host. Other clusters may come and go meanwhile."""
        name = f"podvisor-cluster-{cls.number}"
        cgroups = [folder for top, folders, _ in os.walk("/sys/fs/cgroup") for folder in folders if folder == name]
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            mounts = [line for line in file if FOLDER in line]
        sysctls = {}
        for sysctl in SYSCTLS:
            with open("/proc/sys/" + sysctl, encoding="ascii") as file:
                sysctls[sysctl] = file.read()
        addresses = f"10.{244 + cls.number}."
        return {
            "mounts": mounts, "cgroups": cgroups, "sysctls": sysctls,
            "links": [link for link in os.listdir("/sys/class/net") if re.match(rf"(podvisor{cls.number}|cni|veth)", link)],
            "routes": [line for line in output("ip", "-4", "route").splitlines() if addresses in line],
            "rules": [line for tool in ("iptables-legacy-save", "iptables-nft-save")
                      for line in output(tool).splitlines() if re.search("KUBE-|CNI-", line)],
            "processes": commands_with(FOLDER), "folder": os.path.exists(FOLDER),
            "node folders": [] if output("pgrep", "-f", "^podvisor-node")
                            else [folder for folder in NODE_FOLDERS if os.path.exists(folder)]}

    def ok(self, *arguments, **options):
        """tools/cluster, which must succeed; its standard output."""
        answer = self.tool(*arguments, **options)
        self.assertEqual(answer.returncode, 0, f"{arguments}: {answer.stdout}{answer.stderr}")
        return answer.stdout

    def kubectl(self, *arguments, **options):
        """The cluster's kubectl, which must succeed."""
        return self.ok("kubectl", *arguments, **options)

    def until(self, wanted, *arguments, seconds=120):
        """Repeats a kubectl until it answers WANTED."""
        end = time.monotonic() + seconds
        while True:
            answer = self.tool("kubectl", *arguments)
            if answer.stdout.strip() == wanted:
                return
            self.assertLess(time.monotonic(), end, f"{arguments}: {answer.stdout}{answer.stderr}, not {wanted}")
            time.sleep(0.5)

    def phase(self, pod, wanted):
        """Waits for a pod's phase."""
        self.until(wanted, "get", "pod", pod, "-o", "jsonpath={.status.phase}")

    def test_01_up_shows_times_and_again_does_nothing(self):
        self.assertRegex(self.up_messages, r"up in \d+\.\d s: Kubernetes v1\.20\.2")
        answer = self.tool("up", timeout=60)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertIn("the cluster is up", answer.stderr)
        self.assertIn(FOLDER + "/kubeconfig", self.ok("kubeconfig"))
        self.assertIn("Ready", self.ok("status"))

    def test_02_image_service_and_volume(self):
        subprocess.run([os.path.join(ROOT, "tools", "images"), "busybox", "--tag", "test", "--output", self.temporary],
                       check=True, capture_output=True)
        self.ok("load-image", os.path.join(self.temporary, "busybox.tar"))
        self.ok("volume", "test-volume", "1Gi")
        self.kubectl("apply", "-f", os.path.join(HERE, "pods.yaml"))
        self.kubectl("wait", "--for=condition=Ready", "pod/server", "--timeout=120s")
        service = self.kubectl("get", "service", "server", "-o", "jsonpath={.spec.clusterIP}")
        pod = self.kubectl("get", "pod", "server", "-o", "jsonpath={.status.podIP}")
        self.kubectl("run", "client", "--image=podvisor/busybox:test", "--image-pull-policy=Never", "--restart=Never",
                     "--", "sh", "-c", f"until wget -q -O - http://{service}/; do sleep 1; done; "
                     f"wget -q -O - http://{pod}:8080/")
        self.phase("client", "Succeeded")
        self.assertEqual(self.kubectl("logs", "client"), "hello from the server\n" * 2)
        self.phase("writer", "Succeeded")
        self.assertEqual(self.kubectl("logs", "writer"), "written by 107\n")
        # From the host, too: by way of the link.
        for address in (f"{pod}:8080", service):
            answer = subprocess.run(["bash", "-c", "exec 3<>/dev/tcp/${0%:*}/${1}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3;"
                                     "cat <&3", address, "8080" if ":" in address else "80"],
                                    capture_output=True, text=True, check=False, timeout=20)
            self.assertIn("hello from the server", answer.stdout, answer.stderr)

    def test_03_service_reaches_its_own_pod(self):
        """Hairpin: through the Service's address back to the pod that asks."""
        service = self.kubectl("get", "service", "server", "-o", "jsonpath={.spec.clusterIP}")
        self.assertEqual(self.kubectl("exec", "server", "--", "wget", "-q", "-O", "-", f"http://{service}/"),
                         "hello from the server\n")

    def test_04_authorization(self):
        account = "--as=system:serviceaccount:default:default"
        self.assertEqual(self.tool("kubectl", "auth", "can-i", "list", "pods", account).stdout.strip(), "no")
        node = ("--as=system:node:podvisor", "--as-group=system:nodes")
        answer = self.tool("kubectl", "label", "node", "podvisor", "node-restriction.kubernetes.io/x=y", *node)
        self.assertNotEqual(answer.returncode, 0)
        self.assertIn("is not allowed to modify labels", answer.stderr)

    def test_05_bound_tokens(self):
        token = self.kubectl("exec", "server", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
        claims = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        self.assertGreater(claims["exp"], time.time())
        self.assertEqual(claims["kubernetes.io"]["pod"]["name"], "server")

    def test_06_aggregation_layer(self):
        settings = json.loads(self.kubectl("-n", "kube-system", "get", "configmap",
                                           "extension-apiserver-authentication", "-o", "json"))["data"]
        self.assertIn("BEGIN CERTIFICATE", settings["requestheader-client-ca-file"])
        self.assertEqual(json.loads(settings["requestheader-allowed-names"]), ["front-proxy-client"])

    def test_07_device_plugins(self):
        self.ok("node", "test", "-S", "/var/lib/kubelet/device-plugins/kubelet.sock")

    def test_08_components_come_and_go(self):
        """Every component ends and starts again; the pod does not notice."""
        before = self.kubectl("get", "pod", "server", "-o", "jsonpath={.status.containerStatuses[0].containerID}")
        for component in ("kubelet", "containerd", "proxy", "scheduler", "controller-manager", "apiserver", "etcd"):
            with self.subTest(component):
                self.ok("kill", component)
                self.assertEqual(self.tool("status").returncode, 1)
                self.ok("start", component)
                self.ok("restart", component)
                self.until("True", "get", "node", "podvisor", "-o",
                           'jsonpath={.status.conditions[?(@.type=="Ready")].status}')
        answer = self.tool("status")
        self.assertEqual(answer.returncode, 0, answer.stdout)
        self.kubectl("wait", "--for=condition=Ready", "pod/server", "--timeout=60s")
        self.assertEqual(before, self.kubectl("get", "pod", "server", "-o",
                                              "jsonpath={.status.containerStatuses[0].containerID}"))
        self.assertEqual(self.kubectl("exec", "server", "--", "cat", "/tmp/www/index.html"), "hello from the server\n")

    def test_09_kubeconfig_of_another_cluster(self):
        other = os.path.join(self.temporary, "kubeconfig")
        shutil.copy(os.path.join(FOLDER, "kubeconfig"), other)
        elsewhere = {"KUBECONFIG": other, "PODVISOR_CLUSTER_DIR": "/run/podvisor-cluster-unused"}
        answer = self.tool("up", environment=elsewhere, timeout=60)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertIn(f"using the cluster of {other}", answer.stderr)
        self.assertEqual(self.ok("kubeconfig", environment=elsewhere).strip(), other)
        self.assertIn("podvisor", self.ok("kubectl", "get", "nodes", environment=elsewhere))
        answer = self.tool("load-image", os.path.join(self.temporary, "busybox.tar"), environment=elsewhere)
        self.assertNotEqual(answer.returncode, 0)
        self.assertIn("registry", answer.stderr)
        self.assertFalse(os.path.exists("/run/podvisor-cluster-unused"))

    def test_10_refusals(self):
        for arguments, environment, message in (
                (("up",), {"PODVISOR_CLUSTER_DIR": "relative"}, "absolute path"),
                (("up",), {"PODVISOR_CLUSTER_DIR": self.temporary}, "has something else in it"),
                (("restart", "kernel"), {}, "no such component: kernel"),
                (("load-image", "/nonexistent.tar"), {}, "cannot read /nonexistent.tar"),
                (("volume", "Bad_Name", "1Gi"), {}, "usage:"),
                (("frobnicate",), {}, "unknown command"),
                (("kubectl", "get", "node"), {"PODVISOR_CLUSTER_DIR": "/run/podvisor-cluster-unused"}, "not up")):
            with self.subTest(arguments=arguments, environment=environment):
                answer = self.tool(*arguments, environment=environment, timeout=120)
                self.assertNotEqual(answer.returncode, 0)
                self.assertIn(message, answer.stderr)
        self.assertEqual(self.tool("status", environment={"PODVISOR_CLUSTER_DIR": "/run/podvisor-cluster-unused"})
                         .returncode, 3)

    def test_11_down_keeps_what_it_is_told_to(self):
        self.kubectl("create", "configmap", "kept", "--from-literal=a=b")
        self.kubectl("delete", "pod", "client", "writer", "--now")
        self.ok("down", "--keep")
        self.assertEqual(self.tool("status").returncode, 3)
        self.ok("up")
        self.assertEqual(self.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.a}"), "b")
        self.assertIn("docker.io/podvisor/busybox:test", self.ok("ctr", "images", "ls", "-q"))

    def test_12_down_leaves_nothing(self):
        self.ok("down")
        self.assertEqual(self.tool("status").returncode, 3)
        deadline = time.monotonic() + 10
        while self.host() != self.before and time.monotonic() < deadline:
            time.sleep(0.5)
        self.assertEqual(self.host(), self.before)
        self.ok("down")


if __name__ == "__main__":
    unittest.main()

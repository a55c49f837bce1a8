"""What the end-to-end tests share: the cluster of tools/cluster with podvisor on it (tools/deploy), and kubectl."""
import base64
import concurrent.futures
import itertools
import json
import os
import pathlib
import re
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "tools" / "cluster"
BUILD = pathlib.Path(os.environ.get("PODVISOR_BUILD", ROOT / "build" / "dev"))
TEST_GUEST = "podvisor/test-guest:dev"
PATIENCE = 120  # seconds: the machine may be slow, and a test that waits in vain fails anyway


class Failed(Exception):
    """A command's exit status, with what it said."""


def run(*words, stdin=None, check=True, timeout=PATIENCE):
    done = subprocess.run([str(word) for word in words], input=stdin, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(map(str, words))}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def kubectl(*words, stdin=None, check=True, timeout=PATIENCE):
    return run(CLUSTER, "kubectl", *words, stdin=stdin, check=check, timeout=timeout)


def credentials():
    """Server, CA and client certificate of the cluster's kubeconfig, for what kubectl 1.20 cannot ask."""
    path = run(CLUSTER, "kubeconfig").stdout.strip()
    view = json.loads(kubectl("--kubeconfig", path, "config", "view", "--raw", "-o", "json").stdout)
    cluster, user = view["clusters"][0]["cluster"], view["users"][0]["user"]
    context = ssl.create_default_context(cadata=pem(cluster, "certificate-authority").decode())
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name in ("client-certificate", "client-key"):
            files.append(pathlib.Path(folder, name))
            files[-1].write_bytes(pem(user, name))
        context.load_cert_chain(*files)
    return cluster["server"], context


def pem(entry, name):
    if name + "-data" in entry:
        return base64.b64decode(entry[name + "-data"])
    return pathlib.Path(entry[name]).read_bytes()


def patch_status(path, patch):
    """A merge patch of a status subresource: kubectl has --subresource only from 1.24 on."""
    server, context = credentials()
    request = urllib.request.Request(server + path, json.dumps(patch).encode(), method="PATCH",
                                     headers={"Content-Type": "application/merge-patch+json"})
    with urllib.request.urlopen(request, context=context, timeout=PATIENCE) as answer:
        return json.load(answer)


def wait_until(condition, timeout=PATIENCE, what="the condition", every=0.2):
    """Waits until condition() is neither None nor False, and returns what it is."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value is not None and value is not False:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {timeout} s")
        time.sleep(every)


def condition(thing, kind):
    """A condition of an object's status, or {}."""
    for item in (thing or {}).get("status", {}).get("conditions", []):
        if item["type"] == kind:
            return item
    return {}


def machine(name, args="w", strategy="Always", **changes):
    """A VirtualMachine with the guest that obeys; changes: parts of the template's spec, deeply merged."""
    spec = {
        "terminationGracePeriodSeconds": 10,
        "domain": {
            "memory": {"guest": "16Mi"},
            "firmware": {"kernelBoot": {
                "kernelArgs": args,
                "container": {"image": TEST_GUEST, "imagePullPolicy": "Never", "kernelPath": "/boot/obey.elf"}}},
            "devices": {"autoattachPodInterface": False},
        },
    }
    merge(spec, changes)
    return {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": name},
            "spec": {"runStrategy": strategy, "template": {"metadata": {"labels": {"test": name}}, "spec": spec}}}


def instance(name, args="w", **changes):
    """The same as a VirtualMachineInstance of its own."""
    template = machine(name, args, **changes)["spec"]["template"]
    return {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": {"name": name, **template["metadata"]}, "spec": template["spec"]}


def merge(into, changes):
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        elif value is None:
            into.pop(key, None)
        else:
            into[key] = value


class Case(unittest.TestCase):
    """A namespace of its own for each class; nothing is left in it at the end."""

    namespace = None
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        word = re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()
        cls.namespace = f"e2e-{word}-{os.getpid()}"
        kubectl("create", "namespace", cls.namespace)
        cls.addClassCleanup(cls.remove)

    @classmethod
    def remove(cls):
        kubectl("-n", cls.namespace, "delete", "vm,vmi", "--all", "--timeout=60s", check=False)
        kubectl("delete", "namespace", cls.namespace, "--timeout=90s", check=False)

    def kubectl(self, *words, **options):
        return kubectl("-n", self.namespace, *words, **options)

    def apply(self, *objects):
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        return self.kubectl("apply", "-f", "-", stdin=text)

    def get(self, kind, name):
        """The object, or None."""
        done = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def list(self, kind, *words):
        return json.loads(self.kubectl("get", kind, "-o", "json", *words).stdout)["items"]

    def pods(self, name):
        return self.list("pod", "-l", f"kubevirt.io=virt-launcher,test={name}")

    def events(self, name, reason=None):
        return [event for event in self.list("events")
                if event["involvedObject"]["name"] == name and reason in (None, event["reason"])]

    def wait_phase(self, name, phase, timeout=PATIENCE):
        return wait_until(lambda: (self.get("vmi", name) or {}).get("status", {}).get("phase") == phase, timeout,
                          f"phase {phase} of {name}; it is {(self.get('vmi', name) or {}).get('status')}")

    def wait_printable(self, name, status, timeout=PATIENCE):
        return wait_until(lambda: (self.get("vm", name) or {}).get("status", {}).get("printableStatus") == status,
                          timeout, f"status {status} of {name}")

    def wait_condition(self, kind, name, which, status="True", timeout=PATIENCE):
        self.kubectl("wait", f"--for=condition={which}={status}", f"{kind}/{name}", f"--timeout={timeout}s",
                     timeout=timeout + 10)

    def wait_gone(self, kind, name, timeout=PATIENCE):
        wait_until(lambda: self.get(kind, name) is None, timeout, f"{kind} {name} gone")

    def assert_condition(self, thing, kind, status, reason=None, message=""):
        found = condition(thing, kind)
        self.assertEqual(found.get("status"), status, f"{kind}: {found}")
        if reason is not None:
            self.assertEqual(found.get("reason"), reason)
        self.assertIn(message, found.get("message", ""))


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def run_test(test):
    """One test in its own thread; what it has to say comes in one piece. True: it passed."""
    result = unittest.TestResult()
    began = time.monotonic()
    test.run(result)
    bad = result.failures + result.errors
    lines = [f"{test.id()} ... {'FAIL' if bad else 'skipped' if result.skipped else 'ok'}, "
             f"{time.monotonic() - began:.1f} s", *(f"{what}\n{trace}" for what, trace in bad)]
    print("\n".join(lines), flush=True)
    return not bad


def main(jobs):
    """Runs the program's tests, `jobs` of a class at once: most of a test is waiting. Arguments: names of tests."""
    module = sys.modules["__main__"]
    loader = unittest.defaultTestLoader
    suite = loader.loadTestsFromNames(sys.argv[1:], module) if sys.argv[1:] else loader.loadTestsFromModule(module)
    passed = []
    for kind, tests in itertools.groupby(flatten(suite), type):
        kind.setUpClass()
        try:
            with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
                passed += pool.map(run_test, list(tests))
        finally:
            kind.doClassCleanups()
    sys.exit(0 if passed and all(passed) else 1)

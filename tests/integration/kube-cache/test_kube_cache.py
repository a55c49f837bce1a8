#!/usr/bin/env python3
"""Caches against a real API server: thousands of objects are created, changed and deleted by others while the API
server and etcd are restarted and killed; in the end the API, the cache and the worker behind the queue agree.

Uses the cluster of tools/cluster that runs (PODVISOR_CLUSTER_DIR), else starts one of its own and ends it.
"""
import base64
import http.client
import json
import os
import random
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
CLUSTER = os.path.join(ROOT, "tools", "cluster")
PROBE = sys.argv.pop(1)
NAMESPACE = f"kube-cache-{os.getpid()}"
MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"


def tool(*arguments, check=True):
    """tools/cluster."""
    return subprocess.run([CLUSTER, *arguments], check=check, capture_output=True, text=True, timeout=1800).stdout


class Api:
    """One connection to the API server with the administrator's certificate."""

    def __init__(self, kubeconfig, folder):
        config = json.loads(subprocess.run([CLUSTER, "kubectl", "--kubeconfig", kubeconfig, "config", "view", "--raw",
                                            "--flatten", "-o", "json"], check=True, capture_output=True).stdout)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        files = {}
        for name, owner in (("certificate-authority", cluster), ("client-certificate", user), ("client-key", user)):
            files[name] = os.path.join(folder, name)
            with open(files[name], "wb") as file:
                file.write(base64.b64decode(owner[name + "-data"]))
        self.context = ssl.create_default_context(cafile=files["certificate-authority"])
        self.context.load_cert_chain(files["client-certificate"], files["client-key"])
        self.host = cluster["server"].split("//")[1]
        self.connection = None

    def close(self):
        """Ends the connection."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def clone(self):
        """The same with a connection of its own."""
        other = object.__new__(Api)
        other.context, other.host, other.connection = self.context, self.host, None
        return other

    def call(self, method, path, body=None, kind="application/json"):
        """(status, answer); tries again while the server is away."""
        give_up = time.monotonic() + 120
        while True:
            try:
                if self.connection is None:
                    self.connection = http.client.HTTPSConnection(self.host, context=self.context, timeout=15)
                self.connection.request(method, path, json.dumps(body) if body is not None else None,
                                        {"Content-Type": kind})
                response = self.connection.getresponse()
                answer = response.read()
                if response.status < 500 and response.status not in (401, 403, 429):
                    return response.status, json.loads(answer)
            except (OSError, http.client.HTTPException, ValueError):
                self.close()
            if time.monotonic() > give_up:
                raise TimeoutError(f"{method} {path}")
            time.sleep(0.1)


class Probe:
    """kube-cache-probe."""

    def __init__(self, kubeconfig):
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen([PROBE, NAMESPACE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "KUBECONFIG": kubeconfig})
        self.answer()

    def answer(self):
        """Lines up to the one with a dot."""
        lines = []
        for line in self.process.stdout:
            if line == ".\n":
                return lines
            lines.append(line.rstrip("\n"))
        raise EOFError(f"the probe has ended: {self.process.wait()}")

    def ask(self, command):
        """A command's answer."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def memory(self):
        """Peak and present resident KiB."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return tuple(int(fields[name].split()[0]) for name in ("VmHWM", "VmRSS"))

    def stop(self):
        """Its exit status."""
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(timeout=60)


def configmap(name, shard, size=200):
    """An object."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"shard": f"s{shard}"}},
            "data": {"text": "x" * size}}


def churn(api, worker, operations, stop):
    """Creates, changes and deletes objects of its own names."""
    chance = random.Random(worker)
    for _ in range(operations):
        if stop.is_set():
            break
        name = f"w{worker}-{chance.randrange(60)}"
        what = chance.random()
        if what < 0.5:
            api.call("POST", MAPS, configmap(name, chance.randrange(5)))
        elif what < 0.8:
            api.call("PATCH", f"{MAPS}/{name}", {"metadata": {"labels": {"shard": f"s{chance.randrange(5)}"}}},
                     "application/merge-patch+json")
        else:
            api.call("DELETE", f"{MAPS}/{name}")
            if what < 0.9:  # the same name with another uid, at once
                api.call("POST", MAPS, configmap(name, 0))
    api.close()


def fill(api, worker, count):
    """Creates objects of 4 KiB."""
    for i in range(count):
        api.call("POST", MAPS, configmap(f"m{worker}-{i}", worker, 4096))
    api.close()


class Cache(unittest.TestCase):
    """One namespace and one probe for all; in the order of their names."""

    @classmethod
    def setUpClass(cls):
        cls.own = subprocess.run([CLUSTER, "status"], check=False, capture_output=True).returncode != 0
        if cls.own:
            tool("up")
        cls.folder = tempfile.TemporaryDirectory(prefix="podvisor-kube-cache-")
        cls.kubeconfig = tool("kubeconfig").strip()
        cls.api = Api(cls.kubeconfig, cls.folder.name)
        cls.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        cls.api.call("POST", MAPS, configmap("before", 1))
        cls.probe = Probe(cls.kubeconfig)

    @classmethod
    def tearDownClass(cls):
        cls.probe.stop()
        cls.api.call("DELETE", f"/api/v1/namespaces/{NAMESPACE}")
        cls.api.close()
        cls.folder.cleanup()
        if cls.own:
            tool("down")

    def listed(self):
        """What the API has, as the probe prints it, and the names of each shard."""
        lines, shards = [], {}
        for item in self.api.call("GET", MAPS)[1]["items"]:
            meta = item["metadata"]
            lines.append(f"{meta['name']} {meta['uid']} {meta['resourceVersion']}")
            shards.setdefault(meta.get("labels", {}).get("shard", ""), set()).add(meta["name"])
        return sorted(lines), shards

    def agree(self, seconds=60):
        """Waits until API, cache and worker say the same."""
        until = time.monotonic() + seconds
        while True:
            expected, shards = self.listed()
            cache, reconciled = sorted(self.probe.ask("cache")), sorted(self.probe.ask("reconciled"))
            if expected == cache == reconciled:
                break
            if time.monotonic() > until:
                self.assertEqual(cache, expected)
                self.assertEqual(reconciled, expected)
            time.sleep(0.2)
        for shard in range(5):
            names = {line.split()[0] for line in self.probe.ask(f"index s{shard}")}
            self.assertEqual(names, shards.get(f"s{shard}", set()))
        return len(expected)

    def figures(self):
        """Requests by verb."""
        return {line.split()[0]: int(line.split()[1]) for line in self.probe.ask("figures")}

    def run_churn(self, operations, meanwhile=lambda: None):
        """Six writers, and what happens meanwhile."""
        stop = threading.Event()
        writers = [threading.Thread(target=churn, args=(self.api.clone(), n, operations, stop)) for n in range(6)]
        for writer in writers:
            writer.start()
        try:
            meanwhile()
        finally:
            if meanwhile.__name__ != "<lambda>":
                stop.set()
            for writer in writers:
                writer.join()

    def test_1_many_changes(self):
        """Nothing is lost, and nothing is listed twice."""
        self.run_churn(500)
        count = self.agree()
        self.assertGreater(count, 50)
        self.assertEqual(self.figures()["LIST"], 1)

    def test_2_own_writes(self):
        """A write is seen at once, and the watch's older events do not hide it."""
        self.assertEqual(self.probe.ask("write mine 300"), ["stale 0"])
        self.agree()

    def test_3_apiserver_restarts(self):
        """The API server is restarted and killed under writers and watchers."""
        def trouble():
            for command in (("restart", "apiserver"), ("kill", "apiserver"), ("restart", "apiserver")):
                time.sleep(3)
                tool(*command)
                if command[0] == "kill":
                    time.sleep(3)
                    tool("start", "apiserver")
        self.run_churn(100000, trouble)
        self.agree(120)

    def test_4_etcd_restarts(self):
        """The same with etcd."""
        def trouble():
            for command in (("restart", "etcd"), ("kill", "etcd"), ("restart", "etcd")):
                time.sleep(3)
                tool(*command)
                if command[0] == "kill":
                    time.sleep(3)
                    tool("start", "etcd")
            time.sleep(3)
        self.run_churn(100000, trouble)
        self.agree(120)

    def test_5_events(self):
        """One object, which becomes a series."""
        self.api.call("POST", MAPS, configmap("regarding", 0))
        self.agree()
        path = f"/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events"
        self.probe.ask("event 1")
        self.wait(lambda: self.api.call("GET", path)[1]["items"], "no event")
        self.probe.ask("event 1")
        self.wait(lambda: self.api.call("GET", path)[1]["items"][0].get("series"), "no series")
        items = self.api.call("GET", path)[1]["items"]
        self.assertEqual(len(items), 1)
        self.assertEqual(items[0]["series"]["count"], 2)
        self.assertEqual(items[0]["regarding"]["name"], "regarding")
        self.assertEqual(items[0]["note"], "probe 0")

    def test_6_lease(self):
        """Taken, held over a restart of the API server, given back."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/probe"
        self.probe.ask("lease")
        self.wait(lambda: self.probe.ask("leads") == ["1"], "it does not lead")
        self.assertEqual(self.api.call("GET", path)[1]["spec"]["holderIdentity"], "probe-1")
        tool("restart", "apiserver")
        time.sleep(10)
        self.assertEqual(self.probe.ask("leads"), ["1"])
        self.probe.ask("release")
        spec = self.api.call("GET", path)[1]["spec"]
        self.assertEqual((spec.get("holderIdentity", ""), spec["leaseDurationSeconds"], spec["leaseTransitions"]),
                         ("", 1, 0))

    def test_7_memory(self):
        """3,000 objects of 4 KiB: the cache keeps little more than their text."""
        before = self.probe.memory()[1]
        threads = [threading.Thread(target=fill, args=(self.api.clone(), n, 500)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertGreaterEqual(self.agree(), 3000)
        grown = self.probe.memory()[1]
        fresh = Probe(self.kubeconfig)  # one that lists them all
        peak, resident = fresh.memory()
        self.assertEqual(fresh.stop(), 0)
        print(f"resident KiB: {before} before, {grown} with 3,000 objects more; a new one {resident}, peak {peak}")
        self.assertLess(grown, 40 * 1024)
        self.assertLess(peak, 64 * 1024)

    def wait(self, condition, text, seconds=60):
        """Until the condition holds."""
        until = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), until, text)
            time.sleep(0.1)


if __name__ == "__main__":
    unittest.main(verbosity=2)

"""Volumes that are files: what is in the cluster's objects is on the guest's disks, and nowhere else."""
import base64
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import lib
import linux

PASSWORD = "correct horse battery staple"
USER_DATA = f"#cloud-config\npassword: {PASSWORD}\n"


def secret(name, **data):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "data": {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}}


def tool(*words):
    return subprocess.run(words, check=True, capture_output=True, timeout=lib.PATIENCE).stdout.decode()


class Files(linux.Case):
    def monitor(self, name):
        """The process id of the machine: the cluster's node is this host."""
        pod, = self.pods(name)
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if pod["metadata"]["uid"] in (folder / "cgroup").read_text() and \
                        (folder / "comm").read_text() == "vmm-monitor\n":
                    return folder
            except OSError:
                continue
        return None

    def images(self, name):
        """Copies of the disks that are memory, in the manifest's order."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="podvisor-e2e-"))
        self.addCleanup(shutil.rmtree, folder)
        links = (lib.wait_until(lambda: self.monitor(name), what="the monitor") / "fd").iterdir()
        found = sorted((link for link in links if os.readlink(link) == "/memfd:seed (deleted)"),
                       key=lambda link: int(link.name))
        return [pathlib.Path(shutil.copyfile(link, folder / f"{n}.iso")) for n, link in enumerate(found)]

    def check(self, image, label, files):
        self.assertIn(f"LABEL={label}\n", tool("blkid", "-p", "-o", "export", image).replace("\\", ""))
        self.assertEqual({name: tool("bsdtar", "-xOf", image, name) for name in files}, files)

    def test_one_boot(self):
        self.apply(secret("users", userdata=USER_DATA),
                   {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"},
                    "data": {"app.conf": "colour=blue\n"}})
        fields = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                  {"path": "pod/namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]
        volumes = [{"name": "seed", "cloudInitNoCloud": {"secretRef": {"name": "users"}, "networkData": "version: 2\n"}},
                   {"name": "settings", "configMap": {"name": "settings", "volumeLabel": "app settings"}},
                   {"name": "api", "downwardAPI": {"fields": fields}},
                   {"name": "account", "serviceAccount": {"serviceAccountName": "default"}}]
        self.apply(linux.machine("linux", "read podvisor.read=vda,vdb,vdc,vdd podvisor.end=stay", volumes=volumes))
        self.wait_condition("vm", "linux", "Ready")
        images = self.images("linux")
        self.assertEqual(len(images), 4)
        meta = json.loads(tool("bsdtar", "-xOf", images[0], "meta-data"))
        self.assertEqual(meta["local-hostname"], "linux")
        self.check(images[0], "cidata", {"user-data": USER_DATA, "network-config": "version: 2\n"})
        self.check(images[1], "app settings", {"app.conf": "colour=blue\n"})
        self.check(images[2], "cfgdata", {"pod/namespace": self.namespace})
        self.assertIn('kubevirt.io="virt-launcher"', tool("bsdtar", "-xOf", images[2], "labels"))
        self.check(images[3], "cfgdata", {"namespace": self.namespace})
        self.check_token(tool("bsdtar", "-xOf", images[3], "token"))
        self.check_secrecy()
        self.wait_console("linux", r"^GUEST ok read")
        for name, image in zip(("vda", "vdb", "vdc", "vdd"), images):
            digest = tool("sha256sum", image).split()[0]
            self.wait_console("linux", rf"^GUEST info read name={name} bytes={image.stat().st_size} readonly=1 "
                                       rf"sha256={digest}$", timeout=10)

    def check_token(self, token):
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==="))
        self.assertEqual(claims["sub"], f"system:serviceaccount:{self.namespace}:default")

    def check_secrecy(self):
        """Neither in the objects nor on the node: the pod names the secret, and only compute has it."""
        pod, = self.pods("linux")
        self.assertNotIn(PASSWORD, json.dumps(pod))
        self.assertNotIn(PASSWORD, json.dumps(self.get("vmi", "linux")))
        self.assertNotIn(PASSWORD, self.console("linux"))
        mounted = {container["name"] for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", [])
                   for mount in container["volumeMounts"] if re.match(r"volume\d", mount["name"])}
        self.assertEqual(mounted, {"compute"})
        folder = self.monitor("linux")
        self.assertNotIn(PASSWORD.encode(), (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes())

    def test_secret_that_comes_later(self):
        """The pod waits for it in ContainerCreating; an optional one is not waited for."""
        self.apply(lib.instance("waits", volumes=[{"name": "seed", "cloudInitNoCloud": {"secretRef": {"name": "late"}}}]),
                   lib.instance("starts", volumes=[{"name": "opt", "secret": {"secretName": "none", "optional": True}}]))
        self.wait_phase("starts", "Running")
        self.assertEqual(self.get("vmi", "waits")["status"]["phase"], "Scheduling")
        self.apply(secret("late", userData=USER_DATA))
        self.wait_phase("waits", "Running")
        self.check(self.images("waits")[0], "cidata", {"user-data": USER_DATA})


if __name__ == "__main__":
    unittest.main(verbosity=2)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Volumes that are files, from the kubelet's folders to what three programs of others find on the disks."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import unittest

import pod_case
from pod_case import Pod, lib, vmi

SECRET = "correct horse battery staple"


class Files(unittest.TestCase):
    def setUp(self):
        self.pod = Pod(self)

    def mount(self, name, **files):
        """A folder as the kubelet's atomic writer leaves it; '__' in a name for '/'."""
        folder = self.pod.volumes / name
        version = folder / "..2026_11_23_00_00_00.000000001"
        version.mkdir(parents=True)
        (folder / "..data").symlink_to(version.name)
        for key, text in files.items():
            path = version / key.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            first = pathlib.Path(key.replace("__", "/")).parts[0]
            if not (folder / first).exists():
                (folder / first).symlink_to(f"..data/{first}")
        return folder

    def start(self, *volumes, **options):
        return self.pod.compute(vmi(volumes=volumes), "--kernel", self.pod.kernel, "--cmdline", "", **options)

    def images(self, compute):
        """The disks that are memory, copied out of the running machine, in order."""
        copies = []
        for link in sorted(pathlib.Path(f"/proc/{compute.pid}/fd").iterdir(), key=lambda link: int(link.name)):
            if os.readlink(link) == "/memfd:seed (deleted)":
                copies.append(self.pod.folder / f"seed{len(copies)}.iso")
                shutil.copyfile(link, copies[-1])
        return copies

    def tool(self, *words, **options):
        return subprocess.run(words, check=True, capture_output=True, timeout=lib.DEADLINE, **options).stdout

    def check_label(self, image, label):
        self.assertIn(f"Volume id: {label}\n", self.tool("isoinfo", "-d", "-i", image).decode())
        found = dict(re.findall(r"(\w+)=\"?([^\"\n]*)", self.tool("blkid", "-p", "-o", "export", image).decode()))
        self.assertEqual((found["TYPE"], found["LABEL"].replace("\\", "")), ("iso9660", label))

    def check_files(self, image, files):
        """By name and content, through Rock Ridge (twice: libarchive, libisofs) and through Joliet."""
        listed = self.tool("bsdtar", "-tf", image).decode().splitlines()
        self.assertEqual({name for name in listed if not name.endswith("/")} - {"."} - self.folders(files), set(files))
        for name, text in files.items():
            self.assertEqual(self.tool("bsdtar", "-xOf", image, name).decode(), text)
            self.assertEqual(self.tool("isoinfo", "-J", "-i", image, "-x", f"/{name}").decode(), text)
        target = self.pod.folder / f"out-{image.stem}"
        self.tool("xorriso", "-abort_on", "WARNING", "-osirrox", "on", "-indev", image, "-extract", "/", target)
        for name, text in files.items():
            self.assertEqual((target / name).read_text(), text)

    def folders(self, files):
        return {str(parent) for name in files for parent in pathlib.PurePath(name).parents}

    def test_every_kind(self):
        self.mount("seed/userdata", userdata=f"#cloud-config\npassword: {SECRET}\n")
        self.mount("cfg", **{"app.conf": "a=1\n", "empty": ""})
        self.mount("sec", password=SECRET)
        self.mount("api", labels="app=web", sub__name="web")
        self.mount("sa", token=SECRET, namespace="lab", **{"ca.crt": "CERT"})
        self.mount("win", **{"Autounattend.xml": "<unattend/>"})
        compute = self.start(
            ("seed", {"cloudInitNoCloud": {"secretRef": {"name": "users"}, "networkData": "version: 2\n"}}),
            ("drive", {"cloudInitConfigDrive": {"userDataBase64": "I2Nsb3VkLWNvbmZpZwo="}}),
            ("cfg", {"configMap": {"name": "c", "volumeLabel": "my label"}}), ("sec", {"secret": {"secretName": "s"}}),
            ("api", {"downwardAPI": {"fields": []}}), ("sa", {"serviceAccount": {"serviceAccountName": "robot"}}),
            ("win", {"sysprep": {"configMap": {"name": "u"}}}))
        compute.ready()
        images = self.images(compute)
        self.assertEqual(len(images), 7)
        meta = self.tool("bsdtar", "-xOf", images[0], "meta-data").decode()
        uuid = re.fullmatch(r'{"instance-id":"([0-9a-f-]{36})","local-hostname":"web"}', meta)[1]
        expected = (
            ("cidata", {"meta-data": meta, "user-data": f"#cloud-config\npassword: {SECRET}\n",
                        "network-config": "version: 2\n"}),
            ("config-2", {"openstack/latest/user_data": "#cloud-config\n",
                          "openstack/latest/meta_data.json":
                              f'{{"instance_id":"web.default","hostname":"web","uuid":"{uuid}"}}'}),
            ("my label", {"app.conf": "a=1\n", "empty": ""}), ("cfgdata", {"password": SECRET}),
            ("cfgdata", {"labels": "app=web", "sub/name": "web"}),
            ("cfgdata", {"token": SECRET, "namespace": "lab", "ca.crt": "CERT"}),
            ("unattendCD", {"Autounattend.xml": "<unattend/>"}))
        for image, (label, files) in zip(images, expected):
            with self.subTest(label=label, files=list(files)):
                self.check_label(image, label)
                self.check_files(image, files)
        self.check_secrecy(compute)

    def check_secrecy(self, compute):
        for name in ("environ", "cmdline"):
            self.assertNotIn(SECRET.encode(), pathlib.Path(f"/proc/{compute.pid}/{name}").read_bytes())
        self.assertNotIn(SECRET, compute.said())
        self.assertEqual(os.listdir(self.pod.run / "podvisor/ephemeral"), [])

    def test_keys(self):
        for number, keys in enumerate(({"b": "ssh-rsa B\n", "a": "ssh-ed25519 A\n"}, {"c": "ssh-rsa C"}, {"d": "ssh-rsa D"})):
            (self.pod.run / "podvisor" / "credentials").mkdir(exist_ok=True)
            self.mount(f"../credentials/{number}", **keys)

        def credential(method):
            return {"sshPublicKey": {"source": {"secret": {"secretName": "k"}}, "propagationMethod": {method: {}}}}
        machine = vmi(volumes=[("seed", {"cloudInitNoCloud": {"userData": "u"}}),
                               ("drive", {"cloudInitConfigDrive": {"userData": "u"}})],
                      accessCredentials=[credential("noCloud"), credential("configDrive"), credential("noCloud")])
        compute = self.pod.compute(machine, "--kernel", self.pod.kernel, "--cmdline", "").ready()
        seed, drive = self.images(compute)
        self.assertEqual(json.loads(self.tool("bsdtar", "-xOf", seed, "meta-data"))["public-keys"],
                         {"0": "ssh-ed25519 A\n", "1": "ssh-rsa B\n", "2": "ssh-rsa D"})
        meta = json.loads(self.tool("bsdtar", "-xOf", drive, "openstack/latest/meta_data.json"))
        self.assertEqual(meta["public_keys"], {"0": "ssh-rsa C"})

    def test_what_the_monitor_gets(self):
        self.mount("cfg", key="value")
        got = self.pod.handed_over(vmi(volumes=[("cfg", {"configMap": {"name": "c"}})]), "--kernel", self.pod.kernel)
        disk, = got["disks"]
        self.assertEqual((disk["readonly"], disk["direct"], disk["discard"], disk["size"] % 4096), (True, False, False, 0))

    def test_optional_and_empty(self):
        self.mount("cfg")
        compute = self.start(("cfg", {"configMap": {"name": "c", "optional": True}})).ready()
        image, = self.images(compute)
        self.check_files(image, {})

    def refused(self, told, *volumes):
        message = self.start(*volumes).expect_end(1, "BadConfiguration")
        self.assertIn(told, message)
        self.assertNotIn(SECRET, message)

    def test_refused(self):
        config_map = ("cfg", {"configMap": {"name": "c"}})
        self.refused("cfg: cannot open /run/podvisor/volumes/cfg", config_map)
        (self.mount("cfg") / "..data" / "link").symlink_to("/etc/shadow")
        self.refused("cfg: link is a symbolic link", config_map)
        self.mount("win", key=SECRET)
        self.refused("Sysprep drive should contain autounattend.xml or unattend.xml but neither were found.",
                     ("win", {"sysprep": {"configMap": {"name": "c"}}}))
        self.mount("seed/userdata", key=SECRET)
        self.refused("seed: there is neither user data nor network data",
                     ("seed", {"cloudInitNoCloud": {"secretRef": {"name": "s"}}}))


if __name__ == "__main__":
    pod_case.main()

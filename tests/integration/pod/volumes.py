#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Volumes of a pod: claims as files and as block devices, hostile ones among them, and emptyDisks."""

import json
import os
import subprocess
import unittest

import pod_case
from pod_case import Pod, claim, lib, vmi

MIB = 1 << 20


class Volumes(unittest.TestCase):
    def setUp(self):
        self.pod = Pod(self)

    def start(self, *volumes, env=None):
        return self.pod.compute(vmi(volumes=volumes), "--kernel", self.pod.kernel, "--cmdline", "", env=env)

    def disks(self, *volumes, env=None):
        got = self.pod.handed_over(vmi(volumes=volumes), "--kernel", self.pod.kernel, env=env)
        return {disk["name"]: disk for disk in got["disks"]}

    def refused(self, told, *volumes, **options):
        message = self.start(*volumes, **options).expect_end(1, "BadConfiguration")
        self.assertIn(told, message)

    def test_disk_of_a_claim(self):
        self.pod.claim("data", 8 * MIB)
        self.pod.claim("dv", 4 * MIB)
        disks = self.disks(claim(), ("dv", {"dataVolume": {"name": "dv"}}))
        self.assertEqual({name: disk["size"] for name, disk in disks.items()}, {"data": 8 * MIB, "dv": 4 * MIB})
        self.assertFalse(disks["data"]["readonly"])

    def test_read_only_claim(self):
        self.pod.claim("data", 8 * MIB)
        self.assertTrue(self.disks(claim(readOnly=True))["data"]["readonly"])

    def test_empty_claim_gets_a_disk(self):
        folder = self.pod.claim("data")
        sizes = json.dumps({"data": "10Mi", "other": "1Gi"})
        disks = self.disks(claim(), env={"PODVISOR_CLAIM_SIZES": sizes})
        self.assertEqual(disks["data"]["size"], 10 * MIB)
        made = (folder / "disk.img").stat()
        self.assertEqual((made.st_uid, made.st_blocks, made.st_mode & 0o777), (pod_case.POD_UID, 0, 0o600))

    def test_claim_without_a_known_size(self):
        folder = self.pod.claim("data")
        size = self.disks(claim())["data"]["size"]
        fs = os.statvfs(folder)
        room = fs.f_bavail * fs.f_frsize
        self.assertTrue(room * 0.9 < size < room, (size, room))

    def test_claim_sizes_that_are_no_sizes(self):
        self.pod.claim("data")
        self.refused("PODVISOR_CLAIM_SIZES: ", claim(), env={"PODVISOR_CLAIM_SIZES": "[1"})
        self.refused("PODVISOR_CLAIM_SIZES: ", claim(), env={"PODVISOR_CLAIM_SIZES": '{"data":"much"}'})

    def test_refused_start_makes_no_disk(self):
        folder = self.pod.claim("data")
        self.pod.claim("bad", 1000)
        self.refused("not a multiple of 512", claim(), claim("bad"))
        self.assertEqual(os.listdir(folder), [])

    def test_no_such_volume(self):
        self.refused("spec.volumes[0].persistentVolumeClaim: the pod has neither /run/podvisor/volumes/data nor "
                     "/dev/disks/data", claim())

    def test_read_only_claim_without_a_disk(self):
        self.pod.claim("data")
        self.refused("disk /run/podvisor/volumes/data/disk.img does not exist", claim(readOnly=True))

    def test_hostile_claims(self):
        secret = self.pod.folder / "secret"
        secret.write_bytes(bytes(4096))
        secret.chmod(0o666)
        for name, make, told in (
                ("link", lambda path: path.symlink_to(secret), "is a symbolic link, which is not followed"),
                ("dangling", lambda path: path.symlink_to(self.pod.folder / "new"), "is a symbolic link"),
                ("folder", lambda path: path.mkdir(), "is a directory"),
                ("fifo", lambda path: os.mkfifo(path), "neither a regular file nor a block device"),
                ("device", lambda path: pod_case.make_device(path, "/dev/zero"), "neither a regular file nor"),
                ("empty", lambda path: path.touch(), "disk.img")):
            with self.subTest(name):
                self.pod = Pod(self)
                path = self.pod.claim("data") / "disk.img"
                make(path)
                if name != "link" and name != "dangling":
                    os.chown(path, pod_case.POD_UID, pod_case.POD_UID)
                self.refused(told, claim())

    def test_locked_claim(self):
        self.pod.claim("data", 4096)
        self.start(claim()).ready()
        (self.pod.run / "podvisor/vmm/control").unlink()
        (self.pod.run / "podvisor/vmm/images").unlink(missing_ok=True)
        self.refused("is in use by another process", claim())

    def test_block_device(self):
        backing = self.pod.folder / "backing"
        with open(backing, "wb") as image:
            image.truncate(8 * MIB)
        done = subprocess.run(["losetup", "--find", "--show", backing], capture_output=True, text=True,
                              timeout=lib.DEADLINE)
        if done.returncode != 0:
            self.skipTest("this host has no loop devices")
        device = done.stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "--detach", device], check=True, timeout=lib.DEADLINE)
        self.pod.devices["data"] = device
        self.assertEqual(self.disks(claim())["data"]["size"], 8 * MIB)

    def test_empty_disk(self):
        compute = self.start(("scratch", {"emptyDisk": {"capacity": "1Gi"}})).ready()
        compute.call("status")
        # With a name: the kubelet counts what the pod's folders hold.
        self.assertEqual(os.listdir(self.pod.run / "podvisor/ephemeral"), ["scratch.img"])
        disk = (self.pod.run / "podvisor/ephemeral/scratch.img").stat()
        self.assertEqual((disk.st_size, disk.st_blocks), (1 << 30, 0))
        links = lib.open_files(compute.pid)
        self.assertTrue(any(link.endswith("ephemeral/scratch.img") for link in links), links)

    def test_kinds_that_have_to_wait(self):
        for volume in (("seed", {"cloudInitNoCloud": {"userData": "#cloud-config"}}),
                       ("cfg", {"configMap": {"name": "c"}}),
                       ("eph", {"ephemeral": {"persistentVolumeClaim": {"claimName": "c"}}})):
            with self.subTest(volume[0]):
                self.pod = Pod(self)
                self.refused("volumes of this kind are not supported in a pod yet", volume)

    def test_volume_of_a_flag(self):
        disk = self.pod.folder / "mine.img"
        disk.write_bytes(bytes(4096))
        disk.chmod(0o666)
        got = self.pod.handed_over(vmi(volumes=[claim()]), "--kernel", self.pod.kernel, "--disk", f"name=data,path={disk}")
        self.assertEqual(got["disks"][0]["size"], 4096)


if __name__ == "__main__":
    pod_case.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Volumes of a pod: claims as files and as block devices, hostile ones among them, and emptyDisks."""

import fcntl
import json
import os
import pathlib
import shutil
import struct
import subprocess
import unittest

import pod_case
from pod_case import Pod, claim, lib, vmi

MIB = 1 << 20
F_OFD_SETLK = 37


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
        self.refused("is in use; machine default/web was the last to take it", claim())

    def test_lock_of_nobody_known(self):
        """What stands in the attribute is anybody's who can write to the claim."""
        path = self.pod.claim("data", 4096) / "disk.img"
        holder = os.open(path, os.O_RDWR)
        self.addCleanup(os.close, holder)
        fcntl.fcntl(holder, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
        for value in (b"two\nlines", b"x" * 1000, b""):
            os.setxattr(path, "user.podvisor.holder", value)
            self.refused("is in use by another process", claim())

    def test_ephemeral(self):
        """Two machines at once on one claim, which neither changes; nor does it need to be writable for them."""
        path = self.pod.claim("data", 2 * MIB) / "disk.img"
        os.chown(path, 0, 0)
        path.chmod(0o444)
        volume = ("data", {"ephemeral": {"persistentVolumeClaim": {"claimName": "c"}}})
        kernel = ("--kernel", self.pod.programs / lib.PAYLOAD.name, "--cmdline", "bench=store,fill=65,then=stay")
        shutil.copy(lib.PAYLOAD, self.pod.programs)
        first = self.pod.compute(vmi(volumes=[volume]), *kernel)
        first.console.expect("store disk=0 sectors=4096 readonly=0 found=0 wrote=65\n")
        for name in ("control", "images"):
            (self.pod.run / "podvisor/vmm" / name).unlink(missing_ok=True)
        (self.pod.run / "podvisor/ephemeral/data.qcow2").unlink()
        second = self.pod.compute(vmi(volumes=[volume]), *kernel)
        second.console.expect("store disk=0 sectors=4096 readonly=0 found=0 wrote=65\n")
        self.assertEqual(path.read_bytes(), bytes(2 * MIB))

    def test_ephemeral_without_a_disk(self):
        self.pod.claim("data")
        self.refused("disk /run/podvisor/volumes/data/disk.img does not exist",
                     ("data", {"ephemeral": {"persistentVolumeClaim": {"claimName": "c"}}}))

    def host_disk(self, name="host", **fields):
        return name, {"hostDisk": {"path": "/var/data/my.img", **fields}}

    def test_host_disk(self):
        folder = self.pod.claim("host")
        self.refused("disk /run/podvisor/volumes/host/my.img does not exist", self.host_disk(type="Disk"))
        self.refused("there is no such file, and no capacity to make one", self.host_disk(type="DiskOrCreate"))
        self.refused("not enough space, demanded size", self.host_disk(type="DiskOrCreate", capacity="4Pi"))
        self.assertEqual(os.listdir(folder), [])
        self.assertEqual(self.disks(self.host_disk(type="DiskOrCreate", capacity="8Mi"))["host"]["size"], 8 * MIB)
        # One that is there keeps its size, whatever is asked for.
        self.assertEqual(self.disks(self.host_disk(type="DiskOrCreate", capacity="16Mi"))["host"]["size"], 8 * MIB)
        self.assertEqual(self.disks(self.host_disk(type="Disk"))["host"]["size"], 8 * MIB)

    def test_host_disk_of_another_user(self):
        folder = self.pod.claim("host")
        os.chown(folder, 0, 0)
        self.refused("on the node: `chown 107:107` the folder", self.host_disk(type="DiskOrCreate", capacity="1Mi"))
        (folder / "my.img").write_bytes(bytes(4096))
        self.refused("on the node: `chown 107:107` the file", self.host_disk(type="Disk"))

    def test_host_disk_that_is_a_link(self):
        folder = self.pod.claim("host")
        (folder / "my.img").symlink_to("/run/podvisor/vmm/control")
        self.refused("is a symbolic link", self.host_disk(type="DiskOrCreate", capacity="1Mi"))

    def make_device(self, volume="data"):
        backing = self.pod.folder / "backing"
        with open(backing, "wb") as image:
            image.truncate(8 * MIB)
        done = subprocess.run(["losetup", "--find", "--show", backing], capture_output=True, text=True,
                              timeout=lib.DEADLINE)
        if done.returncode != 0:
            self.skipTest("this host has no loop devices")
        device = done.stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "--detach", device], check=True, timeout=lib.DEADLINE)
        self.pod.devices[volume] = device
        return device

    def test_block_device(self):
        self.make_device()
        disk = self.disks(claim())["data"]
        self.assertEqual((disk["size"], disk["readonly"]), (8 * MIB, False))
        self.assertTrue(self.disks(claim(readOnly=True))["data"]["readonly"])

    def test_block_device_has_one_writer(self):
        """Each container has a node of its own for the device, so a lock of the node would keep nobody off."""
        self.make_device()
        first = self.start(claim()).ready()
        other = Pod(self)
        other.devices = self.pod.devices
        compute = other.compute(vmi(volumes=[claim()]), "--kernel", other.kernel, "--cmdline", "")
        self.assertIn("is in use on this node", compute.expect_end(1, "BadConfiguration"))
        first.call("stop")
        first.expect_end(0, "Stopped")
        self.pod = Pod(self)
        self.pod.devices = other.devices
        self.assertEqual(self.disks(claim())["data"]["size"], 8 * MIB)

    def test_block_device_of_root(self):
        self.make_device()
        self.pod.device_mode = 0o660
        self.refused("device_ownership_from_security_context = true", claim())

    def test_empty_disk(self):
        compute = self.start(("scratch", {"emptyDisk": {"capacity": "1Gi"}})).ready()
        compute.call("status")
        # With a name: the kubelet counts what the pod's folders hold.
        self.assertEqual(os.listdir(self.pod.run / "podvisor/ephemeral"), ["scratch.img"])
        disk = (self.pod.run / "podvisor/ephemeral/scratch.img").stat()
        self.assertEqual((disk.st_size, disk.st_blocks), (1 << 30, 0))
        # Not by what /proc calls it: the name came later than the descriptor.
        files = [entry.stat() for entry in pathlib.Path(f"/proc/{compute.pid}/fd").iterdir()]
        self.assertTrue(any(os.path.samestat(disk, file) for file in files))

    def test_volume_of_a_flag(self):
        disk = self.pod.folder / "mine.img"
        disk.write_bytes(bytes(4096))
        disk.chmod(0o666)
        got = self.pod.handed_over(vmi(volumes=[claim()]), "--kernel", self.pod.kernel, "--disk", f"name=data,path={disk}")
        self.assertEqual(got["disks"][0]["size"], 4096)


if __name__ == "__main__":
    pod_case.main()

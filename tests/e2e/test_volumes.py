"""Volumes: a disk from an image, one of a claim that outlives its machines, and one that does not."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import unittest

import lib
import linux

MIB = 1 << 20


def disks(*names):
    return {"devices": {"disks": [{"name": name, "disk": {"bus": "virtio"}} for name in names]}}


def store(name, volumes, fill=65, then="stay", **changes):
    """A machine whose guest says of each disk what is on it, and writes to it: tests/guest/bench/store.c."""
    vm = lib.machine(name, f"bench=store,fill={fill},then={then}", volumes=volumes,
                     domain=disks(*(volume["name"] for volume in volumes)), **changes)
    spec = vm["spec"]["template"]["spec"]
    spec["terminationGracePeriodSeconds"] = 1  # it knows no power button
    spec["domain"]["memory"]["guest"] = "64Mi"
    spec["domain"]["firmware"]["kernelBoot"]["container"]["kernelPath"] = "/boot/payload.elf"
    return vm


class Volumes(linux.Case):
    def claim(self, name, size, mode="Filesystem", access="ReadWriteOnce"):
        """A claim and its volume; returns the folder or device of the node that is the volume."""
        volume = f"{self.namespace}-{name}"
        said = lib.run(lib.CLUSTER, "volume", volume, size, *(["block"] if mode == "Block" else []))
        self.addCleanup(lib.kubectl, "delete", "pv", volume, "--wait=false", check=False)
        self.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
                    "spec": {"accessModes": [access], "volumeName": volume, "volumeMode": mode,
                             "resources": {"requests": {"storage": size}}}})
        path = json.loads(lib.kubectl("get", "pv", volume, "-o", "json").stdout)["spec"]["local"]["path"]
        self.assertTrue(pathlib.Path(path).exists(), said.stdout)
        return pathlib.Path(path)

    def stored(self, name):
        """What the guest of store() says, once it has said all: (MiB, read-only, found, wrote) by volume."""
        self.wait_condition("vm", name, "Ready")
        self.wait_console(name, r"^store done$", lib.PATIENCE)
        lines = re.findall(r"(?m)^store disk=\d+ sectors=(\d+) readonly=(\d) found=(\d+) wrote=(\w+)$", self.console(name))
        names = [item["name"] for item in self.get("vmi", name)["spec"]["volumes"]]
        self.assertEqual(len(lines) % len(names), 0, lines)
        return {volume: (int(sectors) * 512 / MIB, readonly == "1", int(found), wrote)
                for volume, (sectors, readonly, found, wrote) in zip(names, lines[-len(names):])}

    def monitor(self, pod):
        """The process that is the machine, on this node."""
        for folder in pathlib.Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    if (folder / "cmdline").read_bytes().startswith(b"vmm-monitor:") and \
                            pod["metadata"]["uid"] in (folder / "cgroup").read_text():
                        return int(folder.name)
        self.fail("no monitor runs in " + pod["metadata"]["name"])

    def delete(self, name):
        self.kubectl("delete", "vm", name, "--timeout=90s")
        lib.wait_until(lambda: not self.pods(name), what="no pod")

    def test_disks_in_linux(self):
        """All kinds in one boot, in the manifest's order. The first is a qcow2 image, whose file system the guest writes to."""
        folder = self.claim("data", "48Mi")
        volumes = [{"name": "image", "containerDisk": {"image": linux.IMAGE, "imagePullPolicy": "Never"}},
                   {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
                   {"name": "scratch", "emptyDisk": {"capacity": "24Mi"}}]
        args = "info,disk podvisor.disk=/dev/vda podvisor.disk_mib=1 podvisor.end=stay"
        self.apply(linux.machine("linux", args, domain=disks("image", "data", "scratch"), volumes=volumes))
        self.wait_console("linux", r"^GUEST ok disk ")
        for name, size in (("vda", 8), ("vdb", 48), ("vdc", 24)):
            self.wait_console("linux", rf"^GUEST info block name={name} sectors={size * MIB // 512}$", timeout=10)
        self.check_status()
        disk = folder / "disk.img"
        self.assertEqual((disk.stat().st_uid, disk.stat().st_blocks), (107, 0), "the monitor's own, and sparse")
        self.delete("linux")
        self.assertEqual(disk.stat().st_size, 48 * MIB)

    def test_what_outlives_a_machine_that_is_killed(self):
        """kill -9 between a flush and later writes: what was flushed is found by the next machine; what lies in
        its pod is new: emptyDisks, and overlays over images and claims."""
        read = self.claim("read", "8Mi", access="ReadOnlyMany")
        (read / "disk.img").write_bytes(bytes([7]) + bytes(2 * MIB - 1))
        self.claim("file", "16Mi")
        self.claim("dv", "8Mi")
        host = pathlib.Path("/var/lib/podvisor-disks")  # deploy/overlays/dev allows it
        host.mkdir(exist_ok=True)
        os.chown(host, 107, 107)
        (host / "any.img").unlink(missing_ok=True)
        self.addCleanup(shutil.rmtree, host)
        volumes = [{"name": "file", "persistentVolumeClaim": {"claimName": "file"}},
                   {"name": "read", "persistentVolumeClaim": {"claimName": "read", "readOnly": True}},
                   {"name": "dv", "dataVolume": {"name": "dv"}},
                   {"name": "host", "hostDisk": {"path": f"{host}/any.img", "type": "DiskOrCreate", "capacity": "4Mi"}},
                   {"name": "scratch", "emptyDisk": {"capacity": "2Mi"}},
                   {"name": "copy", "ephemeral": {"persistentVolumeClaim": {"claimName": "read"}}},
                   {"name": "image", "containerDisk": {"image": lib.TEST_GUEST, "imagePullPolicy": "Never"}},
                   {"name": "qcow2", "containerDisk": {"image": lib.TEST_GUEST, "imagePullPolicy": "Never",
                                                       "path": "/qcow2/disk.qcow2"}}]
        kept = {"file": (16, False, 65, "65"), "dv": (8, False, 65, "65"), "host": (4, False, 65, "65"),
                "read": (2, True, 7, "no"), "scratch": (2, False, 0, "65"), "copy": (2, False, 7, "65"),
                "image": (4, False, 0, "65"), "qcow2": (32, False, 0, "65")}
        if self.has_loop_devices():
            self.claim("block", "8Mi", mode="Block")
            volumes.append({"name": "block", "persistentVolumeClaim": {"claimName": "block"}})
            kept["block"] = (8, False, 65, "65")
        self.apply(store("kept", volumes, then="write"))
        first = {name: (size, readonly, 0 if found == 65 else found, wrote)
                 for name, (size, readonly, found, wrote) in kept.items()}
        self.assertEqual(self.stored("kept"), first)
        status = {item["name"]: item for item in self.get("vmi", "kept")["status"]["volumeStatus"]}
        self.assertEqual([status[item["name"]]["target"] for item in volumes], [f"vd{c}" for c in "abcdefghij"[:len(volumes)]])
        for name in ("file", "dv", *(["block"] if "block" in kept else [])):
            info = status[name]["persistentVolumeClaimInfo"]
            self.assertEqual((info["claimName"], info["volumeMode"], info["accessModes"], info["requests"]["storage"]),
                             (name, "Block" if name == "block" else "Filesystem", ["ReadWriteOnce"],
                              "16Mi" if name == "file" else "8Mi"))
        pod, = self.pods("kept")
        instance = self.get("vmi", "kept")["metadata"]["uid"]
        os.kill(self.monitor(pod), signal.SIGKILL)
        lib.wait_until(lambda: (self.get("vmi", "kept") or {}).get("metadata", {}).get("uid", instance) != instance,
                       what="another instance")
        self.assertEqual(self.stored("kept"), kept)
        self.second_machine_is_told()
        self.delete("kept")

    def has_loop_devices(self):
        return pathlib.Path("/dev/loop-control").exists()

    def second_machine_is_told(self):
        """The disk is in use, and by whom; the first machine does not notice."""
        self.apply(lib.instance("second", domain=disks("file"), volumes=[
            {"name": "file", "persistentVolumeClaim": {"claimName": "file"}}]))
        self.wait_phase("second", "Failed")
        self.assertIn(f"is in use; machine {self.namespace}/kept was the last to take it",
                      self.check_end("second", "BadConfiguration"))
        self.assertEqual(self.get("vmi", "kept")["status"]["phase"], "Running")

    def check_status(self):
        found = {item["name"]: item for item in self.get("vmi", "linux")["status"]["volumeStatus"]}
        self.assertEqual({name: item["target"] for name, item in found.items()},
                         {"image": "vda", "data": "vdb", "scratch": "vdc"})
        self.assertIn("containerDiskVolume", found["image"])
        claim = found["data"]["persistentVolumeClaimInfo"]
        self.assertEqual((claim["claimName"], claim["volumeMode"]), ("data", "Filesystem"))

    def test_claim_of_a_machine_that_runs_again(self):
        """The second instance gets the first one's file, not a new one."""
        folder = self.claim("again", "8Mi")
        self.apply(lib.machine("again", domain=disks("again"), volumes=[
            {"name": "again", "persistentVolumeClaim": {"claimName": "again"}}]))
        self.wait_condition("vm", "again", "Ready")
        disk = folder / "disk.img"
        with open(disk, "r+b") as image:
            image.write(b"kept")
        inode = disk.stat().st_ino
        first, = self.pods("again")
        self.kubectl("delete", "vmi", "again", "--timeout=60s")
        lib.wait_until(lambda: [pod for pod in self.pods("again") if pod["metadata"]["uid"] != first["metadata"]["uid"]],
                       what="another pod")
        self.wait_condition("vm", "again", "Ready")
        self.assertEqual((disk.stat().st_ino, disk.stat().st_size), (inode, 8 * MIB))
        self.assertEqual(disk.read_bytes()[:4], b"kept")
        self.delete("again")

    def test_container_disk_alone(self):
        """Its sidecar ends with the machine, and so the pod succeeds."""
        for name, path in (("any", None), ("named", "/disk/disk.img")):
            disk = {"image": lib.TEST_GUEST, "imagePullPolicy": "Never", **({"path": path} if path else {})}
            self.apply(lib.instance(name, args="o", domain=disks("root"), volumes=[{"name": "root", "containerDisk": disk}]))
        for name in ("any", "named"):
            with self.subTest(name):
                self.wait_phase(name, "Succeeded")
                pod, = self.pods(name)
                lib.wait_until(lambda: self.pods(name)[0]["status"]["phase"] == "Succeeded", what="pod succeeded")
                ends = {status["name"]: status["state"]["terminated"]["exitCode"]
                        for status in self.pods(name)[0]["status"]["containerStatuses"]}
                self.assertEqual(set(ends.values()), {0}, ends)
                self.assertIn("volumeroot", ends, pod["metadata"]["name"])

    def test_image_without_the_file(self):
        cases = {"no-file": ({"image": lib.TEST_GUEST, "path": "/disk/other.img"}, "/disk/other.img"),
                 "no-disk": ({"image": linux.BUSYBOX}, "/disk")}
        for name, (disk, _) in cases.items():
            volume = {"name": "root", "containerDisk": {**disk, "imagePullPolicy": "Never"}}
            self.apply(lib.instance(name, domain=disks("root"), volumes=[volume]))
        for name, (disk, words) in cases.items():
            with self.subTest(name):
                self.wait_phase(name, "Failed")
                told = self.check_end(name, "ImageFailed")
                self.assertIn("volume root", told)
                self.assertIn(disk["image"], told)
                self.assertIn(words, told)

    def check_end(self, name, reason):
        """The reason in a word, and the sentence that stands with it."""
        instance = self.get("vmi", name)
        self.assertEqual(instance["status"]["reason"], reason)
        self.assert_condition(instance, "Synchronized", "False", reason)
        return lib.condition(instance, "Synchronized")["message"]

    def test_claim_file_that_is_no_disk(self):
        """A symbolic link in a claim is not followed: it could lead out of the volume."""
        folder = self.claim("link", "8Mi")
        (folder / "disk.img").symlink_to("/etc/passwd")
        self.apply(lib.instance("link", domain=disks("link"), volumes=[
            {"name": "link", "persistentVolumeClaim": {"claimName": "link"}}]))
        self.wait_phase("link", "Failed")
        self.assertIn("/run/podvisor/volumes/link/disk.img is a symbolic link", self.check_end("link", "BadConfiguration"))


if __name__ == "__main__":
    unittest.main(verbosity=2)

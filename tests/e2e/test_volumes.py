"""Volumes: a disk from an image, one of a claim that outlives its machines, and one that does not."""
import json
import pathlib
import subprocess
import unittest

import lib
import linux

MIB = 1 << 20


def disks(*names):
    return {"devices": {"disks": [{"name": name, "disk": {"bus": "virtio"}} for name in names]}}


class Volumes(linux.Case):
    def claim(self, name, size):
        """A claim and its volume; returns the folder of the node that is the volume."""
        volume = f"{self.namespace}-{name}"
        said = lib.run(lib.CLUSTER, "volume", volume, size)
        self.addCleanup(lib.kubectl, "delete", "pv", volume, "--wait=false", check=False)
        self.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
                    "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": volume,
                             "resources": {"requests": {"storage": size}}}})
        path = json.loads(lib.kubectl("get", "pv", volume, "-o", "json").stdout)["spec"]["local"]["path"]
        self.assertTrue(pathlib.Path(path).is_dir(), said.stdout)
        return pathlib.Path(path)

    def delete(self, name):
        self.kubectl("delete", "vm", name, "--timeout=90s")
        lib.wait_until(lambda: not self.pods(name), what="no pod")

    def test_disks_in_linux(self):
        """All three kinds in one boot, in the manifest's order; the claim's file is found again with what was on it."""
        folder = self.claim("data", "48Mi")
        volumes = [{"name": "image", "containerDisk": {"image": lib.TEST_GUEST, "imagePullPolicy": "Never"}},
                   {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
                   {"name": "scratch", "emptyDisk": {"capacity": "24Mi"}}]
        first = lib.machine("first", domain=disks("data"), volumes=volumes[1:2])
        self.apply(first)
        self.wait_condition("vm", "first", "Ready")
        disk = folder / "disk.img"
        self.assertEqual(disk.stat().st_size, 48 * MIB)
        self.assertEqual((disk.stat().st_uid, disk.stat().st_blocks), (107, 0), "the monitor's own, and sparse")
        status = {item["name"]: item for item in self.get("vmi", "first")["status"]["volumeStatus"]}
        self.assertEqual(status["data"]["persistentVolumeClaimInfo"]["claimName"], "data")
        self.delete("first")
        self.assertEqual(disk.stat().st_size, 48 * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True, capture_output=True)

        args = "info,disk podvisor.disk=/dev/vdb podvisor.disk_mib=1 podvisor.end=stay"
        self.apply(linux.machine("linux", args, domain=disks("image", "data", "scratch"), volumes=volumes))
        self.wait_console("linux", r"^GUEST ok disk ")
        for name, size in (("vda", 4), ("vdb", 48), ("vdc", 24)):
            self.wait_console("linux", rf"^GUEST info block name={name} sectors={size * MIB // 512}$", timeout=10)
        self.check_status()
        self.check_read_only()
        self.delete("linux")
        found = subprocess.run(["debugfs", "-R", "cat /result", disk], check=True, capture_output=True, text=True)
        self.assertRegex(found.stdout, r"^disk mib=1 sha256=[0-9a-f]{64}\n$")
        checked = subprocess.run(["e2fsck", "-f", "-n", disk], capture_output=True, text=True)
        self.assertEqual(checked.returncode, 0, checked.stdout)

    def check_status(self):
        found = {item["name"]: item for item in self.get("vmi", "linux")["status"]["volumeStatus"]}
        self.assertEqual({name: item["target"] for name, item in found.items()},
                         {"image": "vda", "data": "vdb", "scratch": "vdc"})
        self.assertIn("containerDiskVolume", found["image"])
        claim = found["data"]["persistentVolumeClaimInfo"]
        self.assertEqual((claim["claimName"], claim["volumeMode"]), ("data", "Filesystem"))

    def check_read_only(self):
        """Who asked for a disk that can be written to is told that this one cannot."""
        pod, = self.pods("linux")
        said = self.kubectl("logs", pod["metadata"]["name"], "-c", "compute").stdout
        self.assertRegex(said, r"vmm: warning: .*spec\.volumes\[0\]\.containerDisk: .*read-only")

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

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files of container images, handed over by container-disk: what boots, what is refused, and who ends with whom."""

import os
import re
import shutil
import signal
import subprocess
import unittest

import pod_case
from pod_case import Pod, container_disk, kernel_boot, lib, vmi

MIB = 1 << 20
READ = "bench=blk,op=read,bs=65536,qd=8,secs=1"
KERNEL_WORDS = ("--kernel", "/boot/vmlinux")


class Images(unittest.TestCase):
    def setUp(self):
        self.pod = Pod(self)

    def kernel_image(self, kernel=lib.OBEY, **more):
        return self.pod.image("kernel", boot_vmlinux=kernel, **more)

    def start_kernel(self, **more):
        return self.pod.sidecar(self.kernel_image(**more), *KERNEL_WORDS)

    def refused(self, compute, reason, *told):
        message = compute.expect_end(1, reason)
        for text in told:
            self.assertIn(text, message)
        return message

    def test_kernel_and_disk(self):
        root = self.pod.image("root", disk_img=bytes(4 * MIB))
        sidecars = [self.start_kernel(kernel=lib.PAYLOAD), self.pod.sidecar(root, "--name", "root")]
        compute = self.pod.compute(vmi(domain=kernel_boot(READ), volumes=[container_disk()]))
        match = compute.console.expect_line(r"bench blk .*requests=(\d+) errors=(\d+) .*")
        self.assertGreater(int(match[1]), 100)
        self.assertEqual(int(match[2]), 0)
        compute.expect_end(1, "DebugExit")
        for sidecar in sidecars:
            self.pod.expect_sidecar(sidecar, 0)
        self.assertNotIn("warning", compute.log.text())

    def test_read_only(self):
        """A CD-ROM needs nothing to write to."""
        self.start_kernel()
        self.pod.sidecar(self.pod.image("root", disk_img=bytes(MIB)), "--name", "root")
        domain = {**kernel_boot("quiet"), "devices": {"disks": [{"name": "root", "cdrom": {"bus": "sata"}}]}}
        disk, = self.pod.handed_over(vmi(domain=domain, volumes=[container_disk()]))["disks"]
        self.assertEqual((disk["readonly"], disk["qcow2"], disk["backing"]), (True, False, []))
        self.assertEqual(os.listdir(self.pod.run / "podvisor/ephemeral"), [])

    def qcow2(self, *options, size="64M", content=b""):
        """The bytes of an image made by qemu-img, of that content."""
        raw, made = self.pod.folder / "raw", self.pod.folder / "made"
        raw.write_bytes(content)
        subprocess.run(["qemu-img", "resize", "-q", "-f", "raw", raw, size], check=True, timeout=lib.DEADLINE)
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, raw, made], check=True,
                       timeout=lib.DEADLINE)
        return made.read_bytes()

    def run_store(self, image, fill):
        """A pod of its own on the image: what its guest found and wrote, in its first life and after a reset."""
        self.pod = Pod(self)
        self.pod.sidecar(self.kernel_image(kernel=lib.PAYLOAD), *KERNEL_WORDS)
        self.pod.sidecar(image, "--name", "root")
        compute = self.pod.compute(vmi(domain=kernel_boot(f"bench=store,fill={fill},then=stay"), volumes=[container_disk()]))
        compute.console.expect(r"store done\n")
        compute.call("reset")
        compute.console.expect(r"store done\n(.|\n)*store done\n")
        overlay = self.pod.run / "podvisor/ephemeral/root.qcow2"
        self.assertGreater(overlay.stat().st_blocks * 512, MIB)
        compute.call("stop")
        compute.expect_end(0, "Stopped")
        shutil.copy(image / "disk/img", overlay.with_name("root"))  # where qemu-img looks for it
        checked = subprocess.run(["qemu-img", "check", "-f", "qcow2", overlay], capture_output=True, text=True,
                                 timeout=lib.DEADLINE)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
        return re.findall(r"sectors=(\d+) readonly=0 found=(\d+) wrote=(\w+)", compute.console.text())

    def test_disk_that_is_written_to(self):
        """Raw and qcow2, compressed too: a reset keeps what the guest wrote, another machine starts from the image."""
        if shutil.which("qemu-img") is None:
            self.skipTest("qemu-img is missing (qemu-utils)")
        content = bytes([7]) * (2 * MIB)
        cases = {"raw": content, "qcow2": self.qcow2(content=content), "zlib": self.qcow2("-c", content=content),
                 "v2": self.qcow2("-o", "compat=0.10,cluster_size=4096", content=content)}
        for name, image in cases.items():
            with self.subTest(name):
                folder = self.pod.image(name, disk_img=image)
                sectors = str((2 if name == "raw" else 64) * MIB // 512)
                before = hash(image)
                for _ in range(2):
                    self.assertEqual(self.run_store(folder, 65), [(sectors, "7", "65"), (sectors, "65", "65")])
                self.assertEqual(hash((folder / "disk/img").read_bytes()), before)

    def test_one_image_for_two_machines(self):
        """At the same time: neither sees what the other writes."""
        folder = self.pod.image("root", disk_img=bytes([7]) * (2 * MIB))
        computes = {}
        for fill in (65, 66):
            self.pod = Pod(self)
            self.pod.sidecar(self.kernel_image(kernel=lib.PAYLOAD), *KERNEL_WORDS)
            self.pod.sidecar(folder, "--name", "root")
            computes[fill] = self.pod.compute(vmi(domain=kernel_boot(f"bench=store,fill={fill},then=stay"),
                                                  volumes=[container_disk()]))
        for fill, compute in computes.items():
            compute.console.expect(f"found=7 wrote={fill}\nstore done\n")
        for fill, compute in computes.items():
            compute.call("reset")
            compute.console.expect(f"found={fill} wrote={fill}\nstore done\n")

    def test_qcow2_that_is_refused(self):
        """An image that wants another file below it: nobody named one."""
        if shutil.which("qemu-img") is None:
            self.skipTest("qemu-img is missing (qemu-utils)")
        made = self.pod.folder / "over"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-F", "raw", "-b", "/etc/passwd", made, "1M"],
                       check=True, timeout=lib.DEADLINE)
        self.start_kernel()
        self.pod.sidecar(self.pod.image("root", disk_img=made.read_bytes()), "--name", "root")
        compute = self.pod.compute(vmi(domain=kernel_boot("1"), volumes=[container_disk()]))
        self.refused(compute, "ImageFailed", "volume root (image example.org/root:1): ", "backing")

    def test_what_the_monitor_is_given(self):
        root = self.pod.image("root", disk_img=bytes(MIB))
        self.start_kernel()
        self.pod.sidecar(root, "--name", "root", "--path", "/disk/img")
        got = self.pod.handed_over(vmi(domain=kernel_boot("quiet"), volumes=[container_disk()]))
        disk, = got["disks"]
        below, = disk["backing"]
        self.assertEqual((disk["name"], disk["size"], disk["readonly"], disk["discard"], disk["qcow2"]),
                         ("root", MIB, False, True, True))
        self.assertFalse(below["qcow2"])
        self.assertTrue(got["descriptors"][str(below["fd"])].endswith("/disk/img"))
        self.assertTrue(got["descriptors"][str(disk["fd"])].endswith("/ephemeral/root.qcow2"))
        self.assertTrue(got["descriptors"][str(got["kernelFd"])].endswith("/boot/vmlinux"))
        self.assertEqual(got["cmdline"], "quiet")
        self.assertEqual(len(got["keepFds"]), 2)
        known = {got[name] for name in ("configFd", "kvmFd", "kernelFd", "controlFd", "terminationFd", "consoleOutFd")}
        self.assertEqual({int(fd) for fd in got["descriptors"]},
                         {0, 1, 2, disk["fd"], below["fd"], *known, *got["keepFds"]})

    def test_sidecars_end_when_the_machine_is_killed(self):
        root = self.pod.image("root", disk_img=bytes(MIB))
        sidecars = [self.start_kernel(), self.pod.sidecar(root, "--name", "root")]
        compute = self.pod.compute(vmi(domain=kernel_boot("1"), volumes=[container_disk()])).ready()
        for sidecar in sidecars:
            self.assertIsNone(sidecar.poll())
        compute.process.kill()
        for sidecar in sidecars:
            self.pod.expect_sidecar(sidecar, 0)

    def test_machine_outlives_its_sidecars(self):
        """The kubelet sends SIGTERM to all containers at once: the guest still has to shut down."""
        root = self.pod.image("root", disk_img=bytes(MIB))
        sidecars = [self.start_kernel(), self.pod.sidecar(root, "--name", "root")]
        compute = self.pod.compute(vmi(domain=kernel_boot("1"), volumes=[container_disk()])).ready()
        for sidecar in sidecars:
            sidecar.terminate()
            self.pod.expect_sidecar(sidecar, 0)
        compute.call("reset")  # reads the kernel again
        compute.console.expect("READY\n(.|\n)*READY")
        self.assertEqual(compute.call("status")["state"], "running")

    def test_initrd(self):
        image = self.kernel_image(boot_initrd=b"initial")
        sidecar = self.pod.sidecar(image, *KERNEL_WORDS, "--initrd", "/boot/initrd")
        compute = self.pod.compute(vmi(domain=kernel_boot("o", initrd="/boot/initrd")))
        compute.expect_end(0, "PowerOff")
        self.pod.expect_sidecar(sidecar, 0)

    def test_only_what_is_needed_stays_open(self):
        root = self.pod.image("root", disk_img=bytes(MIB))
        self.start_kernel()
        self.pod.sidecar(root, "--name", "root")
        compute = self.pod.compute(vmi(domain=kernel_boot("1"), volumes=[container_disk()])).ready()
        compute.call("status")
        links = lib.open_files(compute.pid)
        # Two sidecars, the control socket, and maybe the client of a moment ago; no listener for images.
        self.assertIn(sum(link.startswith("socket:") for link in links), (3, 4), links)
        self.assertEqual(sum(link.endswith("/disk/img") for link in links), 1, links)
        self.assertEqual(sum(link.endswith("/boot/vmlinux") for link in links), 1, links)
        late = self.pod.sidecar(root, "--name", "root")
        self.pod.expect_sidecar(late, 0, "the machine has ended: nobody serves")

    def test_error_of_a_sidecar_is_the_reason(self):
        sidecar = self.pod.sidecar(self.pod.image("kernel"), *KERNEL_WORDS)
        compute = self.pod.compute(vmi(domain=kernel_boot("1")))
        self.refused(compute, "ImageFailed",
                     "kernel (image example.org/kernel:1): there is no file /boot/vmlinux in the image")
        self.pod.expect_sidecar(sidecar, 1, "there is no file /boot/vmlinux in the image")

    def test_image_without_a_disk(self):
        self.start_kernel()
        sidecar = self.pod.sidecar(self.pod.image("root", disk_a=b"1", disk_b=b"2"), "--name", "root")
        compute = self.pod.compute(vmi(domain=kernel_boot("1"), volumes=[container_disk()]))
        self.refused(compute, "ImageFailed", "volume root (image example.org/root:1): there are 2 files in /disk")
        self.pod.expect_sidecar(sidecar, 1, "say with `path`")

    def test_hostile_images(self):
        for name, make, told in (
                ("link", lambda d: (d / "x").symlink_to("/run/podvisor/vmm/images"), "there is no disk in /disk"),
                ("fifo", lambda d: os.mkfifo(d / "x"), "there is no disk in /disk"),
                ("empty", lambda d: (d / "x").touch(), "is empty"),
                ("secret", lambda d: ((d / "x").write_bytes(b"x"), (d / "x").chmod(0)), "Permission denied")):
            with self.subTest(name):
                self.pod = Pod(self)
                image = self.pod.image("root")
                (image / "disk").mkdir()
                make(image / "disk")
                self.start_kernel()
                self.pod.sidecar(image, "--name", "root")
                compute = self.pod.compute(vmi(domain=kernel_boot("1"), volumes=[container_disk()]))
                self.refused(compute, "ImageFailed", "volume root", told)

    def test_formats(self):
        for content, told in ((b"QFI\xfb" + bytes(65532), "version 0"), (bytes(1000), "not a multiple of 512")):
            with self.subTest(told):
                self.pod = Pod(self)
                self.start_kernel()
                self.pod.sidecar(self.pod.image("root", disk_img=content), "--name", "root")
                compute = self.pod.compute(vmi(domain=kernel_boot("1"), volumes=[container_disk()]))
                self.refused(compute, "ImageFailed", "volume root (image example.org/root:1): ", told)

    def test_no_kernel_in_the_kernel(self):
        self.pod.sidecar(self.pod.image("kernel", boot_vmlinux=b"text" * 1000), *KERNEL_WORDS)
        compute = self.pod.compute(vmi(domain=kernel_boot("1")))
        self.refused(compute, "ImageFailed", "image example.org/kernel:1: the kernel /boot/vmlinux")

    def test_image_that_does_not_come(self):
        self.start_kernel()
        compute = self.pod.compute(vmi(domain=kernel_boot("1"), volumes=[container_disk(), container_disk("more")]),
                                   "--image-timeout", "1")
        message = self.refused(compute, "ImageFailed", "within 1 s: volume root (image example.org/root:1), volume more")
        self.assertNotIn("kernel", message)

    def test_unexpected_sidecar(self):
        sidecar = self.pod.sidecar(self.pod.image("other", disk_img=b"x"), "--name", "other")
        compute = self.pod.compute(vmi(domain=kernel_boot("1")))
        self.refused(compute, "ImageFailed", "'other', which nobody wants")
        self.pod.expect_sidecar(sidecar, 0)

    def test_duplicate_sidecar(self):
        root = self.pod.image("root", disk_img=bytes(512))
        for _ in range(2):
            self.pod.sidecar(root, "--name", "root")
        compute = self.pod.compute(vmi(domain=kernel_boot("1"), volumes=[container_disk()]))
        self.refused(compute, "ImageFailed", "volume root (image example.org/root:1): its file came twice")

    def test_sidecars_never_wait_for_a_machine_that_failed(self):
        sidecar = self.start_kernel()
        self.pod.compute(None).expect_end(1, "BadConfiguration")
        self.pod.expect_sidecar(sidecar, 0)
        late = self.pod.sidecar(self.kernel_image(), *KERNEL_WORDS)
        self.pod.expect_sidecar(late, 0, "nobody serves")

    def test_bad_flag_too(self):
        sidecar = self.start_kernel()
        self.pod.compute(vmi(), "--bogus").expect_end(1, "BadConfiguration")
        self.pod.expect_sidecar(sidecar, 0)

    def test_sidecar_without_a_machine(self):
        sidecar = self.pod.sidecar(self.kernel_image(), *KERNEL_WORDS, "--timeout", "0")
        self.pod.expect_sidecar(sidecar, 1, "is the container compute running?")

    def test_signals_while_waiting(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number):
                self.pod = Pod(self)
                compute = self.pod.compute(vmi(domain=kernel_boot("1")))
                compute.log.expect("waiting for 1 file")
                compute.process.send_signal(number)
                message = compute.expect_end(0, "Stopped")
                self.assertIn(f"stopped by signal {int(number)} before the machine started", message)

    def test_sidecar_ends_on_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            sidecar = self.pod.sidecar(self.kernel_image(), *KERNEL_WORDS)
            lib.wait_until(lambda: os.readlink(f"/proc/{sidecar.pid}/exe").endswith("container-disk"))
            lib.wait_until(lambda: int(lib.proc_status(sidecar.pid)["SigCgt"], 16) & 1 << (number - 1),
                           what="the handler")
            sidecar.send_signal(number)
            self.pod.expect_sidecar(sidecar, 0)

    def test_kernel_of_a_flag(self):
        """For debugging: another kernel in the same pod."""
        compute = self.pod.compute(vmi(domain=kernel_boot("1")), "--kernel", self.pod.kernel, "--cmdline", "o")
        compute.expect_end(0, "PowerOff")


class Install(unittest.TestCase):
    def test_again_and_again(self):
        pod = Pod(self)
        for _ in range(2):
            self.assertEqual(pod.install().returncode, 0)
        installed = pod.run / "podvisor/bin/container-disk"
        self.assertEqual(installed.stat().st_mode & 0o7777, 0o555)
        self.assertEqual(installed.read_bytes(), pod_case.CONTAINER_DISK.read_bytes())
        self.assertEqual(os.listdir(installed.parent), ["container-disk"])


if __name__ == "__main__":
    pod_case.main()

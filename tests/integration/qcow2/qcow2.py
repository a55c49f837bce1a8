#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""qcow2 disks under a running guest: what it leaves in the file, however the machine ends."""

import json
import pathlib
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import lib  # noqa: E402
from lib import Vmm  # noqa: E402

MIB = 1 << 20


def qemu_img(*words):
    return subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True, text=True,
                          timeout=lib.DEADLINE).stdout


def check(image):
    """What `qemu-img check` finds: neither error nor corruption, maybe leaks."""
    done = subprocess.run(["qemu-img", "check", "--output=json", "-f", "qcow2", image], capture_output=True, text=True,
                          timeout=lib.DEADLINE)
    if done.returncode not in (0, 3):
        raise AssertionError(f"qemu-img check: {done.returncode}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


class Qcow2(unittest.TestCase):
    def make(self, name="disk.qcow2", options="cluster_size=64k", size=64 * MIB, below=()):
        image = lib.new_folder(self) / name
        qemu_img("create", "-q", "-f", "qcow2", "-o", options, *below, image, size)
        return image

    def bench(self, image, operation, options="", seconds=1, **more):
        return Vmm(self, "--disk", f"path={image},format=qcow2{options}", kernel=lib.PAYLOAD,
                   cmdline=f"bench=blk,op={operation},bs=65536,qd=8,secs={seconds}", **more)

    def figures(self, vmm):
        match = vmm.console.expect_line(r"bench blk .*requests=(\d+) errors=(\d+) .*")
        return int(match[1]), int(match[2])

    def test_write_and_end(self):
        """The end of the machine writes what memory held: not even a leak is left."""
        image = self.make()
        vmm = self.bench(image, "write")
        requests, errors = self.figures(vmm)
        self.assertGreater(requests, 50)
        self.assertEqual(errors, 0)
        vmm.expect_end(1, "DebugExit")
        found = check(image)
        self.assertEqual(found.get("leaks", 0), 0)
        self.assertGreater(found["allocated-clusters"], 8)

    def test_overlay(self):
        base = self.make("base.qcow2")
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 90 0 64M", base], check=True, capture_output=True,
                       timeout=lib.DEADLINE)
        before = base.read_bytes()
        top = self.make(below=("-b", base, "-F", "qcow2"))
        backing = f",backing={base},backing-format=qcow2"
        vmm = self.bench(top, "read", backing)
        self.assertEqual(self.figures(vmm)[1], 0)
        vmm.expect_end(1, "DebugExit")
        self.assertEqual(check(top).get("allocated-clusters", 0), 0)
        vmm = self.bench(top, "write", backing)
        self.assertEqual(self.figures(vmm)[1], 0)
        vmm.expect_end(1, "DebugExit")
        self.assertGreater(check(top)["allocated-clusters"], 8)
        self.assertEqual(base.read_bytes(), before)

    def test_killed(self):
        image = self.make()
        for number in range(3):
            vmm = self.bench(image, "write", seconds=60)
            vmm.console.expect("bench-begin")
            time.sleep(0.1 * (number + 1))
            vmm.kill()
            check(image)
        vmm = self.bench(image, "write")
        self.assertEqual(self.figures(vmm)[1], 0)
        vmm.expect_end(1, "DebugExit")
        check(image)

    def test_reset_and_stop(self):
        image = self.make()
        vmm = self.bench(image, "write", seconds=60)
        vmm.console.expect("bench-begin")
        start = len(vmm.console)
        vmm.call("reset")
        vmm.console.expect("bench-begin", start=start)
        vmm.call("stop")
        vmm.expect_end(0, "Stopped")
        self.assertEqual(check(image).get("leaks", 0), 0)

    def test_corruption_is_told_and_stops_writing(self):
        """An L2 table that names the L1 table as data: the guest gets errors, and the table stays."""
        image = self.make()
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write 0 64M", image], check=True, capture_output=True,
                       timeout=lib.DEADLINE)
        with open(image, "r+b") as file:
            file.seek(40)
            file.seek(int.from_bytes(file.read(8), "big"))
            table = int.from_bytes(file.read(8), "big") & 0x00fffffffffffe00
            for entry in range(1024):
                file.seek(table + entry * 8)
                file.write((1 << 63 | 0x30000).to_bytes(8, "big"))
        vmm = self.bench(image, "write")
        requests, errors = self.figures(vmm)
        self.assertGreaterEqual(errors, requests)
        vmm.expect_end(3, "DebugExit")
        self.assertIn("the image is corrupt", vmm.log.text())
        again = self.bench(image, "write")
        self.assertEqual(again.wait(), 1)
        self.assertIn("is marked corrupt", again.log.text())
        readable = self.bench(image, "read", ",readonly")
        self.assertEqual(self.figures(readable)[1], 0)
        readable.expect_end(1, "DebugExit")

    def test_refusals(self):
        base = self.make("base.qcow2")
        top = self.make(below=("-b", base, "-F", "qcow2"))
        for image, options, told in ((top, "", "none is given"),
                                     (base, f",backing={top},backing-format=qcow2", "has no backing file"),
                                     (top, f",backing={top.parent}/none,backing-format=raw", "does not exist")):
            with self.subTest(told):
                vmm = self.bench(image, "read", options)
                self.assertEqual(vmm.wait(), 1)
                self.assertIn(told, vmm.log.text())
                self.assertEqual(vmm.log.text().count("\n"), 1)

    def test_locks(self):
        base = self.make("base.qcow2")
        tops = [self.make(below=("-b", base, "-F", "qcow2")) for _ in range(2)]
        backing = f",backing={base},backing-format=qcow2"
        machines = [Vmm(self, "--disk", f"path={top},format=qcow2{backing}").ready() for top in tops]
        for image, options in ((tops[0], backing), (base, "")):
            other = Vmm(self, "--disk", f"path={image},format=qcow2{options}")
            self.assertEqual(other.wait(), 1)
            self.assertIn(str(image), other.log.text())
        for machine in machines:
            machine.call("stop")
            machine.expect_end(0, "Stopped")


if __name__ == "__main__":
    lib.main()

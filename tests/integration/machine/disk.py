#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Disks under a running guest: the ways to reach a file, and what becomes of one that misbehaves. The process stays."""

import os
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import lib  # noqa: E402
from lib import Vmm, proc_status  # noqa: E402

MIB = 1 << 20


def bench(operation, seconds=1):
    """The payload's command line: a queue of requests for that long, then the debug exit."""
    return f"bench=blk,op={operation},bs=65536,qd=8,secs={seconds}"


class Disks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        lib.enter_mount_namespace()

    def make_disk(self, size=64 * MIB, folder=None):
        path = (folder or lib.new_folder(self)) / "disk.img"
        with open(path, "wb") as image:
            image.truncate(size)
        return path

    def make_small_file_system(self, size):
        folder = lib.new_folder(self)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True, timeout=lib.DEADLINE)
        self.addCleanup(subprocess.run, ["umount", "--lazy", folder], check=True, timeout=lib.DEADLINE)
        return folder

    def run_bench(self, disk, operation, options="", **arguments):
        return Vmm(self, "--disk", f"path={disk},format=raw{options}", kernel=lib.PAYLOAD,
                   cmdline=bench(operation, **arguments))

    def figures(self, vmm):
        match = vmm.console.expect_line(r"bench blk .*requests=(\d+) errors=(\d+) .*")
        return int(match[1]), int(match[2])

    def test_good_disk(self):
        """So that the others fail for their own reason."""
        disk = self.make_disk()
        vmm = self.run_bench(disk, "write")
        requests, errors = self.figures(vmm)
        self.assertGreater(requests, 100)
        self.assertEqual(errors, 0)
        vmm.expect_end(1, "DebugExit")
        self.assertGreater(disk.stat().st_blocks, 0)

    def test_full_file_system(self):
        disk = self.make_disk(folder=self.make_small_file_system(4 * MIB))
        vmm = self.run_bench(disk, "write")
        vmm.console.expect("bench-begin")
        lib.wait_until(lambda: vmm.call("metrics")["disks"][0]["errors"] > 0, what="an I/O error")
        self.assertEqual(vmm.call("status")["state"], "running")
        requests, errors = self.figures(vmm)
        self.assertGreater(errors, 0)
        self.assertGreater(requests, errors, "the first 4 MiB fit")
        vmm.expect_end(3, "DebugExit")
        self.assertLess(len(vmm.log.text()), 16384, "the log of errors has a limit")

    def test_full_file_system_can_be_read(self):
        disk = self.make_disk(folder=self.make_small_file_system(4 * MIB))
        self.run_bench(disk, "write").expect_end(3, "DebugExit")
        vmm = self.run_bench(disk, "read")
        self.assertEqual(self.figures(vmm)[1], 0)
        vmm.expect_end(1, "DebugExit")

    def test_disk_shrinks_under_the_guest(self):
        disk = self.make_disk()
        vmm = self.run_bench(disk, "read", seconds=2)
        vmm.console.expect("bench-begin")
        os.truncate(disk, MIB)
        lib.wait_until(lambda: vmm.call("metrics")["disks"][0]["errors"] > 0, what="an I/O error")
        requests, errors = self.figures(vmm)
        self.assertGreater(errors, 0)
        self.assertGreater(requests, errors, "the first MiB is there")
        vmm.expect_end(3, "DebugExit")

    def test_readonly(self):
        disk = self.make_disk()
        vmm = self.run_bench(disk, "write", ",readonly")
        requests, errors = self.figures(vmm)
        self.assertGreaterEqual(errors, requests, "a write to a read-only disk succeeded")
        vmm.expect_end(3, "DebugExit")
        self.assertEqual(disk.stat().st_blocks, 0)

    def test_removed_file(self):
        """The name is gone, the file is not."""
        disk = self.make_disk()
        vmm = self.run_bench(disk, "write")
        vmm.console.expect("bench-begin")
        disk.unlink()
        self.assertEqual(self.figures(vmm)[1], 0)
        vmm.expect_end(1, "DebugExit")

    def test_locked_by_another_machine(self):
        disk = self.make_disk()
        first = Vmm(self, "--disk", f"path={disk},format=raw").ready()
        for options in ("", ",readonly"):
            with self.subTest(options):
                second = Vmm(self, "--disk", f"path={disk},format=raw{options}")
                self.assertEqual(second.wait(), 1)
                self.assertIn(str(disk), second.log.text())
                self.assertEqual(second.log.text().count("\n"), 1)
        first.call("stop")
        first.expect_end(0, "Stopped")
        Vmm(self, "--disk", f"path={disk},format=raw", cmdline="o").expect_end(0, "PowerOff")

    def test_shared_for_reading(self):
        disk = self.make_disk()
        for _ in range(2):
            Vmm(self, "--disk", f"path={disk},format=raw,readonly").ready()

    def test_reset_with_requests_in_flight(self):
        disk = self.make_disk()
        vmm = self.run_bench(disk, "write", seconds=60)
        for number in range(1, 4):
            start = len(vmm.console)
            vmm.console.expect("bench-begin", start=start if number > 1 else 0)
            vmm.call("reset")
            self.assertEqual(vmm.call("status")["resets"], number)
        vmm.call("stop")
        vmm.expect_end(0, "Stopped")

    def test_end_with_requests_in_flight(self):
        disk = self.make_disk()
        vmm = self.run_bench(disk, "write", seconds=60)
        vmm.console.expect("bench-begin")
        vmm.call("stop")
        vmm.expect_end(0, "Stopped")

    def check_engine(self, options, expected):
        disk = self.make_disk()
        for operation in ("write", "randread"):
            vmm = Vmm(self, "--log-level", "debug", "--disk", f"path={disk},format=raw{options}", kernel=lib.PAYLOAD,
                      cmdline=bench(operation))
            requests, errors = self.figures(vmm)
            self.assertGreater(requests, 20)
            self.assertEqual(errors, 0)
            vmm.expect_end(1, "DebugExit")
            self.assertRegex(vmm.log.text(), expected)
        self.assertGreater(disk.stat().st_blocks, 0)

    def test_engines(self):
        """Where the kernel does not offer an interface, threads do its work."""
        for options, expected in ((",cache=none", "disks use (io_uring|aio|threads: )"),
                                  (",cache=none,io=io_uring", "disks use (io_uring|threads: )"),
                                  (",io=native", "disks use (io_uring|aio|threads: )"),
                                  (",cache=none,io=aio", "disks use (aio|threads: )"),
                                  (",cache=none,io=threads", "guest started"),
                                  (",cache=writethrough", "guest started")):
            with self.subTest(options):
                self.check_engine(options, expected)

    def test_killed_machine_leaves_no_lock(self):
        disk = self.make_disk()
        for _ in range(3):
            vmm = self.run_bench(disk, "write", ",cache=none", seconds=60)
            vmm.console.expect("bench-begin")
            vmm.process.kill()
            vmm.process.wait()

    def wait_for_error(self, vmm, message):
        status = lib.wait_until(lambda: (s := vmm.call("status"))["state"] == "paused" and s, what="the pause")
        self.assertEqual((status["pauseReason"], status["pauseDisk"]), ("IOError", "disk0"))
        self.assertEqual(status["pauseMessage"], message)

    def test_error_policy_stop_waits_for_space(self):
        for policy in ("stop", "enospace"):
            with self.subTest(policy):
                folder = self.make_small_file_system(4 * MIB)
                vmm = self.run_bench(self.make_disk(folder=folder), "write", f",error-policy={policy}")
                self.wait_for_error(vmm, "No space left on device")
                vmm.call("resume")  # too early: it comes back
                self.wait_for_error(vmm, "No space left on device")
                subprocess.run(["mount", "-o", f"remount,size={100 * MIB}", folder], check=True, timeout=lib.DEADLINE)
                self.assertEqual(self.figures(vmm)[1], 0, "the guest saw nothing of it")
                vmm.expect_end(1, "DebugExit")

    def test_error_policy_stop_waits_for_resume(self):
        disk = self.make_disk()
        vmm = self.run_bench(disk, "read", ",error-policy=stop", seconds=2)
        vmm.console.expect("bench-begin")
        os.truncate(disk, MIB)
        self.wait_for_error(vmm, "Input/output error")
        os.truncate(disk, 64 * MIB)
        self.assertEqual(vmm.call("status")["state"], "paused")
        vmm.call("resume")
        self.assertEqual(self.figures(vmm)[1], 0)
        vmm.expect_end(1, "DebugExit")

    def test_reset_and_end_while_stopped(self):
        vmm = self.run_bench(self.make_disk(folder=self.make_small_file_system(4 * MIB)), "write", ",error-policy=stop",
                             seconds=60)
        self.wait_for_error(vmm, "No space left on device")
        vmm.call("reset")
        self.wait_for_error(vmm, "No space left on device")
        self.assertEqual(vmm.call("status")["resets"], 1)
        vmm.call("stop")
        vmm.expect_end(0, "Stopped")

    def test_error_policy_ignore(self):
        vmm = self.run_bench(self.make_disk(folder=self.make_small_file_system(4 * MIB)), "write",
                             ",error-policy=ignore")
        vmm.console.expect("bench-begin")
        lib.wait_until(lambda: vmm.call("metrics")["disks"][0]["errors"] > 0, what="an I/O error")
        self.assertEqual(self.figures(vmm)[1], 0)
        vmm.expect_end(1, "DebugExit")

    def test_limits(self):
        """Ten at once, then a hundred a second; the last eight in flight come on top."""
        vmm = self.run_bench(self.make_disk(), "read", ",iops=100,iops-burst=10", seconds=2)
        requests, errors = self.figures(vmm)
        self.assertEqual(errors, 0)
        self.assertLess(requests, 240)
        self.assertGreater(requests, 100)
        vmm.expect_end(1, "DebugExit")

    def test_dedicated_threads(self):
        disks = [word for _ in range(2)
                 for word in ("--disk", f"path={self.make_disk()},format=raw,queues=2,dedicated-io-thread")]
        vmm = Vmm(self, "--cpus", "2", *disks, kernel=lib.PAYLOAD, cmdline=bench("write"))
        vmm.console.expect("bench-begin")
        names = {proc_status(vmm.pid, thread)["Name"] for thread in vmm.threads()}
        self.assertLessEqual({"io0", "io1", "io2", "blk1-0", "blk2-0"}, names)
        self.assertNotIn("blk0", names)
        self.assertEqual(self.figures(vmm)[1], 0)
        vmm.expect_end(1, "DebugExit")


if __name__ == "__main__":
    lib.main()

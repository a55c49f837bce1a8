#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs machines under strace through all that a monitor does, and compares with the sandbox's table.

A call that the table forbids fails the test, and so does a rule that nothing needed; rules that not every host can
reach are in coverage-accept.txt, with the reason, those of block devices are let off where there is no loop device.
"""

import contextlib
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import lib  # noqa: E402
from lib import Vmm  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
SLOW = 120  # seconds: every system call stops twice
MIB = 1 << 20
SUITES = "pci-bus,pci,virtio,blk,net,rng,console,balloon,irq,hostile-register"
ACCEPTED = HERE / "coverage-accept.txt"
IO_URING_RULE = "io io_uring_enter ANY"
BLOCK_DEVICE_RULES = ["worker ioctl EQ(1, BLKDISCARD)", "worker ioctl EQ(1, BLKZEROOUT)"]


def tsc_khz():
    match = re.search(r"^cpu MHz\s*:\s*([\d.]+)", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    return round(float(match[1]) * 1000)


class Coverage(unittest.TestCase):
    def setUp(self):
        lib.enter_network_namespace()
        lib.make_tap("tap0", "10.77.0.1/24")
        self.traces = []
        self.out_of_reach = []

    def traced(self, *flags, **options):
        folder = lib.new_folder(self)
        self.traces.append(folder)
        strace = ["strace", "-D", "-ff", "-qq", "-e", "trace=all", "-e", "raw=!prctl", "-o", folder / "trace"]
        return Vmm(self, "--sandbox", "log", *flags, wrapper=strace, **options)

    def make_disk(self, name="disk.img", size=64 * MIB):
        path = lib.new_folder(self) / name
        with open(path, "wb") as image:
            image.truncate(size)
        return path

    def suites(self, disk, *flags, suites=SUITES, extra=""):
        vmm = self.traced("--disk", f"path={disk},format=raw,serial=pv-test-serial", *flags, kernel=lib.PAYLOAD,
                          memory="256Mi", cmdline=f"tsc_khz={tsc_khz()} suite={suites} {extra}")
        vmm.wait(SLOW)  # what the tests found is another test's business, and slow ones may fail here

    def run_payload(self):
        """Devices, from inside: on a file with network, on a block device, with shared memory."""
        net = "--net", "tap=tap0,mac=52:54:00:70:76:01"
        self.suites(self.make_disk(), *net, "--cpus", "2", extra="ip=10.77.0.2 peer=10.77.0.1")
        self.suites(self.make_disk(), "--memory-backing", "memfd", suites="balloon")
        for io in ("io_uring", "aio"):
            self.suites(f"{self.make_disk()},cache=none,io={io}", suites="blk")
        if "io_uring        there" not in subprocess.run([lib.VMM, "check"], capture_output=True, text=True,
                                                         check=False, timeout=SLOW).stdout:
            self.out_of_reach.append(IO_URING_RULE)
        with self.loop_device() as device:
            self.suites(device, suites="blk")

    def run_reset_under_load(self):
        """The queues are enabled and busy, so that a reset takes back what the driver had set up."""
        disks = [word for n in range(8) for word in ("--disk", f"path={self.make_disk(f'disk{n}.img')},format=raw")]
        vmm = self.traced(*disks, kernel=lib.PAYLOAD, memory="256Mi",
                          cmdline=f"tsc_khz={tsc_khz()} bench=blk,op=write,bs=4096,qd=32,secs=100")
        for number in range(2):
            vmm.console.expect("bench-begin", SLOW, start=len(vmm.console) if number else 0)
            vmm.call("reset")
        vmm.call("stop")
        vmm.expect_end(0, "Stopped", SLOW)

    @contextlib.contextmanager
    def loop_device(self):
        image = self.make_disk("loop.img")
        result = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, timeout=SLOW)
        if result.returncode:
            print(f"\nno loop device: {result.stderr.strip()}", flush=True)
            self.out_of_reach += BLOCK_DEVICE_RULES
            yield self.make_disk()
            return
        device = result.stdout.strip()
        try:
            yield device
        finally:
            subprocess.run(["losetup", "--detach", device], check=True, timeout=SLOW)

    def run_life(self):
        """Every verb, resets, consoles and signals."""
        for backing in ("anonymous", "memfd"):
            vmm = self.traced("--cpus", "2", "--memory-backing", backing).ready(SLOW)
            vmm.type("mb1")
            vmm.console.expect("TOUCHED", SLOW)
            for method in ("status", "metrics", "pause", "resume", "reset", "shutdown"):
                vmm.call(method)
            vmm.call("balloon", target=96 * MIB)
            vmm.console.expect("READY(.|\n)*READY", SLOW)
            with vmm.client() as client:
                client.call("console")
                client.send("2")
                vmm.console.expect("2", SLOW)
            with vmm.client() as client:
                client.send("nonsense\n")
                client.line()
            vmm.call("stop")
            vmm.expect_end(0, "Stopped", SLOW)
        vmm = self.traced().ready(SLOW)
        vmm.type("v")  # the reset moves it back
        vmm.console.expect("v", SLOW)
        vmm.call("reset")
        vmm.call("stop")
        vmm.expect_end(0, "Stopped", SLOW)
        self.traced("--no-rng", "--no-balloon", control=False, cmdline="bo").expect_end(0, "PowerOff", SLOW)
        vmm = self.traced(cmdline="g")
        vmm.console.expect("READY\ng", SLOW)
        vmm.call("shutdown")
        vmm.expect_end(0, "PowerOff", SLOW)
        for command, code in (("r4o", 0), ("t", 2), ("x", 2), ("p", 2)):
            vmm = self.traced().ready(SLOW)
            vmm.type(command)
            if command == "r4o":
                vmm.console.expect("READY(.|\n)*READY", SLOW)
                vmm.type("o")
            elif command == "t":
                for _ in range(4):
                    start = len(vmm.console)
                    vmm.console.expect("READY", SLOW, start)
                    vmm.type("t")
            self.assertEqual(vmm.wait(SLOW), code, vmm.said())
        vmm = self.traced("--grace-period", "1").ready(SLOW)
        vmm.process.send_signal(signal.SIGTERM)
        vmm.expect_end(0, "GracePeriodExpired", SLOW)

    def run_terminal(self):
        master, slave = pty.openpty()
        self.addCleanup(os.close, slave)
        output = lib.Output(master)
        vmm = self.traced(stdin=slave, stdout=slave, start=lambda: lib.own_terminal(slave))
        output.expect("READY", SLOW)
        os.write(master, b"1o")
        self.assertEqual(vmm.process.wait(SLOW), 0)

    def run_blocked_output(self):
        """A reader that rests: standard output fills, and is drained at the end."""
        reader, writer = os.pipe()
        vmm = self.traced(cmdline="bb", stdout=writer)
        os.close(writer)
        lib.wait_until(lambda: vmm.call("metrics")["console"]["outputBytes"] >= 2 * 1280 * 64, SLOW, "the output")
        vmm.call("stop")
        for number in (signal.SIGSTOP, signal.SIGCONT):  # poll() goes on by restart_syscall()
            time.sleep(0.1)
            os.kill(vmm.pid, number)
        collector = lib.Output(reader)
        self.assertEqual(vmm.wait(SLOW), 0)
        collector.thread.join(SLOW)
        os.close(reader)

    def test_coverage(self):
        self.run_payload()
        self.run_reset_under_load()
        self.run_life()
        self.run_terminal()
        self.run_blocked_output()
        rules = lib.new_folder(self) / "rules.tsv"
        rules.write_bytes(subprocess.run([lib.BUILD / "bin" / "dump-rules"], check=True, capture_output=True,
                                         timeout=SLOW).stdout)
        accepted = rules.with_name("accepted")
        accepted.write_text("\n".join([ACCEPTED.read_text(), *self.out_of_reach]))
        result = subprocess.run([sys.executable, HERE.parent / "sandbox_coverage.py", "--rules", rules, "--accept",
                                 accepted, *self.traces], capture_output=True, text=True, timeout=SLOW)
        print("\n" + result.stdout, flush=True)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)


if __name__ == "__main__":
    lib.main()

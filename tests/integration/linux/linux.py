#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Linux under our monitor: what it finds, and whether disk, network, memory and power agree with the host's view.

What the guest's init does and prints is described in tools/guest-kernel.d/README.md.
"""

import hashlib
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import lib  # noqa: E402
from lib import Vmm  # noqa: E402

MIB = 1 << 20
BOOT = 240  # seconds until init runs, on the slowest host when it is busy
STEP = 310  # for one test of the guest's: more than the deadline of 300 that most have in init.c
HOST_IP, GUEST_IP = "10.78.0.1", "10.78.0.2"
NETWORK = f"ip={GUEST_IP}::{HOST_IP}:255.255.255.0::eth0:off"
PORT_TO_GUEST, PORT_FROM_GUEST = 5001, 5002
TRANSFER = 10 * MIB
MEMORY = 256 * MIB  # Linux reports free pages only while 128 MiB (32 blocks of 4 MiB) are free
SMALL, FREED = 96 * MIB, 24 * MIB
NO_REPORTING = "page_reporting.page_reporting_order=99"  # no block is that large: only the balloon gives memory back
BALLOON = 48 * MIB  # far more than the kernel keeps in lists of its own or in blocks that are not wholly free


def pattern(size):
    """fill_pattern() of the guest's init."""
    state, words = 1, []
    for _ in range(size // 8):
        state = (state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        words.append(state)
    return struct.pack(f"<{len(words)}Q", *words)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def ping(count, wait):
    return subprocess.run(["ping", "-c", str(count), "-W", str(wait), GUEST_IP], capture_output=True, text=True,
                          timeout=STEP)


class TcpPeer(threading.Thread):
    """Accepts one connection; sends `data` on it, or receives until its end."""

    def __init__(self, port, data=None):
        super().__init__(daemon=True)
        self.data, self.received = data, b""
        self.listener = socket.create_server((HOST_IP, port))
        self.listener.settimeout(BOOT + 2 * STEP)
        self.start()

    def run(self):
        with self.listener:
            connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(STEP)
            if self.data is not None:
                connection.sendall(self.data)
                return
            blocks = []
            while block := connection.recv(1 << 18):
                blocks.append(block)
            self.received = b"".join(blocks)


class LinuxCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.guest = lib.find_guest()
        lib.enter_network_namespace()
        lib.make_tap("tap0", f"{HOST_IP}/24")

    def make_disk(self):
        path = lib.new_folder(self) / "disk.img"
        with open(path, "wb") as image:
            image.truncate(64 * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-F", path], check=True, timeout=60)
        return path

    def command_line(self, *words, console="ttyS0"):
        lines = (self.guest / "cmdline").read_text().splitlines()
        text = " ".join(line for line in lines if not line.startswith("#"))
        return " ".join([text.replace("console=ttyS0", f"console={console}"), *words])

    def boot(self, *flags, cmdline, **options):
        return Vmm(self, "--initrd", self.guest / "initramfs.cpio", *flags, kernel=self.guest / "vmlinux",
                   cmdline=cmdline, **options)

    def expect(self, vmm, wanted, timeout=STEP, start=0):
        """Waits for a line of the guest's; a failed test of its own ends the wait."""
        match = vmm.console.expect_line(rf"GUEST ({wanted}|fail.*|done.*)", timeout, start)
        said = match[1].decode()
        self.assertRegex(said, rf"\A(?:{wanted})\Z", vmm.said())
        return re.match(wanted, said)

    def check_file_system(self, disk):
        result = subprocess.run(["e2fsck", "-f", "-n", disk], capture_output=True, text=True, timeout=60)
        self.assertEqual(result.returncode, 0, result.stdout)

    def cat(self, disk, path):
        result = subprocess.run(["debugfs", "-R", f"cat {path}", disk], check=True, capture_output=True, timeout=60)
        return result.stdout


class Devices(LinuxCase):
    def test_one_boot(self):
        """PVH, one processor: devices seen, ext4 written, TCP both ways, entropy, pinged, power button."""
        disk, data = self.make_disk(), pattern(TRANSFER)
        sender, receiver = TcpPeer(PORT_TO_GUEST, data), TcpPeer(PORT_FROM_GUEST)
        vmm = self.boot(
            "--disk", f"path={disk},format=raw,serial=linux", "--net", "tap=tap0,mac=52:54:00:70:76:02",
            cmdline=self.command_line(
                "podvisor.test=info,disk,net,rng,pingable podvisor.seconds=200", NETWORK,
                f"podvisor.net_receive={PORT_TO_GUEST} podvisor.net_send={PORT_FROM_GUEST}",
                f"podvisor.net_bytes={TRANSFER}"))
        self.check_info(vmm)
        written = self.expect(vmm, r"ok disk sha256=(\w+) mib=8 .*")[1]
        self.assertEqual(written, sha256(data[:8 * MIB]))
        self.assertEqual(self.expect(vmm, r"info tcp received=\d+ sha256=(\w+) .*")[1], sha256(data))
        self.assertEqual(self.expect(vmm, r"info tcp sent=\d+ sha256=(\w+) .*")[1], sha256(data))
        self.expect(vmm, "ok net .*")
        for peer in (sender, receiver):
            peer.join(STEP)
        self.assertEqual(sha256(receiver.received), sha256(data))
        self.expect(vmm, r"ok rng bytes=(?!0+$)\w{64}")
        self.expect(vmm, "pingable .*")
        self.assertEqual(ping(3, 10).returncode, 0)
        self.check_reports(vmm)
        self.check_pause(vmm)
        vmm.process.send_signal(signal.SIGTERM)
        vmm.console.expect("GUEST powerbutton", STEP)
        vmm.expect_end(0, "PowerOff", STEP)
        self.check_file_system(disk)
        self.assertEqual(sha256(self.cat(disk, "/podvisor.bin")), written)
        self.assertIn(written, self.cat(disk, "/result").decode())

    def check_info(self, vmm):
        vmm.console.expect("GUEST ok info", BOOT)
        said = vmm.console.text()
        for expected in ("info cpu online=1 ", f"block name=vda sectors={64 * MIB // 512}",
                         "net name=eth0 mac=52:54:00:70:76:02"):
            self.assertIn(expected, said)
        ids = {int(match, 0) for match in re.findall(r"info virtio name=\S+ id=(0x\w+)", said)}
        self.assertEqual(ids, {1, 2, 4, 5}, "net, blk, rng, balloon")

    def check_reports(self, vmm):
        drivers = {device["name"]: device["driver"] for device in vmm.call("status")["devices"]}
        self.assertEqual(set(drivers.values()), {"running"}, drivers)
        metrics = vmm.call("metrics")
        disk, network = metrics["disks"][0], metrics["networks"][0]
        self.assertGreaterEqual(disk["writtenBytes"], 8 * MIB)
        self.assertGreaterEqual(disk["flushes"], 1)
        self.assertGreaterEqual(network["receivedBytes"], TRANSFER)
        self.assertGreaterEqual(network["transmittedBytes"], TRANSFER)
        self.assertEqual((disk["failures"], disk["errors"], network["failures"]), (0, 0, 0))

    def check_pause(self, vmm):
        """A paused guest answers nothing; afterwards it goes on as though nothing had been."""
        vmm.call("pause")
        self.assertNotEqual(ping(1, 1).returncode, 0, "a paused guest answered")
        vmm.call("resume")
        self.assertEqual(ping(3, 10).returncode, 0)


MANIFEST = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata:
  name: lark
spec:
  runStrategy: Always
  template:
    spec:
      terminationGracePeriodSeconds: 60
      domain:
        cpu: {cores: 4}
        memory: {guest: 256Mi}
        devices:
          disks:
          - {name: data, disk: {bus: virtio}}
          interfaces:
          - {name: default, bridge: {}}
          rng: {}
      networks:
      - {name: default, pod: {}}
      volumes:
      - {name: data, hostDisk: {path: DISK, type: Disk}}
"""


class Manifest(LinuxCase):
    def test_two_boots(self):
        """A KubeVirt manifest, four processors, virtio console, memory given back, reboot in the same process."""
        disk = self.make_disk()
        manifest = disk.with_name("lark.yaml")
        manifest.write_text(MANIFEST.replace("DISK", str(disk)))
        vmm = self.boot(
            manifest, "--net", "name=default,tap=tap0", "--console-device", "virtio", memory=None,
            cmdline=self.command_line(
                "podvisor.test=info,console,reboot,balloon,idle podvisor.console_wait=60",
                f"podvisor.balloon_mib={BALLOON // MIB} podvisor.balloon_wait=1", NETWORK, console="hvc0"))
        self.check_boot(vmm, 0)
        self.expect(vmm, "rebooting")
        again, started = len(vmm.console), time.monotonic()
        lib.wait_until(lambda: vmm.call("status")["resets"] == 1, STEP, "the reset")
        self.assertEqual(vmm.call("status")["pid"], vmm.pid)
        self.check_boot(vmm, again)
        print(f"\nfrom reset to the second boot's console test: {time.monotonic() - started:.1f} s", flush=True)
        self.expect(vmm, "ok reboot", STEP, again)
        self.check_memory(vmm, again)
        vmm.process.send_signal(signal.SIGTERM)
        vmm.expect_end(0, "PowerOff", STEP)
        self.check_file_system(disk)

    def check_boot(self, vmm, start):
        vmm.console.expect("GUEST ok info", BOOT, start)
        vmm.console.expect("info cpu online=4 ", STEP, start)
        status = vmm.call("status")
        self.assertEqual((status["name"], status["cpus"], status["memoryBytes"]), ("lark", 4, MEMORY))
        vmm.console.expect("^GUEST hvc0", STEP, start)
        vmm.type("larksong\n")
        self.expect(vmm, "ok console wrote=11 read=larksong", STEP, start)

    def guest_rss(self, vmm):
        return lib.memory_of(vmm.pid, MEMORY)[0] << 10

    def check_memory(self, vmm, start):
        vmm.console.expect("GUEST mem touched", STEP)
        touched = self.guest_rss(vmm)
        vmm.console.expect("GUEST mem freed", STEP)
        lib.wait_until(lambda: self.guest_rss(vmm) <= touched - BALLOON // 4, STEP, "free pages given back")
        print(f"\nguest RAM resident: {touched >> 10} KiB touched, {self.guest_rss(vmm) >> 10} KiB after it was freed",
              flush=True)
        self.assertGreaterEqual(vmm.call("metrics")["balloon"]["reportedBytes"], BALLOON // 4)
        self.expect(vmm, "ok balloon .*", STEP, start)
        self.check_balloon(vmm)

    def check_balloon(self, vmm):
        def actual():
            return vmm.call("status")["balloon"]["actualBytes"]
        self.assertEqual(vmm.ctl("balloon", "248Mi").returncode, 0)
        lib.wait_until(lambda: actual() == 8 * MIB, STEP, "inflating the balloon")
        self.assertGreaterEqual(vmm.call("metrics")["balloon"]["inflatedPages"], 8 * MIB // 4096)
        self.assertEqual(vmm.ctl("balloon", "256Mi").returncode, 0)
        lib.wait_until(lambda: actual() == 0, STEP, "deflating the balloon")


class Panic(LinuxCase):
    def test_panic(self):
        vmm = self.boot(cmdline=self.command_line("podvisor.test=panic"))
        vmm.expect_end(2, "GuestPanicked", BOOT)
        self.assertIn("GUEST panicking", vmm.console.text())

    def test_compressed_kernel(self):
        """A bzImage by the 64-bit entry, with four processors; a balloon takes memory that it used and freed."""
        vmm = Vmm(self, "--initrd", self.guest / "initramfs.cpio", "--cpus", "4", kernel=self.guest / "bzImage",
                  memory=f"{SMALL >> 20}Mi",
                  cmdline=self.command_line("podvisor.test=info,balloon,idle podvisor.balloon_wait=1",
                                            f"podvisor.balloon_mib={FREED >> 20}", NO_REPORTING))
        vmm.console.expect("GUEST ok info", 2 * BOOT)  # where it is emulated, unpacking takes as long as booting
        vmm.console.expect("info cpu online=4 ")
        self.expect(vmm, "ok balloon .*")
        self.check_inflation(vmm)
        vmm.process.send_signal(signal.SIGTERM)
        vmm.expect_end(0, "PowerOff", STEP)

    def check_inflation(self, vmm):
        """The balloon is larger than all that was never touched: some of what it takes is resident."""
        def resident():
            return lib.memory_of(vmm.pid, SMALL)[0] << 10
        before = resident()
        taken = SMALL - before + FREED // 2
        self.assertEqual(vmm.ctl("balloon", str(SMALL - taken)).returncode, 0)
        lib.wait_until(lambda: vmm.call("status")["balloon"]["actualBytes"] == taken, STEP, "inflating the balloon")
        after = resident()
        print(f"\nguest RAM resident: {before >> 10} KiB, {after >> 10} KiB with {taken >> 10} KiB in the balloon",
              flush=True)
        self.assertEqual(vmm.call("metrics")["balloon"]["reportedBytes"], 0, "not by the balloon alone")
        self.assertLessEqual(after, before - FREED // 4)


if __name__ == "__main__":
    lib.main()

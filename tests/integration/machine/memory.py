#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Memory beside the guest's, and guest memory given back."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import lib  # noqa: E402
from lib import Vmm  # noqa: E402

GUEST = 128 << 20
TOUCHED_KIB = 64 << 10  # what obey.elf's `m` writes to
BESIDE_KIB = 4 << 10  # twice the goal: this is no benchmark


class Memory(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        lib.enter_network_namespace()
        lib.make_tap("tap0", "10.79.0.1/24")

    def test_beside_guest_memory(self):
        disk = lib.new_folder(self) / "disk.img"
        with open(disk, "wb") as image:
            image.truncate(1 << 20)
        vmm = Vmm(self, "--disk", f"path={disk},format=raw", "--net", "tap=tap0").ready()
        vmm.call("status")
        _, beside = lib.memory_of(vmm.pid, GUEST)
        print(f"\nresident beside guest RAM, 1 vCPU, net and blk: {beside} KiB", flush=True)
        if lib.build_is_release():
            self.assertLessEqual(beside, BESIDE_KIB)

    def test_reset_gives_guest_memory_back(self):
        for backing in ("anonymous", "memfd"):
            with self.subTest(backing):
                vmm = Vmm(self, "--memory-backing", backing, cmdline="1").ready()
                untouched, _ = lib.memory_of(vmm.pid, GUEST)
                vmm.type("m")
                vmm.console.expect("TOUCHED")
                touched, _ = lib.memory_of(vmm.pid, GUEST)
                self.assertGreaterEqual(touched, TOUCHED_KIB)
                vmm.call("reset")
                after, _ = lib.memory_of(vmm.pid, GUEST)
                self.assertLess(after, touched - TOUCHED_KIB + (8 << 10), f"{untouched} before")

    def test_huge_pages(self):
        """Memory of hugetlbfs is reserved at start, and the machine survives a reset."""
        pool = pathlib.Path("/proc/sys/vm/nr_hugepages")
        before = pool.read_text()
        self.addCleanup(pool.write_text, before)
        pool.write_text(str(int(before) + GUEST // (2 << 20)))
        if int(pool.read_text()) < int(before) + GUEST // (2 << 20):
            self.skipTest("this host has no 128 MiB of huge pages to reserve")
        vmm = Vmm(self, "--memory-backing", "hugetlb-2M", cmdline="1").ready()
        vmm.type("m")
        vmm.console.expect("TOUCHED")
        vmm.call("reset")
        self.assertEqual(vmm.call("status")["resets"], 1)

    def test_nothing_is_kept_from_before_a_reset(self):
        """Resident memory beside the guest's does not grow with resets."""
        vmm = Vmm(self, "--cpus", "2").ready()
        vmm.call("reset")
        _, first = lib.memory_of(vmm.pid, GUEST)
        for _ in range(30):
            vmm.call("reset")
        _, last = lib.memory_of(vmm.pid, GUEST)
        self.assertLess(last, first + 256)


if __name__ == "__main__":
    lib.main()

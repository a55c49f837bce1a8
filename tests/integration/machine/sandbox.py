#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a running monitor is still able to do: next to nothing."""

import os
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import lib  # noqa: E402
from lib import Vmm, proc_status  # noqa: E402

SECCOMP_NONE, SECCOMP_FILTER = "0", "2"


class Privileges(unittest.TestCase):
    def check_thread(self, status, uid, filtered):
        self.assertEqual(status["Uid"].split(), [str(uid)] * 4, status["Name"])
        self.assertEqual(status["Gid"].split(), [str(uid)] * 4, status["Name"])
        self.assertEqual(status["Seccomp"], filtered, status["Name"])
        if uid:
            self.assertEqual(status["Groups"], "", status["Name"])
            self.assertEqual(status["NoNewPrivs"], "1", status["Name"])
            for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb"):
                self.assertEqual(int(status[f"Cap{kind}"], 16), 0, f"{status['Name']} Cap{kind}")

    def check_mode(self, mode, uid, filtered):
        disk = lib.new_folder(self) / "disk.img"
        with open(disk, "wb") as image:
            image.truncate(1 << 20)
        vmm = Vmm(self, "--sandbox", mode, "--cpus", "2", "--disk", f"path={disk},format=raw").ready()
        vmm.call("status")
        names = []
        for thread in vmm.threads():
            status = proc_status(vmm.pid, thread)
            names.append(status["Name"])
            self.check_thread(status, uid, filtered)
        for expected in ("vcpu0", "vcpu1", "io0"):
            self.assertIn(expected, names)
        vmm.type("o")
        vmm.expect_end(0, "PowerOff")

    def test_on(self):
        self.check_mode("on", lib.SANDBOX_UID, SECCOMP_FILTER)

    def test_log(self):
        self.check_mode("log", lib.SANDBOX_UID, SECCOMP_FILTER)

    def test_off(self):
        self.check_mode("off", 0, SECCOMP_NONE)

    def test_unprivileged_user_keeps_its_id(self):
        """Nobody needs root: whoever may open the devices."""
        mode = os.stat("/dev/kvm").st_mode & 0o777
        self.addCleanup(os.chmod, "/dev/kvm", mode)
        os.chmod("/dev/kvm", 0o666)
        folder = lib.new_folder(self)
        os.chown(folder, 65534, 65534)

        def become_nobody():
            lib.die_with_parent()
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)

        programs = self.copy_programs()
        vmm = Vmm(self, "--control", folder / "socket", control=False, kernel=programs / "obey.elf",
                  program=programs / "vmm", termination=folder / "termination", start=become_nobody).ready()
        vmm.socket = folder / "socket"
        vmm.call("status")
        for thread in vmm.threads():
            self.check_bounded(proc_status(vmm.pid, thread))
        vmm.type("o")
        vmm.expect_end(0, "PowerOff")

    def copy_programs(self):
        """Where another user can reach them: the build may be in somebody's home."""
        folder = lib.new_folder(self)
        os.chmod(folder, 0o755)
        for path in (lib.VMM, lib.VMM.with_name("vmm-monitor"), lib.OBEY):
            (folder / path.name).write_bytes(path.read_bytes())
            os.chmod(folder / path.name, 0o755)
        return folder

    def check_bounded(self, status):
        self.assertEqual(status["Uid"].split(), ["65534"] * 4)
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", SECCOMP_FILTER))
        for kind in ("Inh", "Prm", "Eff", "Amb"):
            self.assertEqual(int(status[f"Cap{kind}"], 16), 0)


class Descriptors(unittest.TestCase):
    def test_no_other_files(self):
        """Nothing that the caller left open is in the monitor, and nothing is there twice."""
        folder = lib.new_folder(self)
        disk, secret = folder / "disk.img", folder / "secret"
        secret.write_text("secret")
        with open(disk, "wb") as image:
            image.truncate(1 << 20)
        leak = ["bash", "-c", f'exec 7<{secret} 99<{secret} 500<{secret}; exec "$0" "$@"']
        vmm = Vmm(self, "--disk", f"path={disk},format=raw", wrapper=leak).ready()
        vmm.call("status")
        allowed = [r"/dev/kvm", r"anon_inode:kvm-vm", r"anon_inode:kvm-vcpu:0", r"anon_inode:kvm-vcpu-stats:\d+",
                   r"anon_inode:\[eventfd\]", r"anon_inode:\[eventpoll\]", r"anon_inode:\[signalfd\]",
                   r"anon_inode:\[timerfd\]", r"pipe:\[\d+\]", r"socket:\[\d+\]", r"/dev/null",
                   r"/memfd:machine_config \(deleted\)", re.escape(str(disk)), re.escape(str(lib.OBEY)),
                   re.escape(str(vmm.termination_path))]
        found = lib.open_files(vmm.pid)
        for path in found:
            self.assertTrue(any(re.fullmatch(pattern, path) for pattern in allowed), f"{path} in {found}")
        for path in (str(disk), str(lib.OBEY), "/dev/kvm"):
            self.assertEqual(found.count(path), 1, path)

    def test_environment_is_not_handed_over(self):
        vmm = Vmm(self, wrapper=["env", "PASSWORD=hunter2"]).ready()
        vmm.call("status")
        self.assertNotIn(b"hunter2", pathlib.Path(f"/proc/{vmm.pid}/environ").read_bytes())

    def file_size_limit(self, *flags):
        disks = []
        for size in (1 << 20, 3 << 20):
            disks.append(lib.new_folder(self) / "disk.img")
            with open(disks[-1], "wb") as image:
                image.truncate(size)
        vmm = Vmm(self, "--disk", f"path={disks[0]},format=raw", "--disk", f"path={disks[1]},format=raw", *flags)
        vmm.call("status")
        limits = pathlib.Path(f"/proc/{vmm.pid}/limits").read_text()
        return re.search(r"^Max file size +(\w+) +(\w+) ", limits, re.M).groups()

    def test_no_file_grows_beyond_the_largest_disk(self):
        for flags in ((), ("--memory-backing", "memfd")):
            self.assertEqual(self.file_size_limit(*flags), (str(3 << 20),) * 2, flags)

    def test_a_console_file_may_grow(self):
        path = lib.new_folder(self) / "console"
        self.assertEqual(self.file_size_limit("--console", f"file={path}"), ("unlimited",) * 2)

    def test_no_core_dumps_and_no_debuggers(self):
        vmm = Vmm(self).ready()
        vmm.call("status")
        limits = pathlib.Path(f"/proc/{vmm.pid}/limits").read_text()
        self.assertRegex(limits, r"Max core file size\s+0\s+0")
        self.assertEqual(os.stat(f"/proc/{vmm.pid}/mem").st_uid, 0, "the process is dumpable")


if __name__ == "__main__":
    lib.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every way in which a machine ends: exit code and termination message."""

import pathlib
import signal
import struct
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import lib  # noqa: E402
from lib import Vmm  # noqa: E402


class GuestEnds(unittest.TestCase):
    def test_debug_exit(self):
        for command, code in (("e", 1), ("E", 7)):
            with self.subTest(command):
                Vmm(self, cmdline=command).expect_end(code, "DebugExit")

    def test_debug_exit_is_off_unless_asked_for(self):
        vmm = Vmm(self, cmdline="e2", debug_exit=False)
        vmm.console.expect("READY\n2")
        self.assertIsNone(vmm.process.poll())

    def test_power_off(self):
        message = Vmm(self, cmdline="o").expect_end(0, "PowerOff")
        self.assertIn("powered off", message)

    def test_panic(self):
        Vmm(self, cmdline="p").expect_end(2, "GuestPanicked")

    def test_triple_faults_end_it(self):
        vmm = Vmm(self, cmdline="t")
        vmm.expect_end(2, "TripleFault")
        self.assertEqual(vmm.console.text().count("READY"), 5)

    def test_one_triple_fault_resets(self):
        vmm = Vmm(self).ready()
        vmm.type("t")
        vmm.console.expect("READY\n(.|\n)*READY")
        self.assertEqual(vmm.call("status")["resets"], 1)
        vmm.type("o")
        vmm.expect_end(0, "PowerOff")

    def test_guest_that_kvm_cannot_run(self):
        message = Vmm(self, cmdline="x").expect_end(2, "GuestCrashed")
        self.assertIn("vCPU 0", message)
        self.assertIn("rip 0xd0000000", message)

    def test_all_of_the_console_is_printed_before_the_end(self):
        vmm = Vmm(self, cmdline="bo")
        vmm.expect_end(0, "PowerOff")
        lines = [line for line in vmm.console.text().splitlines() if line.startswith("line ")]
        self.assertEqual([line[5:9] for line in lines], [f"{number:04x}" for number in range(1280)])

    def test_reset_ways(self):
        for command in "rk":
            with self.subTest(command):
                vmm = Vmm(self).ready()
                vmm.type(command)
                vmm.console.expect("READY\n(.|\n)*READY")
                vmm.type("o")
                vmm.expect_end(0, "PowerOff")


class GuestDoesNotFloodTheLog(unittest.TestCase):
    def check(self, command, said):
        vmm = Vmm(self, "--cpus", "1", cmdline=command + "o")
        vmm.expect_end(0, "PowerOff", timeout=3 * lib.DEADLINE)
        lines = [line for line in vmm.log.text().splitlines() if said in line]
        self.assertIn(len(lines), range(1, 101), vmm.said())

    def test_crash_kernels(self):
        self.check("c", "crash kernel")

    def test_bars_over_each_other(self):
        self.check("B", "ioeventfd")


class PowerButton(unittest.TestCase):
    """The guest sees the line of the generic event device and powers off."""

    def listening(self, *flags):
        vmm = Vmm(self, *flags, cmdline="g")
        vmm.console.expect("READY\ng")
        return vmm

    def check_end(self, vmm):
        vmm.expect_end(0, "PowerOff")
        self.assertEqual(vmm.console.text(), "READY\ngBUTTON\n")

    def test_signal(self):
        vmm = self.listening()
        vmm.process.send_signal(signal.SIGTERM)
        self.check_end(vmm)

    def test_shutdown(self):
        vmm = self.listening()
        vmm.call("shutdown")
        self.check_end(vmm)

    def test_signal_to_a_paused_machine(self):
        vmm = self.listening()
        vmm.call("pause")
        vmm.process.send_signal(signal.SIGTERM)
        self.check_end(vmm)

    def test_after_a_reset(self):
        vmm = self.listening("--cpus", "2")
        vmm.call("reset")
        vmm.console.expect("READY\ngREADY\ng")
        vmm.call("shutdown")
        vmm.expect_end(0, "PowerOff")


class SignalsEnd(unittest.TestCase):
    def test_second_signal_stops(self):
        vmm = Vmm(self).ready()
        vmm.process.send_signal(signal.SIGTERM)
        vmm.log.expect("power button pressed")
        time.sleep(0.1)
        self.assertIsNone(vmm.process.poll())
        vmm.process.send_signal(signal.SIGTERM)
        self.assertIn("signal 15", vmm.expect_end(0, "Stopped"))

    def test_interrupt_and_hangup_count_as_well(self):
        vmm = Vmm(self).ready()
        vmm.process.send_signal(signal.SIGINT)
        vmm.log.expect("power button pressed")
        vmm.process.send_signal(signal.SIGHUP)
        vmm.expect_end(0, "Stopped")

    def test_grace_period(self):
        vmm = Vmm(self, "--grace-period", "1", cmdline="h").ready()
        started = time.monotonic()
        vmm.process.send_signal(signal.SIGTERM)
        vmm.expect_end(0, "GracePeriodExpired")
        self.assertGreaterEqual(time.monotonic() - started, 1)

    def test_no_grace_at_all(self):
        vmm = Vmm(self, "--grace-period", "0").ready()
        vmm.process.send_signal(signal.SIGTERM)
        vmm.expect_end(0, "GracePeriodExpired")

    def test_signal_to_a_paused_machine_wakes_the_guest(self):
        vmm = Vmm(self, "--grace-period", "2").ready()
        vmm.call("pause")
        vmm.process.send_signal(signal.SIGTERM)
        vmm.log.expect("power button pressed")
        self.assertEqual(vmm.call("status")["state"], "running")
        vmm.type("o")
        vmm.expect_end(0, "PowerOff")

    def test_signal_to_a_machine_that_is_about_to_pause(self):
        """A pause that a signal overtakes does not keep the guest from seeing the button."""
        for delay in (0, 0.0001, 0.001):
            vmm = Vmm(self).ready()
            with vmm.client() as control:
                control.send('{"id": 1, "method": "pause"}\n')
                time.sleep(delay)
                vmm.process.send_signal(signal.SIGTERM)
                vmm.log.expect("power button pressed")
                self.assertEqual(control.answer(1), {})
            if vmm.call("status")["state"] == "paused":
                vmm.log.expect(r"pressed(.|\n)*paused")  # the signal came first: that pause is somebody's wish
                vmm.call("resume")
            self.assertEqual(vmm.call("status")["state"], "running")
            vmm.type("o")
            vmm.expect_end(0, "PowerOff")

    def test_signal_during_a_reset(self):
        vmm = Vmm(self, cmdline="r").ready()  # resets itself again and again
        vmm.process.send_signal(signal.SIGTERM)
        vmm.log.expect("power button pressed")
        vmm.process.send_signal(signal.SIGTERM)
        vmm.expect_end(0, "Stopped")

    def test_blocked_kick_signal(self):
        """Whoever starts us may have blocked the signal that makes vCPUs leave the guest."""
        def start():
            lib.die_with_parent()
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])

        vmm = Vmm(self, cmdline="h", start=start).ready()
        vmm.call("pause")
        self.assertEqual(vmm.call("status")["state"], "paused")
        vmm.call("stop")
        vmm.expect_end(0, "Stopped")

    def test_signal_while_the_guest_is_off_the_air(self):
        vmm = Vmm(self, "--grace-period", "1", cmdline="h").ready()
        vmm.process.send_signal(signal.SIGTERM)
        vmm.process.send_signal(signal.SIGTERM)
        self.assertEqual(vmm.wait(), 0)

    def test_killed_leaves_a_socket_that_the_next_one_replaces(self):
        vmm = Vmm(self).ready()
        vmm.process.kill()
        vmm.wait()
        self.assertTrue(vmm.socket.exists())
        second = Vmm(self, "--control", str(vmm.socket), control=False).ready()
        second.socket = vmm.socket
        self.assertEqual(second.call("status")["state"], "running")


def elf(entry=0x200000, note=True, code=b"\xf4", paddr=0x200000, size=None, machine=62):
    """A small ELF; `size` says more bytes than there are."""
    header = 64 + 2 * 56
    notes = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", entry) if note else b""
    note_at, code_at = header, header + len(notes)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    ehdr = ident + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, entry, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    filesz = len(code) if size is None else size
    phdrs = struct.pack("<IIQQQQQQ", 4, 4, note_at, 0, 0, len(notes), len(notes), 4)
    phdrs += struct.pack("<IIQQQQQQ", 1, 7, code_at, paddr, paddr, filesz, filesz, 1)
    return ehdr + phdrs + notes + code


class BadKernels(unittest.TestCase):
    def check(self, content, *words):
        path = lib.new_folder(self) / "kernel"
        path.write_bytes(content)
        vmm = Vmm(self, kernel=path)
        code = vmm.wait()
        self.assertEqual(code, 1, vmm.said())
        said = vmm.log.text()
        for word in (str(path), *words):
            self.assertIn(word, said)
        self.assertEqual(said.count("\n"), 1, f"not one line: {said}")
        self.assertFalse(vmm.socket.exists())

    def test_missing(self):
        vmm = Vmm(self, kernel="/nonexistent/vmlinux")
        self.assertEqual(vmm.wait(), 1)
        self.assertIn("/nonexistent/vmlinux", vmm.log.text())
        self.assertFalse(vmm.socket.exists())

    def test_empty(self):
        self.check(b"", "empty")

    def test_no_kernel_at_all(self):
        self.check(b"#!/bin/sh\nexit 0\n" * 1000)

    def test_truncated(self):
        self.check(pathlib.Path(lib.OBEY).read_bytes()[:4200])
        self.check(pathlib.Path(lib.OBEY).read_bytes()[:100])

    def test_segment_beyond_the_file(self):
        self.check(elf(size=1 << 20))

    def test_segment_beyond_memory(self):
        self.check(elf(paddr=200 << 20))
        self.check(elf(paddr=(1 << 64) - 4096))

    def test_segment_over_the_boot_structures(self):
        """Only the monitor knows where these are, and it knows no file names."""
        path = lib.new_folder(self) / "kernel"
        path.write_bytes(elf(paddr=0x7000, entry=0x7000))
        message = Vmm(self, kernel=path).expect_end(1, "StartFailed")
        self.assertIn("the kernel wants guest memory 0x7000", message)

    def test_other_machine(self):
        self.check(elf(machine=183))

    def test_no_pvh_entry(self):
        self.check(elf(note=False))

    def test_the_good_one_of_this_kind_runs(self):
        """So that the others fail for their own reason."""
        path = lib.new_folder(self) / "kernel"
        path.write_bytes(elf(code=b"\xb0\x05\xe6\xf4\xf4"))  # mov $5, %al; out %al, $0xf4; hlt
        Vmm(self, kernel=path).expect_end(11, "DebugExit")


if __name__ == "__main__":
    lib.main()

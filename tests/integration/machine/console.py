#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The guest's console: standard streams, files, terminals, and clients that attach and detach."""

import os
import pathlib
import pty
import signal
import subprocess
import sys
import termios
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import lib  # noqa: E402
from lib import Output, Refused, Vmm  # noqa: E402

RING_SIZE = 65536
ATTACHED_MAX = 8
ESCAPE = b"\x1d"  # Ctrl-]


class Attached:
    """A control client that became a console."""

    def __init__(self, test, vmm, **params):
        self.control = vmm.client()
        self.control.call("console", **params)
        received = self.control.buffer
        self.control.socket.settimeout(None)
        self.output = Output(self.control.socket.fileno())
        with self.output.changed:
            self.output.data[:0] = received

    def type(self, text):
        self.control.socket.sendall(text.encode())


class Clients(unittest.TestCase):
    def test_late_client_sees_what_was_printed(self):
        vmm = Vmm(self, cmdline="1234").ready()
        vmm.console.expect("READY\n1234")
        client = Attached(self, vmm)
        client.output.expect(r"\AREADY\n1234")
        client.type("5")
        client.output.expect("12345")
        vmm.console.expect("12345")

    def test_replay_is_the_last_64_kib(self):
        vmm = Vmm(self, cmdline="b1").ready()
        vmm.console.expect("line 04ff -+\n1")
        client = Attached(self, vmm)
        client.output.expect("line 04ff -+\n1")
        data = bytes(client.output.data)
        self.assertLessEqual(len(data), RING_SIZE)
        self.assertGreater(len(data), RING_SIZE - 128)
        self.assertTrue(bytes(vmm.console.data).endswith(data))

    def test_no_replay(self):
        vmm = Vmm(self, cmdline="1234").ready()
        vmm.console.expect("1234")
        client = Attached(self, vmm, replay=False)
        client.type("5")
        client.output.expect(r"\A5")

    def test_many_clients_and_one_too_many(self):
        vmm = Vmm(self).ready()
        clients = [Attached(self, vmm) for _ in range(ATTACHED_MAX)]
        clients[3].type("7")
        for client in clients:
            client.output.expect("READY\n7")
        self.assertEqual(vmm.call("metrics")["console"]["clients"], ATTACHED_MAX)
        extra = vmm.client()
        try:
            extra.call("console")
            self.assertIsNone(extra.line())
        except (Refused, ConnectionError):
            pass
        clients[0].control.socket.close()
        clients[1].control.socket.close()

    def test_client_that_leaves(self):
        vmm = Vmm(self, cmdline="d").ready()
        client = Attached(self, vmm)
        client.output.expect(r"\.\.")
        client.control.socket.shutdown(2)
        lib.wait_until(lambda: vmm.call("metrics")["console"]["clients"] == 0, what="the client's end")
        vmm.console.expect(r"\.\.\.", start=len(vmm.console))

    def test_client_that_does_not_read(self):
        """It loses bytes; the guest is not held up."""
        vmm = Vmm(self).ready()
        client = vmm.client()
        client.socket.setsockopt(1, 8, 4096)  # SOL_SOCKET, SO_RCVBUF
        client.call("console")
        for number in range(4):
            start = len(vmm.console)
            vmm.type(f"b{number}")
            vmm.console.expect(f"line 04ff -+\n{number}", start=start)
        vmm.type("o")
        vmm.expect_end(0, "PowerOff")

    def test_vmm_console(self):
        vmm = Vmm(self, cmdline="12").ready()
        vmm.console.expect("12")
        client = subprocess.run([lib.VMM, "console", vmm.socket], input=b"34o", capture_output=True,
                                timeout=lib.DEADLINE)
        self.assertEqual(client.stdout, b"READY\n1234")
        self.assertEqual(client.returncode, 0, client.stderr)
        vmm.expect_end(0, "PowerOff")

    def test_vmm_console_on_a_terminal_detaches(self):
        vmm = Vmm(self).ready()
        terminal = Terminal(self)
        before = terminal.mode()
        client = subprocess.Popen([lib.VMM, "console", vmm.socket], stdin=terminal.slave, stdout=terminal.slave,
                                  stderr=terminal.slave, preexec_fn=lib.die_with_parent)
        self.addCleanup(client.wait)
        self.addCleanup(client.kill)
        terminal.output.expect("READY")
        self.assertNotEqual(terminal.mode(), before, "raw while attached")
        terminal.type(b"56")
        terminal.output.expect("56")
        terminal.type(ESCAPE)
        self.assertEqual(client.wait(lib.DEADLINE), 0)
        terminal.output.expect("detached")
        self.assertEqual(terminal.mode(), before)
        self.assertEqual(vmm.call("status")["state"], "running")


class Terminal:
    """A pseudo-terminal; the test holds its master."""

    def __init__(self, test):
        self.master, self.slave = pty.openpty()
        test.addCleanup(os.close, self.slave)
        self.output = Output(self.master)

    def mode(self):
        return termios.tcgetattr(self.slave)

    def type(self, data):
        os.write(self.master, data)


class StandardStreams(unittest.TestCase):
    def on_terminal(self, *flags, **options):
        terminal = Terminal(self)
        before = terminal.mode()

        vmm = Vmm(self, *flags, stdin=terminal.slave, stdout=terminal.slave,
                  start=lambda: lib.own_terminal(terminal.slave), **options)
        vmm.console = terminal.output
        vmm.ready()
        return vmm, terminal, before

    def test_terminal(self):
        vmm, terminal, before = self.on_terminal()
        self.assertNotEqual(terminal.mode(), before)
        self.assertFalse(terminal.mode()[3] & (termios.ICANON | termios.ECHO | termios.ISIG))
        terminal.type(b"\x03\x1a1")  # keys that would be signals reach the guest
        terminal.output.expect("\x03\x1a1")
        terminal.type(b"o")
        self.assertEqual(vmm.process.wait(lib.DEADLINE), 0)
        self.assertEqual(terminal.mode(), before)

    def test_terminal_is_restored_after_signals(self):
        vmm, terminal, before = self.on_terminal("--grace-period", "0")
        vmm.process.send_signal(signal.SIGTERM)
        self.assertEqual(vmm.process.wait(lib.DEADLINE), 0)
        self.assertEqual(terminal.mode(), before)

    def test_terminal_is_restored_after_a_crash_of_the_guest(self):
        for command, code in (("x", 2), ("p", 2), ("E", 7)):
            with self.subTest(command):
                vmm, terminal, before = self.on_terminal()
                terminal.type(command.encode())
                self.assertEqual(vmm.process.wait(lib.DEADLINE), code)
                self.assertEqual(terminal.mode(), before)

    def test_terminal_is_untouched_when_the_start_fails(self):
        terminal = Terminal(self)
        before = terminal.mode()
        vmm = Vmm(self, kernel="/nonexistent", stdin=terminal.slave, stdout=terminal.slave)
        self.assertEqual(vmm.process.wait(lib.DEADLINE), 1)
        self.assertEqual(terminal.mode(), before)

    def test_escape_key(self):
        vmm, terminal, before = self.on_terminal()
        terminal.type(ESCAPE * 2 + b"1")
        terminal.output.expect("1")
        self.assertIsNone(vmm.process.poll())
        terminal.type(ESCAPE * 3)
        self.assertEqual(vmm.process.wait(lib.DEADLINE), 0)
        self.assertEqual(vmm.termination()["reason"], "Stopped")
        self.assertEqual(terminal.mode(), before)

    def test_input_through_a_pipe_and_its_end(self):
        vmm = Vmm(self).ready()
        vmm.type("12")
        vmm.process.stdin.close()
        vmm.console.expect("12")
        time.sleep(0.1)
        self.assertEqual(vmm.call("status")["state"], "running")

    def test_more_input_than_the_uart_holds(self):
        vmm = Vmm(self).ready()
        vmm.type("0123456789" * 1000 + "!")
        vmm.console.expect("(0123456789){1000}!")

    def test_reader_goes_away(self):
        reader, writer = os.pipe()
        vmm = Vmm(self, cmdline="d", stdout=writer)
        os.close(writer)
        said = b""
        while b"READY" not in said:
            said += os.read(reader, 6)
        os.close(reader)
        time.sleep(0.2)
        client = Attached(self, vmm)
        client.output.expect(r"\.\.\.")
        client.type("o")
        vmm.expect_end(0, "PowerOff")

    def test_reader_that_stops_reading(self):
        """A UART has no flow control: the guest goes on, the oldest bytes are lost."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        vmm = Vmm(self, cmdline="bbo", stdout=writer)
        os.close(writer)
        vmm.expect_end(0, "PowerOff")

    def test_streams_that_lead_nowhere(self):
        null = os.open(os.devnull, os.O_RDWR)
        self.addCleanup(os.close, null)
        vmm = Vmm(self, cmdline="1", stdin=null, stdout=null)
        client = Attached(self, vmm)
        client.output.expect("READY\n1")
        client.type("o")
        vmm.expect_end(0, "PowerOff")


class OtherPlaces(unittest.TestCase):
    def test_file(self):
        path = lib.new_folder(self) / "console.log"
        Vmm(self, "--console", f"file={path}", cmdline="12o").expect_end(0, "PowerOff")
        Vmm(self, "--console", f"file={path}", cmdline="34o").expect_end(0, "PowerOff")
        self.assertEqual(path.read_text(), "READY\n12READY\n34", "the file is appended to")

    def test_off(self):
        vmm = Vmm(self, "--console", "off", cmdline="12")
        client = Attached(self, vmm)
        client.output.expect("READY\n12")
        client.type("o")
        vmm.expect_end(0, "PowerOff")
        self.assertEqual(len(vmm.console), 0)

    def test_limit_of_file_sizes(self):
        """An error as a full disk is one, and not a signal that ends the machine."""
        path = lib.new_folder(self) / "console.log"
        vmm = Vmm(self, "--console", f"file={path}", cmdline="b34", wrapper=["prlimit", "--fsize=40000"])
        client = Attached(self, vmm)
        client.output.expect("34")
        client.type("o")
        vmm.expect_end(0, "PowerOff")
        self.assertLessEqual(path.stat().st_size, 40000)

    def test_full_file_system(self):
        vmm = Vmm(self, "--console", "file=/dev/full", cmdline="12b34")
        client = Attached(self, vmm)
        client.output.expect("34")
        client.type("o")
        vmm.expect_end(0, "PowerOff")


if __name__ == "__main__":
    lib.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The control socket of a running machine: what each method does, and what clients cannot do to it."""

import contextlib
import json
import os
import pathlib
import socket
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import lib  # noqa: E402
from lib import Refused, Vmm  # noqa: E402

NOBODY = 65534
CLIENTS_MAX = 8
LINE_MAX = OUTPUT_MAX = 65536
MIB = 1 << 20


class Methods(unittest.TestCase):
    def test_status(self):
        vmm = Vmm(self, "--name", "nightingale", "--cpus", "2").ready()
        status = vmm.call("status")
        self.assertEqual((status["name"], status["state"], status["pid"], status["cpus"], status["memoryBytes"]),
                         ("nightingale", "running", vmm.pid, 2, 128 * MIB))
        self.assertEqual(status["resets"], 0)
        self.assertGreater(status["startMicroseconds"], 0)
        self.assertTrue(all(device["driver"] == "idle" for device in status["devices"]), status)
        print(f"\nexec of vmm to first guest instruction: {status['startMicroseconds']} us", flush=True)

    def test_metrics(self):
        vmm = Vmm(self, cmdline="12345").ready()
        vmm.console.expect("12345")
        metrics = vmm.call("metrics")
        self.assertEqual(len(metrics["vcpus"]), 1)
        self.assertGreater(metrics["vcpus"][0]["exits"], 11)
        self.assertEqual(metrics["console"]["outputBytes"], len("READY\n12345"))
        self.assertEqual(metrics["console"]["inputBytes"], 0)
        vmm.type("67")
        vmm.console.expect("67")
        self.assertEqual(vmm.call("metrics")["console"]["inputBytes"], 2)

    def test_pause_and_resume(self):
        vmm = Vmm(self, cmdline="d").ready()
        vmm.console.expect(r"\.\.\.")
        vmm.call("pause")
        self.assertEqual(vmm.call("status")["state"], "paused")
        time.sleep(0.1)  # what the guest had printed arrives
        before = len(vmm.console)
        time.sleep(0.3)
        self.assertEqual(len(vmm.console), before, "a paused guest prints")
        vmm.call("pause")  # twice is fine
        vmm.call("resume")
        self.assertEqual(vmm.call("status")["state"], "running")
        vmm.console.expect(r"\.\.\.", start=before)
        vmm.call("resume")

    def test_input_waits_while_paused(self):
        vmm = Vmm(self).ready()
        vmm.call("pause")
        vmm.type("123")
        time.sleep(0.1)
        self.assertNotIn("123", vmm.console.text())
        vmm.call("resume")
        vmm.console.expect("123")

    def test_reset(self):
        vmm = Vmm(self, "--cpus", "2").ready()
        for number in range(1, 6):
            before = len(vmm.console)
            vmm.call("reset")
            vmm.console.expect("READY", start=before)
            self.assertEqual(vmm.call("status")["resets"], number)
        vmm.type("o")
        vmm.expect_end(0, "PowerOff")

    def test_reset_of_a_paused_machine_stays_paused(self):
        vmm = Vmm(self, cmdline="d").ready()
        vmm.call("pause")
        vmm.call("reset")
        self.assertEqual(vmm.call("status")["state"], "paused")
        time.sleep(0.1)
        self.assertEqual(vmm.console.text().count("READY"), 1)
        vmm.call("resume")
        vmm.console.expect(r"READY(.|\n)*READY\n\.")

    def test_two_resets_at_once(self):
        vmm = Vmm(self).ready()
        with vmm.client() as first, vmm.client() as second:
            one, two = first.ask("reset"), second.ask("reset")
            first.answer(one)
            try:
                second.answer(two)
                resets = 2
            except Refused as refused:
                self.assertEqual(refused.code, "conflict")
                resets = 1
        self.assertEqual(vmm.call("status")["resets"], resets)
        vmm.type("o")
        vmm.expect_end(0, "PowerOff")

    def test_pause_and_reset_from_everywhere(self):
        """Whatever order these come in: each is answered, and the machine works afterwards."""
        vmm = Vmm(self, "--cpus", "2").ready()
        failures = []

        def client(methods):
            with vmm.client() as control:
                for method in methods * 20:
                    try:
                        control.call(method)
                    except Refused as refused:
                        if refused.code != "conflict":
                            failures.append(str(refused))
                    except Exception as failure:  # the thread must report it
                        failures.append(repr(failure))
                        return

        threads = [threading.Thread(target=client, args=(methods,))
                   for methods in (["pause", "resume"], ["reset"], ["resume", "pause", "reset"], ["status", "metrics"])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * lib.DEADLINE)
        self.assertEqual(failures, [])
        self.assertFalse(any(thread.is_alive() for thread in threads))
        vmm.call("resume")
        before = len(vmm.console)
        vmm.type("7o")
        vmm.console.expect("7", start=before)
        vmm.expect_end(0, "PowerOff")

    def test_pause_while_a_reset_is_under_way(self):
        vmm = Vmm(self).ready()
        with vmm.client() as first, vmm.client() as second:
            one, two = first.ask("reset"), second.ask("pause")
            first.answer(one)
            try:
                second.answer(two)
                state = "paused"
            except Refused as refused:
                self.assertEqual(refused.code, "conflict")
                state = "running"
        self.assertEqual(vmm.call("status")["state"], state)

    def test_reset_by_the_guest_again_and_again(self):
        vmm = Vmm(self, cmdline="r").ready()
        lib.wait_until(lambda: vmm.call("status")["resets"] > 20, what="twenty resets")
        vmm.call("stop")
        vmm.expect_end(0, "Stopped")

    def test_client_that_leaves_before_its_answer(self):
        vmm = Vmm(self).ready()
        for method in ("reset", "pause", "resume", "status"):
            with vmm.client() as control:
                control.ask(method)
        self.assertIn(vmm.call("status")["state"], ("running", "resetting", "pausing", "paused"))

    def test_stop(self):
        vmm = Vmm(self).ready()
        self.assertEqual(vmm.call("stop"), {})
        vmm.expect_end(0, "Stopped")

    def test_every_request_is_answered_at_the_end(self):
        for method in ("reset", "pause") * 5:
            vmm = Vmm(self, "--cpus", "2").ready()
            with vmm.client() as first, vmm.client() as second:
                number = first.ask(method)
                second.call("stop")
                try:
                    first.answer(number)
                except Refused as refused:
                    self.assertIn(refused.code, ("failed", "conflict"))
            vmm.expect_end(0, "Stopped")

    def test_stop_while_paused(self):
        vmm = Vmm(self).ready()
        vmm.call("pause")
        vmm.call("stop")
        vmm.expect_end(0, "Stopped")

    def test_shutdown(self):
        vmm = Vmm(self).ready()
        self.assertEqual(vmm.call("shutdown"), {})
        vmm.log.expect("power button pressed")
        vmm.call("pause")
        with self.assertRaises(Refused) as refused:
            vmm.call("shutdown")
        self.assertEqual(refused.exception.code, "conflict")

    def test_balloon(self):
        vmm = Vmm(self).ready()
        vmm.call("balloon", target=96 * MIB)
        self.assertEqual(vmm.call("status")["balloon"], {"targetBytes": 32 * MIB, "actualBytes": 0})
        for bad in (129 * MIB, -1, 1.5, "96Mi", None):
            with self.subTest(bad), self.assertRaises((Refused, ConnectionError)):
                vmm.call("balloon", target=bad)
        vmm.call("balloon", target=128 * MIB)
        self.assertEqual(vmm.call("status")["balloon"]["targetBytes"], 0)

    def test_machine_without_balloon(self):
        vmm = Vmm(self, "--no-balloon").ready()
        with self.assertRaises(Refused) as refused:
            vmm.call("balloon", target=64 * MIB)
        self.assertEqual(refused.exception.code, "unsupported")

    def test_vmm_ctl(self):
        vmm = Vmm(self).ready()
        self.assertEqual(json.loads(vmm.ctl("status").stdout)["state"], "running")
        self.assertIn("vcpus", json.loads(vmm.ctl("metrics").stdout))
        for words in (["pause"], ["resume"], ["reset"], ["balloon", "96Mi"], ["shutdown"]):
            result = vmm.ctl(*words)
            self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""), words)
        result = vmm.ctl("balloon", "1Gi")
        self.assertEqual(result.returncode, 1)
        self.assertIn("invalid_params", result.stderr)
        self.assertEqual(vmm.ctl("stop").returncode, 0)
        vmm.expect_end(0, "Stopped")
        self.assertEqual(vmm.ctl("status").returncode, 1)


class HostileClients(unittest.TestCase):
    def setUp(self):
        self.vmm = Vmm(self).ready()

    def tearDown(self):
        """Whatever a client did: the machine serves the next one, and the guest runs."""
        self.assertIsNone(self.vmm.process.poll(), self.vmm.said())
        self.assertEqual(self.vmm.call("status")["state"], "running")
        before = len(self.vmm.console)
        self.vmm.type("7")
        self.vmm.console.expect("7", start=before)

    def refusal(self, line, code):
        with self.vmm.client() as control:
            control.send(line)
            answer = json.loads(control.line())
            self.assertEqual(answer["error"]["code"], code, answer)
            self.assertTrue(answer["error"]["message"])
            return answer

    def test_lines_that_are_no_requests(self):
        for line in (b"\n", b"{\n", b"[]\n", b"null\n", b"\x00\n", b'{"id":1,"method":"status"} x\n',
                     b'{"id":1,"method":"\xff\xfe"}\n', b'{"id":1,"id":2,"method":"status"}\n',
                     b'{"id":1e400,"method":"status"}\n', b'{"method":"status","params":' + b"[" * 30000 + b"\n",
                     b'{"id":1}\n', b'{"id":1,"method":7}\n', b'{"id":1,"method":"status","extra":1}\n'):
            with self.subTest(line[:40]):
                self.refusal(line, "invalid_request")

    def test_unknown_method(self):
        self.assertEqual(self.refusal(b'{"id":"x","method":"format-disk"}\n', "unknown_method")["id"], "x")

    def test_foreign_parameter(self):
        self.refusal(b'{"id":1,"method":"status","params":{"target":1}}\n', "invalid_params")

    def test_oversized_line(self):
        with self.vmm.client() as control:
            control.send(b'{"id":1,"method":"' + b"a" * (LINE_MAX - 18))
            answer = json.loads(control.line())
            self.assertEqual(answer["error"]["code"], "invalid_request")
            self.assertIsNone(control.line(), "the connection stays open")

    def test_many_requests_in_one_write(self):
        with self.vmm.client() as control:
            control.send(b'{"id":5,"method":"status"}\n' * 100)
            for _ in range(100):
                self.assertEqual(json.loads(control.line())["id"], 5)

    def test_request_in_many_writes(self):
        with self.vmm.client() as control:
            for byte in b'{"id":6,"method":"status"}\n':
                control.send(bytes([byte]))
            self.assertEqual(json.loads(control.line())["id"], 6)

    def test_many_clients(self):
        clients = [self.vmm.client() for _ in range(CLIENTS_MAX)]
        for client in clients:
            client.call("status")
        extra = self.vmm.client()
        self.assertEqual(json.loads(extra.line())["error"]["code"], "busy")
        self.assertIsNone(extra.line())
        for _ in range(20):
            self.assertIn("too many clients", self.vmm.ctl("status").stderr)
        for client in clients:
            client.call("status")
            client.socket.close()

    def test_client_that_never_reads(self):
        control = self.vmm.client()
        control.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        control.socket.settimeout(2)
        request = b'{"id":1,"method":"status"}\n'
        with self.assertRaises(OSError):  # closed on us, or our own buffer is full for good
            for _ in range(10000):
                control.socket.sendall(request * 10)
        with self.vmm.client() as other:
            other.call("status")

    def test_client_that_says_nothing(self):
        silent = [self.vmm.client() for _ in range(CLIENTS_MAX - 1)]
        with self.vmm.client() as control:
            control.call("status")
        self.assertEqual(len(silent), CLIENTS_MAX - 1)

    def test_another_user(self):
        """The socket's mode keeps others out; where it was widened, the machine still asks who it is."""
        os.chmod(self.vmm.folder, 0o755)
        self.assertEqual(self.vmm.socket.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.stop_as_nobody(), "PermissionError")
        os.chmod(self.vmm.socket, 0o777)
        self.assertEqual(json.loads(self.stop_as_nobody())["error"]["code"], "forbidden")

    def stop_as_nobody(self):
        """What a child that gave up root reads after asking for `stop`, or the name of its exception."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                with lib.Control(self.vmm.socket) as control:
                    with contextlib.suppress(BrokenPipeError):  # refused already
                        control.send(b'{"id":1,"method":"stop"}\n')
                    os.write(writer, control.line() or b"the end")
            except Exception as failure:  # nothing may return into the test framework twice
                os.write(writer, type(failure).__name__.encode())
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader, "rb") as pipe:
            said = pipe.read().decode()
        os.waitpid(child, 0)
        return said


class Sockets(unittest.TestCase):
    def test_live_socket_is_refused(self):
        first = Vmm(self).ready()
        second = Vmm(self, "--control", first.socket, control=False)
        self.assertEqual(second.wait(), 1)
        self.assertIn(str(first.socket), second.log.text())
        self.assertIn("running machine", second.log.text())
        self.assertEqual(first.call("status")["state"], "running")

    def test_stale_socket_is_replaced(self):
        path = lib.new_folder(self) / "stale"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
        vmm = Vmm(self, "--control", path, control=False).ready()
        vmm.socket = path
        self.assertEqual(vmm.call("status")["state"], "running")
        self.assertEqual(os.listdir(path.parent), ["stale"])

    def test_file_is_not_replaced(self):
        path = lib.new_folder(self) / "precious"
        path.write_text("precious")
        vmm = Vmm(self, "--control", path, control=False)
        self.assertEqual(vmm.wait(), 1)
        self.assertEqual(path.read_text(), "precious")
        self.assertEqual(os.listdir(path.parent), ["precious"])


if __name__ == "__main__":
    lib.main()

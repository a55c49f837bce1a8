# SPDX-License-Identifier: Apache-2.0
"""`vmm ctl` and `vmm console` against a server of the test's own."""
import json
import os
import pty
import select
import socket
import subprocess
import threading
import time
import unittest

from front_case import VMM, FrontCase


class Server(threading.Thread):
    """Accepts one client, notes its first line, sends `answer`, then runs `then(connection)`."""

    def __init__(self, path, answer, then=None):
        super().__init__(daemon=True)
        self.answer, self.then, self.request = answer, then, None
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(1)
        self.start()

    def run(self):
        connection, _ = self.socket.accept()
        with connection:
            self.request = connection.makefile("rb", buffering=0).readline().decode()
            connection.sendall(self.answer.encode())
            if self.then is not None:
                self.then(connection)

    def close(self):
        self.join(10)
        self.socket.close()


class Ctl(FrontCase):
    def ask(self, answer, *args):
        server = Server(self.folder / "sock", answer)
        self.addCleanup(os.unlink, self.folder / "sock")
        done = self.vmm("ctl", *args)
        server.close()
        return done, server.request

    def test_result_is_printed(self):
        done, request = self.ask('{"id":1,"result":{"state":"running","a":[1,{}]}}\n', "sock",
                                 "status")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout, '{"state":"running","a":[1,{}]}\n')
        self.assertEqual(request, '{"id":1,"method":"status"}\n')

    def test_result_is_indented_on_a_terminal(self):
        result = r'{"state":"a \" b, {c}:[\\","n":[1,{}],"o":{"p":null},"e":[]}'
        server = Server(self.folder / "sock", f'{{"id":1,"result":{result}}}\n')
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        done = subprocess.run([VMM, "ctl", self.folder / "sock", "status"], stdin=subprocess.DEVNULL, stdout=slave,
                              timeout=60, check=False)
        os.close(slave)
        server.close()
        text = b""
        while not text.endswith(b"\r\n}\r\n"):
            text += os.read(master, 4096)
        self.assertEqual(done.returncode, 0)
        lines = text.decode().replace("\r\n", "\n")
        self.assertEqual(lines, r"""{
  "state": "a \" b, {c}:[\\",
  "n": [
    1,
    {}
  ],
  "o": {
    "p": null
  },
  "e": []
}
""")
        self.assertEqual(json.loads(lines), json.loads(result))

    def test_empty_result_is_silent(self):
        done, request = self.ask('{"id":1,"result":{}}\n', "--control", "sock", "pause")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertEqual(request, '{"id":1,"method":"pause"}\n')

    def test_balloon(self):
        done, request = self.ask('{"id":1,"result":{}}\n', "sock", "balloon", "256Mi")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(request, '{"id":1,"method":"balloon","params":{"target":268435456}}\n')

    def test_refusal(self):
        done, _ = self.ask('{"id":1,"error":{"code":"conflict","message":"it is paused"}}\n',
                           "sock", "pause")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr,
                         "vmm: error: the machine refuses: it is paused (conflict)\n")

    def test_bad_answers(self):
        for answer, told in (("", "ended the connection"), ("nonsense\n", "cannot be read"),
                             ('{"id":1}\n', "has no result"), ("x" * 70000, "longer than")):
            with self.subTest(answer[:20]):
                server = Server(self.folder / "sock", answer)
                done = self.vmm("ctl", "sock", "status")
                server.close()
                os.unlink(self.folder / "sock")
                self.assertEqual(done.returncode, 1)
                self.assertRegex(done.stderr, rf"\Avmm: [^\n]*{told}[^\n]*\n\Z")

    def test_timeout(self):
        server = Server(self.folder / "sock", "", lambda c: time.sleep(3))
        done = self.vmm("ctl", "--timeout", "1", "sock", "status")
        server.close()
        self.assertIn("does not answer", done.stderr)

    def test_mistakes(self):
        for args, told in ((["none", "status"], "cannot reach a machine at none"),
                           (["sock"], "which request?"), ([], "which machine?"),
                           (["sock", "statsu"], "did you mean status?"),
                           (["sock", "balloon"], "balloon needs the memory"),
                           (["sock", "stop", "now"], "stop takes no argument"),
                           (["x" * 108, "status"], "may have 107")):
            with self.subTest(args):
                done = self.vmm("ctl", *args)
                self.assertEqual(done.returncode, 1)
                self.assertRegex(done.stderr, r"\Avmm: [^\n]*\n\Z")
                self.assertIn(told, done.stderr)

    def test_stale_socket(self):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(self.folder / "sock"))
        done = self.vmm("ctl", "sock", "status")
        self.assertIn("has ended", done.stderr)


class Console(FrontCase):
    def test_pipe(self):
        heard = []

        def then(connection):
            connection.sendall(b"past ")
            while True:
                data = connection.recv(100)
                if not data:
                    break
                heard.append(data)
            connection.sendall(b"present")

        server = Server(self.folder / "sock", '{"id":1,"result":{}}\n', then)
        done = self.vmm("console", "sock", stdin=None, input="ls\x1d\n")
        server.close()
        self.assertEqual((done.returncode, done.stdout), (0, "past present"))
        self.assertEqual(b"".join(heard), b"ls\x1d\n")
        self.assertEqual(server.request, '{"id":1,"method":"console"}\n')

    def test_no_replay(self):
        server = Server(self.folder / "sock", '{"id":1,"result":{}}\n')
        self.vmm("console", "--no-replay", "sock")
        server.close()
        self.assertEqual(server.request,
                         '{"id":1,"method":"console","params":{"replay":false}}\n')

    def test_terminal(self):
        """On a terminal every key reaches the machine but Ctrl-], which detaches."""
        heard, ended = [], threading.Event()

        def then(connection):
            connection.sendall(b"login: ")
            while True:
                data = connection.recv(100)
                if not data:
                    break
                heard.append(data)
            ended.set()

        server = Server(self.folder / "sock", '{"id":1,"result":{}}\n', then)
        master, slave = pty.openpty()
        process = subprocess.Popen([VMM, "console", "sock"], cwd=self.folder, stdin=slave,
                                   stdout=slave, stderr=slave)
        seen = b""
        while b"login: " not in seen:
            self.assertTrue(select.select([master], [], [], 10)[0], seen)
            seen += os.read(master, 1000)
        self.assertIn(b"Ctrl-] detaches", seen)
        os.write(master, b"a\x03\r")
        os.write(master, b"\x1d")
        self.assertEqual(process.wait(10), 0)
        self.assertTrue(ended.wait(10))
        self.assertEqual(b"".join(heard), b"a\x03\r")
        server.close()
        os.close(master)
        os.close(slave)


if __name__ == "__main__":
    unittest.main()

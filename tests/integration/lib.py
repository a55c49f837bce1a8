# SPDX-License-Identifier: Apache-2.0
"""What the integration tests share: one `vmm run` with its folder, console and control socket.

Everything here is bounded in time and cleaned up by process id, whatever the test did. A host that cannot run a
virtual machine makes the tests fail, never skip. The build under test is named by PODVISOR_BUILD, else the newest
under build/.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
SANDBOX_UID = 107
DEADLINE = 20  # seconds for anything that should take milliseconds: the host may be busy
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)


def find_build():
    if "PODVISOR_BUILD" in os.environ:
        return pathlib.Path(os.environ["PODVISOR_BUILD"])
    monitors = sorted(SOURCE.glob("build/*/bin/vmm-monitor"), key=lambda path: path.stat().st_mtime)
    return monitors[-1].parents[1] if monitors else SOURCE / "build" / "dev"


BUILD = find_build()
VMM = BUILD / "bin" / "vmm"
PAYLOAD = BUILD / "bin" / "payload.elf"
OBEY = BUILD / "bin" / "obey.elf"


def cmake_cache(name):
    match = re.search(rf"^{name}:[A-Z]+=(.*)$", (BUILD / "CMakeCache.txt").read_text(), re.M)
    return match[1] if match else ""


def build_is_release():
    return cmake_cache("CMAKE_BUILD_TYPE").startswith("Rel")


SANITIZED = bool(cmake_cache("PODVISOR_SANITIZE")) if (BUILD / "CMakeCache.txt").exists() else False


def host_is_pvm():
    """KVM without VT-x or SVM: guest kernels are emulated there, and slow."""
    return pathlib.Path("/sys/module/kvm_pvm").exists()


def find_guest():
    """The folder of the Linux guest, which tools/guest-kernel built before the tests."""
    result = subprocess.run([SOURCE / "tools" / "guest-kernel"], capture_output=True, text=True, timeout=60)
    if result.returncode:
        sys.exit(f"FAILED: no guest kernel; run tools/guest-kernel --install-deps: {result.stderr}")
    return pathlib.Path(result.stdout.strip().splitlines()[-1])


def require_host():
    """Ends the test program with a reason and a failure when it cannot do its work here."""
    if os.geteuid() != 0:
        sys.exit("FAILED: these tests need root: sudo tools/test")
    for device in ("/dev/kvm", "/dev/net/tun"):
        if not os.access(device, os.R_OK | os.W_OK):
            sys.exit(f"FAILED: cannot open {device}; load its module (kvm_intel, kvm_amd, tun)")
    for program in (VMM, VMM.with_name("vmm-monitor"), PAYLOAD, OBEY):
        if not program.exists():
            sys.exit(f"FAILED: {program} is missing; build first, or name the build in PODVISOR_BUILD")


def main():
    require_host()
    unittest.main(verbosity=2)


def wait_until(condition, timeout=DEADLINE, what="the condition"):
    """Returns the first true value of condition()."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {timeout} s")
        time.sleep(0.005)


def check_libc(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def die_with_parent():
    """In a child, before exec: no test leaves a process behind, even when it is killed."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def own_terminal(fd):
    """In a child, before exec: a session of its own on that terminal."""
    os.setsid()
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
    die_with_parent()


def enter_network_namespace():
    """A network of the calling thread's own, and of all threads and processes it makes; it goes away with them."""
    check_libc(libc.unshare(CLONE_NEWNET))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=DEADLINE)


def enter_mount_namespace():
    check_libc(libc.unshare(CLONE_NEWNS))
    check_libc(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))


def make_tap(name, address):
    for words in (f"tuntap add {name} mode tap", f"address add {address} dev {name}", f"link set {name} up"):
        subprocess.run(["ip", *words.split()], check=True, timeout=DEADLINE)


def new_folder(test):
    """A temporary folder for the time of the test."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vmm-test-"))
    test.addCleanup(shutil.rmtree, folder, True)
    return folder


class Output:
    """All that comes from a descriptor, collected by a thread of its own."""

    def __init__(self, fd):
        self.data = bytearray()
        self.closed = False
        self.changed = threading.Condition()
        self.fd = fd
        self.thread = threading.Thread(target=self.collect, daemon=True)
        self.thread.start()

    def collect(self):
        while True:
            try:
                block = os.read(self.fd, 65536)
            except OSError:  # the other end of a pseudo-terminal is gone
                block = b""
            with self.changed:
                self.data += block
                self.closed = not block
                self.changed.notify_all()
            if not block:
                return

    def text(self):
        with self.changed:
            return self.data.decode(errors="replace")

    def __len__(self):
        with self.changed:
            return len(self.data)

    def expect(self, pattern, timeout=DEADLINE, start=0):
        """Waits for a regular expression; returns its match. Fails with what there is. A pattern that ends in
        something of any length (a number, .*) matches its first part as soon as that has come: see expect_line()."""
        deadline = time.monotonic() + timeout
        compiled = re.compile(pattern.encode() if isinstance(pattern, str) else pattern, re.M)
        with self.changed:
            while True:
                match = compiled.search(bytes(self.data), start)
                if match:
                    return match
                if self.closed or not self.changed.wait(max(0, deadline - time.monotonic())):
                    break
        how = "ended" if self.closed else f"did not say it in {timeout} s"
        raise AssertionError(f"expected {pattern!r}; the output {how}:\n{self.text()[-3000:]}")

    def expect_line(self, pattern, timeout=DEADLINE, start=0):
        """The same for a whole line, its end included: what arrives in pieces is not read before it is all there."""
        return self.expect(rf"^(?:{pattern})\r?\n", timeout, start)


class Refused(Exception):
    """The machine's answer to a request was an error."""

    def __init__(self, error):
        super().__init__(f"{error['code']}: {error['message']}")
        self.code = error["code"]
        self.message = error["message"]


class Control:
    """A client of the control socket."""

    def __init__(self, path, timeout=DEADLINE):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self.buffer = b""
        self.last_id = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, line):
        self.socket.sendall(line if isinstance(line, bytes) else line.encode())

    def line(self):
        """The next line without its newline; None at the end of the connection."""
        while b"\n" not in self.buffer:
            try:
                block = self.socket.recv(65536)
            except ConnectionResetError:
                block = b""
            if not block:
                return None
            self.buffer += block
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line

    def ask(self, method, **params):
        """Sends a request and returns its id."""
        self.last_id += 1
        request = {"id": self.last_id, "method": method}
        if params:
            request["params"] = params
        self.send(json.dumps(request) + "\n")
        return self.last_id

    def answer(self, number):
        line = self.line()
        if line is None:
            raise ConnectionError("the machine closed the connection")
        answer = json.loads(line)
        if answer["id"] != number:
            raise AssertionError(f"answer {line!r} to request {number}")
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]

    def call(self, method, **params):
        return self.answer(self.ask(method, **params))


class Vmm:
    """One `vmm run`. `test` is the unittest.TestCase whose end also ends the process; `wrapper` are words before
    the command, `start` runs in the child before exec."""

    def __init__(self, test, *flags, kernel=OBEY, cmdline="", memory="128Mi", stdin=subprocess.PIPE,
                 stdout=subprocess.PIPE, control=True, debug_exit=True, program=VMM, termination=None, wrapper=(),
                 start=die_with_parent):
        self.test = test
        self.folder = new_folder(test)
        self.socket = self.folder / "control.sock"
        self.termination_path = termination or self.folder / "termination"
        sandbox = ["--sandbox", "off"] if SANITIZED and "--sandbox" not in flags else []
        self.command = [
            *map(str, wrapper), str(program), "run", "--kernel", str(kernel), "--cmdline", cmdline,
            *(["--memory", memory] if memory else []),
            "--termination-message", str(self.termination_path), *(["--debug-exit"] if debug_exit else []),
            *(["--control", str(self.socket)] if control else []), *sandbox, *map(str, flags)]
        self.started = time.monotonic()
        self.process = subprocess.Popen(self.command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE,
                                        preexec_fn=start)
        test.addCleanup(self.kill)
        self.pid = self.process.pid
        self.console = Output(self.process.stdout.fileno()) if self.process.stdout else None
        self.log = Output(self.process.stderr.fileno())

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for output, stream in ((self.console, self.process.stdout), (self.log, self.process.stderr)):
            if stream:
                output.thread.join(DEADLINE)
                stream.close()
        if self.process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

    def wait(self, timeout=DEADLINE):
        """The exit code; the log is complete afterwards."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"vmm still runs after {timeout} s\n{self.said()}") from None
        self.log.thread.join(DEADLINE)
        if self.process.stdout:
            self.console.thread.join(DEADLINE)
        return code

    def said(self):
        console = self.console.text()[-2000:] if self.console else ""
        return f"--- console\n{console}\n--- log\n{self.log.text()[-2000:]}"

    def type(self, text):
        """Input for the guest, through standard input."""
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def ready(self, timeout=DEADLINE):
        """Waits until obey.elf takes commands."""
        self.console.expect("READY", timeout)
        return self

    def client(self, timeout=DEADLINE):
        """A connected control client, once the socket is there."""
        def connect():
            try:
                return Control(self.socket, timeout)
            except OSError:
                if self.process.poll() is not None:
                    raise AssertionError(f"vmm ended with {self.process.returncode}\n{self.said()}") from None
                return None
        client = wait_until(connect, what="connecting to the control socket")
        self.test.addCleanup(client.socket.close)
        return client

    def call(self, method, **params):
        with self.client() as client:
            return client.call(method, **params)

    def ctl(self, *words, timeout=DEADLINE):
        return subprocess.run([VMM, "ctl", self.socket, *words], capture_output=True, text=True, timeout=timeout)

    def termination(self):
        text = self.termination_path.read_text()
        self.test.assertTrue(text.endswith("\n") and text.count("\n") == 1, f"not one line: {text!r}")
        return json.loads(text)

    def expect_end(self, code, reason, timeout=DEADLINE):
        """Waits for the end and checks exit code and termination message."""
        got = self.wait(timeout)
        self.test.assertEqual(got, code, self.said())
        message = self.termination()
        self.test.assertEqual((message["exitCode"], message["reason"]), (code, reason), message)
        self.test.assertTrue(message["message"])
        return message["message"]

    def monitor_running(self):
        """Waits until the front has become the monitor and all its threads have their sandbox."""
        self.call("status")
        return self.pid

    def threads(self):
        return sorted(int(name) for name in os.listdir(f"/proc/{self.pid}/task"))


def proc_status(pid, tid=None):
    path = f"/proc/{pid}/task/{tid}/status" if tid else f"/proc/{pid}/status"
    lines = pathlib.Path(path).read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def open_files(pid):
    """What the process's descriptors are; one that is closed meanwhile (a client's socket) is left out."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return found


def memory_maps(pid):
    """[start, end, access, KiB resident] for each mapping of the process."""
    maps = []
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line)
        if head:
            maps.append([int(head[1], 16), int(head[2], 16), head[3], 0])
        elif line.startswith("Rss:"):
            maps[-1][3] = int(line.split()[1])
    return maps


def memory_of(pid, guest_bytes):
    """(KiB of guest RAM that is resident, KiB of everything else). Guest RAM, here of less than 3 GiB, lies between
    guard pages; in parts, because its beginning has advice of its own."""
    runs = []  # adjacent accessible mappings: [start, end, KiB]
    for start, end, access, resident in memory_maps(pid):
        if access.startswith("---"):
            continue
        if runs and runs[-1][1] == start:
            runs[-1][1] = end
            runs[-1][2] += resident
        else:
            runs.append([start, end, resident])
    guest = [resident for start, end, resident in runs if end - start == guest_bytes]
    if len(guest) != 1:
        raise AssertionError(f"which of these is guest RAM of {guest_bytes:#x} bytes? {runs}")
    return guest[0], sum(run[2] for run in runs) - guest[0]

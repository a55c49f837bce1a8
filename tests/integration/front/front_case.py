# SPDX-License-Identifier: Apache-2.0
"""What the tests of the front share: a folder for each test, and running `vmm` in it."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

BIN = pathlib.Path(os.environ["PODVISOR_BUILD"]) / "bin"
VMM = str(BIN / "vmm")
SOURCE = pathlib.Path(__file__).resolve().parents[3]
KERNEL = SOURCE / "tests/fuzz/boot/corpus/boot-kernel/elf64"


class FrontCase(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="vmm-front-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "kernel").write_bytes(KERNEL.read_bytes())

    def vmm(self, *args, prefix=(), env=None, program=VMM, **options):
        environment = {**os.environ, "PODVISOR_MONITOR": str(BIN / "fake-monitor"), **(env or {})}
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run([*prefix, str(program), *map(str, args)], cwd=self.folder, env=environment,
                              capture_output=True, text=True, timeout=60, **options)

    def file(self, name, size=0, content=None):
        path = self.folder / name
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        else:
            with open(path, "wb") as f:
                f.truncate(size)
        return path

    def copy_programs(self):
        """To where another user can reach them: the build may be in root's home."""
        self.folder.chmod(0o777)
        for name in ("vmm", "fake-monitor"):
            shutil.copy(BIN / name, self.folder / name)
        return {"program": self.folder / "vmm", "env": {"PODVISOR_MONITOR": str(self.folder / "fake-monitor")}}

    def listing(self):
        """Everything in the folder with its size and time: what a refused start must not change."""
        return {p.name: (p.lstat().st_mode, p.lstat().st_size, p.lstat().st_mtime_ns)
                for p in self.folder.iterdir()}

    def handed_over(self, *args, **options):
        """Runs a machine that must start; returns what the monitor was given."""
        done = self.vmm("run", *args, **options)
        self.assertEqual((done.returncode, done.stderr), (0, ""), args)
        return json.loads(done.stdout)

    def refused(self, expected, *args, **options):
        """Runs a machine that must not start: one line, exit code 1, nothing created or changed."""
        before = self.listing()
        done = self.vmm("run", *args, **options)
        self.assertEqual(done.returncode, 1, done)
        self.assertEqual(done.stdout, "")
        self.assertRegex(done.stderr, r"\Avmm: [^\n]*\n\Z")
        self.assertIn(expected, done.stderr)
        self.assertEqual(self.listing(), before)
        return done.stderr

# SPDX-License-Identifier: Apache-2.0
"""Every manifest of deploy/examples is read without a word of complaint, and starts with the flags that it names."""
import os
import pathlib
import re
import shlex
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[3]
BIN = pathlib.Path(os.environ["PODVISOR_BUILD"]) / "bin"
EXAMPLES = sorted((SOURCE / "deploy/examples").glob("*.yaml"))
# Of a Service or a claim beside the machine, which `vmm` says it leaves alone.
BESIDE = re.compile(r"^.*document \d \((?:Service|PersistentVolumeClaim) \w+\) is not read.*\n", re.M)
KERNEL = SOURCE / "tests/fuzz/boot/corpus/boot-kernel/elf64"


def command_of(example):
    """The words of the `vmm run` in the example's head."""
    comment = "\n".join(re.findall(r"^# ?(.*)$", example.read_text(), re.M)).replace("\\\n", " ")
    line = re.search(r"^\s*(?:sudo )?vmm (run .*)$", comment, re.M)
    return shlex.split(line[1]) if line else None


class Examples(unittest.TestCase):
    def test_there_are_some(self):
        self.assertIn("vm.yaml", [path.name for path in EXAMPLES])

    def test_inspect_finds_nothing_wrong(self):
        for path in EXAMPLES:
            with self.subTest(path.name):
                done = subprocess.run([BIN / "vmm", "inspect", path], capture_output=True, text=True, timeout=60)
                self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
                self.assertNotRegex(BESIDE.sub("", done.stdout), r"(?m)^(warning|error|problem):")
                self.assertIn("manifest: VirtualMachine", done.stdout)

    def test_the_command_in_its_head_starts_it(self):
        """All but the tap, which would need one: the front hands the machine over without a warning."""
        for path in EXAMPLES:
            with self.subTest(path.name), tempfile.TemporaryDirectory(prefix="vmm-example-") as folder:
                folder = pathlib.Path(folder)
                words = command_of(path)
                self.assertIsNotNone(words, "its head shows no `vmm run`")
                for name in ("vmlinux", "initramfs.cpio"):
                    (folder / name).write_bytes(KERNEL.read_bytes())
                with open(folder / "disk.img", "wb") as disk:
                    disk.truncate(1 << 20)
                (folder / "deploy").symlink_to(SOURCE / "deploy")
                environment = {**os.environ, "PODVISOR_MONITOR": str(BIN / "fake-monitor"), "TMPDIR": str(folder)}
                done = subprocess.run([BIN / "vmm", *words], cwd=folder, env=environment, capture_output=True, text=True,
                                      stdin=subprocess.DEVNULL, timeout=60)
                if "--net" in words:
                    self.assertEqual(done.returncode, 1)
                    self.assertIn("there is no network interface tap0", done.stderr)
                else:
                    self.assertEqual((done.returncode, BESIDE.sub("", done.stderr)), (0, ""))


if __name__ == "__main__":
    unittest.main()

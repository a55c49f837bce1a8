#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests sandbox_coverage.py with traces made from the table itself.

usage: coverage_test.py SANDBOX_COVERAGE_PY DUMP_RULES
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT, DUMP_RULES = sys.argv.pop(1), sys.argv.pop(1)
TABLE = subprocess.run([DUMP_RULES], check=True, capture_output=True, text=True).stdout
NAMES = {"vcpu": "vcpu0", "io": "io0", "worker": "blk0", "main": None}


def call(fields):
    args = ["0x7"] * 6
    if fields[3] != "-":
        args[int(fields[3])] = fields[5]
    return f"{fields[1]}({', '.join(args)}) = 0"


class Coverage(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name)
        (self.root / "trace").mkdir()
        (self.root / "rules").write_text(TABLE)
        self.rules = [line.split("\t") for line in TABLE.splitlines()]

    def write_traces(self, rules, extra=None):
        for number, (thread_class, name) in enumerate(NAMES.items()):
            lines = ["execve(0x1, 0x2, 0x3) = 0"]  # before the filter: does not count
            if name:
                lines.append(f'prctl(PR_SET_NAME, "{name}") = 0')
            lines.append("seccomp(0x1, 0x4, 0x7ffc) = 0")
            lines += [call(r) for r in rules if r[0] == thread_class]
            lines += (extra or {}).get(thread_class, [])
            lines.append("--- SIGUSR1 {si_signo=SIGUSR1} ---")
            lines.append("+++ exited with 0 +++")
            (self.root / "trace" / f"trace.{number}").write_text("\n".join(lines) + "\n")

    def run_script(self, *options):
        return subprocess.run([sys.executable, SCRIPT, "--rules", self.root / "rules", *options,
                               self.root / "trace"], capture_output=True, text=True)

    def test_complete(self):
        self.write_traces(self.rules)
        result = self.run_script()
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_unused_rule(self):
        self.write_traces([r for r in self.rules if r[:2] != ["main", "tgkill"]])
        result = self.run_script()
        self.assertEqual(result.returncode, 1)
        self.assertIn("never used: main tgkill EQ(2, SIGUSR1)", result.stdout)

    def test_accepted_as_unused(self):
        accept = self.root / "accept"
        accept.write_text("main tgkill EQ(2, SIGUSR1)  # one vCPU, never kicked\n")
        self.write_traces([r for r in self.rules if r[:2] != ["main", "tgkill"]])
        self.assertEqual(self.run_script("--accept", accept).returncode, 0)
        self.write_traces(self.rules)
        result = self.run_script("--accept", accept)
        self.assertEqual(result.returncode, 1)
        self.assertIn("accepted as unused, but used", result.stdout)

    def test_forbidden_calls(self):
        self.write_traces(self.rules, {"vcpu": ["ioctl(0x5, 0xae01, 0x0) = 9", "dup(0x3) = 4"]})
        result = self.run_script()
        self.assertEqual(result.returncode, 1)
        self.assertIn("vcpu0: ioctl(0x5, 0xae01, 0x0) is not allowed for vcpu", result.stdout)
        self.assertIn("vcpu0: dup(0x3) is not allowed for vcpu", result.stdout)

    def test_missing_class(self):
        self.write_traces(self.rules)
        (self.root / "trace" / "trace.2").unlink()
        result = self.run_script()
        self.assertEqual(result.returncode, 1)
        self.assertIn("no thread of class worker", result.stdout)


if __name__ == "__main__":
    unittest.main()

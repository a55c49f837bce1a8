# SPDX-License-Identifier: Apache-2.0
"""The manual page of podvisor-device-plugin and --help name the same flags."""
import os
import pathlib
import re
import shutil
import subprocess
import unittest

PROGRAM = pathlib.Path(os.environ["PODVISOR_BUILD"]) / "bin/podvisor-device-plugin"
PAGE = pathlib.Path(__file__).resolve().parents[3] / "docs/man/podvisor-device-plugin.8"


class Manual(unittest.TestCase):
    def test_flags(self):
        done = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=True)
        self.assertEqual(done.stderr, "")
        flags = re.findall(r"^  --(\S+)", done.stdout, re.M)
        self.assertEqual(flags, re.findall(r"^\.It Fl Fl (\S+)", PAGE.read_text(), re.M))
        for line in done.stdout.splitlines():
            self.assertLessEqual(len(line), 80, line)

    def test_version(self):
        done = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True)
        self.assertRegex(done.stdout, r"\Apodvisor-device-plugin \d+\.\d+\.\d+\n\Z")

    def test_page_is_well_formed(self):
        if shutil.which("mandoc") is None:
            self.skipTest("no mandoc")
        done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", PAGE], capture_output=True,
                              text=True)
        self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    unittest.main()

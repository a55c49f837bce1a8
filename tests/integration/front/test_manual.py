# SPDX-License-Identifier: Apache-2.0
"""The manual page and --help name the same flags and verbs, and the page is well-formed."""
import re
import shutil
import subprocess
import unittest

from front_case import SOURCE, FrontCase

PAGE = SOURCE / "docs/man/vmm.1"
VERBS = ("run", "ctl", "console", "check", "inspect")


def page_flags(section):
    """Flags that have an item of their own in a section."""
    text = PAGE.read_text().split(f".Sh {section.upper()}\n", 1)[1].split("\n.Sh ", 1)[0]
    return set(re.findall(r"^\.It Fl Fl (\S+)", text, re.M))


class Manual(FrontCase):
    def test_every_flag_is_in_the_page_and_back(self):
        for verb in VERBS:
            with self.subTest(verb):
                done = self.vmm(verb, "--help")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                flags = set(re.findall(r"^  --(\S+)", done.stdout, re.M)) - {"help"}
                self.assertEqual(flags, page_flags(verb))

    def test_every_verb_is_in_the_page_and_back(self):
        done = self.vmm("--help")
        listed = re.findall(r"^  (\w+)  ", done.stdout, re.M)
        self.assertEqual(tuple(listed), VERBS)
        synopsis = PAGE.read_text().split(".Sh SYNOPSIS\n", 1)[1].split("\n.Sh ", 1)[0]
        self.assertEqual(tuple(re.findall(r"^\.Cm (\w+)$", synopsis, re.M)), VERBS)

    def test_requests_of_ctl(self):
        text = PAGE.read_text().split(".Sh CTL\n", 1)[1].split("\n.Sh ", 1)[0]
        help_text = self.vmm("ctl", "--help").stdout
        self.assertEqual(set(re.findall(r"^\.It Cm (\w+)", text, re.M)),
                         set(re.findall(r"^  ([a-z]+) ", help_text, re.M)))

    def test_help_fits_a_terminal(self):
        for verb in VERBS:
            for line in self.vmm(verb, "--help").stdout.splitlines():
                self.assertLessEqual(len(line), 80, line)

    def test_usage(self):
        done = self.vmm()
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("usage: vmm VERB", done.stderr)
        self.assertIn("did you mean `vmm run`?", self.vmm("rnu").stderr)
        self.assertRegex(self.vmm("--version").stdout, r"\Avmm \d+\.\d+\.\d+\n\Z")

    def test_page_is_well_formed(self):
        if shutil.which("mandoc") is None:
            self.skipTest("no mandoc")
        done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", PAGE], capture_output=True,
                              text=True)
        self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    unittest.main()

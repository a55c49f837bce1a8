# SPDX-License-Identifier: Apache-2.0
"""What the documents tell people to type exists: programs, verbs, flags and their values, presets, labels, files."""
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[3]
BIN = pathlib.Path(os.environ["PODVISOR_BUILD"]) / "bin"
DOCUMENTS = [SOURCE / "README.md", *sorted((SOURCE / "docs").glob("*.md"))]
PRESETS = json.loads((SOURCE / "CMakePresets.json").read_text())
# Other people's programs, each used with options that were tried.
FOREIGN = {"apt-get", "cat", "cmake", "ctest", "dmesg", "echo", "find", "gdb", "grep", "ip", "kubectl", "man", "mkdir", "mkfs.ext4",
           "ping", "python3", "qemu-img", "truncate"}


def commands(document):
    """Each simple command of the document's ```sh blocks, as words."""
    for block in re.findall(r"^```sh\n(.*?)^```$", document.read_text(), re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"\$\([^)]*\)", "SUBSTITUTED", line)
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words = []
            for word in [*lexer, ";"]:
                if word in ("&&", ";", "|"):
                    if words:
                        yield words
                    words = []
                else:
                    words.append(word)


def program_of(words):
    """Without sudo, the namespace or pod it runs in, and redirections."""
    if words[0] == "sudo":
        words = words[1:]
    if words[:3] == ["ip", "netns", "exec"]:
        words = words[4:]
    if words[:2] == ["kubectl", "exec"]:
        words = words[words.index("--") + 1:]
    if words[0] == "gdb":
        words = words[words.index("--args") + 1:]
    cut = next((i for i, word in enumerate(words) if word in (">", "<", ">>")), None)
    if cut is not None:
        words = words[:cut - 1] if words[cut - 1] == "2" else words[:cut]
    return words


def preset_names(kind):
    return {preset["name"] for preset in PRESETS[kind] if not preset.get("hidden")}


class Documents(unittest.TestCase):
    def run_program(self, *words):
        return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60,
                              stdin=subprocess.DEVNULL)

    def check_vmm(self, words):
        """The real parser reads every flag and its value, then --help ends it before anything is opened."""
        done = self.run_program(BIN / "vmm", *words, *([] if words[0].startswith("--") else ["--help"]))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        if words[0] == "ctl":
            self.assertRegex(done.stdout, rf"(?m)^  {words[2] if len(words) > 2 else words[1]} ")

    def check_tool(self, words):
        script = SOURCE / words[0]
        self.assertTrue(os.access(script, os.X_OK), f"{script} is no program")
        text = self.run_program(script, "--help").stdout
        for word in words[1:]:
            if word.startswith("--"):
                self.assertIn(word, text)

    def check_preset(self, words):
        kind = "testPresets" if words[0] == "ctest" else "buildPresets" if "--build" in words else "configurePresets"
        if "--preset" in words:
            self.assertIn(words[words.index("--preset") + 1], preset_names(kind))

    def check(self, words):
        program = words[0]
        if program == "vmm" or program.endswith("/vmm"):
            self.check_vmm(words[1:])
        elif program.startswith("tools/"):
            self.check_tool(words)
        else:
            self.assertIn(program, FOREIGN)
            self.check_preset(words)

    def test_commands(self):
        for document in DOCUMENTS:
            for words in commands(document):
                with self.subTest(f"{document.name}: {' '.join(words)}"):
                    self.check(program_of(words))

    def test_there_are_commands(self):
        """The test above has something to say."""
        programs = {program_of(words)[0] for document in DOCUMENTS for words in commands(document)}
        self.assertLessEqual({"vmm", "tools/quickstart", "tools/test", "cmake", "ctest"}, programs)

    def test_blocks_are_shell(self):
        for document in DOCUMENTS:
            for block in re.findall(r"^```sh\n(.*?)^```$", document.read_text(), re.M | re.S):
                done = subprocess.run([shutil.which("bash"), "-n"], input=block, capture_output=True, text=True, timeout=60)
                self.assertEqual((done.returncode, done.stderr), (0, ""), f"{document.name}:\n{block}")

    def test_files_that_are_named_exist(self):
        """Paths of this tree in running text and in links."""
        pattern = r"\b((?:src|docs|tools|tests|cmake|include|deploy)/[\w./-]*\w)"
        for document in DOCUMENTS:
            for path in re.findall(pattern, document.read_text()):
                with self.subTest(f"{document.name}: {path}"):
                    if "NAME" not in path and "SUBJECT" not in path:
                        self.assertTrue((SOURCE / path).exists() or (SOURCE / path).with_suffix(".c").exists(), path)


if __name__ == "__main__":
    unittest.main()

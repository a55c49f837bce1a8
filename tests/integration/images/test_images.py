#!/usr/bin/env python3
"""tools/images: the archives are valid OCI layouts, the same every time, and hold all that their programs need."""
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.environ.get("PODVISOR_BUILD", os.path.join(ROOT, "build", "dev"))
RECIPES = os.path.join(ROOT, "deploy", "images")
SMALL = {"name": "docker.io/podvisor/test", "title": "test", "description": "For a test.",
         "programs": {"/usr/bin/vmm": "vmm", "/usr/bin/vmm-monitor": "vmm-monitor"}, "certificates": True,
         "folders": {"/tmp": "1777"}, "links": {"/bin/machine": "vmm"}, "environment": {"PODVISOR_LOG": "info"},
         "disks": {"/disk/disk.img": {"label": "test", "size": 1048576, "files": {"hello": "hello\n"}}},
         "entrypoint": ["/usr/bin/vmm"], "user": "107:107"}


class Archive:
    """An OCI archive, read with every digest checked."""

    def __init__(self, path):
        with tarfile.open(path) as tar:
            self.members = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
        self.layout = json.loads(self.members["oci-layout"])
        self.index = json.loads(self.members["index.json"])
        (self.entry,) = self.index["manifests"]
        self.manifest = json.loads(self.blob(self.entry))
        self.config = json.loads(self.blob(self.manifest["config"]))
        (layer,) = self.manifest["layers"]
        self.layer = self.blob(layer)
        assert self.config["rootfs"]["diff_ids"] == [layer["digest"]]

    def blob(self, descriptor):
        """The descriptor's content."""
        algorithm, digest = descriptor["digest"].split(":")
        content = self.members[f"blobs/{algorithm}/{digest}"]
        assert hashlib.sha256(content).hexdigest() == digest and len(content) == descriptor["size"], descriptor
        return content

    def files(self):
        """The layer's entries by name."""
        with tarfile.open(fileobj=io.BytesIO(self.layer)) as tar:
            return {member.name: member for member in tar}

    def unpack(self, folder):
        """Into FOLDER, as root."""
        with tarfile.open(fileobj=io.BytesIO(self.layer)) as tar:
            tar.extractall(folder)


class Images(unittest.TestCase):
    """Each test gets a folder of its own."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="podvisor-images-")
        self.addCleanup(shutil.rmtree, self.folder)

    def run_tool(self, *arguments, environment=None):
        """tools/images with the build's programs."""
        return subprocess.run([os.path.join(ROOT, "tools", "images"), *arguments], capture_output=True, text=True,
                              check=False, env=dict(os.environ, **(environment or {})), timeout=100)

    def recipe(self, changes=None, name="small"):
        """A file with the small recipe, changed."""
        path = os.path.join(self.folder, name + ".json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({**SMALL, **(changes or {})}, file)
        return path

    def build(self, path, output="out", *arguments, environment=None):
        """Builds a recipe, returns the archive's path."""
        output = os.path.join(self.folder, output)
        answer = self.run_tool("--programs", os.path.join(BUILD, "bin"), "--recipe", path, "--output", output,
                               *arguments, environment=environment)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        return os.path.join(output, os.path.basename(path)[:-len(".json")] + ".tar")

    def test_same_bytes(self):
        path = self.recipe()
        first = self.build(path, "one")
        time.sleep(1.1)  # file systems count seconds
        second = self.build(path, "two", environment={"TZ": "Asia/Tokyo", "HOME": "/nonexistent"})
        later = self.build(path, "three", environment={"SOURCE_DATE_EPOCH": "86400"})
        with open(first, "rb") as one, open(second, "rb") as two, open(later, "rb") as three:
            content = one.read()
            self.assertEqual(content, two.read())
            self.assertNotEqual(content, three.read())

    def test_layout(self):
        archive = Archive(self.build(self.recipe(), "out", "--tag", "x1"))
        self.assertEqual(archive.layout, {"imageLayoutVersion": "1.0.0"})
        self.assertEqual(archive.entry["annotations"]["org.opencontainers.image.ref.name"],
                         "docker.io/podvisor/test:x1")
        self.assertEqual(archive.entry["annotations"]["io.containerd.image.name"], "docker.io/podvisor/test:x1")
        config = archive.config["config"]
        self.assertEqual(config["User"], "107:107")
        self.assertEqual(config["Entrypoint"], ["/usr/bin/vmm"])
        self.assertIn("PODVISOR_LOG=info", config["Env"])
        self.assertEqual(config["Labels"]["org.opencontainers.image.title"], "test")

    def test_entries(self):
        files = Archive(self.build(self.recipe())).files()
        self.assertEqual(list(files), sorted(files))
        for member in files.values():
            self.assertEqual((member.uid, member.gid, member.mtime), (0, 0, 0), member.name)
            if not member.issym():
                self.assertEqual(member.mode & 0o022, 0o022 if member.name == "tmp" else 0, member.name)
        self.assertEqual(files["tmp"].mode, 0o1777)
        self.assertEqual(files["usr/bin/machine"].linkname, "vmm")
        self.assertIn("etc/ssl/certs/ca-certificates.crt", files)

    def test_programs_start(self):
        root = os.path.join(self.folder, "root")
        Archive(self.build(self.recipe())).unpack(root)
        for program in ("/usr/bin/vmm", "/bin/machine"):
            answer = subprocess.run(["chroot", "--userspec=107:107", root, program, "--version"], capture_output=True,
                                    text=True, check=False)
            self.assertEqual(answer.returncode, 0, answer.stderr)
            self.assertRegex(answer.stdout, r"\d+\.\d+\.\d+")
        with open(os.path.join(root, "etc/passwd"), encoding="utf-8") as file:
            self.assertIn("podvisor:x:107:107:", file.read())

    def test_disk(self):
        root = os.path.join(self.folder, "root")
        Archive(self.build(self.recipe())).unpack(root)
        disk = os.path.join(root, "disk/disk.img")
        path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        subprocess.run(["e2fsck", "-f", "-n", disk], check=True, capture_output=True, env=path)
        answer = subprocess.run(["debugfs", "-R", "cat /hello", disk], check=True, capture_output=True, env=path)
        self.assertEqual(answer.stdout, b"hello\n")

    @unittest.skipUnless(shutil.which("skopeo"), "skopeo is not installed")
    def test_skopeo(self):
        path = self.build(self.recipe())
        answer = subprocess.run(["skopeo", "inspect", f"oci-archive:{path}"], capture_output=True, text=True, check=False)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertEqual(json.loads(answer.stdout)["Os"], "linux")

    def test_missing_program_names_its_target(self):
        answer = self.run_tool("--preset", "no-such-preset", "launcher", "--output", self.folder)
        self.assertEqual(answer.returncode, 1)
        self.assertIn("cmake --build --preset no-such-preset --target vmm", answer.stderr)

    def test_bad_recipes(self):
        for changes, message in (({"prograns": {}}, "prograns"), ({"programs": {"usr/bin/vmm": "vmm"}}, "usr/bin/vmm"),
                                 ({"host-programs": {"/bin/x": "/nonexistent/x"}}, "/nonexistent/x"),
                                 ({"files": {"/a/../../b": "README.md"}}, "/a/../../b"),
                                 ({"files": {"/usr/bin/vmm": "README.md"}}, "/usr/bin/vmm")):
            with self.subTest(message):
                answer = self.run_tool("--programs", os.path.join(BUILD, "bin"), "--recipe", self.recipe(changes),
                                       "--output", self.folder)
                self.assertEqual(answer.returncode, 1)
                self.assertIn(message, answer.stderr)
                self.assertNotIn("Traceback", answer.stderr)

    def test_unknown_image(self):
        answer = self.run_tool("no-such-image", "--output", self.folder)
        self.assertEqual(answer.returncode, 1)
        self.assertIn("launcher", answer.stderr)

    def test_shipped_recipes(self):
        """Each of our images with programs of the build; each program finds its libraries."""
        for name in sorted(os.listdir(RECIPES)):
            with open(os.path.join(RECIPES, name), encoding="utf-8") as file:
                programs = json.load(file).get("programs", {})
            if not programs:
                continue
            with self.subTest(name):
                root = os.path.join(self.folder, name)
                Archive(self.build(os.path.join(RECIPES, name))).unpack(root)
                for path in programs:
                    # The loader says "error while loading shared libraries", status 127, when one is not there.
                    answer = subprocess.run(["chroot", root, path, "--version"], capture_output=True, text=True,
                                            check=False, timeout=20)
                    self.assertNotEqual(answer.returncode, 127, answer.stderr)
                    self.assertNotIn("shared libraries", answer.stderr)


if __name__ == "__main__":
    unittest.main()

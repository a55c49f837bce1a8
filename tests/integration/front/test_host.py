# SPDX-License-Identifier: Apache-2.0
"""`vmm check` and `vmm inspect`: what they say of this host and of files."""
import shutil
import subprocess
import unittest

from front_case import FrontCase


class Check(FrontCase):
    def test_this_host(self):
        done = self.vmm("check")
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        self.assertRegex(done.stdout, r"(?m)^ok +kvm +/dev/kvm, API version 12$")
        self.assertRegex(done.stdout, r"(?m)^ok +capability +KVM_CAP_IRQFD: ")
        self.assertRegex(done.stdout, r"(?m)^ok +filter +vCPU: \d+ system calls, \d+ rules, ")
        self.assertTrue(done.stdout.endswith("\nMachines can run here.\n"))

    def test_host_without_kvm(self):
        if shutil.which("unshare") is None:
            self.skipTest("no unshare")
        done = self.vmm("check", prefix=["unshare", "-m", "sh", "-c",
                                         'mount -t tmpfs none /dev && exec "$@"', "sh"])
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"(?m)^FAIL +kvm +cannot open /dev/kvm: .*modprobe kvm_intel")
        self.assertRegex(done.stdout, r"(?m)^note +tun +no /dev/net/tun.*modprobe tun")
        self.assertTrue(done.stdout.endswith("\nMachines cannot run here.\n"))

    def test_installation_without_monitor(self):
        done = self.vmm("check", env={"PODVISOR_MONITOR": "/none"})
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"(?m)^FAIL +monitor +PODVISOR_MONITOR names /none")


class Inspect(FrontCase):
    def says(self, code, *lines, name):
        done = self.vmm("inspect", name)
        self.assertEqual((done.returncode, done.stderr), (code, ""))
        for line in lines:
            self.assertIn(line, done.stdout)

    def test_initial_ram_disks(self):
        self.file("initrd", content=b"070701" + bytes(506))
        self.file("initrd.gz", content=b"\x1f\x8b" + bytes(510))
        for name, kind in (("initrd", "initial RAM disk (cpio)"), ("initrd.gz", "gzip file")):
            done = self.vmm("inspect", name)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertTrue(done.stdout.startswith(kind), done.stdout)
            self.assertIn(f"--initrd {name}\n", done.stdout)

    def test_kernel(self):
        self.says(0, "kernel: ELF with a PVH entry\n", "use: vmm run --kernel", name="kernel")
        done = self.vmm("inspect", "/bin/sh")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"\Avmm: [^\n]*PVH[^\n]*\n\Z")

    def test_disks(self):
        self.file("raw", 1 << 20)
        self.says(0, "disk image: raw", "size: 1048576 bytes", "format=raw", name="raw")
        self.file("mbr", content=b"\0" * 510 + b"\x55\xaa")
        self.says(0, "MBR partition table", name="mbr")
        self.file("odd", 1000)
        self.says(1, "problem: the size is not a multiple of 512", name="odd")
        self.file("q", content=b"QFI\xfb" + (3).to_bytes(4, "big") + bytes(100))
        self.says(1, "qcow2, which cannot be used", "problem: qcow2 clusters of 2^0 bytes", name="q")
        self.file("v", content=b"KDMV" + bytes(1000))
        self.says(0, "disk image: vmdk\n", name="v")

    def test_qcow2(self):
        def create(*words):
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *words], cwd=self.folder, check=True)

        create("plain.qcow2", "1G")
        self.says(0, "qcow2 version 3\n", "virtual size: 1073741824 bytes", "clusters: 65536 bytes\n",
                  "compression: zlib\n", "--disk path=plain.qcow2,format=qcow2\n", name="plain.qcow2")
        self.file("base", 1 << 20)
        create("-o", "compression_type=zstd,lazy_refcounts=on", "-b", "base", "-F", "raw", "over.qcow2")
        self.says(0, "backing file: 'base', raw; ", "compression: zstd\n", "lazy refcounts: allowed",
                  "path=over.qcow2,format=qcow2,backing=FILE,backing-format=raw\n", name="over.qcow2")
        create("-o", "data_file=outside", "split.qcow2", "1M")
        self.says(1, "problem: qcow2 images with an external data file are not supported", name="split.qcow2")
        create("-o", "extended_l2=on", "sub.qcow2", "1M")
        self.says(1, "subclusters (extended L2 entries) are not supported", name="sub.qcow2")
        with open(self.folder / "plain.qcow2", "r+b") as image:
            image.seek(79)
            image.write(b"\x02")
        self.says(0, "problem: it is marked corrupt; read-only, or after `qemu-img check -r all`",
                  "format=qcow2,readonly\n", name="plain.qcow2")

    def test_mistakes(self):
        self.file("empty")
        for name, told in (("none", "No such file"), ("empty", "is empty"),
                           (".", "neither a regular file nor a block device")):
            done = self.vmm("inspect", name)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, rf"\Avmm: [^\n]*{told}[^\n]*\n\Z")
        self.assertIn("which file?", self.vmm("inspect").stderr)


if __name__ == "__main__":
    unittest.main()

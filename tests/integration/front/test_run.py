# SPDX-License-Identifier: Apache-2.0
"""`vmm run`: what the monitor is handed, and how bad input is refused. A fake monitor takes over."""
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import unittest

from front_case import BIN, VMM, FrontCase

TUNSETIFF, TUNSETPERSIST = 0x400454CA, 0x400454CB
IFF_TUN, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 1, 2, 0x1000, 0x4000


def make_interface(name, flags):
    """A tun or tap that lives as long as the returned file; None when this user may not."""
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags | IFF_NO_PI))
        return fd
    except OSError:
        return None


def make_tap(name):
    """A persistent tap that nobody is attached to."""
    fd = make_interface(name, IFF_TAP | IFF_VNET_HDR)
    if fd is not None:
        fcntl.ioctl(fd, TUNSETPERSIST, 1)
        os.close(fd)
    return fd is not None


def remove_tap(name):
    fd = make_interface(name, IFF_TAP | IFF_VNET_HDR)
    fcntl.ioctl(fd, TUNSETPERSIST, 0)
    os.close(fd)


class HandOver(FrontCase):
    def test_defaults(self):
        got = self.handed_over("--kernel", "kernel", "--memory", "64Mi")
        self.assertEqual(got["name"], "vm")
        self.assertEqual(got["program"], "vmm-monitor:vm")
        self.assertEqual((got["cpus"], got["memory"]), (1, 64 << 20))
        self.assertEqual(got["noHypercalls"], os.path.exists("/sys/module/kvm_pvm"))
        self.assertEqual(got["cmdline"], "console=ttyS0")
        self.assertEqual((got["disks"], got["nets"]), ([], []))
        self.assertEqual((got["rng"], got["balloon"], got["debugExit"]), (True, True, False))
        self.assertEqual((got["initrdFd"], got["controlFd"], got["terminationFd"]), (-1, -1, -1))
        self.assertEqual(got["gracePeriodSeconds"], 30)
        self.assertTrue(got["sealed"])
        self.assertTrue(got["execTime"])

    def test_only_what_is_named_is_inherited(self):
        self.file("disk", 4096)
        extra = os.open("/dev/null", os.O_RDONLY)
        os.set_inheritable(extra, True)
        self.addCleanup(os.close, extra)
        got = self.handed_over("--kernel", "kernel", "--disk", "path=disk,format=raw",
                               "--control", "sock", "--termination-message", "why",
                               pass_fds=[extra])
        known = {got["configFd"], got["kvmFd"], got["kernelFd"], got["controlFd"],
                 got["terminationFd"], got["consoleOutFd"], got["disks"][0]["fd"], 0, 1, 2}
        self.assertEqual({int(fd) for fd in got["descriptors"]}, known)
        self.assertEqual(got["descriptors"][str(got["kvmFd"])], "/dev/kvm")
        self.assertEqual(got["descriptors"][str(got["kernelFd"])], str(self.folder / "kernel"))
        self.assertEqual(got["descriptors"][str(got["terminationFd"])], str(self.folder / "why"))

    def test_environment_is_not_inherited(self):
        got = self.handed_over("--kernel", "kernel",
                               env={"SECRET": "x", "UBSAN_OPTIONS": "print_stacktrace=1"})
        self.assertEqual([e for e in got["environment"] if "SAN_OPTIONS=" not in e], [])
        self.assertIn("UBSAN_OPTIONS=print_stacktrace=1", got["environment"])

    def test_devices(self):
        self.file("a", 1 << 20)
        self.file("b,c", 4096)
        self.file("initrd", content="x")
        got = self.handed_over(
            "--name", "web", "--kernel=kernel", "--initrd", "initrd", "--cpus", 2, "--memory",
            "65Mi", "--cmdline", "a b", "--disk", "path=a,format=raw,serial=S1", "--disk",
            "path=b,,c,format=raw,readonly,name=data", "--no-rng", "--no-balloon", "--debug-exit",
            "--sandbox", "off", "--grace-period", 7, "--console-device", "virtio")
        self.assertEqual((got["name"], got["cpus"], got["memory"]), ("web", 2, 66 << 20))
        self.assertEqual(got["cmdline"], "a b")
        self.assertGreaterEqual(got["initrdFd"], 3)
        first, second = got["disks"]
        self.assertEqual((first["name"], first["serial"], first["size"], first["readonly"]),
                         ("disk0", "S1", 1 << 20, False))
        self.assertEqual((second["name"], second["readonly"], second["discard"]),
                         ("data", True, False))
        self.assertEqual((got["rng"], got["balloon"], got["debugExit"]), (False, False, True))
        self.assertEqual((got["sandbox"], got["gracePeriodSeconds"], got["consoleDevice"]),
                         (2, 7, 1))

    def test_console(self):
        # subprocess gives a pipe as standard output: it is opened again, without blocking.
        got = self.handed_over("--kernel", "kernel")
        self.assertEqual(got["consoleInFd"], -1)
        self.assertGreaterEqual(got["consoleOutFd"], 3)
        got = self.handed_over("--kernel", "kernel", stdin=subprocess.PIPE)
        self.assertEqual((got["consoleInFd"], got["consoleIsTerminal"]), (0, False))
        got = self.handed_over("--kernel", "kernel", "--console", "off")
        self.assertEqual((got["consoleInFd"], got["consoleOutFd"]), (-1, -1))
        got = self.handed_over("--kernel", "kernel", "--console", "file=log")
        self.assertEqual(got["descriptors"][str(got["consoleOutFd"])], str(self.folder / "log"))

    def test_closed_standard_descriptors_are_not_reused(self):
        self.file("disk", 4096)
        done = subprocess.run(
            ["sh", "-c", 'exec "$0" run --kernel kernel --disk path=disk,format=raw 0<&- 2>&-', VMM],
            cwd=self.folder, env={**os.environ, "PODVISOR_MONITOR": str(BIN / "fake-monitor")},
            capture_output=True, text=True, timeout=60)
        got = json.loads(done.stdout)
        self.assertEqual((got["descriptors"]["0"], got["descriptors"]["2"]),
                         ("/dev/null", "/dev/null"))
        self.assertGreater(got["disks"][0]["fd"], 2)

    def test_control_socket(self):
        self.handed_over("--kernel", "kernel", "--control", "sock")
        self.assertEqual((self.folder / "sock").stat().st_mode & 0o777, 0o600)
        # Its machine is gone: the next one takes the path.
        self.handed_over("--kernel", "kernel", "--control", "sock")
        self.assertEqual(sorted(self.listing()), ["kernel", "sock"])

    def test_tap(self):
        if not make_tap("vmmtest0"):
            self.skipTest("may not make a tap")
        self.addCleanup(remove_tap, "vmmtest0")
        subprocess.run(["ip", "link", "set", "vmmtest0", "up"], check=True)
        got = self.handed_over("--kernel", "kernel", "--net", "tap=vmmtest0,mtu=1400")
        net, = got["nets"]
        self.assertEqual((net["name"], net["mtu"], net["offload"]), ("net0", 1400, True))
        self.assertTrue(net["mac"].startswith("02:"))
        again = self.handed_over("--kernel", "kernel", "--net", "tap=vmmtest0")
        self.assertEqual(again["nets"][0]["mac"], net["mac"])
        got = self.handed_over("--kernel", "kernel", "--net",
                               "tap=vmmtest0,mac=52:54:00:12:34:56,name=lan")
        self.assertEqual((got["nets"][0]["mac"], got["nets"][0]["name"]),
                         ("52:54:00:12:34:56", "lan"))


MANIFEST = """
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: web}
spec:
  running: true
  template:
    spec:
      terminationGracePeriodSeconds: 12
      domain:
        firmware:
          kernelBoot:
            kernelArgs: root=/dev/vda
            container: {image: example.org/kernel, kernelPath: /vmlinuz, initrdPath: /initrd}
        cpu: {cores: 2}
        resources: {requests: {memory: 100Mi}}
        devices:
          rng: {}
          autoattachMemBalloon: false
          disks:
          - {name: root, serial: ROOT, disk: {bus: virtio}}
          - {name: data, disk: {bus: virtio}}
          - {name: scratch, disk: {bus: virtio}}
          interfaces:
          - {name: default, macAddress: "52:54:00:00:00:01", masquerade: {}}
      networks:
      - {name: default, pod: {}}
      volumes:
      - {name: root, containerDisk: {image: example.org/root}}
      - {name: data, hostDisk: {path: FOLDER/data.img, type: DiskOrCreate, capacity: 16Mi}}
      - {name: scratch, emptyDisk: {capacity: 1Gi}}
"""


INSTANCE = """\
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: lark}
spec:
  domain:
    FIRMWARE
    memory: {guest: 64Mi}
    devices: {autoattachPodInterface: false}
"""


class Manifests(FrontCase):
    def setUp(self):
        super().setUp()
        self.text = MANIFEST.replace("FOLDER", str(self.folder))
        self.file("vm.yaml", content=self.text)
        self.file("root.img", 1 << 20)

    def test_flags_give_what_only_a_cluster_has(self):
        if not make_tap("vmmtest1"):
            self.skipTest("may not make a tap")
        self.addCleanup(remove_tap, "vmmtest1")
        subprocess.run(["ip", "link", "set", "vmmtest1", "up"], check=True)
        got = self.handed_over("vm.yaml", "--kernel", "kernel", "--disk",
                               "name=root,path=root.img", "--net", "name=default,tap=vmmtest1")
        self.assertEqual((got["name"], got["cpus"], got["memory"]), ("web", 2, 100 << 20))
        self.assertEqual((got["cmdline"], got["gracePeriodSeconds"]), ("root=/dev/vda", 12))
        self.assertEqual((got["rng"], got["balloon"]), (True, False))
        self.assertEqual([d["name"] for d in got["disks"]], ["root", "data", "scratch"])
        self.assertEqual([d["size"] for d in got["disks"]], [1 << 20, 16 << 20, 1 << 30])
        self.assertEqual(got["disks"][0]["serial"], "ROOT")
        self.assertIn("(deleted)", got["descriptors"][str(got["disks"][2]["fd"])])
        self.assertEqual(got["nets"][0]["mac"], "52:54:00:00:00:01")
        self.assertEqual((self.folder / "data.img").stat().st_blocks, 0)

    def test_each_missing_piece_names_its_flag(self):
        prefix = "spec.template.spec."
        self.refused(prefix + "domain.firmware.kernelBoot.container: the image example.org/kernel",
                     "vm.yaml")
        self.refused("volumes[0].containerDisk: only a cluster can provide it; give a file for it: "
                     "--disk name=root,path=FILE", "vm.yaml", "--kernel", "kernel")
        self.refused("domain.devices.interfaces[0]: its network exists only in a cluster; give a "
                     "tap for it: --net name=default,tap=NAME", "vm.yaml", "--kernel", "kernel",
                     "--disk", "name=root,path=root.img")
        # Nothing is made before everything is there: DiskOrCreate was not done.
        self.assertFalse((self.folder / "data.img").exists())

    def test_flags_win(self):
        text = self.text.replace("          - {name: default, macAddress: \"52:54:00:00:00:01\", "
                                 "masquerade: {}}\n", "").replace("interfaces:", "interfaces: []")
        text = text.replace("      networks:\n      - {name: default, pod: {}}\n", "")
        self.file("vm.yaml", content=text)
        done = self.vmm("run", "vm.yaml", "--kernel", "kernel", "--cmdline", "quiet", "--cpus", 1,
                        "--memory", "64Mi", "--name", "mine", "--disk", "name=root,path=root.img",
                        "--disk", "path=root.img,format=raw,readonly,name=more", "--no-rng",
                        "--grace-period", 3)
        self.assertEqual(done.returncode, 1)  # one file, a writer and a reader
        self.assertIn("in use", done.stderr)
        self.file("more.img", 512)
        done = self.vmm("run", "vm.yaml", "--kernel", "kernel", "--cmdline", "quiet", "--cpus", 1,
                        "--memory", "64Mi", "--name", "mine", "--disk", "name=root,path=root.img",
                        "--disk", "path=more.img,format=raw,name=more", "--no-rng",
                        "--grace-period", 3)
        self.assertEqual(done.returncode, 0, done.stderr)
        got = json.loads(done.stdout)
        self.assertEqual((got["name"], got["cpus"], got["memory"]), ("mine", 1, 64 << 20))
        self.assertEqual((got["cmdline"], got["rng"], got["gracePeriodSeconds"]),
                         ("quiet", False, 3))
        self.assertEqual([d["name"] for d in got["disks"]], ["root", "data", "scratch", "more"])

    def test_cloud_init(self):
        """Data that is in the manifest becomes a disk; what only a cluster has needs a flag."""
        machine = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "web"},
                   "spec": {"domain": {"memory": {"guest": "64Mi"}, "devices": {"autoattachPodInterface": False}},
                            "volumes": [{"name": "seed", "cloudInitNoCloud": {"userData": "#cloud-config"}}]}}
        self.file("seed.yaml", content=json.dumps(machine))
        disk, = self.handed_over("seed.yaml", "--kernel", "kernel")["disks"]
        self.assertEqual((disk["name"], disk["readonly"], disk["discard"], disk["size"] % 4096),
                         ("seed", True, False, 0))
        machine["spec"]["accessCredentials"] = [{"sshPublicKey": {
            "source": {"secret": {"secretName": "keys"}}, "propagationMethod": {"noCloud": {}}}}]
        self.file("seed.yaml", content=json.dumps(machine))
        done = self.vmm("run", "seed.yaml", "--kernel", "kernel")
        self.assertEqual(done.returncode, 0)
        self.assertIn("spec.accessCredentials: its keys are not put into the guest", done.stderr)
        machine["spec"]["volumes"][0]["cloudInitNoCloud"] = {"secretRef": {"name": "users"}}
        self.file("seed.yaml", content=json.dumps(machine))
        self.refused("only a cluster can provide it; give a file for it: --disk name=seed,path=FILE", "seed.yaml",
                     "--kernel", "kernel")

    def test_existing_host_disk_of_another_size(self):
        self.file("data.img", 4096)
        self.refused("has 4096 bytes where 16777216 were asked for", "vm.yaml", "--kernel",
                     "kernel", "--disk", "name=root,path=root.img", "--net", "tap=lo,name=default")

    def test_mistakes_in_the_manifest(self):
        for wrong, told in (("cpu: {coers: 2}", "domain.cpu.coers: unknown field; did you mean"),
                            ("cpu: {cores: 2}\n        memory: {guest: 1GB}", "GB")):
            with self.subTest(wrong):
                self.file("vm.yaml", content=self.text.replace("cpu: {cores: 2}", wrong))
                self.refused(told, "vm.yaml")

    def test_inspect_says_what_run_refuses(self):
        for firmware, name in (("", "BIOS"), ("firmware: {bootloader: {efi: {secureBoot: false}}}", "UEFI")):
            self.file("vm.yaml", content=INSTANCE.replace("FIRMWARE", firmware))
            done = self.vmm("inspect", "vm.yaml")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertRegex(done.stdout, rf"(?m)^boot: {name} firmware, which `vmm run` refuses: .*--kernel FILE$")
            self.refused("there is no kernel to boot", "vm.yaml")

    def test_inspect(self):
        done = self.vmm("inspect", "vm.yaml")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("manifest: VirtualMachine web\ncpus: 2\nmemory: 100 MiB\n", done.stdout)
        self.assertIn("disk: root, containerDisk\n", done.stdout)
        self.assertIn("network card: default, 52:54:00:00:00:01\n", done.stdout)
        self.assertIn("boot: kernel\n", done.stdout)
        self.file("vm.yaml", content=self.text.replace("cores", "coers"))
        done = self.vmm("inspect", "vm.yaml")
        self.assertEqual(done.returncode, 1)
        self.assertIn("error: spec.template.spec.domain.cpu.coers: unknown field", done.stdout)


class BadInput(FrontCase):
    def test_kernel(self):
        self.refused("there is no kernel to boot")
        self.refused("cannot open the kernel none: No such file", "--kernel", "none")
        self.refused("is not a regular file", "--kernel", "/dev/null")
        self.file("empty")
        self.refused("the kernel empty is empty", "--kernel", "empty")
        self.file("text", content="not a kernel at all\n" * 100)
        self.refused("the kernel text:", "--kernel", "text")
        self.file("cut", content=(self.folder / "kernel").read_bytes()[:100])
        self.refused("the kernel cut:", "--kernel", "cut")
        self.refused("the initial RAM disk none: No such file", "--kernel", "kernel", "--initrd",
                     "none")

    def test_disks(self):
        self.file("odd", 1000)
        self.file("good", 4096)
        self.refused("disk none does not exist", "--kernel", "kernel", "--disk",
                     "path=none,format=raw")
        self.refused("not a multiple of 512", "--kernel", "kernel", "--disk",
                     "path=odd,format=raw")
        self.refused("the format is never guessed", "--kernel", "kernel", "--disk", "path=good")
        self.refused("two devices have the name 'x'", "--kernel", "kernel", "--disk",
                     "path=good,format=raw,name=x", "--disk", "path=good,format=raw,name=x")
        self.refused("in use", "--kernel", "kernel", "--disk", "path=good,format=raw", "--disk",
                     "path=good,format=raw")
        with open(self.folder / "good", "r+b") as f:
            fcntl.lockf(f, fcntl.LOCK_EX)
            self.refused("disk good is in use by process", "--kernel", "kernel", "--disk",
                         "path=good,format=raw")

    def test_read_only_disk(self):
        """A file system mounted read-only, in a mount namespace of the command's own."""
        self.file("disk", 4096)
        read_only = ["unshare", "--mount", "sh", "-c",
                     'mount --bind . . && mount -o remount,bind,ro . && cd "$PWD" && exec "$@"', "sh"]
        self.refused("mark the disk read-only", "--kernel", "kernel", "--disk",
                     "path=disk,format=raw", prefix=read_only)

    def test_memory(self):
        self.refused("more than this host has", "--kernel", "kernel", "--memory", "4Ei")
        self.refused("--memory: ", "--kernel", "kernel", "--memory", "12XB")
        self.refused("huge pages of 1 GiB", "--kernel", "kernel", "--memory-backing", "hugetlb-1G",
                     "--memory", "1Gi")

    def test_taps(self):
        self.refused("there is no network interface vmmnone0; make it: `sudo ip tuntap add",
                     "--kernel", "kernel", "--net", "tap=vmmnone0")
        self.assertFalse(os.path.exists("/sys/class/net/vmmnone0"))
        self.refused("lo is not a tap", "--kernel", "kernel", "--net", "tap=lo")
        busy = make_interface("vmmbusy0", IFF_TAP | IFF_VNET_HDR)
        if busy is None:
            return
        self.addCleanup(os.close, busy)
        self.refused("the tap vmmbusy0 is in use", "--kernel", "kernel", "--net", "tap=vmmbusy0")
        tun = make_interface("vmmtun0", IFF_TUN)
        self.addCleanup(os.close, tun)
        self.refused("vmmtun0 is not a tap", "--kernel", "kernel", "--net", "tap=vmmtun0")

    def test_mac(self):
        self.refused("malformed MAC address", "--kernel", "kernel", "--net", "tap=t,mac=1:2:3:4:5:6")
        self.refused("is a multicast address", "--kernel", "kernel", "--net",
                     "tap=t,mac=ff:ff:ff:ff:ff:ff")

    def test_control_socket(self):
        server = socket.socket(socket.AF_UNIX)
        self.addCleanup(server.close)
        server.bind(str(self.folder / "live"))
        server.listen(1)
        self.refused("a running machine serves the control socket live", "--kernel", "kernel",
                     "--control", "live")
        self.file("file", content="precious")
        self.refused("is not a socket", "--kernel", "kernel", "--control", "file")
        self.refused("No such file or directory", "--kernel", "kernel", "--control", "none/sock")
        self.refused("bytes and a UNIX socket's at most 107", "--kernel", "kernel", "--control",
                     "x" * 108)

    def test_what_was_made_goes_again(self):
        # The console's file is made before the control socket fails.
        self.refused("No such file or directory", "--kernel", "kernel", "--console", "file=log",
                     "--termination-message", "why", "--control", "none/sock")

    def test_outputs(self):
        self.refused("cannot write the console to none/log", "--kernel", "kernel", "--console",
                     "file=none/log")
        self.refused("cannot write the termination message none/why", "--kernel", "kernel",
                     "--termination-message", "none/why")

    def test_manifest(self):
        self.refused("none.yaml", "none.yaml")
        self.file("bad.yaml", content="a: [1, 2\n")
        self.refused("bad.yaml", "bad.yaml")
        self.refused("one manifest at a time", "a.yaml", "b.yaml")

    def test_monitor_is_missing(self):
        self.refused("PODVISOR_MONITOR names /none", "--kernel", "kernel", "--control", "sock",
                     env={"PODVISOR_MONITOR": "/none"})
        self.file("junk", content="junk").chmod(0o755)
        self.refused("cannot start", "--kernel", "kernel", "--control", "sock",
                     env={"PODVISOR_MONITOR": str(self.folder / "junk")})

    def test_reason_reaches_the_termination_message(self):
        why = self.file("why")
        done = self.vmm("run", "--kernel", "none", "--termination-message", why)
        self.assertEqual(done.returncode, 1)
        said = json.loads(why.read_text())
        self.assertEqual((said["exitCode"], said["reason"]), (1, "BadConfiguration"))
        self.assertIn("cannot open the kernel none", said["message"])

    def test_json_log(self):
        done = self.vmm("run", "--log", "json", "--kernel", "none")
        line = json.loads(done.stderr)
        self.assertEqual(line["level"], "error")
        self.assertIn("cannot open the kernel none", line["msg"])

    def test_hostile_names_cannot_drive_the_terminal(self):
        said = self.refused("cannot open the kernel", "--kernel", "\x1b[2Jx\nvmm: all is well")
        self.assertNotIn("\x1b", said)


class Kvm(FrontCase):
    def test_no_kvm(self):
        if os.geteuid() != 0 or shutil.which("unshare") is None:
            self.skipTest("needs root and unshare")
        hide = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev && exec "$@"', "sh"]
        if subprocess.run([*hide, "true"], capture_output=True).returncode != 0:
            self.skipTest("may not mount")
        self.refused("cannot open /dev/kvm: No such file", "--kernel", "kernel", "--control",
                     "sock", prefix=hide)

    def test_no_permission(self):
        if os.geteuid() != 0 or shutil.which("setpriv") is None or not os.path.exists("/dev/kvm"):
            self.skipTest("needs root, setpriv and KVM")
        if os.stat("/dev/kvm").st_mode & 0o006:
            self.skipTest("everybody may open /dev/kvm here")
        said = self.refused("no permission to open /dev/kvm", "--kernel", "kernel", "--control", "sock",
                            prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
                            **self.copy_programs())
        self.assertRegex(said, "usermod -aG|udev rule")


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""A pod without a cluster: its volumes are folders, bound to their places in mount namespaces of the processes; the
container compute has a /dev of its own, each sidecar an image as its root."""

import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import lib  # noqa: E402

POD_UID = 107
MS_BIND, MS_RDONLY, MS_REMOUNT = 0x1000, 1, 32
CONTAINER_DISK = lib.BUILD / "bin" / "container-disk"
FAKE_MONITOR = lib.BUILD / "bin" / "fake-monitor"
UNPRIVILEGED = ["setpriv", "--reuid", str(POD_UID), "--regid", str(POD_UID), "--clear-groups", "--inh-caps=-all",
                "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs", "--pdeathsig", "KILL"]
FIRST_PROCESS = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def mount(source, target, kind=b"none", flags=0, options=None):
    lib.check_libc(lib.libc.mount(str(source).encode(), str(target).encode(), kind, flags, options))


def make_device(path, like):
    os.mknod(path, 0o666 | stat.S_IFCHR, os.stat(like).st_rdev)
    os.chmod(path, 0o666)


def prepare_image(folder):
    """What a container runtime makes in an image: the places that volumes are mounted on."""
    for name in ("run/podvisor/vmm", "run/podvisor/bin"):
        (folder / name).mkdir(parents=True, exist_ok=True)


class Pod:
    """The folders of one pod, and its processes. `test` is the unittest.TestCase whose end also ends them."""

    def __init__(self, test):
        self.test = test
        self.folder = lib.new_folder(test)
        self.folder.chmod(0o755)
        self.run = self.folder / "run"
        self.termination_path = self.folder / "termination-log"
        self.termination_path.touch()
        self.termination_path.chmod(0o666)
        for name in ("vmm", "net", "ephemeral", "bin", "volumes"):
            (self.run / "podvisor" / name).mkdir(parents=True)
            os.chown(self.run / "podvisor" / name, POD_UID, POD_UID)
        self.volumes = self.run / "podvisor" / "volumes"
        self.devices = {}  # volume -> block device
        self.device_mode = 0o666
        self.socket = self.run / "podvisor" / "vmm" / "control"
        self.programs = self.folder / "programs"
        self.programs.mkdir()
        self.kernel = self.programs / lib.OBEY.name  # a copy, too: the build may be where only root can reach it
        for path in (lib.VMM, lib.VMM.with_name("vmm-monitor"), FAKE_MONITOR, CONTAINER_DISK, lib.OBEY):
            shutil.copy(path, self.programs)
            (self.programs / path.name).chmod(0o755)

    def image(self, name, **files):
        """A container image of those files: path with '_' for '/' -> bytes, or a file to copy."""
        folder = self.folder / f"image-{name}"
        prepare_image(folder)
        for path, content in files.items():
            target = folder / path.replace("_", "/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, pathlib.Path):
                shutil.copy(content, target)
            else:
                target.write_bytes(content)
            target.chmod(0o444)
        return folder

    def claim(self, volume, size=None):
        """A claim in Filesystem mode, with a disk of that size."""
        folder = self.volumes / volume
        folder.mkdir()
        os.chown(folder, POD_UID, POD_UID)
        if size is not None:
            with open(folder / "disk.img", "wb") as disk:
                disk.truncate(size)
            os.chown(folder / "disk.img", POD_UID, POD_UID)
        return folder

    def enter_compute(self):
        lib.die_with_parent()
        lib.enter_mount_namespace()
        mount(self.run, "/run", flags=MS_BIND)
        nodes = {name: os.stat(f"/dev/{name}").st_rdev for name in ("kvm", "null", "zero", "urandom", "net/tun")}
        blocks = {name: os.stat(path).st_rdev for name, path in self.devices.items()}
        mount("none", "/dev", b"tmpfs", options=b"mode=755")
        os.mkdir("/dev/net")
        os.mkdir("/dev/disks")
        os.umask(0)
        for name, number in nodes.items():
            os.mknod(f"/dev/{name}", 0o666 | stat.S_IFCHR, number)
        for name, number in blocks.items():
            os.mknod(f"/dev/disks/{name}", self.device_mode | stat.S_IFBLK, number)
        pathlib.Path("/dev/termination-log").touch()
        mount(self.termination_path, "/dev/termination-log", flags=MS_BIND)
        os.umask(0o022)

    def compute(self, vmi, *flags, wrapper=(*UNPRIVILEGED,), env=None, debug_exit=True):
        return Compute(self, vmi, flags, wrapper, env or {}, debug_exit)

    def handed_over(self, vmi, *flags, env=None):
        """What the monitor is given, by a fake one that tells."""
        compute = self.compute(vmi, *flags, env={"PODVISOR_MONITOR": str(self.programs / "fake-monitor"), **(env or {})})
        self.test.assertEqual(compute.wait(), 0, compute.said())
        return json.loads(compute.console.text())

    def install(self):
        """The init container: puts the program where the sidecars find it."""
        def start():
            lib.die_with_parent()
            lib.enter_mount_namespace()
            mount(self.run, "/run", flags=MS_BIND)
        return subprocess.run([*UNPRIVILEGED, self.programs / "container-disk", "--install", "/run/podvisor/bin"],
                              preexec_fn=start, capture_output=True, text=True, timeout=lib.DEADLINE)

    def sidecar(self, image, *words):
        """container-disk in its image: the whole of what that process can see, read-only."""
        if not (self.run / "podvisor/bin/container-disk").exists():
            done = self.install()
            self.test.assertEqual((done.returncode, done.stderr), (0, ""))

        def start():
            lib.enter_mount_namespace()
            mount(image, image, flags=MS_BIND)
            mount(image, image, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)
            for name in ("vmm", "bin"):
                mount(self.run / "podvisor" / name, image / "run/podvisor" / name, flags=MS_BIND)
            os.chroot(image)
            os.chdir("/")
            os.setgroups([])
            os.setgid(POD_UID)
            os.setuid(POD_UID)
            lib.die_with_parent()  # forgotten when the ids change
        process = subprocess.Popen(["/run/podvisor/bin/container-disk", "--socket", "/run/podvisor/vmm/images",
                                    *words], preexec_fn=start, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, env={}, cwd="/")
        self.test.addCleanup(end_process, process)
        return process

    def expect_sidecar(self, process, code, said=""):
        out, err = process.communicate(timeout=lib.DEADLINE)
        self.test.assertEqual((process.returncode, out), (code, ""), err)
        self.test.assertIn(said, err)


def end_process(process):
    if process.poll() is None:
        process.kill()
    process.communicate()


class Compute(lib.Vmm):
    """`vmm run --pod` in its pod."""

    def __init__(self, pod, vmi, flags, wrapper, env, debug_exit):
        self.test, self.pod = pod.test, pod
        self.socket, self.termination_path = pod.socket, pod.termination_path
        self.command = [*map(str, wrapper), str(pod.programs / "vmm"), "run", "--pod",
                        *(["--debug-exit"] if debug_exit else []), *map(str, flags)]
        environment = {"PATH": os.environ["PATH"], "TMPDIR": "/run/podvisor/ephemeral", **env}
        if vmi is not None:
            environment["PODVISOR_VMI"] = vmi if isinstance(vmi, str) else json.dumps(vmi)
        self.started = time.monotonic()
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=environment, preexec_fn=pod.enter_compute)
        self.test.addCleanup(self.kill)
        self.pid = self.process.pid
        self.console = lib.Output(self.process.stdout.fileno())
        self.log = lib.Output(self.process.stderr.fileno())

    def first_process(self):
        """With FIRST_PROCESS: the machine's id outside of its namespace."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(lib.wait_until(lambda: children.read_text().split(), what="the first process")[0])

    def ctl(self, *words):
        """What `kubectl exec POD -- vmm ctl …` does."""
        return subprocess.run(
            ["nsenter", "--mount", "--root", "--target", str(self.pid), *UNPRIVILEGED, self.pod.programs / "vmm", "ctl",
             *words],
            capture_output=True, text=True, timeout=lib.DEADLINE)


def vmi(name="web", domain=None, volumes=(), **spec):
    """A VirtualMachineInstance as the operator hands it over. Volumes are (name, source)."""
    devices = {"autoattachPodInterface": False,
               "disks": [{"name": volume, "disk": {"bus": "virtio"}} for volume, _ in volumes]}
    domain = domain or {}
    devices.update(domain.pop("devices", {}))
    return {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance",
            "metadata": {"name": name, "namespace": "default", "uid": "6f9d5a0e-9d7c-4f4e-8d0b-0123456789ab"},
            "spec": {"domain": {"memory": {"guest": "128Mi"}, **domain, "devices": devices},
                     "volumes": [{"name": volume, **source} for volume, source in volumes], **spec}}


def kernel_boot(args="", initrd=None, kernel="/boot/vmlinux"):
    container = {"image": "example.org/kernel:1", "kernelPath": kernel}
    if initrd:
        container["initrdPath"] = initrd
    return {"firmware": {"kernelBoot": {"kernelArgs": args, "container": container}}}


def container_disk(name="root"):
    return name, {"containerDisk": {"image": f"example.org/{name}:1"}}


def claim(name="data", **fields):
    return name, {"persistentVolumeClaim": {"claimName": f"claim-{name}", **fields}}


def main():
    for program in (CONTAINER_DISK, FAKE_MONITOR):
        if not program.exists():
            sys.exit(f"FAILED: {program} is missing; build first")
    for program in ("setpriv", "unshare", "nsenter"):
        if shutil.which(program) is None:
            sys.exit(f"FAILED: {program} is missing (util-linux)")
    lib.main()


SIGTERM = signal.SIGTERM

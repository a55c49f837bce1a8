"""Machines that boot the demo guest, a small Linux (tools/guest-kernel.d/README.md says which tests it can run)."""
import functools
import json
import pathlib
import re

import lib

IMAGE = "podvisor/demo-guest:dev"
BUSYBOX = "podvisor/busybox:dev"
PATIENCE = 600  # seconds until Linux is up: some hosts emulate its kernel, and have other work


@functools.lru_cache
def command_line():
    """What this host's kernel needs to hear."""
    folder = pathlib.Path(lib.run(lib.ROOT / "tools/guest-kernel").stdout.strip())
    lines = (folder / "cmdline").read_text().splitlines()
    return " ".join(line for line in lines if not line.startswith("#"))


def adapted(manifest):
    """The text of an example, whose command line is for VT-x and SVM, for this host."""
    return re.sub(r"(?<=kernelArgs: )console=ttyS0 quiet panic=-1", lambda _: command_line(), manifest)


def machine(name, tests, **changes):
    """A VirtualMachine that runs these tests of the guest; changes as lib.machine takes them."""
    vm = lib.machine(name, args=f"{command_line()} podvisor.test={tests}", **changes)
    domain = vm["spec"]["template"]["spec"]["domain"]
    domain["memory"]["guest"] = "64Mi"
    domain["resources"] = {"requests": {"cpu": "500m"}}  # booting is work, where a kernel is emulated
    domain["firmware"]["kernelBoot"]["container"] = {
        "image": IMAGE, "imagePullPolicy": "Never", "kernelPath": "/boot/vmlinux", "initrdPath": "/boot/initrd"}
    return vm


class Case(lib.Case):
    def console(self, name):
        """What the guest of the instance has said so far."""
        pods = self.list("pod", "-l", f"kubevirt.io=virt-launcher,vm.kubevirt.io/name={name}")
        if not pods:
            return ""
        done = self.kubectl("logs", pods[-1]["metadata"]["name"], "-c", "compute", check=False)
        return done.stdout.replace("\r", "") if done.returncode == 0 else ""

    def wait_console(self, name, pattern, timeout=PATIENCE):
        def said():
            text = self.console(name)
            failed = re.search(r"(?m)^GUEST fail.*|^Kernel panic.*", text)
            self.assertIsNone(failed, f"{name}: {failed and failed[0]}")
            return re.search(pattern, text, re.M)
        try:
            return lib.wait_until(said, timeout, f"{pattern!r} on the console of {name}", every=3)
        except AssertionError as error:
            vmi = json.dumps((self.get("vmi", name) or {}).get("status"))
            raise AssertionError(f"{error}\nconsole:\n{self.console(name)}\nstatus: {vmi}") from error

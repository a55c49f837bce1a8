#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A pod's machine: its identity, its life as the first process, its start and its end."""

import json
import os
import pathlib
import subprocess
import unittest

import pod_case
from pod_case import FIRST_PROCESS, SIGTERM, UNPRIVILEGED, Pod, kernel_boot, lib, vmi


class Machine(unittest.TestCase):
    def setUp(self):
        self.pod = Pod(self)

    def start(self, *flags, args="", wrapper=UNPRIVILEGED, env=None, domain=None, **spec):
        """A machine whose kernel is a file: images have their own tests."""
        return self.pod.compute(vmi(domain=domain, **spec), "--kernel", self.pod.kernel, "--cmdline", args, *flags,
                                wrapper=wrapper, env=env)

    def test_defaults_of_the_pod(self):
        compute = self.start(domain={"cpu": {"cores": 2}}).ready()
        status = compute.call("status")
        self.assertEqual((status["name"], status["cpus"], status["memoryBytes"]), ("web", 2, 128 << 20))
        self.assertEqual(os.stat(self.pod.socket).st_mode & 0o777, 0o600)
        compute.call("stop")
        compute.expect_end(0, "Stopped")

    def test_unprivileged(self):
        compute = self.start().ready()
        compute.call("status")
        for thread in compute.threads():
            status = lib.proc_status(compute.pid, thread)
            self.assertEqual(status["Uid"].split(), [str(pod_case.POD_UID)] * 4)
            self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"), status["Name"])
            for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb"):
                self.assertEqual(int(status[f"Cap{kind}"], 16), 0, kind)

    def test_first_process_presses_the_button(self):
        for number in (SIGTERM, pod_case.signal.SIGINT):
            with self.subTest(number):
                self.pod = Pod(self)
                compute = self.start(args="g", wrapper=[*FIRST_PROCESS, *UNPRIVILEGED])
                compute.console.expect("READY\ng")
                first = compute.first_process()
                self.assertEqual(lib.proc_status(first)["NSpid"].split()[-1], "1")
                os.kill(first, number)
                compute.expect_end(0, "PowerOff")
                self.assertIn("BUTTON", compute.console.text())

    def test_first_process_while_it_waits_for_images(self):
        compute = self.pod.compute(vmi(domain=kernel_boot()), wrapper=[*FIRST_PROCESS, *UNPRIVILEGED])
        compute.log.expect("waiting for 1 file")
        os.kill(compute.first_process(), SIGTERM)
        compute.expect_end(0, "Stopped")

    def test_first_process_leaves_no_zombies(self):
        compute = self.start(wrapper=[*FIRST_PROCESS, *UNPRIVILEGED]).ready()
        first = compute.first_process()
        orphan = subprocess.run(["nsenter", "--pid", "--target", str(first), "sh", "-c", "sleep 0.3 & echo $!"],
                                capture_output=True, text=True, timeout=lib.DEADLINE)
        self.assertTrue(orphan.stdout.strip().isdigit(), orphan)
        children = pathlib.Path(f"/proc/{first}/task/{first}/children")
        lib.wait_until(lambda: not children.read_text().split(), what="the orphan's end")
        self.assertEqual(compute.call("status")["state"], "running")

    def test_ctl_finds_the_machine(self):
        compute = self.start().ready()
        done = compute.ctl("status")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(json.loads(done.stdout)["state"], "running")
        self.assertEqual(compute.ctl("balloon", "64Mi").returncode, 0)
        self.assertEqual(compute.ctl("/run/podvisor/vmm/control", "pause").returncode, 0)
        self.assertEqual(json.loads(compute.ctl("--control", "/run/podvisor/vmm/control", "status").stdout)["state"],
                         "paused")
        done = compute.ctl("/none", "status")
        self.assertIn("cannot reach a machine at /none", done.stderr)

    def test_start_paused(self):
        compute = self.start(args="1", startStrategy="Paused")
        lib.wait_until(lambda: compute.call("status")["state"] == "paused", what="the pause")
        self.assertEqual(compute.console.text(), "")
        self.assertNotIn("uptimeMilliseconds", compute.call("status"))
        self.assertEqual(compute.ctl("resume").returncode, 0)
        compute.console.expect("READY")
        self.assertIn("uptimeMilliseconds", compute.call("status"))

    def test_start_paused_and_stopped(self):
        compute = self.start(args="g", startStrategy="Paused")
        lib.wait_until(lambda: compute.call("status")["state"] == "paused", what="the pause")
        compute.process.send_signal(SIGTERM)
        compute.console.expect("READY")  # it runs, so that it can see the button
        compute.process.send_signal(SIGTERM)
        compute.expect_end(0, "Stopped")

    def test_reboot_policy(self):
        for command in "rkt":
            with self.subTest(command):
                self.pod = Pod(self)
                compute = self.start(args=command, domain={"rebootPolicy": "Terminate"})
                compute.expect_end(0, "GuestReset")
                self.assertEqual(compute.console.text().count("READY"), 1)

    def test_reset_from_outside_is_no_reboot(self):
        compute = self.start(domain={"rebootPolicy": "Terminate"}).ready()
        compute.call("reset")
        compute.console.expect("READY\n(.|\n)*READY")

    def test_console_that_is_not_logged(self):
        compute = self.start("--cmdline", "bo", domain={"devices": {"logSerialConsole": False}})
        compute.expect_end(0, "PowerOff")
        self.assertEqual(compute.console.text(), "")

    def test_log_level(self):
        compute = self.start(args="o", env={"PODVISOR_LOG": "debug"})
        compute.expect_end(0, "PowerOff")
        self.assertIn("guest started", compute.log.text())
        self.pod = Pod(self)
        message = self.start(env={"PODVISOR_LOG": "loud"}).expect_end(1, "BadConfiguration")
        self.assertIn("PODVISOR_LOG: 'loud' is not one of", message)
        self.pod = Pod(self)
        compute = self.start("--log-level", "error", args="o", env={"PODVISOR_LOG": "debug"})
        compute.expect_end(0, "PowerOff")
        self.assertEqual(compute.log.text(), "")

    def test_name_of_any_length(self):
        name = "a" * 200 + ".example"
        compute = self.start(name=name).ready()
        self.assertEqual(compute.call("status")["name"], name[:63])

    def test_bad_manifests(self):
        for text, told in ((None, "PODVISOR_VMI is not set"), ("", "PODVISOR_VMI: "), ("{", "PODVISOR_VMI: "),
                           ("[]", "PODVISOR_VMI: "), ("apiVersion: kubevirt.io/v1", "PODVISOR_VMI: "),
                           (vmi(startStrategy="Late"), "unrecognized option: Late")):
            with self.subTest(text):
                self.pod = Pod(self)
                self.assertIn(told, self.pod.compute(text).expect_end(1, "BadConfiguration"))

    def test_manifest_of_a_flag(self):
        path = self.pod.folder / "vmi.json"
        path.write_text(json.dumps(vmi(name="other")))
        compute = self.pod.compute(None, path, "--kernel", self.pod.kernel, "--cmdline", "").ready()
        self.assertEqual(compute.call("status")["name"], "other")

    def test_second_machine_in_the_pod_is_refused(self):
        self.start().ready()
        message = self.start().expect_end(1, "BadConfiguration")
        self.assertIn("a running machine serves the control socket", message)

    def test_environment_is_not_handed_over(self):
        compute = self.start().ready()
        compute.call("status")
        self.assertNotIn(b"PODVISOR", pathlib.Path(f"/proc/{compute.pid}/environ").read_bytes())

    def test_memory_beside_the_guest(self):
        compute = self.start().ready()
        compute.call("status")
        _, beside = lib.memory_of(compute.pid, 128 << 20)
        print(f"\nresident beside guest RAM in a pod, 1 vCPU: {beside} KiB", flush=True)
        if lib.build_is_release():
            self.assertLessEqual(beside, 4096)


class Network(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        lib.enter_network_namespace()
        subprocess.run(["ip", "tuntap", "add", "tap0", "mode", "tap", "user", str(pod_case.POD_UID), "vnet_hdr"],
                       check=True, timeout=lib.DEADLINE)
        subprocess.run(["ip", "link", "set", "tap0", "up"], check=True, timeout=lib.DEADLINE)

    def setUp(self):
        self.pod = Pod(self)

    def machine(self, **lease):
        if lease:
            text = json.dumps({"version": 1, "name": "default", "tap": "tap0", "mac": "02:11:22:33:44:55", "mtu": 1400,
                               "address": "10.0.2.2", "prefix": 24, "router": "10.0.2.1", "server": "10.0.2.1",
                               "routes": [], "dns": ["10.96.0.10"], "search": [], "hostname": "web", **lease})
            (self.pod.run / "podvisor/net/default.json").write_text(text)
        return vmi(domain={"devices": {"autoattachPodInterface": True}})

    def start(self, **lease):
        return self.pod.compute(self.machine(**lease), "--kernel", self.pod.kernel, "--cmdline", "")

    def test_lease(self):
        got = self.pod.handed_over(self.machine(mtu=1400), "--kernel", self.pod.kernel)
        card, = got["nets"]
        self.assertEqual((card["name"], card["mac"], card["mtu"]), ("default", "02:11:22:33:44:55", 1400))
        compute = self.start(mtu=1400).ready()
        self.assertEqual(compute.call("metrics")["networks"][0]["name"], "default")

    def test_no_lease(self):
        message = self.start().expect_end(1, "BadConfiguration")
        self.assertIn("spec.domain.devices.interfaces[0]: ", message)
        self.assertIn("podnet", message)

    def test_bad_lease(self):
        message = self.start(mac="nonsense").expect_end(1, "BadConfiguration")
        self.assertIn("mac", message)


if __name__ == "__main__":
    pod_case.main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""src/kube against a real API server.

KUBECONFIG names a cluster that answers, and is used; otherwise tools/cluster starts one in a folder of its own and
ends it. The checks are in client_cluster.c, which works in a namespace of its own.
"""
import os
import pathlib
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
FOLDER = "/run/podvisor-cluster-kube"
PROGRAM = pathlib.Path(os.environ["PODVISOR_BUILD"]) / "bin" / "kube-client-cluster"


def tool(*arguments, environment):
    """tools/cluster; what it prints."""
    return subprocess.run([ROOT / "tools" / "cluster", *arguments], env=environment, check=True, timeout=1800,
                          stdout=subprocess.PIPE, text=True).stdout.strip()


def free_number():
    """A cluster number whose link is not there."""
    return next(str(n) for n in range(1, 12) if not os.path.exists(f"/sys/class/net/podvisor{n}"))


def main():
    environment = {**os.environ, "PODVISOR_CLUSTER_DIR": FOLDER, "PODVISOR_CLUSTER_NUMBER": free_number()}
    own = f"{FOLDER}/kubeconfig"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # what was started is ended then too
    try:
        tool("up", environment=environment)
        environment["KUBECONFIG"] = tool("kubeconfig", environment=environment)
        return subprocess.run([PROGRAM], env=environment, check=False, timeout=300).returncode
    finally:
        used = environment.get("KUBECONFIG", own)
        if used == own and os.environ.get("KUBECONFIG") != own:
            tool("down", environment=environment)


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""What the tests of deploy/ share: reading its YAML with the reader that our programs use."""
import json
import os
import pathlib
import subprocess

SOURCE = pathlib.Path(__file__).resolve().parents[3]
BIN = pathlib.Path(os.environ["PODVISOR_BUILD"]) / "bin"
DEPLOY = SOURCE / "deploy"
CRDS = {"VirtualMachine": DEPLOY / "crds/virtualmachines.yaml",
        "VirtualMachineInstance": DEPLOY / "crds/virtualmachineinstances.yaml"}


def read_documents(path):
    """Every document of a YAML file."""
    with path.open("rb") as file:
        done = subprocess.run([BIN / "yaml-to-json"], stdin=file, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{path}: {done.stderr}"
    return json.loads(done.stdout)


def read_document(path):
    documents = read_documents(path)
    assert len(documents) == 1, f"{path} has {len(documents)} documents"
    return documents[0]

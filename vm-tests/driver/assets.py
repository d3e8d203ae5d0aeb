"""The contents of the machines' extra disk: our programs, and the files that Ephyr renders.

Everything is made by the commands that an operator would run, from the topology's policy; nothing is written
by hand here, so that what the scenarios test is what is shipped.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from . import image
from .errors import DriverError
from .topology import Node, Topology

HERE = Path(__file__).resolve().parent.parent
KEYS = HERE / "keys"
GUEST = HERE / "guest"
PROGRAMS = ("ephyr", "ephyr-signer", "ephyr-broker", "ephyr-netguard")


def collect(topology: Topology, programs: Path, tree: Path) -> None:
    """Fills `tree`; `programs` is where the built programs lie.

    Raises DriverError when a program is missing or refuses to render.
    """
    tree.mkdir(parents=True)
    shutil.copytree(KEYS, tree / "keys")
    policy = tree / "policy.json"
    policy.write_text(json.dumps(topology.policy, indent=2) + "\n")
    if any(node.role != "plain" for node in topology.nodes):
        _programs(programs, tree / "bin")
    for node in topology.nodes:
        place = tree / "nodes" / node.name
        place.mkdir(parents=True)
        (place / "hosts").write_text(topology.hosts())
        script = (GUEST / f"provision-{node.role}").read_text()
        (place / "provision").write_text(script + "".join(f"{line}\n" for line in node.setup))
        if node.role == "appliance":
            _appliance(node, tree, place)
        elif node.role == "target":
            _target(node, tree, place)


def _programs(programs: Path, out: Path) -> None:
    out.mkdir()
    for name in PROGRAMS:
        source = programs / name
        if not source.is_file():
            raise DriverError(f"{source} is not built")
        shutil.copy(source, out / name)
        # Debugging information is most of a test build's size, and no scenario reads it.
        if strip := shutil.which("strip"):
            image.run([strip, "--strip-debug", str(out / name)], timeout=120)


def _appliance(node: Node, tree: Path, place: Path) -> None:
    settings = place / "settings.json"
    settings.write_text(json.dumps({"package": "/usr", **node.settings}, indent=2) + "\n")
    _ephyr(tree, "units", "render", "--settings", str(settings), "--out", str(place / "units"))


def _target(node: Node, tree: Path, place: Path) -> None:
    name = node.settings.get("target", node.name)
    options = ("--policy", str(tree / "policy.json"), "--ca-pub", str(KEYS / "ca.pub"))
    _ephyr(tree, "target", "render", name, *options, "--format", "debian", "--out", str(place / "target"))


def _ephyr(tree: Path, *arguments: str) -> None:
    command = [str(tree / "bin/ephyr"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise DriverError(f"`ephyr {' '.join(arguments)}` failed with {done.returncode}:\n{done.stdout}{done.stderr}")

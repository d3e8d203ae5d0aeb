"""Checks the driver and the scripts without a guest: its unit tests, then mypy and pyflakes.

A scenario is checked as it runs: after the prelude, with its topology's machines and the driver's globals known to
the type checker by the signatures that ours and NixOS's driver share.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import scenario, topology
from .log import say

HERE = Path(__file__).resolve().parent.parent
#: The names that a driver defines for a script.
HEADER = """\
from contextlib import AbstractContextManager
from typing import Callable
from unittest import TestCase
from driver.machine import Machine, retry
start_all: Callable[[], None]
subtest: Callable[[str], AbstractContextManager[None]]
skip: Callable[[str, str], None]
machines: list[Machine]
t: TestCase
assert callable(retry)
"""
#: The names that it declares.
GLOBALS = ("start_all", "subtest", "skip", "retry", "machines", "t")


def run() -> tuple[int, int, int]:
    """The numbers of passed, failed and skipped checks."""
    passed = failed = skipped = 0
    for name, command in (("unit tests", _unit_tests()), ("mypy", _mypy()), ("pyflakes", _pyflakes())):
        if command is None:
            say(f"SKIP {name}: it is not installed")
            skipped += 1
        elif _passes(name, command):
            passed += 1
        else:
            failed += 1
    return passed, failed, skipped


def _passes(name: str, command: list[str]) -> bool:
    with tempfile.TemporaryDirectory() as directory:
        scripts, names = _scripts(Path(directory))
        environment = {
            **os.environ,
            "MYPYPATH": str(HERE),
            "MYPY_CACHE_DIR": f"{directory}/cache",
            "PYFLAKES_BUILTINS": ",".join(names),
        }
        words = command if name == "unit tests" else [*command, *scripts]
        done = subprocess.run(
            words, cwd=HERE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    ok = done.returncode == 0
    if not ok:
        say(done.stdout.rstrip())
    say(f"{'PASS' if ok else 'FAIL'} {name}")
    return ok


def _unit_tests() -> list[str]:
    places = ["--top-level-directory", ".", "--start-directory", "driver/tests"]
    return [sys.executable, "-m", "unittest", "discover", *places]


def _mypy() -> list[str] | None:
    program = shutil.which("mypy")
    return [program, "--strict", "driver"] if program else None


def _pyflakes() -> list[str] | None:
    program = shutil.which("pyflakes") or shutil.which("pyflakes3")
    return [program, "driver"] if program else None


def _scripts(directory: Path) -> tuple[list[str], set[str]]:
    """Each scenario as a module of its own, so that machines of the same name do not mix; and all globals."""
    prelude = scenario.PRELUDE.read_text()
    paths = []
    names = {*GLOBALS}
    for each in scenario.find(HERE / "scenarios", []):
        nodes = topology.load(HERE / "topologies" / f"{each.topology}.json").nodes
        names.update(node.name for node in nodes)
        declared = "".join(f"{node.name}: Machine\n" for node in nodes)
        path = directory / f"scenario_{each.name}.py"
        path.write_text(HEADER + declared + prelude + each.path.read_text())
        paths.append(str(path))
    return paths, names

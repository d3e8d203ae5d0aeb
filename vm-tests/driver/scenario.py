"""Finds scenarios, reads their headers and runs them."""

from __future__ import annotations

import ast
import math
import re
import signal
import time
import traceback
import types
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import DriverError, MachineError, RequestError
from .log import say
from .machine import Machine, retry
from .pace import PACE

HERE = Path(__file__).resolve().parent.parent
#: Helpers that run before every scenario, in both runners.
PRELUDE = HERE / "prelude.py"
#: Default time limit of a scenario, in seconds on an idle machine.
LIMIT = 900


@dataclass(frozen=True)
class Scenario:
    """One file of `scenarios/`."""

    name: str
    path: Path
    topology: str
    #: Whether the machines are off at the beginning; otherwise they are awake with all units running.
    cold: bool
    #: Time limit in seconds.
    limit: int
    #: Whether it is part of every run; the others take turns.
    core: bool

    def title(self) -> str:
        """Its first sentence."""
        text = ast.get_docstring(ast.parse(self.path.read_text())) or ""
        return text.split("\n\n")[0].replace("\n", " ")


    def weight(self) -> int:
        """A rough measure of its duration: the length of its text; a boot counts like a page of text."""
        text = self.path.read_text()
        return len(text) + 4000 * len(re.findall(r"\b(?:power_cycle|crash|reboot|shutdown)\(", text))


@dataclass
class Outcome:
    """The outcome of a run."""

    seconds: float = 0.0
    #: The reason of a failure.
    failure: str | None = None
    #: The subtest that failed.
    failed_in: str | None = None
    subtests: int = 0
    #: Skipped checks with reasons.
    skips: list[tuple[str, str]] = field(default_factory=list)


def load(path: Path) -> Scenario:
    """Reads a scenario's header: comment lines `# KEY: VALUE` at its top, the first one its topology.

    Raises DriverError when a line is missing or not known.
    """
    header: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines()):
        match = re.fullmatch(r"# ([a-z]+): (\S+)", line)
        if not match:
            break
        if number == 0 and match[1] != "topology":
            break
        header[match[1]] = match[2]
    if "topology" not in header:
        raise DriverError(f"{path}: the first line is not `# topology: NAME`")
    unknown = set(header) - {"topology", "boot", "limit", "only", "core"}
    if unknown or header.get("boot", "cold") != "cold" or header.get("core", "yes") != "yes":
        raise DriverError(f"{path}: the header has something that is not known: {header}")
    limit = int(header.get("limit", LIMIT))
    return Scenario(path.stem, path, header["topology"], "boot" in header, limit, "core" in header)


def find(directory: Path, names: list[str]) -> list[Scenario]:
    """The scenarios with these names, or all, ordered by topology so that each topology is set up once."""
    found = {path.stem: load(path) for path in sorted(directory.glob("*.py"))}
    unknown = [name for name in names if name not in found]
    if unknown:
        raise DriverError(f"no scenario {unknown[0]!r}; there are {', '.join(found)}")
    chosen = [found[name] for name in names] if names else list(found.values())
    return sorted(chosen, key=lambda scenario: (scenario.topology, scenario.name))


#: Number of turns until each scenario has run.
TURNS = 3


def in_turn(scenarios: list[Scenario], turn: int) -> list[Scenario]:
    """The core scenarios and one third of the others: any three successive turns run all."""
    others = sorted(one.name for one in scenarios if not one.core)
    mine = {name for number, name in enumerate(others) if number % TURNS == turn % TURNS}
    return [one for one in scenarios if one.core or one.name in mine]


def run(scenario: Scenario, machines: dict[str, Machine]) -> Outcome:
    """Runs a scenario on machines in the state that its header names. Their state afterwards is undefined."""
    outcome = Outcome()
    scope = _scope(scenario, machines, outcome)
    start = time.monotonic()
    try:
        with _time_limit(scenario.limit):
            for path in (PRELUDE, scenario.path):
                exec(compile(path.read_text(), str(path), "exec"), scope)
    except (RequestError, MachineError, AssertionError) as error:
        outcome.failure = f"{_line(error, scenario)}: {error}"
    except Exception as error:
        # A mistake in the scenario itself: print the trace.
        trace = "".join(traceback.format_exception(error))
        outcome.failure = f"{_line(error, scenario)}: {trace}"
    outcome.seconds = time.monotonic() - start
    return outcome


def _scope(scenario: Scenario, machines: dict[str, Machine], outcome: Outcome) -> dict[str, Any]:
    @contextmanager
    def subtest(name: str) -> Iterator[None]:
        began = time.monotonic()
        outcome.subtests += 1
        try:
            yield
        except BaseException:
            outcome.failed_in = outcome.failed_in or name
            raise
        say(f"  {name} ({time.monotonic() - began:.1f} s)")

    def start_all() -> None:
        for machine in machines.values():
            machine.start()

    def skip(what: str, why: str) -> None:
        say(f"SKIP {what}: {why}")
        outcome.skips.append((what, why))

    return {
        "__name__": "scenario",
        "Machine": Machine,
        "__file__": str(scenario.path),
        **machines,
        "machines": list(machines.values()),
        "start_all": start_all,
        "subtest": subtest,
        "retry": retry,
        "skip": skip,
        "t": unittest.TestCase(),
    }


def _line(error: BaseException, scenario: Scenario) -> str:
    """The line of the scenario where an error happened."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(scenario.path)]
    return f"{scenario.path.name}:{lines[-1]}" if lines else scenario.path.name


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    began = time.monotonic()

    def expire(_number: int, _frame: types.FrameType | None) -> None:
        # The limit grows if the pace was measured again.
        left = began + PACE.limit(seconds) - time.monotonic()
        if left > 1:
            signal.alarm(math.ceil(left))
            return
        raise RequestError(f"the scenario is not done after {PACE.limit(seconds):.0f} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(math.ceil(PACE.limit(seconds)))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

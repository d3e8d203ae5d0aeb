"""`python3 -m driver`, which `cargo xtask vm` runs once the programs are built."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO

from . import check, image, mutation, scenario, topology, world
from .errors import DriverError, MachineError, RequestError
from .log import say
from .scenario import Outcome, Scenario

HERE = Path(__file__).resolve().parent.parent
CACHE_VARIABLE = "EPHYR_VM_CACHE"


def main(words: list[str]) -> int:
    """Runs the command line; 0 when something passed and nothing failed, 1 otherwise, 2 for errors of use."""
    parser = argparse.ArgumentParser(prog="driver", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios; default: all")
    parser.add_argument("--list", action="store_true", help="name the scenarios and their topologies")
    parser.add_argument("--keep", action="store_true", help="keep disks, consoles and network capture")
    parser.add_argument("--mutate", action="store_true", help="remove mechanisms, one at a time, and check that their scenarios fail")
    parser.add_argument("--check", action="store_true", help="check the driver and the scripts, without a guest")
    parser.add_argument("--core", action="store_true", help="run the core scenarios alone")
    parser.add_argument("--turn", metavar="N", help="run the core scenarios and the Nth third of the others; `commit`: by the commit")
    parser.add_argument("--prepare", action="store_true", help="build the guests' image, which needs none of Ephyr's programs, and exit")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="number of scenarios that run at the same time")
    parser.add_argument("--programs", type=Path, help="directory of the built programs")
    options = parser.parse_args(words)
    # The default action of these signals would leave the guests running.
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    try:
        if options.list:
            listing(options.names)
            return 0
        if options.check:
            return summary(*check.run())
        if options.prepare:
            run = Run(Path("/nowhere"), keep=False)
            with locked(run.cache):
                run.base_image()
            return 0
        if options.programs is None:
            raise DriverError("--programs is needed to run anything")
        run = Run(options.programs, options.keep)
        changes = chosen_mutations(options.names) if options.mutate else []
        chosen, others = ([], []) if options.mutate else chosen_scenarios(options.names, options.core, options.turn)
        with locked(run.cache):
            run.mutations(changes, options.jobs)
            run.scenarios(chosen, options.jobs)
        if others:
            names = ", ".join(sorted(one.name for one in others))
            say(f"{len(chosen)} of {len(chosen) + len(others)} scenarios in this run; the others: {names}")
        return summary(run.passed, run.failed, run.skipped)
    except DriverError as error:
        print(f"vm: {error}", file=sys.stderr, flush=True)
        return 2


def end(number: int, _frame: FrameType | None) -> None:
    """Ends the run. A second signal, sent to the whole process group, does not interrupt the cleanup."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.exit(128 + number)


def summary(passed: int, failed: int, skipped: int) -> int:
    """Prints the counts and returns the exit status."""
    say(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if failed == 0 and passed > 0 else 1


def listing(names: list[str]) -> None:
    """Prints every scenario with its topology and its first sentence, and every mutation."""
    for chosen in scenario.find(HERE / "scenarios", names):
        say(f"{chosen.name:<24} {chosen.topology:<12} {chosen.title()}")
    for change in mutation.load(HERE / "mutations.json"):
        if not names or change.scenario in names:
            say(f"{change.name:<24} {'mutation':<12} {change.what}")


# The CLI commands that make the files for a machine of each role.
SET_UP_BY = (("appliance", "units render"), ("appliance", "nft render"), ("target", "target render"))


@dataclass(frozen=True)
class Work:
    """A scenario to be run, with or without a mutation."""

    name: str
    topology: str
    run: Callable[[], None]


@dataclass(frozen=True)
class Child:
    """A scenario that runs in a process of its own."""

    pid: int
    name: str
    #: Its standard output and error.
    output: IO[bytes]
    #: Numbers of passed, failed and skipped checks; empty if it did not end normally.
    counts: IO[bytes]


class Run:
    """One run of scenarios, with its counts."""

    def __init__(self, programs: Path, keep: bool) -> None:
        self.programs = programs
        self.keep = keep
        self.passed = self.failed = self.skipped = 0
        home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        self.cache = Path(os.environ.get(CACHE_VARIABLE, home / "ephyr-vm"))
        self.topologies = {path.stem: topology.load(path) for path in sorted((HERE / "topologies").glob("*.json"))}
        self.documented = documented_skips(HERE.parent / "docs/verification.md")
        self._image: image.Image | None = None
        self._snapshots: dict[str, world.Snapshot] = {}

    def scenarios(self, chosen: list[Scenario], jobs: int) -> None:
        """Runs scenarios, at most `jobs` at the same time; each prints its output when it has ended."""
        if jobs > 1:
            # Long ones first, so that none runs alone at the end.
            chosen = sorted(chosen, key=lambda one: (one.limit, one.weight()), reverse=True)
        self.all([Work(one.name, one.topology, partial(self.scenario, one)) for one in chosen], jobs)

    def mutations(self, chosen: list[mutation.Mutation], jobs: int) -> None:
        """Runs the scenario of each mutation, at most `jobs` at the same time."""
        known = {one.name: one for one in scenario.find(HERE / "scenarios", [])}
        self.all([Work(one.name, known[one.scenario].topology, partial(self.take_out, one)) for one in chosen], jobs)

    def all(self, works: list[Work], jobs: int) -> None:
        """Runs works, at most `jobs` at the same time."""
        if jobs < 2 or len(works) < 2:
            for work in works:
                work.run()
            return
        # Before the fork, since otherwise each process would make them.
        for name in dict.fromkeys(work.topology for work in works):
            if not self.missing(name):
                self.snapshot(name)
        waiting = works[::-1]
        running: list[Child] = []
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    running.append(self.begin(waiting.pop()))
                ended, _ = os.wait()
                for child in [child for child in running if child.pid == ended]:
                    running.remove(child)
                    self.count(child)
        finally:
            # Only if interrupted: each process ends its machines.
            for child in running:
                os.kill(child.pid, signal.SIGTERM)

    def begin(self, work: Work) -> Child:
        """Starts a work in a process of its own."""
        output = tempfile.TemporaryFile()
        counts = tempfile.TemporaryFile()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self.passed = self.failed = self.skipped = 0
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                work.run()
                counts.write(json.dumps([self.passed, self.failed, self.skipped]).encode())
                counts.flush()
                status = 0
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(status)
        return Child(pid, work.name, output, counts)

    def count(self, child: Child) -> None:
        """Prints a process's output and adds its counts."""
        for file in (child.output, child.counts):
            file.seek(0)
        say(child.output.read().decode(errors="replace").rstrip("\n"))
        text = child.counts.read()
        passed, failed, skipped = json.loads(text) if text else (0, 1, 0)
        if not text:
            say(f"FAIL {child.name}: its process ended")
        self.passed, self.failed, self.skipped = self.passed + passed, self.failed + failed, self.skipped + skipped

    def scenario(self, chosen: Scenario) -> None:
        """Runs one scenario and prints its result."""
        say(f"== {chosen.name} ({chosen.topology})")
        if missing := self.missing(chosen.topology):
            self.skipped += 1
            say(f"SKIP {chosen.name}: its machines are set up with `ephyr {missing}`, which this program does not have")
            if chosen.name not in self.documented:
                self.failed += 1
                say(f"FAIL {chosen.name}: the skip is not listed in docs/verification.md")
            return
        start = time.monotonic()
        try:
            outcome, seconds = self.play(chosen, None)
        except MachineError as error:
            outcome, seconds = Outcome(failure=str(error)), time.monotonic() - start
        for what, _why in outcome.skips:
            self.skipped += 1
            if what not in self.documented:
                outcome.failure = outcome.failure or f"SKIP {what} is not listed in docs/verification.md"
        if outcome.failure is None:
            self.passed += 1
            say(f"PASS {chosen.name} ({seconds:.1f} s)")
        else:
            self.failed += 1
            say(f"  in {outcome.failed_in or 'no subtest'}: {outcome.failure}")
            say(f"FAIL {chosen.name} ({seconds:.1f} s)")

    def take_out(self, change: mutation.Mutation) -> None:
        """Removes a mechanism and runs its scenario, which must fail in the expected subtest."""
        say(f"== {change.name}: {change.what}")
        start = time.monotonic()
        try:
            chosen = scenario.find(HERE / "scenarios", [change.scenario])[0]
            outcome, seconds = self.play(chosen, change)
        except (DriverError, MachineError, RequestError) as error:
            # The mutation could not be applied, which does not count as a failure of the scenario.
            outcome, seconds = Outcome(failure=str(error)), time.monotonic() - start
        if outcome.failure is not None and outcome.failed_in == change.expect:
            self.passed += 1
            say(f"  {shortened(outcome.failure)}")
            say(f"PASS {change.name}: {change.scenario} fails in {change.expect!r} ({seconds:.1f} s)")
        else:
            self.failed += 1
            where = f"in {outcome.failed_in!r}: {outcome.failure}" if outcome.failure else "nowhere"
            say(f"FAIL {change.name}: {change.scenario} should fail in {change.expect!r}, and fails {where}")

    def missing(self, name: str) -> str | None:
        """The first command that the topology's set-up needs and the program lacks, if any."""
        found = self.topologies.get(name)
        roles = {node.role for node in found.nodes} if found else set()
        for command in (command for role, command in SET_UP_BY if role in roles):
            asked = [str(self.programs / "ephyr"), *command.split(), "--help"]
            if subprocess.run(asked, capture_output=True, check=False).returncode != 0:
                return command
        return None

    def play(self, chosen: Scenario, change: mutation.Mutation | None) -> tuple[Outcome, float]:
        """Runs a scenario, after applying a mutation if there is one; returns outcome and duration in seconds."""
        snapshot = self.snapshot(chosen.topology)
        start = time.monotonic()
        asleep = chosen.cold and change is None
        with (world.off if asleep else world.awake)(snapshot, self.keep) as machines:
            if change is not None:
                change.apply(machines.machines)
                if chosen.cold:
                    for machine in machines.machines.values():
                        machine.succeed("sync")
                        machine.crash()
            outcome = scenario.run(chosen, machines.machines)
            if outcome.failure and change is None:
                for machine in machines.machines.values():
                    if console := machine.console().strip():
                        say(f"  console of {machine.name}: {console[-1500:]}")
        return outcome, time.monotonic() - start

    def snapshot(self, name: str) -> world.Snapshot:
        """The topology's machines, set up."""
        if name not in self.topologies:
            raise DriverError(f"no topology {name!r}; there are {', '.join(self.topologies)}")
        if name not in self._snapshots:
            made = world.ensure(self.topologies[name], self.base_image(), self.cache, self.programs)
            self._snapshots[name] = made
        return self._snapshots[name]

    def base_image(self) -> image.Image:
        """The base image of all guests, built if it is not in the cache."""
        if self._image is None:
            packages = {package for each in self.topologies.values() for package in each.packages}
            self._image = image.ensure(self.cache, packages)
        return self._image


def shortened(failure: str) -> str:
    """The first line of an expected failure, shortened in the middle."""
    line = failure.strip().splitlines()[0]
    return line if len(line) <= 200 else f"{line[:60]} … {line[-140:]}"


def chosen_scenarios(names: list[str], core: bool, turn: str | None) -> tuple[list[Scenario], list[Scenario]]:
    """The scenarios of this run, and the others. Raises DriverError for contradictory options."""
    every = scenario.find(HERE / "scenarios", names)
    if not core and turn is None:
        return every, []
    if names or (core and turn is not None):
        raise DriverError("names, --core and --turn each say which scenarios are run: only one of them can")
    if core:
        chosen = [one for one in every if one.core]
    elif turn == "commit":
        number = turn_of_commit(HERE)
        chosen = every if number is None else scenario.in_turn(every, number)
    elif turn is not None and turn.isdecimal():
        chosen = scenario.in_turn(every, int(turn))
    else:
        raise DriverError(f"--turn takes a number or `commit`, not {turn!r}")
    return chosen, [one for one in every if one not in chosen]


def turn_of_commit(place: Path) -> int | None:
    """A number that changes with each commit: their number, or in a shallow clone the commit's hash. None without git."""
    def git(*words: str) -> str:
        command = ["git", "-C", str(place), *words]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    if git("rev-parse", "--is-shallow-repository") == "false":
        count = git("rev-list", "--count", "HEAD")
        return int(count) if count.isdecimal() else None
    commit = git("rev-parse", "HEAD")
    return int(commit, 16) if re.fullmatch("[0-9a-f]+", commit) else None


def chosen_mutations(names: list[str]) -> list[mutation.Mutation]:
    """The mutations with these names or for these scenarios; all without names. Raises DriverError for an unknown name."""
    found = mutation.load(HERE / "mutations.json")
    if unknown := set(names) - {name for change in found for name in (change.name, change.scenario)}:
        raise DriverError(f"no mutation, nor one of a scenario, is called {sorted(unknown)[0]!r}")
    return [change for change in found if not names or change.scenario in names or change.name in names]


def documented_skips(path: Path) -> set[str]:
    """The skips that the page allows, in lines `- SKIP <what>: <why>`."""
    text = path.read_text() if path.exists() else ""
    marks = (line.removeprefix("- SKIP ") for line in text.splitlines() if line.startswith("- SKIP "))
    return {mark.split(":", 1)[0].strip("`* ") for mark in marks}


@contextmanager
def locked(cache: Path) -> Iterator[None]:
    """Keeps other runs out of the cache."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run that uses the cache")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Mutations: a mechanism is removed from a running appliance, and its scenario must fail.

A scenario that passes without its mechanism proves nothing. Each entry of `mutations.json` names what to remove and
the subtest in which the scenario must then fail, so that it fails for the right reason.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from .errors import DriverError
from .machine import Machine


@dataclass(frozen=True)
class Edit:
    """One change of a file: a pattern and its replacement."""

    path: str
    find: str
    replace: str


@dataclass(frozen=True)
class Mutation:
    """One mechanism to remove."""

    name: str
    #: A description, for the output.
    what: str
    scenario: str
    #: The machine that is changed.
    node: str
    edits: tuple[Edit, ...]
    #: Commands that put the change into effect.
    then: tuple[str, ...]
    #: The subtest in which the scenario has to fail.
    expect: str

    def apply(self, machines: dict[str, Machine]) -> None:
        """Changes the machine. Raises DriverError when an edit finds nothing to change."""
        machine = machines[self.node]
        for edit in self.edits:
            before = base64.b64decode(machine.succeed(f"base64 -w0 {shlex.quote(edit.path)}")).decode()
            after, count = re.subn(edit.find, edit.replace, before, flags=re.MULTILINE)
            if count == 0 or after == before:
                raise DriverError(f"{self.name}: {edit.path} has nothing that matches {edit.find!r}")
            encoded = base64.b64encode(after.encode()).decode()
            machine.succeed(f"echo {encoded} | base64 -d > {shlex.quote(edit.path)}")
        for command in self.then:
            machine.succeed(command)


def load(path: Path) -> list[Mutation]:
    """Reads the list. Raises DriverError when an entry lacks something."""
    if not path.exists():
        return []
    try:
        return [_mutation(entry) for entry in json.loads(path.read_text())]
    except (KeyError, TypeError, ValueError) as error:
        raise DriverError(f"{path}: {error!r}") from None


def _mutation(entry: dict[str, object]) -> Mutation:
    data = dict(entry)
    edits = data.pop("edits", [])
    then = data.pop("then", [])
    assert isinstance(edits, list) and isinstance(then, list)
    made = tuple(Edit(edit["path"], edit["find"], edit.get("replace", "")) for edit in edits)
    fields = {key: str(data.pop(key)) for key in ("name", "what", "scenario", "node", "expect")}
    if data or not (made or then):
        raise ValueError(f"{fields['name']}: unknown keys {sorted(data)}, or nothing to change")
    return Mutation(**fields, edits=made, then=tuple(str(command) for command in then))

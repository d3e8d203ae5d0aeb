"""Topologies: the machines, their roles, and the policy that they share."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import DriverError

ROLES = ("appliance", "target", "plain")


@dataclass(frozen=True)
class Node:
    """One machine."""

    name: str
    #: `appliance` and `target` are set up with what Ephyr renders; `plain` is bare Debian.
    role: str
    #: Addresses with prefix length, on the one network card.
    addresses: tuple[str, ...]
    #: Default routes.
    via: tuple[str, ...]
    #: Debian packages besides those that every guest has.
    packages: tuple[str, ...]
    #: An appliance: `agents`, as `ephyr units render` takes them. A target: `target`, its name in the policy.
    settings: dict[str, Any]
    #: Shell commands at the end of its set-up, the same in both runners.
    setup: tuple[str, ...]


@dataclass(frozen=True)
class Topology:
    """Machines on one network segment."""

    name: str
    policy: dict[str, Any]
    nodes: tuple[Node, ...]

    @property
    def packages(self) -> set[str]:
        """The packages of its machines besides the common ones."""
        return {package for node in self.nodes for package in node.packages}

    def hosts(self) -> str:
        """Lines for /etc/hosts that name every machine."""
        pairs = ((ipaddress.ip_interface(text).ip, node.name) for node in self.nodes for text in node.addresses)
        return "".join(f"{address} {name}\n" for address, name in pairs)


def load(path: Path) -> Topology:
    """Reads a topology.

    Raises DriverError that names the file and the key when something is missing, unknown or of a wrong form.
    """
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DriverError(f"{path}: {error}") from None
    reader = _Reader(str(path))
    reader.keys("", data, {"description", "policy", "nodes"})
    nodes = reader.mapping("nodes", data.get("nodes"))
    policy = reader.mapping("policy", data.get("policy", {}))
    made = tuple(_node(reader, name, value) for name, value in nodes.items())
    if not made:
        raise reader.error("nodes", "is empty")
    return Topology(path.stem, policy, made)


def _node(reader: _Reader, name: str, data: Any) -> Node:
    where = f"nodes.{name}"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise reader.error(where, "is no name that a scenario could use (small letters, digits, _)")
    reader.mapping(where, data)
    reader.keys(where, data, {"role", "addresses", "via", "packages", "settings", "setup"})
    role = data.get("role")
    if role not in ROLES:
        raise reader.error(f"{where}.role", f"is none of {', '.join(ROLES)}")
    addresses = reader.texts(f"{where}.addresses", data.get("addresses", []))
    for address in addresses:
        try:
            ipaddress.ip_interface(address)
        except ValueError as error:
            raise reader.error(f"{where}.addresses", str(error)) from None
    settings = reader.mapping(f"{where}.settings", data.get("settings", {}))
    reader.keys(f"{where}.settings", settings, {"appliance": {"agents"}, "target": {"target"}}.get(role, set()))
    return Node(
        name,
        role,
        addresses,
        reader.texts(f"{where}.via", data.get("via", [])),
        reader.texts(f"{where}.packages", data.get("packages", [])),
        settings,
        reader.texts(f"{where}.setup", data.get("setup", [])),
    )


@dataclass(frozen=True)
class _Reader:
    """Checks values and names the place of an error."""

    path: str

    def error(self, where: str, what: str) -> DriverError:
        return DriverError(f"{self.path}: {where} {what}")

    def mapping(self, where: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.error(where, "is not a mapping")
        return value

    def texts(self, where: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(where, "is not a list of texts")
        return tuple(value)

    def keys(self, where: str, value: Any, known: set[str]) -> None:
        unknown = sorted(set(self.mapping(where, value)) - known)
        if unknown:
            raise self.error(f"{where}.{unknown[0]}".lstrip("."), "is not known")

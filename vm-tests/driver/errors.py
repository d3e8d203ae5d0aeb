"""Errors, by cause."""

from __future__ import annotations


class DriverError(Exception):
    """The machine cannot run scenarios: a program, a right or a file is missing, or a guest does not boot."""


class RequestError(Exception):
    """A scenario's request failed: a command failed, a unit did not start."""


class MachineError(Exception):
    """A guest died, or does not answer."""

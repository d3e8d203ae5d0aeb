"""Output while the driver runs."""

from __future__ import annotations


def say(text: str) -> None:
    """Prints a line at once, so that a pipe shows each step as it comes."""
    print(text, flush=True)

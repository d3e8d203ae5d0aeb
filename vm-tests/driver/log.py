"""What the user sees while it runs."""

from __future__ import annotations


def say(text: str) -> None:
    """Prints a line at once, so that a pipe shows each step as it comes."""
    print(text, flush=True)

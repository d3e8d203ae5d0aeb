"""How slow the guests are just now. Time limits are there for what hangs: each is multiplied by it, so that nothing
fails because the machine is slow or busy elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

#: A fixed piece of a guest's work: it starts programs, which is what most of a scenario's time goes into.
WORK = "for n in $(seq 60); do /bin/true; done; python3 -c 'import json, socket'"
#: Seconds that it takes in a guest that has just woken up, beside another scenario, on two processors with nothing else to do.
NOMINAL = 2.0
#: The factor's bound; a machine as slow as that has other troubles.
MOST = 20.0


class Pace:
    """The factor of this process's guests."""

    def __init__(self) -> None:
        self.factor = 1.0
        #: Does WORK in a guest and returns the seconds that it took; none while no guest is up.
        self.work: Callable[[], float] | None = None

    def limit(self, seconds: float) -> float:
        """A time limit as it holds on this machine; `seconds` is what it is on one at rest."""
        return seconds * self.factor

    def begin(self, seconds: float, work: Callable[[], float] | None = None) -> None:
        """Takes the factor from the seconds that WORK took; `work` does it again."""
        self.factor = factor(seconds)
        self.work = work

    def slower(self) -> bool:
        """Measures again: whether limits have grown. To be asked before something fails because its time is over."""
        if self.work is None:
            return False
        before = self.factor
        self.factor = max(before, factor(self.work()))
        return self.factor > before


def factor(seconds: float) -> float:
    """By what limits are multiplied where WORK takes so many seconds: never less than 1."""
    return min(max(seconds / NOMINAL, 1.0), MOST)


#: Of the guests of this process: each scenario has a process of its own, or follows another in the same one.
PACE = Pace()

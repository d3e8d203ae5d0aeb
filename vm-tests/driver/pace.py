"""The guests' slowness. Time limits detect hangs: each is multiplied by this factor, so that nothing fails because the
machine is slow or busy.
"""

from __future__ import annotations

from collections.abc import Callable

#: A fixed piece of work in a guest: it starts programs, as scenarios do most of the time.
WORK = "for n in $(seq 60); do /bin/true; done; python3 -c 'import json, socket'"
#: Seconds that WORK takes in a guest that just woke up, beside another scenario, on two otherwise idle processors.
NOMINAL = 2.0
#: The largest factor.
MOST = 20.0


class Pace:
    """The factor of this process's guests."""

    def __init__(self) -> None:
        self.factor = 1.0
        #: Runs WORK in a guest and returns its seconds; None while no guest is up.
        self.work: Callable[[], float] | None = None

    def limit(self, seconds: float) -> float:
        """The time limit on this machine; `seconds` is the limit on an idle one."""
        return seconds * self.factor

    def begin(self, seconds: float, work: Callable[[], float] | None = None) -> None:
        """Sets the factor from the seconds that WORK took; `work` measures again."""
        self.factor = factor(seconds)
        self.work = work

    def slower(self) -> bool:
        """Measures again and returns whether limits have grown. Call it before a timeout counts as a failure."""
        if self.work is None:
            return False
        before = self.factor
        self.factor = max(before, factor(self.work()))
        return self.factor > before


def factor(seconds: float) -> float:
    """The factor for limits if WORK takes so many seconds: at least 1."""
    return min(max(seconds / NOMINAL, 1.0), MOST)


#: The factor of this process: scenarios run in separate processes, or one after another.
PACE = Pace()

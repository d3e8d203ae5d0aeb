"""Time limits grow with the slowness of the guests."""

from __future__ import annotations

import time
import unittest
from unittest import mock

from driver import machine, pace
from driver.errors import RequestError
from driver.pace import NOMINAL, PACE, Pace


class PaceTest(unittest.TestCase):
    def tearDown(self) -> None:
        PACE.begin(NOMINAL)

    def test_limits_are_multiplied_on_a_slow_machine_and_never_shortened_on_a_fast_one(self) -> None:
        mine = Pace()
        self.assertEqual(mine.limit(60), 60)
        mine.begin(3 * NOMINAL)
        self.assertEqual(mine.limit(60), 180)
        mine.begin(NOMINAL / 10)
        self.assertEqual(mine.limit(60), 60)
        mine.begin(1e9)
        self.assertEqual(mine.limit(1), pace.MOST)

    def test_a_machine_that_has_become_slower_is_given_more_time_and_a_faster_one_no_less(self) -> None:
        mine = Pace()
        self.assertFalse(mine.slower(), "nothing can be measured while no guest is up")
        took = iter((5 * NOMINAL, 5 * NOMINAL, 2 * NOMINAL))
        mine.begin(2 * NOMINAL, lambda: next(took))
        self.assertTrue(mine.slower())
        self.assertFalse(mine.slower())
        self.assertFalse(mine.slower())
        self.assertEqual(mine.factor, 5)

    def test_waiting_goes_on_while_the_guests_become_slower(self) -> None:
        took = iter((20 * NOMINAL, 20 * NOMINAL))
        PACE.begin(NOMINAL, lambda: next(took))
        clock = iter(range(1000))
        seen: list[float] = []

        def attempt(last: bool) -> bool:
            seen.append(PACE.factor)
            return False

        with mock.patch.object(time, "monotonic", lambda: next(clock)), mock.patch.object(time, "sleep"):
            with self.assertRaisesRegex(RequestError, "in 40 s"):
                machine.retry(attempt, timeout_seconds=2)
        self.assertEqual((seen[0], seen[-1]), (1.0, 20.0))
        self.assertGreater(len(seen), 20)

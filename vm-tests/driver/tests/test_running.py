"""Running scenarios and mutations, with a fake machine."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import tempfile
import unittest
from pathlib import Path
from typing import cast
from unittest import mock

from driver import machine, mutation, scenario
from driver.__main__ import Run, Work, chosen_mutations
from driver.errors import DriverError, RequestError
from driver.machine import Machine


class Cardboard(Machine):
    """A machine whose commands have prepared answers."""

    def __init__(self, answers: dict[str, tuple[int, str]]) -> None:
        self.name = "guest"
        self.answers = answers
        self.asked: list[str] = []
        self._shell = None

    def execute(
        self, command: str, check_return: bool = True, check_output: bool = True, timeout: int | None = 900
    ) -> tuple[int, str]:
        self.asked.append(command)
        return self.answers.get(command, (0, ""))


class RunningTest(unittest.TestCase):
    def run_text(self, text: str, machines: dict[str, Machine] | None = None) -> scenario.Outcome:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "x.py"
            path.write_text(f"# topology: pair\n# limit: 60\n{text}")
            with contextlib.redirect_stdout(io.StringIO()):
                return scenario.run(scenario.load(path), machines or {})

    def test_a_scenario_that_goes_through_has_passed(self) -> None:
        outcome = self.run_text("with subtest('one'):\n    t.assertTrue(True)\n")
        self.assertEqual((outcome.failure, outcome.subtests), (None, 1))

    def test_a_failure_names_its_line_and_its_subtest(self) -> None:
        outcome = self.run_text("with subtest('one'):\n    pass\nwith subtest('two'):\n    t.assertEqual(1, 2)\n")
        self.assertEqual(outcome.failed_in, "two")
        self.assertIn("x.py:6: 1 != 2", outcome.failure or "")

    def test_a_mistake_in_a_scenario_is_a_failure_too(self) -> None:
        self.assertIn("NameError", self.run_text("nothing()\n").failure or "")
        self.assertIn("SyntaxError", self.run_text("with:\n").failure or "")

    def test_skips_are_counted(self) -> None:
        self.assertEqual(self.run_text("skip('x', 'no y')\n").skips, [("x", "no y")])

    def test_commands_must_succeed_or_fail(self) -> None:
        guest = Cardboard({"bad": (3, "why")})
        self.assertEqual(guest.succeed("good", "good"), "")
        self.assertEqual(guest.fail("bad"), "why")
        with self.assertRaisesRegex(RequestError, "`bad` failed with 3\nwhy"):
            guest.succeed("good", "bad")
        with self.assertRaisesRegex(RequestError, "`good` succeeded"):
            guest.fail("bad", "good")

    def test_a_failed_unit_is_not_waited_for(self) -> None:
        guest = Cardboard({"systemctl --no-pager show a.service": (0, "ActiveState=failed\n")})
        with self.assertRaisesRegex(RequestError, "has failed"):
            guest.wait_for_unit("a.service")

    def test_a_unit_that_nothing_starts_is_not_waited_for(self) -> None:
        answers = {
            "systemctl --no-pager show a.service": (0, "ActiveState=inactive\n"),
            "systemctl list-jobs --full": (0, "No jobs running.\n"),
        }
        with self.assertRaisesRegex(RequestError, "nothing starts it"):
            Cardboard(answers).wait_for_unit("a.service")

    def test_retry_says_when_it_is_the_last_time(self) -> None:
        seen: list[bool] = []

        def attempt(last: bool) -> bool:
            seen.append(last)
            return last

        machine.retry(attempt, timeout_seconds=0)
        self.assertEqual(seen, [False, True])
        with self.assertRaises(RequestError):
            machine.retry(lambda _last: False, timeout_seconds=0)

    def test_a_mutation_changes_the_file_and_runs_its_commands(self) -> None:
        read = "base64 -w0 /etc/x"
        guest = Cardboard({read: (0, base64.b64encode(b"a=1\nb=2\n").decode())})
        change = mutation.Mutation("n", "w", "s", "guest", (mutation.Edit("/etc/x", "^b=.*$", ""),), ("go",), "e")
        change.apply({"guest": cast(Machine, guest)})
        written = base64.b64encode(b"a=1\n\n").decode()
        self.assertEqual(guest.asked, [read, f"echo {written} | base64 -d > /etc/x", "go"])

    def test_a_mutation_that_changes_nothing_is_an_error(self) -> None:
        guest = Cardboard({"base64 -w0 /etc/x": (0, base64.b64encode(b"a=1\n").decode())})
        change = mutation.Mutation("n", "w", "s", "guest", (mutation.Edit("/etc/x", "^b=.*$", ""),), (), "e")
        with self.assertRaisesRegex(DriverError, "nothing that matches"):
            change.apply({"guest": cast(Machine, guest)})

    def test_what_runs_in_processes_of_its_own_is_counted_and_one_that_dies_has_failed(self) -> None:
        run = Run(Path("/nowhere"), keep=False)

        def passes() -> None:
            run.passed += 1

        def fails() -> None:
            run.failed += 1

        works = [Work("passes", "site", passes), Work("fails", "site", fails), Work("dies", "site", lambda: os._exit(0))]
        said = io.StringIO()
        with mock.patch.object(run, "missing", return_value="a command"), contextlib.redirect_stdout(said):
            run.all(works, 2)
        self.assertEqual((run.passed, run.failed), (1, 2))
        self.assertIn("FAIL dies: its process ended", said.getvalue())

    def test_mutations_are_found_by_their_name_or_their_scenario(self) -> None:
        self.assertEqual([change.name for change in chosen_mutations(["trusted_ca"])], ["trusted_ca"])
        self.assertIn("trusted_ca", [change.name for change in chosen_mutations(["login"])])
        with self.assertRaisesRegex(DriverError, "'nothing'"):
            chosen_mutations(["trusted_ca", "nothing"])

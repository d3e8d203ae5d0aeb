"""The shell's protocol, with a bash of this machine instead of a guest's."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from driver import shell
from driver.errors import MachineError
from driver.shell import Shell


class ShellTest(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        patch = mock.patch.object(shell, "STDERR", f"{self.directory}/stderr")
        patch.start()
        self.addCleanup(patch.stop)
        ours, theirs = socket.socketpair()
        script = "echo noise; echo driver shell ready; exec bash --norc"
        self.bash = subprocess.Popen(["bash", "-c", script], stdin=theirs.fileno(), stdout=theirs.fileno())
        theirs.close()
        self.shell = Shell(ours, lambda: self.bash.poll() is None, "guest")
        self.addCleanup(self.bash.wait)
        self.addCleanup(self.shell.close)
        self.shell.wait_ready(60)

    def test_status_and_output_come_back(self) -> None:
        self.assertEqual(self.shell.execute("echo a; echo b >&2; exit 3", 60), (3, "a\n"))
        self.assertEqual((self.directory / "stderr").read_text(), "b\n")
        self.assertEqual(self.shell.execute("printf 'no newline'", 60), (0, "no newline"))
        self.assertEqual(self.shell.execute("printf '\\377'", 60), (0, "\ufffd"))

    def test_any_failing_part_fails_the_command(self) -> None:
        self.assertEqual(self.shell.execute("false; echo not reached", 60), (1, ""))
        self.assertEqual(self.shell.execute("false | cat", 60)[0], 1)
        self.assertNotEqual(self.shell.execute("echo $no_such_variable", 60)[0], 0)
        self.assertEqual(self.shell.execute("true | cat", 60)[0], 0)

    def test_a_command_that_takes_too_long_is_ended(self) -> None:
        self.assertEqual(self.shell.execute("sleep 600", 0.2)[0], 124)
        self.assertEqual(self.shell.execute("echo next", 60), (0, "next\n"))

    def test_files_of_any_bytes_and_size_arrive(self) -> None:
        data = bytes(range(256)) * 2000
        self.shell.write_file(f"{self.directory}/file", data)
        self.assertEqual((self.directory / "file").read_bytes(), data)

    def test_a_guest_that_dies_is_noticed(self) -> None:
        self.shell.send_line("exit")
        with self.assertRaises(MachineError):
            self.shell.execute("true", 60)

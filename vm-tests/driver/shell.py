"""The root shell in a guest: sends a command, receives its output in base64 and its exit status."""

from __future__ import annotations

import base64
import shlex
import socket
import time
from collections.abc import Callable

from .errors import MachineError
from .pace import PACE

#: Printed by the guest once its shell is ready.
READY = b"driver shell ready"
#: Added to a command's own limit before the guest counts as hung, in seconds on an idle machine.
GRACE = 90.0
#: The guest's file with a command's standard error, for failure reports.
STDERR = "/run/vm-stderr"
#: Bytes sent at once: the console's buffer in the guest is small.
CHUNK = 1 << 16


class Shell:
    """A connection to the shell of one guest."""

    def __init__(self, connection: socket.socket, alive: Callable[[], bool], name: str) -> None:
        """`alive` returns whether the guest runs, so that waiting for a dead one ends."""
        self._connection = connection
        self._alive = alive
        self._name = name
        self._buffer = b""

    def wait_ready(self, timeout: float) -> None:
        """Waits for a freshly booted guest's shell."""
        deadline = time.monotonic() + timeout
        while READY not in self._line(deadline):
            pass

    def execute(self, command: str, timeout: float | None, stderr: str | None = None) -> tuple[int, str]:
        """Runs a command in bash with `set -euo pipefail`; its exit status and standard output.

        Its standard error is kept in the guest's file `stderr`, or STDERR.
        A command that is not done after `timeout` seconds is ended in the guest and gives 124.
        Raises MachineError when the guest died or does not answer.
        """
        script = shlex.quote(f"set -euo pipefail; {command}")
        limit = f"timeout -k 10 {timeout:g} " if timeout is not None else ""
        line = (
            f"{limit}bash -c {script} </dev/null 2>{stderr or STDERR} | (base64 -w 0; echo); "
            "echo ${PIPESTATUS[0]}\n"
        )
        self._send(line.encode())
        deadline = time.monotonic() + (timeout if timeout is not None else PACE.limit(900)) + PACE.limit(GRACE)
        encoded, status = self._line(deadline), self._line(deadline)
        try:
            return int(status), base64.b64decode(encoded).decode(errors="replace")
        except ValueError:
            # The command wrote to the console.
            raise MachineError(f"{self._name}: `{command}` has garbled its answer: {encoded!r}") from None

    def write_file(self, path: str, data: bytes) -> None:
        """Writes a file in the guest."""
        encoded = base64.b64encode(data)
        self._send(f"head -c {len(encoded)} | base64 -d > {shlex.quote(path)}; echo $?\n".encode())
        for start in range(0, len(encoded), CHUNK):
            self._send(encoded[start : start + CHUNK])
        status = self._line(time.monotonic() + PACE.limit(300))
        if status != b"0":
            raise MachineError(f"{self._name}: writing {path} failed with {status!r}")

    def send_line(self, command: str) -> None:
        """Sends a command without waiting for its answer."""
        self._send(command.encode() + b"\n")

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def _send(self, data: bytes) -> None:
        self._connection.settimeout(PACE.limit(300))
        try:
            self._connection.sendall(data)
        except OSError as error:
            raise MachineError(f"{self._name}: its shell is gone: {error}") from error

    def _line(self, deadline: float) -> bytes:
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise MachineError(f"{self._name}: its shell does not answer")
            self._connection.settimeout(min(left, 1.0))
            try:
                data = self._connection.recv(CHUNK)
            except TimeoutError:
                if not self._alive():
                    raise MachineError(f"{self._name}: it has stopped running") from None
                continue
            except OSError as error:
                raise MachineError(f"{self._name}: its shell is gone: {error}") from error
            if not data:
                raise MachineError(f"{self._name}: it closed its shell")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.rstrip(b"\r")

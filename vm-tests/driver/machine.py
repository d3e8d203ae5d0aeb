"""A guest as scenarios see it: the methods of the NixOS test driver, with its names and meanings.

Where a method takes a `timeout`, it is in seconds of a machine at rest, multiplied by the guests' pace; waiting ends
with RequestError when it has passed.
"""

from __future__ import annotations

import base64
import shlex
import time
from collections.abc import Callable
from pathlib import Path

from . import qemu
from .errors import MachineError, RequestError
from .hub import Hub
from .pace import PACE, WORK
from .shell import STDERR, Shell

#: Boot timeout in seconds. The first guests boot before the pace was measured.
BOOT = 900.0


def retry(fn: Callable[[bool], bool], timeout_seconds: int = 900) -> None:
    """Calls `fn` until it returns true; its argument tells whether this is the last attempt.

    Raises RequestError after `timeout_seconds`, multiplied by the guests' pace.
    """
    began = time.monotonic()
    pause = 0.1
    while not fn(False):
        if time.monotonic() - began >= PACE.limit(timeout_seconds) and not PACE.slower():
            if fn(True):
                return
            raise RequestError(f"it has not come true in {PACE.limit(timeout_seconds):.0f} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 1.0)


class Machine:
    """One guest. Methods that need it to run start it."""

    def __init__(
        self, hardware: qemu.Hardware, hub: Hub, clock: Callable[[], float], memory: Path | None = None
    ) -> None:
        """`clock`: seconds since 1970 in the guests' world. `memory`: a saved memory to wake up with."""
        self.name = hardware.name
        self._hardware = hardware
        self._hub = hub
        self._clock = clock
        self._memory = memory
        self._emulator: qemu.Emulator | None = None
        self._shell: Shell | None = None
        self._may_reboot = False

    # Power

    def start(self, allow_reboot: bool = False) -> None:
        """Switches it on. `allow_reboot` permits `reboot`."""
        self._may_reboot = self._may_reboot or allow_reboot
        if self._emulator is None:
            self._switch_on(incoming=False)

    def wake(self) -> None:
        """Restores its saved memory; `go_on` lets it run."""
        if self._memory is None:
            raise MachineError(f"{self.name}: there is no saved memory")
        self._switch_on(incoming=True).restore(self._memory)

    def pause(self) -> None:
        """Stops its processor."""
        self._running().command("stop")

    def go_on(self) -> None:
        """Lets its processor run."""
        self._running().command("cont")

    def save(self, memory: Path) -> None:
        """Writes the memory of a paused machine to a file and switches it off."""
        emulator = self._running()
        emulator.save(memory)
        emulator.command("quit")
        emulator.wait(60)
        self._emulator = self._shell = None

    def shutdown(self) -> None:
        """Shuts it down and waits until it is off."""
        self._stop("systemctl poweroff")

    def reboot(self) -> None:
        """Shuts it down and starts it again; it must have been started with `allow_reboot=True`."""
        if not self._may_reboot:
            raise RequestError(f"{self.name}: start it with allow_reboot=True to reboot it")
        self._stop("systemctl reboot")
        self._switch_on(incoming=False)

    def crash(self) -> None:
        """Switches it off as a power cut does."""
        if self._emulator is not None:
            self._emulator.kill()
        self._emulator = self._shell = None

    def block(self) -> None:
        """Pulls its network cable."""
        self._hub.plug(self.name, False)

    def unblock(self) -> None:
        """Plugs its network cable in again."""
        self._hub.plug(self.name, True)

    # Commands

    def execute(
        self, command: str, check_return: bool = True, check_output: bool = True, timeout: int | None = 900
    ) -> tuple[int, str]:
        """Runs a command in bash with `set -euo pipefail`; its exit status and standard output.

        Without `check_output` it does not wait: the status is -2 and the output empty. Without `check_return` the
        status is -1. A job left in the background that keeps the output open is waited for: use `systemd-run`.
        """
        shell = self._connected()
        if not check_output:
            shell.send_line(f"bash -c {shlex.quote(command)} </dev/null >/dev/null 2>&1 &")
            return (-2, "")
        status, output = shell.execute(command, None if timeout is None else PACE.limit(timeout))
        return (status if check_return else -1, output)

    def pace(self) -> float:
        """The seconds that a fixed piece of work takes in this guest now; 0 while it is off."""
        if self._shell is None:
            return 0.0
        began = time.monotonic()
        status, output = self.execute(WORK)
        if status != 0:
            raise MachineError(f"{self.name}: `{WORK}` failed with {status}: {output}{self._stderr()}")
        return time.monotonic() - began

    def succeed(self, *commands: str, timeout: int | None = None) -> str:
        """Runs commands that must exit with 0; their standard output."""
        output = ""
        for command in commands:
            status, text = self.execute(command, timeout=timeout or 900)
            if status != 0:
                raise RequestError(f"{self.name}: `{command}` failed with {status}\n{text}{self._stderr()}")
            output += text
        return output

    def fail(self, *commands: str, timeout: int | None = None) -> str:
        """Runs commands that must not exit with 0; their standard output."""
        output = ""
        for command in commands:
            status, text = self.execute(command, timeout=timeout or 900)
            if status == 0:
                raise RequestError(f"{self.name}: `{command}` succeeded against expectation\n{text}")
            output += text
        return output

    def wait_until_succeeds(self, command: str, timeout: int = 900) -> str:
        """Repeats a command until it exits with 0; its standard output."""
        return self._until(command, lambda status: status == 0, timeout)

    def wait_until_fails(self, command: str, timeout: int = 900) -> str:
        """Repeats a command until it does not exit with 0; its standard output."""
        return self._until(command, lambda status: status != 0, timeout)

    def systemctl(self, q: str, user: str | None = None) -> tuple[int, str]:
        """Runs `systemctl`, of the system or of a user's manager."""
        if user is None:
            return self.execute(f"systemctl {q}")
        command = f"XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user {q}"
        return self.execute(f"runuser -u {shlex.quote(user)} -- bash -c {shlex.quote(command)}")

    # Waiting

    def wait_for_unit(self, unit: str, user: str | None = None, timeout: int = 900) -> None:
        """Waits until a unit is active. Fails at once if it failed, or is inactive without a job to start it."""

        def active(_last: bool) -> bool:
            info = self.get_unit_info(unit, user)
            state = info.get("ActiveState", "")
            if state == "failed":
                log = self.execute(f"journalctl -u {shlex.quote(unit)} --no-pager -n 30")[1]
                raise RequestError(f"{self.name}: unit {unit} has failed\n{log}")
            if state == "inactive" and info.get("Job", "0") in ("", "0"):
                jobs = self.systemctl("list-jobs --full", user)[1]
                if "No jobs" in jobs and self.get_unit_info(unit, user).get("ActiveState") == "inactive":
                    raise RequestError(f"{self.name}: unit {unit} is inactive and nothing starts it")
            return state == "active"

        retry(active, timeout)

    def get_unit_info(self, unit: str, user: str | None = None) -> dict[str, str]:
        """All properties of a unit."""
        status, text = self.systemctl(f"--no-pager show {shlex.quote(unit)}", user)
        if status != 0:
            raise RequestError(f"{self.name}: there is nothing to know about unit {unit}: {status}")
        pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
        return {key: value for key, value in pairs}

    def get_unit_property(self, unit: str, property: str, user: str | None = None) -> str:
        """One property of a unit."""
        status, text = self.systemctl(f"--no-pager show {shlex.quote(unit)} --property={shlex.quote(property)}", user)
        if status != 0 or "=" not in text:
            raise RequestError(f"{self.name}: unit {unit} has no property {property}")
        return text.split("=", 1)[1].rstrip("\n")

    def require_unit_state(self, unit: str, require_state: str = "active") -> None:
        """Fails unless a unit is in this state now."""
        state = self.get_unit_property(unit, "ActiveState")
        if state != require_state:
            raise RequestError(f"{self.name}: unit {unit} is {state}, not {require_state}")

    def wait_for_file(self, filename: str, timeout: int = 900) -> None:
        """Waits until a file exists."""
        self.wait_until_succeeds(f"test -e {shlex.quote(filename)}", timeout)

    def wait_for_open_port(self, port: int, addr: str = "localhost", timeout: int = 900) -> None:
        """Waits until a TCP port, as seen from this machine, accepts connections."""
        self.wait_until_succeeds(f"nc -z {shlex.quote(addr)} {port}", timeout)

    def wait_for_closed_port(self, port: int, addr: str = "localhost", timeout: int = 900) -> None:
        """Waits until a TCP port, as seen from this machine, accepts none."""
        self.wait_until_fails(f"nc -z {shlex.quote(addr)} {port}", timeout)

    def wait_for_open_unix_socket(self, addr: str, is_datagram: bool = False, timeout: int = 900) -> None:
        """Waits until a Unix socket accepts connections."""
        kind = "-uU" if is_datagram else "-U"
        self.wait_until_succeeds(f"nc -z {kind} {shlex.quote(addr)}", timeout)

    # Files

    def copy_from_host(self, source: str, target: str) -> None:
        """Copies a file or a directory into the guest."""
        path = Path(source)
        if path.is_dir():
            self.succeed(f"mkdir -p {shlex.quote(target)}")
            for child in sorted(path.iterdir()):
                self.copy_from_host(str(child), f"{target}/{child.name}")
            return
        self.succeed(f"mkdir -p {shlex.quote(str(Path(target).parent))}")
        self._connected().write_file(target, path.read_bytes())
        self.succeed(f"chmod {path.stat().st_mode & 0o7777:o} {shlex.quote(target)}")

    def copy_from_machine(self, source: str, target_dir: str = "") -> None:
        """Copies a file out of the guest, into a directory below the run's own."""
        directory = self._hardware.directory / "copied" / target_dir
        directory.mkdir(parents=True, exist_ok=True)
        data = base64.b64decode(self.succeed(f"base64 -w0 {shlex.quote(source)}"))
        (directory / Path(source).name).write_bytes(data)

    # Inside

    def _switch_on(self, incoming: bool) -> qemu.Emulator:
        emulator = qemu.start(self._hardware, self._clock(), incoming)
        self._emulator = emulator
        self._shell = None
        if incoming:
            # In a restored guest the shell is open already.
            self._shell = Shell(emulator.shell, emulator.alive, self.name)
        return emulator

    def _running(self) -> qemu.Emulator:
        if self._emulator is None:
            raise MachineError(f"{self.name}: it is off")
        return self._emulator

    def _connected(self) -> Shell:
        self.start()
        if self._shell is None:
            emulator = self._running()
            shell = Shell(emulator.shell, emulator.alive, self.name)
            shell.wait_ready(PACE.limit(BOOT))
            self._shell = shell
        return self._shell

    def _stop(self, command: str) -> None:
        self._connected().send_line(command)
        self._running().wait(PACE.limit(300))
        self._emulator = self._shell = None

    def _until(self, command: str, wanted: Callable[[int], bool], timeout: int) -> str:
        output = ""

        def attempt(_last: bool) -> bool:
            nonlocal output
            status, output = self.execute(command, timeout=timeout)
            return wanted(status)

        try:
            retry(attempt, timeout)
        except RequestError as error:
            raise RequestError(f"{self.name}: `{command}`: {error}\n{output}{self._stderr()}") from None
        return output

    def _stderr(self) -> str:
        return self._connected().execute(f"cat {STDERR}", 30, "/dev/null")[1] if self._shell else ""

    def console(self) -> str:
        """The end of what its kernel and its services wrote to the console."""
        path = self._hardware.directory / "console.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

"""One emulator process: its command line, its control channel, saving and restoring its memory."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from .errors import DriverError, MachineError
from .image import Image

CMDLINE = (
    "root=/dev/vda rw console=ttyS0 panic=-1 net.ifnames=0 quiet mitigations=off nokaslr cryptomgr.notests "
    "audit=0 no_timer_check random.trust_cpu=on rcupdate.rcu_expedited=1 systemd.show_status=0 "
    # The emulated HPET counts nanoseconds. The guest measures the rate of the processor's own counter at boot; if it is held up
    # then, its clock runs up to three times too fast until it is switched off.
    "tsc=unstable clocksource=hpet "
    # A busy machine may hold a guest up, which must not count as a lockup.
    "nowatchdog rcupdate.rcu_cpu_stall_suppress=1 systemd.service_watchdogs=0 systemd.default_timeout_start_sec=1800"
)
#: MiB per guest.
MEMORY = 384
#: Part of a snapshot's key: a guest can be restored only with the command line with which it was saved.
MACHINE = ("-M", "pc,usb=off,vmport=off,hpet=on", "-cpu", "qemu64", "-smp", "1", "-m", str(MEMORY))


@dataclass(frozen=True)
class Hardware:
    """The hardware of one guest."""

    name: str
    number: int
    image: Image
    #: A qcow2 overlay of its own.
    disk: Path
    #: A second, read-only disk.
    extra: Path
    #: QEMU's `-netdev` option for the hub's port.
    netdev: str
    #: Parameters for the kernel's command line.
    arguments: str
    #: Sockets, console and logs; short enough for a Unix address.
    directory: Path


@dataclass
class Emulator:
    """A running guest, as seen from outside. Made by `start`."""

    process: subprocess.Popen[bytes]
    control: IO[str]
    shell: socket.socket
    sockets: list[socket.socket] = field(default_factory=list)

    def command(self, name: str, **arguments: Any) -> Any:
        """Runs a command of QEMU's control protocol and returns its result."""
        request = {"execute": name, "arguments": arguments}
        try:
            self.control.write(json.dumps(request) + "\n")
            self.control.flush()
            while line := self.control.readline():
                answer = json.loads(line)
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise DriverError(f"qemu: {name}: {answer['error'].get('desc')}")
        except OSError as error:
            raise MachineError(f"qemu: {name}: {error}") from error
        raise MachineError(f"qemu: {name}: it ended")

    def save(self, path: Path) -> None:
        """Writes the memory of a stopped guest to a file."""
        self._mapped_memory()
        self.command("migrate", uri=f"file:{path}")
        while (state := self.command("query-migrate"))["status"] != "completed":
            if state["status"] in ("failed", "cancelled"):
                raise DriverError(f"saving a guest failed: {state.get('error-desc', state['status'])}")
            time.sleep(0.02)

    def restore(self, path: Path) -> None:
        """Reads the memory of a guest that was started to receive it; it stays stopped until `cont`."""
        self._mapped_memory()
        self.command("migrate-incoming", uri=f"file:{path}")
        while (status := self.command("query-status")["status"]) == "inmigrate":
            time.sleep(0.02)
        if status not in ("paused", "postmigrate", "prelaunch"):
            raise DriverError(f"restoring a guest failed: it is {status}")

    def _mapped_memory(self) -> None:
        # mapped-ram writes each page at a fixed place of the file: smaller, and not streamed.
        capability = {"capability": "mapped-ram", "state": True}
        self.command("migrate-set-capabilities", capabilities=[capability])

    def alive(self) -> bool:
        """Returns whether the process runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Kills it, like a power cut."""
        self.process.kill()
        self.wait(60)

    def wait(self, timeout: float) -> None:
        """Waits for its end and closes the channels. Raises MachineError on a timeout."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise MachineError("the guest does not stop") from None
        self.shell.close()
        self.control.close()
        for connection in self.sockets:
            connection.close()


def start(hardware: Hardware, clock: float, incoming: bool) -> Emulator:
    """Starts the process.

    `clock`: what the guest's hardware clock shows, seconds since 1970. `incoming`: it waits for `restore`.
    """
    with _listening(hardware.directory / "shell") as shells, _listening(hardware.directory / "control") as controls:
        with (hardware.directory / "qemu.log").open("ab") as log:
            process = subprocess.Popen(
                _command(hardware, clock, incoming), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            control = controls.accept()[0]
            shell = shells.accept()[0]
        except TimeoutError:
            process.kill()
            process.wait()
            reason = (hardware.directory / "qemu.log").read_text(errors="replace")[-2000:]
            raise DriverError(f"{hardware.name}: the emulator does not start: {reason}") from None
    emulator = Emulator(process, control.makefile("rw"), shell, [control])
    emulator.control.readline()
    emulator.command("qmp_capabilities")
    return emulator


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(300)
        yield listener


def _command(hardware: Hardware, clock: float, incoming: bool) -> list[str]:
    base = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(clock))
    mac = f"52:54:00:12:01:{hardware.number:02x}"
    options = f"{CMDLINE} systemd.hostname={hardware.name} systemd.machine_id={hardware.number:032x}"
    # A killed driver leaves no guest behind.
    guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
    return [
        *guard,
        *("qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-reboot", *MACHINE),
        *("-accel", "tcg,thread=single,tb-size=256", "-rtc", f"base={base},clock=vm"),
        *("-kernel", str(hardware.image.kernel), "-initrd", str(hardware.image.initrd)),
        *("-append", f"{options} {hardware.arguments}"),
        *("-drive", f"if=virtio,file={hardware.disk},format=qcow2,cache=unsafe,discard=unmap"),
        *("-drive", f"if=virtio,file={hardware.extra},format=raw,readonly=on"),
        *("-device", "virtio-serial-pci", "-chardev", f"socket,id=shell,path={hardware.directory}/shell"),
        *("-device", "virtconsole,chardev=shell", "-device", "virtio-rng-pci"),
        *("-chardev", f"file,id=console,path={hardware.directory}/console.log,append=on"),
        *("-serial", "chardev:console"),
        *("-chardev", f"socket,id=control,path={hardware.directory}/control"),
        *("-mon", "chardev=control,mode=control"),
        *("-netdev", f"{hardware.netdev},id=net0", "-device", f"virtio-net-pci,netdev=net0,mac={mac},romfile="),
        *(("-S", "-incoming", "defer") if incoming else ()),
    ]


def overlay(base: Path, path: Path, base_format: str) -> None:
    """Makes a qcow2 file over a base that is never written to."""
    path.unlink(missing_ok=True)
    done = subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", base_format, "-b", str(base), str(path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode != 0:
        raise DriverError(f"qemu-img: {done.stderr.strip()}")

"""A topology's machines: set up once, saved with everything running, and woken for each scenario."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import assets, image, qemu
from .errors import DriverError, MachineError, RequestError
from .hub import Hub
from .log import say
from .machine import BOOT, Machine
from .pace import NOMINAL, PACE
from .topology import Topology

#: Reads files that scenarios use, so that they are in the saved memory: reading from an emulated disk takes far longer.
WARM = (
    "for name in ephyr ephyr-netguard bash base64 curl grep nc nft perl pgrep python3 runuser setpriv ss ssh ssh-keygen sleep systemctl "
    "systemd-run journalctl timeout; do cat $(command -v $name || echo /dev/null); done > /dev/null; "
    "python3 -c 'import ctypes, json, mmap, os, pwd, resource, socket, struct, subprocess, tempfile, time'; nft list tables; ssh -V; curl -V > /dev/null"
)
#: Mount point of the extra disk during set-up.
MOUNT = "/run/vm-assets"
#: The first QEMU version with `mapped-ram`.
OLDEST_QEMU = 9


@dataclass(frozen=True)
class Snapshot:
    """Saved machines of one topology."""

    topology: Topology
    image: image.Image
    directory: Path
    #: The time of saving, in seconds since 1970; restored guests continue from it.
    saved_at: float
    #: The seconds that WORK (see `pace`) took in them then, for scenarios that start with the machines off.
    pace: float = NOMINAL

    def memory(self, node: str) -> Path:
        """A machine's memory."""
        return self.directory / f"{node}.ram"

    def disk(self, node: str) -> Path:
        """A machine's disk."""
        return self.directory / f"{node}.qcow2"


@dataclass
class World:
    """The machines while a scenario runs, in a directory of its own."""

    topology: Topology
    machines: dict[str, Machine]
    hub: Hub
    directory: Path


def ensure(topology: Topology, base: image.Image, cache: Path, programs: Path) -> Snapshot:
    """Finds a topology's snapshot in the cache, or sets its machines up and saves them.

    Raises DriverError when something for it is missing or the set-up fails.
    """
    with tempfile.TemporaryDirectory(prefix="evm-") as work:
        tree = Path(work) / "assets"
        assets.collect(topology, programs, tree)
        key = _key(topology, base, tree)
        place = cache / f"topology-{topology.name}-{key}"
        if not (place / "meta.json").exists():
            for old in cache.glob(f"topology-{topology.name}-*"):
                shutil.rmtree(old)
            place.mkdir()
            _set_up(topology, base, place, tree)
        meta = json.loads((place / "meta.json").read_text())
        return Snapshot(topology, base, place, meta["saved_at"], meta.get("pace", NOMINAL))


def _version() -> str:
    """The emulator's version. Raises DriverError if it is too old to save a guest to a file."""
    text = image.run(["qemu-system-x86_64", "--version"], timeout=60)
    match = re.search(r"version (\d+)\.", text)
    if not match or int(match[1]) < OLDEST_QEMU:
        raise DriverError(f"QEMU {OLDEST_QEMU} or newer is needed, on Debian 12 from its backports: {text.splitlines()[0]}")
    return text


def _key(topology: Topology, base: image.Image, tree: Path) -> str:
    digest = hashlib.sha256(repr((_version(), base.key, topology, qemu.MACHINE, qemu.CMDLINE)).encode())
    for path in sorted(tree.rglob("*")):
        if path.is_file():
            mode = path.stat().st_mode & 0o7777
            digest.update(f"{path.relative_to(tree)} {mode:o}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _set_up(topology: Topology, base: image.Image, place: Path, tree: Path) -> None:
    start = time.monotonic()
    image.run(["mkfs.erofs", "-T0", "--all-root", "--quiet", str(place / "assets"), str(tree)], timeout=300)
    for node in topology.nodes:
        qemu.overlay(base.disk, place / f"{node.name}.qcow2", "raw")
    snapshot = Snapshot(topology, base, place, time.time())
    with _world(snapshot, own_disks=False) as world:
        for machine in world.machines.values():
            machine.start()
        PACE.begin(NOMINAL)
        _ready_all(list(world.machines.values()))
        pace = _measured(world)
        for machine in world.machines.values():
            machine.pause()
        saved_at = time.time()
        for machine in world.machines.values():
            machine.save(snapshot.memory(machine.name))
    (place / "meta.json").write_text(json.dumps({"saved_at": saved_at, "pace": pace}))
    say(f"set up {topology.name} ({time.monotonic() - start:.1f} s)")


def _ready_all(machines: list[Machine]) -> None:
    """Sets the machines up in parallel, each through its own shell."""
    pool = ThreadPoolExecutor(len(machines))
    try:
        for done in [pool.submit(_ready, machine) for machine in machines]:
            done.result()
    except BaseException:
        # Interrupted, or one has failed: do not wait for the others.
        for machine in machines:
            machine.crash()
        raise
    finally:
        pool.shutdown()


def _ready(machine: Machine) -> None:
    """Sets one machine up and waits until it is idle."""
    try:
        _provision(machine)
        _settle(machine)
    except (MachineError, RequestError) as error:
        raise DriverError(f"setting up {machine.name}: {error}\n{machine.console()}") from error


def _measured(world: World) -> float:
    """Measures the guests' pace on the machine that does most of the work, and applies it to all limits."""
    roles = {node.name: node.role for node in world.topology.nodes}
    machine = next((one for one in world.machines.values() if roles[one.name] == "appliance"), next(iter(world.machines.values())))
    seconds = machine.pace()
    PACE.begin(seconds, machine.pace)
    say(f"  pace: {seconds:.2f} s for what takes {NOMINAL:g} s at rest; time limits are multiplied by {PACE.factor:.1f}")
    return seconds


def _provision(machine: Machine) -> None:
    script = f"{MOUNT}/nodes/{machine.name}/provision"
    command = f"mkdir -p {MOUNT}; mount -t erofs -o ro /dev/vdb {MOUNT}; bash {script} {MOUNT} 2>&1; umount {MOUNT}"
    status, output = machine.execute(command, timeout=600)
    if status != 0:
        raise DriverError(f"{machine.name}: setting it up failed with {status}:\n{output}\n{machine.console()}")


def _settle(machine: Machine) -> None:
    """Waits until everything has started."""
    machine.wait_for_unit("multi-user.target", timeout=int(BOOT))
    status, failed = machine.execute("systemctl is-system-running --wait >/dev/null; systemctl --failed --plain -q")
    if failed.strip():
        log = machine.execute("journalctl -p warning --no-pager -n 40")[1]
        raise DriverError(f"{machine.name}: after the set-up a unit has failed:\n{failed}\n{log}")
    clock = machine.succeed("cat /sys/devices/system/clocksource/clocksource0/current_clocksource").strip()
    if clock != "hpet":
        raise DriverError(f"{machine.name}: its clock is {clock}, which is wrong where the machine is busy; it should be hpet")
    machine.succeed(f"{WARM}; sync")


@contextmanager
def awake(snapshot: Snapshot, keep: bool) -> Iterator[World]:
    """The machines of a snapshot, restored and running; their disks are deleted at the end unless `keep`."""
    with _world(snapshot, own_disks=True, keep=keep) as world:
        for machine in world.machines.values():
            machine.wake()
        for machine in world.machines.values():
            machine.go_on()
        _measured(world)
        yield world


@contextmanager
def off(snapshot: Snapshot, keep: bool) -> Iterator[World]:
    """The machines of a snapshot, switched off after their set-up."""
    with _world(snapshot, own_disks=True, keep=keep) as world:
        PACE.begin(snapshot.pace)
        yield world


@contextmanager
def _world(snapshot: Snapshot, own_disks: bool, keep: bool = False) -> Iterator[World]:
    directory = Path(tempfile.mkdtemp(prefix="evm-"))
    hub = Hub(directory)
    began = time.monotonic()
    machines: dict[str, Machine] = {}
    try:
        for number, node in enumerate(snapshot.topology.nodes, 1):
            place = directory / node.name
            place.mkdir()
            disk = snapshot.disk(node.name)
            if own_disks:
                disk = place / "disk.qcow2"
                qemu.overlay(snapshot.disk(node.name), disk, "qcow2")
            words = f"ephyr.addr={','.join(node.addresses)}" if node.addresses else ""
            if node.via:
                words += f" ephyr.via={','.join(node.via)}"
            hardware = qemu.Hardware(
                node.name, number, snapshot.image, disk, snapshot.directory / "assets", hub.port(node.name), words, place
            )
            memory = snapshot.memory(node.name) if own_disks else None
            # The guests' time continues from the moment of saving, also after a boot.
            clock = lambda: snapshot.saved_at + time.monotonic() - began  # noqa: E731
            machines[node.name] = Machine(hardware, hub, clock, memory)
        yield World(snapshot.topology, machines, hub, directory)
    finally:
        PACE.work = None
        for machine in machines.values():
            try:
                machine.crash()
            except MachineError as error:
                say(str(error))
        hub.close()
        if keep:
            hub.write_capture(directory / "network.pcap")
            say(f"kept: {directory} (disks, consoles, network.pcap)")
        else:
            shutil.rmtree(directory, ignore_errors=True)

"""The guests' base image: Debian 13 from the machine's own archive, a kernel and a tiny initrd.

Built once and kept in the cache under a hash of everything that goes into it: the package list, the guest
files and this program. Needs root, since the image holds files of several users; no loop device, no mount.
"""

from __future__ import annotations

import glob
import hashlib
import lzma
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import DriverError
from .log import say

SUITE = "trixie"
SIZE = "1600M"
GUEST = Path(__file__).resolve().parent.parent / "guest"
MIRROR_VARIABLE = "EPHYR_VM_MIRROR"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

#: Guest file, its place, its mode.
FILES = (
    ("backdoor.service", "etc/systemd/system/backdoor.service", 0o644),
    ("vm-net.service", "etc/systemd/system/vm-net.service", 0o644),
    ("vm-backdoor", "usr/local/sbin/vm-backdoor", 0o755),
    ("vm-net", "usr/local/sbin/vm-net", 0o755),
    ("modprobe.conf", "etc/modprobe.d/vm.conf", 0o644),
    ("journald.conf", "etc/systemd/journald.conf.d/vm.conf", 0o644),
)


@dataclass(frozen=True)
class Image:
    """A built image: files that guests boot from, never written to."""

    disk: Path
    kernel: Path
    initrd: Path
    #: Hash of its inputs.
    key: str


def ensure(cache: Path, extra_packages: Iterable[str]) -> Image:
    """Finds the image in the cache or builds it.

    Raises DriverError: no archive is known, the build failed, or it is not run as root.
    """
    packages = sorted({*lines(GUEST / "packages"), *extra_packages})
    key = _key(packages)
    place = cache / f"image-{key}"
    if not (place / "complete").exists():
        for old in cache.glob("image-*"):
            shutil.rmtree(old)
        _build(place, packages)
    return Image(place / "base.raw", place / "vmlinux", place / "initrd", key)


def lines(path: Path) -> list[str]:
    """The lines of a list file, without comments and empty ones."""
    stripped = (line.strip() for line in path.read_text().splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def _key(packages: list[str]) -> str:
    digest = hashlib.sha256()
    for path in [*sorted(GUEST.glob("*")), Path(__file__)]:
        # A node's set-up is not part of the image.
        if not path.name.startswith("provision"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update(" ".join(packages).encode())
    return digest.hexdigest()[:16]


def archive(sources: Path = Path("/etc/apt")) -> str:
    """The Debian archive that this machine installs from, or the one in EPHYR_VM_MIRROR.

    Raises DriverError when there is none.
    """
    if chosen := os.environ.get(MIRROR_VARIABLE):
        return chosen
    found: list[str] = []
    for path in sorted(sources.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
            if "deb" in fields.get("Types", "").split() and fields.get("Enabled", "yes") != "no":
                found += fields.get("URIs", "").split()
    for path in [sources / "sources.list", *sorted(sources.glob("sources.list.d/*.list"))]:
        if path.exists():
            found += re.findall(r"^deb\s+(?:\[[^]]*\]\s+)?(\S+)", path.read_text(), re.MULTILINE)
    for uri in found:
        if re.search(r"/debian/?$", uri):
            return uri
    raise DriverError(f"no Debian archive in this machine's apt sources; name one in {MIRROR_VARIABLE}")


def _build(place: Path, packages: list[str]) -> None:
    if os.geteuid() != 0:
        raise DriverError("building the guests' image needs root (its files belong to several users)")
    uri = archive()
    say(f"building the guests' image in {place} (once)")
    root = place / "root"
    root.mkdir(parents=True)
    excluded = (f"path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale", "info"))
    run(
        ["mmdebstrap", "--variant=minbase", "--mode=root", f"--include={','.join(packages)}"]
        + ["--aptopt=Acquire::Languages \"none\"", "--aptopt=APT::Install-Recommends \"false\""]
        + [f"--dpkgopt={option}" for option in excluded]
        + [SUITE, str(root), f"deb [signed-by={KEYRING}] {uri} {SUITE} main"],
        timeout=1800,
    )
    listing = run(["chroot", str(root), "dpkg", "-l"], timeout=300)
    (place / "dpkg-l").write_text(listing)
    say(listing.rstrip())
    _customize(root)
    _kernel(root, place / "vmlinux")
    (place / "initrd").write_bytes(initrd(root))
    for unused in [*root.glob("boot/initrd*"), *root.glob("boot/System.map*")]:
        unused.unlink()
    features = "^has_journal,^metadata_csum,^resize_inode"
    run(
        ["mke2fs", "-q", "-t", "ext4", "-O", features, "-E", "lazy_itable_init=1,nodiscard"]
        + ["-m", "0", "-d", str(root), str(place / "base.raw"), SIZE],
        timeout=600,
    )
    shutil.rmtree(root)
    (place / "complete").touch()


def _customize(root: Path) -> None:
    """Prepares a plain Debian tree for the driver and for a fast boot."""
    (root / "etc/hostname").write_text("vm\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    # Set on the kernel's command line, so that each guest has its own.
    (root / "etc/machine-id").write_text("")
    (root / "etc/fstab").write_text("")
    for name, target, mode in FILES:
        path = root / target
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(GUEST / name, path)
        path.chmod(mode)
    units = root / "etc/systemd/system"
    for unit in ("backdoor.service", "vm-net.service"):
        _link(f"../{unit}", units / "multi-user.target.wants" / unit)
    _link("/usr/lib/systemd/system/multi-user.target", units / "default.target")
    for line in lines(GUEST / "masked"):
        directory, name = line.split()
        _link("/dev/null", root / "etc/systemd" / directory / name)
    for name in lines(GUEST / "udev-masked"):
        if (root / "usr/lib/udev/rules.d" / name).exists():
            _link("/dev/null", root / "etc/udev/rules.d" / name)
    for key in root.glob("etc/ssh/ssh_host_*"):
        key.unlink()
    compressed = glob.glob(f"{root}/usr/lib/modules/**/*.ko.xz", recursive=True)
    if compressed:
        run(["xz", "-d", "-T2", *compressed], timeout=600)
    version = next((root / "usr/lib/modules").iterdir()).name
    run(["chroot", str(root), "depmod", version], timeout=300)


def _link(target: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _kernel(root: Path, out: Path) -> None:
    """Unpacks the kernel from its self-extracting file, so that the emulator boots it faster."""
    [path] = root.glob("boot/vmlinuz-*")
    data = path.read_bytes()
    offset, length = struct.unpack_from("<II", data, 0x248)
    start = (data[0x1F1] + 1) * 512 + offset
    # The last four bytes are the unpacked length.
    payload = data[start : start + length - 4]
    if payload[:4] != b"\x28\xb5\x2f\xfd":
        raise DriverError(f"{path.name} is not compressed with zstd")
    unpacked = subprocess.run(["zstd", "-dqc"], input=payload, stdout=subprocess.PIPE, check=True)
    out.write_bytes(unpacked.stdout)


def initrd(root: Path, busybox: Path = Path("/bin/busybox")) -> bytes:
    """A cpio archive with busybox, the disk's driver and `guest/init`.

    Raises DriverError when busybox needs libraries.
    """
    program = busybox.read_bytes()
    if b"/ld-linux" in program:
        raise DriverError(f"{busybox} is not statically linked; install busybox-static")
    [module] = root.glob("usr/lib/modules/*/kernel/drivers/block/virtio_blk.ko*")
    code = module.read_bytes()
    if module.suffix == ".xz":
        code = lzma.decompress(code)
    entries = [cpio_entry(name, 0o40755) for name in ("dev", "root", "modules", "bin")]
    entries.append(cpio_entry("dev/console", 0o20600, device=(5, 1)))
    entries.append(cpio_entry("bin/busybox", 0o100755, program))
    entries.append(cpio_entry("modules/0.ko", 0o100644, code))
    entries.append(cpio_entry("init", 0o100755, (GUEST / "init").read_bytes()))
    entries.append(cpio_entry("TRAILER!!!", 0))
    return b"".join(entries)


def cpio_entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """One member of a cpio archive in the kernel's format (newc)."""
    path = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
    entry = b"070701" + "".join(f"{field:08X}" for field in fields).encode() + path
    entry += b"\0" * (-len(entry) % 4) + data
    return entry + b"\0" * (-len(entry) % 4)


def run(command: list[str], timeout: float) -> str:
    """Runs a program of this machine and returns what it printed.

    Raises DriverError with the end of its output when it fails.
    """
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        raise DriverError(f"{command[0]} failed with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout

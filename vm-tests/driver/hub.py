"""One Ethernet segment in this process: each frame of a guest reaches all other guests on it.

Each port is a pair of Unix datagram sockets (`-netdev dgram`): no tap, no bridge, no right, and nothing of the
machine's own network. The last frames are kept, for a capture when a scenario fails.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

#: Frames kept for a capture.
KEPT = 20_000
#: Frames queued for one guest that does not receive; further ones are dropped, as on Ethernet.
WAITING = 10_000
#: Seconds until a refused frame is sent again: the kernel does not report when the socket has room.
AGAIN = 0.005
#: Larger than any frame of a guest, offloading included.
LARGEST = 70_000


@dataclass(frozen=True)
class Frame:
    """A frame as it was sent: when (seconds since 1970), by whose port, and its bytes."""

    time: float
    sender: str
    data: bytes


@dataclass
class Port:
    """The connection of one guest."""

    owner: str
    socket: socket.socket
    peer: str
    plugged: bool = True
    #: Queued frames. A socket holds ten datagrams on many systems (`net.unix.max_dgram_qlen`), too few while the
    #: guest gets no processor.
    waiting: deque[bytes] = field(default_factory=lambda: deque(maxlen=WAITING))


class Hub:
    """Passes frames between its ports until it is closed. Usable from several threads."""

    def __init__(self, directory: Path) -> None:
        """Sockets are made in `directory`, which must be short enough for a Unix address."""
        self._directory = directory
        self._ports: list[Port] = []
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self.frames: deque[Frame] = deque(maxlen=KEPT)
        self._closed = False
        self._thread = threading.Thread(target=self._pass_frames, name="hub", daemon=True)
        self._thread.start()

    def port(self, owner: str) -> str:
        """Makes a port and returns what QEMU's `-netdev` needs, all but the id."""
        with self._lock:
            number = len(self._ports)
            here = self._directory / f"hub{number}"
            there = self._directory / f"guest{number}"
            ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            ours.bind(str(here))
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            ours.setblocking(False)
            port = Port(owner, ours, str(there))
            self._ports.append(port)
            self._selector.register(ours, selectors.EVENT_READ, port)
            self._wake.send(b".")
        return f"dgram,local.type=unix,local.path={there},remote.type=unix,remote.path={here}"

    def plug(self, owner: str, plugged: bool) -> None:
        """Plugs the owner's cable in or out; without it all its frames are lost."""
        with self._lock:
            for port in self._ports:
                if port.owner == owner:
                    port.plugged = plugged
                    port.waiting.clear()

    def write_capture(self, path: Path) -> None:
        """Writes the kept frames in pcap format."""
        with path.open("wb") as out:
            out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, LARGEST, 1))
            for frame in list(self.frames):
                seconds, rest = int(frame.time), int(frame.time % 1 * 1e6)
                size = len(frame.data)
                out.write(struct.pack("<IIII", seconds, rest, size, size) + frame.data)

    def close(self) -> None:
        """Stops the hub and closes its sockets."""
        self._closed = True
        self._wake.send(b".")
        self._thread.join(10)
        for port in self._ports:
            port.socket.close()
        self._selector.close()
        self._wake.close()
        self._woken.close()

    def _pass_frames(self) -> None:
        while not self._closed:
            late = any(port.waiting for port in self._ports)
            for key, _ in self._selector.select(AGAIN if late else 1.0):
                port = key.data
                if port is None:
                    self._woken.recv(64)
                    continue
                try:
                    data = port.socket.recv(LARGEST)
                except OSError:
                    # The guest is off; its port stays for its next start.
                    continue
                self._pass(port, data)
            if late:
                with self._lock:
                    for port in self._ports:
                        self._give(port)

    def _pass(self, sender: Port, data: bytes) -> None:
        self.frames.append(Frame(time.time(), sender.owner, data))
        with self._lock:
            if not sender.plugged:
                return
            for port in self._ports:
                if port is not sender and port.plugged:
                    port.waiting.append(data)
                    self._give(port)

    def _give(self, port: Port) -> None:
        """Sends a guest its queued frames, in order, until its socket is full."""
        while port.waiting:
            try:
                port.socket.sendto(port.waiting[0], port.peer)
            except BlockingIOError:
                return
            except OSError:
                # Not up.
                port.waiting.clear()
                return
            port.waiting.popleft()

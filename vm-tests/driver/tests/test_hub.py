"""The hub: which guest receives which frame."""

from __future__ import annotations

import socket
import struct
import tempfile
import unittest
from pathlib import Path

from driver.hub import Hub


class Guest:
    """The other end of a port, as QEMU would be."""

    def __init__(self, netdev: str) -> None:
        options = dict(part.split("=", 1) for part in netdev.split(",")[1:])
        self.hub = options["remote.path"]
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(options["local.path"])
        self.socket.settimeout(20)

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self.hub)


class HubTest(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.hub = Hub(self.directory)
        self.addCleanup(self.hub.close)
        self.one, self.two, self.three = (Guest(self.hub.port(name)) for name in ("one", "two", "three"))
        for guest in (self.one, self.two, self.three):
            self.addCleanup(guest.socket.close)

    def test_a_frame_reaches_all_but_its_sender(self) -> None:
        self.one.send(b"hello")
        self.assertEqual(self.two.socket.recv(100), b"hello")
        self.assertEqual(self.three.socket.recv(100), b"hello")
        # The sender receives the answer first, not its own frame.
        self.two.send(b"answer")
        self.assertEqual(self.one.socket.recv(100), b"answer")

    def test_an_unplugged_guest_neither_sends_nor_receives(self) -> None:
        self.hub.plug("two", False)
        self.two.send(b"from two")
        self.one.send(b"lost on two")
        self.assertEqual(self.three.socket.recv(100), b"lost on two")
        self.hub.plug("two", True)
        self.one.send(b"again")
        self.assertEqual(self.two.socket.recv(100), b"again")
        self.two.send(b"here")
        self.assertEqual(self.one.socket.recv(100), b"here")

    def test_a_guest_that_is_not_up_holds_nobody_up(self) -> None:
        self.hub.port("absent")
        self.one.send(b"x")
        self.assertEqual(self.two.socket.recv(100), b"x")

    def test_a_guest_that_is_slow_loses_nothing_and_holds_nobody_up(self) -> None:
        # Far more than the kernel queues for a socket, mixed with frames of others.
        sent = [b"%d" % number for number in range(500)]
        for number, data in enumerate(sent):
            self.one.send(data)
            self.assertEqual(self.three.socket.recv(100), data)
            if number % 100 == 0:
                self.three.send(b"between")
        got = [self.two.socket.recv(100) for _ in range(len(sent) + 5)]
        self.assertEqual([data for data in got if data != b"between"], sent)

    def test_a_guest_that_went_away_gets_nothing_that_was_for_it_before(self) -> None:
        for _ in range(100):
            self.one.send(b"before")
            self.three.socket.recv(100)
        address = self.two.socket.getsockname()
        self.two.socket.close()
        Path(address).unlink()
        self.one.send(b"away")
        self.three.socket.recv(100)
        two = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(two.close)
        two.bind(address)
        two.settimeout(20)
        self.one.send(b"back")
        self.assertEqual(two.recv(100), b"back")

    def test_the_capture_holds_what_was_sent(self) -> None:
        self.one.send(b"0123456789")
        self.two.socket.recv(100)
        path = self.directory / "capture"
        self.hub.write_capture(path)
        data = path.read_bytes()
        self.assertEqual(struct.unpack_from("<I", data)[0], 0xA1B2C3D4)
        self.assertEqual(struct.unpack_from("<II", data, 32), (10, 10))
        self.assertEqual(data[40:], b"0123456789")
        self.assertEqual(self.hub.frames[0].sender, "one")

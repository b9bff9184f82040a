"""What every asker gets: the one way that its questions leave by, and who is to hear of answers."""

import asyncio
import contextlib
import fcntl
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from nib.families import Family
from nib.monitor.questions import Reply
from nib.plan import Uplink
from nib.targets import Target

Heard = Callable[[Reply], None]
"""Takes every answer, one that is late or comes twice too."""

# RFC 9293: an answer of ours must not wait for two minutes to be over; socket(7), SO_LINGER
RESET_AT_CLOSE = struct.pack("ii", 1, 0)

ANSWER_BYTES = 4096
# So many are taken at once: who floods the router with answers must not hold up the rest.
ANSWERS = 64

# asm-generic/socket.h: the kernel says when a packet came in, in CLOCK_REALTIME
SO_TIMESTAMPNS_NEW = 64
TIMESPEC = struct.Struct("qq")
STAMP_BYTES = socket.CMSG_SPACE(TIMESPEC.size)

# linux/sockios.h, linux/if.h: a name, and here a number in the union behind it
SIOCGIFINDEX = 0x8933
IFREQ = struct.Struct("16si20x")


@dataclass(frozen=True, slots=True)
class Way:
    """One family of an uplink.  `gateway` says the gateway's address, as long as one is known."""

    uplink: Uplink
    family: Family
    gateway: Callable[[], str | None]

    def bind(self, opened: socket.socket) -> None:
        """What is sent leaves by the uplink's device, whatever the routes say; with its mark.

        Raises OSError where there is no such device, PermissionError without CAP_NET_RAW.
        """
        opened.setblocking(False)
        device = self.uplink.device.encode() + b"\0"
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self.uplink.mark)

    def open(self, kind: socket.SocketKind) -> socket.socket:
        """A socket of its family that is bound.  Raises OSError."""
        opened = socket.socket(socket.AF_INET if self.family == 4 else socket.AF_INET6, kind)
        try:
            self.bind(opened)
            if kind == socket.SOCK_STREAM:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        except OSError:
            opened.close()
            raise
        return opened

    def address_of(self, target: Target) -> str | None:
        """Where to ask; None while the gateway is not known."""
        return target.address or self.gateway()


class Kept:
    """A socket on the device that has the uplink's name now, kept from question to question.

    An answer is taken when it comes in, or when somebody asks for what has come: to wake for each
    costs more than all else.  `heard` is told the packet, its source, and when it came in.
    """

    def __init__(
        self,
        way: Way,
        make: Callable[[], socket.socket],
        heard: Callable[[bytes, tuple[object, ...], float], None],
    ) -> None:
        self._way = way
        self._make = make
        self._heard = heard
        self._socket: socket.socket | None = None
        self._index = 0
        self._loop = asyncio.get_running_loop()
        self._at_once = True

    def dial(self) -> socket.socket:
        """The socket.  Raises what `make` raises, and OSError if there is no device."""
        device = self._way.uplink.device
        if self._socket is not None and _index(self._socket, device) != self._index:
            self.close()
        if self._socket is None:
            index, made = socket.if_nametoindex(device), self._make()
            try:
                made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS_NEW, 1)
            except OSError:
                made.close()
                raise
            if self._at_once:
                self._loop.add_reader(made, self._take)
            self._socket, self._index = made, index
        return self._socket

    def listen(self, *, at_once: bool) -> None:
        """From now on answers are taken when they come in, or only by `gather`."""
        if self._socket is not None and at_once != self._at_once:
            if at_once:
                self._loop.add_reader(self._socket, self._take)
            else:
                self._loop.remove_reader(self._socket)
        self._at_once = at_once

    def gather(self) -> None:
        """Take the answers that have come in."""
        for _ in range(ANSWERS):
            if not self._take():
                return

    def close(self) -> None:
        """Forget the socket; the next question opens another."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _take(self) -> bool:
        """Take one: where there are more the loop comes back."""
        if self._socket is None:
            return False
        try:
            packet, stamps, _, source = self._socket.recvmsg(ANSWER_BYTES, STAMP_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            self.close()
            return False
        with contextlib.suppress(IndexError, struct.error):  # too short for what it says it is
            self._heard(packet, source, self._came_s(stamps))
        return True

    def _came_s(self, stamps: list[tuple[int, int, bytes]]) -> float:
        """By the loop's clock.  If the other was set back meanwhile: now; if forward, earlier."""
        ((_, _, stamp),) = stamps
        seconds, nanoseconds = TIMESPEC.unpack(stamp)
        ago_s: float = time.time() - (seconds + nanoseconds / 1e9)
        return self._loop.time() - max(0.0, ago_s)


def _index(opened: socket.socket, device: str) -> int:
    """As if_nametoindex, without a socket of its own for the question."""
    answer = fcntl.ioctl(opened, SIOCGIFINDEX, IFREQ.pack(device.encode(), 0))
    index: int = IFREQ.unpack(answer)[1]
    return index

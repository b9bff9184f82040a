"""What every asker gets: the one way that its questions leave by, and who is to hear of answers."""

import asyncio
import contextlib
import fcntl
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from nib.families import Family
from nib.plan import Uplink
from nib.targets import Target

Heard = Callable[[Target, int, str | None], None]
"""The target, the number of its question, and what is wrong with the answer (None: nothing)."""

# RFC 9293: an answer of ours must not wait for two minutes to be over; socket(7), SO_LINGER
RESET_AT_CLOSE = struct.pack("ii", 1, 0)

ANSWER_BYTES = 4096

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
    """A socket on the device that has the uplink's name now, kept from question to question."""

    def __init__(
        self,
        way: Way,
        make: Callable[[], socket.socket],
        heard: Callable[[bytes, tuple[object, ...]], None],
    ) -> None:
        self._way = way
        self._make = make
        self._heard = heard
        self._socket: socket.socket | None = None
        self._index = 0

    def dial(self) -> socket.socket:
        """The socket.  Raises what `make` raises, and OSError if there is no device."""
        device = self._way.uplink.device
        if self._socket is not None and _index(self._socket, device) != self._index:
            self.close()
        if self._socket is None:
            index, made = socket.if_nametoindex(device), self._make()
            asyncio.get_running_loop().add_reader(made, self._hear, made)
            self._socket, self._index = made, index
        return self._socket

    def close(self) -> None:
        """Forget the socket; the next question opens another."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _hear(self, opened: socket.socket) -> None:
        """Take one answer: where there are more the loop comes back."""
        try:
            packet, source = opened.recvfrom(ANSWER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        with contextlib.suppress(IndexError):  # too short for what it says it is
            self._heard(packet, source)


def _index(opened: socket.socket, device: str) -> int:
    """As if_nametoindex, without a socket of its own for the question."""
    answer = fcntl.ioctl(opened, SIOCGIFINDEX, IFREQ.pack(device.encode(), 0))
    index: int = IFREQ.unpack(answer)[1]
    return index

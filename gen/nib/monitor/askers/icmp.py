"""ICMP echo requests (RFC 792, RFC 4443), on one socket for all targets."""

import contextlib
import os
import socket
import struct
from collections.abc import Iterable

from nib.families import Family
from nib.monitor.askers.way import ANSWER_BYTES, Heard, Kept, Way
from nib.monitor.filters import (
    EQUAL,
    LOAD_BYTE_AT_X,
    LOAD_HALF_AT_X,
    RETURN,
    SET_X,
    SET_X_TO_IPV4_HEADER,
    attach,
)
from nib.monitor.questions import Reply
from nib.probe import PROBE_PAYLOAD_BYTES
from nib.targets import Target

ECHO_REQUEST: dict[Family, int] = {4: 8, 6: 128}
ECHO = struct.Struct("!BBHHH")  # type, code, checksum, id, sequence

ECHO_REPLY: dict[Family, int] = {4: 0, 6: 129}
ID_OFFSET = 4

# Linux gives this to ports below 1024 only by convention; any 16 bits tell programs apart.
ID_MASK = 0xFFFF


class Icmp:
    """Pings `targets`, and tells of every answer, one that is late or comes twice too.

    `place` tells the askers of one process apart.
    """

    def __init__(self, way: Way, targets: Iterable[Target], place: int, heard: Heard) -> None:
        self._way = way
        self._targets = tuple(targets)
        self._heard = heard
        self._id = (os.getpid() * 64 + place) & ID_MASK
        self._kept = Kept(way, self._make, self._answer)

    def ask(self, target: Target, number: int) -> None:
        """Send the request of this number, 16 bits.  What cannot be sent is not answered either.

        Raises PermissionError without CAP_NET_RAW.
        """
        address = self._way.address_of(target)
        if address is None:
            return
        try:
            opened = self._kept.dial()
        except PermissionError:
            raise
        except OSError:
            # there is no such device, for now
            self.close()
            return
        # One that is refused here or has no route says nothing about the others.
        with contextlib.suppress(OSError):
            opened.sendto(request(self._way.family, self._id, number), (address, 0))

    def listen(self, *, at_once: bool) -> None:
        """Tell of answers when they come in, or only when they are gathered."""
        self._kept.listen(at_once=at_once)

    def gather(self) -> None:
        """Tell of the answers that have come in."""
        self._kept.gather()

    def close(self) -> None:
        """Forget the socket; the next question opens another."""
        self._kept.close()

    def _make(self) -> socket.socket:
        """Raises PermissionError for ever."""
        four = self._way.family == 4
        raw = (
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            if four
            else socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        )
        attach(
            raw,
            # an IPv6 socket gives no header
            (SET_X_TO_IPV4_HEADER if four else SET_X, 0, 0, 0),
            (LOAD_BYTE_AT_X, 0, 0, 0),
            (EQUAL, 0, 3, ECHO_REPLY[self._way.family]),
            (LOAD_HALF_AT_X, 0, 0, ID_OFFSET),
            (EQUAL, 0, 1, self._id),
            (RETURN, 0, 0, ANSWER_BYTES),
            (RETURN, 0, 0, 0),
        )
        self._way.bind(raw)
        return raw

    def _answer(self, packet: bytes, source: tuple[object, ...], came_s: float) -> None:
        # RFC 791: the header's length in 32-bit words; RFC 792: type, code, checksum, id, sequence
        start = (packet[0] & 0x0F) * 4 if self._way.family == 4 else 0
        _, _, _, of, number = ECHO.unpack_from(packet, start)
        if of != self._id:
            # it came before the filter was there
            return
        address = str(source[0]).partition("%")[0]
        for target in self._targets:
            if self._way.address_of(target) == address:
                self._heard(Reply(target, number, came_s))


def request(family: Family, of: int, number: int) -> bytes:
    """An echo request with an id and a number of 16 bits, and a payload of zeros."""
    kind, checksum = ECHO_REQUEST[family], 0
    if family == 4:
        # RFC 1071: ones' complement counts modulo 0xFFFF; the kernel itself does it for ICMPv6
        checksum = 0xFFFF - ((kind << 8) + of + number) % 0xFFFF
    return ECHO.pack(kind, 0, checksum, of, number) + bytes(PROBE_PAYLOAD_BYTES)

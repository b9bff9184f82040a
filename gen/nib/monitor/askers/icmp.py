"""ICMP echo requests (RFC 792, RFC 4443), on one socket for all targets."""

import contextlib
import os
import socket
import struct
import sys
from collections.abc import Iterable

from nib.families import Family
from nib.monitor.askers.way import Heard, Kept, Way
from nib.probe import PROBE_PAYLOAD_BYTES
from nib.targets import Target

ECHO_REQUEST: dict[Family, int] = {4: 8, 6: 128}
ECHO = struct.Struct("!BBHHH")  # type, code, checksum, id, sequence

# linux/icmp.h: a bit set keeps a type from the socket; let only echo replies (type 0) through.
SOL_RAW = 255
ICMP_FILTER = 1
ONLY_ECHO_REPLIES = (0xFFFFFFFE).to_bytes(4, "little")

# linux/icmpv6.h: the same with 256 bits; an echo reply is type 129.
ICMP6_FILTER = 1
ONLY_ECHO_REPLIES6 = b"".join(
    (0xFFFFFFFF & ~(1 << 129 % 32 if word == 129 // 32 else 0)).to_bytes(4, sys.byteorder)
    for word in range(8)
)

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

    def close(self) -> None:
        """Forget the socket; the next question opens another."""
        self._kept.close()

    def _make(self) -> socket.socket:
        """Raises PermissionError for ever."""
        if self._way.family == 4:
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            raw.setsockopt(SOL_RAW, ICMP_FILTER, ONLY_ECHO_REPLIES)
        else:
            raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            raw.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, ONLY_ECHO_REPLIES6)
        self._way.bind(raw)
        return raw

    def _answer(self, packet: bytes, source: tuple[object, ...]) -> None:
        # RFC 791: the header's length in 32-bit words; RFC 792: type, code, checksum, id, sequence
        # (an IPv6 socket gives no header)
        start = (packet[0] & 0x0F) * 4 if self._way.family == 4 else 0
        if int.from_bytes(packet[start + 4 : start + 6], "big") != self._id:
            return
        number = int.from_bytes(packet[start + 6 : start + 8], "big")
        address = str(source[0]).partition("%")[0]
        for target in self._targets:
            if self._way.address_of(target) == address:
                self._heard(target, number, None)


def request(family: Family, of: int, number: int) -> bytes:
    """An echo request with an id and a number of 16 bits, and a payload of zeros."""
    kind, checksum = ECHO_REQUEST[family], 0
    if family == 4:
        # RFC 1071: ones' complement counts modulo 0xFFFF; the kernel itself does it for ICMPv6
        checksum = 0xFFFF - ((kind << 8) + of + number) % 0xFFFF
    return ECHO.pack(kind, 0, checksum, of, number) + bytes(PROBE_PAYLOAD_BYTES)

"""ICMP echo requests, on one socket for all targets.

Sockets and packets are icmplib's.  Its own ping functions are not used: they take the wall clock,
know no device, and wait for one answer at a time.
"""

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterable

from icmplib import (
    ICMPLibError,
    ICMPRequest,
    ICMPv4Socket,
    ICMPv6Socket,
    SocketPermissionError,
)

from nib.monitor.askers.way import Heard, Kept, Way
from nib.probe import PROBE_PAYLOAD_BYTES
from nib.targets import Target

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
        self._icmp: ICMPv4Socket | ICMPv6Socket | None = None

    def ask(self, target: Target, number: int) -> None:
        """Send the request of this number, 16 bits.  What cannot be sent is not answered either.

        Raises PermissionError without CAP_NET_RAW.
        """
        address = self._way.address_of(target)
        if address is None:
            return
        try:
            self._kept.dial()
        except PermissionError:
            raise
        except (OSError, ICMPLibError):
            # there is no such device, for now
            self.close()
            return
        assert self._icmp is not None
        request = ICMPRequest(
            address, id=self._id, sequence=number, payload_size=PROBE_PAYLOAD_BYTES
        )
        # One that is refused here or has no route says nothing about the others.
        with contextlib.suppress(OSError, ICMPLibError):
            self._icmp.send(request)

    def close(self) -> None:
        """Forget the socket; the next question opens another."""
        self._kept.close()

    def _make(self) -> socket.socket:
        """Raises PermissionError for ever."""
        try:
            self._icmp = ICMPv4Socket() if self._way.family == 4 else ICMPv6Socket()
        except SocketPermissionError:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM)) from None
        raw: socket.socket = self._icmp.sock
        if self._way.family == 4:
            raw.setsockopt(SOL_RAW, ICMP_FILTER, ONLY_ECHO_REPLIES)
        else:
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

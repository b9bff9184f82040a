"""ICMP echo requests on one family of one uplink, bound to its device and mark.

Sockets and packets are icmplib's.  Its own ping functions are not used: they take the wall clock,
know no device, and wait for one answer at a time.
"""

import asyncio
import contextlib
import errno
import os
import socket
import sys
from collections.abc import Callable

from icmplib import (
    ICMPLibError,
    ICMPRequest,
    ICMPv4Socket,
    ICMPv6Socket,
    SocketPermissionError,
)

from nib.families import Family
from nib.plan import PROBE_PAYLOAD_BYTES, Uplink

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
    """Asks targets, and calls `heard(target, number)` for every answer, one late or twice too.

    `place` tells the askers of one process apart.
    """

    def __init__(
        self, uplink: Uplink, family: Family, place: int, heard: Callable[[str, int], None]
    ) -> None:
        self._uplink = uplink
        self._family = family
        self._heard = heard
        self._id = (os.getpid() * 64 + place) & ID_MASK
        self._socket: ICMPv4Socket | ICMPv6Socket | None = None
        self._index = 0

    def ask(self, target: str, number: int) -> None:
        """Send the request of this number, 16 bits.  What cannot be sent is not answered either.

        Raises PermissionError without CAP_NET_RAW.
        """
        try:
            dialled = self._dial()
        except PermissionError:
            raise
        except (OSError, ICMPLibError):
            # there is no such device, for now
            self.close()
            return
        request = ICMPRequest(
            target, id=self._id, sequence=number, payload_size=PROBE_PAYLOAD_BYTES
        )
        # One that is refused here or has no route says nothing about the others.
        with contextlib.suppress(OSError, ICMPLibError):
            dialled.send(request)

    def _dial(self) -> ICMPv4Socket | ICMPv6Socket:
        """The socket on the device that has the name now.  Raises PermissionError for ever."""
        index = socket.if_nametoindex(self._uplink.device)
        if index != self._index:
            self.close()
        if self._socket is None:
            try:
                dialled = ICMPv4Socket() if self._family == 4 else ICMPv6Socket()
            except SocketPermissionError:
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM)) from None
            raw = dialled.sock
            if self._family == 4:
                raw.setsockopt(SOL_RAW, ICMP_FILTER, ONLY_ECHO_REPLIES)
            else:
                raw.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, ONLY_ECHO_REPLIES6)
            raw.setsockopt(
                socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._uplink.device.encode() + b"\0"
            )
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self._uplink.mark)
            dialled.blocking = False
            asyncio.get_running_loop().add_reader(raw, self._hear, raw)
            self._socket, self._index = dialled, index
        return self._socket

    def close(self) -> None:
        """Forget the socket; the next question opens another."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.sock)
            self._socket.close()
            self._socket = None

    def _hear(self, raw: socket.socket) -> None:
        """Take every answer that is there."""
        while True:
            try:
                packet, (source, *_) = raw.recvfrom(1024)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            self._answer(packet, source)

    def _answer(self, packet: bytes, source: str) -> None:
        # RFC 791: the header's length in 32-bit words; RFC 792: type, code, checksum, id, sequence
        # (an IPv6 socket gives no header)
        start = (packet[0] & 0x0F) * 4 if self._family == 4 else 0
        identity = int.from_bytes(packet[start + 4 : start + 6], "big")
        if identity == self._id:
            self._heard(source, int.from_bytes(packet[start + 6 : start + 8], "big"))

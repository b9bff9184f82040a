"""Rounds of ICMP echo requests on one family of one uplink, bound to its device and mark.

Every interval a round asks all targets at once.  It is decided as soon as a quorum has answered, or
else when its time-out is over; rounds overlap where the time-out is longer than the interval.
Sockets and packets are icmplib's.  Its own ping functions are not used: they take the wall clock,
know no device, and wait for one answer at a time.
"""

import asyncio
import contextlib
import errno
import itertools
import os
import random
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from icmplib import (
    ICMPLibError,
    ICMPRequest,
    ICMPv4Socket,
    ICMPv6Socket,
    SocketPermissionError,
)

from nib.families import Family
from nib.monitor.events import Event, Judged, Tallied
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
SEQUENCE_MASK = 0xFFFF


@dataclass(slots=True)
class _Round:
    """One asking of all targets, sent at `at_s`; `rtts_ms` of the answers by target."""

    number: int
    at_s: float
    rtts_ms: dict[str, float] = field(default_factory=dict)
    judged: bool = False


class Prober:
    """Asks on one family of an uplink until it is cancelled, and emits Judged and Tallied."""

    def __init__(
        self, uplink: Uplink, family: Family, number: int, emit: Callable[[Event], None]
    ) -> None:
        self._uplink = uplink
        self._family = family
        self._emit = emit
        self._id = (os.getpid() * 64 + number) & ID_MASK
        self._sequence = itertools.count(1)
        self._open_rounds: dict[int, _Round] = {}
        self._targets = uplink.targets_of(family)
        self._quorum = min(uplink.probe.quorum, len(self._targets))
        self._socket: ICMPv4Socket | ICMPv6Socket | None = None
        self._index = 0

    async def run(self) -> None:
        """Ask, round after round.  Raises PermissionError without CAP_NET_RAW."""
        loop = asyncio.get_running_loop()
        probe = self._uplink.probe
        interval_s, timeout_s = probe.interval_ms / 1000, probe.timeout_ms / 1000
        # Uplinks do not all ask at the same instant.
        next_s = loop.time() + random.uniform(0, min(interval_s, 0.5))
        try:
            while True:
                await asyncio.sleep(max(0.0, next_s - loop.time()))
                # after a stall of the machine: go on, do not catch up
                next_s = max(next_s + interval_s, loop.time())
                number = next(self._sequence) & SEQUENCE_MASK
                self._ask(_Round(number, loop.time()))
                loop.call_later(timeout_s, self._close, number)
        finally:
            self._hang_up()

    def _ask(self, round_: _Round) -> None:
        """Send one request to each target.  What cannot be sent was not answered either."""
        self._open_rounds[round_.number] = round_
        try:
            dialled = self._dial()
        except PermissionError:
            raise
        except (OSError, ICMPLibError):
            # there is no such device, for now
            self._hang_up()
            return
        for target in self._targets:
            request = ICMPRequest(
                target, id=self._id, sequence=round_.number, payload_size=PROBE_PAYLOAD_BYTES
            )
            # One that is refused here or has no route says nothing about the others.
            with contextlib.suppress(OSError, ICMPLibError):
                dialled.send(request)

    def _dial(self) -> ICMPv4Socket | ICMPv6Socket:
        """The socket on the device that has the name now.  Raises PermissionError for ever."""
        index = socket.if_nametoindex(self._uplink.device)
        if index != self._index:
            self._hang_up()
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

    def _hang_up(self) -> None:
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
                self._hang_up()
                return
            self._answer(packet, source)

    def _answer(self, packet: bytes, source: str) -> None:
        # RFC 791: the header's length in 32-bit words; RFC 792: type, code, checksum, id, sequence
        # (an IPv6 socket gives no header)
        start = (packet[0] & 0x0F) * 4 if self._family == 4 else 0
        identity = int.from_bytes(packet[start + 4 : start + 6], "big")
        number = int.from_bytes(packet[start + 6 : start + 8], "big")
        round_ = self._open_rounds.get(number)
        if identity != self._id or round_ is None or source in round_.rtts_ms:
            return
        if source not in self._targets:
            return
        now_s = asyncio.get_running_loop().time()
        round_.rtts_ms[source] = (now_s - round_.at_s) * 1000
        if len(round_.rtts_ms) >= self._quorum and not round_.judged:
            self._judge(round_, ok=True)

    def _judge(self, round_: _Round, ok: bool) -> None:
        round_.judged = True
        if ok:
            # An answer now says more than a question asked earlier whose answer is still out.
            for other in self._open_rounds.values():
                other.judged = other.judged or other.at_s < round_.at_s
        now_s = asyncio.get_running_loop().time()
        self._emit(Judged(now_s, self._uplink.name, self._family, ok))

    def _close(self, number: int) -> None:
        """The time-out of a round is over."""
        round_ = self._open_rounds.pop(number)
        if not round_.judged:
            self._judge(round_, ok=False)
        now_s = asyncio.get_running_loop().time()
        asked, rtts = len(self._targets), tuple(round_.rtts_ms.values())
        self._emit(Tallied(now_s, self._uplink.name, self._family, asked, rtts))

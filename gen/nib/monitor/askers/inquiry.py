"""How far a line still reaches: asked beside the loop, after a verdict and for its reason."""

import asyncio
import contextlib
import fcntl
import os
import socket
import sys

from nib.families import Family
from nib.monitor.askers.icmp import request
from nib.monitor.askers.neighbour import Neighbours
from nib.monitor.askers.way import Kept, Way
from nib.monitor.found import Found
from nib.targets import Neighbour

# The flip has the machine to itself first.
AFTER_S = 0.1
# A lost packet is no finding: everything is asked twice.
ASKED = 2
WAIT_S = 0.5

# The gateway is the first to see a packet, so the second is the first hop of the provider's.
FIRST_HOP = 2
FAR = 64

# linux/sockios.h, linux/if.h
SIOCGIFFLAGS = 0x8913
IFF_POINTOPOINT, IFF_NOARP = 0x10, 0x80

# linux/icmp.h, linux/icmpv6.h: a bit that is set keeps a type from the socket.  These pass: echo
# replies, and the complaint of who had to give a packet up (time exceeded).
SOL_RAW, ICMP_FILTER, ICMP6_FILTER = 255, 1, 1
REPLY: dict[Family, int] = {4: 0, 6: 129}
EXCEEDED: dict[Family, int] = {4: 11, 6: 3}
ICMP_BYTES, IPV6_BYTES = 8, 40


async def inquire(way: Way) -> Found:
    """Ask the gateway, who is behind it, and the targets' addresses; takes about a second.

    Raises PermissionError without CAP_NET_RAW.
    """
    await asyncio.sleep(AFTER_S)
    gateway = way.gateway()
    answered: list[bool] = []
    neighbours = Neighbours(way, lambda *_: answered.append(True))
    hops = _Hops(way)
    targets = way.uplink.targets_of(way.family)
    addresses = sorted({target.address for target in targets if target.address})
    resolves = gateway is not None and _has_hardware_addresses(way.uplink.device)
    try:
        for _ in range(ASKED):
            if resolves:
                neighbours.ask(Neighbour("arp"), 0)
            for address in addresses:
                hops.ask(address, FIRST_HOP)
                hops.ask(address, FAR)
            await asyncio.sleep(WAIT_S)
    finally:
        neighbours.close()
        hops.close()
    return Found(bool(answered) if resolves else None, hops.first, hops.internet)


def _has_hardware_addresses(device: str) -> bool:
    """Ethernet and its like; PPP and tunnels have no neighbours to ask for."""
    request = device.encode().ljust(40, b"\0")
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_:
        flags = int.from_bytes(fcntl.ioctl(any_, SIOCGIFFLAGS, request)[16:18], sys.byteorder)
        return not flags & (IFF_NOARP | IFF_POINTOPOINT)
    return False


class _Hops:
    """Sends echo requests that may go so far only, and hears who gives them up or answers.

    `first`: who gave up one of FIRST_HOP; `internet`: whether an address answered.
    """

    def __init__(self, way: Way) -> None:
        self.first: str | None = None
        self.internet = False
        self._way = way
        self._id = int.from_bytes(os.urandom(2), "big")
        self._kept = Kept(way, self._make, self._heard)

    def ask(self, address: str, hops: int) -> None:
        """Raises PermissionError without CAP_NET_RAW."""
        try:
            opened = self._kept.dial()
        except PermissionError:
            raise
        except OSError:
            # there is no such device, for now
            return
        if self._way.family == 4:
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
        else:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
        with contextlib.suppress(OSError):
            opened.sendto(request(self._way.family, self._id, hops), (address, 0))

    def close(self) -> None:
        self._kept.close()

    def _make(self) -> socket.socket:
        """Raises PermissionError without CAP_NET_RAW."""
        if self._way.family == 4:
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        else:
            raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        passed = {REPLY[self._way.family], EXCEEDED[self._way.family]}
        words = [0xFFFFFFFF] * (1 if self._way.family == 4 else 8)
        for kind in passed:
            words[kind // 32] &= ~(1 << kind % 32)
        let_in = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
        if self._way.family == 4:
            raw.setsockopt(SOL_RAW, ICMP_FILTER, let_in)
        else:
            raw.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, let_in)
        self._way.bind(raw)
        return raw

    def _heard(self, packet: bytes, source: tuple[object, ...], _: float) -> None:
        # RFC 792, RFC 4443: an echo reply has the number at once, a complaint the packet that it
        # is about; an IPv6 socket gives no header of the outer packet
        family = self._way.family
        start = _header(packet) if family == 4 else 0
        kind = packet[start]
        if kind == EXCEEDED[family]:
            start += ICMP_BYTES
            start += _header(packet[start:]) if family == 4 else IPV6_BYTES
        if packet[start + 4 : start + 6] != self._id.to_bytes(2, "big"):
            return
        hops = int.from_bytes(packet[start + 6 : start + 8], "big")
        if kind == REPLY[family]:
            self.internet = True
        elif hops == FIRST_HOP:
            self.first = str(source[0]).partition("%")[0]


def _header(packet: bytes) -> int:
    """How long an IPv4 header is, in bytes."""
    return (packet[0] & 0x0F) * 4

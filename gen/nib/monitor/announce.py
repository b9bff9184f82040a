"""Router advertisements (RFC 4861) for the networks that providers delegate.

networkd announces what balance.yaml says.  It cannot do so for what several uplinks delegate: on a
lan the last delegation replaces the others (seen with systemd 252 and 257).  Options of several
advertisements of one router add up at a client, so both can speak.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address, IPv6Network

from nib.monitor.events import Announced

log = logging.getLogger("nib-monitor")

ALL_NODES, ALL_ROUTERS = "ff02::1", "ff02::2"
SOLICITATION, ADVERTISEMENT = 133, 134
ICMP6_FILTER = 1
PREFIX_OPTION, DNS_OPTION = 3, 25
ON_LINK, AUTONOMOUS = 0x80, 0x40

# Like networkd's own, in networks of balance.yaml.
ROUTER_LIFETIME_S = 1800
HOP_LIMIT = 64
# Renewed long before they end, and short enough for clients to notice that nobody announces them
# any more.  RFC 4862 lets nobody shorten the rest of a validity below two hours.
PREFERRED_S, VALID_S = 1800, 7200

PERIOD_S = 60.0
# RFC 4861: MAX_INITIAL_RTR_ADVERTISEMENTS, and at least MIN_DELAY_BETWEEN_RAS from one to the next
BURST, BURST_S = 3, 3.0


def advertisement(networks: Iterable[tuple[str, int, int]], dns: Sequence[str] = ()) -> bytes:
    """The message with networks of 64 bits, each with its preferred and valid lifetime in seconds.

    `dns` are name servers (RFC 8106).  The checksum is left to the kernel.
    """
    head = struct.pack("!BBHBBHII", ADVERTISEMENT, 0, 0, HOP_LIMIT, 0, ROUTER_LIFETIME_S, 0, 0)
    if dns:
        head += struct.pack("!BBHI", DNS_OPTION, 1 + 2 * len(dns), 0, ROUTER_LIFETIME_S)
        head += b"".join(IPv6Address(one).packed for one in dns)
    return head + b"".join(
        struct.pack("!BBBBIII", PREFIX_OPTION, 4, 64, ON_LINK | AUTONOMOUS, valid, preferred, 0)
        + IPv6Network(network).network_address.packed
        for network, preferred, valid in networks
    )


class Announcer:
    """Tells the clients of one lan; what is announced no longer is withdrawn."""

    def __init__(self, device: str, dns: Sequence[str]) -> None:
        self._device = device
        self._dns = dns
        self._networks: dict[str, tuple[int, int]] = {}
        self._changed = asyncio.Event()
        self._socket: socket.socket | None = None

    def announce(self, said: Announced) -> None:
        """From now on this."""
        gone = dict.fromkeys(self._networks, (0, 0))
        lifetimes = {True: (PREFERRED_S, VALID_S), False: (0, VALID_S)}
        self._networks = gone | {network: lifetimes[alive] for network, alive in said.networks}
        self._changed.set()

    async def run(self) -> None:
        """Send at every change a few times, then once in a while, and when a client asks."""
        try:
            while True:
                burst = BURST if self._changed.is_set() else 1
                self._changed.clear()
                for _ in range(burst):
                    self._send()
                    await asyncio.sleep(BURST_S)
                    if self._changed.is_set():
                        break
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PERIOD_S):
                        await self._changed.wait()
        finally:
            self._close()

    def _send(self) -> None:
        """A lan that is not there, or has no address yet, is told the next time."""
        if not self._networks:
            return
        said = [(network, *lifetimes) for network, lifetimes in self._networks.items()]
        try:
            index = socket.if_nametoindex(self._device)
            self._opened(index).sendto(advertisement(said, self._dns), (ALL_NODES, 0, 0, index))
        except OSError:
            # perhaps the device was made anew
            self._close()

    def _opened(self, index: int) -> socket.socket:
        if self._socket is None:
            opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            self._socket = opened
            opened.setblocking(False)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._device.encode())
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            wanted = bytearray(b"\xff" * 32)
            wanted[SOLICITATION // 8] &= ~(1 << SOLICITATION % 8)
            # four bytes at a time, each word in the machine's order
            words = struct.pack("=8I", *struct.unpack("<8I", wanted))
            opened.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, words)
            group = socket.inet_pton(socket.AF_INET6, ALL_ROUTERS) + struct.pack("@I", index)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
            asyncio.get_running_loop().add_reader(opened, self._asked, opened)
        return self._socket

    def _asked(self, opened: socket.socket) -> None:
        try:
            opened.recv(1500)
        except BlockingIOError:
            return
        except OSError:
            self._close()
            return
        self._changed.set()

    def _close(self) -> None:
        if self._socket:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

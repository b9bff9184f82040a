"""The gateway's hardware address: ARP (RFC 826), neighbour discovery (RFC 4861).

It is asked on the wire, and the kernel's table is left alone.  An answer carries no number, so it
is one to the last question.
"""

import contextlib
import fcntl
import socket
import sys
from ipaddress import IPv6Address, ip_address

from nib.monitor.askers.way import ANSWER_BYTES, Heard, Kept, Way
from nib.monitor.filters import EQUAL, LOAD_HALF, RETURN, attach
from nib.monitor.questions import Reply
from nib.targets import Target

# linux/if_ether.h, linux/if_arp.h, linux/sockios.h, linux/icmpv6.h
ETH_P_ARP = 0x0806
BROADCAST = b"\xff" * 6
ARP_REQUEST, ARP_REPLY = 1, 2
OPERATION_OFFSET = 6
SIOCGIFHWADDR = 0x8927
ICMP6_FILTER = 1

# Ethernet and IPv4, with addresses of 6 and 4 bytes
ETHERNET_IPV4 = bytes([0, 1, 8, 0, 6, 4])

SOLICITATION, ADVERTISEMENT = 135, 136
SOURCE_LINK_ADDRESS = 1
# RFC 4861, section 7.1: what has come over a router is not believed
HOPS = 255

# Nothing is sent to it.
ANY_PORT = 9


class Neighbours:
    """Asks for the gateway, and tells of every answer."""

    def __init__(self, way: Way, heard: Heard) -> None:
        self._way = way
        self._heard = heard
        self._kept = Kept(way, self._make, self._answer)
        self._last: tuple[Target, int, bytes] | None = None

    def ask(self, target: Target, number: int) -> None:
        """Send the question.  What cannot be sent is not answered either.

        Raises PermissionError without CAP_NET_RAW.
        """
        gateway = self._way.gateway()
        if gateway is None:
            return
        try:
            opened = self._kept.dial()
        except PermissionError:
            raise
        except OSError:
            self.close()
            return
        # what has come by now, to anybody's question, is no answer to this one
        self._kept.gather()
        wanted = ip_address(gateway).packed
        self._last = (target, number, wanted)
        with contextlib.suppress(OSError):
            mac = _hardware_address(opened, self._way.uplink.device)
            if self._way.family == 4:
                own = socket.inet_aton(self._own_address(gateway))
                request = ETHERNET_IPV4 + bytes([0, ARP_REQUEST]) + mac + own + bytes(6) + wanted
                where = (self._way.uplink.device, ETH_P_ARP, 0, 0, BROADCAST)
                opened.sendto(request, where)
            else:
                # the checksum is the kernel's
                head = bytes([SOLICITATION, *bytes(7)]) + wanted
                group = IPv6Address(b"\xff\x02" + bytes(9) + b"\x01\xff" + wanted[-3:])
                opened.sendto(head + bytes([SOURCE_LINK_ADDRESS, 1]) + mac, (str(group), 0))

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
        if self._way.family == 4:
            # no protocol yet: nothing is received before the filter is there
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
            attach(
                opened,
                (LOAD_HALF, 0, 0, OPERATION_OFFSET),
                (EQUAL, 0, 1, ARP_REPLY),
                (RETURN, 0, 0, ANSWER_BYTES),
                (RETURN, 0, 0, 0),
            )
            opened.bind((self._way.uplink.device, ETH_P_ARP))
            return opened
        opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        # a bit that is set keeps a type from the socket
        words = [0xFFFFFFFF] * 8
        words[ADVERTISEMENT // 32] &= ~(1 << ADVERTISEMENT % 32)
        let_in = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
        opened.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, let_in)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOPS)
        self._way.bind(opened)
        return opened

    def _own_address(self, gateway: str) -> str:
        """The address that the kernel would ask from."""
        with self._way.open(socket.SOCK_DGRAM) as nothing_sent:
            nothing_sent.connect((gateway, ANY_PORT))
            own: str = nothing_sent.getsockname()[0]
            return own

    def _answer(self, packet: bytes, _: tuple[object, ...], came_s: float) -> None:
        if self._last is None:
            return
        target, number, wanted = self._last
        if self._way.family == 4:
            answers = packet[14:18] == wanted
        else:
            answers = packet[0] == ADVERTISEMENT and packet[8:24] == wanted
        if answers:
            self._heard(Reply(target, number, came_s))


def _hardware_address(opened: socket.socket, device: str) -> bytes:
    request = device.encode().ljust(40, b"\0")
    return fcntl.ioctl(opened, SIOCGIFHWADDR, request)[18:24]

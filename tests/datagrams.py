"""Packets as bytes, and what those that are seen again say: for tests that inject and watch them.

Each packet carries a number.  It is in the data behind a word of ours; where only a header comes
back, in TCP's sequence number.
"""

import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from nib.oracle.values import Address, Packet

WORD = b"nib?"
TCP, UDP, ICMP, ICMP6, GRE = 6, 17, 1, 58, 47
SYN, RST = 0x02, 0x04

NUMBERS = {
    (word, family): number
    for word, numbers in {
        "tcp": (6, 6),
        "udp": (17, 17),
        "icmp": (1, 58),
        "gre": (47, 47),
        "esp": (50, 50),
    }.items()
    for family, number in zip((4, 6), numbers, strict=True)
}

_UNREACHABLE = {4: 3, 6: 1}
_ECHO = {4: 8, 6: 128}


@dataclass(frozen=True, slots=True)
class Seen:
    """A packet on a wire; the ports are None where the protocol has none."""

    number: int | None
    kind: str  # "itself", "reset", "refused" or "other"
    source: Address
    destination: Address
    sport: int | None
    dport: int | None


def data(number: int) -> bytes:
    """What a packet of that number carries."""
    return WORD + struct.pack("!I", number)


def built(packet: Packet, number: int) -> bytes:
    """A packet of a flow, whole, as it comes from a wire."""
    assert packet.source is not None
    protocol = NUMBERS[packet.protocol, packet.family]
    ends = packet.source.packed + packet.destination.packed
    body = _body(packet, protocol, number)
    if protocol in (TCP, UDP, ICMP6):
        pseudo = ends + struct.pack("!II", len(body), protocol)
        at = {TCP: 16, UDP: 6, ICMP6: 2}[protocol]
        body = body[:at] + _sum(pseudo + body) + body[at + 2 :]
    if packet.family == 6:
        first = 6 << 28 | packet.dscp << 22
        return struct.pack("!IHBB", first, len(body), protocol, 64) + ends + body
    fixed = (0x45, packet.dscp << 2, 20 + len(body), number & 0xFFFF, 0, 64, protocol)
    header = struct.pack("!BBHHHBBH", *fixed, 0) + ends
    return header[:10] + _sum(header) + header[12:] + body


def _body(packet: Packet, protocol: int, number: int) -> bytes:
    ports = struct.pack("!HH", packet.sport or 0, packet.dport or 0)
    inside = data(number)
    match protocol:
        case 6:
            return ports + struct.pack("!IIBBHHH", number, 0, 0x50, SYN, 65535, 0, 0) + inside
        case 17:
            return ports + struct.pack("!HH", 8 + len(inside), 0) + inside
        case 1 | 58:
            echo = struct.pack("!BBHHH", _ECHO[packet.family], 0, 0, number & 0xFFFF, 1) + inside
            return echo[:2] + _sum(echo) + echo[4:] if protocol == ICMP else echo
        case 47:
            return struct.pack("!HH", 0, 0x0800) + inside
        case _:
            return struct.pack("!II", number, 1) + inside


def _sum(text: bytes) -> bytes:
    text += b"\0" * (len(text) % 2)
    total = sum(struct.unpack(f"!{len(text) // 2}H", text))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


def read(packet: bytes) -> Seen:
    """What a whole packet says."""
    if packet[0] >> 4 == 4:
        protocol, at = packet[9], (packet[0] & 15) * 4
        source, destination = ip_address(packet[12:16]), ip_address(packet[16:20])
    else:
        protocol, at = packet[6], 40
        source, destination = ip_address(packet[8:24]), ip_address(packet[24:40])
    body = packet[at:]
    number, kind = _numbered(body), "itself"
    sport = dport = None
    if protocol in (TCP, UDP):
        sport, dport = struct.unpack_from("!HH", body)
    if protocol == TCP and body[13] & RST:
        # the reset acknowledges the number, a SYN and its data
        kind, number = (
            "reset",
            (struct.unpack_from("!I", body, 8)[0] - 1 - len(data(0))) % (1 << 32),
        )
    elif protocol in (ICMP, ICMP6) and body[0] != _ECHO[source.version]:
        kind = "refused" if body[0] == _UNREACHABLE[source.version] else "other"
    return Seen(number, kind, source, destination, sport, dport)


def _numbered(body: bytes) -> int | None:
    """The number in the data of a packet; an error or a redirect may cut it off."""
    _, word, rest = body.partition(WORD)
    return int.from_bytes(rest[:4], "big") if word and len(rest) >= 4 else None


def family_of(address: IPv4Address | IPv6Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6

"""Packets that say whatever they are told to, put on a wire past routing and filters.

Request: {"device", "mac", "src", "dst", "proto": "udp" | "tcp" | "icmp", "sport", "dport",
          "flags", "n"}
"""

import socket
import struct
from typing import Any

from lab.agents.common import family, request, say

NUMBERS = {"tcp": 6, "udp": 17, "icmp": 1}
ICMPV6 = 58
TCP_FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16}


def checksum(data: bytes) -> int:
    """The internet checksum."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def packet(asked: dict[str, Any]) -> bytes:
    """One IP packet."""
    af = family(asked["dst"])
    six = af == socket.AF_INET6
    source, destination = (socket.inet_pton(af, asked[end]) for end in ("src", "dst"))
    number = ICMPV6 if six and asked["proto"] == "icmp" else NUMBERS[asked["proto"]]
    ports = struct.pack(">HH", asked["sport"], asked["dport"])
    match asked["proto"]:
        case "udp":
            before, after = ports + struct.pack(">H", 9), b"?"
        case "tcp":
            flags = sum(TCP_FLAGS[flag] for flag in asked["flags"])
            before = ports + struct.pack(">IIBBH", 1, 0, 5 << 4, flags, 65535)
            after = b"\0\0"
        case _:
            before, after = bytes([128 if six else 8, 0]), struct.pack(">HH", 1, 1)
    length = len(before) + 2 + len(after)
    pseudo = source + destination + struct.pack(">HH", number, length)
    if asked["proto"] == "icmp" and not six:
        pseudo = b""
    body = before + struct.pack(">H", checksum(pseudo + before + b"\0\0" + after)) + after
    if six:
        return struct.pack(">IHBB", 6 << 28, length, number, 64) + source + destination + body
    header = struct.pack(">BBHHHBB", 0x45, 0, 20 + length, 1, 0, 64, number)
    addresses = source + destination
    return header + struct.pack(">H", checksum(header + b"\0\0" + addresses)) + addresses + body


def main() -> None:
    """Send it."""
    asked = request()
    kind = 0x86DD if ":" in asked["dst"] else 0x0800
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, kind) as wire:
        mac = bytes.fromhex(asked["mac"].replace(":", ""))
        for _ in range(asked["n"]):
            wire.sendto(packet(asked), (asked["device"], kind, 0, 0, mac))
    say("sent")


if __name__ == "__main__":
    main()

"""A DHCPv6 server that delegates one prefix to whoever asks (RFC 8415), and routes it to him.

Request: {"device": name, "prefix": "2001:db8:1:100::/56", "preferred": seconds, "valid": seconds}
"""

import asyncio
import ipaddress
import socket
import struct
import subprocess
from typing import Any

from lab.agents.common import end_of_input, request, say

SERVERS = "ff02::1:2"
PORT = 547
SOLICIT, ADVERTISE, REQUEST, RENEW, REBIND, REPLY, RELEASE = 1, 2, 3, 5, 6, 7, 8
CLIENT_ID, SERVER_ID, IA_NA, STATUS, IA_PD, IA_PREFIX = 1, 2, 3, 13, 25, 26
NO_ADDRESS = 2
DUID = b"\0\3\0\1\2\0\0\0\0\1"


def options(data: bytes) -> list[tuple[int, bytes]]:
    """Codes and contents, in their order."""
    found = []
    while len(data) >= 4:
        code, length = struct.unpack_from("!HH", data)
        found.append((code, data[4 : 4 + length]))
        data = data[4 + length :]
    return found


def option(code: int, content: bytes) -> bytes:
    return struct.pack("!HH", code, len(content)) + content


def answer(asked: dict[str, Any], message: bytes) -> bytes | None:
    """What to say to a client's message; None: nothing."""
    kinds = {SOLICIT: ADVERTISE, REQUEST: REPLY, RENEW: REPLY, REBIND: REPLY, RELEASE: REPLY}
    kind = kinds.get(message[0])
    if kind is None:
        return None
    preferred, valid = asked["preferred"], asked["valid"]
    network = ipaddress.IPv6Network(asked["prefix"])
    said = bytes([kind]) + message[1:4] + option(SERVER_ID, DUID)
    for code, content in options(message[4:]):
        if code == CLIENT_ID:
            said += option(CLIENT_ID, content)
        elif code == IA_NA:
            said += option(IA_NA, content[:12] + option(STATUS, struct.pack("!H", NO_ADDRESS)))
        elif code == IA_PD:
            prefix = struct.pack("!IIB", preferred, valid, network.prefixlen)
            prefix = option(IA_PREFIX, prefix + network.network_address.packed)
            times = struct.pack("!II", preferred // 2, preferred * 4 // 5)
            said += option(IA_PD, content[:4] + times + prefix)
    return said


async def main() -> None:
    asked = request()
    device = asked["device"]
    opened = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    opened.bind(("::", PORT))
    group = socket.inet_pton(socket.AF_INET6, SERVERS)
    group += struct.pack("@I", socket.if_nametoindex(device))
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)

    def heard() -> None:
        message, client = opened.recvfrom(4096)
        said = answer(asked, message)
        say("heard", message[0], client[0])
        if said is None:
            return
        if said[0] == REPLY:
            via = client[0].partition("%")[0]
            route = ["ip", "route", "replace", asked["prefix"], "via", via, "dev", device]
            subprocess.run(route, check=True)
        opened.sendto(said, client)

    asyncio.get_running_loop().add_reader(opened, heard)
    say("ready")
    await end_of_input()


if __name__ == "__main__":
    asyncio.run(main())

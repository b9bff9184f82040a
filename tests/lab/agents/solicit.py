"""What routers announce to a client that asks: their name servers, a line each (RFC 8106).

Request: {"device", "within": seconds}
"""

import socket
import struct
import time

from lab.agents.common import request, say

ALL_ROUTERS = "ff02::2"
SOLICITATION, ADVERTISEMENT = 133, 134
HEAD_BYTES, DNS_OPTION = 16, 25


def servers(message: bytes) -> list[str]:
    """Those of one advertisement."""
    found = []
    at = HEAD_BYTES
    while at < len(message):
        length = 8 * message[at + 1]
        if message[at] == DNS_OPTION:
            packed = [message[i : i + 16] for i in range(at + 8, at + length, 16)]
            found += [socket.inet_ntop(socket.AF_INET6, one) for one in packed]
        at += length
    return found


def main() -> None:
    """Ask, and listen for as long as was said."""
    asked = request()
    index = socket.if_nametoindex(asked["device"])
    end = time.monotonic() + asked["within"]
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as ear:
        ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        ear.sendto(struct.pack(">BBHI", SOLICITATION, 0, 0, 0), (ALL_ROUTERS, 0, 0, index))
        while (left := end - time.monotonic()) > 0:
            ear.settimeout(left)
            try:
                message = ear.recv(1500)
            except TimeoutError:
                break
            if message[0] == ADVERTISEMENT:
                for server in servers(message):
                    say(server)


if __name__ == "__main__":
    main()

"""Answers pings to all addresses of the node, as late as hosts do that are far away.

Request: {"least_ms", "most_ms"}: how late follows from who asks and who is asked.
"""

import heapq
import os
import select
import socket
import struct
import sys
import time
import zlib
from pathlib import Path

from lab.agents.common import request, say

ECHO_REQUEST, ECHO_REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
PACKET_BYTES = 1500
IP_PKTINFO = 8  # linux/in.h
PKTINFO4 = struct.Struct("i4s4s")
PKTINFO6 = struct.Struct("16si")


class Answers:
    """What is to be sent, and when."""

    def __init__(self, least_ms: float, most_ms: float) -> None:
        self._least_ms, self._span_ms = least_ms, most_ms - least_ms
        self._due: list[tuple[float, int, bytes, bytes, bytes]] = []
        self.four = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        self.six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)

    def hear4(self) -> None:
        """A packet with its header (RFC 791, RFC 792)."""
        packet = self.four.recv(PACKET_BYTES)
        body = packet[(packet[0] & 0x0F) * 4 :]
        if body[0] == ECHO_REQUEST[4]:
            self._later(4, packet[12:16], packet[16:20], body)

    def hear6(self) -> None:
        """A packet without its header (RFC 4443)."""
        body, said, _, source = self.six.recvmsg(PACKET_BYTES, socket.CMSG_SPACE(PKTINFO6.size))
        if body[0] == ECHO_REQUEST[6]:
            asked, _ = PKTINFO6.unpack(said[0][2])
            self._later(6, socket.inet_pton(socket.AF_INET6, source[0]), asked, body)

    def _later(self, family: int, asker: bytes, asked: bytes, body: bytes) -> None:
        late_ms = self._least_ms + zlib.crc32(asker + asked) % 1000 / 1000 * self._span_ms
        due_s = time.monotonic() + late_ms / 1000
        heapq.heappush(self._due, (due_s, family, asker, asked, body))

    def send(self) -> float | None:
        """Those whose time has come; how long the next one has."""
        while self._due:
            due_s, family, asker, asked, body = self._due[0]
            if (left_s := due_s - time.monotonic()) > 0:
                return left_s
            heapq.heappop(self._due)
            reply = bytes([ECHO_REPLY[family], 0, 0, 0]) + body[4:]
            if family == 4:
                # RFC 1624: only the type has changed
                checksum = int.from_bytes(body[2:4], "big") + (ECHO_REQUEST[4] << 8)
                checksum = (checksum & 0xFFFF) + (checksum >> 16)
                reply = reply[:2] + checksum.to_bytes(2, "big") + reply[4:]
                info = PKTINFO4.pack(0, asked, bytes(4))
                where = (socket.inet_ntoa(asker), 0)
                self.four.sendmsg([reply], [(socket.IPPROTO_IP, IP_PKTINFO, info)], 0, where)
            else:
                info = PKTINFO6.pack(asked, 0)
                where = (socket.inet_ntop(socket.AF_INET6, asker), 0)
                level = socket.IPPROTO_IPV6
                self.six.sendmsg([reply], [(level, socket.IPV6_PKTINFO, info)], 0, where)
        return None


def main() -> None:
    """Answer until standard input ends."""
    asked = request()
    for name in ("ipv4/icmp_echo_ignore_all", "ipv6/icmp/echo_ignore_all"):
        (Path("/proc/sys/net") / name).write_text("1")
    answers = Answers(asked["least_ms"], asked["most_ms"])
    say("ready")
    left_s = None
    while True:
        readable, _, _ = select.select([answers.four, answers.six, sys.stdin], [], [], left_s)
        if sys.stdin in readable and not os.read(0, 1):
            return
        if answers.four in readable:
            answers.hear4()
        if answers.six in readable:
            answers.hear6()
        left_s = answers.send()


if __name__ == "__main__":
    main()

"""A server that tells every client the address that it sees it from.

TCP: the address in a line, then an echo of whatever comes; or, to "push", a kilobyte every 20 ms,
until the client goes.  UDP: the address, from the address that
was asked.  DNS: an A record for every name, HTTP: 204 for every request, as probe targets do.

Request: {"tcp": [ports], "push": [ports], "udp": [ports], "dns": [ports], "http": [ports]}
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

from lab.agents.common import request, run_until_told, say

IP_PKTINFO = 8
WILDCARDS = ("0.0.0.0", "::")


class Echo(asyncio.Protocol):
    """Says whom it sees, then repeats what it hears."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        peer = transport.get_extra_info("peername")
        if peer:
            transport.write(f"{peer[0]}\n".encode())

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Push(Echo):
    """Says whom it sees, then sends and sends, as much as the client takes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.push()

    def push(self) -> None:
        """What is not taken yet is enough: there is no end to wait for."""
        if not self.transport.is_closing():
            if not self.transport.get_write_buffer_size():
                self.transport.write(b"x" * 1024)
            asyncio.get_running_loop().call_later(0.02, self.push)


class NoContent(asyncio.Protocol):
    """The answer of a captive-portal check, whatever is asked."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if b"\r\n\r\n" in data:
            self.transport.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            self.transport.close()


def whom(data: bytes, address: str) -> bytes:
    """The answer of UDP: the address, and what was asked so that answers can be told apart."""
    return address.encode() + b" " + data


def an_address(query: bytes, _: str) -> bytes:
    """The answer of DNS: 203.0.113.10 for the one question of the query."""
    question = query[12:].partition(b"\0")[0] + query[12 + query[12:].index(b"\0") :][:5]
    header = query[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0)
    answer = struct.pack(">HHHIH4s", 0xC00C, 1, 1, 60, 4, socket.inet_aton("203.0.113.10"))
    return header + question + answer


def serve_udp(address: str, port: int, answer: Callable[[bytes, str], bytes]) -> None:
    """Answer datagrams from the address that they were sent to, which takes the kernel's word."""
    six = ":" in address
    server = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
    server.setblocking(False)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    if six:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        server.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    server.bind((address, port))

    def readable() -> None:
        # Whatever is wrong with one datagram, the next one has its own chance.
        with contextlib.suppress(OSError, ValueError):
            while True:
                data, information, _, peer = server.recvmsg(2048, 256)
                back = []
                for level, kind, value in information:
                    if six and kind == socket.IPV6_PKTINFO:
                        back = [(level, kind, value)]
                    elif kind == IP_PKTINFO:
                        # interface (any), source, destination
                        asked = struct.pack("I4s4s", 0, value[4:8], bytes(4))
                        back = [(level, kind, asked)]
                server.sendmsg([answer(data, peer[0])], back, 0, peer)

    asyncio.get_running_loop().add_reader(server, readable)


async def serve() -> None:
    """Serve all that was asked for, on all addresses."""
    asked = request()
    loop = asyncio.get_running_loop()
    for address in WILDCARDS:
        for protocol, kind in ((Echo, "tcp"), (Push, "push"), (NoContent, "http")):
            for port in asked.get(kind, ()):
                await loop.create_server(protocol, address, port, backlog=4096)
        for answer, ports in ((whom, asked.get("udp", ())), (an_address, asked.get("dns", ()))):
            for port in ports:
                serve_udp(address, port, answer)
    say("ready")
    await asyncio.Event().wait()


if __name__ == "__main__":
    run_until_told(serve())

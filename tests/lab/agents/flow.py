"""One long-lived flow that is paced, and a line for every answer it gets.

Request: {"kind": "tcp" | "listen" | "upload" | "udp" | "ping", "dst", "port", "every", "stall",
          "reconnect", and how to bind}
Lines:   [time, "ok", address]    an answer (of ping: no address; who listens: whatever comes);
                                  of UDP with the number of what was sent behind it
         [time, "end", why]       a TCP connection ended, or the network said no to a datagram
"""

import asyncio
import os
import socket
import struct
import time
from typing import Any

from lab.agents.common import family, name_of, open_socket, request, run_until_told, say

LOAD = b"x" * 100


async def tcp(asked: dict[str, Any]) -> None:
    """Send a load, wait for its echo, pause; open a new connection when one has ended."""
    while True:
        try:
            await one_connection(asked)
        except (OSError, EOFError) as error:
            say("end", name_of(error))
        if not asked["reconnect"]:
            # The record is complete, but it is for the lab to say when to look at it.
            await asyncio.Event().wait()
        await asyncio.sleep(asked["every"])


async def one_connection(asked: dict[str, Any]) -> None:
    """Until it breaks, or until nothing is heard for too long."""
    loop = asyncio.get_running_loop()

    async def hear(length: int) -> bytes:
        heard = b""
        while len(heard) < length:
            more = await loop.sock_recv(stream, 65536)
            if not more:
                raise EOFError
            heard += more
            if not length or heard.endswith(b"\n"):
                break
        return heard

    with open_socket(socket.SOCK_STREAM, asked) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(asked["stall"]):
            await loop.sock_connect(stream, (asked["dst"], asked["port"]))
            seen = (await hear(256)).strip().decode()
        say("ok", seen)
        while asked["kind"] == "listen":
            async with asyncio.timeout(asked["stall"]):
                await hear(1)
            say("ok", seen)
        while asked["kind"] == "upload":
            async with asyncio.timeout(asked["stall"]):
                await loop.sock_sendall(stream, LOAD * 100)
        while True:
            due = time.monotonic() + asked["every"]
            async with asyncio.timeout(asked["stall"]):
                await loop.sock_sendall(stream, LOAD)
                await hear(len(LOAD))
            say("ok", seen)
            await asyncio.sleep(max(0.0, due - time.monotonic()))


async def datagrams(asked: dict[str, Any]) -> None:
    """Send at a pace from one socket, and say when what comes back."""
    loop = asyncio.get_running_loop()
    ping = asked["kind"] == "ping"
    with raw_icmp(asked) if ping else open_socket(socket.SOCK_DGRAM, asked) as link:
        await connected(link, asked)

        async def send() -> None:
            number = 0
            while True:
                due = time.monotonic() + asked["every"]
                number += 1
                try:
                    await loop.sock_sendall(link, echo(number, link) if ping else b"%d" % number)
                except OSError as error:
                    say("end", name_of(error))
                await asyncio.sleep(max(0.0, due - time.monotonic()))

        async def receive() -> None:
            while True:
                try:
                    heard = await loop.sock_recv(link, 2048)
                except OSError as error:
                    say("end", name_of(error))
                    continue
                if not ping:
                    address, number = heard.split()
                    say("ok", address.decode(), int(number))
                elif is_reply(heard, link):
                    say("ok", "")

        await asyncio.gather(send(), receive())


async def connected(link: socket.socket, asked: dict[str, Any]) -> None:
    """Connect as soon as there is a way."""
    port = 0 if link.type == socket.SOCK_RAW else asked["port"]
    while True:
        try:
            # Of datagrams: nothing is sent, so nothing blocks.
            link.connect((asked["dst"], port))
        except OSError as error:
            say("end", name_of(error))
            await asyncio.sleep(asked["every"])
        else:
            return


def raw_icmp(asked: dict[str, Any]) -> socket.socket:
    """A socket for echo requests; bound like the others, but there are no ports to bind."""
    six = family(asked["dst"]) == socket.AF_INET6
    link = socket.socket(
        family(asked["dst"]),
        socket.SOCK_RAW,
        socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP,
    )
    link.setblocking(False)
    if device := asked.get("device"):
        link.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    if source := asked.get("source"):
        link.bind((source, 0))
    return link


def echo(number: int, link: socket.socket) -> bytes:
    """An echo request.  The kernel sums IPv6 itself."""
    kind = 128 if link.family == socket.AF_INET6 else 8
    identity = os.getpid() & 0xFFFF
    packet = struct.pack(">BBHHH", kind, 0, 0, identity, number & 0xFFFF)
    total = sum(struct.unpack(">4H", packet))
    total = (total & 0xFFFF) + (total >> 16)
    return packet[:2] + struct.pack(">H", ~total & 0xFFFF) + packet[4:]


def is_reply(heard: bytes, link: socket.socket) -> bool:
    """Whether this is an answer to one of ours.  IPv4 packets come with their header."""
    six = link.family == socket.AF_INET6
    message = heard if six else heard[(heard[0] & 15) * 4 :]
    kind, _, _, identity = struct.unpack(">BBHH", message[:6])
    return bool(kind == (129 if six else 0) and identity == os.getpid() & 0xFFFF)


if __name__ == "__main__":
    the_request = request()
    run_until_told(
        datagrams(the_request) if the_request["kind"] in ("udp", "ping") else tcp(the_request)
    )

"""Connections of the router's own, old and new, made to see what becomes of them.

The router chooses a way for each as for one of a LAN: by the same maps of nib's table.  Each has
its port before it is connected: else the kernel would choose one way for all that go to one host.
"""

import asyncio
import itertools
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from nib.drill.findings import Attempt

Endpoint = tuple[str, int]
"""An address of either family, and a port."""

Answer = Literal["open", "refused", "silent"]
Try = Callable[[], Awaitable[bool]]
"""Begins one connection; is it answered?"""

PATIENCE_S = 0.9
"""A connection that is not there by then has failed: the kernel asks again only after a second."""

# socket(7), SO_LINGER
RESET_AT_CLOSE = struct.pack("ii", 1, 0)

DNS_PORT = 53
# RFC 1035: a question that wants recursion; the name servers of the root, which every server knows
_HEAD, _QUESTION = bytes.fromhex("01000001000000000000"), bytes.fromhex("0000020001")
_ANSWER_BYTES = 4096


def opened(address: str, kind: socket.SocketKind, device: str | None = None) -> socket.socket:
    """A socket of the address's family, with a port; maybe bound to a device.  Raises OSError."""
    six = ":" in address
    made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
    made.setblocking(False)
    try:
        if device:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
        made.bind(("::" if six else "0.0.0.0", 0))
    except OSError:
        made.close()
        raise
    return made


async def reach(endpoint: Endpoint, device: str | None = None) -> Answer:
    """What a TCP connection is answered with, maybe by one device alone."""
    try:
        with opened(endpoint[0], socket.SOCK_STREAM, device) as connection:
            # ended by a reset, it leaves nothing behind at either end
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.get_running_loop().sock_connect(connection, endpoint)
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "silent"
    return "open"


async def resolve(server: str, device: str | None = None) -> bool:
    """Does a name server answer a question that comes from a new port?"""
    loop, number = asyncio.get_running_loop(), os.urandom(2)
    with suppress(OSError), opened(server, socket.SOCK_DGRAM, device) as channel:
        async with asyncio.timeout(PATIENCE_S):
            await loop.sock_connect(channel, (server, DNS_PORT))
            await loop.sock_sendall(channel, number + _HEAD + _QUESTION)
            return (await loop.sock_recv(channel, _ANSWER_BYTES))[:2] == number
    return False


async def stream(tries: Sequence[Try], every_s: float, record: list[Attempt]) -> None:
    """Try one after the other, until cancelled; what is not over then is not recorded."""
    loop = asyncio.get_running_loop()

    async def once(attempt: Try) -> None:
        began_s = loop.time()
        answered = await attempt()
        record.append(Attempt(began_s, loop.time(), answered))

    async with asyncio.TaskGroup() as group:
        for attempt in itertools.cycle(tries):
            group.create_task(once(attempt))
            await asyncio.sleep(every_s)


# -- connections that are there before the cut -----------------------------------------------------


@dataclass(slots=True)
class Held:
    """A TCP connection that stays open and says nothing; the kernel sees to it every second.

    `ended`: when it ended, and whether by a reset, else by its other end.
    """

    connection: socket.socket
    source: str
    ended: tuple[float, bool] | None = None

    async def keep(self) -> None:
        """Wait for its end."""
        loop = asyncio.get_running_loop()
        was_reset = False
        try:
            while await loop.sock_recv(self.connection, _ANSWER_BYTES):
                pass
        except OSError:
            was_reset = True
        self.ended = loop.time(), was_reset


async def hold(endpoint: Endpoint) -> Held | None:
    """Open such a connection; None if it is not answered."""
    connection = opened(endpoint[0], socket.SOCK_STREAM)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, 1),
        (socket.TCP_KEEPINTVL, 1),
        (socket.TCP_KEEPCNT, 100),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.get_running_loop().sock_connect(connection, endpoint)
    except OSError:
        connection.close()
        return None
    return Held(connection, connection.getsockname()[0])


class Talk:
    """Questions to a name server from one port, one every `every_s`, as a telephone would talk."""

    def __init__(self, server: str) -> None:
        self.attempts: list[Attempt] = []
        self._channel = opened(server, socket.SOCK_DGRAM)
        self._channel.connect((server, DNS_PORT))
        self._asked: dict[int, float] = {}
        self.source: str = self._channel.getsockname()[0]

    async def keep(self, every_s: float) -> None:
        """Ask and listen until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._channel, self._hear)
        try:
            for number in itertools.count(1):
                with suppress(OSError):
                    self._channel.send(number.to_bytes(2, "big") + _HEAD + _QUESTION)
                self._asked[number] = loop.time()
                await asyncio.sleep(every_s)
        finally:
            loop.remove_reader(self._channel)
            now_s = loop.time()
            self.attempts += [
                Attempt(began_s, now_s, answered=False)
                for began_s in self._asked.values()
                if now_s >= began_s + PATIENCE_S
            ]
            self.close()

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    def _hear(self) -> None:
        with suppress(OSError):
            number = int.from_bytes(self._channel.recv(_ANSWER_BYTES)[:2], "big")
            if (began_s := self._asked.pop(number, None)) is not None:
                self.attempts.append(
                    Attempt(began_s, asyncio.get_running_loop().time(), answered=True)
                )

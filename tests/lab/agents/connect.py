"""Fresh connections: a number of them as fast as can be, or one every so often until the end.

Request: {"dst", "port", "proto", "n" or "every", "concurrency", "timeout", and how to bind}
Lines:   [time, start, address] or [time, start, null, why]
"""

import asyncio
import itertools
import socket
import time
from typing import Any

from lab.agents.common import name_of, open_socket, request, run_until_told, say


async def ask(asked: dict[str, Any]) -> str:
    """One connection (or datagram); the address that the server saw."""
    loop = asyncio.get_running_loop()
    where = (asked["dst"], asked["port"])
    if asked["proto"] == "udp":
        with open_socket(socket.SOCK_DGRAM, asked) as datagrams:
            await loop.sock_connect(datagrams, where)
            await loop.sock_sendall(datagrams, b"?")
            return (await loop.sock_recv(datagrams, 256)).split()[0].decode()
    with open_socket(socket.SOCK_STREAM, asked) as stream:
        await loop.sock_connect(stream, where)
        line = b""
        while not line.endswith(b"\n"):
            more = await loop.sock_recv(stream, 256)
            if not more:
                raise EOFError
            line += more
        return line.strip().decode()


async def attempt(asked: dict[str, Any]) -> None:
    """Ask once and say what came of it."""
    start = round(time.monotonic(), 6)
    try:
        async with asyncio.timeout(asked["timeout"]):
            seen = await ask(asked)
    except (OSError, EOFError) as error:
        say(start, None, name_of(error))
    else:
        say(start, seen)


async def burst(asked: dict[str, Any]) -> None:
    """`n` attempts, some of them at the same time."""
    numbers = iter(range(asked["n"]))

    async def work() -> None:
        for _ in numbers:
            await attempt(asked)

    await asyncio.gather(*(work() for _ in range(asked["concurrency"])))


async def stream(asked: dict[str, Any]) -> None:
    """An attempt every so often; a slow one does not hold the next one up."""
    begin = time.monotonic()
    async with asyncio.TaskGroup() as attempts:
        for number in itertools.count(1):
            attempts.create_task(attempt(asked))
            await asyncio.sleep(max(0.0, begin + number * asked["every"] - time.monotonic()))


if __name__ == "__main__":
    the_request = request()
    run_until_told(burst(the_request) if the_request.get("n") else stream(the_request))

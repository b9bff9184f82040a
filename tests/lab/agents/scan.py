"""A port scan: TCP by connecting, UDP by asking.

Request: {"dst", "tcp": [ports], "udp": [ports], "timeout", and how to bind}
Lines:   [time, "tcp" | "udp", port, "open" | "refused" | "timeout" | ...]
"""

import asyncio
import socket
from typing import Any

from lab.agents.common import name_of, open_socket, request, run_until_told, say


async def knock(asked: dict[str, Any], protocol: str, port: int, turn: asyncio.Semaphore) -> None:
    """Try one port."""
    loop = asyncio.get_running_loop()
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    async with turn:
        try:
            with open_socket(kind, asked) as knocking:
                async with asyncio.timeout(asked["timeout"]):
                    await loop.sock_connect(knocking, (asked["dst"], port))
                    if protocol == "udp":
                        await loop.sock_sendall(knocking, b"?")
                        await loop.sock_recv(knocking, 256)
        except OSError as error:
            say(protocol, port, name_of(error))
        else:
            say(protocol, port, "open")


async def scan(asked: dict[str, Any]) -> None:
    """Knock at all of them."""
    turn = asyncio.Semaphore(512)
    await asyncio.gather(
        *(knock(asked, kind, port, turn) for kind in ("tcp", "udp") for port in asked[kind])
    )


if __name__ == "__main__":
    run_until_told(scan(request()))

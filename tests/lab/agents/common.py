"""What the agents share: their request, their lines, sockets as asked for, their end."""

import asyncio
import errno
import json
import os
import resource
import socket
import sys
import time
from collections.abc import Coroutine
from typing import Any

SO_MARK = 36


def request() -> dict[str, Any]:
    """What this agent was asked to do."""
    soft_is_hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft_is_hard, soft_is_hard))
    asked: dict[str, Any] = json.loads(sys.argv[1])
    if uid := asked.get("uid"):
        # Only now: another user may not be able to read this program.
        os.setuid(uid)
    return asked


def say(*words: object) -> None:
    """Write a line: the time, then the words."""
    sys.stdout.write(json.dumps([round(time.monotonic(), 6), *words]) + "\n")
    sys.stdout.flush()


def family(address: str) -> socket.AddressFamily:
    """The family of a literal address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def open_socket(kind: socket.SocketKind, asked: dict[str, Any]) -> socket.socket:
    """A non-blocking socket, bound and marked as the request says."""
    opened = socket.socket(family(asked["dst"]), kind)
    opened.setblocking(False)
    if device := asked.get("device"):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    if mark := asked.get("mark"):
        opened.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
    if tos := asked.get("tos"):
        option = (
            (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
            if ":" in asked["dst"]
            else (socket.IPPROTO_IP, socket.IP_TOS)
        )
        opened.setsockopt(*option, tos)
    if asked.get("source") or asked.get("source_port"):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        anywhere = "::" if ":" in asked["dst"] else "0.0.0.0"
        opened.bind((asked.get("source") or anywhere, asked.get("source_port") or 0))
    return opened


def name_of(error: BaseException) -> str:
    """One word for how a connection failed."""
    match error:
        case TimeoutError():
            return "timeout"
        case ConnectionResetError() | BrokenPipeError():
            return "reset"
        case ConnectionRefusedError():
            return "refused"
        case EOFError():
            return "closed"
        case OSError(errno=int(number)):
            return errno.errorcode.get(number, str(number)).lower()
        case _:
            return type(error).__name__


async def end_of_input() -> None:
    """Wait until standard input ends, which is when the lab wants this agent to end."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def readable() -> None:
        if not os.read(0, 4096) and not ended.done():
            loop.remove_reader(0)
            ended.set_result(None)

    loop.add_reader(0, readable)
    await ended


def run_until_told(work: Coroutine[Any, Any, None]) -> None:
    """Run until the work is done or standard input ends."""

    async def both() -> None:
        tasks = {asyncio.ensure_future(work), asyncio.ensure_future(end_of_input())}
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        for task in done:
            task.result()

    asyncio.run(both())

"""The control socket: whoever may connect asks in lines of JSON, and is told in lines of JSON.

systemd makes the socket (nib-monitor.socket) and so decides who may connect: root and the group.
Nothing here waits for anybody.  Who does not read what he is told is told no more.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from nib.monitor.events import Answer
from nib.status import Status
from nib.stream import (
    Command,
    Ended,
    Item,
    Request,
    Sample,
    Snapshot,
    Told,
    request_from_json,
    to_json,
)

CLIENTS = 32  # at a time
LINE_LIMIT = 4096  # bytes of a request
BACKLOG = 256 * 1024  # bytes that wait for a reader, beside what the kernel keeps for it
WAITING = 500  # samples that wait for a status; so many are no more than half of that
ASK_WITHIN_S = 10.0  # who connects and asks nothing takes another one's place
LINGER_S = 5.0  # for a last line to a reader that is slow


class Control:
    """Answers on a listening socket, and passes on to all who watch.

    `ordered` takes what root orders, and the number that it is to be answered under.
    """

    def __init__(self, ordered: Callable[[int, Command], None]) -> None:
        self._ordered = ordered
        self._numbers = count(1)
        self._askers: dict[int, _Client] = {}
        self._clients: set[_Client] = set()
        self._status: Status | None = None
        self._waiting: list[str] = []

    async def serve(self, listening: socket.socket) -> None:
        """Answer until cancelled."""
        loop = asyncio.get_running_loop()
        # Not create_unix_server: it would remove the file, which is systemd's.
        server = await loop.create_server(lambda: _Client(self), sock=listening)
        try:
            # Not serve_forever: since Python 3.12 its end waits for the clients' own.
            await loop.create_future()
        finally:
            server.close()
            for client in tuple(self._clients):
                client.abort()

    def tell(self, at_s: float, item: Item) -> None:
        """Pass on what happened at `at_s`, CLOCK_MONOTONIC.

        A sample of calm times waits for something else, a status at the latest: to wake every
        reader costs more than all samples.
        """
        if isinstance(item, Snapshot):
            self._status = item.status
        if not any(client.watches for client in self._clients):
            return
        self._waiting.append(_line(at_s, item))
        calm = isinstance(item, Sample) and not item.burst
        if not calm or len(self._waiting) >= WAITING:
            self.flush()

    def flush(self) -> None:
        """Nothing waits any longer."""
        if not self._waiting:
            return
        lines, self._waiting = "".join(self._waiting), []
        for client in self._clients:
            if client.watches:
                client.send(lines)

    def order(self, client: "_Client", command: Command) -> None:
        """Pass an order on; it is answered when it is done."""
        number = next(self._numbers)
        self._askers[number] = client
        self._ordered(number, command)

    def answer(self, answer: Answer) -> None:
        """An order is done: the status after it; or why not."""
        client = self._askers.pop(answer.asker)
        if answer.refusal is None:
            client.send(self.snapshot())
            client.close()
        else:
            client.end(answer.refusal)

    def welcome(self, client: "_Client") -> bool:
        """Is there room for one more?"""
        if len(self._clients) >= CLIENTS:
            return False
        self._clients.add(client)
        return True

    def forget(self, client: "_Client") -> None:
        """It is gone."""
        self._clients.discard(client)

    def snapshot(self) -> str:
        """The line that says how all is; nothing before the first look at the kernel."""
        return _line(self._status.at_s, Snapshot(self._status)) if self._status else ""


class _Client(asyncio.Protocol):
    """One connection: one request, and what it leads to."""

    def __init__(self, control: Control) -> None:
        self.watches = False
        self._asked = False
        self._control = control
        self._heard = bytearray()

    def connection_made(self, transport: Any) -> None:
        loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = transport
        self._transport.set_write_buffer_limits(high=BACKLOG)
        self._impatience = loop.call_later(ASK_WITHIN_S, self.end, "nothing was asked")
        if not self._control.welcome(self):
            self.end(f"there are {CLIENTS} connections already")

    def connection_lost(self, exc: Exception | None) -> None:
        self._control.forget(self)
        self._impatience.cancel()

    def data_received(self, data: bytes) -> None:
        if self._asked:
            return
        self._heard += data
        line, end, _ = self._heard.partition(b"\n")
        if len(line) > LINE_LIMIT:
            self.end(f"a request has at most {LINE_LIMIT} bytes")
        elif end:
            try:
                request = request_from_json(bytes(line))
            except ValueError as problem:
                self.end(str(problem))
            else:
                self._do(request)

    def pause_writing(self) -> None:
        """The backlog is full."""
        self.end("this reader is too slow: it missed what followed")

    def send(self, lines: str) -> None:
        """Pass lines on, or keep them until there is room."""
        if not self._transport.is_closing():
            self._transport.write(lines.encode())

    def abort(self) -> None:
        """Hang up without a word."""
        self._transport.abort()

    def _do(self, request: Request | Command) -> None:
        self._asked = True
        self._impatience.cancel()
        if isinstance(request, Command):
            if self._uid() == 0:
                self._control.order(self, request)
            else:
                self.end("only root may order something: try sudo")
            return
        # what waits for others to read it was before this
        self._control.flush()
        self.send(self._control.snapshot())
        match request.do:
            case "watch":
                self.watches = True
            case "status":
                self.close()

    def _uid(self) -> int:
        """Who connected, as the kernel says."""
        channel = self._transport.get_extra_info("socket")
        size = struct.calcsize("3i")
        _, uid, _ = struct.unpack(
            "3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        )
        assert isinstance(uid, int)
        return uid

    def end(self, reason: str) -> None:
        """Say why, and hang up."""
        self._asked = True
        self.send(_line(asyncio.get_running_loop().time(), Ended(reason)))
        self.close()

    def close(self) -> None:
        """Hang up: at once, or when what waits has been read, or soon."""
        if not self._transport.is_closing():
            self._transport.close()
            asyncio.get_running_loop().call_later(LINGER_S, self.abort)


def _line(at_s: float, item: Item) -> str:
    return to_json(Told(at_s, time.time() - (time.monotonic() - at_s), item))

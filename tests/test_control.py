"""The control socket, with real sockets and readers of every kind."""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from alone import eventually
from nib.monitor import control
from nib.monitor.control import BACKLOG, CLIENTS, LINE_LIMIT, WAITING, Control
from nib.monitor.events import Answer
from nib.monitor.notify import passed_socket
from nib.stream import Command, Notice, Sample, Snapshot
from test_stream import BOTH

Talk = Callable[[Control, Path], Awaitable[None]]


def serving(
    folder: Path, talk: Talk, ordered: Callable[[int, Command], None] = lambda number, order: None
) -> None:
    """Run `talk` beside a control that listens on a socket as systemd makes one."""

    async def run() -> None:
        path = folder / "sock"
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen()
        listening.setblocking(False)
        of = Control(ordered)
        task = asyncio.create_task(of.serve(listening))
        async with asyncio.timeout(30):
            await talk(of, path)
        task.cancel()
        await asyncio.wait([task])
        # whoever is still there has been hung up on
        await asyncio.sleep(0.05)
        # it is systemd's
        assert path.exists()

    asyncio.run(run())


class Client:
    """A program that asks."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, path: Path) -> "Client":
        return cls(*await asyncio.open_unix_connection(path))

    def ask(self, text: str) -> None:
        self._writer.write(text.encode())

    async def line(self) -> dict[str, object]:
        line = await self._reader.readline()
        assert line, "hung up"
        found = json.loads(line)
        assert isinstance(found, dict)
        return found

    async def watching(self, of: Control) -> None:
        """Ask to watch, and read until what is told comes."""
        self.ask('{"do": "watch"}\n')
        of.tell(1.0, Snapshot(BOTH))
        while (await self.line())["kind"] != "status":
            pass

    async def rest(self) -> list[dict[str, object]]:
        """All lines to the end."""
        return [json.loads(line) for line in (await self._reader.read()).splitlines()]

    async def ended(self) -> str:
        """Read to the end, and give the reason."""
        last = (await self.rest())[-1]
        self.close()
        assert last["kind"] == "ended"
        return str(last["reason"])

    def pause(self) -> None:
        """Read no more."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume(self) -> None:
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    def close(self) -> None:
        self._writer.transport.abort()


def test_a_status_is_one_line(tmp_path: Path) -> None:
    async def talk(of: Control, path: Path) -> None:
        of.tell(1.0, Snapshot(BOTH))
        client = await Client.connect(path)
        client.ask('{"do": "status"}\n' * 2)
        line = await client.line()
        assert (line["kind"], line["at_s"]) == ("status", BOTH.at_s)
        assert await client.rest() == []
        client.close()

    serving(tmp_path, talk)


def test_a_stream_begins_with_the_status(tmp_path: Path) -> None:
    async def talk(of: Control, path: Path) -> None:
        of.tell(1.0, Snapshot(BOTH))
        clients = [await Client.connect(path) for _ in range(2)]
        for client in clients:
            client.ask('{"do": "watch"}\n')
            assert (await client.line())["kind"] == "status"
        of.tell(2.0, Notice("hear", True))
        for client in clients:
            assert (await client.line())["text"] == "hear"
            client.close()

    serving(tmp_path, talk)


def test_samples_come_together_and_in_their_order(tmp_path: Path) -> None:
    def sample(number: int) -> Sample:
        return Sample("cable", 4, 1, (float(number),), 0, 1.0, False)

    async def talk(of: Control, path: Path) -> None:
        client = await Client.connect(path)
        await client.watching(of)
        for number in range(3):
            of.tell(2.0, sample(number))
        # who comes now is not told what was before
        late = await Client.connect(path)
        late.ask('{"do": "watch"}\n')
        assert (await late.line())["kind"] == "status"
        assert [(await client.line())["rtts_ms"] for _ in range(3)] == [[0.0], [1.0], [2.0]]
        of.tell(3.0, sample(3))
        of.tell(3.0, Notice("hear", False))
        for reader in (client, late):
            assert (await reader.line())["rtts_ms"] == [3.0]
            assert (await reader.line())["text"] == "hear"
        for number in range(WAITING):
            of.tell(4.0, sample(number))
        # more would be more than a reader has room for
        for number in range(WAITING):
            assert (await client.line())["rtts_ms"] == [float(number)]
        of.tell(4.0, sample(4))
        of.tell(4.5, replace(sample(5), burst=True))
        assert [(await client.line())["rtts_ms"] for _ in range(2)] == [[4.0], [5.0]]
        of.tell(4.7, sample(4))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.line()
        of.tell(5.0, Snapshot(BOTH))
        assert (await client.line())["rtts_ms"] == [4.0]
        client.close()
        late.close()

    serving(tmp_path, talk)


def test_a_request_may_come_in_pieces(tmp_path: Path) -> None:
    async def talk(of: Control, path: Path) -> None:
        of.tell(1.0, Snapshot(BOTH))
        client = await Client.connect(path)
        for piece in ('{"do": "st', 'atus"}', "\n"):
            client.ask(piece)
            await asyncio.sleep(0.01)
        assert (await client.line())["kind"] == "status"
        client.close()

    serving(tmp_path, talk)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("hello\n", "a request is one line of JSON"),
        (
            '{"do": "reboot"}\n',
            'a request is {"do": "status"} or {"do": "watch"}; '
            'an order is {"do": "down", "uplink": NAME}, likewise up and auto',
        ),
        ("x" * (LINE_LIMIT + 1), f"a request has at most {LINE_LIMIT} bytes"),
    ],
    ids=["text", "order", "long"],
)
def test_nonsense_is_answered_and_ended(tmp_path: Path, text: str, reason: str) -> None:
    async def talk(of: Control, path: Path) -> None:
        client = await Client.connect(path)
        client.ask(text)
        assert await client.ended() == reason

    serving(tmp_path, talk)


def test_a_flood_of_requests_is_not_read(tmp_path: Path) -> None:
    async def talk(of: Control, path: Path) -> None:
        client = await Client.connect(path)
        await client.watching(of)
        client.ask('{"do": "watch"}\n' * 1_000_000)
        of.tell(2.0, Notice("hear", False))
        assert (await client.line())["text"] == "hear"
        client.close()

    serving(tmp_path, talk)


def test_who_asks_nothing_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "ASK_WITHIN_S", 1.0)

    async def talk(of: Control, path: Path) -> None:
        silent, watching = await Client.connect(path), await Client.connect(path)
        await watching.watching(of)
        assert await silent.ended() == "nothing was asked"
        of.tell(2.0, Notice("still here", False))
        assert (await watching.line())["text"] == "still here"
        watching.close()

    serving(tmp_path, talk)


def test_there_is_room_for_so_many(tmp_path: Path) -> None:
    async def talk(of: Control, path: Path) -> None:
        clients = [await Client.connect(path) for _ in range(CLIENTS)]
        for client in clients:
            await client.watching(of)
        late = await Client.connect(path)
        assert await late.ended() == f"there are {CLIENTS} connections already"
        clients.pop().close()
        await eventually(lambda: len(of._clients) < CLIENTS)
        again = await Client.connect(path)
        await again.watching(of)
        for client in (*clients, again):
            client.close()

    serving(tmp_path, talk)


FLOOD = [Notice("x" * 1000, False)] * (BACKLOG // 1000 * 4)


def test_a_stuck_reader_delays_nobody(tmp_path: Path) -> None:
    """And what it reads in the end says why there is no more."""

    async def talk(of: Control, path: Path) -> None:
        stuck, prompt = await Client.connect(path), socket.socket(socket.AF_UNIX)
        await stuck.watching(of)
        stuck.pause()
        loop = asyncio.get_running_loop()
        prompt.setblocking(False)
        await loop.sock_connect(prompt, str(path))
        await loop.sock_sendall(prompt, b'{"do": "watch"}\n')
        heard = 0
        for item in FLOOD:
            before = loop.time()
            of.tell(before, item)
            assert loop.time() - before < 1
            heard += len(await loop.sock_recv(prompt, 1 << 20))
        assert heard > 1000 * len(FLOOD)
        prompt.close()
        stuck.resume()
        assert await stuck.ended() == "this reader is too slow: it missed what followed"

    serving(tmp_path, talk)


def test_who_never_reads_again_keeps_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "LINGER_S", 0.1)

    async def talk(of: Control, path: Path) -> None:
        stuck = await Client.connect(path)
        await stuck.watching(of)
        stuck.pause()
        for item in FLOOD:
            of.tell(1.0, item)
        await eventually(lambda: of._clients == set())
        stuck.close()

    serving(tmp_path, talk)


def test_who_hangs_up_is_forgotten(tmp_path: Path) -> None:
    async def talk(of: Control, path: Path) -> None:
        client = await Client.connect(path)
        await client.watching(of)
        client.close()
        for item in FLOOD[:10]:
            of.tell(1.0, item)
            await asyncio.sleep(0.01)
        assert of._clients == set()

    serving(tmp_path, talk)


def test_a_socket_for_another_process_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    assert passed_socket() is None


def test_an_order_is_answered_when_it_is_done(tmp_path: Path) -> None:
    heard: list[tuple[int, Command]] = []

    async def talk(of: Control, path: Path) -> None:
        of.tell(1.0, Snapshot(BOTH))
        done, refused, gone = [await Client.connect(path) for _ in range(3)]
        for number, client in enumerate((done, refused, gone), start=1):
            client.ask('{"do": "down", "uplink": "cable", "for_s": 60}\n')
            while len(heard) < number:
                await asyncio.sleep(0.01)
        assert heard == [(n, Command("down", "cable", 60)) for n in (1, 2, 3)]
        gone.close()
        await asyncio.sleep(0.01)
        for number, refusal in ((1, None), (2, "it is the last"), (3, None)):
            of.answer(Answer(number, refusal))
        assert [line["kind"] for line in await done.rest()] == ["status"]
        assert await refused.ended() == "it is the last"
        done.close()

    serving(tmp_path, talk, lambda number, order: heard.append((number, order)))

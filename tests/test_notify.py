"""What systemd hears, on a real socket."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nib.monitor.notify import notify, watchdog_s


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """A service manager's end of the channel, named in $NOTIFY_SOCKET."""
    named = f"@nib-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(named.replace("@", "\0"))
        channel.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", named)
        yield channel


def test_fields_are_lines_of_one_datagram(manager: socket.socket) -> None:
    notify("READY=1", "STATUS=2 of 2 uplinks up")
    notify("WATCHDOG=1")
    assert manager.recv(1024) == b"READY=1\nSTATUS=2 of 2 uplinks up"
    assert manager.recv(1024) == b"WATCHDOG=1"


def test_nobody_to_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")


def test_a_manager_that_does_not_read_holds_nobody_up(manager: socket.socket) -> None:
    sent = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        other.connect(manager.getsockname())
        try:
            while sent < 100_000:
                other.send(b"x")
                sent += 1
        except BlockingIOError:
            pass
    began_s = time.monotonic()
    notify("WATCHDOG=1")
    assert time.monotonic() - began_s < 1
    heard = [manager.recv(1024) for _ in range(sent)]
    assert b"WATCHDOG=1" not in heard


def test_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert watchdog_s() is None
    monkeypatch.setenv("WATCHDOG_USEC", "15000000")
    assert watchdog_s() == 15.0

"""The exporter: who asks in which way gets what, and nobody keeps it from the others."""

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from nib.exporter import METRICS, Exporter
from nib.metrics import AWAY

Address = tuple[str, int]


@pytest.fixture
def address() -> Iterator[Address]:
    """Where an exporter answers whose monitor is away."""
    listener = socket.create_server(("127.0.0.1", 0))
    with Exporter(listener, 60) as exporter:
        thread = Thread(target=exporter.serve_forever, args=(0.01,))
        thread.start()
        yield listener.getsockname()
        exporter.shutdown()
        thread.join()


def ask(address: Address, method: str, path: str) -> tuple[http.client.HTTPResponse, str]:
    """One request on a connection of its own."""
    client = http.client.HTTPConnection(*address, timeout=5)
    client.request(method, path)
    answer = client.getresponse()
    text = answer.read().decode()
    client.close()
    return answer, text


def test_a_monitor_that_is_away_is_a_metric(address: Address) -> None:
    answer, text = ask(address, "GET", "/metrics?once=more")
    assert (answer.status, answer.headers["Content-Type"]) == (200, METRICS)
    assert text == AWAY
    assert text.endswith("\nnib_monitor_up 0\n")


def test_who_wants_no_body_gets_none(address: Address) -> None:
    answer, text = ask(address, "HEAD", "/metrics")
    assert (answer.status, answer.headers["Content-Length"], text) == (200, str(len(AWAY)), "")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/favicon.ico", 404),
        ("GET", "/../etc/passwd", 404),
        ("POST", "/metrics", 501),
        ("GET", "/" + "x" * 70_000, 414),
    ],
)
def test_there_is_nothing_else(address: Address, method: str, path: str, status: int) -> None:
    assert ask(address, method, path)[0].status == status


def test_nobody_waits_for_a_client_that_says_nothing_or_nonsense(address: Address) -> None:
    mute = [socket.create_connection(address) for _ in range(20)]
    for one in mute[:10]:
        one.sendall(b"\xff\x00 nonsense\r\n")
    assert ask(address, "GET", "/metrics")[1] == AWAY
    for one in mute:
        one.close()
    assert ask(address, "GET", "/metrics")[1] == AWAY


def test_it_is_idle_when_nobody_asks() -> None:
    with Exporter(socket.create_server(("127.0.0.1", 0)), 0.01) as exporter:
        exporter.handle_request()
        assert exporter.idle


def test_without_its_socket_it_says_who_starts_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nib.exporter"],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]},
        cwd=Path("/"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "systemd starts this program" in done.stderr
    assert "Traceback" not in done.stderr

"""nib-notify: what it makes of the event stream, and what it does about it."""

import http.server
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest

import samples
from nib import hooks
from nib.host import Refused
from nib.notifier import daemon, telling
from nib.notifier.core import Event, Memory, Report, RunHooks, leave, step
from nib.status import FamilyStatus, Shown, Status, UplinkStatus
from nib.stream import Change, Item, Notice, Sample, Snapshot, Told

PLAN = samples.plan(samples.TWO + "notify: {mail: noc@example.org}\nhooks: {timeout: 1s}\n")
EPOCH_S = 1_700_000_000.0
SAID = "cable is down in IPv4 since second 9.5: it is down"


def clock(time_s: float) -> str:
    return f"second {time_s - EPOCH_S:g}"


def status(**health: Shown) -> Snapshot:
    def family(shown: Shown) -> FamilyStatus:
        return FamilyStatus(4, shown, 3.0, f"it is {shown}", "192.0.2.9", None, 0.0, 1.5, 0.5)

    return Snapshot(
        Status(
            1, 7.0, tuple(UplinkStatus(n, "wan1", 1, 1, (family(h),)) for n, h in health.items())
        )
    )


def change(uplink: str, after: Shown, since_s: float, before: Shown = "up") -> Change:
    return Change(uplink, 4, before, after, f"it is {after}", since_s)


def play(*items: tuple[float, Item], long_down_s: float = 120.0) -> list[str]:
    """What is done at which second, as text."""
    memory, said = Memory(), []
    for at_s, item in items:
        memory, actions = step(memory, Told(at_s, EPOCH_S + at_s, item), long_down_s)
        for action in actions:
            match action:
                case RunHooks(event):
                    said.append(f"{at_s:g} hooks {event.before}->{event.state} {event.uplink}")
                case Report(events):
                    told = " ".join(f"{event.uplink}={event.state}" for event in events)
                    said.append(f"{at_s:g} report {told}")
    return said


def test_a_start_with_everything_well_is_nothing_to_talk_of() -> None:
    starting = (1.0, status(cable="unknown", dsl="unknown"))
    well = (2.0, change("cable", "up", 2.0, "unknown")), (4.0, status(cable="up", dsl="up"))
    assert play(starting, *well, (60.0, status(cable="up", dsl="up"))) == []


def test_a_start_with_something_wrong_is_told() -> None:
    assert play((10.0, status(cable="down", dsl="up")), (15.0, Notice("x", False))) == [
        "10 hooks unknown->down cable",
        "15 report cable=down",
    ]


def test_changes_of_a_few_seconds_are_one_report() -> None:
    assert play(
        (1.0, status(cable="up", dsl="up")),
        (10.0, change("cable", "down", 10.0)),
        (10.0, status(cable="down", dsl="up")),
        (12.0, change("dsl", "down", 12.0)),
        (14.5, change("cable", "up", 14.5, "down")),
        (15.2, Notice("x", False)),
        (17.0, status(cable="up", dsl="down")),
    ) == [
        "10 hooks up->down cable",
        "12 hooks up->down dsl",
        "14.5 hooks down->up cable",
        "15.2 report cable=down dsl=down cable=up",
    ]


def test_what_is_down_for_long_is_told_once_and_so_is_its_return() -> None:
    assert play(
        (1.0, status(cable="up")),
        (10.0, change("cable", "down", 10.0)),
        (69.0, status(cable="down")),
        (70.0, status(cable="down")),
        (90.0, status(cable="down")),
        (95.0, change("cable", "up", 95.0, "down")),
        (101.0, status(cable="up")),
        long_down_s=60.0,
    ) == [
        "10 hooks up->down cable",
        "69 report cable=down",
        "70 hooks down->long_down cable",
        "90 report cable=long_down",
        "95 hooks long_down->up cable",
        "101 report cable=up",
    ]


def test_what_nobody_heard_is_seen_in_the_next_status() -> None:
    gap = (1.0, status(cable="up", dsl="up")), (50.0, status(cable="down", dsl="up"))
    assert play(*gap, (51.0, status(cable="unknown", dsl="up")), (52.0, status(cable="down"))) == [
        "50 hooks up->down cable"
    ]


def test_a_family_that_is_not_given_is_no_outage() -> None:
    items: tuple[Shown, ...] = ("up", "absent", "up", "down", "absent", "up")
    said = play(*((float(at_s), status(cable=shown)) for at_s, shown in enumerate(items)))
    assert said == ["3 hooks up->down cable"]


def test_who_leaves_reports_what_waits() -> None:
    memory, _ = step(Memory(), Told(1.0, EPOCH_S, status(cable="down")), 120.0)
    memory, reports = leave(memory)
    assert [event.state for report in reports for event in report.events] == ["down"]
    assert leave(memory)[1] == ()


# -- what is said ----------------------------------------------------------------------------------


def down() -> Event:
    """Of cable, after two answered rounds and three lost ones."""
    memory, found = Memory(), None
    answered = Sample("cable", 4, 3, (10.0, 20.0), 1, 0.0)
    lost = Sample("cable", 4, 3, (), 3, 0.0)
    for item in (status(cable="up"), answered, answered, lost, lost, lost):
        memory, _ = step(memory, Told(9.0, EPOCH_S + 9, item), 120.0)
    _, actions = step(memory, Told(10.0, EPOCH_S + 10, change("cable", "down", 9.5)), 120.0)
    found = actions[0]
    assert isinstance(found, RunHooks)
    return found.event


def test_the_sixteen_arguments_of_net_isp_balance() -> None:
    words = " ".join(word or "-" for word in telling.arguments(down(), PLAN))
    target = PLAN.uplink("cable").targets_of(4)[0].address
    counted = "2 0 3 0 0 0 3 15000"
    assert words == (
        f"down cable {target} wan1 noc@example.org {counted} 192.0.2.9 up {int(EPOCH_S + 9.5)}"
    )


def test_json_for_programs() -> None:
    assert json.loads(telling.to_json(down(), clock)) == {
        "version": 1,
        "state": "down",
        "before": "up",
        "uplink": "cable",
        "family": 4,
        "reason": "it is down",
        "since_s": 9.5,
        "since_time_s": EPOCH_S + 9.5,
        "address": "192.0.2.9",
        "text": SAID,
    }
    posted = json.loads(telling.webhook((down(), down()), "router", clock))
    assert posted["text"].splitlines() == [f"router: {SAID}"] * 2
    assert [event["uplink"] for event in posted["events"]] == ["cable", "cable"]


def test_a_hook_has_the_sentence_for_people() -> None:
    assert telling.environment(down(), PLAN, clock)["NIB_TEXT"] == SAID


def test_a_mail() -> None:
    text = telling.mail((down(),), "router", "noc@example.org", clock)
    mail = message_from_bytes(text, policy=default)
    assert mail["To"] == "noc@example.org"
    assert mail["Subject"] == "router: cable is down in IPv4"
    assert mail.get_content() == f"{SAID}\n"
    assert b"\r" not in text


# -- what is done ----------------------------------------------------------------------------------


def hook(etc: Path, name: str, script: str, mode: int = 0o755) -> Path:
    path = etc / "nib/hooks/down.d" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(mode)
    return path


def test_hooks_run_in_order_and_a_bad_one_stops_no_other(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    hook(tmp_path, "30-last", f'echo "$# $1 $2 $NIB_UPLINK $NIB_FAMILY $(cat)" >> {out}')
    hook(tmp_path, "20-hangs", f"echo hangs >> {out}; sleep 60 & sleep 60")
    hook(tmp_path, "10-fails", f"echo fails >> {out}; echo oh no; exit 7")
    hook(tmp_path, "40-none", f"echo never >> {out}", 0o644)
    daemon.run_hooks(tmp_path, PLAN, down())
    lines = out.read_text().splitlines()
    assert lines[:2] == ["fails", "hangs"]
    assert re.fullmatch(r"16 down cable cable 4 \{.*\"reason\":\"it is down\".*\}", lines[2])
    assert len(lines) == 3
    said = capfd.readouterr().err
    assert "10-fails ended with status 7" in said and "  oh no" in said
    assert "20-hangs was not done within 1 s" in said
    assert "40-none is not executable" in said


@pytest.mark.parametrize("folder", [True, False])
def test_what_anybody_may_change_is_not_run(
    tmp_path: Path, folder: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    path = hook(tmp_path, "10-bad", f"touch {tmp_path}/ran", 0o755 if folder else 0o757)
    if folder:
        path.parent.chmod(0o777)
    with pytest.raises(Refused, match="chmod o-w"):
        hooks.programs(path.parent)
    daemon.run_hooks(tmp_path, PLAN, down())
    assert "chmod o-w" in capfd.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_a_mail_is_handed_over_whole(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "mail.sock")
    daemon.send_mail(path, b"lost")
    assert "no mail was sent: " in capfd.readouterr().err
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        daemon.send_mail(path, b"hello\n" * 1000)
        channel, _ = listening.accept()
        with channel, channel.makefile("rb") as heard:
            assert heard.read() == b"hello\n" * 1000


@contextmanager
def server(*answers: int) -> Iterator[tuple[str, list[bytes]]]:
    """A web server that answers with one status after another; its URL, and what it got."""
    got: list[bytes] = []
    left = list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(left.pop(0))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}/secret", got
        listening.shutdown()


def test_a_webhook_is_called_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(daemon, "POST_AGAIN_S", (0.1, 0.1))
    with server(503, 200) as (url, got):
        (tmp_path / "webhook").write_text(url + "\n")
        daemon.post('{"text": "x"}')
    assert got == [b'{"text": "x"}'] * 2
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "its file must hold one URL"),
        ("http://127.0.0.1:1/secret", "refused"),
        ("file:///etc/passwd", "its file must hold one URL"),
    ],
)
def test_a_webhook_that_cannot_be_called(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    content: str,
    said: str,
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(daemon, "POST_AGAIN_S", (0.1,))
    (tmp_path / "webhook").write_text(content)
    daemon.post("{}")
    heard = capfd.readouterr().err
    assert "the webhook was not called: " in heard and said in heard
    assert "secret" not in heard

"""The event stream of a really booted router: who hears what, and who does not."""

import json
import time
from itertools import pairwise
from typing import Any

import pytest

from lab.errors import LabError, eventually
from lab.node import Process
from nib_lab import FAST, HOME, NibLab, Routers

pytestmark = pytest.mark.lab

# A program that asks and never reads.
STUCK = """\
import socket, time
channel = socket.socket(socket.AF_UNIX)
channel.connect("/run/nib.sock")
channel.sendall(b'{"do": "watch"}\\n')
time.sleep(300)
"""


def lines(watch: Process, kind: str) -> list[dict[str, Any]]:
    """The whole lines of a kind that were heard until now."""
    heard = [json.loads(line) for line in watch.out().splitlines(keepends=True) if line[-1] == "\n"]
    return [line for line in heard if line["kind"] == kind]


def changes(watch: Process) -> list[tuple[str, str]]:
    return [(line["uplink"], line["after"]) for line in lines(watch, "change")]


def watching(lab: NibLab, command: str = "nib watch --json") -> Process:
    watch = lab.router.start("sh", "-c", f"exec {command}")
    eventually(lambda: watch.out() != "")
    return watch


def test_a_cut_and_a_return_are_heard(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    programs, people = watching(lab), watching(lab, "nib watch")
    assert lines(programs, "status")[0]["status"]["uplinks"][0]["name"] == "cable"
    lab.isps[0].fail()
    eventually(lambda: changes(programs) == [("cable", "down")])
    lab.isps[0].restore()
    eventually(lambda: changes(programs) == [("cable", "down"), ("cable", "up")])

    flips = [(flip["before"], flip["after"]) for flip in lines(programs, "flip")]
    both = [{"uplink": "cable", "share": 0.75}, {"uplink": "dsl", "share": 0.25}]
    one = [{"uplink": "dsl", "share": 1.0}]
    assert flips == [(both, one), (one, both)]
    assert all(abs(line["time_s"] - time.time()) < 60 for line in lines(programs, "change"))
    assert any(line["lost"] == line["asked"] for line in lines(programs, "sample"))
    assert any(line["lost"] == 0 and line["rtts_ms"] for line in lines(programs, "sample"))
    eventually(lambda: people.out().count("cable is up: it answers") == 1)
    assert "cable is down: the link is fine, but none of" in people.out()
    assert "new flows of IPv4: cable 75%, dsl 25% -> dsl 100%\n" in people.out()


def test_a_watch_outlives_a_restart_and_starts_no_monitor(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    watch = watching(lab)
    lab.router.run("systemctl restart nib-monitor.service")
    eventually(lambda: "nib-monitor went away" in watch.err())
    said = len(watch.out())
    eventually(lambda: len(watch.out()) > said)

    lab.router.run("systemctl stop nib-monitor.service")
    # it tries again every second
    time.sleep(2.5)
    assert "inactive" in lab.router.run("systemctl is-active nib-monitor.service || true")
    with pytest.raises(LabError, match=r"nib-monitor does not listen: .*systemctl start"):
        lab.router.run("nib watch 2>&1 | tr '\\n' ' ' >&2; exit 3")
    said = len(watch.out())
    lab.router.run("systemctl start nib-monitor.service")
    eventually(lambda: len(watch.out()) > said)

    lab.router.run("systemctl kill -s KILL nib-monitor.service")
    said = len(watch.out())
    eventually(lambda: len(watch.out()) > said)


def test_only_root_and_the_group(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    assert lab.router.run("stat -c '%U %G %a' /run/nib.sock") == "root nib 660\n"
    ask = "timeout 2 nib watch --json | head -n 1"
    with pytest.raises(LabError, match="only root and the group nib may ask nib-monitor"):
        lab.router.run(f"setpriv --reuid=nobody --clear-groups sh -c '{ask}' | grep status")
    member = "setpriv --reuid=nobody --regid=nogroup --groups=nib"
    assert '"kind":"status"' in lab.router.run(f"{member} sh -c '{ask}'")
    unit = "systemd-run -q --pipe --wait -p DynamicUser=yes"
    assert '"kind":"status"' in lab.router.run(f"{unit} -p SupplementaryGroups=nib sh -c '{ask}'")


def test_a_stuck_reader_delays_nothing(routers: Routers) -> None:
    lab = routers(HOME + FAST.replace("100ms", "50ms"))
    lab.start()
    for _ in range(20):
        lab.router.start("/opt/nib/bin/python", "-c", STUCK)
    watch = watching(lab)
    lab.isps[0].fail()
    began = time.monotonic()
    eventually(lambda: changes(watch) == [("cable", "down")], 5)
    assert time.monotonic() - began < 3
    samples = lines(watch, "sample")
    gaps = [b["at_s"] - a["at_s"] for a, b in pairwise(samples)]
    assert max(gaps) < 0.5

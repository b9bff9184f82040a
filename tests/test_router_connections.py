"""What becomes of running connections when an uplink dies, and when it comes back."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.errors import eventually
from lab.hosts import INTERNET, INTERNET6
from lab.record import Timeline
from lab.traffic import How, Recording, flow, fresh, server
from nib_lab import DUAL, DUAL_ISPS, FAST, NibLab, Routers

pytestmark = pytest.mark.lab

FAILOVER = "mode: failover\n"
PUSH, SSH, WIREGUARD, SIP = 8082, 22, 51820, 5060
LONG = 60.0

Flows = dict[str, Recording[Timeline]]


@contextmanager
def servers(lab: NibLab) -> Iterator[None]:
    with server(lab.inet, tcp=[SSH], push=[PUSH], udp=[WIREGUARD, SIP]):
        yield


def flows_of(lab: NibLab, to: str) -> Flows:
    """One of each kind that people have, of a client."""
    client = lab.lans[0]
    return {
        "tcp": flow(client, dst=to, stall=LONG, reconnect=True),
        "idle": flow(client, "listen", dst=to, port=SSH, stall=LONG, reconnect=True),
        "download": flow(client, "listen", dst=to, port=PUSH, stall=LONG, reconnect=True),
        "udp": flow(client, "udp", dst=to),
        "wireguard": flow(
            client, "udp", dst=to, port=WIREGUARD, how=How(source_port=WIREGUARD), every=0.1
        ),
        "sip": flow(client, "udp", dst=to, port=SIP, how=How(source_port=SIP), every=0.2),
    }


def worked_again(recording: Recording[Timeline], at: float, within: float = 5) -> float:
    """Seconds from `at` until it is answered by another way."""
    eventually(lambda: again(recording.so_far(), at) is not None, within)
    return round(again(recording.so_far(), at) or 0.0, 3)


def again(record: Timeline, at: float) -> float | None:
    first = record.answers[0][1]
    return next((when - at for when, seen in record.answers if when > at and seen != first), None)


@pytest.mark.parametrize("cut", ["silent", "carrier"])
@pytest.mark.parametrize("family", [4, 6])
def test_after_a_death_all_works_again(routers: Routers, cut: str, family: int) -> None:
    """Also what sends nothing: an idle session, a download."""
    lab = routers(FAILOVER + DUAL + FAST, DUAL_ISPS)
    lab.start()
    lab.until(within=20, family=6, cable="up", dsl="up")
    with servers(lab):
        flows = flows_of(lab, INTERNET if family == 4 else INTERNET6)
        dead = lab.isps[0]
        for recording in flows.values():
            assert lab.isp_of(recording.so_far().seen[0]) is dead
        names = fresh(lab.lans[0], 0.05, "udp", dst=to, timeout=0.3)
        at = time.monotonic()
        (dead.fail if cut == "silent" else dead.unplug)()
        took = {name: worked_again(recording, at) for name, recording in flows.items()}
        took["fresh"] = names.so_far().settled - at
        print(f"IPv{family} {cut}: {took}")
        assert max(took.values()) < 3, took
        said = lab.router.run("journalctl -b -u nib-monitor -o cat --no-pager")
        assert re.search(rf"cable had [23] TCP connections \(reset\).*cable{family}-", said)

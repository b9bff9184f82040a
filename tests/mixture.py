"""What people have running at the same time: sessions, downloads, calls, tunnels, names."""

from collections.abc import Iterator
from contextlib import contextmanager

from lab.errors import eventually
from lab.record import Timeline
from lab.traffic import How, Recording, flow, server
from nib_lab import NibLab

PUSH, SSH, WIREGUARD, SIP, HELD = 8082, 22, 51820, 5060, 7000
LONG = 60.0

Flows = dict[str, Recording[Timeline]]


@contextmanager
def servers(lab: NibLab) -> Iterator[None]:
    """Who answers them, in the internet."""
    with server(lab.inet, tcp=[SSH, HELD], push=[PUSH], udp=[WIREGUARD, SIP, HELD]):
        yield


def flows_of(lab: NibLab, to: str) -> Flows:
    """One of each kind, of a client."""
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


def moved(record: Timeline, at: float) -> float | None:
    """Seconds from `at` until it was answered by another way; None if it was not yet."""
    first = record.answers[0][1]
    return next((when - at for when, seen in record.answers if when > at and seen != first), None)


def until_moved(recording: Recording[Timeline], at: float, within: float = 5) -> float:
    """Wait for that."""
    eventually(lambda: moved(recording.so_far(), at) is not None, within)
    return round(moved(recording.so_far(), at) or 0.0, 3)

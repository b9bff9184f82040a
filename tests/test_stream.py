"""The event stream: its lines, what is told of an event, and what people read of it."""

from dataclasses import replace

import pytest

import samples
from line import TARGETS
from nib import stream
from nib.monitor.events import Judged, Publish, Say, Tallied, Woke
from nib.monitor.telling import tell
from nib.status import FamilyStatus, Status, UplinkStatus
from nib.stream import Change, Ended, Flip, Item, Notice, Sample, Share, Snapshot, Told
from nib.watch import told_line


def status(**uplinks: tuple[str, float]) -> Status:
    """Of uplinks by name: health and share."""

    def family(health: str, share: float) -> FamilyStatus:
        return FamilyStatus(4, health, 5.0, "it is so", None, None, 0.0, 1.5, share)  # type: ignore[arg-type]

    return Status(
        1, 7.0, tuple(UplinkStatus(n, "wan1", 1, 1, (family(*of),)) for n, of in uplinks.items())
    )


BOTH = status(cable=("up", 0.75), dsl=("up", 0.25))
ONE = status(cable=("down", 0.0), dsl=("up", 1.0))

ITEMS: list[Item] = [
    Sample("cable", 4, 3, (1.0, 2.25), 1, 0.5, burst=True),
    Change("cable", 6, "up", "down", "it is so", 5.0),
    Flip(4, (Share("cable", 0.75), Share("dsl", 0.25)), ()),
    Notice("somebody did something", True),
    Snapshot(BOTH),
    Ended("you are too slow"),
]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: type(item).__name__)
def test_a_line_says_what_was_told(item: Item) -> None:
    told = Told(1.5, 1764000000.25, item)
    line = stream.to_json(told)
    assert line.count("\n") == 1 and line.endswith("\n")
    assert stream.from_json(line) == told


def test_every_kind_is_tried() -> None:
    assert {type(item) for item in ITEMS} == set(stream.KINDS.values())


def test_a_line_as_programs_see_it() -> None:
    change = Change("cable", 4, "up", "down", "wan1 has no carrier", 12.25)
    assert stream.to_json(Told(12.5, 1764000000.0, change)) == (
        '{"version":1,"kind":"change","at_s":12.5,"time_s":1764000000.0,'
        '"uplink":"cable","family":4,"before":"up","after":"down",'
        '"reason":"wan1 has no carrier","since_s":12.25,"outage":null}\n'
    )


def test_a_reader_ignores_what_it_does_not_know() -> None:
    line = '{"version":1,"kind":"ended","at_s":1,"time_s":2,"reason":"so","colour":"red"}'
    assert stream.from_json(line) == Told(1, 2, Ended("so"))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "{}",
        '{"version":2,"kind":"ended","at_s":1,"time_s":2,"reason":"so"}',
        '{"version":1,"kind":"colour","at_s":1,"time_s":2,"reason":"so"}',
        '{"version":1,"kind":[],"at_s":1,"time_s":2,"reason":"so"}',
        '{"version":1,"kind":"ended","at_s":1,"reason":"so"}',
        '{"version":1,"kind":"ended","at_s":1,"time_s":2}',
    ],
)
def test_no_line(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        stream.from_json(line)


@pytest.mark.parametrize("do", ["status", "watch"])
def test_a_request(do: str) -> None:
    request = stream.request_from_json(f'{{"do": "{do}"}}'.encode())
    assert request.do == do
    assert stream.request_from_json(stream.request_to_json(request).encode()) == request


@pytest.mark.parametrize(
    "line, sentence",
    [
        (b"watch", "one line of JSON"),
        (b"\xff\xfe", "one line of JSON"),
        (b"[" * 4000, "one line of JSON"),
        (b"{}", '{"do": "status"} or {"do": "watch"}'),
        (b"[1]", '{"do": "status"} or {"do": "watch"}'),
        (b'{"do": "reboot"}', '{"do": "status"} or {"do": "watch"}'),
        (b'{"do": ["watch"]}', '{"do": "status"} or {"do": "watch"}'),
    ],
)
def test_no_request(line: bytes, sentence: str) -> None:
    with pytest.raises(ValueError) as problem:
        stream.request_from_json(line)
    assert sentence in str(problem.value)


# -- what is told --------------------------------------------------------------------------------


def test_a_round_of_probes_is_a_sample() -> None:
    answers = tuple(zip(TARGETS, (1.23456, None, 20.0), strict=True))
    told = tell(BOTH, Tallied(3.0, "cable", 4, answers, 2.0), ())
    assert list(told) == [Sample("cable", 4, 3, (1.235, 20.0), 1, 2.0)]


def test_what_is_only_judged_is_not_told() -> None:
    assert list(tell(BOTH, Judged(3.0, "cable", 4, True, 2.9), ())) == []


def test_a_change_of_health() -> None:
    effects = (Say("cable is down: it is so"), Publish(ONE, "1 of 2"))
    assert list(tell(BOTH, Woke(7.0), effects)) == [
        Notice("cable is down: it is so", False),
        Change("cable", 4, "up", "down", "it is so", 5.0),
        Flip(4, (Share("cable", 0.75), Share("dsl", 0.25)), (Share("dsl", 1.0),)),
        Snapshot(ONE),
    ]


def test_new_measurements_are_no_change() -> None:
    later = replace(BOTH, at_s=9.0)
    assert list(tell(BOTH, Woke(9.0), (Publish(later, ""),))) == [Snapshot(later)]


def test_an_uplink_of_a_new_plan_is_no_change() -> None:
    told = list(tell(status(dsl=("up", 1.0)), Woke(7.0), (Publish(BOTH, ""),)))
    assert not [item for item in told if isinstance(item, Change)]


def test_the_first_look_after_a_boot_is_no_change() -> None:
    assert list(tell(None, Woke(7.0), (Publish(BOTH, ""),))) == [Snapshot(BOTH)]


@pytest.mark.parametrize(
    "item, line",
    [
        (ITEMS[0], ""),
        (ITEMS[1], ""),
        (ITEMS[2], "12:00:01  new flows of IPv4: cable 75%, dsl 25% -> nobody\n"),
        (ITEMS[3], "12:00:01  somebody did something\n"),
        (ITEMS[4], ""),
        (ITEMS[5], ""),
    ],
)
def test_what_people_read(item: Item, line: str) -> None:
    assert told_line(Told(1.0, 2.0, item), "12:00:01") == line


def test_the_socket_unit_makes_what_is_asked() -> None:
    unit = str(samples.files()["systemd/system/nib-monitor.socket"])
    assert f"ListenStream={stream.SOCKET}\n" in unit
    assert f"SocketGroup={stream.GROUP}\n" in unit


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"do": "down"}', 'an order needs an "uplink"'),
        ('{"do": "down", "uplink": 7}', 'an order needs an "uplink"'),
        ('{"do": "down", "uplink": "cable", "force": 1}', "force and persist true or false"),
        ('{"do": "down", "uplink": "cable", "for_s": NaN}', "for_s is more than 0"),
        ('{"do": "up", "uplink": "cable", "for_s": 0}', "for_s is more than 0"),
        ('{"do": "auto", "uplink": "cable", "for_s": 5}', "auto is for ever"),
        ('{"do": "up", "uplink": "cable", "who": "a\\nb"}', "who is a name"),
    ],
)
def test_no_order(line: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r".") as problem:
        stream.request_from_json(line.encode())
    assert sentence in str(problem.value)


def test_an_order() -> None:
    order = stream.Command("down", "cable", 60.0, force=True, persist=True, who="anna")
    assert stream.request_from_json(stream.request_to_json(order).encode()) == order
    short = b'{"do": "up", "uplink": "cable"}'
    assert stream.request_from_json(short) == stream.Command("up", "cable")

"""What the counters of a device say of its line."""

from pathlib import Path

import pytest

from nib.counters import Counters, counters
from nib.monitor import traffic
from nib.monitor.traffic import IDLE_S, REST_S, TICK_S, Traffic
from nib.plan import Bandwidth

BYTES = 1000
LINE = Bandwidth(down_bits=10_000_000, up_bits=1_000_000)


def lived(trace: str, each: int = 2, tick_s: float = TICK_S) -> Traffic:
    """A tick for each letter: `=` packets both ways, `>` out, `<` in, `-` nothing."""
    now, at_s = Counters(0, 0, 0, 0), 0.0
    of = traffic.begin(now, at_s)
    for letter in trace:
        came, left = each * (letter in "=<"), each * (letter in "=>")
        at_s += tick_s
        now = Counters(
            now.rx_bytes + came * BYTES,
            now.rx_packets + came,
            now.tx_bytes + left * BYTES,
            now.tx_packets + left,
        )
        of = traffic.observe(of, now, at_s)
    return of


@pytest.mark.parametrize(
    ("trace", "mute"),
    [
        ("=======>>", True),
        # a moment without an answer
        ("=======>", False),
        ("=======>=>", False),
        # the talk is over
        ("=======--", False),
        ("=======------------------------>>>>", False),
        # it has hardly begun
        ("==>>", False),
        # nobody has answered at all, for a second since the first of them called
        ("--->>" + "-" * 7, False),
        ("--->>" + "-" * 8, True),
        ("--->-->-->---->", True),
        (">" * 11, True),
        # one call may be for nobody
        ("--->" + "-" * 30, False),
        # an answer is one, however late
        ("--->>" + "-" * 9 + "<", False),
        ("--->>" + "-" * 13 + "<>>" + "-" * 7, False),
        ("--->>" + "-" * 13 + "<>>" + "-" * 8, True),
        # the broadcasts of a shared wire hide it, while they come
        ("--->>------<---->>>----<----------", False),
        ("--->>------<---->>>----<->>----------", True),
        # it is heard again
        ("=======>><", False),
        ("=======>><>>", False),
        ("=======>>=====>>", True),
    ],
)
def test_mute(trace: str, mute: bool) -> None:
    assert lived(trace).mute is mute


@pytest.mark.parametrize(
    ("trace", "each", "full"),
    [
        # 1000 bytes 10 times a second are 80 kbit/s
        ("=" * 30, 1, False),
        ("=" * 30, 12, True),  # the way up
        ("<" * 30, 12, False),
        ("<" * 30, 120, True),  # the way down
        ("<" * 30 + "-" * 10, 120, False),
        # one moment is no full line
        ("-" * 20 + "<", 120, False),
    ],
)
def test_full(trace: str, each: int, full: bool) -> None:
    of = lived(trace, each)
    assert of.full(LINE) is full
    assert not of.full(None)


def test_idle() -> None:
    minute = round(IDLE_S / TICK_S) + 1
    assert lived("-" * minute).idle
    # a probe every two seconds in each family
    assert lived(("=" + "-" * 19) * (minute // 20 + 1)).idle
    assert not lived("-" * minute + "=" * 5).idle
    assert not lived("=" * 50 + "-" * (minute // 2)).idle
    # what comes in unasked is no use
    assert lived("<" * minute).idle


def test_the_looks_become_seldom_and_say_the_same() -> None:
    # questions of both families to three targets, all answered in one moment
    assert not lived("=---" * 9, 6, REST_S).lively
    assert lived("==", 25, REST_S).lively
    assert lived("=" * 30, 1).lively
    assert not lived("=" * 30 + "-" * 10, 1).lively
    # calls that nobody answers, on a line that nobody used
    assert not lived("--->-", 6, REST_S).mute
    assert lived("--->--", 6, REST_S).mute
    assert not lived("--->---<", 6, REST_S).mute
    # who was not heard tick by tick is not missed at one
    assert not lived("=" * 9 + ">>", 25, REST_S).mute
    assert lived("=" * 9, 300, REST_S).full(LINE)
    assert not lived("=" * 9, 30, REST_S).full(LINE)
    assert lived("-" * round(IDLE_S / REST_S + 1), tick_s=REST_S).idle
    assert not lived("-" * round(IDLE_S / REST_S) + "=", 20, REST_S).idle


def test_a_conversation_that_ended_is_none_however_seldom_it_is_looked_at() -> None:
    of, now = lived("=======", 1), Counters(7000, 7, 7000, 7)
    for left in (0, 0, 0, 4):
        now = Counters(now.rx_bytes, now.rx_packets, now.tx_bytes, now.tx_packets + left)
        of = traffic.observe(of, now, of.at_s + REST_S)
    assert not of.mute


def test_a_device_that_is_made_anew_begins_anew() -> None:
    of = lived("=======")
    anew = traffic.observe(of, Counters(0, 0, 0, 0), of.at_s + TICK_S)
    assert anew == traffic.begin(Counters(0, 0, 0, 0), of.at_s + TICK_S)


def test_the_kernels_table_is_read() -> None:
    found = counters(Path("/proc/self/net/dev").read_text())
    assert found["lo"].rx_packets == found["lo"].tx_packets
    text = "\n\n  wan1:  1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\nvlan.30:5 6 0 0 0 0 0 0 7 8 0 0 0 0 0 0\n"
    assert counters(text) == {
        "wan1": Counters(1, 2, 3, 4),
        "vlan.30": Counters(5, 6, 7, 8),
    }
    assert counters(text, ["wan1", "wan2"]) == {"wan1": Counters(1, 2, 3, 4)}

"""Recorded rounds, judged by the monitor's own rules: with the settings of then and others."""

from dataclasses import replace
from random import Random

import pytest

from line import TARGETS, Line, probe
from nib.history.comparison import comparison, pairs
from nib.history.outages import Outage
from nib.history.records import Round
from nib.history.replay import replay
from nib.probe import Limits, Probe
from nib.targets import Target

BEGIN_S = 1_800_000_000.0
RTT_S = 0.02


def rounds(trace: str, every_s: float = 0.5) -> list[Round]:
    """A round of one target for each letter: `.` 20 ms, `~` 250 ms, `!` lost, ` ` nobody asked."""
    rtts: dict[str, tuple[float, ...]] = {".": (20.0,), "~": (250.0,), "!": ()}
    return [
        Round(BEGIN_S + every_s * place, "cable", 4, 1, rtts[letter])
        for place, letter in enumerate(trace)
        if letter != " "
    ]


def spans(found: list[Outage]) -> list[tuple[float, float | None]]:
    """Begin and end of each, in seconds since the first round."""
    return [
        (
            round(one.began_s - BEGIN_S, 3),
            None if one.ended_s is None else round(one.ended_s - BEGIN_S, 3),
        )
        for one in found
    ]


def test_a_silence_is_an_outage_and_it_ends() -> None:
    ((began_s, ended_s),) = spans(replay(rounds("." * 20 + "!" * 40 + "." * 40), probe(), TARGETS))
    assert 9.5 < began_s < 11
    assert ended_s is not None
    assert 30 <= ended_s < 34


def test_lost_packets_are_no_outage() -> None:
    assert replay(rounds(("." * 9 + "!") * 50), probe(), TARGETS) == []


@pytest.mark.parametrize("interval_ms", [100, 250, 500, 2000])
def test_asking_more_often_than_was_recorded_makes_no_outage_of_a_lost_packet(
    interval_ms: int,
) -> None:
    often = replace(probe(), interval_ms=interval_ms)
    assert replay(rounds(("." * 9 + "!") * 50), often, TARGETS) == []


def test_more_patience_sits_out_what_less_calls_an_outage() -> None:
    trace = rounds("." * 20 + "!!!!" + "." * 40)
    assert len(replay(trace, probe(), TARGETS)) == 1
    assert replay(trace, replace(probe(), fall=30), TARGETS) == []


def test_a_limit_that_was_not_set_then() -> None:
    trace = rounds("." * 60 + "~" * 60 + "." * 120)
    assert replay(trace, probe(), TARGETS) == []
    (found,) = replay(trace, replace(probe(), rtt=Limits(200, 100)), TARGETS)
    assert found.reason == "too much: rtt"
    assert found.ended_s is not None


def test_where_nobody_asked_nothing_happened() -> None:
    """A line without a carrier is not asked; nor is any while the monitor is away."""
    assert replay(rounds("." * 20 + " " * 100 + "." * 20), probe(), TARGETS) == []


def test_nothing_recorded() -> None:
    assert replay([], probe(), TARGETS) == []


def recorded(of: Probe, dead: list[tuple[float, float]], seed: int) -> tuple[Line, list[Round]]:
    """Five minutes of a line that loses one packet in fifty, and is dead at times; as recorded."""
    random = Random(seed)

    def rtt(_: Target, at_s: float) -> float | None:
        silent = any(begin <= at_s < end for begin, end in dead)
        return None if silent or random.random() < 0.02 else RTT_S

    line = Line(rtt, of)
    line.until(300)
    heard = []
    for one in line.tallied:
        rtts_ms = tuple(rtt for _, rtt in one.answers if rtt is not None)
        at_s, asked = BEGIN_S + one.asked_s, len(one.answers)
        heard.append(Round(at_s, "cable", 4, asked, rtts_ms, one.burst))
    return line, heard


@pytest.mark.parametrize("seed", range(5))
def test_with_the_settings_of_then_it_happens_again(seed: int) -> None:
    """The real asking's own rounds, bursts and all, lead to the same verdicts."""
    of = probe()
    line, heard = recorded(of, [(150, 200)], seed)
    falls = [one.at_s for one in line.judged if not one.ok]
    assert 150 < falls[0] < 151.5
    again = spans(replay(heard, of, TARGETS))
    assert len(again) == 1
    assert abs(again[0][0] - falls[0]) < 1


def test_both_side_by_side() -> None:
    was = Outage("cable", 4, BEGIN_S, "nothing answers", "o1", BEGIN_S + 60)
    carrier = Outage("dsl", 4, BEGIN_S + 500, "no carrier", "o2", BEGIN_S + 520)
    shorter = Outage("cable", 4, BEGIN_S + 2, "silence", None, BEGIN_S + 50)
    more = Outage("dsl", 4, BEGIN_S + 900, "too much: rtt", None, BEGIN_S + 902.5)
    found = pairs([was, carrier], [shorter, more], BEGIN_S + 1000)
    assert comparison(found, BEGIN_S + 1000, lambda time_s: f"{time_s - BEGIN_S:.0f}") == (
        "from  uplink        was down  would be  why\n"
        "0     cable   IPv4  1 min 0 s  48 s      nothing answers\n"
        "500   dsl     IPv4  20 s      -         no carrier\n"
        "900   dsl     IPv4  -         2.5 s     too much: rtt\n"
        "\n"
        "then: 2 outages, 1 min 20 s; with these settings: 2 outages, 50 s\n"
    ).replace("was down  would", "was down   would").replace("20 s      -", "20 s       -").replace(
        "-         2.5", "-          2.5"
    )


def test_nothing_to_compare() -> None:
    assert comparison((), 0.0, str) == "no outage, neither then nor with these settings\n"

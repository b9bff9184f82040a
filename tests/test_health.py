"""Rounds of probes in, health out: `.` is an answer, `!` a miss; then it is `?`, `U` or `D`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nib.monitor.health import Health, cut, observe
from nib.plan import Probe

LETTERS = {"unknown": "?", "up": "U", "down": "D"}
ROUNDS = st.text(alphabet=".!", max_size=60)


def probe(fall: int = 3, rise: int = 2, hold_down_ms: int = 0) -> Probe:
    return Probe(("192.0.2.1",), 1000, 1000, 1, fall, rise, hold_down_ms)


def believed(rounds: str, asked: Probe, start: Health | None = None) -> list[Health]:
    """The health after every round; one round a second."""
    health = start or Health("unknown", 0.0)
    healths = []
    for at_s, round_ in enumerate(rounds, start=1):
        health = observe(health, round_ == ".", float(at_s), asked)
        healths.append(health)
    return healths


def trace(rounds: str, asked: Probe, start: Health | None = None) -> str:
    return "".join(LETTERS[health.state] for health in believed(rounds, asked, start))


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        (".", "U"),
        ("..!!!..", "UUUUDDU"),
        ("..!!.!!.!!!", "UUUUUUUUUUD"),
        ("!!!", "??D"),
        ("!!.", "??U"),
        ("!!!..", "??DDU"),
        ("!!!.!.!..", "??DDDDDDU"),
        ("!!!!!!!!", "??DDDDDD"),
        ("...!!!...!!!", "UUUUUDDUUUUD"),
    ],
)
def test_fall_3_rise_2(rounds: str, expected: str) -> None:
    assert trace(rounds, probe()) == expected


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        (".!.!.", "UDUDU"),
        ("!!..", "DDUU"),
    ],
)
def test_fall_1_rise_1_believes_every_round(rounds: str, expected: str) -> None:
    assert trace(rounds, probe(fall=1, rise=1)) == expected


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        # down at 4 s, so up at 9 s at the soonest
        (".!!!......", "UUUDDDDDUU"),
        # a miss during the hold-down starts the counting of answers anew, not the hold-down
        (".!!!..!...", "UUUDDDDDUU"),
        (".!!!!!!!!..", "UUUDDDDDDDU"),
        # the hold-down is over, but two answers in a row are asked for
        (".!!!....!..", "UUUDDDDDDDU"),
    ],
)
def test_hold_down_of_5_s(rounds: str, expected: str) -> None:
    assert trace(rounds, probe(hold_down_ms=5000)) == expected


def test_a_cut_uplink_earns_its_way_back() -> None:
    up = Health("up", 0.0, streak=2)
    assert cut(up, 7.0) == Health("down", 7.0)
    assert cut(Health("unknown", 0.0), 7.0) == Health("down", 7.0)
    assert trace("...", probe(), cut(up, 0.0)) == "DUU"


def test_cutting_again_forgets_answers_but_not_when_it_went_down() -> None:
    assert cut(Health("down", 1.0, streak=4), 7.0) == Health("down", 1.0)


PROBES = st.builds(
    probe,
    fall=st.integers(1, 5),
    rise=st.integers(1, 5),
    hold_down_ms=st.integers(0, 12_000),
)


@given(ROUNDS, PROBES)
def test_down_only_after_fall_misses_in_a_row(rounds: str, asked: Probe) -> None:
    letters = "?" + trace(rounds, asked)
    for number in range(1, len(letters)):
        if letters[number] == "D" != letters[number - 1]:
            assert rounds[:number].endswith("!" * asked.fall)


@given(ROUNDS, PROBES)
def test_up_again_only_after_rise_answers_in_a_row_and_hold_down(rounds: str, asked: Probe) -> None:
    letters = "?" + trace(rounds, asked)
    went_down = 0
    for number in range(1, len(letters)):
        match letters[number - 1], letters[number]:
            case "U" | "?", "D":
                went_down = number
            case "D", "U":
                assert rounds[:number].endswith("." * asked.rise)
                assert (number - went_down) * 1000 >= asked.hold_down_ms
            case "?", "U":
                assert rounds[number - 1] == "."


@given(ROUNDS, PROBES)
def test_enough_misses_or_answers_always_decide(rounds: str, asked: Probe) -> None:
    assert trace(rounds + "!" * asked.fall, asked).endswith("D")
    patience = asked.rise + asked.hold_down_ms // 1000 + 1
    assert trace(rounds + "." * patience, asked).endswith("U")


@given(ROUNDS, ROUNDS, ROUNDS, st.builds(probe, fall=st.integers(1, 5), rise=st.integers(1, 5)))
def test_after_a_full_streak_nothing_older_matters(
    one: str, other: str, tail: str, asked: Probe
) -> None:
    misses = "!" * asked.fall
    ends = [trace(past + misses + tail, asked)[len(past) :] for past in (one, other)]
    assert ends[0][asked.fall - 1 :] == ends[1][asked.fall - 1 :]

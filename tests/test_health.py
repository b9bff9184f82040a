"""Verdicts and measurements in, health out: `.` is good, `!` bad; then it is `?`, `U` or `D`."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nib import status
from nib.monitor.health import (
    CANARY,
    FREE,
    HELD,
    Health,
    damped_s,
    fall,
    held_s,
    measure,
    next_share_s,
    observe,
    penalty,
    share,
)
from nib.monitor.tally import RECENT, WINDOW, Tally
from nib.probe import Limits, Probe

LETTERS = {"unknown": "?", "up": "U", "down": "D"}
VERDICTS = st.text(alphabet=".!", max_size=60)


def probe(rise: int = 2, hold_down_ms: int = 0, damping_ms: int = 0, canary_ms: int = 0) -> Probe:
    return Probe(("192.0.2.1",), 1000, 1000, 1, 3, rise, hold_down_ms, damping_ms, canary_ms)


def believed(verdicts: str, asked: Probe, start: Health | None = None) -> list[Health]:
    """The health after every verdict; one a second."""
    health = start or Health("unknown", 0.0)
    healths = []
    for at_s, verdict in enumerate(verdicts, start=1):
        health = observe(health, verdict == ".", float(at_s), asked)
        healths.append(health)
    return healths


def trace(verdicts: str, asked: Probe, start: Health | None = None) -> str:
    return "".join(LETTERS[health.state] for health in believed(verdicts, asked, start))


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (".", "U"),
        ("..!..", "UUDDU"),
        ("!..", "DDU"),
        # a miss on the way up starts the counting anew
        ("!.!.!..", "DDDDDDU"),
        ("!!!!!!!!", "DDDDDDDD"),
        ("...!.....!..", "UUUDDUUUUDDU"),
    ],
)
def test_rise_2(verdicts: str, expected: str) -> None:
    assert trace(verdicts, probe()) == expected


def test_rise_1_believes_every_verdict() -> None:
    assert trace(".!.!.", probe(rise=1)) == "UDUDU"


def test_it_is_up_since_its_first_answer_and_every_outage_counts() -> None:
    assert believed("..", probe())[-1] == Health("up", 1.0)
    assert [health.outages for health in believed(".!!..!..", probe())] == [0, 1, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        # down at 2 s, so up at 7 s at the soonest
        (".!......", "UDDDDDUU"),
        # a miss during the hold-down starts the counting of answers anew, not the hold-down
        (".!..!...", "UDDDDDUU"),
        (".!!!!!!..", "UDDDDDDDU"),
        # the hold-down is over, but two answers in a row are asked for
        (".!....!..", "UDDDDDDDU"),
    ],
)
def test_hold_down_of_5_s(verdicts: str, expected: str) -> None:
    assert trace(verdicts, probe(hold_down_ms=5000)) == expected


def test_an_uplink_without_carrier_earns_its_way_back() -> None:
    up = Health("up", 0.0)
    assert fall(up, 7.0, probe()) == Health("down", 7.0, outages=1, missed_s=7.0, fell_s=7.0)
    assert fall(Health("unknown", 0.0), 7.0, probe()).state == "down"
    assert trace("...", probe(), fall(up, 0.0, probe())) == "DUU"


def test_losing_it_again_forgets_answers_but_not_when_it_went_down() -> None:
    down = fall(Health("up", 0.0), 1.0, probe())
    (answered,) = believed(".", probe(), down)
    assert answered.streak == 1
    assert fall(answered, 7.0, probe()) == down


def test_the_first_missed_question_is_remembered() -> None:
    health = observe(Health("up", 0.0), False, 5.0, probe(), missed_s=4.3)
    assert (health.since_s, health.missed_s, health.outages) == (5.0, 4.3, 1)


PROBES = st.builds(
    probe,
    rise=st.integers(1, 5),
    hold_down_ms=st.integers(0, 12_000),
    damping_ms=st.sampled_from([0, 0, 1000, 5000, 20_000]),
    canary_ms=st.sampled_from([0, 4000]),
)


@given(VERDICTS, PROBES)
def test_up_again_only_after_rise_answers_in_a_row_and_hold_down(
    verdicts: str, asked: Probe
) -> None:
    letters = "?" + trace(verdicts, asked)
    went_down = 0
    for number in range(1, len(letters)):
        match letters[number - 1], letters[number]:
            case "U" | "?", "D":
                assert verdicts[number - 1] == "!"
                went_down = number
            case "D", "U":
                assert verdicts[:number].endswith("." * asked.rise)
                assert (number - went_down) * 1000 >= asked.hold_down_ms
            case "?", "U":
                assert verdicts[number - 1] == "."


@given(VERDICTS, PROBES)
def test_a_miss_or_enough_answers_always_decide(verdicts: str, asked: Probe) -> None:
    assert trace(verdicts + "!", asked).endswith("D")
    patience = asked.rise + max(asked.hold_down_ms, 2 * asked.damping_ms) // 1000 + 1
    assert trace(verdicts + "." * patience, asked).endswith("U")


@given(st.lists(st.integers(1, 7), min_size=4, max_size=20), st.sampled_from([1, 5, 20]))
def test_who_flapped_returns_once_the_penalty_is_worn_off(runs: list[int], half_s: int) -> None:
    asked = probe(rise=1, damping_ms=1000 * half_s, canary_ms=1000)
    verdicts = "".join("." * run + "!" for run in runs) + "." * 50
    for number, health in enumerate(believed(verdicts, asked), start=1):
        if health.returned_s == number and health.penalty > HELD:
            assert penalty(health, float(number), asked) <= FREE + 1e-9


@given(VERDICTS, PROBES)
def test_what_is_known_already_changes_nothing(verdicts: str, asked: Probe) -> None:
    """No flip without news: an answer of a line that is up, a miss or a lost link of one down."""
    for number, health in enumerate(believed(verdicts, asked), start=1):
        if health.state == "up":
            assert observe(health, True, number + 1.0, asked) == health
        else:
            forgot = replace(health, streak=0)
            assert fall(health, number + 1.0, asked) == forgot
            assert observe(health, False, number + 1.0, asked) == forgot


# -- damping


def flapped(times: int, every_s: float, asked: Probe) -> Health:
    health = Health("up", 0.0)
    for number in range(times):
        at_s = number * every_s
        health = fall(Health(**{**_fields(health), "state": "up"}), at_s, asked)
    return health


def _fields(health: Health) -> dict[str, object]:
    return {name: getattr(health, name) for name in health.__slots__}


def test_three_outages_are_bad_luck_the_fourth_is_flapping() -> None:
    """opnsense/core#5786, asusmerlin#56: a line that comes and goes is not to be believed."""
    asked = probe(damping_ms=120_000)
    assert [
        held_s(flapped(times, 5, asked), (times - 1) * 5, asked) > 0 for times in (1, 2, 3, 4)
    ] == [
        False,
        False,
        False,
        True,
    ]


def test_however_often_it_flaps_two_half_lives_are_enough() -> None:
    """asusmerlin#5: not held down for ever."""
    asked = probe(damping_ms=120_000)
    health = flapped(100, 1, asked)
    assert held_s(health, health.fell_s, asked) == pytest.approx(240)


def test_a_line_that_dies_now_and_then_is_not_held() -> None:
    asked = probe(damping_ms=120_000)
    assert held_s(flapped(100, 150, asked), 99 * 150, asked) == 0


def test_one_outage_of_any_length_costs_nothing() -> None:
    asked = probe(damping_ms=120_000)
    assert trace("." + "!" * 30 + "..", asked).endswith("DDU")


def test_times_are_exact() -> None:
    held = Health("down", 10.0)
    assert held_s(held, 10.0, probe(hold_down_ms=5000)) == 5
    assert held_s(held, 99.0, probe(hold_down_ms=5000)) == 0
    damped = Health("down", 10.0, penalty=6.0, fell_s=10.0)
    asked = probe(damping_ms=120_000)
    assert damped_s(damped, 10.0, asked) == 240
    assert damped_s(damped, 250.5, asked) == held_s(damped, 250.5, asked) == 0
    assert penalty(damped, 130.0, asked) == 3
    # who has no damping any more owes nothing
    assert penalty(damped, 10.0, probe()) == damped_s(damped, 10.0, probe()) == 0
    # and three at once are not more than three
    assert damped_s(replace(damped, penalty=HELD), 10.0, asked) == 0


def test_answers_are_counted_from_nothing_each_time() -> None:
    assert [health.streak for health in believed(".!..!.", probe())] == [0, 0, 1, 0, 0, 1]


# -- the canary


def test_a_returned_uplink_has_little_then_half_then_all() -> None:
    asked = probe(canary_ms=10_000)
    health = believed("!..", asked)[-1]
    parts = [share(health, health.since_s + s, asked) for s in (0, 4.9, 5, 9.9, 10)]
    assert parts == [10, 10, 50, 50, 100]
    assert CANARY[-1] == (1.0, 100)
    assert next_share_s(health, health.since_s, asked) == health.since_s + 5
    assert next_share_s(health, health.since_s + 5, asked) == health.since_s + 10
    assert next_share_s(health, health.since_s + 10, asked) is None


def test_a_new_uplink_is_no_canary() -> None:
    asked = probe(canary_ms=10_000)
    assert share(believed(".", asked)[-1], 1.0, asked) == 100


def test_a_canary_that_dies_is_none_any_more() -> None:
    asked = probe(canary_ms=10_000)
    back, dead = believed("!..!", asked)[-2:]
    assert (back.returned_s, dead.returned_s) == (3.0, None)


def test_without_a_canary_a_returned_uplink_has_all_at_once() -> None:
    assert believed("!..", probe())[-1] == Health("up", 3.0, outages=1, missed_s=1.0, fell_s=1.0)


# -- measurements


def tally(lost: int, of: int = WINDOW, rtt_ms: float = 20.0) -> Tally:
    made = Tally()
    for number in range(of):
        made = made.add((("192.0.2.1", None if number < lost else rtt_ms),))
    return made


def limited(**limits: Limits) -> Probe:
    return Probe(("192.0.2.1",), 500, 1000, 1, 3, 5, 0, **limits)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "lost", "expected"),
    [
        ((), 20, ()),
        ((), 21, ("loss",)),
        # between the limits nothing changes: mwan3's grey zone counts as a failure
        ((), 15, ()),
        (("loss",), 15, ("loss",)),
        (("loss",), 10, ("loss",)),
        (("loss",), 9, ()),
    ],
)
def test_between_the_limits_nothing_changes(
    before: tuple[str, ...], lost: int, expected: tuple[str, ...]
) -> None:
    asked = limited(loss=Limits(20, 10))
    state = "down" if before else "up"
    health = measure(Health(state, 0.0, poor=before), tally(lost), 1.0, asked)
    assert health.poor == expected
    assert health.state == ("down" if expected else state)


def test_a_slow_line_that_is_fast_again_returns() -> None:
    """opnsense/core#3879: the latency was fine again, and the line never came back."""
    asked = limited(rtt=Limits(500, 300))
    health = measure(Health("up", 0.0), tally(0, rtt_ms=600), 1.0, asked)
    assert (health.state, health.poor) == ("down", ("rtt",))
    for number in range(10):
        health = observe(health, True, 2.0 + number, asked)
    assert health.state == "down"
    health = measure(health, tally(0, rtt_ms=100), 20.0, asked)
    assert observe(health, True, 21.0, asked).state == "up"


def test_jitter() -> None:
    asked = limited(jitter=Limits(30, 10))
    made = Tally()
    for number in range(RECENT):
        made = made.add((("192.0.2.1", 20.0 + 50 * (number % 2)),))
    assert measure(Health("up", 0.0), made, 1.0, asked).poor == ("jitter",)


def test_a_few_measurements_say_nothing() -> None:
    asked = limited(loss=Limits(20, 10))
    assert measure(Health("up", 0.0), tally(RECENT - 1, RECENT - 1), 1.0, asked).poor == ()
    assert measure(Health("up", 0.0), tally(RECENT, RECENT), 1.0, asked).poor == ("loss",)
    assert measure(Health("up", 0.0), Tally(), 1.0, asked) == Health("up", 0.0)


def test_a_poor_line_earns_its_way_back_while_it_is_poor() -> None:
    """Once it is well enough it need not answer `rise` times more."""
    asked = limited(loss=Limits(20, 10))
    health = measure(Health("up", 0.0), tally(30), 1.0, asked)
    for number in range(5):
        health = observe(health, True, 2.0 + number, asked)
        health = measure(health, tally(30), 2.0 + number, asked)
    assert observe(measure(health, tally(5), 9.0, asked), True, 9.0, asked).state == "up"


@given(
    st.lists(st.integers(0, 2), max_size=WINDOW),
    st.sampled_from(["unknown", "up", "down"]),
    st.sets(st.sampled_from(["loss", "rtt", "jitter"])),
    st.integers(0, 100),
    st.integers(0, 100),
)
def test_the_same_measurements_twice_say_nothing_new(
    heard: list[int], state: status.Health, poor: set[str], one: int, other: int
) -> None:
    limits = Limits(max(one, other), min(one, other))
    asked = limited(loss=limits, rtt=limits, jitter=limits)
    made = Tally()
    for answer in heard:
        made = made.add((("192.0.2.1", 60.0 * answer if answer else None),))
    before = Health(state, 0.0, poor=tuple(sorted(poor)))
    health = measure(before, made, 1.0, asked)
    assert measure(health, made, 2.0, asked) == health
    assert health.state == ("down" if health.poor and state == "up" else state)


def test_whose_limits_are_gone_is_not_held_by_them() -> None:
    health = Health("down", 0.0, poor=("loss", "rtt"))
    assert measure(health, tally(WINDOW), 1.0, probe()) == Health("down", 0.0)
    one = limited(rtt=Limits(100, 50))
    assert measure(health, tally(0, rtt_ms=70.0), 1.0, one).poor == ("rtt",)


def test_without_limits_only_silence_counts() -> None:
    up = Health("up", 0.0)
    assert measure(up, tally(100), 1.0, limited()) == up

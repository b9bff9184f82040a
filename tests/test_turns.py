"""What an answer is worth, and silence: when was asked, and who, and what came between."""

import math

import pytest
from pytest import approx

from line import ALIVE, DEAD, RTT_S, TARGETS, Line, probe
from nib.monitor import asking
from nib.monitor.asking import AWAKE_S, LEAST_PATIENCE_S, Mode
from nib.monitor.events import Tallied
from nib.monitor.questions import Ask, Listen, Reply
from nib.targets import Target

MODES: tuple[Mode, ...] = ("up", "unknown", "down")


def test_a_round_that_is_missed_on_the_way_back_is_said() -> None:
    line = Line(
        lambda _, at_s: None if at_s == 5 else RTT_S, probe("{timeout: 300ms}"), mode="down"
    )
    line.until(6)
    assert [(one.asked_s, one.ok) for one in line.judged if one.asked_s > 4] == [
        (4.5, True),
        (5.0, False),
        (5.5, True),
    ]


def test_a_missed_round_whose_next_is_answered_first_says_nothing() -> None:
    """It is over a second after it was asked, and by then more is known."""
    line = Line(lambda _, at_s: None if at_s == 5 else RTT_S, mode="down").until(8)
    assert {one.ok for one in line.judged} == {True}


@pytest.mark.parametrize(("rtt_s", "returns"), [(0.9, True), (1.1, False), (3, False)])
def test_an_answer_that_is_too_late_brings_no_line_back(rtt_s: float, returns: bool) -> None:
    """However seldom it is asked: it would go down again at the next question."""
    line = Line(lambda *_: rtt_s, probe("{interval: 10s}"), mode="down").until(60)
    assert {verdict.ok for verdict in line.judged} == {returns}


def test_an_answer_that_comes_twice_counts_once() -> None:
    """Some networks double packets; `rise` answers are answers to as many questions."""
    line = Line(lambda *_: None, mode="down").until(0)
    (_, ask) = line.asked[-1]
    line.hear(ALIVE, ask.number)
    line.hear(ALIVE, ask.number)
    assert len(line.judged) == 1


@pytest.mark.parametrize("number", [0, 1, 2, 77])
def test_who_was_not_asked_says_nothing(number: int) -> None:
    """Another monitor's answers, those of a minute ago, or a target's that has no turn."""
    line = Line(lambda *_: None).until(0)
    (_, ask) = line.asked[-1]
    before = line.state
    for target in TARGETS:
        if (target, number) != (ask.targets[0], ask.number):
            line.hear(target, number)
    assert line.state == before


def test_numbers_are_of_16_bits() -> None:
    line = Line(lambda *_: RTT_S)
    line.state = line.state._replace(number=0xFFFD)
    assert [ask.number for _, ask in line.until(1.5).asked] == [0xFFFE, 0xFFFF, 0, 1]
    assert line.until(20).judged == []


# -- the core has the last word


def test_to_be_told_the_same_again_changes_nothing() -> None:
    def rtt(_: Target, at_s: float) -> float | None:
        return RTT_S if at_s < 2 else None

    line, told_often = Line(rtt).until(8), Line(rtt)
    for tick in range(161):
        told_often.until(tick / 20)
        told_often.believe(told_often.state.mode)
    assert told_often.asked == line.asked
    assert told_often.judged == line.judged


def test_a_quorum_that_is_lowered_counts_at_once() -> None:
    """A target that answers nobody is left out of account, and the line is not dead."""
    line = Line(lambda target, _: None if target == DEAD else RTT_S, probe("{quorum: 3}"))
    line.until(0.75)
    line.believe("up", quorum=2)
    assert line.until(10).judged == []
    back = Line(
        lambda target, _: None if target == DEAD else RTT_S,
        probe("{quorum: 3, timeout: 300ms}"),
        mode="down",
    )
    back.until(5.1)
    back.believe("down", quorum=2)
    assert {one.ok for one in back.until(10).judged if one.asked_s >= 5} == {True}


def test_a_line_that_is_switched_off_is_new_when_it_is_back() -> None:
    """In the middle of a burst; what was asked before is no answer of the new line."""
    line = Line(lambda _, at_s: RTT_S if at_s < 2 else 0.28 if at_s < 2.25 else None).until(2.25)
    line.believe("off")
    assert line.state.due_s == math.inf
    asked = len(line.asked)
    line.until(2.3)
    line.believe("unknown")
    line.until(10)
    assert [round(at_s, 6) for at_s, _ in line.asked[asked : asked + 3]] == [2.3, 2.4, 2.5]
    assert line.judged != []
    assert not any(verdict.ok for verdict in line.judged)
    assert all(one.asked_s >= 2.3 for one in line.tallied if one.at_s > 2.3)


def test_a_line_that_is_off_decides_nothing() -> None:
    line = Line(lambda _, at_s: RTT_S if at_s < 2 else None).until(2.25)
    line.believe("off")
    told_before = len(line.asked), len(line.tallied)
    state, acts = asking.turn(line.state, 9.0)
    assert (state, acts) == (line.state, ())
    line.sense(mute=True)
    assert (len(line.until(20).asked), len(line.tallied)) == told_before
    assert line.judged == []


def test_what_was_lost_before_it_was_up_again_begins_no_burst() -> None:
    line = Line(lambda _, at_s: None if at_s == 5 else RTT_S, mode="down").until(5.05)
    line.believe("up")
    line.until(20)
    assert {len(ask.targets) for at_s, ask in line.asked if at_s > 5.05} == {1}


def test_an_idle_line_that_is_found_poor_is_asked_as_often_as_one_that_is_down() -> None:
    """An idle one is asked ten times more seldom: its way back must not be."""
    line = Line(lambda *_: RTT_S, probe("{interval: 10s}"))
    line.sense(idle=True)
    line.until(115)
    line.believe("down")
    line.until(141)
    assert [at_s for at_s, _ in line.asked if at_s > 115] == [120, 130, 140]


@pytest.mark.parametrize("mode", ["unknown", "down"])
def test_the_first_sign_of_life_and_who_is_silent_no_more(mode: Mode) -> None:
    """Both are told, although one answer says it."""

    def rtt(target: Target, at_s: float) -> float | None:
        return None if (target == DEAD) == (at_s < 60) else RTT_S

    line = Line(rtt).until(60)
    line.believe("off")
    line.believe(mode)
    line.until(61)
    assert [one.targets for one in line.silenced] == [(DEAD,), ()]
    assert line.judged[0].ok


# -- time


@pytest.mark.parametrize("mode", MODES)
def test_to_be_woken_too_early_does_nothing(mode: Mode) -> None:
    line = Line(lambda _, at_s: RTT_S if at_s < 0.4 and mode == "up" else None, mode=mode)
    for hundredth in range(1, 300):
        line.until(hundredth / 100)
        assert asking.turn(line.state, line.state.due_s - 0.005) == (line.state, ())


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.9])
def test_turns_are_at_the_phase_of_the_interval(phase: float) -> None:
    """Who has the same phase asks at the same time: the machine wakes once for all."""
    turns = [(phase + number) / 2 for number in range(6)]
    for mode in MODES:
        line = Line(lambda *_: RTT_S, mode=mode, phase=phase).until(2.99)
        # a new line is asked at once
        new = {0.0} if mode == "unknown" else set()
        assert [at_s for at_s, _ in line.asked] == pytest.approx(sorted({*new, *turns}))


def test_a_turn_that_is_a_little_late_delays_no_other() -> None:
    line = Line(lambda *_: RTT_S).until(9.9)
    line.now_s = 10.2
    line.turn()
    assert line.until(10.4).state.due_s == pytest.approx(10.5)


@pytest.mark.parametrize("late_s", [0.26, 30.0])
def test_a_router_that_slept_does_not_blame_its_lines(late_s: float) -> None:
    """Suspended, or starved of its processor: what was asked before says nothing."""
    line = Line(lambda _, at_s: RTT_S if at_s < 9.5 else None).until(9.5)
    _, acts = asking.turn(line.state, line.state.due_s + late_s)
    assert not any(isinstance(act, Listen | Tallied) for act in acts)


def test_a_router_that_slept_goes_on_at_the_next_turn() -> None:
    line = Line(lambda *_: RTT_S).until(9.9)
    state, acts = asking.turn(line.state, 39.6)
    assert acts == ()
    assert state.due_s == pytest.approx(40)


def test_a_router_that_slept_in_the_middle_of_a_burst_begins_it_anew() -> None:
    line = Line(lambda _, at_s: RTT_S if at_s < 9.5 else None).until(9.75)
    assert line.state.due_s == pytest.approx(9.8)
    line.now_s = 40.1
    line.turn()
    line.until(42)
    rounds = [at_s for at_s, ask in line.asked if at_s > 40 and at_s < line.judged[0].at_s]
    assert [round(at_s, 6) for at_s in rounds] == [40.1, 40.2, 40.3]


def test_a_router_that_is_only_busy_still_notices() -> None:
    line = Line(lambda _, at_s: RTT_S if at_s < 9.5 else None).until(9.5)
    _, acts = asking.turn(line.state, line.state.due_s + 0.24)
    assert [type(act) for act in acts] == [Listen, Ask]


def test_who_is_up_hears_answers_when_there_is_more_to_do() -> None:
    """Late, but they are as old as they are: what is measured does not know of it."""
    line = Line(lambda *_: RTT_S).until(0.5 + RTT_S * 2)
    # the first, when nothing was known of the line
    assert len(line.tallied) == 1
    line.until(5)
    rtts_ms = [rtt_ms for one in line.tallied for _, rtt_ms in one.answers]
    assert rtts_ms == [approx(RTT_S * 1000)] * 10
    assert line.judged == []
    assert line.state.patience_s == LEAST_PATIENCE_S


def test_who_answers_in_no_time_is_heard_at_once() -> None:
    line = Line(lambda *_: AWAKE_S / 2).until(5 + AWAKE_S)
    assert [one.at_s - one.asked_s for one in line.tallied] == [approx(AWAKE_S / 2)] * 11


def test_an_answer_from_before_the_question_is_to_another() -> None:
    """Gateways announce themselves unasked, and a clock that is set forward makes answers old."""
    line = Line(lambda *_: None).until(0)
    ((at_s, ask),) = line.asked
    before = line.state
    line.state, acts = asking.hear(before, Reply(ask.targets[0], ask.number, at_s - 0.1), at_s)
    assert (line.state, acts) == (before, ())


def test_what_came_before_a_doubt_says_nothing_against_it() -> None:
    """Nobody has read it yet when the device's counters tell that the line is mute."""
    line = Line(lambda _, at_s: RTT_S if at_s < 1 else None).until(0.5 + RTT_S * 2)
    line.sense(mute=True)
    assert line.state.burst
    assert line.state.burst.heard == frozenset()


def test_lines_that_were_asked_together_are_doubted_together() -> None:
    """Each wake costs; they are asked one after another, so a little apart."""
    due = []
    for late_s in (0.0003, 0.0007, 0.0011, 0.003):
        line = Line(lambda *_: None)
        line.now_s = 10 + late_s
        line.state = line.state._replace(next_s=line.now_s)
        line.turn()
        line.state = line.state._replace(slowest_s=RTT_S)
        due.append(line.state.due_s)
    assert due == [10.11] * 4


# -- every question is counted


def test_only_rounds_out_of_turn_are_bursts() -> None:
    """A measurement is of calm times, or of a line that is to come back."""
    line = Line(lambda _, at_s: None if 5 <= at_s < 8 else RTT_S).until(20)
    down_s = line.judged[0].at_s
    rtts_ms = [rtt_ms for one in line.tallied for _, rtt_ms in one.answers if rtt_ms is not None]
    assert rtts_ms == [approx(RTT_S * 1000)] * len(rtts_ms)
    assert {(len(one.answers), one.burst) for one in line.tallied if one.asked_s < down_s} == {
        (1, False),
        (3, True),
    }
    assert {(len(one.answers), one.burst) for one in line.tallied if one.asked_s > down_s} == {
        (3, False)
    }

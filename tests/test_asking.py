"""What is asked, when, and what is made of the answers.

A trace has a letter each tenth of a second: `.` answers take 20 ms, `!` none comes, `~` they take
a second.  Below stands what was asked then: `-` nothing, `1` one target, `3` all three; and the
verdict: `D` silence, `U` life.
"""

import itertools
from itertools import pairwise
from random import Random

import pytest

from line import ALIVE, DEAD, HOURS_S, RTT_S, SLOW_S, STEP_S, TARGETS, Line, probe
from nib.monitor import asking
from nib.monitor.asking import LEAST_PATIENCE_S, Mode
from nib.monitor.health import Health, measure
from nib.monitor.tally import Tally
from nib.probe import Probe
from nib.targets import Target


def told(trace: str, of: Probe | None = None, mode: Mode = "up", arriving: bool = False) -> str:
    """What was asked and decided in every tenth of a second of a trace."""
    takes: dict[str, float | None] = {".": RTT_S, "!": None, "~": SLOW_S}

    def rtt(_: Target, at_s: float) -> float | None:
        place = round(at_s / STEP_S, 6)
        return takes[trace[min(int(place), len(trace) - 1)]]

    line = Line(rtt, of, mode=mode, arrives=lambda _: arriving)
    line.until(len(trace) * STEP_S - 0.001)
    letters = ["-"] * len(trace)
    for at_s, ask in line.asked:
        letters[int(round(at_s / STEP_S, 6))] = str(len(ask.targets))
    for verdict in line.judged:
        letters[int(round(verdict.at_s / STEP_S, 6))] = "U" if verdict.ok else "D"
    return "".join(letters)


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        # calm: one target every 500 ms
        ("................", "1----1----1----1"),
        # a lost packet: all targets answer the first round of the burst, and nothing comes of it
        (".....!..........", "1----13---1----1"),
        # two rounds of the burst are lost as well
        (".....!!!........", "1----1333-1----1"),
        # silence: three rounds, and the answers to the last have their time
        (".....!!!!!!!!!!!!!!!", "1----1333D3----3----"),
        # back: a round of all targets each interval, each answered one is said
        (".....!!!!!!!!.......", "1----1333D3----U----"),
        # dead from the first question on: there is no answer yet to hurry by
        ("!!!!!!!!!!!!!!!!!!!!!!!!", "1----1----333---------D-"),
    ],
)
def test_traces(trace: str, expected: str) -> None:
    assert told(trace) == expected


def test_a_wrong_answer_is_none_and_says_why() -> None:
    """A captive portal answers at once, and each verdict says what."""
    line = Line(lambda *_: RTT_S, wrong=lambda _, at_s: "is a portal" if at_s >= 10 else None)
    line.until(20)
    assert 10 < line.judged[0].at_s < 11
    assert {verdict.ok for verdict in line.judged} == {False}
    assert {verdict.refusals for verdict in line.judged} == {
        tuple((str(target), "is a portal") for target in TARGETS)
    }


def test_who_answered_as_well_is_not_named_for_a_wrong_answer() -> None:
    line = Line(
        lambda target, at_s: RTT_S if at_s < 9.5 or target == ALIVE else None,
        probe("{quorum: 2}"),
        wrong=lambda _, at_s: "is a portal" if 9.5 < at_s < 9.65 else None,
    )
    verdict = line.until(11).judged[0]
    assert (verdict.asked_s, verdict.ok, verdict.refusals) == (9.5, False, ())


def test_a_wrong_answer_of_one_target_takes_no_uplink_down() -> None:
    line = Line(lambda *_: RTT_S, wrong=lambda target, _: "refused" if target == DEAD else None)
    assert line.until(60).judged == []
    assert line.silenced[-1].targets == (DEAD,)


def test_a_new_line_is_judged_by_its_first_answer() -> None:
    assert told("......", mode="unknown") == "U----1"


def test_a_new_line_that_has_answered_is_one_like_others() -> None:
    assert told("......!!!!!!!!!!", mode="unknown") == "U----1----1333D3"


def test_a_new_line_that_is_silent_has_the_whole_timeout() -> None:
    assert told("!" * 14, mode="unknown") == "333---------D-"


def test_a_line_that_is_off_is_not_asked() -> None:
    assert told("......", mode="off") == "------"


def test_fall_is_the_rounds_of_a_burst() -> None:
    assert told(".....!!!!!!", probe("{fall: 1}")) == "1----13D--3"
    assert told(".....!!!!!!", probe("{fall: 4}")) == "1----13333D"


def test_a_silent_failure_is_decided_within_a_second_at_the_defaults() -> None:
    """mwan3 takes 120 s, PolyWAN 17 s, pfSense 12 s: peers ask for less, and OMR#1531 for 2 s."""
    for phase in range(50):
        cut_s = 60 + phase / 100
        line = Line(lambda _, at_s, cut_s=cut_s: RTT_S if at_s < cut_s else None).until(70)
        assert line.judged[0].at_s - cut_s <= 0.9 + 1e-6
        assert line.judged[0].asked_s >= cut_s


def test_all_targets_are_asked_before_an_uplink_is_given_up() -> None:
    line = Line(lambda _, at_s: RTT_S if at_s < 10 else None).until(12)
    last = [ask.targets for at_s, ask in line.asked if 10 <= at_s <= line.judged[0].at_s]
    assert last[-3:] == [TARGETS] * 3


def test_a_target_that_is_out_of_order_does_not_take_the_uplink_down() -> None:
    """Public resolvers limit echo requests; with several targets one of them may."""
    line = Line(lambda target, _: None if target == DEAD else RTT_S).until(600)
    assert line.judged == []
    assert [one.targets for one in line.silenced] == [(DEAD,)]
    # it was asked three times for nothing, and each had the whole timeout
    (silent_s,) = [one.at_s for one in line.silenced]
    assert sum(DEAD in ask.targets and at_s + 1 <= silent_s for at_s, ask in line.asked) == 3
    # the others have its turns, and it is asked at every twentieth whether it is back
    turns = [at_s for at_s, ask in line.asked if at_s > 60 and DEAD not in ask.targets]
    again = [at_s for at_s, ask in line.asked if at_s > 60 and DEAD in ask.targets]
    assert {turns.index(after) - turns.index(at_s) for at_s, after in pairwise(again)} == {20}
    assert not any(DEAD in dict(one.answers) for one in line.tallied if one.at_s > 60)


def test_who_answers_is_not_silent_because_another_is() -> None:
    """All are asked at once while a line is down, and most answer."""

    def rtt(target: Target, at_s: float) -> float | None:
        return None if target == DEAD or (target == ALIVE and 5 <= at_s < 6) else RTT_S

    line = Line(rtt, mode="down").until(20)
    assert [one.targets for one in line.silenced] == [(DEAD,)]


def test_a_target_that_is_back_has_its_turns_again() -> None:
    line = Line(lambda target, at_s: None if target == DEAD and at_s < 60 else RTT_S).until(90)
    assert [one.targets for one in line.silenced] == [(DEAD,), ()]
    last = [ask.targets for at_s, ask in line.asked if at_s > 80]
    assert sum(targets == (DEAD,) for targets in last) >= len(last) // 3


@pytest.mark.parametrize("targets", [TARGETS, (ALIVE, DEAD)], ids=["three", "two"])
@pytest.mark.parametrize("lost", [0.0, 0.05])
def test_a_resolver_that_answers_one_question_in_three_does_not_take_the_uplink_down(
    targets: tuple[Target, ...], lost: float
) -> None:
    """It limits how often it is asked, all of a sudden: neither silence nor loss of the line."""
    of = probe("{loss: {down: 20%, up: 10%}}")
    random, asked = Random(1), itertools.count()

    def rtt(target: Target, at_s: float) -> float | None:
        limited = at_s >= 600 and target == DEAD and next(asked) % 3
        return None if limited or random.random() < lost else RTT_S

    line = Line(rtt, of, targets).until(3600)
    assert line.judged == []
    tally, health = Tally(), Health("up", 0)
    for one in line.tallied:
        if not one.burst:
            tally = tally.add(one.answers)
            health = measure(health, tally, one.at_s, of)
            assert health.state == "up", tally.loss
    assert tally.loss is not None
    assert tally.loss < lost + 0.1
    # nor is it pressed for its answers, which would make it worse
    assert len([ask for at_s, ask in line.asked if at_s > 700 and DEAD in ask.targets]) < 1500


def test_two_silent_targets_leave_one_that_is_asked_every_interval() -> None:
    line = Line(lambda target, _: RTT_S if target == ALIVE else None).until(100)
    assert line.judged == []
    assert set(line.silenced[-1].targets) == {*TARGETS} - {ALIVE}
    line.rtt = lambda _, __: None
    line.until(102)
    assert line.judged[0].at_s - 100 <= 0.9 + 1e-6


def test_a_quorum_of_two_needs_two() -> None:
    of = probe("{quorum: 2}")
    one = Line(lambda target, at_s: RTT_S if at_s < 10 or target == ALIVE else None, of)
    assert not one.until(20).judged[0].ok
    two = Line(lambda target, at_s: RTT_S if at_s < 10 or target != DEAD else None, of)
    assert two.until(20).judged == []


def test_a_dead_target_does_not_keep_a_line_down() -> None:
    line = Line(lambda target, at_s: None if target == DEAD or at_s < 5 else RTT_S, mode="down")
    line.until(20)
    verdicts = [verdict for verdict in line.judged if verdict.asked_s >= 5]
    assert {verdict.ok for verdict in verdicts} == {True}
    # each said once
    assert [verdict.asked_s for verdict in verdicts] == [5 + turn / 2 for turn in range(30)]


# -- slow is not dead


def test_a_saturated_line_is_not_a_dead_line() -> None:
    """NethServer/dev#5305: the line is full, answers take a second, but downloads go on."""
    full = "....." + "~" * 30
    assert "D" not in told(full, arriving=True)


def test_a_line_that_is_slower_than_the_timeout_is_not_dead_yet() -> None:
    """Late answers make no difference to who is down, but who is up is not taken for dead."""
    assert Line(lambda *_: 1.2).until(60).judged == []


def test_a_line_by_which_something_arrives_is_given_up_after_the_timeout() -> None:
    """Its answers have all the time of `timeout`, from the last round."""
    said = told("....." + "!" * 20, arriving=True)
    assert said.index("D") == 5 + 1 + 2 + 10


def test_a_doubt_that_took_long_asks_on_at_the_next_turn() -> None:
    """The line is slow for a moment: answers to the burst come a turn later."""
    trace = ".....!~~~~~~~~................"
    assert told(trace, arriving=True) == "1----1333-----------1----1----"


def test_an_answer_that_is_late_counts() -> None:
    """The third round is answered while the verdict is near."""
    assert "D" not in told(".....~!!!!!!....", probe("{fall: 12}"))


def test_a_slow_line_is_not_hurried() -> None:
    """A satellite: 600 ms, and none is missed; asked as seldom as others, one target at a time."""
    line = Line(lambda _, __: 0.6).until(60)
    assert line.judged == []
    assert [len(ask.targets) for _, ask in line.asked] == [1] * 121
    assert line.state.patience_s == pytest.approx(0.9)


def test_a_line_that_was_slow_is_trusted_to_be_so_for_a_while() -> None:
    line = Line(lambda _, at_s: 0.4 if 10 <= at_s < 11 else RTT_S).until(12)
    assert line.state.patience_s > 0.5
    line.until(120)
    assert line.state.patience_s == LEAST_PATIENCE_S


def test_a_spike_of_the_whole_line_is_no_answer_where_nothing_else_comes_in() -> None:
    """A line that holds everything back for a second is as good as dead, and then it is back."""
    spike = "....." + "~" * 10 + "." * 40
    assert "D" in told(spike)
    assert told(spike).count("U") >= 4
    assert "D" not in told(spike, arriving=True)


def test_loss_while_a_download_fills_the_line_takes_it_down_four_times_later() -> None:
    line = Line(lambda _, at_s: RTT_S if at_s < 10 else None).until(10)
    line.sense(full=True)
    line.until(14)
    verdict_s = line.judged[0].at_s
    rounds = [at_s for at_s, ask in line.asked if ask.targets == TARGETS and at_s < verdict_s]
    assert len(rounds) == 4 * 3
    assert 1.2 < line.judged[0].at_s - 10 < 2.5


def test_a_burst_that_a_full_line_swallows_is_no_verdict() -> None:
    line = Line(lambda _, at_s: RTT_S if not 10 <= at_s < 11 else None).until(10)
    line.sense(full=True)
    assert line.until(20).judged == []


@pytest.mark.parametrize(("full", "queue_s"), [(False, 2.0), (True, 4.0)])
def test_a_queue_that_is_longer_than_the_timeout_is_not_dead(full: bool, queue_s: float) -> None:
    """Whoever uploads by an old modem: each answer comes, but too late to be counted as one."""

    def rtt(_: Target, at_s: float) -> float:
        return min(RTT_S + max(at_s - 10, 0) / 4, queue_s)

    line = Line(rtt, arrives=lambda _: True).until(10)
    line.sense(full=full)
    line.until(40)
    assert line.judged == []
    lost = [all(rtt is None for _, rtt in one.answers) for one in line.tallied if one.at_s > 12]
    assert sum(lost) > 20
    line.rtt = lambda *_: None
    line.sense(full=False)
    line.until(50)
    assert not line.judged[0].ok


def test_something_that_arrives_where_nothing_is_in_doubt_says_nothing() -> None:
    state = Line(lambda *_: RTT_S).until(10).state
    assert asking.arrive(state) == state


def test_samples_of_a_full_line_say_so() -> None:
    line = Line(lambda *_: RTT_S).until(10)
    line.sense(full=True)
    line.until(20)
    assert {tallied.full for tallied in line.tallied if tallied.at_s < 10} == {False}
    assert {tallied.full for tallied in line.tallied if tallied.at_s > 10} == {True}


# -- what the counters say


def test_a_line_that_goes_mute_is_asked_at_once() -> None:
    """A metered line is asked every ten seconds, and found dead within one all the same."""
    line = Line(lambda _, at_s: RTT_S if at_s < 21 else None, probe("{interval: 10s}"))
    line.until(21.2)
    line.sense(mute=True)
    line.until(23)
    assert line.judged[0].at_s - 21 < 0.6
    assert len([ask for at_s, ask in line.asked if at_s >= 21]) == 3


def test_a_mute_line_that_answers_is_up_and_costs_little() -> None:
    """Syslog to nobody, a camera that sends and hears nothing; and probes have a budget."""
    line = Line(lambda *_: RTT_S, probe("{interval: 10s}")).until(1)
    for at_s in range(1, 10):
        line.until(at_s)
        line.sense(mute=True)
    assert [len(ask.targets) for at_s, ask in line.asked if at_s > 0] == [3, 3, 3]
    for at_s in range(10, HOURS_S):
        line.until(at_s)
        line.sense(mute=True)
    assert line.judged == []
    assert sum(len(ask.targets) for _, ask in line.asked) < HOURS_S / 10 * 1.2


def test_a_false_alarm_does_not_hide_a_death_and_a_true_one_is_free() -> None:
    line = Line(lambda _, at_s: None if 21 <= at_s % 100 < 60 else RTT_S, probe("{interval: 10s}"))
    for round_s in range(0, 1000, 100):
        line.until(round_s + 1)
        line.sense(mute=True)
        line.until(round_s + 21.2)
        line.sense(mute=True)
        line.until(round_s + 22)
        assert not line.judged[-1].ok
        assert line.judged[-1].at_s - round_s - 21 < 0.6
        line.until(round_s + 71)
        assert line.judged[-1].ok
        line.believe("up")


def test_a_line_that_is_in_doubt_already_is_not_suspected_as_well() -> None:
    line = Line(lambda _, at_s: RTT_S if at_s < 10 else None)
    for tick in range(220):
        line.until(tick / 20)
        line.sense(mute=tick / 20 > 10.15)
    assert line.judged[0].at_s == pytest.approx(10.4)


@pytest.mark.parametrize("mode", ["down", "off", "unknown"])
def test_only_a_line_that_is_up_is_suspected(mode: Mode) -> None:
    line = Line(lambda *_: None, mode=mode)
    before = line.state
    line.sense(mute=True)
    assert line.state == before


def test_an_idle_metered_line_is_asked_seldom_and_at_once_when_it_is_used() -> None:
    line = Line(lambda *_: RTT_S, probe("{interval: 10s}"))
    for tick in range(2000):
        line.until(tick / 2)
        line.sense(idle=True)
    line.until(1000)
    times = [at_s for at_s, _ in line.asked]
    assert {after - at_s for at_s, after in pairwise(times[1:])} == {100}
    asked = len(line.asked)
    line.sense()
    line.until(1000.01)
    assert len(line.asked) == asked + 1
    line.until(1100)
    assert len(line.asked) == pytest.approx(asked + 10, abs=2)


def test_an_idle_line_that_lost_a_packet_is_asked_as_seldom_as_before() -> None:
    line = Line(lambda _, at_s: None if at_s == 200 else RTT_S, probe("{interval: 10s}"))
    line.sense(idle=True)
    line.until(400)
    assert [round(at_s, 6) for at_s, _ in line.asked] == [0, 100, 200, 200.1, 300, 400]


def test_an_idle_line_that_is_down_is_asked_as_often_as_ever() -> None:
    """Nobody can use it: that says nothing, and it is to be found up again."""
    line = Line(lambda *_: None, probe("{interval: 10s}"), mode="down")
    line.sense(idle=True)
    line.until(100)
    assert len(line.asked) == pytest.approx(10, abs=1)

"""What is asked, when, and what is made of the answers.

A trace has a letter each tenth of a second: `.` answers take 20 ms, `!` none comes, `~` they take
a second.  Below stands what was asked then: `-` nothing, `1` one target, `3` all three; and the
verdict: `D` silence, `U` life.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from line import TARGETS, Line, Rtt, probe
from nib.monitor import asking
from nib.monitor.asking import LEAST_PATIENCE_S, Ask, Listen, Mode
from nib.monitor.health import Health, observe
from nib.probe import Probe
from nib.targets import Ping, Target

RTT_S = 0.02
STEP_S = 0.1
SLOW_S = 1.0
HOURS_S = 4 * 3600
DEAD = Ping("ping", "8.8.8.8")
ALIVE = Ping("ping", "1.1.1.1")


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


def test_a_wrong_answer_of_one_target_takes_no_uplink_down() -> None:
    line = Line(lambda *_: RTT_S, wrong=lambda target, _: "refused" if target == DEAD else None)
    assert line.until(60).judged == []
    assert line.silenced[-1].targets == (DEAD,)


def test_a_new_line_is_judged_by_its_first_answer() -> None:
    assert told("......", mode="unknown") == "U----1"


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
    assert not any(tallied.rtts_ms == () for tallied in line.tallied if tallied.at_s > 60)


def test_a_target_that_is_back_has_its_turns_again() -> None:
    line = Line(lambda target, at_s: None if target == DEAD and at_s < 60 else RTT_S).until(90)
    assert [one.targets for one in line.silenced] == [(DEAD,), ()]
    last = [ask.targets for at_s, ask in line.asked if at_s > 80]
    assert sum(targets == (DEAD,) for targets in last) >= len(last) // 3


def test_two_silent_targets_leave_one_that_is_asked_every_interval() -> None:
    line = Line(lambda target, _: RTT_S if target == ALIVE else None).until(100)
    assert line.judged == []
    assert set(line.silenced[-1].targets) == {*TARGETS} - {ALIVE}
    line.rtt = lambda _, __: None
    line.until(102)
    assert line.judged[0].at_s - 100 <= 0.9 + 1e-6


def test_a_quorum_of_two_needs_two() -> None:
    of = probe("{quorum: 2}")
    one = Line(lambda target, at_s: RTT_S if at_s < 10 or target == "1.1.1.1" else None, of)
    assert not one.until(20).judged[0].ok
    two = Line(lambda target, at_s: RTT_S if at_s < 10 or target != DEAD else None, of)
    assert two.until(20).judged == []


# -- slow is not dead


def test_a_saturated_line_is_not_a_dead_line() -> None:
    """NethServer/dev#5305: the line is full, answers take a second, but downloads go on."""
    full = "....." + "~" * 30
    assert "D" not in told(full, arriving=True)


def test_a_line_by_which_something_arrives_is_given_up_after_the_timeout() -> None:
    """Its answers have all the time of `timeout`, from the last round."""
    said = told("....." + "!" * 20, arriving=True)
    assert said.index("D") == 5 + 1 + 2 + 10


def test_an_answer_that_is_late_counts() -> None:
    """The third round is answered while the verdict is near."""
    assert "D" not in told(".....~!!!!!!....", probe("{fall: 12}"))


def test_a_slow_line_is_not_hurried() -> None:
    """A satellite: 600 ms, and none is missed; asked as seldom as others."""
    line = Line(lambda _, __: 0.6).until(60)
    assert line.judged == []
    assert len(line.asked) == 121
    assert line.state.patience_s == pytest.approx(0.9)


def test_a_line_that_was_slow_is_trusted_to_be_so_for_a_while() -> None:
    line = Line(lambda _, at_s: 0.4 if 10 <= at_s < 11 else RTT_S).until(12)
    assert line.state.patience_s > 0.5
    line.until(120)
    assert line.state.patience_s == LEAST_PATIENCE_S


@pytest.mark.parametrize("late_s", [0.26, 30.0])
def test_a_router_that_slept_does_not_blame_its_lines(late_s: float) -> None:
    """Suspended, or starved of its processor: what was asked before says nothing."""
    line = Line(lambda _, at_s: RTT_S if at_s < 9.5 else None).until(9.5)
    _, acts = asking.turn(line.state, line.state.due_s + late_s)
    assert not any(isinstance(act, Listen) for act in acts)


def test_a_router_that_is_only_busy_still_notices() -> None:
    line = Line(lambda _, at_s: RTT_S if at_s < 9.5 else None).until(9.5)
    _, acts = asking.turn(line.state, line.state.due_s + 0.24)
    assert [type(act) for act in acts] == [Listen, Ask]


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


def test_a_mute_line_that_answers_is_up_and_not_asked_all_the_time() -> None:
    """Syslog to nobody, a camera that sends and hears nothing."""
    line = Line(lambda *_: RTT_S, probe("{interval: 1m}")).until(1)
    for tick in range(120):
        line.until(1 + tick / 10)
        line.sense(mute=True)
    line.until(20)
    assert line.judged == []
    assert [round(at_s, 6) for at_s, _ in line.asked] == [0, 1, 6, 11]


@pytest.mark.parametrize("mode", ["down", "off", "unknown"])
def test_only_a_line_that_is_up_is_suspected(mode: Mode) -> None:
    line = Line(lambda *_: None, mode=mode)
    before = line.state
    line.sense(mute=True)
    assert line.state == before


def test_an_idle_metered_line_is_asked_seldom_and_at_once_when_it_is_used() -> None:
    line = Line(lambda *_: RTT_S, probe("{interval: 10s}"))
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


def test_an_idle_line_that_is_down_is_asked_as_often_as_ever() -> None:
    """Nobody can use it: that says nothing, and it is to be found up again."""
    line = Line(lambda *_: None, probe("{interval: 10s}"), mode="down")
    line.sense(idle=True)
    line.until(100)
    assert len(line.asked) == pytest.approx(10, abs=1)


# -- never early, always in the end


TRACES = st.text(alphabet=".!~", min_size=1, max_size=60)
PROBES = st.builds(
    lambda fall, timeout, interval: probe(
        f"{{fall: {fall}, timeout: {timeout}ms, interval: {interval}ms}}"
    ),
    st.integers(1, 5),
    st.integers(200, 2000),
    st.integers(100, 1500),
)


def each(traces: list[str]) -> Rtt:
    """Every target has a trace of its own; what its last letter says goes on."""

    def rtt(target: Target, at_s: float) -> float | None:
        trace = traces[TARGETS.index(target)]
        return {".": RTT_S, "!": None, "~": SLOW_S}[trace[min(int(at_s / STEP_S), len(trace) - 1)]]

    return rtt


@given(
    st.lists(TRACES, min_size=1, max_size=3),
    PROBES,
    st.integers(1, 3),
    st.sampled_from(["up", "unknown"]),
)
def test_no_verdict_without_fall_rounds_of_all_and_too_few_answers(
    traces: list[str], of: Probe, quorum: int, mode: Mode
) -> None:
    """However the targets differ: all are asked `fall` times, and a quorum is silent each time."""
    rtt, targets = each(traces), TARGETS[: len(traces)]
    line = Line(rtt, replace(of, quorum=quorum), targets, mode).until(8)
    verdict = next((one for one in line.judged if not one.ok), None)
    if verdict is None:
        return
    rounds = [at_s for at_s, ask in line.asked if ask.targets == targets and at_s < verdict.at_s]
    assert len(rounds) >= of.fall
    heard = {
        target
        for target in targets
        for at_s in rounds[-of.fall :]
        if (took := rtt(target, at_s)) is not None and at_s + took < verdict.at_s
    }
    assert len(heard) < min(quorum, len(targets))
    assert verdict.asked_s <= rounds[-of.fall]


@given(TRACES, st.integers(2, 3), st.data(), PROBES)
def test_no_target_alone_takes_an_uplink_down(
    trace: str, count: int, data: st.DataObject, of: Probe
) -> None:
    """Where there are two, both must be silent; whatever the one does, and it is asked as well."""
    traces = ["."] * count
    traces[data.draw(st.integers(0, count - 1))] = trace
    of = replace(of, quorum=data.draw(st.integers(1, count - 1)))
    assert Line(each(traces), of, TARGETS[:count]).until(20).judged == []


@settings(max_examples=50)
@given(st.lists(TRACES, min_size=1, max_size=3), PROBES, st.integers(1, 3))
def test_no_flapping_without_news(traces: list[str], of: Probe, quorum: int) -> None:
    """Once every target stays as it is, so does what is believed of the line."""
    line = Line(each(traces), replace(of, quorum=quorum), TARGETS[: len(traces)])
    health, states = Health("up", 0.0), []
    for tick in range(300):
        heard = len(line.judged)
        line.until(tick / 10)
        for verdict in line.judged[heard:]:
            health = observe(health, verdict.ok, verdict.at_s, line.state.probe, verdict.asked_s)
        if health.state != line.state.mode:
            line.believe(health.state, quorum)
        states.append(health.state)
    assert len(set(states[-100:])) == 1


@settings(deadline=None)
@given(TRACES, PROBES)
def test_silence_is_always_found_and_life_too(trace: str, of: Probe) -> None:
    def rtt(_: Target, at_s: float) -> float | None:
        place = int(at_s / STEP_S)
        if place >= len(trace):
            return alive
        return {".": RTT_S, "!": None, "~": SLOW_S}[trace[place]]

    alive: float | None = None
    end_s = len(trace) * STEP_S
    line = Line(rtt, of).until(end_s + 20)
    assert line.judged
    assert not line.judged[-1].ok
    alive = RTT_S
    line.until(end_s + 30)
    assert line.judged[-1].ok


# -- a long time


@pytest.mark.parametrize("seed", range(2))
def test_hours_of_loss_spikes_and_a_dead_target_takes_nothing_down(seed: int) -> None:
    """2% of the packets are lost, one in 500 takes a second, one target of three is dead.

    `python -m bench month` does the same for thirty days.
    """
    line = Line(noisy(Random(seed))).until(HOURS_S)
    assert line.judged == []
    assert len(line.asked) < HOURS_S * 2 * 1.25


def noisy(random: Random) -> Callable[[str, float], float | None]:
    def rtt(target: str, _: float) -> float | None:
        if target == DEAD or random.random() < 0.02:
            return None
        return SLOW_S if random.random() < 0.002 else random.uniform(0.01, 0.04)

    return rtt

"""Whatever a line does: it is not given up early, but in the end, and all questions are counted."""

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from line import HOURS_S, RTT_S, SLOW_S, STEP_S, TARGETS, Line, Rtt, noisy, probe
from nib.monitor import asking
from nib.monitor.asking import Mode
from nib.monitor.health import Health, observe
from nib.probe import Probe
from nib.targets import Target

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


# -- never early, always in the end


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
@example(["~"], probe("{fall: 1, timeout: 200ms, interval: 1001ms}"), 1)
@given(st.lists(TRACES, min_size=1, max_size=3), PROBES, st.integers(1, 3))
def test_no_flapping_without_news(traces: list[str], of: Probe, quorum: int) -> None:
    """Once every target stays as it is, so does what is believed of the line."""
    # damping would only hide it
    of = replace(of, quorum=quorum, damping_ms=0)
    line = Line(each(traces), of, TARGETS[: len(traces)])
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


# -- nothing is lost


@given(TRACES, PROBES)
def test_every_round_is_counted_once(trace: str, of: Probe) -> None:
    """With the time of its answer, if that came in time."""
    rtt = each(["." + trace])
    line = Line(rtt, of, TARGETS[:1]).until(15)
    latest_s = 15 - 2 * (of.timeout_ms + of.interval_ms) / 1000
    counted = [one for one in line.tallied if one.asked_s < latest_s]
    assert sorted(one.asked_s for one in counted) == [at for at, _ in line.asked if at < latest_s]
    for one in counted:
        took_s = rtt(TARGETS[0], one.asked_s)
        ((_, rtt_ms),) = one.answers
        if rtt_ms is not None:
            assert took_s is not None and rtt_ms == pytest.approx(took_s * 1000)
        else:
            assert took_s is None or took_s * 1000 >= of.timeout_ms


@given(st.lists(TRACES, min_size=3, max_size=3), PROBES)
def test_who_is_silent_is_told_when_that_changes(traces: list[str], of: Probe) -> None:
    line = Line(each(traces), of).until(15)
    told = [frozenset(one.targets) for one in line.silenced]
    assert all(after != before for before, after in pairwise([frozenset(), *told]))
    assert [frozenset(), *told][-1] == asking.silent(line.state)


# -- a long time


@pytest.mark.parametrize("seed", range(2))
def test_hours_of_loss_spikes_and_a_dead_target_takes_nothing_down(seed: int) -> None:
    """2% of the packets are lost, one in 500 takes a second, one target of three is dead.

    `python -m bench month` does the same for thirty days.
    """
    line = Line(noisy(Random(seed))).until(HOURS_S)
    assert line.judged == []
    assert len(line.asked) < HOURS_S * 2 * 1.25

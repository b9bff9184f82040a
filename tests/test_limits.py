"""Lines that answer badly, under limits: the real scheduler and the real mind, for minutes."""

from random import Random

import pytest

import samples
from line import TARGETS, Line, Rtt
from nib.monitor import reports
from nib.monitor.tally import Tally
from play import Play

LIMITS = "loss: {down: 20%, up: 10%}, jitter: {down: 20ms, up: 10ms}"
RTT_S = 0.02
BAD = TARGETS[-1]
STEP_S = 0.05


def changes(rtt: Rtt, until_s: float, limits: str = LIMITS) -> list[tuple[float, str]]:
    """When the line went down and came back, in seconds, and what the journal heard."""
    of = Play(samples.plan(f"probe: {{{limits}, damping: 0s, canary: 0s}}\n{samples.TWO}"))
    of.act("0 cable .\n0 dsl .")
    line = Line(rtt, of.plan.uplinks[0].probe)
    found: list[tuple[float, str]] = []
    health = of.world.healths["cable", 4]
    while line.now_s < until_s:
        line.until(line.now_s + STEP_S)
        for event in sorted((*line.judged, *line.tallied), key=lambda one: one.at_s):
            of.until(event.at_s)
            of.step(event)
            now = of.world.healths["cable", 4]
            if now.state != health.state:
                found.append((event.at_s, reports.change(of.world, ("cable", 4), event.at_s)))
            health = now
        line.judged.clear()
        line.tallied.clear()
        line.believe(health.state)
    return found


@pytest.mark.parametrize("answered", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("seed", range(2))
def test_a_target_that_limits_its_answers_is_no_bad_line(answered: float, seed: int) -> None:
    """Public resolvers answer some of the pings; the others answer all of theirs."""
    random = Random(seed)

    def rtt(target: object, _: float) -> float | None:
        return None if target == BAD and random.random() > answered else RTT_S

    assert changes(rtt, 900) == []


def test_what_all_targets_lose_is_lost_by_the_line() -> None:
    random = Random(1)
    ((at_s, said), *_) = changes(lambda *_: None if random.random() < 0.35 else RTT_S, 300)
    assert at_s < 120
    assert "of the questions are lost" in said


def test_that_one_target_is_further_away_is_no_jitter() -> None:
    away_s = dict(zip(TARGETS, (0.01, 0.05, 0.12), strict=True))
    assert changes(lambda target, _: away_s[target], 120) == []


def test_what_comes_now_sooner_and_now_later_is_jitter() -> None:
    random = Random(1)
    ((_, said), *_) = changes(lambda *_: random.uniform(0.01, 0.14), 120)
    assert "answers differ by" in said


@pytest.mark.parametrize("outage_s", [5, 60, 600])
def test_an_outage_is_no_loss_of_the_line_that_is_back(outage_s: float) -> None:
    """With limits it was out for as long again as the window of the loss is: 50 seconds."""
    (_, (back_s, said)) = changes(
        lambda _, at_s: None if 60 <= at_s < 60 + outage_s else RTT_S, 120 + outage_s
    )
    assert back_s - 60 - outage_s < 3.5
    assert said == "cable is up: it answers"


def test_a_line_that_lost_too_much_returns_when_it_loses_less() -> None:
    random = Random(1)

    def rtt(_: object, at_s: float) -> float | None:
        return None if at_s < 120 and random.random() < 0.35 else RTT_S

    *_, (back_s, said) = changes(rtt, 240)
    assert 120 < back_s < 180
    assert said == "cable is up: it answers"


def test_loss_is_that_of_most_targets() -> None:
    def lost(*bad: float) -> float | None:
        tally = Tally()
        for number in range(100):
            answers = zip(TARGETS, bad, strict=False)
            tally = tally.add(tuple((t, None if number < 100 * b else 1.0) for t, b in answers))
        return tally.common_loss

    assert Tally().common_loss is None
    assert lost(0.4) == 0.4
    assert lost(0.1, 0.9) == 0.1
    assert lost(0.1, 0.3, 0.9) == 0.3

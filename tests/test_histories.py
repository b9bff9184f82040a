"""What the monitor never does, whatever happens, and what it always comes to."""

import itertools
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from nib.monitor import admin, core
from nib.monitor.core import PUBLISH_S, RIPE_S
from nib.monitor.events import (
    Event,
    Facts,
    Inquire,
    Judged,
    LoadState,
    LoadTable,
    Looked,
    Publish,
    Say,
    Woke,
)
from nib.state import carriers, render_state
from play import Play
from test_core import begun, settled

HAPPENINGS = st.sampled_from(
    [
        *(f"{name} {heard}" for name in ("cable", "dsl", "lte", "spare") for heard in "...!!!"),
        *(
            f"wan{number} {what}"
            for number in (1, 2, 3)
            for what in ("loses carrier", "gets carrier", "loses address", "gets address")
        ),
        "cable gateway 192.0.2.77",
        "removed default wan1 own",
        "removed default wan2 main",
        "removed rule 30500",
        "removed rule 30000",
        "networkd",
        "touched",
        *(f"order {verb} cable for 3" for verb in ("down", "up")),
        *(f"order down {name}" for name in ("dsl", "lte")),
        "order down cable force",
        "order auto cable",
        "order auto dsl",
        "restart",
        "end",
    ]
)
HISTORIES = st.lists(st.tuples(st.floats(0, 2, allow_subnormal=False), HAPPENINGS), max_size=40)


def lived(history: list[tuple[float, str]], text: str = "tiers") -> Play:
    """A monitor to which all that has happened."""
    of = begun(text)
    for pause_s, happening in history:
        of.act(f"{of.now_s + pause_s!r} {happening}")
    return of


@given(HISTORIES, st.sampled_from(["tiers", "careful"]))
def test_without_news_it_comes_to_rest(history: list[tuple[float, str]], text: str) -> None:
    """No flip without evidence, no repair twice; only what is known is kept fresh."""
    of = lived(history, text)
    # no canary, call back, pause of a dispute and peace after it takes longer
    of.act(f"{of.now_s + 45!r} end")
    rest_s, told = of.now_s, len(of.done)
    fresh = Publish | Inquire
    of.act(f"{of.now_s + 60!r} end")
    times = [at_s for at_s, effect in of.done[told:] if isinstance(effect, Publish)]
    assert [effect for _, effect in of.done[told:] if not isinstance(effect, fresh)] == []
    pauses = [after - before for before, after in itertools.pairwise([rest_s, *times, of.now_s])]
    assert max(pauses) <= PUBLISH_S + 1e-6
    assert min(pauses[1:-1]) >= RIPE_S - 1e-6


@given(HISTORIES, st.sampled_from(["tiers", "careful"]))
def test_what_is_known_already_asks_for_nothing(
    history: list[tuple[float, str]], text: str
) -> None:
    """Level, not edge: the same look or verdict a second time leads to nothing."""
    of = lived(history, text)
    of.act(f"{of.now_s + 30!r} end")
    at_s = of.world.wake_at - (PUBLISH_S - RIPE_S) - 1e-3
    again: list[Event] = [Looked(at_s, of.kernel.facts()), Woke(at_s)]
    again += [
        Judged(at_s, *key, health.state == "up", at_s)
        for key, health in of.world.healths.items()
        if health.state != "unknown"
    ]
    world = of.world
    for event in again:
        world, effects = core.step(world, event)
        assert effects == ()
    assert world.live == of.world.live


@given(HISTORIES)
def test_it_never_spins(history: list[tuple[float, str]]) -> None:
    """Nothing is asked for at a speed that a failing nft or kernel could not bear."""
    of = lived([(0.0, "nft refuses"), (0.0, "netlink refuses"), *history])
    told = len(of.done)
    of.act(f"{of.now_s + 10!r} end")
    loads = [effect for _, effect in of.done[told:] if isinstance(effect, LoadState | LoadTable)]
    warnings = [effect.text for _, effect in of.done[told:] if isinstance(effect, Say)]
    assert len(loads) <= 12
    assert len(warnings) == len(set(warnings))


@settings(max_examples=30)
@given(HISTORIES, HISTORIES, st.sampled_from(["tiers", "careful"]), st.data())
def test_whatever_happened_the_same_facts_lead_to_the_same_state(
    one: list[tuple[float, str]], other: list[tuple[float, str]], text: str, data: st.DataObject
) -> None:
    """Of the table, of the kernel's routes and rules, and of how the lines are asked."""
    alive = data.draw(st.sets(st.sampled_from(["cable", "dsl", "lte"]), min_size=1))
    assert ended(lived(one, text), alive) == ended(lived(other, text), alive)


def ended(of: Play, alive: set[str]) -> tuple[object, ...]:
    """What is true once all is as it should be, but that only some uplinks answer."""
    script = [f"{of.now_s!r} order auto {uplink.name}" for uplink in of.plan.uplinks]
    for number in (1, 2, 3):
        script += [f"{of.now_s!r} wan{number} gets {what}" for what in ("carrier", "address")]
    script.append(f"{of.now_s!r} cable gateway 192.0.2.1")
    of.act("\n".join(script))
    of.act(f"{of.now_s + 2!r} end")
    # longer than damping, canary and recall take
    for pause_s in (0.1, 0.1, 300.0, 0.1, 0.1):
        for uplink in of.plan.uplinks:
            heard = "." if uplink.name in alive else "!"
            of.act(f"{of.now_s!r} {uplink.name} {heard}")
        of.act(f"{of.now_s + pause_s!r} end")
    of.act(f"{of.now_s + 60!r} end")
    loads = [effect.text for _, effect in of.done if isinstance(effect, LoadState | LoadTable)]
    watched = {(effect.uplink, effect.mode) for effect in of.world.watched.values()}
    facts = of.kernel.facts()
    return loads[-1], facts.balance, {*facts.defaults}, {*facts.rules}, watched


@given(HISTORIES, st.permutations(["cable", "dsl", "lte", "spare"]), st.data())
def test_what_is_loaded_depends_on_what_is_true_and_not_on_how_it_came(
    history: list[tuple[float, str]], order: list[str], data: st.DataObject
) -> None:
    alive = data.draw(st.sets(st.sampled_from(order)))
    of = lived(history)
    for number in (1, 2, 3):
        of.act(f"{of.now_s!r} wan{number} gets carrier\n{of.now_s!r} wan{number} gets address")
    of.act(f"{of.now_s!r} networkd\n{of.now_s + 2!r} end")
    for name in order:
        of.act(f"{of.now_s!r} order auto {name}")
    for _ in range(3):
        for name in order:
            of.act(f"{of.now_s + 0.1!r} {name} {'.' if name in alive else '!'}")
    of.act(f"{of.now_s + 2!r} end")
    if carriers(of.plan.policies[0], frozenset(alive)):
        texts = [effect.text for _, effect in of.done if isinstance(effect, LoadState | LoadTable)]
        assert texts[-1] == render_state(of.plan, {4: frozenset(alive)})


@given(HISTORIES)
def test_who_is_down_by_order_is_given_nothing(history: list[tuple[float, str]]) -> None:
    of = lived(history)
    of.act(f"{of.now_s + 1!r} end")
    texts = [effect.text for _, effect in of.done if isinstance(effect, LoadState | LoadTable)]
    spread = [line for line in texts[-1].splitlines() if "add rule inet nib balance_" in line]
    given_some = {
        name for name in of.world.orders if any(f"new_{name} " in f"{s} " for s in spread)
    }
    assert given_some.isdisjoint(admin.down(of.world.orders))
    assert {4: of.world.live[4] & admin.down(of.world.orders)} == {4: frozenset()}


@given(st.data())
def test_the_order_of_facts_is_no_fact(data: st.DataObject) -> None:
    of = settled("tiers")
    of.act("2 removed default wan1 main\n2.5 end")
    facts = of.kernel.facts()
    shuffled = Facts(
        tuple(data.draw(st.permutations(facts.devices))),
        tuple(data.draw(st.permutations(facts.defaults))),
        facts.balance,
        tuple(data.draw(st.permutations(facts.rules))),
    )
    # all is worked out anew, and told
    world = replace(of.world, published=None, due_at=0.0)
    _, effects = core.step(world, Looked(3.0, facts))
    assert core.step(world, Looked(3.0, shuffled))[1] == effects


@settings(max_examples=30)
@given(st.lists(st.floats(0, 3), max_size=30))
def test_being_woken_too_early_or_too_often_does_nothing(pauses: list[float]) -> None:
    world, at_s = settled().world, 1.0
    for pause_s in pauses:
        at_s += pause_s
        world, effects = core.step(world, Woke(at_s))
        assert all(isinstance(effect, Publish) for effect in effects)


@given(HISTORIES)
def test_a_restart_forgets_no_verdict_and_no_penalty(history: list[tuple[float, str]]) -> None:
    of = lived(history, "careful")
    of.act(f"{of.now_s + 1!r} end")
    for key, now in core.begin(of.plan, of.now_s, of.published).healths.items():
        was = of.world.healths[key]
        # answers on the way back are counted anew
        assert replace(was, streak=0, poor=(), returned_s=None) == replace(now, returned_s=None)

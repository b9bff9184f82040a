"""What the monitor does when lines, leases, devices and other programs do what they do."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import samples
from line import TARGETS
from nib.monitor import admin, core, disputes, reports
from nib.monitor.core import PUBLISH_S, REPEAT_S
from nib.monitor.events import (
    AddDefault,
    AddRule,
    Answer,
    Event,
    Facts,
    Inquire,
    Inquired,
    Judged,
    LoadState,
    LoadTable,
    Looked,
    NextHop,
    Ordered,
    Poke,
    Poked,
    Publish,
    Say,
    SetBalance,
    Tallied,
    Woke,
)
from nib.state import carriers, render_state
from nib.stream import Command
from play import REACHES, Play

PLAYS = Path(__file__).parent / "plays"

PROBE = "probe: {rise: 2, damping: 0s, canary: 0s}\n"
USUAL = "probe: {rise: 2}\n"
TIERS = """\
uplinks:
  cable: {device: wan1, address: dhcp, ipv6: off, weight: 3}
  dsl: {device: wan2, address: dhcp, ipv6: off, weight: 1}
  lte: {device: wan3, address: dhcp, ipv6: off, tier: 2}
  spare: {device: wan4, address: dhcp, ipv6: off, weight: 0}
"""
RETURN = "policies: {default: {on_return: {udp: move, after: 5s}}}\n"
TEXTS = {
    "two": PROBE + samples.TWO,
    "tiers": PROBE + TIERS,
    "dual": PROBE + samples.DUAL,
    "usual": USUAL + samples.TWO,
    "usual failover": USUAL + "mode: failover\n" + samples.TWO,
    "hours": PROBE
    + samples.TWO
    + "rules:\n"
    + "  - {match: {time: 'Mon-Fri 08:00-18:00', protocol: udp}, use: dsl}\n"
    + "  - {match: {time: '22:00-06:00'}, use: cable}\n",
    "return": PROBE + "mode: failover\n" + RETURN + samples.TWO,
    "failover": PROBE + "mode: failover\n" + TIERS,
    "careful": USUAL + RETURN + TIERS,
    "several": PROBE
    + "mode: failover\n"
    + RETURN.replace(
        "}}}", "}}, calls: {tiers: [[dsl], [cable]], on_return: {udp: move, after: 20s}}}"
    )
    + TIERS
    + "rules: [{match: {protocol: udp, dport: 5060}, use: calls}]\n",
}


def begun(text: str) -> Play:
    """A monitor that knows nothing yet."""
    return Play(samples.plan(TEXTS[text]))


def settled(text: str = "two") -> Play:
    """A monitor at 1 s, to which every uplink has answered."""
    of = begun(text)
    answers = [
        f"0.1 {uplink.name} {'ipv6 ' if family == 6 else ''}."
        for uplink in of.plan.uplinks
        for family in uplink.families
    ]
    of.act("\n".join(answers) + "\n1 end")
    return of


@pytest.mark.parametrize("name", sorted(path.stem for path in PLAYS.glob("*.txt")))
def test_play(name: str, update_golden: bool) -> None:
    kept = PLAYS / f"{name}.txt"
    text = kept.read_text(encoding="utf-8")
    head, given, script = text.partition("given ")
    which, _, rest = script.partition("\n")
    of = settled(which.removesuffix(", all up")) if "all up" in which else begun(which)
    told = f"{head}{given}{which}\n{of.act(rest)}"
    if update_golden:
        kept.write_text(told, encoding="utf-8")
    assert told == text


# -- what is never so, whatever happens

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
    # a canary has its whole share after 10 s, and then what runs elsewhere may be called back
    of.act(f"{of.now_s + (5 if text == 'tiers' else 16)!r} end")
    rest_s, told = of.now_s, len(of.done)
    fresh = Publish | Inquire
    of.act(f"{of.now_s + 60!r} end")
    times = [at_s for at_s, effect in of.done[told:] if isinstance(effect, Publish)]
    assert [effect for _, effect in of.done[told:] if not isinstance(effect, fresh)] == []
    assert [after - before for before, after in itertools.pairwise(times)] == (
        pytest.approx([PUBLISH_S] * (len(times) - 1))
    )
    assert len(times) == pytest.approx((of.now_s - rest_s) / PUBLISH_S, abs=1)


@given(HISTORIES, st.sampled_from(["tiers", "careful"]))
def test_what_is_known_already_asks_for_nothing(
    history: list[tuple[float, str]], text: str
) -> None:
    """Level, not edge: the same look or verdict a second time leads to nothing."""
    of = lived(history, text)
    of.act(f"{of.now_s + 30!r} end")
    at_s = of.world.wake_at - 1e-3
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


def test_the_same_complaint_is_heard_again_after_a_minute() -> None:
    of = settled()
    of.act(f"2 touched\n{2 + REPEAT_S / 2} touched\n{2 + REPEAT_S} touched\n{2 + 2 * REPEAT_S} end")
    said = [at_s for at_s, effect in of.done if isinstance(effect, Say) and effect.warning]
    assert said == [2, 2 + REPEAT_S]


def test_a_return_whose_time_ran_out_while_nobody_watched_is_over() -> None:
    of = settled("usual")
    of.act("2 cable !\n10 cable .\n10.5 cable .\n11 end")
    world = core.begin(of.plan, 60.0, of.published)
    world, effects = core.step(world, Looked(60.0, of.kernel.facts()))
    assert world.easing == {} and world.healths["cable", 4].returned_s is None
    (state,) = [effect.text for effect in effects if isinstance(effect, LoadState)]
    assert state == render_state(of.plan, {4: frozenset({"cable", "dsl"})})


def test_a_line_that_was_too_bad_is_not_well_after_a_restart() -> None:
    """Its measurements are gone, and say nothing until there are enough of them again."""
    of = Play(samples.plan("probe: {rise: 2, loss: {down: 20%, up: 10%}}\n" + samples.TWO))
    of.act("1 cable .\n1 dsl .")
    for number in range(40):
        heard = ((TARGETS[0], None if number % 3 == 0 else 20.0),)
        of.step(Tallied(2 + number / 2, "cable", 4, heard, 2.0))
    of.act("30 restart\n31 cable .\n32 cable .\n33 cable .")
    assert of.world.healths["cable", 4].state == "down"
    assert reports.reason(of.world, ("cable", 4), 33.0) == (
        "it answers, but its loss is not measured anew yet (loss: down 20%, up 10%)"
    )
    for number in range(20):
        of.step(Tallied(34 + number / 2, "cable", 4, ((TARGETS[0], 20.0),), 34.0))
    of.act("50 cable .")
    assert of.world.healths["cable", 4].state == "up"


def test_what_is_in_dispute_has_a_name_of_its_own() -> None:
    plan = samples.plan(TEXTS["hours"].replace(samples.TWO, samples.DUAL))
    of = Play(plan)
    wanted = [
        *(AddRule(rule) for rule in plan.rules),
        *(AddDefault(replace(one, ours=True)) for one in of.kernel.defaults),
        *(SetBalance(4, (NextHop("wan1", "192.0.2.1", weight),)) for weight in (1, 2)),
        *(SetBalance(family, ()) for family in plan.families),
    ]
    names = [disputes.thing(effect) for effect in wanted]
    assert len(names) == len(set(names)) > 20


@pytest.mark.parametrize(("tcp", "others"), [(0, 0), (2, 0), (0, 1), (2, 1)])
def test_moved_connections_are_said_if_there_were_any(tcp: int, others: int) -> None:
    of = settled()
    of.act("2 wan1 loses carrier\n3 end")
    (wish,) = [effect for _, effect in of.done if isinstance(effect, Poke)]
    assert wish.own == ("192.0.2.10", "198.51.100.2", "192.0.2.12")
    _, effects = core.step(of.world, Poked(3.0, wish, tcp, others))
    said = [effect.text for effect in effects if isinstance(effect, Say)]
    assert said == ([reports.moved(wish, tcp, others)] if tcp + others else [])


def test_clients_of_a_family_are_not_the_router_itself() -> None:
    of = settled("dual")
    of.act("2 wan1 loses carrier\n3 end")
    pokes = [effect for _, effect in of.done if isinstance(effect, Poke)]
    assert {(one.family, ":" in own) for one in pokes for own in one.own} == {(4, False), (6, True)}


def test_an_order_before_the_first_look_is_to_be_given_again() -> None:
    """What can be used is not known yet."""
    world = core.begin(samples.plan(TEXTS["two"]), 0.0, None)
    world, effects = core.step(world, Ordered(0.1, 7, Command("down", "cable")))
    assert effects == (Answer(7, core.EARLY),)
    assert world.orders == {}


def test_a_fight_is_complained_of_once_however_long_it_lasts() -> None:
    of = settled()
    said = of.act("".join(f"{2 + second} touched\n" for second in range(200)))
    assert said.count("somebody changed nib's nft table") == 1
    assert said.count("warn something keeps removing nib's nft table") == 1


def test_a_line_that_stays_down_is_looked_at_every_minute() -> None:
    of = settled()
    of.act("2 cable !\n100 wan2 loses carrier\n130 end")
    assert [at_s for at_s, effect in of.done if isinstance(effect, Inquire)] == [2, 62, 122]


def test_an_order_that_ends_while_another_is_given_is_heard_of() -> None:
    of = settled("tiers")
    of.act("2 order down cable for 5\n3 lte !\n4 end")
    (ends,) = admin.ends(of.world.orders)
    for event in (
        Ordered(ends, 1, Command("down", "dsl")),
        Inquired(ends, "lte", 4, REACHES["nobody"]),
    ):
        _, effects = core.step(of.world, event)
        said = [effect.text for effect in effects if isinstance(effect, Say)]
        assert said[0] == "cable is left to its probes again: the time of the order is over"
        assert len(said) == 2


def test_who_is_down_by_order_and_has_no_address_runs_no_more() -> None:
    said = settled().act("2 order down cable\n3 wan1 loses address\n3.5 end")
    assert "    3 flip alive dsl; new dsl 100%\n    3 poke clients of cable\n" in said


def test_an_order_is_for_the_families_that_an_uplink_has() -> None:
    assert "answer done" in settled("dual").act("2 order down old\n3 end")


def test_no_flow_is_called_back_to_who_is_down_by_order() -> None:
    assert "leaves" not in settled("return").act("2 order down cable\n60 end")


def test_flows_are_called_back_once_the_better_has_its_whole_share() -> None:
    said = settled("careful").act("2 cable !\n3 dsl !\n20 cable .\n21 cable .\n40 end")
    back = next(line for line in said.splitlines() if "leaves" in line)
    # the canary takes 10 s, and `after` is 5 s
    assert back.split()[0] == "31"


# -- over a restart


@given(HISTORIES)
def test_a_restart_forgets_no_verdict_and_no_penalty(history: list[tuple[float, str]]) -> None:
    of = lived(history, "careful")
    of.act(f"{of.now_s + 1!r} end")
    for key, now in core.begin(of.plan, of.now_s, of.published).healths.items():
        was = of.world.healths[key]
        # answers on the way back are counted anew
        assert replace(was, streak=0, poor=(), returned_s=None) == replace(now, returned_s=None)


@pytest.mark.parametrize(("device", "uplink"), [("wan1", "cable"), ("wan3", "lte")])
def test_who_died_while_the_monitor_was_away_has_his_clients_asked(
    device: str, uplink: str
) -> None:
    """Also one that carried no new flows of late: he kept those that he had."""
    of = settled("tiers")
    of.kernel.devices[device] = replace(of.kernel.devices[device], carrier=False)
    assert f"poke clients of {uplink}\n" in of.act("3 restart\n4 end")


def test_a_gateway_that_only_the_last_monitor_knew_is_put_back() -> None:
    of = settled()
    of.kernel.defaults = [one for one in of.kernel.defaults if one.device != "wan1"]
    said = of.act("3 restart\n4 end")
    assert "add default wan1 own via 192.0.2.1" in said
    assert "add default wan1 main via 192.0.2.1" in said


def test_what_was_known_of_another_device_says_nothing() -> None:
    of = settled()
    of.act("1 cable !\n1.5 cable !\n2 cable !\n2 dsl !\n2.5 dsl !\n3 dsl !\n3.5 end")
    assert {health.state for health in core.begin(of.plan, 4, of.published).healths.values()} == {
        "down"
    }
    moved = samples.plan(TEXTS["two"].replace("wan1", "wan9"))
    begun_anew = core.begin(moved, 4, of.published)
    states = {name: health.state for (name, _), health in begun_anew.healths.items()}
    assert states == {"cable": "unknown", "dsl": "down"}

"""What the monitor does when lines, leases, devices and other programs do what they do."""

from dataclasses import replace
from pathlib import Path

import pytest

import samples
from line import TARGETS
from nib.monitor import admin, core, disputes, reports
from nib.monitor.core import REPEAT_S
from nib.monitor.events import (
    AddDefault,
    AddRule,
    Answer,
    Inquire,
    Inquired,
    LoadState,
    Looked,
    NextHop,
    Ordered,
    Poke,
    Poked,
    Say,
    SetBalance,
    Tallied,
)
from nib.state import render_state
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


def test_what_was_lost_in_an_outage_is_no_loss_of_the_line_that_is_back() -> None:
    of = Play(samples.plan("probe: {rise: 2}\n" + samples.TWO))
    of.act("1 cable .\n1 dsl .")
    lost = ((TARGETS[0], None),)
    of.step(Tallied(2.0, "cable", 4, lost, 2.0))
    of.act("3 cable !")
    of.step(Tallied(4.0, "cable", 4, lost, 4.0))
    assert of.world.tallies["cable", 4].rounds == (lost, lost)
    of.act("5 cable .")
    assert of.world.tallies["cable", 4].rounds == (lost, lost)
    of.act("20 cable .\n20.5 cable .")
    assert of.world.healths["cable", 4].state == "up"
    assert of.world.tallies["cable", 4].rounds == ()
    of.step(Tallied(21.0, "cable", 4, lost, 21.0))
    of.act("21.5 cable .")
    assert of.world.tallies["cable", 4].rounds == (lost,)


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

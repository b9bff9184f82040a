"""The monitor's knowledge in words and numbers."""

from dataclasses import replace

import pytest

import samples
from line import TARGETS
from nib import stream
from nib.ip_rules import Table
from nib.monitor import core, reports
from nib.monitor.events import (
    AddDefault,
    AddRule,
    Deed,
    Default,
    Inquired,
    Judged,
    Keep,
    LoadTable,
    Ordered,
    Publish,
    RemoveDefault,
    RemoveRule,
    SetBalance,
    Silenced,
    Tallied,
    Watch,
)
from nib.monitor.found import Found
from nib.monitor.tally import Tally
from nib.status import Status, from_json, to_json
from nib.status_report import is_down, status_report
from nib.targets import Command, Ping
from play import Play

PROBE = "probe: {rise: 3, hold_down: 10s, damping: 2m}\n"
TEXT = PROBE + samples.TWO
DOWN = "1 cable !\n2 cable !"


def told(script: str, text: str = TEXT) -> Status:
    """What status.json says after all that."""
    of = Play(samples.plan(text))
    of.act("0.1 dsl .\n" + script)
    return reports.status(of.world, of.now_s)


def reason(script: str, text: str = TEXT) -> str:
    """Why cable is as it is."""
    return told(script, text).uplinks[0].families[0].reason


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("1 end", "it has not answered yet"),
        ("1 cable .", "it answers"),
        (DOWN, "the link is fine, but none of 1.1.1.1, 9.9.9.9, 8.8.8.8 answered"),
        (
            f"{DOWN}\n3 cable reaches nobody",
            "the link is fine, but the gateway 192.0.2.1 does not answer",
        ),
        (
            f"{DOWN}\n3 cable reaches its gateway",
            "the gateway 192.0.2.1 answers, but nothing beyond it: "
            "none of 1.1.1.1, 9.9.9.9, 8.8.8.8 answered",
        ),
        (
            f"{DOWN}\n3 cable reaches a hop",
            "the gateway works and 100.64.0.1 behind it answers, but nothing beyond: "
            "none of 1.1.1.1, 9.9.9.9, 8.8.8.8 answered",
        ),
        (
            f"{DOWN}\n3 cable reaches the internet",
            "the internet answers pings, but none of 1.1.1.1, 9.9.9.9, 8.8.8.8 answered",
        ),
        (f"{DOWN}\n3 cable reaches nobody\n4 wan1 loses carrier", "wan1 has no carrier"),
        (f"{DOWN}\n3 cable reaches nobody\n4 cable .", "it answers again, 1 of 3 rounds"),
        (f"{DOWN}\n3 cable .", "it answers again, 1 of 3 rounds"),
        (f"{DOWN}\n3 cable .\n4 cable .", "it answers again, 2 of 3 rounds"),
        (
            f"{DOWN}\n3 cable .\n4 cable .\n5 cable .",
            "it answers again, and waits out its hold_down",
        ),
        (
            f"{DOWN}\n13 cable .\n14 cable .\n15 cable .",
            "it answers, and takes 10% of its share beside others",
        ),
        (
            "".join(
                f"{20 * n} cable !\n" + "".join(f"{20 * n + s} cable .\n" for s in (11, 12, 13))
                for n in range(1, 5)
            ),
            "it answers again, but went down too often: it is held down for 129 s",
        ),
        ("1 wan1 vanishes", "there is no device wan1"),
        ("1 wan1 loses carrier", "wan1 has no carrier"),
        ("1 wan1 loses address", "wan1 has no address yet, no DHCP server answers"),
        (f"{DOWN}\n3 wan1 loses carrier\n4 wan1 loses address", "wan1 has no carrier"),
        (
            "1 removed default wan1 main\n1 removed default wan1 own\n1 wan1 loses carrier\n"
            "2 wan1 gets carrier\n4 end",
            "wan1 has no gateway",
        ),
    ],
)
def test_reasons(script: str, expected: str) -> None:
    assert reason(script) == expected


def test_a_static_address_is_not_waited_for() -> None:
    static = TEXT.replace("address: dhcp", "address: 192.0.2.2/24, gateway: 192.0.2.1")
    assert reason("1 wan1 loses address", static) == "wan1 has no address"


def test_dns_is_not_to_blame_where_others_are_asked_as_well() -> None:
    mixed = TEXT.replace("rise: 3", "rise: 3, targets: [{dns: 9.9.9.9, name: a.example}, 1.1.1.1]")
    assert "DNS" not in reason(f"{DOWN}\n3 cable reaches the internet", mixed)


def test_how_far_a_line_reaches_is_said_of_the_family() -> None:
    of = Play(samples.plan(PROBE + samples.DUAL))
    of.act("1 dsl .\n1 dsl ipv6 .\n2 dsl !\n2 dsl ipv6 !\n3 end")
    for family, words in ((4, "dsl: the link"), (6, "dsl in IPv6: the link")):
        of.later(Inquired(4.0, "dsl", family, Found(gateway=False)))
        assert f"say {words} is fine, but the gateway" in of.act("5 end")
        of.now_s = 4.0


def test_a_wrong_answer_is_the_reason() -> None:
    of = Play(samples.plan(TEXT))
    of.act("0.1 cable .\n1 end")
    of.later(Judged(2.0, "cable", 4, False, 1.5, (("1.1.1.1", "is a portal"),)))
    said = of.act("3 end")
    assert "cable is down: the link is fine, but 1.1.1.1 is a portal (cable4-1)" in said
    # until the next verdict
    of.act("4 cable !")
    assert "portal" not in reports.reason(of.world, ("cable", 4), of.now_s)


def test_a_drill_is_the_reason_while_it_lasts() -> None:
    of = Play(samples.plan(TEXT))
    of.act("0.1 cable .\n0.1 dsl .\n1 end")
    of.later(Ordered(2.0, 1, stream.Command("drill", "cable", 5.0)))
    said = of.act("3 cable !\n4 end")
    assert "say cable is cut off for 5 s: a drill (says root)" in said
    assert reports.reason(of.world, ("cable", 4), 6.9).startswith("a drill cuts it off: the link")
    assert reports.reason(of.world, ("cable", 4), 7.0).startswith("the link")


def test_what_is_measured_without_an_address_does_not_count() -> None:
    of = Play(samples.plan(TEXT))
    of.act("0.1 cable .\n1 wan1 loses carrier")
    of.step(Tallied(2.0, "cable", 4, 1, (), 1.0))
    assert reports.status(of.world, 2.0).uplinks[0].families[0].loss is None


def test_a_quorum_is_spelled_out() -> None:
    strict = TEXT.replace("rise: 3", "rise: 3, quorum: 2")
    assert reason(DOWN, strict) == (
        "the link is fine, but fewer than 2 of 1.1.1.1, 9.9.9.9, 8.8.8.8 answered"
    )


def test_dns_that_is_dead_is_named() -> None:
    dns = TEXT.replace("rise: 3", "rise: 3, targets: [{dns: 9.9.9.9, name: example.com}]")
    assert reason(f"{DOWN}\n3 cable reaches the internet", dns) == (
        "the internet answers pings, but DNS does not work: none of dns 9.9.9.9 answered"
    )


def test_status() -> None:
    cable, dsl = told(f"1 cable .\n{DOWN}").uplinks
    (family,) = cable.families
    assert (cable.name, cable.device, cable.weight, cable.tier) == ("cable", "wan1", 3, 1)
    assert (family.health, family.since_s, family.share) == ("down", 1.0, 0.0)
    assert (family.address, family.gateway) == ("192.0.2.10", "192.0.2.1")
    assert (family.loss, family.rtt_ms) == (None, None)
    assert (dsl.families[0].health, dsl.families[0].share) == ("up", 1.0)


def test_an_outage_has_a_name_until_its_last_flow_is_back() -> None:
    text = TEXT.replace("hold_down: 10s", "canary: 4s")
    back = f"{DOWN}\n3 cable .\n4 cable .\n5 cable ."
    assert [
        told(script, text).uplinks[0].families[0].outage
        for script in ("1 cable .", DOWN, back, f"{back}\n9 end", f"{back}\n10 end\n10 cable !")
    ] == [None, "cable4-1", "cable4-1", None, "cable4-2"]


def test_what_is_lost_is_said_with_its_limits() -> None:
    of = Play(samples.plan("probe: {loss: {down: 20%, up: 10%}}\n" + samples.TWO))
    of.act("1 cable .\n1 dsl .")
    for number in range(40):
        heard = ((TARGETS[0], None if number % 3 == 0 else 20.0),)
        of.step(Tallied(2 + number / 2, "cable", 4, heard, 2.0))
    (family,) = reports.status(of.world, 30.0).uplinks[0].families
    assert (family.health, family.reason) == (
        "down",
        "it answers, but 35% of the questions are lost (loss: down 20%, up 10%)",
    )


def test_what_a_full_line_loses_does_not_take_it_down() -> None:
    """Complaints of bufferbloat: the download that fills the line must not be its end."""
    of = Play(samples.plan("probe: {loss: {down: 20%, up: 10%}}\n" + samples.TWO))
    of.act("1 cable .\n1 dsl .")
    for number in range(40):
        of.step(Tallied(2 + number / 2, "cable", 4, ((TARGETS[0], None),), 2.0, full=True))
    (family,) = reports.status(of.world, 30.0).uplinks[0].families
    assert (family.health, family.loss) == ("up", None)


def test_a_target_that_answers_nobody_is_to_blame_itself() -> None:
    """A public resolver's limit or bad day is said once, and takes no uplink down."""
    of = Play(samples.plan("probe: {quorum: 3}\n" + samples.TWO))
    of.act("1 cable .\n1 dsl .")
    silenced = (Ping("ping", "9.9.9.9"),)
    of.later(Silenced(2.0, "cable", 4, silenced))
    of.later(Silenced(3.0, "dsl", 4, silenced))
    of.later(Silenced(20.0, "dsl", 4, ()))
    said = of.act("10 end\n30 end")
    assert [line.strip() for line in said.splitlines() if "9.9.9.9" in line] == [
        "3 warn 9.9.9.9 answers on no uplink, but others do: it is left out of account",
        "20 say 9.9.9.9 answers again",
    ]
    quorums = [(e.uplink, e.quorum) for at_s, e in of.done if isinstance(e, Watch) and at_s > 1]
    assert quorums == [("cable", 2), ("dsl", 2), ("cable", 3), ("dsl", 3)]


def test_each_uplink_has_a_gateway_of_its_own_to_blame() -> None:
    probe = "probe: {targets: [{ping: gateway}, {command: /bin/ask}, 192.0.2.99]}\n"
    of = Play(samples.plan(probe + samples.TWO))
    of.act("1 cable .\n1 dsl .")
    own = (Ping("ping", None), Command("command", "/bin/ask"))
    of.later(Silenced(2.0, "cable", 4, own))
    of.later(Silenced(3.0, "dsl", 4, own))
    assert "answers on no uplink" not in of.act("10 end")


def test_shares_are_those_of_new_flows() -> None:
    cable, dsl = told("1 cable .").uplinks
    assert (cable.families[0].share, dsl.families[0].share) == (0.75, 0.25)


def test_what_stands_in_the_way_is_down_to_people_at_once() -> None:
    (family,) = told("1 cable .\n2 wan1 loses address").uplinks[0].families
    assert (family.health, family.since_s, family.address, family.gateway) == (
        "down",
        2.0,
        None,
        None,
    )


def test_ipv6_that_is_not_given_is_no_fault() -> None:
    """But where a static address asks for it, it is one."""
    script = "0.1 cable .\n0.1 cable ipv6 .\n0.1 old .\n0.1 dsl ipv6 .\n"
    script += "1 wan1 loses ipv6\n1 wan2 loses ipv6\n3 end"
    status = told(script, "probe: {fall: 2}\n" + samples.DUAL)
    cable, dsl, old = status.uplinks
    v4, v6 = cable.families
    assert (v4.health, v6.health, v6.share) == ("up", "absent", 0.0)
    assert (v6.reason, v6.address, v6.gateway) == ("wan1 has no IPv6 address", None, None)
    assert [family.health for family in dsl.families] == ["up", "down"]
    assert [family.family for family in old.families] == [4]
    assert reports.line(status) == "2 of 3 uplinks up, dsl is down in IPv6"
    assert is_down(status)
    lines = status_report(status, status.at_s, str).splitlines()
    absent = [words[:3] for line in lines if (words := line.split())[3:5] == ["no", "IPv6"]]
    assert absent == [["cable", "ipv6", "wan1"]]
    alone = replace(status, uplinks=(cable, old))
    assert not is_down(alone)
    assert from_json(to_json(status)) == status


def test_the_line_for_systemctl() -> None:
    assert reports.line(told("1 cable .")) == "2 of 2 uplinks up"
    assert reports.line(told("1 end")) == "1 of 2 uplinks up, cable is unknown"
    assert reports.line(told(DOWN)) == "1 of 2 uplinks up, cable is down"


# -- when status.json is written


def test_news() -> None:
    old = told("1 cable .")
    later = replace(old, at_s=old.at_s + 1)
    assert reports.news(None, old, 2.0)
    assert not reports.news(old, later, 2.0)
    assert reports.news(old, replace(old, at_s=old.at_s + 2), 2.0)
    assert reports.news(old, told(DOWN), 2.0)
    assert reports.news(old, told("1 cable .\n1 cable gateway 192.0.2.77"), 2.0)


def test_measurements_and_streaks_are_no_news() -> None:
    of = Play(samples.plan(TEXT))
    of.act("1 cable .")
    old = reports.status(of.world, 1.0)
    answers = tuple(zip(TARGETS, (20.0, 30.0, None), strict=True))
    measured, _ = core.step(of.world, Tallied(1.1, "cable", 4, answers, 1.0))
    of.act("1.2 cable .")
    assert not reports.news(old, reports.status(measured, 1.1), 2.0)
    assert not reports.news(old, reports.status(of.world, 1.2), 2.0)


# -- measurements


def test_no_round_no_number() -> None:
    assert (Tally().loss, Tally().rtt_ms) == (None, None)


def test_loss_and_median() -> None:
    tally = Tally()
    for rtts_ms in ((10.0, 30.0, None), (20.0, None, None), (None, None, None)):
        tally = tally.add(tuple(zip(TARGETS, rtts_ms, strict=True)))
    assert tally.loss == pytest.approx(6 / 9)
    assert tally.rtt_ms == 20.0


def test_loss_remembers_longer_than_rtt() -> None:
    (target, *_) = TARGETS
    tally = Tally().add(((target, 500.0),))
    for _ in range(10):
        tally = tally.add(((target, 10.0),))
    assert tally.rtt_ms == 10.0
    for _ in range(89):
        tally = tally.add(((target, None),))
    assert tally.loss == pytest.approx(0.89)
    assert tally.rtt_ms is None
    for _ in range(11):
        tally = tally.add(((target, None),))
    assert tally.loss == 1.0
    assert len(tally.rounds) == 100


# -- complaints

PLAN = samples.plan()
DEFAULT = Default(4, Table(254), "wan1", "192.0.2.1", 1001, ours=True)


@pytest.mark.parametrize(
    ("effect", "expected"),
    [
        (LoadTable(""), "the nft table or its state file is not in place: no"),
        (SetBalance(4, ()), "the balance table was not set: no"),
        (AddDefault(DEFAULT), "the default route by wan1 was not put back: no"),
        (RemoveDefault(DEFAULT), "the default route by wan1 was not taken back: no"),
        (AddRule(PLAN.rules[0]), "the ip rule 30000 was not put back: no"),
        (RemoveRule(PLAN.rules[0]), "the ip rule 30000 was not taken back: no"),
        (Keep(()), "orders are not kept across a reboot: no"),
        (Publish(told("1 end"), ""), "status.json was not written: no"),
    ],
)
def test_complaints(effect: Deed, expected: str) -> None:
    assert reports.complaint(effect, "no") == expected

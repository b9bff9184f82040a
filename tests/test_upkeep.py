"""What is kept in the kernel's routing, where the plays do not tell one thing from another."""

from dataclasses import replace

import pytest

import samples
import test_prefixes
from nib.families import Family
from nib.ip_rules import Priority, Rule
from nib.monitor.disputes import PATIENCE, Dispute
from nib.monitor.events import (
    AddDefault,
    AddNetwork,
    AddRule,
    Default,
    Device,
    Effect,
    Facts,
    NextHop,
    PresentRule,
    RemoveRule,
    SetBalance,
)
from nib.monitor.upkeep import MAIN, PUT_BACK6, Memory, learn, recall, refused, repair
from nib.state import EVENLY, everything
from nib.status import FamilyStatus, Status, UplinkStatus
from test_core import begun, settled

DUAL = samples.plan(samples.DUAL)
CABLE, DSL, OLD = DUAL.uplinks


def test_an_ipv6_default_gives_way_to_networkds_and_is_another_route() -> None:
    """The kernel would make one route of two with the same metric."""
    of = settled("dual")
    of.act("2 removed default wan1 main\n3 end")
    back = [effect.default for _, effect in of.done if isinstance(effect, AddDefault)]
    assert {(one.family, one.metric) for one in back} == {
        (4, CABLE.metric),
        (6, CABLE.metric + PUT_BACK6),
    }


def facts(*defaults: Default, address: str = "192.0.2.10") -> Facts:
    """Cable has an address, and only the routes that are named."""
    device = Device("wan1", 3, up=True, carrier=True, addresses=((4, address),))
    return Facts((device,), defaults, (), ())


VIA = Default(4, MAIN, "wan1", "192.0.2.1", CABLE.metric, ours=False)


def test_a_gateway_is_remembered_as_long_as_the_address() -> None:
    known = learn(DUAL, facts(VIA), Memory())
    assert known.gateways["cable", 4][0] == "192.0.2.1"
    assert learn(DUAL, facts(), known).gateways.keys() == {("cable", 4)}
    assert learn(DUAL, facts(address="198.51.100.9"), known).gateways == {}
    # an address of IPv6 says nothing of IPv4's gateway
    (device,) = facts().devices
    other = replace(facts(), devices=(replace(device, addresses=(*device.addresses, (6, "::1"))),))
    assert learn(DUAL, other, known).gateways.keys() == {("cable", 4)}
    for gone in (replace(device, carrier=False), replace(device, up=False)):
        assert learn(DUAL, replace(facts(), devices=(gone,)), known).gateways == {}


def test_what_the_last_monitor_knew_is_of_its_device_and_address() -> None:
    for device, address, found in (
        ("wan1", "192.0.2.10", True),
        ("wan9", "192.0.2.10", False),
        ("wan1", "192.0.2.11", False),
    ):
        told = Memory(told={("cable", 4): ("192.0.2.1", device, address)})
        known = learn(DUAL, facts(), told)
        assert bool(known.gateways) == found
        # it counts at the first look, and never again
        away = learn(DUAL, facts(address="198.51.100.9"), known)
        assert learn(DUAL, facts(), away).gateways == {}


@pytest.mark.parametrize(
    ("address", "gateway", "told"),
    [("192.0.2.10", "192.0.2.1", True), ("192.0.2.10", None, False), (None, "192.0.2.1", False)],
)
def test_a_line_without_a_gateway_leaves_none(
    address: str | None, gateway: str | None, told: bool
) -> None:
    """None is no point-to-point line: its next monitor would put a wrong default there."""
    one = FamilyStatus(4, "up", 1.0, "", address, gateway, None, None, 1.0)
    cable = UplinkStatus("cable", "wan1", 3, 1, (one,))
    known = recall(Status(1, 1.0, (cable,), ()), {}).told
    assert known == ({("cable", 4): ("192.0.2.1", "wan1", "192.0.2.10")} if told else {})


def test_the_gateway_is_that_of_the_uplinks_own_table() -> None:
    """A route in main may be another's; one of the monitor's own says what was."""
    own = replace(VIA, table=CABLE.table, gateway="192.0.2.254", metric=VIA.metric + 1)
    ours = replace(own, gateway="192.0.2.99", ours=True)
    for routes in ((VIA, own, ours), (ours, own, VIA)):
        assert learn(DUAL, facts(*routes), Memory()).gateways["cable", 4][0] == "192.0.2.254"


def balance(family: Family, *gateways: str | None) -> tuple[NextHop, ...]:
    """How the router's own new flows are spread if these are the gateways of cable and dsl."""
    devices = tuple(
        Device(uplink.device, index, True, True, ((family, f"address {index}"),))
        for index, uplink in enumerate((CABLE, DSL), start=3)
    )
    routes = tuple(
        Default(family, uplink.table, uplink.device, gateway, uplink.metric, ours=False)
        for uplink, gateway in zip((CABLE, DSL), gateways, strict=True)
    )
    now = Facts(devices, routes, (), ())
    known = learn(DUAL, now, Memory())
    _, effects, _ = repair(DUAL, now, everything(DUAL), known, 1.0, easing=EVENLY)
    (hops,) = [one.hops for one in effects if isinstance(one, SetBalance) and one.hops]
    return hops


def test_ipv6_is_shared_among_gateways_only() -> None:
    """A device that is the way itself has all of it, or nothing; of IPv4 it has its share."""
    cable, dsl = NextHop("wan1", "fe80::1", 3), NextHop("wan2", "fe80::2", 1)
    alone = NextHop("wan1", None, 1)
    assert balance(6, "fe80::1", "fe80::2") == (cable, dsl)
    assert balance(6, "fe80::1", None) == (replace(cable, weight=1),)
    assert balance(6, None, "fe80::2") == (dsl,)
    assert balance(6, None, None) == (alone,)
    assert balance(4, None, "192.0.2.2") == (
        replace(alone, weight=3),
        NextHop("wan2", "192.0.2.2", 1),
    )


def test_rules_of_a_device_are_put_back_while_it_carries() -> None:
    of = settled()
    (rule,) = [one for one in of.plan.rules if one.oif == "wan1" and one.family == 4]
    of.kernel.devices["wan1"] = replace(of.kernel.devices["wan1"], carrier=False)
    of.act(f"2 removed rule {rule.priority}\n5 end")
    assert AddRule(rule) not in [effect for _, effect in of.done]
    of.act("5 wan1 gets carrier\n6 end")
    assert AddRule(rule) in [effect for _, effect in of.done]


def test_an_uplink_without_a_gateway_hides_no_other() -> None:
    of = begun("two")
    of.kernel.defaults = [one for one in of.kernel.defaults if one.device != "wan1"]
    assert "add default wan2 main via 192.0.2.2" in of.act("1 removed default wan2 main\n3 end")


def test_what_the_kernel_refuses_is_no_dispute_but_others_are() -> None:
    one, other = AddDefault(VIA), SetBalance(4, ())
    disputed = {one: Dispute(3, 1.0), other: Dispute(3, 1.0)}
    assert refused(Memory(disputes=disputed), one).disputes == {other: Dispute(3, 1.0)}


def test_whatever_is_removed_again_and_again_is_in_dispute() -> None:
    """A kernel that shows nothing of what was put back looks like one that somebody clears."""
    plan = test_prefixes.plan()
    now = test_prefixes.carried("wan1", "wan2")
    memory, due = learn(plan, now, Memory()), set[Effect]()
    for at_s in range(PATIENCE + 1):  # of which the first may be its grace
        memory, asked, _ = repair(plan, now, everything(plan), memory, float(at_s), easing=EVENLY)
        due |= {*asked}
    assert {effect for effect, one in memory.disputes.items() if one.contested} == due
    assert {type(effect) for effect in due} == {AddRule, AddDefault, AddNetwork, SetBalance}
    sources = {effect.rule.source for effect in due if isinstance(effect, AddRule)}
    assert sources >= {None, "192.0.2.1", "2001:db8:1:100::6e:6962"}


def test_an_uplink_without_an_address_keeps_its_last_rules_but_no_others() -> None:
    of = settled()
    cable = of.plan.uplink("cable")
    of.act("2 wan1 loses address")
    of.act(f"3 left rule {cable.address_priority}\n4 end")
    removed = [effect.rule.source for _, effect in of.done if isinstance(effect, RemoveRule)]
    assert removed == [None]


def test_shortcuts_come_and_go_with_the_plan() -> None:
    """No file has them: the monitor puts them there, and takes back those of another plan."""
    plan = samples.plan(samples.uplinks(60))
    shortcuts = {rule for rule in plan.rules if rule.goto}
    others = tuple(PresentRule(rule, ours=False) for rule in plan.rules if not rule.goto)
    old = PresentRule(
        Rule(4, Priority(30093), "", mark=1, mask=56, goto=Priority(30131)), ours=True
    )
    now = Facts((), (), (), (*others, old))
    memory, first, next_s = repair(plan, now, everything(plan), Memory(), 0.0, easing=EVENLY)
    assert {one for one in first if not isinstance(one, SetBalance)} == {RemoveRule(old.rule)}
    assert next_s is not None
    _, later, _ = repair(plan, now, everything(plan), memory, next_s, easing=EVENLY)
    assert {one for one in later if isinstance(one, AddRule)} == {*map(AddRule, shortcuts)}


def test_a_leased_address_leads_to_the_table_of_its_uplink() -> None:
    of = settled()
    of.act("2 wan1 has 192.0.2.77\n3 end")
    added = [effect.rule for _, effect in of.done if isinstance(effect, AddRule)]
    cable = of.plan.uplink("cable")
    assert added[-1] == Rule(4, cable.address_priority, "", table=cable.table, source="192.0.2.77")


def test_each_policy_calls_back_after_its_own_time_and_from_all_its_later_tiers() -> None:
    of = begun("several")
    said = of.act(
        "".join(f"0.1 {uplink.name} .\n" for uplink in of.plan.uplinks) + "60 end"
    ).splitlines()
    left = [line.split()[0] for line in said if "leaves" in line]
    assert left == ["5", "20"]
    assert said[-2].endswith("default4 leaves 2; calls4 leaves 1")

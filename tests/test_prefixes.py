"""Networks that providers delegate: what the monitor makes of the kernel's facts."""

from dataclasses import replace
from pathlib import Path

import pytest

import private
from nib.check import check
from nib.document import parse
from nib.families import Family
from nib.monitor import core, moving
from nib.monitor.announce import advertisement
from nib.monitor.events import (
    AddNetwork,
    Announce,
    Announced,
    Default,
    Device,
    Facts,
    Failed,
    ForgetFlows,
    LanNetwork,
    Looked,
    Poke,
    Poked,
    RemoveNetwork,
)
from nib.monitor.prefixes import announced, learn, repairs
from nib.plan import Plan
from nib.planner import make_plan
from nib.render import render
from nib.state import render_state

CONFIG = b"""\
mode: failover
uplinks:
  cable: {device: wan1, address: dhcp, ipv6: routed, weight: 3, id: 1}
  dsl: {device: wan2, address: dhcp, ipv6: routed, id: 2}
  lte: {device: wan3, address: dhcp, ipv6: nptv6, id: 3}
lans:
  home: {device: lan1, address: [192.168.10.1/24, "fd00:10::1/64"]}
  guests: {device: lan2, address: 192.168.20.1/24}
  tv: {device: lan3, address: 192.168.30.1/24, ipv6: off}
"""
# guests have the first network, home the second, and the uplink's address is in the second
CABLE = ("2001:db8:1:ff::/64", "2001:db8:1:100::/64")
DSL = ("2001:db8:2::/64", "2001:db8:2:1::/64")
LTE = ("2001:db8:3::/64", "2001:db8:3:1::/64")
GATEWAYS: tuple[tuple[Family, str], ...] = ((4, "192.0.2.254"), (6, "fe80::1"))


def plan() -> Plan:
    return make_plan(check(parse("balance.yaml", CONFIG)))


def facts(*networks: LanNetwork, **addresses: str) -> Facts:
    """A device has, beside what a provider announces, the one address that is named."""
    own = {"wan1": ["2001:db8:1::9"], "wan2": [], "wan3": [], "lan1": [], "lan2": []}
    for device, address in addresses.items():
        own[device].append(address)
    devices = tuple(
        Device(name, index, up=True, carrier=True, addresses=tuple((6, one) for one in held))
        for index, (name, held) in enumerate(own.items(), start=1)
    )
    return Facts(devices, (), (), (), networks)


def test_a_network_is_known_by_the_uplinks_address_in_it() -> None:
    now = facts(wan1="2001:db8:1:100::6e:6962", wan3="2001:db8:3:1::6e:6962")
    assert learn(plan(), now, {}) == {"cable": CABLE, "lte": LTE}
    # the carrier is gone: clients still have it
    assert learn(plan(), facts(), {"cable": CABLE}) == {"cable": CABLE}
    # another one takes its place
    now = facts(wan1="2001:db8:2:1::6e:6962")
    assert learn(plan(), now, {"cable": CABLE}) == {"cable": DSL}
    # another monitor has left a route
    left = LanNetwork("2001:db8:2:1::/64", "lan1", 2)
    assert learn(plan(), facts(left), {}) == {"dsl": DSL}


def test_each_lan_gets_its_network() -> None:
    guests, home = LanNetwork(CABLE[0], "lan2", 1), LanNetwork(CABLE[1], "lan1", 1)
    known = {"cable": CABLE, "lte": LTE}
    assert {*repairs(plan(), facts(), known)} == {AddNetwork(guests), AddNetwork(home)}
    have = {"lan2": f"{CABLE[0].removesuffix('/64')}1"}
    old = LanNetwork("2001:db8:1:7::/64", "lan1", 1)
    # home has the route, but its address is gone
    again = repairs(plan(), facts(guests, home, old, **have), known)
    assert [*again] == [AddNetwork(home), RemoveNetwork(old)]


def test_only_what_carries_is_preferred() -> None:
    known = {"cable": CABLE, "dsl": DSL, "lte": LTE}
    everyone = frozenset({"cable", "dsl", "lte"})
    for alive, preferred in ((everyone, (True, False)), (everyone - {"cable"}, (False, True))):
        assert announced(plan(), {6: alive}, known) == tuple(
            Announced(device, tuple(zip((CABLE[n], DSL[n]), preferred, strict=True)))
            for n, device in enumerate(("lan2", "lan1"))
        )


def test_the_lans_are_told_once_and_again_when_that_changes() -> None:
    now, gone = carried("wan1", "wan2"), carried("wan2")
    world, told = core.begin(plan(), 0.0, None), []
    for at_s, seen in enumerate((facts(), now, now, gone, gone, now), start=1):
        world, effects = core.step(world, Looked(float(at_s), seen))
        told += [(at_s, *preferred(one)) for one in effects if isinstance(one, Announce)]
    # who has lost the carrier has to earn its way back
    assert told == [(2, True, False), (4, False, True)]


@pytest.mark.parametrize("event", [Poked, Failed])
def test_flows_of_a_dead_providers_own_network_are_forgotten(event: type) -> None:
    """Once its clients were asked, or cannot be; what is masqueraded the kernel forgets itself."""
    text = CONFIG.replace(b"ipv6: nptv6", b"ipv6: masquerade")
    world = core.begin(make_plan(check(parse("balance.yaml", text))), 0.0, None)
    world, _ = core.step(world, Looked(1.0, carried("wan2")))
    for name, family, forgets in (
        ("cable", 6, True),
        ("cable", 4, False),
        ("dsl", 6, False),
        ("lte", 6, False),
    ):
        poke = Poke(family, name, (), None)
        asked = Poked(2.0, poke, 1, 1) if event is Poked else Failed(2.0, poke, "no")
        _, effects = core.step(world, asked)
        assert (ForgetFlows(family, name) in effects) == forgets


def test_what_leaves_by_a_providers_own_network_is_not_called_back() -> None:
    """It has its addresses, and no other provider takes them."""
    text = CONFIG + b"policies: {default: {on_return: {udp: move, after: 5s}}}\n"
    for ipv6, families in ((b"routed, id: 2", (4,)), (b"masquerade, id: 2", (4, 6))):
        plan = make_plan(check(parse("balance.yaml", text.replace(b"routed, id: 2", ipv6))))
        world = core.begin(plan, 0.0, None)
        world, _ = core.step(world, Looked(1.0, carried("wan1", "wan2")))
        assert set(moving.left(world, 1.0)) == {("default", family, "dsl") for family in families}


def carried(*devices: str) -> Facts:
    """Only these have a carrier; they have addresses and gateways of both families."""
    now = facts(wan1="2001:db8:1:100::6e:6962", wan2="2001:db8:2:1::6e:6962")
    return replace(
        now,
        devices=tuple(
            replace(
                device,
                carrier=device.name in devices,
                addresses=((4, f"192.0.2.{device.index}"), *device.addresses),
            )
            for device in now.devices
        ),
        defaults=tuple(
            Default(family, uplink.table, uplink.device, gateway, uplink.metric, ours=False)
            for uplink in plan().uplinks
            for family, gateway in GATEWAYS
        ),
    )


def preferred(effect: Announce) -> tuple[bool, bool]:
    """Are clients to prefer the networks of cable, and those of dsl?"""
    ((cable, dsl),) = {tuple(yes for _, yes in lan.networks) for lan in effect.lans}
    return cable, dsl


def test_the_bytes_of_an_advertisement() -> None:
    """As in RFC 4861, sections 4.2 and 4.6.2."""
    assert advertisement([("2001:db8:1:100::/64", 0, 7200)]).hex(" ", 4) == (
        "86000000 40000708 00000000 00000000 "
        "030440c0 00001c20 00000000 00000000 20010db8 00010100 00000000 00000000"
    )
    # RFC 8106, section 5.1
    assert advertisement([], ["2620:fe::fe", "fd00::1"]).hex(" ", 4) == (
        "86000000 40000708 00000000 00000000 19050000 00000708 "
        "262000fe 00000000 00000000 000000fe fd000000 00000000 00000000 00000001"
    )


def test_nft_takes_the_networks(tmp_path: Path) -> None:
    table = render(plan())["nib/nib.nft"]
    assert isinstance(table, str)
    known = {"cable": CABLE, "dsl": DSL, "lte": LTE}
    lives = ({"cable", "dsl", "lte"}, {"dsl"}, set[str]())
    states = [render_state(plan(), {6: frozenset(alive)}, delegated=known) for alive in lives]
    assert "own_default6 { 2001:db8:2::/64 : goto new_dsl" in states[1]
    assert "fd00:10::/64 : 2001:db8:3:1::/64, 2001:db8:1:100::/64 : 2001:db8:3:1::/64" in states[0]
    private.load([table, *states, render_state(plan(), {6: frozenset(lives[0])})], tmp_path)

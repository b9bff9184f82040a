"""The oracle: what the plan says of a packet, case by case."""

from fractions import Fraction
from ipaddress import ip_address, ip_interface

import pytest

import samples
from nib.oracle import Packet, Situation, Unanswerable, Verdict, verdict
from nib.oracle.values import Protocol
from nib.state import everything

LEASES = {
    "wan1": (ip_interface("203.0.113.9/24"), ip_interface("2001:db8:1::9/64")),
    "wan3": (ip_interface("198.18.3.9/24"),),
    "tun0": (ip_interface("10.9.0.1/24"),),
}

RULES = """\
sets: {cameras: [192.168.10.64/28, "fd00:10::40/122"]}
policies:
  calls: {tiers: [[dsl], [old]], when_down: block}
  bulk: {tiers: [[old]]}
rules:
  - {match: {source: "@cameras", protocol: udp}, use: calls}
  - {match: {protocol: tcp, dport: [25, 1000-2000]}, use: dsl}
  - {match: {destination: 192.0.2.0/25}, use: default}
  - {match: {user: backup}, use: bulk}
  - {match: {lan: guests}, use: bulk}
  - {match: {dscp: ef}, use: calls}
"""

INWARDS = """\
firewall:
  allow:
    - {service: ssh, uplinks: [cable], limit: {rate: 5/minute}}
    - {protocol: udp, port: 51820, source: 203.0.113.0/24}
  forwards:
    - {protocol: tcp, port: 443, to: 192.168.10.20}
    - {protocol: tcp, port: 80, to: "192.168.10.20:8080", uplinks: [cable]}
"""


def asked(
    source: str | None,
    destination: str,
    device: str | None = None,
    *,
    text: str = RULES,
    base: str = samples.DUAL,
    dead: str = "",
    protocol: Protocol = "tcp",
    dport: int | None = 443,
    user: str | None = None,
    dscp: int = 0,
    balanced: bool = True,
) -> Verdict:
    plan = samples.plan(base + text)
    live = {family: names - {*dead.split()} for family, names in everything(plan).items()}
    begins = ip_address(source) if source else None
    packet = Packet(begins, ip_address(destination), protocol, 40_000, dport, device, user, dscp)
    return verdict(plan, Situation(live, LEASES, balanced), packet)


def shares(found: Verdict) -> dict[str | None, Fraction]:
    return {way.uplink or way.fate: way.chance for way in found}


def origins(found: Verdict) -> list[str]:
    (way,) = found
    return [reason.origin for reason in way.reasons if reason.origin]


# -- which uplink ----------------------------------------------------------------------------------


def test_what_no_rule_names_is_spread_by_weight() -> None:
    found = asked("192.168.10.5", "1.1.1.1", "lan1")
    assert shares(found) == {"cable": Fraction(3, 5), "dsl": Fraction(1, 5), "old": Fraction(1, 5)}
    assert {way.choice.policy for way in found} == {"default"}
    assert {way.choice.tier for way in found} == {1}
    assert {str(way.source) for way in found} == {"203.0.113.9", "198.51.100.2", "198.18.3.9"}
    assert all(way.masqueraded for way in found)


def test_the_dead_carry_nothing_unless_all_are() -> None:
    def without(dead: str) -> dict[str | None, Fraction]:
        return shares(asked("192.168.10.5", "1.1.1.1", "lan1", dead=dead))

    assert without("cable") == {"dsl": Fraction(1, 2), "old": Fraction(1, 2)}
    assert without("cable dsl old")["cable"] == Fraction(3, 5)


def test_the_first_rule_that_matches_decides() -> None:
    found = asked("192.168.10.5", "192.0.2.7", "lan1", dport=1500)
    assert shares(found) == {"dsl": 1}
    assert "rules[1]" in origins(found)
    # the third says: as all others
    assert len(asked("192.168.20.5", "192.0.2.7", "lan2")) == 3
    assert shares(asked("192.168.20.5", "9.9.9.9", "lan2")) == {"old": 1}


def test_a_rule_knows_its_family_set_class_and_user() -> None:
    assert shares(asked("192.168.10.70", "9.9.9.9", "lan1", protocol="udp")) == {"dsl": 1}
    assert len(asked("192.168.10.80", "9.9.9.9", "lan1", protocol="udp")) == 3
    assert shares(asked("fd00:10::41", "2001:db8:9::9", "lan1", protocol="udp")) == {"dsl": 1}
    assert shares(asked("192.168.10.5", "9.9.9.9", "lan1", dscp=46)) == {"dsl": 1}
    assert shares(asked(None, "9.9.9.9", user="backup")) == {"old": 1}
    # a packet that comes in is nobody's
    assert len(asked("192.168.10.5", "9.9.9.9", "lan1", user="backup")) == 3


def test_a_policy_without_a_live_uplink_gives_way_or_blocks() -> None:
    found = asked("192.168.10.5", "9.9.9.9", "lan1", dport=25, dead="dsl")
    assert shares(found) == {"cable": Fraction(3, 4), "old": Fraction(1, 4)}
    calls = asked("192.168.10.5", "9.9.9.9", "lan1", dscp=46, dead="dsl")
    assert shares(calls) == {"old": 1}
    assert [way.choice.tier for way in calls] == [2]
    blocked = asked("192.168.10.5", "9.9.9.9", "lan1", dscp=46, dead="dsl old")
    assert shares(blocked) == {"reset": 1}
    assert origins(blocked)[-1] == "rules[5]"
    local = asked(None, "9.9.9.9", protocol="udp", dscp=46, dead="dsl old")
    assert shares(local) == {"refused": 1}


def test_a_better_route_goes_before_every_rule_but_not_out_of_another_uplink() -> None:
    vpn = asked("192.168.10.5", "10.9.0.7", "lan1", dport=25)
    assert [(way.device, way.masqueraded) for way in vpn] == [("tun0", False)]
    beside = asked("192.168.10.5", "203.0.113.77", "lan1", dport=25)
    assert shares(beside) == {"cable": 1}
    # what must leave by dsl alone reaches no neighbour of cable's
    for dead, fate in (("", "dropped"), ("dsl old", "reset")):
        for source, device in (("192.168.10.5", "lan1"), (None, None)):
            held = asked(source, "203.0.113.200", device, dscp=46, dead=dead)
            assert [way.fate for way in held] == [fate]
    assert shares(asked("192.168.10.5", "198.51.100.7", "lan1", dscp=46)) == {"dsl": 1}


def test_the_routers_own_go_by_weight_by_address_or_by_metric() -> None:
    assert len(asked(None, "9.9.9.9")) == 3
    assert shares(asked("198.51.100.2", "9.9.9.9")) == {"dsl": 1}
    assert shares(asked("198.51.100.2", "9.9.9.9", dead="dsl old")) == {"cable": 1}
    alone = asked(None, "9.9.9.9", balanced=False)
    best = min(samples.plan(samples.DUAL).uplinks, key=lambda uplink: uplink.metric)
    assert shares(alone) == {best.name: 1}


def test_a_rule_sees_the_source_that_the_kernel_took() -> None:
    rule = "rules: [{match: {source: 198.51.100.2}, use: cable}]\n"
    found = asked(None, "9.9.9.9", text=rule)
    moved = [way for way in found if way.choice.rule is not None]
    assert [(way.uplink, way.chance) for way in moved] == [("cable", Fraction(1, 5))]


# -- firewall --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "protocol", "dport", "fate", "origin"),
    [
        ("wan1", "tcp", 22, "delivered", "firewall.allow[0]"),
        ("wan2", "tcp", 22, "dropped", "firewall.allow"),
        ("wan1", "udp", 51820, "delivered", "firewall.allow[1]"),
        ("wan2", "udp", 51820, "dropped", "firewall.allow"),
        ("wan2", "icmp", None, "delivered", None),
    ],
)
def test_what_the_firewall_lets_in(
    device: str, protocol: Protocol, dport: int | None, fate: str, origin: str | None
) -> None:
    # neighbours: each comes by its own uplink
    source = {"wan1": "203.0.113.7", "wan2": "198.51.100.7"}[device]
    found = asked(source, "198.51.100.2", device, text=INWARDS, protocol=protocol, dport=dport)
    assert [way.fate for way in found] == [fate]
    assert origins(found) == ([origin] if origin else [])


CLOSED = samples.DUAL.replace(
    "192.168.20.1/24, ipv6: off}", '[192.168.20.1/24, "fd00:20::1/64"], input: reject}'
)
OPENINGS = """\
firewall:
  allow:
    - {service: ssh}
    - {service: ntp, lans: [guests]}
    - {protocol: tcp, port: 80, uplinks: [dsl], lans: [":lans"], limit: {rate: 5/minute}}
    - {protocol: tcp, port: 81, lans: [guests], source: "fd00:20::/64"}
"""


@pytest.mark.parametrize(
    ("protocol", "dport", "fate", "origin"),
    [
        ("tcp", 22, "refused", "lans.guests.input"),
        ("udp", 22, "refused", "lans.guests.input"),
        ("udp", 123, "delivered", "firewall.allow[1]"),
        ("tcp", 80, "delivered", "firewall.allow[2]"),
        ("tcp", 81, "refused", "lans.guests.input"),
        ("tcp", 53, "delivered", "lans"),
        ("udp", 67, "delivered", "lans"),
        ("icmp", None, "delivered", None),
        ("gre", None, "refused", "lans.guests.input"),
    ],
)
def test_a_closed_lan_reaches_what_is_opened_to_it(
    protocol: Protocol, dport: int | None, fate: str, origin: str | None
) -> None:
    # whatever the router's address: a lan is where it comes from
    for to in ("192.168.20.1", "192.168.10.1", "198.51.100.2"):
        found = asked(
            "192.168.20.5", to, "lan2", text=OPENINGS, base=CLOSED, protocol=protocol, dport=dport
        )
        assert [way.fate for way in found] == [fate]
        assert origins(found) == ([origin] if origin else [])
        assert bool(found[0].limit) == (dport == 80)
        (way,) = asked(
            "192.168.10.5", to, "lan1", text=OPENINGS, base=CLOSED, protocol=protocol, dport=dport
        )
        assert (way.fate, way.limit) == ("delivered", None)


def test_what_is_opened_to_lans_alone_is_closed_outside() -> None:
    for device, source, dport, fate in (
        ("wan1", "203.0.113.7", 22, "delivered"),
        ("wan1", "203.0.113.7", 80, "dropped"),
        ("wan2", "198.51.100.7", 80, "delivered"),
        ("wan2", "198.51.100.7", 53, "dropped"),
        ("wan2", "198.51.100.7", 81, "dropped"),
    ):
        (way,) = asked(source, "198.51.100.2", device, text=OPENINGS, base=CLOSED, dport=dport)
        assert way.fate == fate, (device, dport)
    (six,) = asked("fd00:20::5", "fd00:20::1", "lan2", text=OPENINGS, base=CLOSED, dport=81)
    assert six.fate == "delivered"


def test_a_source_that_lives_elsewhere_is_spoofed() -> None:
    for source, device in (
        ("192.168.10.5", "wan2"),
        ("203.0.113.7", "wan2"),
        ("192.168.20.5", "lan1"),
        ("9.9.9.9", "lan1"),
        ("198.51.100.2", "lan1"),
    ):
        (way,) = asked(source, "198.51.100.2", device, protocol="icmp", dport=None)
        assert way.fate == "dropped", (source, device)


def test_forwards_from_outside_and_from_the_lans() -> None:
    (outside,) = asked("9.9.9.9", "198.51.100.2", "wan2", text=INWARDS)
    assert outside.to == (ip_address("192.168.10.20"), 443)
    assert (outside.device, outside.masqueraded, str(outside.source)) == ("lan1", False, "9.9.9.9")
    assert outside.reasons[-1].origin == "firewall.forwards[0]"
    (only,) = asked("9.9.9.9", "198.51.100.2", "wan2", text=INWARDS, dport=80)
    assert only.fate == "dropped"
    # a neighbour would be answered directly, past the router
    (hairpin,) = asked("192.168.10.5", "198.51.100.2", "lan1", text=INWARDS, dport=80)
    assert hairpin.to == (ip_address("192.168.10.20"), 8080)
    assert (hairpin.masqueraded, str(hairpin.source)) == (True, "192.168.10.1")
    (other,) = asked("192.168.20.5", "198.51.100.2", "lan2", text=INWARDS)
    assert (other.device, other.masqueraded) == ("lan1", False)
    (own,) = asked("192.168.20.5", "192.168.10.1", "lan2", text=INWARDS)
    assert own.fate == "delivered"


def test_groups_say_who_may_forward_where() -> None:
    groups = "forwarding: [[home, cable, vpn], [guests, dsl]]\n"
    assert shares(asked("192.168.20.5", "9.9.9.9", "lan2", text=groups)) == {"dsl": 1}
    for destination in ("192.168.10.5", "10.9.0.7", "203.0.113.7"):
        (way,) = asked("192.168.20.5", destination, "lan2", text=groups)
        assert (way.fate, way.reasons[-1].origin) == ("refused", "forwarding")
    (inwards,) = asked("9.9.9.9", "192.168.10.5", "wan1", text=groups)
    assert inwards.fate == "dropped"


def test_a_firewall_that_is_off_keeps_marks_and_translation() -> None:
    off = "firewall: off\n"
    (way,) = asked("9.9.9.9", "198.51.100.2", "wan2", text=off)
    assert way.fate == "delivered"
    (through,) = asked("9.9.9.9", "192.168.10.5", "wan2", text=off)
    assert (through.device, through.masqueraded) == ("lan1", False)
    assert len(asked("192.168.10.5", "9.9.9.9", "lan1", text=off)) == 3


def test_what_the_plan_does_not_speak_of() -> None:
    for source, destination, device in (
        ("192.168.10.5", "224.0.0.1", "lan1"),
        ("192.168.10.5", "2001:db8::1", "lan1"),
        ("192.168.10.5", "9.9.9.9", "eth7"),
        (None, "9.9.9.9", "lan1"),
    ):
        with pytest.raises(Unanswerable):
            asked(source, destination, device)

"""The oracle against a real kernel with the real table: random configurations, random packets.

`--packets 500` throws so many configurations at both, other ones each time; without it a few that
are always the same.
"""

import os
from collections import Counter
from ipaddress import ip_address, ip_network
from itertools import product
from pathlib import Path
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import samples
from configurations import configuration, text
from kernel import Fact, Kernel, network
from lab.image import image
from lab.stats import chi_square_p
from nib.oracle import Packet, Situation, Verdict, Way, verdict
from nib.oracle.lookup import direct
from nib.oracle.values import Address, Case
from nib.plan import Plan
from nib.state import everything
from packets import OWN_PORTS, packets, situation

USUALLY = 30
PACKETS = 100


def compared(seed: int, root: Path) -> None:
    random = Random(seed)
    data = configuration(random, random.choice([1, 2, 3, 4]), random.choice([0, 1, 2, 3]))
    plan = samples.plan(text(data))
    known = situation(plan, random)
    thrown = packets(plan, known, random, PACKETS)
    with network(), Kernel(plan, known, root) as kernel:
        facts = kernel.facts(thrown)
    differences = "\n\n".join(different(plan, known, thrown, facts))
    assert not differences, f"{text(data)}\n\n{known}\n\n{differences}"


def different(
    plan: Plan, known: Situation, thrown: dict[int, Packet], facts: dict[int, Fact]
) -> list[str]:
    """Where the kernel did what the oracle does not think possible."""
    limited: Counter[object] = Counter()
    found = []
    for number, packet in thrown.items():
        ways = verdict(plan, known, packet)
        assert sum(way.chance for way in ways) == 1, packet
        fact = facts[number]
        if over_limit(packet, ways, limited) and fact.fate == "dropped":
            continue
        if not any(
            agree(packet, way, fact) or unheard(plan, known, packet, way, fact) for way in ways
        ):
            thought = "\n".join(f"    {way}" for way in ways)
            found.append(f"{packet}\n  did: {fact}\n  thought:\n{thought}")
    return found


def over_limit(packet: Packet, ways: Verdict, seen: Counter[object]) -> bool:
    """Whether the packet is one too many; it is counted."""
    for way in ways:
        if way.limit:
            assert packet.source is not None
            source = ip_network((packet.source, 32 if packet.family == 4 else 64), strict=False)
            key = (way.reasons[-1].origin, way.limit.per_source and source)
            seen[key] += 1
            return seen[key] > way.limit.burst
    return False


def agree(packet: Packet, way: Way, fact: Fact) -> bool:
    if way.fate != fact.fate or way.device != fact.device:
        return False
    if fact.seen is None:
        return True
    destination, port = way.to or (packet.destination, packet.dport)
    return (
        fact.seen.source == (way.source or fact.seen.source)
        and fact.seen.destination == destination
        and fact.seen.dport == port
    )


def unheard(plan: Plan, known: Situation, packet: Packet, way: Way, fact: Fact) -> bool:
    """A refusal goes to the sender; with `firewall: off` that may be somebody else's address."""
    if plan.firewall or packet.source is None or fact.fate != "dropped":
        return False
    back = direct(Case(plan, known, packet), packet.source)
    return way.fate in ("reset", "refused") and (back is None or back.device != packet.device)


def needed() -> None:
    """Only root has a network for itself without giving its users up."""
    if os.geteuid():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("only root may")


@pytest.mark.lab
def test_the_kernel_does_what_the_oracle_says(suite: str, pytestconfig: pytest.Config) -> None:
    root = image(suite)
    more = pytestconfig.getoption("--packets")

    @settings(
        deadline=None,
        derandomize=more is None,
        database=None,
        max_examples=more or USUALLY,
        phases=[Phase.generate],
    )
    @given(st.integers(0, 1 << 32))
    def compare(seed: int) -> None:
        compared(seed, root)

    compare()


SPREAD = """\
uplinks:
  cable: {device: wan1, address: 198.51.100.2/24, gateway: 198.51.100.1, weight: 5}
  dsl: {device: wan2, address: [203.0.113.2/24, "2001:db8:2::2/64"],
        gateway: [203.0.113.1, "2001:db8:2::1"], weight: 2}
  fiber: {device: wan3, address: [192.0.2.2/24, "2001:db8:3::2/64"],
          gateway: [192.0.2.1, "2001:db8:3::1"]}
lans:
  home: {device: lan1, address: [192.168.10.1/24, "fd00:10::1/64"]}
policies:
  pair: {tiers: [[dsl, fiber], [cable]]}
  kept: {tiers: [[cable], [fiber]], sticky: {by: pair}}
rules:
  - {match: {protocol: tcp, dport: 443}, use: pair}
  - {match: {protocol: tcp, dport: 993}, use: kept}
"""
FLOWS = 1500


@pytest.mark.lab
@pytest.mark.parametrize("dead", ["", "fiber", "cable dsl"])
@pytest.mark.parametrize(
    ("source", "destination", "device", "dport"),
    [
        ("192.168.10.5", "8.8.8.8", "lan1", 80),
        ("192.168.10.5", "8.8.8.8", "lan1", 443),
        ("192.168.10.5", "8.8.8.8", "lan1", 993),
        ("fd00:10::5", "2620:fe::fe", "lan1", 80),
        (None, "8.8.8.8", None, 80),
        (None, "8.8.8.8", None, 443),
        (None, "2620:fe::fe", None, 80),
    ],
)
def test_shares_are_those_that_the_oracle_says(
    source: str | None, destination: str, device: str | None, dport: int, dead: str
) -> None:
    needed()
    plan = samples.plan(SPREAD)
    known = Situation({f: names - {*dead.split()} for f, names in everything(plan).items()})
    begin = ip_address(source) if source else None
    flows = {
        number: Packet(begin, ip_address(destination), "tcp", OWN_PORTS + number, dport, device)
        for number in range(1, FLOWS + 1)
    }
    with network(), Kernel(plan, known) as kernel:
        facts = kernel.facts(flows)
    told = {way.device: float(way.chance) for way in verdict(plan, known, flows[1])}
    seen = Counter(fact.device for fact in facts.values())
    assert sum(seen.values()) == FLOWS
    assert chi_square_p(seen, told) > 1e-6, (seen, told)


HELD = (
    SPREAD
    + """\
  - {match: {dscp: ef}, use: strict}
"""
)


@pytest.mark.lab
def test_what_must_block_reaches_no_neighbour_of_another_uplink() -> None:
    """Main leads straight to a neighbour, but out of an uplink that the policy does not mean."""
    needed()
    text = HELD.replace("  pair:", "  strict: {tiers: [[cable]], when_down: block}\n  pair:")
    plan = samples.plan(text.replace("weight: 2}", "weight: 2, modem: {address: 192.168.9.1}}"))
    sources = (("192.168.10.5", "lan1"), (None, None))
    ends = ("203.0.113.77", "198.51.100.77", "192.168.9.1", "192.168.10.77", "8.8.8.8")
    thrown = {
        number: Packet(
            ip_address(source) if source else None,
            ip_address(end),
            "tcp",
            OWN_PORTS + number,
            80,
            device,
            dscp=46,
        )
        for number, ((source, device), end) in enumerate(product(sources, ends), start=1)
    }
    for alive, own, beside in (("cable dsl", "wan1", "dropped"), ("dsl", "reset", "reset")):
        known = Situation({4: frozenset(alive.split()), 6: frozenset()})
        with network(), Kernel(plan, known) as kernel:
            facts = kernel.facts(thrown)
        assert not different(plan, known, thrown, facts)
        became = [fact.device or fact.fate for fact in facts.values()]
        assert became == [beside, own, "wan2", "lan1", own] * 2


NETWORKS = """\
uplinks:
  cable: {device: wan1, address: dhcp, ipv6: routed}
  dsl: {device: wan2, address: [203.0.113.2/24, "2001:db8:2::2/64"],
        gateway: [203.0.113.1, "2001:db8:2::1"], prefix: "2001:db8:2:100::/56"}
  fiber: {device: wan3, address: ["2001:db8:3::2/64"], gateway: ["2001:db8:3::1"],
          ipv6: nptv6, prefix: "2001:db8:3:100::/56"}
  lte: {device: wan4, address: dhcp, ipv6: nptv6, ipv4: "off"}
lans:
  guests: {device: lan2, address: 192.168.20.1/24}
  home: {device: lan1, address: [192.168.10.1/24, "fd00:10::1/64", "2001:db8:2:107::1/64"]}
rules:
  - {match: {protocol: tcp, dport: 81}, use: cable}
  - {match: {protocol: tcp, dport: 82}, use: dsl}
  - {match: {protocol: tcp, dport: 83}, use: fiber}
  - {match: {protocol: tcp, dport: 84}, use: lte}
"""


@pytest.mark.lab
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dead", ["", "dsl", "cable lte", "fiber"])
def test_each_network_leaves_as_the_oracle_says(dead: str, seed: int) -> None:
    """From each network of a lan, by each uplink; with delegations and without."""
    needed()
    plan = samples.plan(NETWORKS)
    known = situation(plan, Random(seed))
    live = {f: names - {*dead.split()} for f, names in everything(plan).items()}
    known = Situation(live, known.addresses)
    sources = ["fd00:10::5", "2001:db8:2:107::5", *map(str, beside(known, "lan1"))]
    thrown = {
        number: Packet(
            ip_address(source),
            ip_address("2620:fe::fe"),
            "tcp",
            OWN_PORTS + number,
            dport,
            "lan1",
        )
        for number, (source, dport) in enumerate(product(sources, range(80, 85)), start=1)
    }
    with network(), Kernel(plan, known) as kernel:
        facts = kernel.facts(thrown)
    assert not different(plan, known, thrown, facts)
    seen = {
        (packet.source, fact.seen.source)
        for number, packet in thrown.items()
        for fact in [facts[number]]
        if fact.device == "wan3" and fact.seen
    }
    if "fiber" not in dead:
        home = ip_address("fd00:10::5"), ip_address("2001:db8:3:101::5")
        assert home in seen


def beside(known: Situation, device: str) -> list[Address]:
    """A host in each IPv6 network that others gave to a device."""
    return [one.ip + 4 for one in known.addresses.get(device, ()) if one.version == 6]

"""Policies, sets and rules: what they mean, and what of it reaches the table."""

from ipaddress import IPv4Address, IPv6Address
from itertools import combinations, pairwise, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import private
import samples
from nib import host, values
from nib.check.reach import Reach
from nib.config import Span
from nib.monitor.core import begin, step
from nib.monitor.events import Facts, Looked
from nib.plan import Plan
from nib.policies import FlowRule
from nib.report import plan_report
from nib.runs import runs
from nib.state import everything, render_state

THREE = """\
uplinks:
  cable: {device: wan1, address: dhcp, weight: 3}
  dsl: {device: wan2, address: 198.51.100.2/24, gateway: 198.51.100.1, ipv6: off}
  lte: {device: wan3, address: dhcp, weight: 0, ipv6: off}
lans:
  home: {device: lan1, address: [192.168.10.1/24, "fd00:10::1/64"]}
  guests: {device: lan2, address: 192.168.20.1/24}
"""


def tiers(plan: Plan, name: str) -> list[list[tuple[str, int]]]:
    policy = next(policy for policy in plan.policies if policy.name == name)
    return [[(share.uplink, share.weight) for share in tier] for tier in policy.tiers]


# -- policies


def test_tiers_of_a_policy_replace_those_of_the_uplinks() -> None:
    text = THREE + (
        "policies:\n"
        "  calls: {tiers: [[lte, cable], [dsl]], when_down: block}\n"
        "  plain: {}\n"
        "rules: [{match: {lan: home}, use: lte}]\n"
    )
    plan = samples.plan(text)
    assert [policy.name for policy in plan.policies] == ["default", "calls", "plain", "lte"]
    assert tiers(plan, "default") == tiers(plan, "plain") == [[("cable", 3), ("dsl", 1)]]
    # who is named carries, whatever its own weight
    assert tiers(plan, "calls") == [[("cable", 3), ("lte", 1)], [("dsl", 1)]]
    assert tiers(plan, "lte") == [[("lte", 1)]]
    assert [policy.when_down for policy in plan.policies] == ["stay", "block", "any", "any"]
    one_by_one = samples.plan("mode: failover\n" + text)
    assert tiers(one_by_one, "calls") == [[("cable", 3)], [("lte", 1)], [("dsl", 1)]]


def test_default_is_defined_anew_for_lans_as_well() -> None:
    plan = samples.plan(
        THREE + "policies: {default: {tiers: [[dsl], [lte]], sticky: {for: 90s}}}\n"
        'forwarding: [[home, ":uplinks"], [guests, cable, lte]]\n'
    )
    assert tiers(plan, "default") == [[("dsl", 1)], [("lte", 1)]]
    assert tiers(plan, "for_guests") == [[("lte", 1)]]
    assert [policy.sticky.for_s for policy in plan.policies if policy.sticky] == [90, 90]
    # a lan that may use none of them has all that it may use
    other = samples.plan(
        THREE + "policies: {default: {tiers: [[dsl]]}}\nforwarding: [[guests, cable]]\n"
    )
    assert tiers(other, "for_guests") == [[("cable", 3)]]


BLOCKING = THREE + (
    "policies:\n"
    "  calls: {tiers: [[dsl]], when_down: block}\n"
    "  soft: {tiers: [[dsl]], sticky: {}}\n"
    "rules:\n"
    "  - {match: {protocol: udp}, use: calls}\n"
    '  - {match: {destination: "2001:db8::/32"}, use: cable}\n'
)


def test_of_a_dead_policy_the_chain_is_empty() -> None:
    plan = samples.plan(BLOCKING)
    alive = render_state(plan, everything(plan))
    assert "balance_calls4 numgen random mod 65536 vmap { 0-65535 : goto bind_dsl }" in alive
    assert "balance_soft4 numgen random mod 65536 vmap { 0-65535 : goto stick_soft.dsl4 }" in alive
    hashed = "jhash ip saddr mod 65536 seed 0x6e6962 vmap { 0-65535 : goto stick_soft.dsl4 }"
    assert f"hash_soft4 {hashed}" in alive
    assert "stay_soft4 { 0x12000000 : goto stick_soft.dsl4 }" in alive
    assert "0x12000000 : goto use_dsl, 0x52000000 : goto hold_dsl" in alive
    dead = render_state(plan, {4: frozenset({"cable"})})
    for name in ("balance_calls4", "balance_soft4", "hash_soft4"):
        assert f"flush chain inet nib {name}\n" in dead
        assert f"rule inet nib {name} " not in dead
    assert "flush map inet nib stay_soft4\n" in dead
    assert "stay_soft4 {" not in dead
    assert "hold_dsl" not in dead


def test_only_a_policy_that_blocks_costs_a_routing_rule() -> None:
    blocking, plain = samples.plan(BLOCKING), samples.plan(BLOCKING.replace("block", "any"))
    found = [(r.family, r.mark, r.mask) for r in blocking.rules if r.priority == 30199]
    assert found == [(4, 0x40000000, 0x40000000), (6, 0x40000000, 0x40000000)]
    assert [rule for rule in plain.rules if rule.priority == 30199] == []
    assert blocking.state_file != plain.state_file


def test_another_uplink_lives_and_dies_also_when_those_of_default_are_dead() -> None:
    """Nothing is better than the last state for those alone who carry by default."""
    plan = samples.plan(THREE.replace("weight: 0", "weight: 0, tier: 2"))
    nothing = Facts(devices=(), defaults=(), balance=(), rules=())
    world = begin(plan, 0.0, None)
    world, _ = step(world, Looked(0.0, nothing))
    assert world.live == {4: frozenset({"cable", "dsl"}), 6: frozenset({"cable"})}


def test_every_flip_of_sticky_and_blocking_policies_loads(tmp_path: Path) -> None:
    plan, table = samples.plan(BLOCKING), str(samples.files(BLOCKING)["nib/nib.nft"])
    private.load(
        [table, table, *(render_state(plan, live) for live in samples.lives(plan))], tmp_path
    )


# -- rules


def test_a_rule_is_of_the_families_of_its_addresses() -> None:
    plan = samples.plan(
        THREE + "sets: {six: ['2001:db8::/32'], both: [192.0.2.1, '2001:db8:7::-2001:db8:7::9']}\n"
        "rules:\n"
        '  - {match: {destination: "@six"}, use: cable}\n'
        '  - {match: {source: ["@both", 10.0.0.0/8]}, use: dsl}\n'
        "  - {match: {lan: guests, protocol: [icmp, gre]}, use: lte}\n"
        "  - {match: {user: 0, dscp: [ef, cs1]}, use: default}\n"
    )
    lines = [
        (line.origin, line.family, line.source, line.source_set, line.destination_set)
        for line in plan.flow_rules
    ]
    assert lines == [
        ("rules[0]", 6, (), None, "set_six6"),
        ("rules[1]", 4, ("10.0.0.0/8",), None, None),
        ("rules[1]", 4, (), "set_both4", None),
        ("rules[1]", 6, (), "set_both6", None),
        ("rules[2]", 4, (), None, None),
        ("rules[3]", 4, (), None, None),
        ("rules[3]", 6, (), None, None),
    ]
    assert plan.flow_rules[4].protocols == ("icmp", "47")
    assert (plan.flow_rules[5].user, plan.flow_rules[5].dscp) == (0, (8, 46))
    sets = {one.name: one.elements for one in plan.sets}
    assert sets["set_both6"] == ("2001:db8:7::-2001:db8:7::9",)
    report = plan_report(plan)
    assert "from @both, 10.0.0.0/8" in report.replace("10.0.0.0/8, @both", "@both, 10.0.0.0/8")


def test_use_default_ends_the_search() -> None:
    text = THREE + "rules: [{match: {user: root}, use: default}]\n"
    assert '\t\tmeta skuid "root" return\n' in str(samples.files(text)["nib/nib.nft"])


PORTS = st.integers(1, 30).flatmap(
    lambda low: st.integers(low, low + 5).map(
        lambda high: str(low) if low == high else f"{low}-{high}"
    )
)
PROTOCOLS = st.lists(st.sampled_from(["tcp", "udp"]), min_size=1, max_size=2, unique=True)
NETWORKS = st.sampled_from(["10.0.0.0/30", "10.0.0.1", "10.0.0.2-10.0.0.5", "10.0.0.6/31"])


SOURCES = [IPv4Address("10.0.0.0") + number for number in range(9)]


@st.composite
def flow_rules(draw: st.DrawFn) -> FlowRule:
    ports = draw(st.booleans())
    lists = {
        "devices": st.lists(st.sampled_from(["lan1", "lan2"]), max_size=1),
        "source": st.lists(NETWORKS, min_size=not ports, max_size=2),
        "protocols": PROTOCOLS if ports else st.just([]),
        "dport": st.lists(PORTS, min_size=1, max_size=2) if ports else st.just([]),
    }
    drawn = {name: tuple(draw(some)) for name, some in lists.items()}
    return FlowRule(
        family=4,
        policy=draw(st.sampled_from(["a", "b"])),
        devices=drawn["devices"],
        source=drawn["source"],
        source_set=None,
        destination=(),
        destination_set=None,
        protocols=drawn["protocols"],
        sport=(),
        dport=drawn["dport"],
        dscp=(46,) if draw(st.integers(0, 9)) == 0 else (),
        user=None,
        hours="hours_1" if draw(st.integers(0, 9)) == 0 else None,
        origin="",
    )


@settings(deadline=None)
@given(st.lists(flow_rules(), max_size=12))
def test_runs_change_no_decision(rules: list[FlowRule]) -> None:
    """Within a run no flow matches two rules, so that their order says nothing."""

    def sources(rule: FlowRule) -> set[IPv4Address]:
        spans = [values.span(element) for element in rule.source]
        return {
            one for one in SOURCES if not spans or any(low <= one <= high for low, high in spans)
        }

    def ports(rule: FlowRule) -> set[int]:
        ranges = [values.port_range(element) for element in rule.dport]
        return {
            port for port in range(1, 36) if not ranges or any(a <= port <= b for a, b in ranges)
        }

    def matched(rule: FlowRule) -> set[tuple[object, ...]]:
        devices, protocols = rule.devices or ("lan1", "lan2"), rule.protocols or ("tcp", "udp")
        return set(product(devices, sources(rule), protocols, ports(rule)))

    found = runs(rules)
    assert [rule for run in found for rule in run.rules] == rules
    for run in found:
        assert (len(run.rules) > 1) == bool(run.things)
        assert all(not matched(a) & matched(b) for a, b in combinations(run.rules, 2))


def test_neighbours_become_one_map(tmp_path: Path) -> None:
    listed = "\n".join(
        f"  - {{match: {{protocol: [tcp, udp, sctp], dport: [{n}, {n + 2}-{n + 8}]}}, use: dsl}}\n"
        f"  - {{match: {{protocol: tcp, dport: {n + 1}}}, use: default}}"
        for n in range(100, 1100, 10)
    )
    addresses = "\n".join(
        f'  - {{match: {{destination: [10.{n}.0.0/16, "2001:db8:{n}::/48"]}}, use: cable}}'
        for n in range(100)
    )
    text = f"{THREE}rules:\n{listed}\n{addresses}\n  - {{match: {{lan: home}}, use: dsl}}\n"
    table = str(samples.files(text)["nib/nib.nft"])
    # of each family one of ports and one of addresses
    assert table.count("th dport vmap {") == 2
    assert table.count("daddr vmap {") == 2
    private.load([table, table], tmp_path)


def test_neighbours_that_ask_for_several_things_become_one_map(tmp_path: Path) -> None:
    kinds = (
        "lan: [home, guests], source: [10.{0}.0.0/16, 10.200.0.{0}-10.200.0.{0}]",
        'destination: ["2001:db8:{0}::/48", 192.0.2.{0}], protocol: [tcp, udp], dport: [{0}-{1}]',
        "source: 10.9.0.{0}, protocol: udp, sport: [{0}, 4{0:02}0-4{0:02}9], dport: 53",
        "lan: home, protocol: icmp, destination: 10.8.{0}.0/24",
    )
    listed = "\n".join(
        f"  - {{match: {{{kind.format(n, n + 9)}}}, use: {use}}}"
        for kind in kinds
        for n, use in zip(range(10, 90, 10), ["cable", "dsl"] * 4, strict=True)
    )
    # every combination of these would be 65536 elements: a rule of its own
    long = f"source: [{', '.join(f'10.7.{n}.0/25' for n in range(256))}]"
    ports = ", ".join(map(str, range(1, 512, 2)))
    alone = f"  - {{match: {{{long}, protocol: tcp, dport: [{ports}]}}, use: dsl}}"
    text = f"{THREE}rules:\n{listed}\n{alone}\n{alone.replace('10.7', '10.6')}\n"
    table = str(samples.files(text)["nib/nib.nft"])
    # of IPv6 only the second kind
    assert table.count(" vmap {\n\t\t\t# rules[") == 5
    assert '"lan2" . 10.30.0.0/16 : goto policy_cable4,' in table
    assert "2001:db8:40::/48 . udp . 40-49 : goto policy_dsl6," in table
    assert "10.9.0.50 . udp . 4500-4509 . 53 : goto policy_cable4," in table
    private.load([table, table], tmp_path)


@pytest.mark.parametrize(("name", "number"), [("ef", 46), ("AF41", 34), ("cs7", 56), ("be", 0)])
def test_classes(name: str, number: int) -> None:
    assert values.dscp(name) == number


ADDRESSES = st.integers(0, 40).map(lambda n: IPv4Address((192 << 24) + n)) | st.integers(0, 40).map(
    IPv6Address
)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    one = draw(ADDRESSES)
    return one, type(one)(int(one) + draw(st.integers(0, 12)))


@given(st.lists(spans()))
def test_merged_spans_hold_the_same_addresses(given_spans: list[Span]) -> None:
    def held(some: object) -> set[tuple[int, int]]:
        assert isinstance(some, list | tuple)
        return {(a.version, n) for a, b in some for n in range(int(a), int(b) + 1)}

    merged = values.spans(given_spans)
    assert held(merged) == held(given_spans)
    assert all(a.version != c.version or int(b) + 1 < int(c) for (a, b), (c, _) in pairwise(merged))


RANGES = st.none() | st.lists(
    st.tuples(st.integers(1, 12), st.integers(0, 4)).map(lambda t: (t[0], t[0] + t[1])), min_size=1
).map(values.merged)
WORDS = st.none() | st.frozensets(st.sampled_from("abc"), min_size=1)
REACHES = st.builds(Reach, RANGES, RANGES, RANGES, RANGES, WORDS, WORDS, WORDS, WORDS, RANGES)


@given(REACHES, REACHES)
def test_what_is_covered_matches_nothing_else(wide: Reach, narrow: Reach) -> None:
    """A flow drawn from the narrow one is in the wide one, if that is said to cover it."""
    escaped = False
    for key in Reach.__slots__:
        small, large = getattr(narrow, key), getattr(wide, key)
        numbers = key in ("source", "destination", "sport", "dport", "time")
        of = range(20) if numbers else "abcz"

        def has(some: object, what: object, numbers: bool = numbers) -> bool:
            if some is None:
                return True
            assert isinstance(some, tuple | frozenset)
            return any(a <= what <= b for a, b in some) if numbers else what in some

        outside = [what for what in of if has(small, what) and not has(large, what)]
        escaped |= bool(outside)
    assert wide.covers(narrow) == (not escaped)


# -- files


def test_a_set_from_a_file(tmp_path: Path) -> None:
    listing = tmp_path / "office.txt"
    listing.write_text(
        "# the office\n192.0.2.0/25\n192.0.2.128/25  # and the rest\n\n2001:db8::1\n"
    )
    config = tmp_path / "balance.yaml"
    config.write_text(THREE + f"sets: {{office: {{file: {listing}}}}}\n")
    (office,) = host.load("nib-gen", str(config))[1].sets
    assert [f"{a}-{b}" for a, b in office.spans] == [
        "192.0.2.0-192.0.2.255",
        "2001:db8::1-2001:db8::1",
    ]


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    config = tmp_path / "balance.yaml"
    config.write_text(THREE + f'sets: {{office: {{file: "{tmp_path}/{name}"}}}}\n')
    with pytest.raises(host.Wrong, match=r"sets\.office\.file: cannot read"):
        host.load("nib-gen", str(config))

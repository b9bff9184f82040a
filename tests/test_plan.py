"""Every number is chosen once: unique, stable, under the mask, and it survives plan.json."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import samples
from nib.plan import VERSION, Plan, from_json, to_json
from nib.planner import assign_ids, highest_id, make_plan, split_mask
from private import load

NAMES = st.lists(
    st.from_regex(r"[a-z][a-z0-9_]{0,14}", fullmatch=True), min_size=1, max_size=62, unique=True
)
MASKS = st.builds(
    lambda width, shift: ((1 << width) - 1) << shift, st.integers(3, 8), st.integers(0, 24)
)


@given(NAMES, st.data())
def test_ids_are_unique_and_honour_pins(names: list[str], data: st.DataObject) -> None:
    pinned = data.draw(st.sets(st.sampled_from(names)))
    numbers = data.draw(st.permutations(range(1, 63)))
    wanted = {name: numbers[i] if name in pinned else None for i, name in enumerate(names)}
    ids = assign_ids(wanted, last=62)
    assert len(set(ids.values())) == len(names)
    assert all(1 <= number <= 62 for number in ids.values())
    assert all(ids[name] == wanted[name] for name in pinned)


@given(NAMES, st.randoms())
def test_order_changes_no_id(names: list[str], random: st.DataObject) -> None:
    shuffled = list(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert assign_ids(dict.fromkeys(names), 62) == assign_ids(dict.fromkeys(shuffled), 62)


def test_a_new_uplink_moves_no_other() -> None:
    """As long as their slots do not meet, which for the names people choose is rare."""
    few = assign_ids(dict.fromkeys(("cable", "dsl")), 62)
    more = assign_ids(dict.fromkeys(("aaa", "cable", "dsl", "lte")), 62)
    assert {name: more[name] for name in few} == few


def test_an_uplink_that_goes_moves_no_other() -> None:
    names = ("cable", "dsl", "fiber", "lte")
    ids = assign_ids(dict.fromkeys(names), 62)
    for gone in names:
        rest = [name for name in names if name != gone]
        assert assign_ids(dict.fromkeys(rest), 62) == {name: ids[name] for name in rest}


def test_too_many_uplinks() -> None:
    with pytest.raises(ValueError, match="63 uplinks"):
        assign_ids({f"u{number}": None for number in range(63)}, 62)


@given(MASKS)
def test_marks_stay_under_the_mask(mask: int) -> None:
    marks = split_mask(mask)
    assert marks.id_mask | marks.block == mask
    assert marks.id_mask & marks.block == 0
    assert marks.keep == mask ^ 0xFFFFFFFF
    assert marks.local & ~mask == 0
    shift = (mask & -mask).bit_length() - 1
    assert highest_id(mask) << shift < marks.local


def _unique(plan: Plan) -> None:
    for kind in ("id", "mark", "table", "metric", "device", "name"):
        values = [getattr(uplink, kind) for uplink in plan.uplinks]
        assert len(set(values)) == len(values), kind
    for uplink in plan.uplinks:
        assert uplink.mark & ~plan.marks.id_mask == 0
        assert uplink.mark not in (0, plan.marks.local)
        assert uplink.table != plan.balance_table


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 62))
def test_everything_in_a_plan_is_unique(count: int) -> None:
    plan = samples.plan(samples.uplinks(count))
    _unique(plan)
    ordered = [rule.priority for rule in plan.rules]
    assert ordered == sorted(ordered)
    assert len({(rule.family, rule.priority) for rule in plan.rules}) == len(plan.rules)
    assert ordered[-1] < 32766


def test_the_mask_moves_the_marks() -> None:
    plan = make_plan(replace(samples.config(), mask=0x7F00))
    _unique(plan)
    assert {uplink.mark & 0xFF for uplink in plan.uplinks} == {0}


def test_the_first_priority_moves_all_rules_by_as_much() -> None:
    usual = samples.plan(samples.DUAL)
    moved = samples.plan(samples.DUAL + "marks: {priority: 31000}\n")
    assert usual.first_priority == 30000
    assert moved.rules == tuple(replace(r, priority=r.priority + 1000) for r in usual.rules)
    assert moved.uplinks == tuple(
        replace(u, address_priority=u.address_priority + 1000) for u in usual.uplinks
    )


def test_a_change_of_one_uplink_moves_no_other_in_main() -> None:
    two = (
        "uplinks:\n"
        "  a: {device: wan1, address: dhcp, weight: 3}\n"
        "  b: {device: wan2, address: dhcp}\n"
    )
    before = {uplink.name: uplink.metric for uplink in samples.plan(two).uplinks}
    more = two.replace("weight: 3", "weight: 1") + "  c: {device: wan3, address: dhcp, weight: 9}\n"
    after = {uplink.name: uplink.metric for uplink in samples.plan(more).uplinks}
    assert before.items() < after.items()


def test_the_preferred_uplink_has_the_lowest_metric() -> None:
    plan = samples.plan(
        "mode: failover\n"
        "uplinks:\n"
        "  a: {device: wan1, address: dhcp, weight: 0}\n"
        "  b: {device: wan2, address: dhcp, tier: 2, weight: 9}\n"
        "  c: {device: wan3, address: dhcp}\n"
        "  d: {device: wan4, address: dhcp, weight: 5}\n"
    )
    by_metric = sorted(plan.uplinks, key=lambda uplink: uplink.metric)
    assert [uplink.name for uplink in by_metric] == ["d", "c", "b", "a"]


def test_ipv6_is_forwarded_only_where_both_ends_have_it() -> None:
    plan = samples.plan(samples.DUAL)
    assert plan.families == (4, 6)
    assert [uplink.families for uplink in plan.uplinks] == [(4, 6), (4, 6), (4,)]
    assert plan.forward_pairs(6) == tuple(
        (source, to)
        for source, to in plan.forward_pairs(4)
        if {source, to} <= {"wan1", "wan2", "lan1", "tun0"}
    )
    assert {lan.name: lan.announced for lan in plan.lans} == {
        "home": ("fd00:10::/64",),
        "guests": (),
        "vpn": (),
    }
    # but no lan's packets get past the guard, whatever it is said to have
    guarded = {rule.iif for rule in plan.rules if rule.iif and rule.family == 6}
    assert guarded == {"lan1", "lan2", "tun0"}
    assert {rule.source for rule in plan.rules if rule.family == 6 and rule.source} == {
        "2001:db8:2::2"
    }


def test_without_ipv6_nothing_is_of_ipv6() -> None:
    plan = samples.plan()
    assert plan.families == (4,)
    assert {rule.family for rule in plan.rules} == {4}
    assert all(":" not in str(target) for u in plan.uplinks for target in u.probe.targets)


def test_a_gateway_in_no_known_network_is_a_neighbour() -> None:
    """One route for each device, also where two uplinks have the same gateway."""
    text = """\
uplinks:
  a: {device: wan1, address: [203.0.113.2/32, "2001:db8::2/128"],
      gateway: [172.31.1.1, "2001:db8:ffff::1"], id: 1}
  b: {device: wan2, address: [203.0.113.3/32, "2001:db8::3/128"],
      gateway: [172.31.1.1, "fe80::1"], id: 2}
  c: {device: wan3, address: [198.51.100.2/29, 203.0.113.4/32], gateway: 198.51.100.1, id: 3}
  d: {device: wan4, address: external, gateway: 172.31.1.1, id: 4}
  e: {device: ppp0, address: external, id: 5}
"""
    made = samples.plan(text)
    assert [(route.to, route.device, route.metric) for route in made.routes] == [
        ("172.31.1.1/32", "wan1", 1000001),
        ("2001:db8:ffff::1/128", "wan1", 1000001),
        ("172.31.1.1/32", "wan2", 1000002),
        ("172.31.1.1/32", "wan4", 1000004),
    ]
    written = str(samples.files(text)["systemd/network/05-nib-a.network"])
    assert "[Route]\nDestination=172.31.1.1/32\nScope=link\nMetric=1000001\n" in written
    assert "[Route]\nDestination=2001:db8:ffff::1/128\nMetric=1000001\n" in written


ALONE = """\
uplinks:
  cable: {device: wan1, address: dhcp, ipv6: routed, modem: {address: 192.168.100.1}}
  dsl: {device: wan2, address: 198.51.100.2/24, gateway: 198.51.100.1}
lans:
  given: {device: lan1}
  written: {device: lan2, address: "fd00:20::1/64"}
"""


def test_a_lan_of_ipv6_alone_has_nothing_of_ipv4() -> None:
    plan = samples.plan(ALONE)
    assert [lan.families for lan in plan.lans] == [(6,), (6,)]
    assert plan.forward_pairs(4) == ()
    assert set(plan.forward_pairs(6)) > {("lan1", "wan1"), ("lan2", "wan1"), ("lan1", "lan2")}
    assert plan.modems[0].visitors == ()
    files = samples.files(ALONE)
    assert "ipv4.ip_forward" not in str(files["sysctl.d/05-nib.conf"])
    assert "ipv6.conf.all.forwarding = 1" in str(files["sysctl.d/05-nib.conf"])
    given, written = (
        str(files[f"systemd/network/05-nib-{n}.network"]) for n in ("given", "written")
    )
    assert "Address" not in given and "IPv6SendRA" not in given
    assert "Address=fd00:20::1/64\n" in written and "\nIPv6SendRA=yes\n" in written
    # its clients learn name servers by nothing else
    assert "\nDNS=2620:fe::fe 2606:4700:4700::1111\n" in written and "EmitDNS" not in written
    assert [len(lan.dns) for lan in plan.lans] == [2, 2]
    # one that has IPv4 brings it back, for itself
    beside = ALONE + "  home: {device: lan3, address: 192.168.30.1/24}\n"
    assert "ipv4.ip_forward = 1" in str(samples.files(beside)["sysctl.d/05-nib.conf"])
    assert {one for one, _ in samples.plan(beside).forward_pairs(4)} == {"lan3"}
    assert samples.plan(beside).modems[0].visitors == ("lan3",)


def test_failover_is_a_tier_each() -> None:
    plan = samples.plan("mode: failover\n" + samples.TWO)
    assert [[s.uplink for s in tier] for tier in plan.policies[0].tiers] == [["cable"], ["dsl"]]


def test_the_state_file_is_of_the_uplinks_alone() -> None:
    plan = samples.plan()
    same = samples.plan(samples.TWO.replace("weight: 3", "weight: 4"))
    other = samples.plan(samples.TWO.replace("wan2", "wan3"))
    assert plan.state_file == same.state_file != other.state_file


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 62))
def test_a_plan_survives_json(count: int) -> None:
    plan = samples.plan(samples.uplinks(count))
    assert from_json(to_json(plan)) == plan


def test_a_plan_with_everything_survives_json() -> None:
    for path in samples.EXAMPLES.glob("*.yaml"):
        plan = samples.plan(path.read_text())
        assert from_json(to_json(plan)) == plan


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "not a plan"),
        ("{}", "not a plan"),
        ("{", "Expecting"),
        (json.dumps({"generated_by": "x", "version": VERSION + 1}), "plan version 2"),
        (json.dumps({"generated_by": "x", "version": VERSION}), "damaged plan"),
    ],
)
def test_what_is_no_plan(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        from_json(text)


def test_the_slowest_limit_loads(tmp_path: Path) -> None:
    """One a day and a burst of 65535 takes two centuries to forget; nft counts to a few years."""
    text = samples.TWO + (
        "firewall: {allow: [{service: ssh, limit: {rate: 1/day, burst: 65535}}, "
        "{service: http, limit: {rate: 999999/second, burst: 1}}]}\n"
    )
    firewall = samples.plan(text).firewall
    assert firewall
    assert [allow.limit.forget_s for allow in firewall.allow if allow.limit] == [31_536_000, 60]
    load([str(samples.files(text)["nib/nib.nft"])], tmp_path)

"""What earlier plans left in the routing: with real rules and routes, as ip(8) lists them."""

from dataclasses import replace

import samples
from alone import alone, sh
from nib import router
from nib.families import Family
from nib.ip_rules import PROTOCOL
from nib.leftovers import leftovers
from nib.plan import Plan
from test_links import DEVICES, MANY, rule_text

BLOCKING = """
policies: {only: {tiers: [[cable]], when_down: block}}
rules: [{match: {lan: home}, use: only}]
"""
PLAN = samples.plan(samples.DUAL + BLOCKING)
FOUR = samples.plan()


def found(plan: Plan, family: Family, earlier: tuple[int, ...] = ()) -> list[str]:
    ip = f"ip -N -j -{family}"
    listed = sh(f"{ip} rule"), sh(f"{ip} route show table all default")
    return [" ".join(words) for words in leftovers(plan, family, *listed, earlier)]


def swept(plan: Plan, family: Family) -> list[str]:
    """All that it finds, which is gone when it is done."""
    commands = found(plan, family)
    for command in commands:
        sh(command)
    assert found(plan, family) == []
    return commands


@alone
async def test_what_the_plan_wants_is_no_leftover() -> None:
    sh(DEVICES + "\n".join(rule_text(rule) for rule in PLAN.rules))
    for uplink in PLAN.uplinks[:2]:
        sh(f"ip route add default dev {uplink.device} table {uplink.table}")
        sh(f"ip -6 route add default dev {uplink.device} table {uplink.table}")
    sh(f"ip route add default dev wan1 table {PLAN.balance_table}")
    assert found(PLAN, 4) == found(PLAN, 6) == []


@alone
async def test_another_plan_goes_entirely() -> None:
    """Rules of every form, in both families, of which the new plan has one."""
    sh(DEVICES + "\n".join(f"{rule_text(rule)} protocol static" for rule in PLAN.rules))
    kept = {rule.family for rule in FOUR.rules}
    assert kept == {4}
    six = [rule for rule in PLAN.rules if rule.family == 6]
    assert len(swept(FOUR, 6)) == len(six)
    assert [line.split(":")[0] for line in sh("ip -6 rule").splitlines()] == ["0", "32766"]
    four = {replace(rule, origin="") for rule in PLAN.rules if rule.family == 4}
    assert len(swept(FOUR, 4)) == len(four - {replace(rule, origin="") for rule in FOUR.rules})


@alone
async def test_a_plan_whose_rules_began_elsewhere_goes_as_well() -> None:
    moved = samples.plan(samples.TWO + "marks: {priority: 31000}\n")
    sh(DEVICES + "\n".join(rule_text(rule) for rule in (*moved.rules, *FOUR.rules)))
    sh("ip rule add pref 31000 lookup 99; ip rule add pref 31470 fwmark 0x5/0xff lookup 98")
    assert found(FOUR, 4) == []
    assert len(found(FOUR, 4, (moved.first_priority,))) == len(moved.rules)
    assert len(found(moved, 4, (FOUR.first_priority,))) == len(FOUR.rules)


@alone
async def test_defaults_in_tables_of_nobody() -> None:
    table = FOUR.uplinks[0].table
    sh(f"""{DEVICES}
    ip route add default dev wan1 table 7063 proto static
    ip route add 10.9.0.0/16 dev wan1 table 7063 proto static
    ip route add default dev wan2 table 7064
    ip -6 route add default dev wan1 table {table} proto ra
    ip route add default dev wan1 table 7500; ip route add default dev wan2
    """)
    assert swept(FOUR, 4) == ["ip -4 route flush exact default table 7063 proto 4"]
    assert swept(FOUR, 6) == [f"ip -6 route flush exact default table {table} proto 9"]
    assert "default" in sh("ip route show table 7064"), "somebody made it by hand"
    assert "10.9.0.0/16" in sh("ip route show table 7063")
    assert "default" in sh("ip route show table 7500") and "default" in sh("ip route")


@alone
async def test_others_rules_stay() -> None:
    for rule in (
        "pref 29999 lookup 7063",
        "pref 30501 lookup 7063",
        "pref 30250 iif lan1 lookup 99",
        "pref 30470 fwmark 0x5/0xff lookup 99",
        "pref 30250 ipproto tcp lookup 7063",
        "pref 30250 to 10.0.0.0/8 lookup 7063",
        "pref 30250 from 10.0.0.0/8 lookup 7063",
        "pref 30250 goto 30500",
        "pref 30470 goto 32766",
        "pref 30085 from 10.0.0.0/8 goto 30500",
    ):
        sh(f"ip rule add {rule}")
        if "10." not in rule:
            sh(f"ip -6 rule add {rule}")
    assert found(FOUR, 4) == found(FOUR, 6) == []


@alone
async def test_the_monitors_rules_are_left_to_the_monitor_where_it_looks() -> None:
    sh(f"ip rule add pref 30250 from 192.0.2.9 lookup 7063 protocol {PROTOCOL}")
    sh(f"ip -6 rule add pref 30250 from 2001:db8::9 lookup 7063 protocol {PROTOCOL}")
    assert found(FOUR, 4) == found(PLAN, 6) == []
    assert swept(FOUR, 6) == ["ip -6 rule del pref 30250 from 2001:db8::9 lookup 7063"]


@alone
async def test_shortcuts_go_with_the_uplinks_that_they_were_for() -> None:
    """Of a family that is there the monitor takes its own back."""
    shortcuts = [rule for rule in MANY.rules if rule.goto]
    sh("\n".join(f"{rule_text(rule)} protocol {PROTOCOL}" for rule in shortcuts))
    assert found(MANY, 4) == found(FOUR, 4) == []
    sh("ip rule flush\n" + "\n".join(map(rule_text, shortcuts)))
    assert found(MANY, 4) == []
    assert len(swept(FOUR, 4)) == len(shortcuts)


@alone
async def test_a_rule_is_the_same_however_the_kernel_finds_it() -> None:
    """A rollback removes what was not there before, and a jump whose aim came back was."""
    sh("ip rule add pref 30081 fwmark 8/0x38 goto 30101")
    sh("ip rule add pref 30301 oif gone lookup 7001")
    before = router._rules(30000)
    assert len(before) == 2
    sh("ip rule add pref 30101 lookup 7001; ip link add gone type veth peer name far")
    assert router._rules(30000) - before == {"-4 30101 from all lookup 7001"}

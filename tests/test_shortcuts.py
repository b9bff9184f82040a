"""Many uplinks: the walk over the marks' rules is cut short, and ends where it always ended."""

import re
from collections.abc import Iterable

import pytest

import samples
from alone import alone, sh
from nib.ip_rules import Rule
from nib.plan import Plan
from test_links import rule_text

WIRE = "ip link add wan0 type veth peer name far; ip link set wan0 up; ip link set far up"


def add(rules: Iterable[Rule]) -> None:
    sh("\n".join(map(rule_text, rules)))


def begin(plan: Plan) -> None:
    """All of a plan but the short cuts."""
    routes = [f"ip route add default dev wan0 table {uplink.table}" for uplink in plan.uplinks]
    sh("\n".join([WIRE, "ip rule flush", *routes]))
    add(rule for rule in plan.rules if not rule.goto)


def led(plan: Plan) -> dict[str, str]:
    """The table that each uplink's mark leads to, by the kernel's own word."""
    ways = [f"ip route get 203.0.113.1 mark {uplink.mark}" for uplink in plan.uplinks]
    tables = re.findall(r"table (\d+)", sh("\n".join(ways)))
    names = [uplink.name for uplink in plan.uplinks]
    return dict(zip(names, tables, strict=True))


def own(plan: Plan) -> dict[str, str]:
    return {uplink.name: str(uplink.table) for uplink in plan.uplinks}


def shortcuts(plan: Plan) -> list[Rule]:
    return [rule for rule in plan.rules if rule.goto]


@pytest.mark.parametrize("count", [1, 16, 17, 60, 62])
@alone
def test_shortcuts_lead_where_the_walk_leads(count: int) -> None:
    plan = samples.plan(samples.uplinks(count))
    assert bool(shortcuts(plan)) == (count > 16)
    begin(plan)
    assert led(plan) == own(plan)
    add(shortcuts(plan))
    assert led(plan) == own(plan)


@pytest.mark.parametrize(("before", "after"), [(60, 62), (18, 62), (40, 41), (62, 18), (60, 16)])
@alone
def test_shortcuts_of_an_earlier_plan_lead_nobody_astray(before: int, after: int) -> None:
    """Uplinks come and go before the monitor knows."""
    old, new = (samples.plan(samples.uplinks(count)) for count in (before, after))
    assert shortcuts(old)
    begin(new)
    add(shortcuts(old))
    assert led(new) == own(new)


def test_a_walk_is_short() -> None:
    """The longest way to a mark's rule among 62."""
    plan = samples.plan(samples.uplinks(62))
    marked = [rule for rule in plan.rules if rule.mark and 30000 < rule.priority < 30199]

    def steps(mark: int) -> int:
        walked, at = 0, 0
        for rule in marked:
            if rule.priority < at:
                continue
            walked += 1
            if mark & (rule.mask or 0) == rule.mark:
                if rule.goto is None:
                    return walked
                at = rule.goto
        raise AssertionError(f"{mark:#x} leads nowhere")

    assert max(steps(uplink.mark) for uplink in plan.uplinks) <= 7 + 1 + 8

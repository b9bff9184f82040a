"""Many uplinks: the walk over the marks' rules is cut short, and ends where it always ended."""

import re

import pytest

import samples
from alone import alone, sh
from test_links import rule_text


@pytest.mark.parametrize("count", [1, 16, 17, 60, 62])
@alone
def test_shortcuts_lead_where_the_walk_leads(count: int) -> None:
    """By the kernel's own word: with them, without them, and with their aims gone."""
    plan = samples.plan(samples.uplinks(count))
    shortcuts = [rule for rule in plan.rules if rule.goto]
    assert bool(shortcuts) == (count > 16)
    usual = [rule_text(rule) for rule in plan.rules if not rule.goto]
    lines = [
        "ip link add wan0 type veth peer name far; ip link set wan0 up; ip link set far up",
        "ip rule flush",
        *usual,
    ]
    lines += [f"ip route add default dev wan0 table {uplink.table}" for uplink in plan.uplinks]
    sh("\n".join(lines))
    expected = {uplink.mark: str(uplink.table) for uplink in plan.uplinks}

    def led() -> dict[int, str]:
        ways = [f"ip route get 203.0.113.1 mark {mark}" for mark in expected]
        tables = re.findall(r"table (\d+)", sh("\n".join(ways)))
        return dict(zip(expected, tables, strict=True))

    assert led() == expected
    sh("\n".join(map(rule_text, shortcuts)))
    assert led() == expected
    aims = {rule.goto for rule in shortcuts}
    sh("\n".join(f"ip rule del pref {priority}" for priority in aims))
    for rule in plan.rules:
        if rule.priority in aims and rule.mark:
            del expected[rule.mark]
    assert led() == expected


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

    assert max(steps(uplink.mark) for uplink in plan.uplinks) <= 7 + 8

"""The planner's part for the ip rules: which of them there are, and at what priority."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import pairwise

from nib.families import Family
from nib.ip_rules import Marks, Priority, Rule, Table
from nib.plan import Lan, Uplink

# Local tables (ip-route(8) keeps 0 and 253-255); far from the small numbers people choose by hand
# and from 51820 (wg-quick), 52 (Tailscale) and 2022 (others' defaults).
BALANCE_TABLE = Table(7000)

# Priorities, counted from the first of nib's.  That is 30000, late on purpose: `ip rule add`
# without one takes the number below the lowest that exists, so VPNs (wg-quick, Tailscale at 5210)
# stay ahead of nib's choice of an uplink.
MAIN_FIRST = Priority(0)
# The kernel walks the rules one by one for every packet it forwards: what those need comes first.
MARK_BASE = 100
# With many uplinks that is still a long walk, which is cut short: to just before so many ids.
SHORTCUT_BASE = Priority(80)
STRIDE = 8
FEW = 2 * STRIDE
ADDRESS_BASE = 200
DEVICE_BASE = 300
# Behind the marks' tables, and before any other way out.
BLOCK = Priority(199)
FALL_THROUGH = Priority(470)
GUARD = Priority(480)
# For a question of nft's: with the local mark a packet has no uplink's default.
LOCAL = Priority(490)
BALANCE = Priority(500)


def make_rules(
    first: int, uplinks: Collection[Uplink], lans: Collection[Lan], marks: Marks, *, blocks: bool
) -> tuple[Rule, ...]:
    """The ladder of ip rules, in the order of their priorities, of which `first` is the lowest."""
    families = sorted({family for uplink in uplinks for family in uplink.families})
    rules = [
        Rule(family, MAIN_FIRST, "lo", table="main", suppress_prefixlength=0, origin="nib")
        for family in families
    ]
    for uplink in uplinks:
        table, origin = uplink.table, uplink.origin
        for family in uplink.families:
            rules += [
                Rule(
                    family,
                    Priority(DEVICE_BASE + uplink.id),
                    uplink.device,
                    table=table,
                    oif=uplink.device,
                    origin=origin,
                ),
                *(
                    Rule(
                        family,
                        Priority(ADDRESS_BASE + uplink.id),
                        "lo",
                        table=table,
                        source=address.partition("/")[0],
                        origin=origin,
                    )
                    for address in uplink.addresses_of(family)
                ),
                Rule(
                    family,
                    Priority(MARK_BASE + uplink.id),
                    "lo",
                    table=table,
                    mark=uplink.mark,
                    mask=marks.id_mask,
                    origin=origin,
                ),
            ]
    if blocks:
        rules += [
            Rule(family, BLOCK, "lo", mark=marks.block, mask=marks.block, origin="nib")
            for family in families
        ]
    # A mark whose table is empty falls through to main; nothing else of a lan's passes the guard.
    # What nft did not mark, or marked as going nowhere near an uplink, was not NATed either: it
    # must not follow main's default out with a private source.
    if lans:
        rules += [
            Rule(family, LOCAL, "lo", mark=marks.local, mask=marks.id_mask, origin="nib")
            for family in families
        ]
        rules += [
            Rule(
                family,
                FALL_THROUGH,
                "lo",
                table="main",
                mark=uplink.mark,
                mask=marks.id_mask,
                origin=uplink.origin,
            )
            for uplink in uplinks
            for family in uplink.families
        ]
    for family in families:
        rules += [Rule(family, GUARD, "lo", iif=lan.device, origin=lan.origin) for lan in lans]
        rules.append(Rule(family, BALANCE, "lo", table=BALANCE_TABLE, origin="nib"))
        ids = sorted(uplink.id for uplink in uplinks if family in uplink.families)
        rules += _shortcuts(family, ids, marks) if len(ids) > FEW else ()
    moved = [_moved(rule, first) for rule in rules]
    return tuple(sorted(moved, key=lambda rule: rule.priority))


def _shortcuts(family: Family, ids: list[int], marks: Marks) -> Iterator[Rule]:
    """Jumps to the last mark before every `STRIDE` ids; `ids` are sorted.

    The monitor keeps them, for networkd knows no `goto`; without them the walk is longer, and ends
    at the same rule.  So it does with those of an earlier plan: uplinks that are new since come
    behind that mark, and where it is gone the kernel does not jump (fib_rules.c).
    """
    lowest = marks.id_mask & -marks.id_mask
    mask = marks.id_mask & ~((STRIDE - 1) * lowest)
    for before, after in pairwise(ids):
        block = after // STRIDE
        if before // STRIDE != block:
            at, goto = Priority(SHORTCUT_BASE + block), Priority(MARK_BASE + before)
            mark = block * STRIDE * lowest
            yield Rule(family, at, "", mark=mark, mask=mask, goto=goto, origin="nib")


def _moved(rule: Rule, first: int) -> Rule:
    goto = None if rule.goto is None else Priority(first + rule.goto)
    return replace(rule, priority=Priority(first + rule.priority), goto=goto)

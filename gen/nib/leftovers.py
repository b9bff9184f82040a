"""What earlier plans left in the kernel's routing.

networkd removes what its files do not say any more, but at a restart forgets what was its own.
"""

import json
from collections.abc import Collection, Iterator, Mapping

from nib.families import Family
from nib.ip_rules import MAIN, PROTOCOL, Rule
from nib.plan import Plan
from nib.planner import highest_id
from nib.planner_rules import (
    BALANCE,
    BALANCE_TABLE,
    BLOCK,
    FALL_THROUGH,
    GUARD,
    LOCAL,
    MAIN_FIRST,
    MARK_BASE,
    SHORTCUT_BASE,
)

Command = tuple[str, ...]
Listed = list[Mapping[str, str | int | None]]

# An uplink's table in whatever plan: as many as the widest mask has ids.
TABLES = range(BALANCE_TABLE + 1, BALANCE_TABLE + 1 + highest_id(0xFF))
# Where nib's rules lead to main, or nowhere.
ELSEWHERE = (MAIN_FIRST, BLOCK, FALL_THROUGH, GUARD, LOCAL)

# Who made a route of nib's: networkd (static 4, RA 9, DHCP 16; rt_protos) or the monitor.
MAKERS = ("4", "9", "16", str(PROTOCOL))

# All that ip(8) says of rules like nib's; one with another selector is somebody else's.
KEYS = {
    *("priority", "src", "fwmark", "fwmask", "iif", "iif_detached", "oif", "oif_detached"),
    *("table", "suppress_prefixlen", "action", "goto", "unresolved", "protocol"),
}


def leftovers(
    plan: Plan, family: Family, rules: str, routes: str, earlier: Collection[int] = ()
) -> tuple[Command, ...]:
    """The commands that remove them, none if there are none.

    `rules` and `routes` are what `ip -N -j` says of one family: of `rule`, and of `route show table
    all default`.  `earlier` are the first priorities of plans that were there before.
    """
    firsts = {plan.first_priority, *earlier}
    return (
        *_rules(plan, family, json.loads(rules), firsts),
        *_routes(plan, family, json.loads(routes)),
    )


def _rules(plan: Plan, family: Family, listed: Listed, firsts: set[int]) -> Iterator[Command]:
    wanted = {_selectors(rule) for rule in plan.rules if rule.family == family}
    for entry in listed:
        table = int(entry["table"] or 0) if "table" in entry else None
        places = {int(entry["priority"] or 0) - first for first in firsts}
        if "goto" in entry:
            ours = any(SHORTCUT_BASE <= place < MARK_BASE for place in places)
        elif table in (*TABLES, BALANCE_TABLE):
            ours = any(MAIN_FIRST <= place <= BALANCE for place in places)
        else:
            ours = table in (MAIN, None) and not places.isdisjoint(ELSEWHERE)
        if not ours:
            continue
        if entry.get("protocol") == str(PROTOCOL) and family in plan.families:
            # the monitor removes its own, and knows what else is wanted
            continue
        words = _words(entry)
        if KEYS.issuperset(entry) and (*words, table) not in wanted:
            yield ("ip", f"-{family}", "rule", "del", *words, *_lookup(table))


def _words(entry: Mapping[str, str | int | None]) -> tuple[str, ...]:
    """Priority and selectors, in the words of ip(8)."""
    words = ["pref", str(entry["priority"]), "from", str(entry["src"])]
    if "fwmark" in entry:
        words += ["fwmark", f"{entry['fwmark']}/{entry.get('fwmask', '0xffffffff')}"]
    for key in ("iif", "oif", "goto"):
        words += [key, str(entry[key])] if key in entry else []
    return tuple(words)


def _selectors(rule: Rule) -> tuple[str | int | None, ...]:
    """The same of a rule of the plan, and its table."""
    entry: dict[str, str | int | None] = {"priority": rule.priority, "src": rule.source or "all"}
    if rule.mark is not None and rule.mask is not None:
        entry |= {"fwmark": f"{rule.mark:#x}", "fwmask": f"{rule.mask:#x}"}
    named = (("iif", rule.iif), ("oif", rule.oif), ("goto", rule.goto))
    entry |= {key: of for key, of in named if of}
    return (*_words(entry), MAIN if rule.table == "main" else rule.table)


def _lookup(table: int | None) -> tuple[str, ...]:
    return () if table is None else ("lookup", str(table))


def _routes(plan: Plan, family: Family, listed: Listed) -> Iterator[Command]:
    wanted = {uplink.table for uplink in plan.uplinks if family in uplink.families}
    found = {(int(entry.get("table") or MAIN), str(entry.get("protocol"))) for entry in listed}
    for table, maker in sorted(found):
        if table in TABLES and table not in wanted and maker in MAKERS:
            flush = ("flush", "exact", "default", "table", str(table), "proto", maker)
            yield ("ip", f"-{family}", "route", *flush)

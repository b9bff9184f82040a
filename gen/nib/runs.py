"""Runs of rules that ask for the same things: each run is a single look-up in the table.

A map knows no first match, so a run ends where a rule overlaps one that is in it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address, ip_network
from itertools import product
from math import prod
from typing import Literal, assert_never

from nib.policies import FlowRule

Thing = Literal["devices", "source", "destination", "protocols", "sport", "dport"]
THINGS: tuple[Thing, ...] = ("devices", "source", "destination", "protocols", "sport", "dport")

# A map holds every combination of what a rule lists: with more of them it stands alone.
_MOST = 256


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbours that ask for the same `things` and for nothing else; a rule alone has none."""

    things: tuple[Thing, ...]
    rules: tuple[FlowRule, ...]

    def keys(self, rule: FlowRule) -> tuple[tuple[str, ...], ...]:
        """What a rule of the run matches: of each thing one element, in every combination."""
        return tuple(product(*(_elements(rule, thing) for thing in self.things)))


def runs(rules: Iterable[FlowRule]) -> tuple[Run, ...]:
    """The rules in their order, neighbours together where that changes nothing."""
    result: list[tuple[tuple[Thing, ...], list[FlowRule]]] = []
    for rule in rules:
        things = _things(rule)
        if things and result and result[-1][0] == things:
            members = result[-1][1]
            if not any(_overlap(things, rule, one) for one in members):
                members.append(rule)
                continue
        result.append((things, [rule]))
    return tuple(Run(things if members[1:] else (), tuple(members)) for things, members in result)


def _things(rule: FlowRule) -> tuple[Thing, ...]:
    """What a rule asks for; nothing if a map cannot say it."""
    if rule.source_set or rule.destination_set:
        return ()
    if rule.dscp or rule.hours or rule.user is not None:
        return ()
    asked = tuple(thing for thing in THINGS if _elements(rule, thing))
    counts = [len(_elements(rule, thing)) for thing in asked]
    return asked if prod(counts) <= max(_MOST, *counts, 0) else ()


def _elements(rule: FlowRule, thing: Thing) -> tuple[str, ...]:
    match thing:
        case "devices":
            return tuple(f'"{device}"' for device in rule.devices)  # as nft writes them
        case "source":
            return rule.source
        case "destination":
            return rule.destination
        case "protocols":
            return rule.protocols
        case "sport":
            return rule.sport
        case "dport":
            return rule.dport
        case _:
            assert_never(thing)


def _overlap(things: Iterable[Thing], one: FlowRule, other: FlowRule) -> bool:
    """Some flow matches both."""
    return all(_meet(thing, _elements(one, thing), _elements(other, thing)) for thing in things)


def _meet(thing: Thing, some: Iterable[str], others: Iterable[str]) -> bool:
    if thing in ("devices", "protocols"):
        return not set(some).isdisjoint(others)
    ranges = [_range(element) for element in others]
    return any(
        low <= end and start <= high for low, high in map(_range, some) for start, end in ranges
    )


@cache
def _range(element: str) -> tuple[int, int]:
    """The numbers of an nft element: a port, an address, a network or a range of either."""
    if "/" in element:
        network = ip_network(element)
        return int(network.network_address), int(network.broadcast_address)
    low, _, high = element.partition("-")
    return _number(low), _number(high or low)


def _number(text: str) -> int:
    return int(text) if text.isdigit() else int(ip_address(text))

"""Runs of rules that ask for the same one thing: each run is a single look-up in the table.

A map knows no first match, so a run ends where a rule overlaps one that is in it.
"""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Literal

from nib.policies import FlowRule

Thing = Literal["devices", "source", "destination", "ports"]
Run = tuple[Thing | None, tuple[FlowRule, ...]]
"""What all of the rules ask for, and nothing else; None: a rule that stands alone."""


def runs(rules: Iterable[FlowRule]) -> tuple[Run, ...]:
    """The rules in their order, neighbours together where that changes nothing."""
    result: list[Run] = []
    for rule in rules:
        thing = _thing(rule)
        before, members = result[-1] if result else (None, ())
        if thing and thing == before and not any(_overlap(thing, rule, one) for one in members):
            result[-1] = (thing, (*members, rule))
        else:
            result.append((thing, (rule,)))
    return tuple(result)


def _thing(rule: FlowRule) -> Thing | None:
    if (
        rule.hours
        or rule.source_set
        or rule.destination_set
        or rule.sport
        or rule.dscp
        or rule.user is not None
    ):
        return None
    asked: list[Thing] = []
    asked += ["devices"] if rule.devices else []
    asked += ["source"] if rule.source else []
    asked += ["destination"] if rule.destination else []
    asked += ["ports"] if rule.dport else []
    alone = len(asked) == 1 and bool(rule.protocols) == (asked == ["ports"])
    return asked[0] if alone else None


def _overlap(thing: Thing, one: FlowRule, other: FlowRule) -> bool:
    match thing:
        case "devices":
            return not set(one.devices).isdisjoint(other.devices)
        case "ports":
            shared = not set(one.protocols).isdisjoint(other.protocols)
            return shared and _touch(one.dport, other.dport)
        case "source":
            return _touch(one.source, other.source)
        case "destination":
            return _touch(one.destination, other.destination)


def _touch(some: Iterable[str], others: Iterable[str]) -> bool:
    ranges = [_range(element) for element in others]
    return any(
        low <= end and start <= high for low, high in map(_range, some) for start, end in ranges
    )


def _range(element: str) -> tuple[int, int]:
    """The numbers of an nft element: a port, an address, a network or a range of either."""
    if "/" in element:
        network = ip_network(element)
        return int(network.network_address), int(network.broadcast_address)
    low, _, high = element.partition("-")
    return _number(low), _number(high or low)


def _number(text: str) -> int:
    return int(text) if text.isdigit() else int(ip_address(text))

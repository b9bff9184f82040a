"""Warnings about rules that do less than they say, or something else."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from nib import values
from nib.check.reach import Ranges, Reach, ranges, ranges_cover, reach_of
from nib.check.reader import some
from nib.config import Config, External, Lan, Network, Rule, Static
from nib.document import Document
from nib.problem import Path, Problem


class _Inside(NamedTuple):
    """A lan: where its flows come from, None if others know that, and the uplinks it may use."""

    lan: str
    source: Ranges | None
    allowed: frozenset[str]


def rules(document: Document, config: Config) -> Iterator[Problem]:
    """The warnings about the rules of `config`, in their order."""
    sets = {one.name: one.spans for one in config.sets}
    lans = [_inside(config, lan) for lan in config.lans]
    near = [network for lan in config.lans for network in _networks(lan)]
    inside = _ranges([*near, *(route.to for route in config.routes)])
    known = values.merged(span for one in lans for span in one.source or ())
    earlier: list[Reach] = []
    for number, rule in enumerate(config.rules):
        path: Path = ("rules", number)
        reach = reach_of(rule, sets)
        if reach.destination is not None and ranges_cover(inside, reach.destination):
            at: Path = (*path, "match", "destination")
            sentence = "never acts: the routes to lans, and those of 'routes', go before every rule"
            hint = "remove it; who may reach a lan is said by 'forwarding'"
            yield Problem(document.place(at), at, sentence, hint)
        elif refused := tuple(_refused(config, rule, reach, earlier, lans, known=known)):
            at = (*path, "use")
            sentence = f"{some(refused)} may use none of its uplinks, so what it matches is refused"
            hint = "say with 'lan' whom the rule is for, or change 'forwarding'"
            yield Problem(document.place(at), at, sentence, hint)
        earlier.append(reach)


def _refused(
    config: Config,
    rule: Rule,
    reach: Reach,
    earlier: list[Reach],
    lans: list[_Inside],
    *,
    known: Ranges,
) -> Iterator[str]:
    """The lans that the rule can match without naming them, and leads where they may not go.

    `known`: where flows of any lan are known to come from.
    """
    if rule.match.lans or rule.match.user is not None or rule.use == "default":
        return
    if config.firewall is None:
        return  # nothing of nib's refuses them
    members = config.members(rule.use)
    for lan, source, allowed in lans:
        if not allowed or allowed.intersection(members):
            continue
        if source is None and reach.source is not None and ranges_cover(known, reach.source):
            continue  # these are in other lans
        own = replace(reach, lans=frozenset({lan}), source=_common(reach.source, source))
        if own.families and not any(before.covers(own) for before in earlier):
            yield lan


def _inside(config: Config, lan: Lan) -> _Inside:
    source = None
    if not isinstance(lan.address, External):
        behind = (route.to for route in config.routes if route.owner == lan.name)
        source = _ranges([*_networks(lan), *behind])
    ways = (uplink.name for uplink in config.uplinks)
    return _Inside(
        lan.name, source, frozenset(way for way in ways if config.may_forward(lan.name, way))
    )


def _networks(lan: Lan) -> tuple[Network, ...]:
    addresses = lan.address.addresses if isinstance(lan.address, Static) else ()
    return tuple(one.network for one in addresses)


def _ranges(networks: Iterable[Network]) -> Ranges:
    return ranges((one.network_address, one.broadcast_address) for one in networks)


def _common(one: Ranges | None, other: Ranges | None) -> Ranges | None:
    """What is in both."""
    if one is None or other is None:
        return other if one is None else one
    pairs = ((max(a, c), min(b, d)) for a, b in one for c, d in other)
    return tuple(sorted((low, high) for low, high in pairs if low <= high))

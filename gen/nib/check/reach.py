"""Rules that can never do what they say: hidden by an earlier one, or with no way out."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nib import values
from nib.check.reader import Reader, some
from nib.config import Addresses, Config, Rule, Span
from nib.document import Path, dotted

Ranges = tuple[tuple[int, int], ...]
"""Sorted, inclusive, and not touching each other."""

_IPV6 = 1 << 33  # IPv6 addresses are numbered behind those of IPv4, and touch none


def check_reach(reader: Reader, config: Config, rules: Mapping[Path, Rule]) -> None:
    """Say so of each rule that no flow reaches, or whose flows cannot go where it says.

    `rules` are those of `config` that nothing is wrong with, by their places.
    """
    spans = {one.name: one.spans for one in config.sets}
    earlier: list[tuple[Path, Reach]] = []
    for path, rule in rules.items():
        reach = reach_of(rule, spans)
        _ways(reader, config, path, rule, reach)
        hiding = next((other for other, wider in earlier if wider.covers(reach)), None)
        if hiding:
            hint = "the first match wins: move it up or remove it"
            reader.say(path, f"is never reached: {dotted(hiding)} matches all of it", hint)
        earlier.append((path, reach))


def _ways(reader: Reader, config: Config, path: Path, rule: Rule, reach: "Reach") -> None:
    """What the rule's policy can do with the families and lans that the rule is about."""
    ways = [uplink for uplink in config.uplinks if uplink.name in config.members(rule.use)]
    had = {f for lan in config.lans if lan.name in rule.match.lans for f in lan.families}
    families = reach.families & had if rule.match.lans else reach.families
    if not reach.families:
        sentence = "matches nothing: its source and its destination are of different families"
        reader.say((*path, "match"), sentence)
    elif not families:
        family = f"IPv{min(reach.families)}"
        sentence = f"matches nothing: it is about {family}, but {some(rule.match.lans)} has none"
        reader.say((*path, "match"), sentence)
    elif not any(families.intersection(way.families) for way in ways):
        family = f"IPv{min(families)}"
        sentence = f"the rule is about {family}, but {rule.use} has none"
        hint = f"'{family.lower()}' of {some(way.name for way in ways)} says why"
        reader.say((*path, "use"), sentence, hint)
    for lan in rule.match.lans if reader.sound("forwarding") else ():
        refused = [way.name for way in ways if not config.may_forward(lan, way.name)]
        if refused and rule.use != "default":
            hint = "add it to a group of 'forwarding', or use another policy"
            reader.say((*path, "use"), f"{lan} may not forward to {some(refused)}", hint)


@dataclass(frozen=True, slots=True)
class Reach:
    """All flows that a rule matches: None is any; addresses, ports and minutes as numbers."""

    source: Ranges | None
    destination: Ranges | None
    sport: Ranges | None
    dport: Ranges | None
    protocols: frozenset[object] | None
    lans: frozenset[object] | None
    dscp: frozenset[object] | None
    users: frozenset[object] | None
    time: Ranges | None

    @property
    def families(self) -> frozenset[int]:
        """The families of which there can be such flows."""
        ends = [ranges for ranges in (self.source, self.destination) if ranges is not None]
        return frozenset(
            family
            for family in (4, 6)
            if all(any((low < _IPV6) == (family == 4) for low, _ in ranges) for ranges in ends)
        )

    def covers(self, other: "Reach") -> bool:
        """Every flow that `other` matches is matched by this as well."""
        return (
            _words_cover(self.protocols, other.protocols)
            and _words_cover(self.lans, other.lans)
            and _words_cover(self.dscp, other.dscp)
            and _words_cover(self.users, other.users)
            and ranges_cover(self.time, other.time)
            and ranges_cover(self.dport, other.dport)
            and ranges_cover(self.sport, other.sport)
            and ranges_cover(self.source, other.source)
            and ranges_cover(self.destination, other.destination)
        )


def reach_of(rule: Rule, sets: Mapping[str, tuple[Span, ...]]) -> Reach:
    """`sets` has the addresses of each set, by its name."""
    match = rule.match
    return Reach(
        source=_numbers(match.source, sets),
        destination=_numbers(match.destination, sets),
        sport=match.sport or None,
        dport=match.dport or None,
        protocols=frozenset(match.protocols) or None,
        lans=frozenset(match.lans) or None,
        dscp=frozenset(match.dscp) or None,
        users=None if match.user is None else frozenset({match.user}),
        time=match.time.spans if match.time else None,
    )


def _numbers(addresses: Addresses | None, sets: Mapping[str, tuple[Span, ...]]) -> Ranges | None:
    if addresses is None:
        return None
    every = [*addresses.spans, *(span for name in addresses.sets for span in sets[name])]
    return ranges(every)


def ranges(spans: Iterable[Span]) -> Ranges:
    """Addresses as numbers."""
    shift = {4: 0, 6: _IPV6}
    return values.merged((int(a) + shift[a.version], int(b) + shift[b.version]) for a, b in spans)


def _words_cover(wide: frozenset[object] | None, narrow: frozenset[object] | None) -> bool:
    return wide is None or (narrow is not None and narrow <= wide)


def ranges_cover(wide: Ranges | None, narrow: Ranges | None) -> bool:
    """Everything in `narrow` is in `wide`; None is all there is."""
    if wide is None or wide == narrow:
        return True
    if narrow is None:
        return False
    starts = [low for low, _ in wide]
    for low, high in narrow:
        at = bisect_right(starts, low) - 1
        if at < 0 or wide[at][1] < high:
            return False
    return True

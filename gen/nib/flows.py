"""Config -> which flows use which uplinks: the policies, sets and rules of the plan."""

from collections.abc import Iterable, Iterator
from ipaddress import summarize_address_range
from itertools import product
from typing import Literal

from nib import config
from nib.config import Addresses, Config, Mode, Span, Uplink
from nib.families import Family
from nib.hours import Hours, Spans
from nib.plan import Lan
from nib.policies import AddressSet, FlowRule, Policy, Running, Share, Sticky

DEFAULT = "default"
LAST_LABEL = 127  # of a conntrack entry

_WORDS: dict[Family, dict[str, str]] = {4: {"gre": "47"}, 6: {"gre": "47", "icmp": "icmpv6"}}
"""What nft calls a protocol, where it is not the same; it knows gre by its number alone."""


# -- policies ------------------------------------------------------------------------------------


def policies(conf: Config) -> tuple[Policy, ...]:
    """`default`, those that were named, those of uplinks that rules name, those of lans."""
    named = {policy.name: policy for policy in conf.policies}
    carried = {uplink.name: uplink for uplink in conf.uplinks}
    own = [rule.use for rule in conf.rules if rule.use in carried]
    stay = _sticky(conf, named.get(DEFAULT))
    running = _running(conf)
    tiers = _default_tiers(conf, conf.uplinks)
    result = {DEFAULT: Policy(DEFAULT, tiers, sticky=stay, running=running.get(DEFAULT))}
    for name, policy in named.items():
        if name != DEFAULT:
            tiers = _tiers(conf, policy.tiers)
            when_down: Literal["any", "block"] = "block" if policy.block else "any"
            sticky = _sticky(conf, policy)
            result[name] = Policy(name, tiers, when_down, sticky, running.get(name))
    for name in own:
        result[name] = Policy(name, ((_share(carried[name]),),), "any")
    for lan in conf.lans:
        name = of_lan(conf, lan)
        if name != DEFAULT:
            result[name] = Policy(name, _lans_tiers(conf, lan), sticky=stay)
    return tuple(result.values())


def of_lan(conf: Config, lan: config.Lan) -> str:
    """The policy of a lan's flows that no rule names: its own, if it may not use every uplink."""
    tiers = _lans_tiers(conf, lan)
    return f"for_{lan.name}" if tiers not in ((), _default_tiers(conf, conf.uplinks)) else DEFAULT


def preference(uplink: Uplink) -> tuple[bool, int, int, str]:
    """The order in which uplinks are used one at a time."""
    return (uplink.weight == 0, uplink.tier, -uplink.weight, uplink.name)


def _sticky(conf: Config, policy: config.Policy | None) -> Sticky | None:
    """What is remembered are clients: without lans there are none."""
    sticky = policy.sticky if policy and conf.lans else None
    return Sticky(sticky.pair, sticky.for_s) if sticky else None


def _running(conf: Config) -> dict[str, Running]:
    """By policy; the labels from the top, where others' are not likely to be."""
    special = sorted(policy.name for policy in conf.policies if policy.kept or policy.recalled)
    return {
        policy.name: Running(
            LAST_LABEL - special.index(policy.name), policy.kept, policy.recalled, policy.after_s
        )
        for policy in conf.policies
        if policy.name in special
    }


def _lans_tiers(conf: Config, lan: config.Lan) -> tuple[tuple[Share, ...], ...]:
    """Those of `default` that it may use; if these are none, all uplinks that it may use."""
    allowed = [uplink for uplink in conf.uplinks if conf.may_forward(lan.name, uplink.name)]
    return _default_tiers(conf, allowed) or _by_tier(conf, allowed)


def _default_tiers(conf: Config, members: Iterable[Uplink]) -> tuple[tuple[Share, ...], ...]:
    named = next((policy.tiers for policy in conf.policies if policy.name == DEFAULT), ())
    if not named:
        return _by_tier(conf, members)
    names = {uplink.name for uplink in members}
    kept = [tier for group in named if (tier := [name for name in group if name in names])]
    return _tiers(conf, kept) if kept else ()


def _by_tier(conf: Config, members: Iterable[Uplink]) -> tuple[tuple[Share, ...], ...]:
    """All that carry by themselves, in the tiers they have."""
    carrying = [uplink for uplink in members if uplink.weight]
    levels = sorted({uplink.tier for uplink in carrying})
    return _spread(conf, ([u for u in carrying if u.tier == level] for level in levels))


def _tiers(conf: Config, tiers: Iterable[Iterable[str]]) -> tuple[tuple[Share, ...], ...]:
    """Tiers of names; none at all is all uplinks in tiers of their own."""
    uplinks = {uplink.name: uplink for uplink in conf.uplinks}
    named = [[uplinks[name] for name in tier] for tier in tiers]
    return _spread(conf, named) if named else _by_tier(conf, conf.uplinks)


def _spread(conf: Config, tiers: Iterable[Iterable[Uplink]]) -> tuple[tuple[Share, ...], ...]:
    """In failover mode every uplink is a tier of its own: downstream there is only one mode."""
    groups = [[_share(uplink) for uplink in sorted(tier, key=preference)] for tier in tiers]
    match conf.mode:
        case Mode.FAILOVER:
            return tuple((share,) for group in groups for share in group)
        case Mode.BALANCE:
            return tuple(tuple(group) for group in groups)


def _share(uplink: Uplink) -> Share:
    """Whoever is named carries, even if it never does by itself."""
    return Share(uplink.name, uplink.weight or 1)


# -- sets and rules ------------------------------------------------------------------------------


def sets(conf: Config) -> tuple[AddressSet, ...]:
    """Those with addresses, one of each family."""
    return tuple(
        AddressSet(_set(one.name, family), family, elements, str(one.origin))
        for one in conf.sets
        for family in conf.families
        if (elements := _elements(one.spans, family))
    )


def hours(conf: Config) -> tuple[Hours, ...]:
    """Those of the rules, the same ones once."""
    return tuple(_named(conf).values())


def _named(conf: Config) -> dict[Spans, Hours]:
    times = {rule.match.time.spans: rule.match.time.text for rule in conf.rules if rule.match.time}
    return {
        spans: Hours(f"hours_{number}", spans, text)
        for number, (spans, text) in enumerate(times.items(), start=1)
    }


def rules(conf: Config, lans: Iterable[Lan]) -> tuple[FlowRule, ...]:
    """The rules as lines of one family each.

    A rule becomes several lines where addresses of its own and sets stand side by side, and none
    in a family that it cannot match.
    """
    return tuple(
        line
        for rule in conf.rules
        for family in conf.families
        for line in _lines(conf, rule, family, {lan.name: lan for lan in lans})
    )


def _lines(
    conf: Config, rule: config.Rule, family: Family, lans: dict[str, Lan]
) -> Iterator[FlowRule]:
    match = rule.match
    named = [lans[name] for name in match.lans]
    devices = tuple(lan.device for lan in named if family in lan.families)
    if named and not devices:
        return
    for source, destination in product(
        _ends(conf, match.source, family), _ends(conf, match.destination, family)
    ):
        yield FlowRule(
            family=family,
            policy=rule.use,
            devices=devices,
            source=source[0],
            source_set=source[1],
            destination=destination[0],
            destination_set=destination[1],
            protocols=tuple(_WORDS[family].get(name, name) for name in match.protocols),
            sport=_ports(match.sport),
            dport=_ports(match.dport),
            dscp=match.dscp,
            user=match.user,
            hours=_named(conf)[match.time.spans].name if match.time else None,
            origin=str(rule.origin),
        )


def _ends(
    conf: Config, addresses: Addresses | None, family: Family
) -> Iterator[tuple[tuple[str, ...], str | None]]:
    """The ways in which one line can match the addresses: as elements, or by the name of a set."""
    if addresses is None:
        yield (), None
        return
    if elements := _elements(addresses.spans, family):
        yield elements, None
    for one in conf.sets:
        if one.name in addresses.sets and _elements(one.spans, family):
            yield (), _set(one.name, family)


def _set(name: str, family: Family) -> str:
    return f"set_{name}{family}"


def _elements(spans: Iterable[Span], family: Family) -> tuple[str, ...]:
    return tuple(_element(*span) for span in spans if span[0].version == family)


def _element(first: config.Address, last: config.Address) -> str:
    if first == last:
        return str(first)
    network, *more = summarize_address_range(first, last)
    return f"{first}-{last}" if more else str(network)


def _ports(ranges: Iterable[tuple[int, int]]) -> tuple[str, ...]:
    return tuple(str(low) if low == high else f"{low}-{high}" for low, high in ranges)

"""Config -> Plan: every number and name that nib uses, chosen once, here.

Whoever needs a mark, a table, a priority, a chain or a file name reads it from the plan; nobody
else computes one.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from operator import attrgetter

from nib import budget, config, flows
from nib.config import Config, Dhcp, External, Mode, Static
from nib.hours import Hours
from nib.ip_rules import Mark, Marks, Priority, Table
from nib.passages import Firewall
from nib.plan import (
    GENERATED_BY,
    STATE_DIRECTORY,
    VERSION,
    Bandwidth,
    DhcpServer,
    Kind,
    Lan,
    Plan,
    Uplink,
)
from nib.planner_passages import forwards, modems, netdevs, openings, routes, segments
from nib.planner_rules import ADDRESS_BASE, BALANCE_TABLE, make_rules
from nib.policies import Policy
from nib.probe import Limits, Probe
from nib.targets import family_of

# What the schema allows at most.
LAST_TIER, LAST_WEIGHT = 100, 256


def make_plan(conf: Config) -> Plan:
    """Choose every number and name for a checked configuration.

    Uplinks and lans are in the order of their names: that of the file means nothing.
    """
    conf = _ordered(conf)
    marks = split_mask(conf.mask)
    uplinks = plan_uplinks(conf)
    policies, hours = flows.policies(conf), flows.hours(conf)
    lans = _lans(conf)
    return Plan(
        version=VERSION,
        generated_by=GENERATED_BY,
        marks=marks,
        uplinks=uplinks,
        lans=lans,
        rules=make_rules(
            conf.priority,
            uplinks,
            lans,
            marks,
            blocks=any(p.when_down == "block" for p in policies),
        ),
        balance_table=BALANCE_TABLE,
        policies=policies,
        sets=flows.sets(conf),
        hours=hours,
        flow_rules=flows.rules(conf, lans),
        modems=modems(conf),
        netdevs=netdevs(conf),
        routes=routes(conf, uplinks),
        segments=segments(uplinks),
        firewall=_firewall(conf) if conf.firewall else None,
        notices=conf.notices,
        state_file=f"{STATE_DIRECTORY}/state-{_fingerprint(marks, uplinks, policies, hours)}.nft",
        history_bytes=conf.history_bytes,
        metrics_listen=conf.metrics_listen,
    )


def plan_uplinks(conf: Config) -> tuple[Uplink, ...]:
    """The plan's uplinks alone, in the order of `conf`."""
    marks = split_mask(conf.mask)
    ids = assign_ids(
        {uplink.name: uplink.pinned_id for uplink in conf.uplinks}, last=highest_id(conf.mask)
    )
    tiers = [tier for policy in flows.policies(conf) for tier in policy.tiers]
    beside = {share.uplink for tier in tiers if len(tier) > 1 for share in tier}
    return tuple(
        _uplink(conf, uplink, ids[uplink.name], marks, canary=uplink.name in beside)
        for uplink in conf.uplinks
    )


def _ordered(conf: Config) -> Config:
    by_name = attrgetter("name")
    uplinks, lans = sorted(conf.uplinks, key=by_name), sorted(conf.lans, key=by_name)
    modems = sorted(conf.modems, key=attrgetter("uplink"))
    return replace(conf, uplinks=tuple(uplinks), lans=tuple(lans), modems=tuple(modems))


def split_mask(mask: int) -> Marks:
    """Lay out the contiguous bits of `mask`: ids below, the block bit on top."""
    block = 1 << (mask.bit_length() - 1)
    id_mask = mask & ~block
    return Marks(mask, id_mask, block, ~mask & 0xFFFFFFFF, Mark(id_mask))


def highest_id(mask: int) -> int:
    """The largest id for an uplink under `mask`: 0 means unmarked, all ones means local."""
    return int((1 << (mask.bit_count() - 1)) - 2)


def assign_ids(names: Mapping[str, int | None], last: int) -> dict[str, int]:
    """An id in 1..`last` for every name, from the name alone, so that order changes nothing.

    Pinned ids are honoured first; the others take the slot their hash says, or the next free one.
    Raises ValueError when there are more names than ids.
    """
    if len(names) > last:
        raise ValueError(f"{len(names)} uplinks, but the mask has room for {last}")
    ids = {name: pinned for name, pinned in names.items() if pinned is not None}
    taken = set(ids.values())
    for name in sorted(names.keys() - ids.keys()):
        slot = int.from_bytes(hashlib.blake2s(name.encode()).digest()[:8], "big") % last
        while slot + 1 in taken:
            slot = (slot + 1) % last
        ids[name] = slot + 1
        taken.add(slot + 1)
    return ids


def _metric(uplink: config.Uplink, number: int, mode: Mode) -> int:
    """The metric of an uplink's default in main: in decimal its tier, its place there, its id.

    Nothing but this uplink is asked: networkd configures a link with another metric anew, which
    ends connections on it, so no other uplink's coming, going or weight may change it.  Nor does
    its own weight, but in failover mode, where it is the order.  Even the lowest is above the
    100-600 of NetworkManager and ifupdown.
    """
    tier = uplink.tier if uplink.weight else LAST_TIER + uplink.tier
    place = LAST_WEIGHT - uplink.weight if mode is Mode.FAILOVER else 0
    return (tier * 1000 + place) * 1000 + number


def _uplink(
    conf: Config, uplink: config.Uplink, number: int, marks: Marks, *, canary: bool
) -> Uplink:
    """`canary`: there are others that can take the rest of its share."""
    kind: Kind
    addresses: tuple[str, ...] = ()
    match uplink.address:
        case Dhcp():
            kind = "dhcp"
        case External():
            kind = "external"
        case Static(interfaces):
            kind = "static"
            addresses = tuple(str(interface) for interface in interfaces)
    shift = (marks.mask & -marks.mask).bit_length() - 1
    probe = uplink.probe
    targets = tuple(t for t in probe.targets if family_of(t) in (*uplink.families, None))
    asked_bytes = budget.turn_bytes(targets, uplink.families)
    least_ms = budget.least_interval_ms(asked_bytes, uplink.budget_bytes)
    return Uplink(
        name=uplink.name,
        id=number,
        device=uplink.device,
        kind=kind,
        families=uplink.families,
        addresses=addresses,
        ipv6=uplink.ipv6 or "off",
        prefix=str(uplink.prefix) if uplink.prefix else None,
        gateway=str(uplink.gateway) if uplink.gateway else None,
        gateway6=str(uplink.gateway6) if uplink.gateway6 else None,
        weight=uplink.weight,
        tier=uplink.tier,
        mark=Mark(number << shift),
        table=Table(BALANCE_TABLE + number),
        metric=_metric(uplink, number, conf.mode),
        address_priority=Priority(conf.priority + ADDRESS_BASE + number),
        network=uplink.network,
        mtu=uplink.mtu,
        bandwidth=_bandwidth(uplink),
        budget_bytes=uplink.budget_bytes,
        probe=Probe(
            targets=targets,
            interval_ms=max(probe.interval_ms, least_ms),
            timeout_ms=probe.timeout_ms,
            quorum=probe.quorum,
            fall=probe.fall,
            rise=probe.rise,
            hold_down_ms=probe.hold_down_ms,
            damping_ms=probe.damping_ms,
            canary_ms=probe.canary_ms if canary else 0,
            loss=_limits(probe.loss),
            rtt=_limits(probe.rtt),
            jitter=_limits(probe.jitter),
        ),
        origin=str(uplink.origin),
    )


def _limits(limits: config.Limits | None) -> Limits | None:
    return Limits(limits.down, limits.up) if limits else None


def _bandwidth(uplink: config.Uplink) -> Bandwidth | None:
    given = uplink.bandwidth
    return Bandwidth(given.down_bits, given.up_bits) if given else None


def _lans(conf: Config) -> tuple[Lan, ...]:
    """With the numbers of their networks in the prefixes of uplinks, in the order of names."""
    numbers = itertools.count()
    return tuple(
        _lan(conf, lan, next(numbers) if lan.ipv6 and isinstance(lan.address, Static) else None)
        for lan in conf.lans
    )


def _lan(conf: Config, lan: config.Lan, subnet: int | None) -> Lan:
    interfaces = lan.address.addresses if isinstance(lan.address, Static) else ()
    return Lan(
        name=lan.name,
        device=lan.device,
        families=lan.families,
        addresses=tuple(str(interface) for interface in interfaces),
        announced=tuple(str(one.network) for one in interfaces if one.version == 6),
        link_local=lan.ipv6,
        network=lan.network,
        mtu=lan.mtu,
        dhcp_server=_dhcp_server(lan),
        subnet=subnet,
        policy=flows.of_lan(conf, lan),
        origin=str(lan.origin),
        dns=tuple(str(address) for address in lan.dns),
    )


def _dhcp_server(lan: config.Lan) -> DhcpServer | None:
    server = lan.dhcp_server
    if server is None:
        return None
    first, last = map(int, server.pool)
    return DhcpServer(
        address=str(server.server),
        pool_offset=first - int(server.server.network.network_address),
        pool_size=last - first + 1,
        dns=tuple(str(address) for address in server.dns),
        lease_s=server.lease_s,
    )


def _firewall(conf: Config) -> Firewall:
    assert conf.firewall
    devices = {u.name: u.device for u in conf.uplinks} | {lan.name: lan.device for lan in conf.lans}
    lans = {lan.name for lan in conf.lans}
    pairs = {
        (devices[one], devices[other])
        for group in conf.forwarding
        for one in group
        if one in lans
        for other in group
    }
    pairs_in_order = tuple(sorted(pairs))
    return Firewall(openings(conf), forwards(conf), conf.firewall.log_drops, pairs_in_order)


def _fingerprint(
    marks: Marks,
    uplinks: Iterable[Uplink],
    policies: Iterable[Policy],
    hours: Iterable[Hours],
) -> str:
    """What the names and numbers in the monitor's state depend on, in 8 hex digits."""
    facts = (
        marks.mask,
        [(u.name, u.id, u.device, u.families, u.ipv6) for u in uplinks],
        [(policy.name, policy.when_down, policy.sticky is not None) for policy in policies],
        *([one.name, one.spans] for one in hours),
    )
    return hashlib.blake2s(json.dumps(facts).encode(), digest_size=4).hexdigest()

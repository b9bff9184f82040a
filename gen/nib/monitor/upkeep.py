"""What the monitor keeps in the kernel's routing.

That is the balance table, the rules of addresses that no file knows (leased, announced, or made by
others), and what others removed: networkd owns the uplinks' routes and rules, and when one of them
is missing although its link is fine, somebody took it away.  After a moment's grace it is put back
under nib's own protocol number, and taken back as soon as networkd's own is there again.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from nib.families import Family
from nib.ip_rules import MAIN, Rule
from nib.monitor import disputes, prefixes
from nib.monitor.disputes import Dispute, PutBack
from nib.monitor.events import (
    AddDefault,
    AddNetwork,
    AddRule,
    Default,
    Device,
    Effect,
    Facts,
    NextHop,
    RemoveDefault,
    RemoveRule,
    SetBalance,
)
from nib.plan import Plan, Uplink
from nib.state import Easing, Live, Prefixes, carriers, eased, route_weights
from nib.status import Status

# The kernel makes one route of two IPv6 routes with the same metric.  What is put back must stay
# another than networkd's, and gives way to it: more than any metric of the plan.
PUT_BACK6 = 1_000_000_000

# networkd replaces a lease's routes one by one, within a millisecond; it is not to be disturbed.
GRACE_S = 0.3
# How long an effect may take to show up among the facts before it is asked for again.
PENDING_S = 0.5


@dataclass(frozen=True, slots=True)
class Memory:
    """`missing`: since when a thing is gone.  `asked`: when a repair was last asked for.

    `disputes`: what was put back of late, and how often.  `disputed`: the same by name, as a
    monitor before this one left it, until the first repair.  `gateways`: the last gateway seen on a
    device, with the addresses the device had then.  `told`: the gateways that a monitor before this
    one left, with the device and an address that it had then; they count at the first look.
    `prefixes`: the networks that were last delegated.
    """

    missing: Mapping[Rule | Default, float] = field(default_factory=dict)
    asked: Mapping[Effect, float] = field(default_factory=dict)
    disputes: Mapping[PutBack, Dispute] = field(default_factory=dict)
    disputed: Mapping[str, Dispute] = field(default_factory=dict)
    gateways: Mapping[tuple[str, Family], tuple[str | None, Device]] = field(default_factory=dict)
    told: Mapping[tuple[str, Family], tuple[str, str, str]] = field(default_factory=dict)
    prefixes: Prefixes = field(default_factory=dict)


def recall(status: Status | None, disputed: Mapping[str, Dispute]) -> Memory:
    """What the last monitor knew: it may have died while routes were gone that no other knows."""
    return Memory(
        disputed=disputed,
        told={
            (uplink.name, one.family): (one.gateway, uplink.device, one.address)
            for uplink in (status.uplinks if status else ())
            for one in uplink.families
            if one.gateway and one.address
        },
    )


def repair(
    plan: Plan, facts: Facts, live: Live, memory: Memory, at_s: float, *, easing: Easing
) -> tuple[Memory, tuple[Effect, ...], float | None]:
    """The repairs that are due at `at_s`, and when to look again (None: when facts change)."""
    expected = dict(_expected(plan, facts, memory))
    missing = {
        thing: memory.missing.get(thing, at_s) for thing, there in expected.items() if not there
    }
    wanted = list(prefixes.repairs(plan, facts, memory.prefixes))
    later: list[float] = []
    for thing, since_s in missing.items():
        if at_s >= since_s + GRACE_S:
            wanted.append(_put_back(thing))
        else:
            later.append(since_s + GRACE_S)
    from_addresses = _from_addresses(plan, facts)
    present = {entry.rule for entry in facts.rules}
    wanted += [AddRule(rule) for rule in from_addresses if rule not in present]
    wanted += _surplus(plan, facts, from_addresses)
    balances = dict(_balance(plan, facts, live, easing))
    wanted += [balance for balance, there in balances.items() if not there]

    # what ought to be otherwise now, or is left alone, is no longer in dispute
    ours: set[PutBack] = {
        *map(_put_back, expected),
        *map(AddRule, from_addresses),
        *map(AddNetwork, prefixes.wanted(plan, facts, memory.prefixes)),
        *balances,
    }
    disputed = {
        effect: one
        for effect, one in _disputes(memory, ours)
        if effect in ours and at_s < one.peace_s
    }
    asked = {}
    due: list[Effect] = []
    for effect in wanted:
        last_s = memory.asked.get(effect)
        next_s = at_s if last_s is None else last_s + PENDING_S
        if isinstance(effect, PutBack):
            dispute = disputed.get(effect, disputes.NONE)
            next_s = max(next_s, dispute.last_s + dispute.pause_s)
            if at_s >= next_s:
                disputed[effect] = dispute.again(at_s)
        if at_s >= next_s:
            due.append(effect)
            last_s, next_s = at_s, at_s + PENDING_S
        if last_s is not None:
            asked[effect] = last_s
        later.append(next_s)
    later += [one.peace_s for one in disputed.values() if one.contested]
    return (
        replace(memory, missing=missing, asked=asked, disputes=disputed, disputed={}),
        tuple(due),
        min(later, default=None),
    )


def refused(memory: Memory, effect: Effect) -> Memory:
    """The kernel did not do it: that nobody removed it is certain."""
    kept = {of: one for of, one in memory.disputes.items() if of != effect}
    return replace(memory, disputes=kept)


def _disputes(memory: Memory, ours: Iterable[PutBack]) -> Iterator[tuple[PutBack, Dispute]]:
    if memory.disputed:
        for effect in ours:
            if one := memory.disputed.get(disputes.thing(effect)):
                yield effect, one
    yield from memory.disputes.items()


def _put_back(thing: Rule | Default) -> AddRule | AddDefault:
    return AddRule(thing) if isinstance(thing, Rule) else AddDefault(thing)


def learn(plan: Plan, facts: Facts, memory: Memory) -> Memory:
    """Take note of the gateways and delegated networks among new facts."""
    return replace(
        memory,
        gateways=_gateways(plan, facts, memory),
        told={},
        prefixes=prefixes.learn(plan, facts, memory.prefixes),
    )


def _devices(facts: Facts) -> dict[str, Device]:
    return {device.name: device for device in facts.devices}


def _carries(device: Device | None, family: Family) -> bool:
    """The link is fine and has an address: its routes and rules ought to be there."""
    return (
        device is not None
        and device.up
        and device.carrier
        and any(of == family for of, _ in device.addresses)
    )


def _gateways(
    plan: Plan, facts: Facts, memory: Memory
) -> dict[tuple[str, Family], tuple[str | None, Device]]:
    """The gateway of every link that carries: as its routes say, or last said.

    A route that somebody took away is remembered for as long as device and addresses stay.
    """
    devices = _devices(facts)
    found: dict[tuple[str, Family], tuple[str | None, Device]] = {}
    for uplink, family in _members(plan):
        device = devices.get(uplink.device)
        if device is None or not _carries(device, family):
            continue
        routes = _defaults(facts, uplink, family)
        own = tuple(address for address in device.addresses if address[0] == family)
        device = replace(device, addresses=own)
        last = memory.gateways.get((uplink.name, family))
        if routes:
            found[(uplink.name, family)] = (routes[0].gateway, device)
        elif last and last[1] == device:
            found[(uplink.name, family)] = last
        elif told := memory.told.get((uplink.name, family)):
            gateway, name, address = told
            if name == device.name and (family, address) in own:
                found[(uplink.name, family)] = gateway, device
    return found


def _defaults(facts: Facts, uplink: Uplink, family: Family) -> list[Default]:
    """The uplink's defaults: networkd's before the monitor's own, its table's before main's."""
    return sorted(
        (
            default
            for default in facts.defaults
            if default.family == family and default.device == uplink.device
        ),
        key=lambda default: (default.ours, default.table == MAIN, default.metric),
    )


def _expected(plan: Plan, facts: Facts, memory: Memory) -> Iterator[tuple[Rule | Default, bool]]:
    """The rules and defaults that ought to be there, and whether they are."""
    devices = _devices(facts)
    present = {entry.rule for entry in facts.rules}
    for rule in plan.rules:
        if rule.oif is None or _carries(devices.get(rule.oif), rule.family):
            yield rule, rule in present
    for uplink, family in _members(plan):
        known = memory.gateways.get((uplink.name, family))
        if known is None:
            continue
        gateway, _ = known
        held = {default.table for default in _defaults(facts, uplink, family)}
        for table in (uplink.table, MAIN):
            metric = uplink.metric + (PUT_BACK6 if family == 6 else 0)
            default = Default(family, table, uplink.device, gateway, metric, ours=True)
            yield default, table in held


def _from_addresses(plan: Plan, facts: Facts) -> tuple[Rule, ...]:
    """`from ADDRESS` for every address that an uplink has now and the plan has no rule of.

    Without it a socket bound to the address, and what the router itself answers from it (a reset,
    an error), would follow main to another provider whenever no mark leads it.  An address that
    two uplinks have (modems with the same network behind them) does not tell them apart.
    """
    devices = _devices(facts)
    static = {(rule.family, rule.source) for rule in plan.rules}
    held = [
        (uplink, address)
        for uplink, family in _members(plan)
        if uplink.device in devices
        for address in devices[uplink.device].addresses
        if address[0] == family
    ]
    holders = Counter(address for _, address in held)
    now = tuple(
        Rule(family, uplink.address_priority, "", table=uplink.table, source=source)
        for uplink, (family, source) in held
        if holders[(family, source)] == 1 and (family, source) not in static
    )
    # An uplink without any address keeps the rules of its last ones: most often it has lost its
    # carrier and comes back with the same lease, perhaps while the monitor is away.  Until then
    # nobody has these addresses, so they lead nobody astray.
    bare = {(family, uplink.address_priority) for uplink, family in _members(plan)} - {
        (family, uplink.address_priority) for uplink, (family, _) in held
    }
    last = tuple(
        entry.rule
        for entry in facts.rules
        if (entry.rule.family, entry.rule.priority) in bare
        and entry.rule.source
        and (entry.rule.family, entry.rule.source) not in holders
    )
    return now + last


def _surplus(plan: Plan, facts: Facts, from_addresses: Iterable[Rule]) -> Iterator[Effect]:
    """What the monitor put there, and networkd has by now put back itself, or nobody needs now."""
    theirs = {entry.rule for entry in facts.rules if not entry.ours}
    wanted = {*plan.rules, *from_addresses}
    for entry in facts.rules:
        if entry.ours and (entry.rule in theirs or entry.rule not in wanted):
            yield RemoveRule(entry.rule)
    ways = {(d.family, d.table, d.device) for d in facts.defaults if not d.ours}
    for default in facts.defaults:
        if default.ours and (default.family, default.table, default.device) in ways:
            yield RemoveDefault(default)


def _balance(
    plan: Plan, facts: Facts, live: Live, easing: Easing
) -> Iterator[tuple[SetBalance, bool]]:
    """The router's own new flows: the carriers of the default policy that have a gateway now.

    They are spread as those of the LANs are.  With each: whether it is so already.
    """
    present = dict(facts.balance)
    for family, names in live.items():
        hops = tuple(
            NextHop(uplink.device, default.gateway, share.weight)
            for share in eased(carriers(plan.policies[0], names), easing.get(family, {}))
            for uplink in (plan.uplink(share.uplink),)
            for default in _defaults(facts, uplink, family)[:1]
            if _carries(_devices(facts).get(uplink.device), family)
        )
        if family == 6 and len(hops) > 1:
            # IPv6 shares only among gateways: a device that is the way itself has all or nothing
            hops = tuple(hop for hop in hops if hop.gateway) or hops[:1]
        # of an only way the kernel keeps no weight, which is then 1 here as well
        weights = route_weights([hop.weight for hop in hops])
        hops = tuple(replace(hop, weight=weight) for hop, weight in zip(hops, weights, strict=True))
        yield SetBalance(family, hops), set(hops) == set(present.get(family, ()))


def _members(plan: Plan) -> Iterator[tuple[Uplink, Family]]:
    for uplink in plan.uplinks:
        for family in uplink.families:
            yield uplink, family

"""Config -> Plan: every number and name that nib uses, chosen once.

Whoever needs a mark, a table, a priority, a chain or a file name reads it from the plan; nobody
else computes one.  The plan is also all that the monitor knows: it travels as `plan.json`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, NewType

from nib import codec, config
from nib.config import Config, Dhcp, External, Mode, Static

Mark = NewType("Mark", int)
Table = NewType("Table", int)
Priority = NewType("Priority", int)
Family = Literal[4, 6]
Kind = Literal["dhcp", "static", "external"]

VERSION = 1
GENERATED_BY = "nib-gen from balance.yaml. Do not edit."

# Local tables (ip-route(8) keeps 0 and 253-255); far from the small numbers people choose by hand
# and from 51820 (wg-quick), 52 (Tailscale) and 2022 (others' defaults).
BALANCE_TABLE = Table(7000)

# Late on purpose: `ip rule add` without a priority takes the number below the lowest that exists,
# so VPNs (wg-quick, Tailscale at 5210) stay ahead of nib's choice of an uplink.
MAIN_FIRST = Priority(30000)
DEVICE_BASE = 30100
ADDRESS_BASE = 30200
MARK_BASE = 30300
GUARD = Priority(30480)
BALANCE = Priority(30500)

# main's defaults by order of preference; above the 100-600 of NetworkManager and ifupdown.
METRIC_BASE = 1001

UNIT_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}

STATE_DIRECTORY = "/run/nib"


@dataclass(frozen=True, slots=True)
class Marks:
    """How the bits under `mask` are used; all other bits of a mark belong to others.

    `id_mask` holds an uplink's id, all ones (`local`) says "routed, but by no uplink"; `block` is
    the top bit, for flows that must leave by no other uplink.  `keep` is the inverse of `mask`.
    """

    mask: int
    id_mask: int
    block: int
    keep: int
    local: Mark


@dataclass(frozen=True, slots=True)
class Probe:
    """What the monitor asks on an uplink; times in milliseconds."""

    targets: tuple[str, ...]
    interval_ms: int
    timeout_ms: int
    quorum: int
    fall: int
    rise: int
    hold_down_ms: int


@dataclass(frozen=True, slots=True)
class Uplink:
    """A way out with its numbers.  `metric` is its default's in main: lower is preferred."""

    name: str
    id: int
    device: str
    kind: Kind
    families: tuple[Family, ...]
    addresses: tuple[str, ...]
    gateway: str | None
    weight: int
    tier: int
    mark: Mark
    table: Table
    metric: int
    probe: Probe
    origin: str


@dataclass(frozen=True, slots=True)
class Lan:
    """A network behind the router; without `addresses` others configure its device.

    `policy` spreads its new flows: `default`, or one of its own if it may not use every uplink.
    """

    name: str
    device: str
    addresses: tuple[str, ...]
    policy: str
    origin: str


@dataclass(frozen=True, slots=True)
class Rule:
    """An ip rule: the selectors that are set must all match.  No `table`: unreachable.

    `device` names the .network file that holds it: rules that hang on no link are lo's.
    """

    family: Family
    priority: Priority
    device: str
    table: Table | Literal["main"] | None = None
    suppress_prefixlength: int | None = None
    oif: str | None = None
    iif: str | None = None
    source: str | None = None
    mark: int | None = None
    mask: int | None = None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """The weight of an uplink within a tier."""

    uplink: str
    weight: int


@dataclass(frozen=True, slots=True)
class Policy:
    """Which uplinks new flows may use: the first tier with a live member carries them."""

    name: str
    tiers: tuple[tuple[Share, ...], ...]


@dataclass(frozen=True, slots=True)
class Limit:
    """An nft rate like `5/minute` and its burst; per source address or for all together.

    After `forget_s` seconds of silence a source's bucket is full again and need not be kept.
    """

    rate: str
    burst: int
    per_source: bool
    forget_s: int


@dataclass(frozen=True, slots=True)
class Allow:
    """An opening towards the router itself.

    `ports` and `sources` are nft elements, `name` is that of its set of limits; no `devices`: on
    every uplink.
    """

    name: str
    protocol: str
    ports: tuple[str, ...]
    sources: tuple[str, ...]
    devices: tuple[str, ...]
    limit: Limit | None
    origin: str


@dataclass(frozen=True, slots=True)
class Firewall:
    """The packet filter: who may reach the router, which devices may forward to which."""

    allow: tuple[Allow, ...]
    log_drops: bool
    forward_pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is written, loaded and watched.

    `state_file` is where the monitor keeps the run-time state of the nft table; its name carries a
    hash of the uplinks, so that a state made for others is never included.
    """

    version: int
    generated_by: str
    marks: Marks
    uplinks: tuple[Uplink, ...]
    lans: tuple[Lan, ...]
    rules: tuple[Rule, ...]
    balance_table: Table
    policies: tuple[Policy, ...]
    firewall: Firewall | None
    state_file: str

    def uplink(self, name: str) -> Uplink:
        """The uplink called `name`; KeyError if there is none."""
        for uplink in self.uplinks:
            if uplink.name == name:
                return uplink
        raise KeyError(name)

    @property
    def devices(self) -> tuple[str, ...]:
        """Every device that nib names, uplinks first."""
        return (*(u.device for u in self.uplinks), *(lan.device for lan in self.lans))


def make_plan(conf: Config) -> Plan:
    """Choose every number and name for a checked configuration."""
    marks = split_mask(conf.mask)
    ids = assign_ids(
        {uplink.name: uplink.pinned_id for uplink in conf.uplinks}, last=highest_id(conf.mask)
    )
    preferred = sorted(conf.uplinks, key=_preference)
    uplinks = tuple(
        _uplink(uplink, ids[uplink.name], preferred.index(uplink), marks) for uplink in conf.uplinks
    )
    policies = [Policy("default", _tiers(conf, conf.uplinks))]
    lans = []
    for lan in conf.lans:
        allowed = [u for u in conf.uplinks if _may_forward(conf, lan.name, u.name)]
        own = Policy(f"for_{lan.name}", _tiers(conf, allowed))
        restricted = own.tiers not in ((), policies[0].tiers)
        policies += [own] if restricted else []
        lans.append(_lan(lan, own.name if restricted else "default"))
    return Plan(
        version=VERSION,
        generated_by=GENERATED_BY,
        marks=marks,
        uplinks=uplinks,
        lans=tuple(lans),
        rules=_rules(uplinks, lans, marks),
        balance_table=BALANCE_TABLE,
        policies=tuple(policies),
        firewall=_firewall(conf) if conf.firewall else None,
        state_file=f"{STATE_DIRECTORY}/state-{_fingerprint(marks, uplinks, policies)}.nft",
    )


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


def _preference(uplink: config.Uplink) -> tuple[bool, int, int, str]:
    return (uplink.weight == 0, uplink.tier, -uplink.weight, uplink.name)


def _uplink(uplink: config.Uplink, number: int, rank: int, marks: Marks) -> Uplink:
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
    return Uplink(
        name=uplink.name,
        id=number,
        device=uplink.device,
        kind=kind,
        families=(4,),
        addresses=addresses,
        gateway=str(uplink.gateway) if uplink.gateway else None,
        weight=uplink.weight,
        tier=uplink.tier,
        mark=Mark(number << shift),
        table=Table(BALANCE_TABLE + number),
        metric=METRIC_BASE + rank,
        probe=Probe(
            targets=tuple(str(target) for target in probe.targets),
            interval_ms=probe.interval_ms,
            timeout_ms=probe.timeout_ms,
            quorum=probe.quorum,
            fall=probe.fall,
            rise=probe.rise,
            hold_down_ms=probe.hold_down_ms,
        ),
        origin=str(uplink.origin),
    )


def _lan(lan: config.Lan, policy: str) -> Lan:
    interfaces = lan.address.addresses if isinstance(lan.address, Static) else ()
    return Lan(lan.name, lan.device, tuple(str(i) for i in interfaces), policy, str(lan.origin))


def _may_forward(conf: Config, one: str, other: str) -> bool:
    return any(one in group and other in group for group in conf.forwarding)


def _tiers(conf: Config, members: Iterable[config.Uplink]) -> tuple[tuple[Share, ...], ...]:
    """In failover mode every uplink is a tier of its own: downstream there is only one mode."""
    carrying = [uplink for uplink in sorted(members, key=_preference) if uplink.weight]
    shares = [Share(uplink.name, uplink.weight) for uplink in carrying]
    match conf.mode:
        case Mode.FAILOVER:
            return tuple((share,) for share in shares)
        case Mode.BALANCE:
            levels = sorted({uplink.tier for uplink in carrying})
            return tuple(
                tuple(s for u, s in zip(carrying, shares, strict=True) if u.tier == level)
                for level in levels
            )


def _rules(uplinks: Iterable[Uplink], lans: Iterable[Lan], marks: Marks) -> tuple[Rule, ...]:
    """The ladder of ip rules, in the order of their priorities."""
    rules = [Rule(4, MAIN_FIRST, "lo", table="main", suppress_prefixlength=0, origin="nib")]
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
                    for address in uplink.addresses
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
    for lan in lans:
        # What nft did not mark, or marked as going nowhere near an uplink, was not NATed either:
        # it must not follow main's default out with a private source.
        for mark in (0, marks.local):
            rules.append(
                Rule(
                    4,
                    GUARD,
                    "lo",
                    iif=lan.device,
                    mark=mark,
                    mask=marks.id_mask,
                    origin=lan.origin,
                )
            )
    rules.append(Rule(4, BALANCE, "lo", table=BALANCE_TABLE, origin="nib"))
    return tuple(sorted(rules, key=lambda rule: rule.priority))


def _firewall(conf: Config) -> Firewall:
    assert conf.firewall
    devices = {u.name: u.device for u in conf.uplinks} | {lan.name: lan.device for lan in conf.lans}
    lans = {lan.name for lan in conf.lans}
    pairs = {
        (devices[one], devices[other]): None
        for group in conf.forwarding
        for one in group
        if one in lans
        for other in group
    }
    allow = tuple(
        Allow(
            name=f"allow_{number}",
            protocol=entry.protocol,
            ports=tuple(str(low) if low == high else f"{low}-{high}" for low, high in entry.ports),
            sources=tuple(str(source) for source in entry.sources),
            devices=tuple(devices[name] for name in entry.uplinks)
            if len(entry.uplinks) < len(conf.uplinks)
            else (),
            limit=_limit(entry.limit) if entry.limit else None,
            origin=str(entry.origin),
        )
        for number, entry in enumerate(conf.firewall.allow, start=1)
    )
    return Firewall(allow, conf.firewall.log_drops, tuple(pairs))


def _limit(limit: config.Limit) -> Limit:
    refill_s = -(-limit.burst * UNIT_S[limit.unit] // limit.rate)
    return Limit(f"{limit.rate}/{limit.unit}", limit.burst, limit.per_source, max(refill_s, 60))


def _fingerprint(marks: Marks, uplinks: Iterable[Uplink], policies: Iterable[Policy]) -> str:
    """What the names and numbers in the monitor's state depend on, in 8 hex digits."""
    facts = (
        marks.mask,
        [(u.name, u.id, u.device, u.families) for u in uplinks],
        [policy.name for policy in policies],
    )
    return hashlib.blake2s(json.dumps(facts).encode(), digest_size=4).hexdigest()


# -- to and from JSON --------------------------------------------------------------------------


def to_json(plan: Plan) -> str:
    """The text of plan.json: indented, with a final newline, the same bytes for the same plan."""
    return json.dumps(asdict(plan), indent=1) + "\n"


def from_json(text: str) -> Plan:
    """Read plan.json back.  Raises ValueError for what is no plan or one of another version."""
    data = json.loads(text)
    if not isinstance(data, dict) or "generated_by" not in data:
        raise ValueError("this is not a plan of nib-gen")
    if data.get("version") != VERSION:
        raise ValueError(f"plan version {data.get('version')!r}, but this nib reads {VERSION}")
    return codec.decode(Plan, data)

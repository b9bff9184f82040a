"""What balance.yaml means, as frozen values.

A `Config` is complete and consistent: `check.py` is the only place that makes one, and it refuses
every document that would not work.  All defaults have been applied; nothing here is optional
unless its absence has a meaning of its own.
"""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Literal

from nib.families import Family
from nib.hours import Spans
from nib.notices import Notices
from nib.policies import Class
from nib.targets import Target

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network
Leaving6 = Literal["masquerade", "routed", "nptv6"]
Span = tuple[Address, Address]
"""The first and the last address of a range; both of one family."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where in balance.yaml a thing was said: the path of its key, like `uplinks.cable`."""

    path: str

    def __str__(self) -> str:
        return self.path


class Mode(StrEnum):
    """`balance` spreads new flows by weight; `failover` gives them all to the best uplink."""

    BALANCE = "balance"
    FAILOVER = "failover"


@dataclass(frozen=True, slots=True)
class Dhcp:
    """Address and gateway come from a lease."""


@dataclass(frozen=True, slots=True)
class Static:
    """Addresses with their prefix length; the first is the preferred source."""

    addresses: tuple[Interface, ...]


@dataclass(frozen=True, slots=True)
class External:
    """pppd, a VPN or another tool makes the device and its address."""


@dataclass(frozen=True, slots=True)
class Limits:
    """More than `down` takes an uplink down, less than `up` lets it return."""

    down: int
    up: int


@dataclass(frozen=True, slots=True)
class Probe:
    """How the health of an uplink is asked for; times in milliseconds, loss in percent.

    `targets` has some of each family: those of the defaults, where the user named none.
    """

    targets: tuple[Target, ...]
    interval_ms: int
    timeout_ms: int
    quorum: int
    fall: int
    rise: int
    hold_down_ms: int
    damping_ms: int
    canary_ms: int
    loss: Limits | None
    rtt: Limits | None
    jitter: Limits | None


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """What a line carries, in bits a second."""

    down_bits: int
    up_bits: int


@dataclass(frozen=True, slots=True)
class Uplink:
    """A way out.  A gateway is None where a lease, an announcement or the device itself says it.

    `ipv4`, `ipv6`: the families that may leave here.  By "routed" the lans have networks of the
    provider's `prefix`, by "nptv6" theirs are exchanged for those; None where it is delegated.
    `budget_bytes`: what its probes may cost in 30 days, None where that does not matter.
    `network`: the user's file for the device, if nib only adds to it.
    """

    name: str
    device: str
    address: Dhcp | Static | External
    gateway: IPv4Address | None
    gateway6: IPv6Address | None
    ipv4: bool
    ipv6: Leaving6 | None
    prefix: IPv6Network | None
    weight: int
    tier: int
    pinned_id: int | None
    network: str | None
    mtu: int | None
    bandwidth: Bandwidth | None
    budget_bytes: int | None
    probe: Probe
    origin: Origin

    @property
    def families(self) -> tuple[Family, ...]:
        """One or both."""
        return (*((4,) if self.ipv4 else ()), *((6,) if self.ipv6 else ()))


@dataclass(frozen=True, slots=True)
class DhcpServer:
    """Leases for clients: from the router's address `server`, of the addresses of `pool`."""

    server: IPv4Interface
    pool: tuple[IPv4Address, IPv4Address]
    dns: tuple[IPv4Address, ...]
    lease_s: int


@dataclass(frozen=True, slots=True)
class Lan:
    """A network behind the router.  External: nib writes no networkd file for its device.

    `families`: those that it has; IPv6 only if an uplink has, too.  A Static one without addresses
    has what uplinks are delegated.  `ipv6`: it may have this family.  `closed`: it reaches of the
    router itself only what is opened to it.  `dns` is announced there.
    """

    name: str
    device: str
    address: Static | External
    families: tuple[Family, ...]
    ipv6: bool
    closed: bool
    network: str | None
    mtu: int | None
    dhcp_server: DhcpServer | None
    dns: tuple[IPv6Address, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class AddressSet:
    """Addresses under a name; `spans` are sorted and do not touch."""

    name: str
    spans: tuple[Span, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Sticky:
    """A client's new flows follow its last ones for `for_s` seconds; `pair`: those to one host."""

    pair: bool
    for_s: int


@dataclass(frozen=True, slots=True)
class Policy:
    """Which uplinks flows may use: names in tiers; no `tiers`: all uplinks, in their own.

    `block`: when none of them lives the flows are refused, else they go where the others go.
    `kept` are the classes of running flows that stay with a dead uplink, `recalled` those that
    leave one of a later tier `after_s` seconds after a better one came back.
    """

    name: str
    tiers: tuple[tuple[str, ...], ...]
    block: bool
    sticky: Sticky | None
    kept: tuple[Class, ...]
    recalled: tuple[Class, ...]
    after_s: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class Addresses:
    """Spans, and names of sets: one of all these must fit."""

    spans: tuple[Span, ...]
    sets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hours:
    """Minutes of the week, from Monday 00:00 local time on, and what the user wrote for them."""

    spans: Spans
    text: str


@dataclass(frozen=True, slots=True)
class Match:
    """What a flow must be like.  What is empty or None says nothing; all the rest must fit.

    `protocols` are words of balance.yaml, ports inclusive ranges, `lans` names, `dscp` numbers.
    """

    source: Addresses | None
    destination: Addresses | None
    protocols: tuple[str, ...]
    sport: tuple[tuple[int, int], ...]
    dport: tuple[tuple[int, int], ...]
    lans: tuple[str, ...]
    dscp: tuple[int, ...]
    user: str | int | None
    time: Hours | None


@dataclass(frozen=True, slots=True)
class Rule:
    """Flows that match use a policy, or an uplink as a policy of its own."""

    match: Match
    use: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `rate` new flows per `unit` (second, minute, hour, day), after a first `burst`."""

    rate: int
    unit: str
    burst: int
    per_source: bool


@dataclass(frozen=True, slots=True)
class Allow:
    """What may reach the router itself, by `uplinks` and from closed `lans`; one may be empty.

    `ports` are inclusive ranges, none if the protocol has none; an empty `sources` means from
    anywhere.
    """

    protocol: str
    ports: tuple[tuple[int, int], ...]
    sources: tuple[Network, ...]
    uplinks: tuple[str, ...]
    lans: tuple[str, ...]
    limit: Limit | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class Forward:
    """What is passed on to a host in a lan, in the family of `to`.

    `to_port` is None where every port keeps its number; the rest is as in Allow.
    """

    protocols: tuple[str, ...]
    ports: tuple[tuple[int, int], ...]
    to: Address
    to_port: int | None
    sources: tuple[Network, ...]
    uplinks: tuple[str, ...]
    limit: Limit | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class Firewall:
    """The packet filter; a Config without one leaves filtering to others."""

    allow: tuple[Allow, ...]
    forwards: tuple[Forward, ...]
    log_drops: bool


@dataclass(frozen=True, slots=True)
class Route:
    """Another way than a default: `owner` is the uplink or lan whose device it leaves by.

    `via` is None where the network is on the device itself.
    """

    to: Network
    via: Address | None
    owner: str
    masquerade: bool
    origin: Origin


@dataclass(frozen=True, slots=True)
class Modem:
    """The page of an uplink's modem at `address`, behind `device`.

    `own` is the router's address in the modem's network, None where the uplink's own will do;
    `lans` those that may visit it.
    """

    uplink: str
    device: str
    address: IPv4Address
    own: IPv4Interface | None
    lans: tuple[str, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Netdev:
    """The device of `owner` (an uplink or lan), made by nib on `parent`.

    `vlan` is the id of a VLAN, None for a macvlan.
    """

    owner: str
    device: str
    parent: str
    vlan: int | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class Config:
    """The whole of balance.yaml.  `forwarding` holds the groups as names of uplinks and lans."""

    mode: Mode
    uplinks: tuple[Uplink, ...]
    lans: tuple[Lan, ...]
    netdevs: tuple[Netdev, ...]
    forwarding: tuple[tuple[str, ...], ...]
    sets: tuple[AddressSet, ...]
    policies: tuple[Policy, ...]
    rules: tuple[Rule, ...]
    modems: tuple[Modem, ...]
    routes: tuple[Route, ...]
    firewall: Firewall | None
    notices: Notices
    history_bytes: int
    metrics_listen: str
    mask: int
    priority: int

    @property
    def families(self) -> tuple[Family, ...]:
        """Those that any uplink has."""
        return tuple(sorted({family for uplink in self.uplinks for family in uplink.families}))

    def may_forward(self, one: str, other: str) -> bool:
        """Whether a group holds both names."""
        return any(one in group and other in group for group in self.forwarding)

    def members(self, use: str) -> tuple[str, ...]:
        """The uplinks that a policy's flows may use; an uplink's own policy has only itself."""
        policy = next((policy for policy in self.policies if policy.name == use), None)
        if policy and policy.tiers:
            return tuple(name for tier in policy.tiers for name in tier)
        if policy or use == "default":
            return tuple(uplink.name for uplink in self.uplinks if uplink.weight)
        return (use,)

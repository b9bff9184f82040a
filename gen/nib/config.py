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

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network


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
class Probe:
    """How the health of an uplink is asked for; times in milliseconds.

    `targets` has some of each family: those of the defaults, where the user named none.
    """

    targets: tuple[Address, ...]
    interval_ms: int
    timeout_ms: int
    quorum: int
    fall: int
    rise: int
    hold_down_ms: int


@dataclass(frozen=True, slots=True)
class Uplink:
    """A way out.  A gateway is None where a lease, an announcement or the device itself says it.

    `ipv6`: this family may leave here, masqueraded.
    """

    name: str
    device: str
    address: Dhcp | Static | External
    gateway: IPv4Address | None
    gateway6: IPv6Address | None
    ipv6: bool
    weight: int
    tier: int
    pinned_id: int | None
    mtu: int | None
    probe: Probe
    origin: Origin


@dataclass(frozen=True, slots=True)
class Lan:
    """A network behind the router.  External: nib writes no networkd file for its device.

    `ipv6`: it may have this family; not that it has.
    """

    name: str
    device: str
    address: Static | External
    ipv6: bool
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
    """What may reach the router itself from outside.

    `ports` are inclusive ranges, none if the protocol has none; `uplinks` are names (all of them
    if the key was absent); an empty `sources` means from anywhere.
    """

    protocol: str
    ports: tuple[tuple[int, int], ...]
    sources: tuple[Network, ...]
    uplinks: tuple[str, ...]
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
class Hooks:
    """The administrator's programs around `nib apply`; times in milliseconds."""

    timeout_ms: int


@dataclass(frozen=True, slots=True)
class Config:
    """The whole of balance.yaml.  `forwarding` holds the groups as names of uplinks and lans."""

    mode: Mode
    uplinks: tuple[Uplink, ...]
    lans: tuple[Lan, ...]
    forwarding: tuple[tuple[str, ...], ...]
    modems: tuple[Modem, ...]
    routes: tuple[Route, ...]
    firewall: Firewall | None
    hooks: Hooks
    mask: int

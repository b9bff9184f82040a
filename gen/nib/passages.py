"""The plan's part for what leads in and through: openings, forwards, routes, modems, ports."""

from dataclasses import dataclass

from nib.families import Family


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
    """An opening towards the router itself: by uplinks, or from closed lans.

    `ports`, `sources` (IPv4) and `sources6` are nft elements; with no sources of either kind it is
    open to all.  `name` is that of its set of limits; no `devices`: on every uplink.
    """

    name: str
    protocol: str
    ports: tuple[str, ...]
    sources: tuple[str, ...]
    sources6: tuple[str, ...]
    devices: tuple[str, ...]
    limit: Limit | None
    origin: str


@dataclass(frozen=True, slots=True)
class Forward:
    """What is passed on to `to`, by each port's own number or by `to_port`.

    `mapped`: found by a map, in one step however many there are.  The others are rules, tried one
    after the other; `except_devices` are the uplinks that they are not for.
    """

    name: str
    family: Family
    mapped: bool
    protocols: tuple[str, ...]
    ports: tuple[str, ...]
    to: str
    to_port: int | None
    sources: tuple[str, ...]
    except_devices: tuple[str, ...]
    limit: Limit | None
    origin: str


@dataclass(frozen=True, slots=True)
class Firewall:
    """The packet filter: who may reach the router, which devices may forward to which."""

    allow: tuple[Allow, ...]
    forwards: tuple[Forward, ...]
    log_drops: bool
    forward_pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Route:
    """A route of main by `device`; without `via` the network is on the device itself.

    `onlink`: nib cannot know whether the device's network holds `via`.  A `metric` is for those
    that there may be several of, by different devices.
    """

    family: Family
    to: str
    via: str | None
    onlink: bool
    device: str
    masquerade: bool
    origin: str
    metric: int | None = None


@dataclass(frozen=True, slots=True)
class Modem:
    """A modem's page: it sees the source `own`, or without it what the uplink has.

    `visitors` are the devices of the lans that may ask.  `extra` says that the device is not an
    uplink's, as under PPPoE.
    """

    name: str
    device: str
    extra: bool
    address: str
    own: str | None
    visitors: tuple[str, ...]
    origin: str


@dataclass(frozen=True, slots=True)
class Segment:
    """The largest TCP segment of a family that fits through the devices."""

    family: Family
    size: int
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Netdev:
    """A device that networkd makes on `parent`: a macvlan, or the VLAN with the id `vlan`."""

    name: str
    device: str
    parent: str
    vlan: int | None
    origin: str

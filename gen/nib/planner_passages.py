"""The planner's part for what leads in and through: openings, forwards, routes, modems, sizes."""

from collections.abc import Iterable, Iterator
from ipaddress import ip_interface

from nib import config
from nib.config import Config, Static
from nib.families import Family
from nib.passages import Allow, Forward, Limit, Modem, Netdev, Route, Segment
from nib.plan import Uplink

UNIT_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}

# nft refuses time-outs of a few years, and nobody waits for that.
FORGET_MOST_S = 365 * 86400

HEADERS: dict[Family, int] = {4: 40, 6: 60}
"""Bytes of a packet that are not TCP's data: the headers of IP and of TCP, without options."""


def openings(conf: Config) -> tuple[Allow, ...]:
    """Those that were asked for, and last what every closed lan has: DHCP and DNS.

    An entry for uplinks and lans is two, each with limits of its own.
    """
    assert conf.firewall
    uplinks = {uplink.name: uplink.device for uplink in conf.uplinks}
    closed = {lan.name: lan.device for lan in conf.lans if lan.closed}
    made: list[Allow] = []
    for number, entry in enumerate(conf.firewall.allow, start=1):
        if entry.uplinks:
            everywhere = len(entry.uplinks) == len(uplinks)
            devices = () if everywhere else tuple(uplinks[name] for name in entry.uplinks)
            made.append(_opening(f"allow_{number}", entry, devices))
        if entry.lans:
            devices = tuple(device for name, device in closed.items() if name in entry.lans)
            made.append(_opening(f"allow_{number}_lans", entry, devices))
    if closed:
        # 547 is the server's port of DHCPv6
        for protocol, served in (("udp", ("53", "67", "547")), ("tcp", ("53",))):
            everybody = tuple(closed.values())
            made.append(
                Allow(f"lans_{protocol}", protocol, served, (), (), everybody, None, "lans")
            )
    return tuple(made)


def _opening(name: str, entry: config.Allow, devices: tuple[str, ...]) -> Allow:
    return Allow(
        name=name,
        protocol=entry.protocol,
        ports=ports(entry.ports),
        sources=tuple(str(source) for source in entry.sources if source.version == 4),
        sources6=tuple(str(source) for source in entry.sources if source.version == 6),
        devices=devices,
        limit=limit(entry.limit) if entry.limit else None,
        origin=str(entry.origin),
    )


def forwards(conf: Config) -> tuple[Forward, ...]:
    """The firewall's forwards with their names, as nft will have them."""
    assert conf.firewall
    return tuple(
        _forward(conf, number, forward)
        for number, forward in enumerate(conf.firewall.forwards, start=1)
    )


def _forward(conf: Config, number: int, forward: config.Forward) -> Forward:
    named = frozenset(forward.uplinks)
    others = tuple(u.device for u in conf.uplinks if u.name not in named)
    # nft 1.0.6 knows no map from a range to an address with a port
    joined = forward.to_port is not None and any(low != high for low, high in forward.ports)
    return Forward(
        name=f"forward_{number}",
        family=forward.to.version,
        mapped=not (others or forward.sources or forward.limit or joined),
        protocols=forward.protocols,
        ports=ports(forward.ports),
        to=str(forward.to),
        to_port=forward.to_port,
        sources=tuple(str(source) for source in forward.sources),
        except_devices=others,
        limit=limit(forward.limit) if forward.limit else None,
        origin=str(forward.origin),
    )


def ports(ranges: Iterable[tuple[int, int]]) -> tuple[str, ...]:
    """As nft writes ports and ranges of them."""
    return tuple(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


def limit(given: config.Limit) -> Limit:
    """An nft rate, and after how long a source may be forgotten."""
    refill_s = -(-given.burst * UNIT_S[given.unit] // given.rate)
    forget_s = min(max(refill_s, 60), FORGET_MOST_S)
    return Limit(f"{given.rate}/{given.unit}", given.burst, given.per_source, forget_s)


def routes(conf: Config, uplinks: Iterable[Uplink]) -> tuple[Route, ...]:
    """The routes by device; what leaves by an uplink is masqueraded in any case."""
    everybody: list[config.Uplink | config.Lan] = [*conf.uplinks, *conf.lans]
    owners = {owner.name: owner for owner in everybody}
    lans = {lan.name for lan in conf.lans}
    written = tuple(
        Route(
            family=route.to.version,
            to=str(route.to),
            via=str(route.via) if route.via else None,
            onlink=bool(route.via) and not isinstance(owners[route.owner].address, Static),
            device=owners[route.owner].device,
            masquerade=route.masquerade and route.owner in lans,
            origin=str(route.origin),
        )
        for route in conf.routes
    )
    pages = tuple(
        Route(4, f"{modem.address}/32", None, False, modem.device, False, str(modem.origin))
        for modem in conf.modems
        if modem.own is None
    )
    return written + pages + tuple(route for uplink in uplinks for route in _gateways(uplink))


def _gateways(uplink: Uplink) -> Iterator[Route]:
    """Those that are in no network that nib knows: neighbours all the same.

    For networkd GatewayOnLink= would do, but the kernel would refuse what the monitor makes.
    """
    for text in (uplink.gateway, uplink.gateway6):
        gateway = ip_interface(text) if text else None
        if gateway is None or (gateway.version == 6 and gateway.is_link_local):
            continue
        own = uplink.addresses_of(gateway.version)
        if not any(gateway in ip_interface(address).network for address in own):
            to = str(gateway)  # with the prefix length of a single address
            yield Route(
                gateway.version, to, None, False, uplink.device, False, uplink.origin, uplink.metric
            )


def modems(conf: Config) -> tuple[Modem, ...]:
    """The modems' pages, and by which devices their visitors come."""
    uplinks = {uplink.device for uplink in conf.uplinks}
    lans = {lan.name: lan.device for lan in conf.lans}
    return tuple(
        Modem(
            name=modem.uplink,
            device=modem.device,
            extra=modem.device not in uplinks,
            address=str(modem.address),
            own=str(modem.own) if modem.own else None,
            visitors=tuple(sorted(lans[name] for name in modem.lans)),
            origin=str(modem.origin),
        )
        for modem in conf.modems
    )


def netdevs(conf: Config) -> tuple[Netdev, ...]:
    """The devices that nib makes, in the order of their names."""
    made = [
        Netdev(netdev.owner, netdev.device, netdev.parent, netdev.vlan, str(netdev.origin))
        for netdev in conf.netdevs
    ]
    return tuple(sorted(made, key=lambda netdev: netdev.name))


def segments(uplinks: Iterable[Uplink]) -> tuple[Segment, ...]:
    """For each MTU that was given: what fits, and through which devices."""
    found: dict[tuple[Family, int], list[str]] = {}
    for uplink in uplinks:
        for family in uplink.families:
            if uplink.mtu is not None:
                size = uplink.mtu - HEADERS[family]
                found.setdefault((family, size), []).append(uplink.device)
    return tuple(
        Segment(family, size, tuple(devices)) for (family, size), devices in sorted(found.items())
    )

"""Links, addresses, routes and rules as the kernel has them: as much of each as nib asks about.

Numbers from linux/if_link.h, if_addr.h, rtnetlink.h and fib_rules.h.
"""

import struct
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from nib.families import Family
from nib.monitor.netlink import Kernel, Message, attribute, attributes

AF: dict[Family, int] = {4: 2, 6: 10}
FAMILY: dict[int, Family] = {number: family for family, number in AF.items()}

NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34

IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
IFLA_IFNAME, IFLA_EXT_MASK, IFLA_CARRIER = 3, 29, 33
RTEXT_FILTER_SKIP_STATS = 1 << 3

IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8

# family, length of destination and source, tos, table, protocol, scope, type, flags
RTMSG = struct.Struct("=BBBBBBBBI")
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY = 1, 4, 5, 6
RTA_MULTIPATH, RTA_TABLE, RTA_VIA = 9, 15, 18
RTNEXTHOP = struct.Struct("=HBBi")  # length, flags, hops, index
RTN_UNICAST = 1
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255

# family, length of destination and source, tos, table, two reserved, action, flags
FIB_RULE_HDR = struct.Struct("=BBBBBBBBI")
FRA_SRC, FRA_IIFNAME, FRA_GOTO, FRA_PRIORITY = 2, 3, 4, 6
FRA_FWMARK, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_FWMASK = 10, 14, 15, 16
FRA_OIFNAME, FRA_PROTOCOL = 17, 21
FR_ACT_TO_TBL, FR_ACT_GOTO, FR_ACT_UNREACHABLE = 1, 2, 7


class Link(NamedTuple):
    """A device."""

    ifindex: int
    name: str
    flags: int
    carrier: bool


class Address(NamedTuple):
    """An address of a device; of a point-to-point device its own."""

    ifindex: int
    family: Family
    address: str
    flags: int
    scope: int


class Way(NamedTuple):
    """One way of a route; `ifindex` 0: by no device."""

    ifindex: int
    gateway: str | None
    weight: int


class Route(NamedTuple):
    """A route; of one to everywhere `destination` is None."""

    family: Family
    destination: str | None
    length: int
    table: int
    protocol: int
    kind: int
    metric: int
    ways: tuple[Way, ...]


class RuleEntry(NamedTuple):
    """An ip rule.  The lengths are those of the networks it asks for; `mark` counts with a mask."""

    family: Family
    destination_length: int
    source_length: int
    source: str | None
    action: int
    flags: int
    table: int
    priority: int
    suppress: int | None
    oif: str | None
    iif: str | None
    mark: int
    mask: int | None
    goto: int | None
    protocol: int | None


async def links(kernel: Kernel) -> AsyncIterator[Link]:
    """All devices.  Raises OSError, as all of these do."""
    body = IFINFOMSG.pack(0, 0, 0, 0, 0) + attribute(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    async for message in kernel.dump(RTM_GETLINK, body):
        yield link(message)


async def addresses(kernel: Kernel, family: Family) -> AsyncIterator[Address]:
    """All addresses of a family."""
    async for message in kernel.dump(RTM_GETADDR, IFADDRMSG.pack(AF[family], 0, 0, 0, 0)):
        yield address(message)


async def routes(kernel: Kernel, family: Family, table: int, length: int) -> AsyncIterator[Route]:
    """The routes of a table to networks whose prefix has that length.

    None if there is no such table.  Of what is passed over no more than the header is read.
    """
    body = RTMSG.pack(AF[family], 0, 0, 0, 0, 0, 0, 0, 0) + attribute(RTA_TABLE, table)
    try:
        async for message in kernel.dump(RTM_GETROUTE, body):
            if destination_length(message) == length:
                yield route(message)
    except FileNotFoundError:
        return


async def rules(kernel: Kernel, family: Family) -> AsyncIterator[RuleEntry]:
    """All rules of a family."""
    async for message in kernel.dump(RTM_GETRULE, FIB_RULE_HDR.pack(AF[family], *[0] * 8)):
        yield _rule(message)


def link(message: Message) -> Link:
    """What a message about a device says."""
    _, _, index, flags, _ = IFINFOMSG.unpack_from(message.packet, message.start)
    held = message.attributes(IFINFOMSG.size)
    carrier = held.get(IFLA_CARRIER, b"\0") != b"\0"
    return Link(index, _name(held.get(IFLA_IFNAME)) or "", flags, carrier)


def address(message: Message) -> Address:
    """What a message about an address says."""
    of, _, flags, scope, index = IFADDRMSG.unpack_from(message.packet, message.start)
    held = message.attributes(IFADDRMSG.size)
    if IFA_FLAGS in held:
        flags = _number(held[IFA_FLAGS])
    own = held.get(IFA_LOCAL) or held[IFA_ADDRESS]
    return Address(index, FAMILY[of], _address(own), flags, scope)


def destination_length(message: Message) -> int:
    """The length of the prefix that a message about a route is for; no more of it is read."""
    return message.packet[message.start + 1]


def route(message: Message) -> Route:
    """What a message about a route says."""
    numbers = RTMSG.unpack_from(message.packet, message.start)
    of, length, _, _, table, protocol, _, kind, _ = numbers
    held = message.attributes(RTMSG.size)
    return Route(
        FAMILY[of],
        _address(held[RTA_DST]) if RTA_DST in held else None,
        length,
        _number(held[RTA_TABLE]) if RTA_TABLE in held else table,
        protocol,
        kind,
        _number(held[RTA_PRIORITY]) if RTA_PRIORITY in held else 0,
        tuple(_ways(held[RTA_MULTIPATH])) if RTA_MULTIPATH in held else (_way(held),),
    )


def _ways(several: bytes) -> list[Way]:
    found = []
    at = 0
    while at + RTNEXTHOP.size <= len(several):
        length, _, hops, index = RTNEXTHOP.unpack_from(several, at)
        if length < RTNEXTHOP.size:
            break
        held = attributes(several, at + RTNEXTHOP.size, at + length)
        found.append(Way(index, _gateway(held), hops + 1))
        at += (length + 3) & ~3
    return found


def _way(held: dict[int, bytes]) -> Way:
    return Way(_number(held[RTA_OIF]) if RTA_OIF in held else 0, _gateway(held), 1)


def _gateway(held: dict[int, bytes]) -> str | None:
    if RTA_GATEWAY in held:
        return _address(held[RTA_GATEWAY])
    # of another family than the route (RFC 5549): behind that family's number
    return _address(held[RTA_VIA][2:]) if RTA_VIA in held else None


def _rule(message: Message) -> RuleEntry:
    numbers = FIB_RULE_HDR.unpack_from(message.packet, message.start)
    of, destination, source, _, table, _, _, action, flags = numbers
    held = message.attributes(FIB_RULE_HDR.size)
    return RuleEntry(
        FAMILY[of],
        destination,
        source,
        _address(held[FRA_SRC]) if FRA_SRC in held else None,
        action,
        flags,
        _number(held[FRA_TABLE]) if FRA_TABLE in held else table,
        _number(held[FRA_PRIORITY]) if FRA_PRIORITY in held else 0,
        struct.unpack("=i", held[FRA_SUPPRESS_PREFIXLEN])[0]
        if FRA_SUPPRESS_PREFIXLEN in held
        else None,
        _name(held.get(FRA_OIFNAME)),
        _name(held.get(FRA_IIFNAME)),
        _number(held[FRA_FWMARK]) if FRA_FWMARK in held else 0,
        _number(held[FRA_FWMASK]) if FRA_FWMASK in held else None,
        _number(held[FRA_GOTO]) if FRA_GOTO in held else None,
        held[FRA_PROTOCOL][0] if FRA_PROTOCOL in held else None,
    )


def _number(value: bytes) -> int:
    found: int = struct.unpack("=I", value)[0]
    return found


def _name(value: bytes | None) -> str | None:
    return value.rstrip(b"\0").decode(errors="replace") if value else None


def _address(value: bytes) -> str:
    return str(IPv4Address(value) if len(value) == 4 else IPv6Address(value))


# -- changes


def add_route(kernel: Kernel, of: Route, flags: int) -> None:
    """Make a route.  `flags`: what to do beside others.  Raises OSError, as all of these do."""
    kernel.change(RTM_NEWROUTE, NLM_F_CREATE | flags, _route_body(of, _scope(of)))


def remove_route(kernel: Kernel, of: Route) -> None:
    """Take this route away."""
    kernel.change(RTM_DELROUTE, 0, _route_body(of, RT_SCOPE_NOWHERE))


def add_rule(kernel: Kernel, of: RuleEntry) -> None:
    """Make a rule that is not there yet."""
    kernel.change(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, _rule_body(of))


def remove_rule(kernel: Kernel, of: RuleEntry) -> None:
    """Take this rule away."""
    kernel.change(RTM_DELRULE, 0, _rule_body(of))


def add_address(kernel: Kernel, of: Address) -> None:
    """Give a device an address of its own, without a network."""
    kernel.change(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, _address_body(of))


def remove_address(kernel: Kernel, of: Address) -> None:
    """Take it away."""
    kernel.change(RTM_DELADDR, 0, _address_body(of))


def _scope(of: Route) -> int:
    """A single way of IPv4 without a gateway leads to the link alone; IPv6 knows no scopes."""
    direct = of.family == 4 and len(of.ways) == 1 and of.ways[0].gateway is None
    return RT_SCOPE_LINK if direct else RT_SCOPE_UNIVERSE


def _route_body(of: Route, scope: int) -> bytes:
    # tables beyond 255 are told by the attribute alone
    header = RTMSG.pack(AF[of.family], of.length, 0, 0, 0, of.protocol, scope, of.kind, 0)
    body = header + attribute(RTA_TABLE, of.table)
    body += attribute(RTA_DST, packed(of.destination)) if of.destination else b""
    body += attribute(RTA_PRIORITY, of.metric) if of.metric else b""
    if len(of.ways) == 1:
        way = of.ways[0]
        body += attribute(RTA_OIF, way.ifindex) if way.ifindex else b""
        return body + _gateway_attribute(way)
    return body + attribute(RTA_MULTIPATH, b"".join(map(_hop, of.ways)))


def _hop(way: Way) -> bytes:
    behind = _gateway_attribute(way)
    return RTNEXTHOP.pack(RTNEXTHOP.size + len(behind), 0, way.weight - 1, way.ifindex) + behind


def _gateway_attribute(way: Way) -> bytes:
    return attribute(RTA_GATEWAY, packed(way.gateway)) if way.gateway else b""


def _rule_body(of: RuleEntry) -> bytes:
    lengths = of.destination_length, of.source_length
    body = FIB_RULE_HDR.pack(AF[of.family], *lengths, 0, 0, 0, 0, of.action, of.flags)
    body += attribute(FRA_PRIORITY, of.priority)
    body += attribute(FRA_TABLE, of.table) if of.table else b""
    body += attribute(FRA_SRC, packed(of.source)) if of.source else b""
    body += attribute(FRA_OIFNAME, of.oif.encode() + b"\0") if of.oif else b""
    body += attribute(FRA_IIFNAME, of.iif.encode() + b"\0") if of.iif else b""
    if of.mask is not None:
        body += attribute(FRA_FWMARK, of.mark) + attribute(FRA_FWMASK, of.mask)
    body += attribute(FRA_GOTO, of.goto) if of.goto else b""
    if of.suppress is not None:
        body += attribute(FRA_SUPPRESS_PREFIXLEN, of.suppress)
    return body + (attribute(FRA_PROTOCOL, bytes([of.protocol])) if of.protocol else b"")


def _address_body(of: Address) -> bytes:
    own = packed(of.address)
    body = IFADDRMSG.pack(AF[of.family], len(own) * 8, 0, of.scope, of.ifindex)
    body += attribute(IFA_LOCAL, own) + attribute(IFA_ADDRESS, own)
    return body + (attribute(IFA_FLAGS, of.flags) if of.flags else b"")


def packed(address: str) -> bytes:
    """An address as the kernel has it."""
    return ip_address(address).packed

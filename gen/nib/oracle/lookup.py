"""Single questions to the plan: does this match, whose address is that, where does main lead."""

from collections.abc import Iterable, Iterator
from ipaddress import (
    IPv4Network,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)

from nib.families import Family
from nib.oracle.values import Address, Case, Hop, Interface, Packet, Protocol, Reason, Situation
from nib.plan import Plan, Uplink
from nib.policies import FlowRule

Network = IPv4Network | IPv6Network

_WORDS: dict[Protocol, dict[Family, str]] = {
    "icmp": {4: "icmp", 6: "icmpv6"},
    "gre": {4: "47", 6: "47"},
}
"""What the plan calls a protocol, where that is not its name."""


# -- rules -----------------------------------------------------------------------------------------


def first_rule(case: Case, source: Address | None) -> int | None:
    """The number of the first rule that fits the packet, if it has that source."""
    for number, rule in enumerate(case.plan.flow_rules):
        if rule.family == case.packet.family and _fits(case, rule, source):
            return number
    return None


def _fits(case: Case, rule: FlowRule, source: Address | None) -> bool:
    packet = case.packet
    sets = {one.name: one.elements for one in case.plan.sets if one.family == rule.family}
    sources = rule.source or sets.get(rule.source_set or "", ())
    destinations = rule.destination or sets.get(rule.destination_set or "", ())
    return (
        (rule.hours is None or rule.hours in case.situation.hours)
        and (not rule.devices or packet.device in rule.devices)
        and (not rule.protocols or word(packet) in rule.protocols)
        and (not rule.sport or within_ports(packet.sport, rule.sport))
        and (not rule.dport or within_ports(packet.dport, rule.dport))
        and (not rule.dscp or packet.dscp in rule.dscp)
        and (rule.user is None or (packet.device is None and packet.user == rule.user))
        and (not sources or within(source, sources))
        and (not destinations or within(packet.destination, destinations))
    )


def word(packet: Packet) -> str:
    """The plan's word for the packet's protocol."""
    return _WORDS.get(packet.protocol, {}).get(packet.family, packet.protocol)


def within_ports(port: int | None, elements: Iterable[str]) -> bool:
    """Whether a port is one of them, or in one of the ranges."""
    if port is None:
        return False
    ends = (element.partition("-") for element in elements)
    return any(int(low) <= port <= int(high or low) for low, _, high in ends)


def within(address: Address | None, elements: Iterable[str]) -> bool:
    """Whether an address is one of them, or in one of the networks and ranges."""
    return address is not None and any(_holds(element, address) for element in elements)


def _holds(element: str, address: Address) -> bool:
    low, _, high = element.partition("-")
    if high:
        return int(ip_address(low)) <= int(address) <= int(ip_address(high))
    return address in ip_network(element)


# -- addresses and routes --------------------------------------------------------------------------


def addresses(plan: Plan, situation: Situation) -> Iterator[tuple[str, Interface]]:
    """All of the router's, each with its device; the first of a family is its main one there."""
    static = [(uplink.device, uplink.addresses) for uplink in plan.uplinks]
    static += [(lan.device, lan.addresses) for lan in plan.lans]
    for device, own in static:
        yield from ((device, ip_interface(address)) for address in own)
    yield from (
        (device, interface)
        for device, interfaces in situation.addresses.items()
        for interface in interfaces
    )
    for modem in plan.modems:
        if modem.own is not None:
            yield modem.device, ip_interface(modem.own)


def owner(case: Case, address: Address | None) -> str | None:
    """The device that has the address, if it is the router's own."""
    own = addresses(case.plan, case.situation)
    return next((device for device, one in own if one.ip == address), None)


def address_at(case: Case, hop: Hop) -> Address | None:
    """The router's source towards a hop, if it is known.

    It is the one that shares a network with the neighbour, else the first.  Of several in IPv6 the
    kernel chooses by the destination.
    """
    family = case.packet.family
    every = [
        one
        for device, one in addresses(case.plan, case.situation)
        if device == hop.device and one.version == family
    ]
    beside = [one for one in every if hop.neighbour is not None and hop.neighbour in one.network]
    if family == 6 and len(every) > 1 and len(beside) != 1:
        return None
    return next((one.ip for one in (*beside, *every)), None)


def direct(case: Case, to: Address) -> Hop | None:
    """Where main leads by a route that is no default: such routes go before every choice."""
    known = [
        (one.network, Hop(device, to, Reason(f"{one.network} is on {device}")))
        for device, one in addresses(case.plan, case.situation)
    ]
    for route in case.plan.routes:
        via = ip_address(route.via) if route.via else to
        reason = Reason(f"{route.to} is routed", route.origin)
        known.append((ip_network(route.to), Hop(route.device, via, reason)))
    fitting = [entry for entry in known if to in entry[0]]
    # a delegated network that a lan has is on the uplink, too, by a route of higher metric
    lans = {lan.device for lan in case.plan.lans}
    best = max(fitting, key=lambda one: (one[0].prefixlen, one[1].device in lans), default=None)
    return best[1] if best else None


def default(case: Case, uplink: Uplink) -> Hop:
    """Where an uplink's own default leads."""
    gateway = uplink.gateway if case.packet.family == 4 else uplink.gateway6
    neighbour = ip_address(gateway) if gateway else None
    return Hop(uplink.device, neighbour, Reason(f"by {uplink.name}", uplink.origin))


def uplink_at(plan: Plan, device: str | None) -> Uplink | None:
    """The uplink whose device it is."""
    return next((uplink for uplink in plan.uplinks if uplink.device == device), None)

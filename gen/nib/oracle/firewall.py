"""What the firewall lets in and through, where forwards lead, with which source flows leave."""

from ipaddress import ip_address, ip_network

from nib.oracle.lookup import address_at, owner, uplink_at, within, within_ports, word
from nib.oracle.prefixes import belongs, exchanged
from nib.oracle.values import Address, Case, Fate, Hop, Packet, Reason
from nib.passages import Allow, Forward, Limit, Modem
from nib.plan import Lan, Plan

_Judgement = tuple[Fate, Reason, Limit | None]


def forward_for(case: Case) -> Forward | None:
    """The forward that a packet meets: for an address of the router's own, from outside or a lan.

    From a lan that address is an uplink's: no lan's, and not of the device that it comes in by.
    """
    plan, packet = case.plan, case.packet
    if plan.firewall is None:
        return None
    device = owner(case, packet.destination)
    if device is None:
        return None
    if packet.device not in plan.outside:
        of_lans = {one.partition("/")[0] for lan in plan.lans for one in lan.addresses}
        if device == packet.device or str(packet.destination) in of_lans:
            return None
    found = [one for one in plan.firewall.forwards if _matches(one, packet)]
    # the mapped ones come after the others
    return next(iter(sorted(found, key=lambda forward: forward.mapped)), None)


def _matches(forward: Forward, packet: Packet) -> bool:
    return (
        forward.family == packet.family
        and packet.device not in forward.except_devices
        and packet.protocol in forward.protocols
        and within_ports(packet.dport, forward.ports)
        and (not forward.sources or within(packet.source, forward.sources))
    )


def endpoint(forward: Forward, packet: Packet) -> tuple[Address, int | None]:
    """Where a forward leads the packet."""
    return ip_address(forward.to), forward.to_port or packet.dport


# -- in and through --------------------------------------------------------------------------------


def inwards(case: Case) -> _Judgement:
    """What becomes of a packet for the router itself that comes in by a device that leads out."""
    plan, packet = case.plan, case.packet
    if plan.firewall is None:
        return "delivered", Reason("the firewall is off", "firewall"), None
    uplink = uplink_at(plan, packet.device)
    family = packet.family
    if family not in plan.families or (uplink and family not in uplink.families):
        origin = uplink.origin if uplink else ""
        return "dropped", Reason(f"there is no IPv{family} on this way in", origin), None
    if packet.protocol == "udp" and (packet.sport, packet.dport) == (67, 68):
        return "delivered", Reason("a DHCP server speaks"), None
    if packet.protocol == "icmp":
        return "delivered", Reason("a few echo requests a second are answered"), None
    for allow in plan.openings(inside=False):
        if _opens(allow, packet):
            return "delivered", Reason("the firewall allows it", allow.origin), allow.limit
    return "dropped", Reason("nothing in the firewall allows it", "firewall.allow"), None


def from_lan(case: Case, lan: Lan) -> _Judgement:
    """What becomes of a packet for the router itself that comes from a lan."""
    plan, packet = case.plan, case.packet
    if lan not in plan.closed:
        welcome = Reason(f"from {lan.name} everything may reach the router", lan.origin)
        return "delivered", welcome, None
    if packet.protocol == "icmp":
        return "delivered", Reason("echo requests are answered"), None
    for allow in plan.openings(inside=True):
        if _opens(allow, packet):
            return "delivered", Reason(f"it is open to {lan.name}", allow.origin), allow.limit
    closed = Reason(f"the router is closed to {lan.name}", f"{lan.origin}.input")
    return "refused", closed, None


def _opens(allow: Allow, packet: Packet) -> bool:
    sources = allow.sources if packet.family == 4 else allow.sources6
    anywhere = not allow.sources and not allow.sources6
    return (
        (not allow.devices or packet.device in allow.devices)
        and word(packet) == allow.protocol
        and (not allow.ports or within_ports(packet.dport, allow.ports))
        and (anywhere or within(packet.source, sources))
    )


def through(case: Case, device: str, destination: Address, forward: Forward | None) -> _Judgement:
    """What becomes of a packet on its way to `device`; `leaves`, if nothing bars it."""
    plan, packet = case.plan, case.packet
    if plan.firewall is None:
        return "leaves", Reason("the firewall is off", "firewall"), None
    lans = {lan.device for lan in plan.lans}
    if forward is not None and device in lans:
        return "leaves", Reason("a forward leads there", forward.origin), forward.limit
    fate: Fate = "refused" if packet.device in lans else "dropped"
    if modem := page(plan, device, destination):
        if packet.device in modem.visitors:
            return "leaves", Reason("the modem's page may be visited", modem.origin), None
        return fate, Reason("nobody may visit the modem's page from there", modem.origin), None
    if (packet.device, device) in plan.forward_pairs(packet.family):
        return "leaves", Reason(f"{packet.device} may forward to {device}", "forwarding"), None
    sentence = f"{packet.device} may not forward IPv{packet.family} to {device}"
    return fate, Reason(sentence, "forwarding"), None


def page(plan: Plan, device: str, destination: Address) -> Modem | None:
    """The modem whose page a destination on a device is."""
    return next(
        (one for one in plan.modems if (one.device, one.address) == (device, str(destination))),
        None,
    )


# -- with which source -----------------------------------------------------------------------------


def translated(
    case: Case, hop: Hop, destination: Address, sent_on: bool
) -> tuple[bool, Address | None]:
    """Whether a flow leaves towards a hop with another source than its own; the source in any case.

    `sent_on`: a forward chose the destination.
    """
    plan, packet, device = case.plan, case.packet, hop.device
    modem = page(plan, device, destination)
    if modem and modem.own is not None:
        return True, ip_address(modem.own.partition("/")[0])
    uplink = uplink_at(plan, device)
    if uplink:
        kept = packet.family not in uplink.families
        kept |= packet.device is None and str(packet.source) in uplink.further_of(packet.family)
        source = packet.source or address_at(case, hop)
        kept |= belongs(case, source, uplink)
        if not kept and (instead := exchanged(case, source, uplink)):
            return True, instead
    else:
        lans = {lan.device for lan in plan.lans}
        same_lan = sent_on and device == packet.device and device in lans
        asked = any(
            route.masquerade and route.device == device and destination in ip_network(route.to)
            for route in plan.routes
        )
        kept = not (same_lan or asked)
    if kept and packet.source is not None:
        return False, packet.source
    return not kept, address_at(case, hop)


def unanswered(case: Case, device: str, source: Address | None) -> bool:
    """Whether a source that is kept belongs elsewhere: nobody beyond `device` could answer it."""
    if device not in case.plan.outside:
        return False
    owners = {up.device for up in case.plan.prefixed if belongs(case, source, up)}
    if owners or owner(case, source) == device:
        return bool(owners) and device not in owners
    further = {one for up in case.plan.uplinks for one in up.further_of(case.packet.family)}
    return case.packet.family == 6 or str(source) in further

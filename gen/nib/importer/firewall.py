"""What is left of the old firewall's own rules: openings of the router, and what needs no rule."""

from dataclasses import dataclass, field
from typing import Any

from nib import values
from nib.importer.actions import Actions, limit_value, named_lan, port_value
from nib.importer.draft import Entry
from nib.importer.fragments import ANSWERS, closing
from nib.importer.iptables import Match, Ports, Rule
from nib.importer.remarks import Spot, Unclear
from nib.problem import Path
from nib.services import SERVICES

_CLOSING = frozenset(
    {"DROP", "REJECT", "REJECTPERM", "DROPGEN", "DROPINVAL", "DROPPERM", "DROPSPOOF", "DROPFLOOD"}
)
_ALLOW: Path = ("firewall",)


@dataclass(slots=True)
class _Tunnel:
    """A device of nobody's that rules let in, with the lans that rules connect it to."""

    spot: Spot
    inwards: set[str] = field(default_factory=set)
    outwards: set[str] = field(default_factory=set)


def translate_firewall(actions: Actions) -> None:
    """Fill in `firewall.allow`; and lans for the tunnels of other programs.

    Net-ISP-Balance let nothing in by itself, so an empty list is written rather than none.
    """
    actions.to.data["firewall"] = {"allow": [], **actions.to.data.get("firewall", {})}
    tunnels = _tunnels(actions)
    rules = [rule for _, _, rule in actions.rules]
    for index, (spot, path, rule) in enumerate(actions.rules):
        try:
            _order(rule, rules[:index], rules[index + 1 :])
            _translate(actions, spot, rule, rules[:index], tunnels)
        except Unclear as unclear:
            actions.to.notes.unread(spot, path, unclear.message, unclear.hint)
    _connect(actions, tunnels)
    if not actions.to.entries(("firewall", "allow")):
        comment = "nothing, as before; without this key nib lets in ssh, limited"
        actions.to.beside["firewall", "allow"] = comment


def _opens(rule: Rule) -> bool:
    return (rule.table, rule.chain, rule.target) == ("filter", "INPUT", "ACCEPT")


def _closes(rule: Rule) -> bool:
    return (rule.table, rule.chain) == ("filter", "INPUT") and rule.target in _CLOSING


def _order(rule: Rule, before: list[Rule], after: list[Rule]) -> None:
    """nib's openings have no order.  Raises Unclear where that of the old rules matters."""
    if _closes(rule):
        alike = any(_opens(other) and other.match == rule.match for other in before)
        if rule.inserted or (not alike and any(map(_opens, after))):
            raise closing(rule, before, "openings have no order: nothing is closed before them")
    elif _opens(rule):
        closed = [other for other in before if _closes(other) and other.match == rule.match]
        opened = any(_opens(other) and other.match == rule.match for other in before)
        if closed and not opened:
            raise Unclear("an earlier rule closes the same")


def _translate(
    actions: Actions, spot: Spot, rule: Rule, before: list[Rule], tunnels: dict[str, _Tunnel]
) -> None:
    """One rule: an opening, or a note why it needs none.  Raises Unclear."""

    def note(message: str, hint: str = "") -> None:
        actions.to.notes.note(spot, _ALLOW, message, hint)

    match = rule.match
    if _is_tunnel(rule, tunnels, actions):
        return
    if match.states in ANSWERS and rule.target == "ACCEPT":
        note("answers are let through by connection tracking")
        return
    match rule.table, rule.chain, rule.target:
        case "filter", "INPUT", "ACCEPT":
            _input(actions, spot, rule)
        case "filter", "INPUT", target if target in _CLOSING:
            note("from outside everything is closed that is not opened")
        case "filter", "FORWARD", "ACCEPT":
            _forward(actions, spot, match)
        case "filter", "FORWARD", target if target in _CLOSING:
            raise closing(rule, before, "balance.yaml has no word for what hosts may not reach")
        case "filter", "OUTPUT", "ACCEPT":
            note("what the router itself sends is not filtered")
        case "nat", "POSTROUTING", "MASQUERADE" if match.device_out and actions.services.uplink_of(
            match.device_out
        ):
            note("what leaves by an uplink is masqueraded anyway")
        case "nat", "POSTROUTING", "MASQUERADE":
            raise Unclear(
                "only what leaves by an uplink or by a route is masqueraded",
                "add 'masquerade: true' to a route",
            )
        case _, _, "TCPMSS":
            note("segments are made to fit by nib itself")
        case _, _, "LOG":
            raise Unclear("nib logs what it drops, and nothing else", "see firewall.log")
        case _:
            raise Unclear(f"nothing here is like -t {rule.table} {rule.chain} -j {rule.target}")


def _input(actions: Actions, spot: Spot, rule: Rule) -> None:
    """ACCEPT in INPUT."""
    match, services, to = rule.match, actions.services, actions.to
    if match.device_in == "lo":
        to.notes.note(spot, _ALLOW, "the router may talk to itself")
        return
    uplink = services.uplink_of(match.device_in) if match.device_in else None
    if not uplink and (match.device_in or ":" in (match.source or "")):
        lan = named_lan(match, services)
        if lan:
            to.notes.note(spot, _ALLOW, f"from {lan}, as from every lan, the router may be reached")
            return
    if match.protocol == "icmp":
        to.notes.note(spot, _ALLOW, "pings and the ICMP that a network needs are let in, limited")
        return
    if match.sport and not match.dport:
        message = "left away on purpose: answers come in anyway, and so would everything else"
        hint = "whoever sends from that port could reach every service of the router"
        to.notes.note(spot, _ALLOW, message, hint)
        return
    wanted = Match(
        protocol=match.protocol,
        dport=match.dport,
        source=match.source,
        device_in=match.device_in,
        states=match.states if match.states == ("NEW",) else (),
    )
    if match != wanted or match.protocol not in ("tcp", "udp") or not match.dport:
        raise Unclear("an opening needs tcp or udp, a port, and nothing that nib has no word for")
    ports = _unforwarded(actions, match)
    if not ports:
        raise Unclear("a forward leads this port to a host, so the router itself never saw it")
    if ports != match.dport:
        left = ", ".join(str(one) for one in _list(port_value(ports)))
        message = f"{left} are left of these ports: the router itself never saw those of forwards"
        to.notes.note(spot, _ALLOW, message)
    meant = ((match.protocol, ports),)
    service = next((name for name, those in SERVICES.items() if those == meant), None)
    entry: dict[str, object] = {"service": service}
    if service is None:
        entry = {"protocol": match.protocol, "port": port_value(ports)}
    if match.source:
        entry["source"] = match.source
    if uplink:
        entry["uplinks"] = [uplink]
    if rule.limit:
        entry["limit"] = limit_value(rule.limit)
    to.add(("firewall", "allow"), entry, spot)


def _unforwarded(actions: Actions, match: Match) -> Ports:
    """The ports without those that a forward for everybody has."""
    left = match.dport
    for entry in actions.to.entries(("firewall", "forwards")):
        forward = entry.value
        if not forward.keys() & {"source", "uplinks"} and match.protocol in forward["protocol"]:
            for first, last in map(values.port_range, _list(forward["port"])):
                parts = [
                    ((low, min(high, first - 1)), (max(low, last + 1), high)) for low, high in left
                ]
                left = tuple((low, high) for pair in parts for low, high in pair if low <= high)
    return left


def _list(port: Any) -> list[Any]:
    return port if isinstance(port, list) else [port]


def _forward(actions: Actions, spot: Spot, match: Match) -> None:
    """ACCEPT in FORWARD."""
    if match.sport and not match.dport:
        message = "left away on purpose: answers come in anyway, and so would everything else"
        hint = "whoever sends from that port could reach every host of the lans"
        actions.to.notes.note(spot, _ALLOW, message, hint)
        return
    forwards = actions.to.entries(("firewall", "forwards"))
    if match.destination and any(
        entry.value["to"].partition(":")[0] == match.destination.removesuffix("/32")
        for entry in forwards
    ):
        actions.to.notes.note(spot, _ALLOW, "a forward opens what it needs")
        return
    raise Unclear("who may reach whom is said by forwarding groups", "see 'forwarding'")


# -- tunnels


def _tunnels(actions: Actions) -> dict[str, _Tunnel]:
    """The devices of nobody's from which a rule accepts everything, and their connections."""
    known = actions.services.devices.keys() | {"lo"}
    tunnels: dict[str, _Tunnel] = {}
    for spot, _, rule in actions.rules:
        device = rule.match.device_in
        if device and _opens(rule) and device not in known and _is_plain(rule):
            tunnels.setdefault(device, _Tunnel(spot))
    for _, _, rule in actions.rules:
        if _is_tunnel(rule, tunnels, actions) and rule.chain == "FORWARD":
            start, end = rule.match.device_in or "", rule.match.device_out or ""
            if start in tunnels:
                tunnels[start].inwards.add(str(actions.services.lan_of(end)))
            else:
                tunnels[end].outwards.add(str(actions.services.lan_of(start)))
    return tunnels


def _is_plain(rule: Rule) -> bool:
    """Whether it accepts whatever comes in or goes out by its devices."""
    devices = Match(device_in=rule.match.device_in, device_out=rule.match.device_out)
    return rule.table == "filter" and rule.target == "ACCEPT" and rule.match == devices


def _is_tunnel(rule: Rule, tunnels: dict[str, _Tunnel], actions: Actions) -> bool:
    """Whether it lets a tunnel reach the router, or connects it to a lan."""
    ends = (rule.match.device_in or "", rule.match.device_out or "")
    if not _is_plain(rule):
        return False
    if rule.chain == "FORWARD":
        lans = [actions.services.lan_of(end) for end in ends]
        return bool((ends[0] in tunnels and lans[1]) or (ends[1] in tunnels and lans[0]))
    return any(end in tunnels for end in ends)


def _connect(actions: Actions, tunnels: dict[str, _Tunnel]) -> None:
    """Make a lan of each tunnel, in a group with the lans that it exchanges packets with."""
    to, services = actions.to, actions.services
    lans = list(dict.fromkeys(services.lans.values()))
    if tunnels and "forwarding" not in to.data:
        spot = next(iter(tunnels.values())).spot
        to.data["forwarding"] = [Entry([":uplinks", *lans], spot)]
    for device, tunnel in tunnels.items():
        for group in to.entries(("forwarding",)):
            if ":lans" in group.value:
                at = group.value.index(":lans")
                group.value[at : at + 1] = [lan for lan in lans if lan not in group.value]
        name = services.new_name(device)
        where = f"{tunnel.spot.file}:{tunnel.spot.place.line}"
        to.data.setdefault("lans", {})[name] = {"device": device, "address": "external"}
        to.spots["lans", name] = tunnel.spot
        to.beside["lans", name, "address"] = f"made by others; let in by {where}"
        both = [lan for lan in lans if lan in tunnel.inwards & tunnel.outwards]
        if both:
            to.add(("forwarding",), [name, *both], tunnel.spot)
        if one_way := tunnel.inwards ^ tunnel.outwards:
            message = f"{', '.join(sorted(one_way))} and {name}: forwarding groups go both ways"
            to.notes.left_out(tunnel.spot, ("forwarding",), message)

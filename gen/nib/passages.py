"""What leads through the router besides balancing: `firewall.forwards` and `routes`, checked."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network

from nib.config import Allow, External, Forward, Lan, Origin, Route, Uplink
from nib.conflicts import Conflict, Facts, Own, no_host
from nib.document import Path, dotted
from nib.problem import shown

Ports = tuple[tuple[int, int], ...]

GIVEN_ROUTE = tuple[Path, IPv4Network, IPv4Address | None, str | None, bool]
"""A route as it was written: its path, to, via, device and masquerade."""

FOREIGN = "main's routes go before nib's choice of an uplink, so it holds wherever it is written"


def forward_conflicts(
    forwards: Iterable[tuple[Path, Forward]],
    allow: Iterable[tuple[Path, Allow]],
    facts: Facts,
    routes: Iterable[Route],
    lans: Iterable[Lan],
) -> Iterator[Conflict]:
    """What is wrong between forwards, openings, networks and routes.

    `allow` holds what the file says itself, not the default.
    """
    names = {lan.name for lan in lans}
    behind = [route.to for route in routes if route.owner in names]
    if any(isinstance(lan.address, External) for lan in lans):
        behind.append(IPv4Network("0.0.0.0/0"))  # its network is known to others alone
    seen: list[tuple[Path, Forward]] = []
    for path, forward in forwards:
        yield from _destination((*path, "to"), forward.to, facts.addresses, behind)
        for other_path, other in seen:
            if same := _common(forward, forward.protocols, other, other.protocols):
                sentence = f"{same} is already forwarded by {dotted(other_path)}"
                hint = "let one of them be for other uplinks or other sources"
                yield (*path, "port"), sentence, hint
                break
        for other_path, opening in allow:
            if same := _common(forward, forward.protocols, opening, (opening.protocol,)):
                sentence = f"{same} is already allowed to the router itself"
                hint = f"{dotted(other_path)} would never see it; choose another port"
                yield (*path, "port"), sentence, hint
                break
        seen.append((path, forward))


def _destination(
    path: Path,
    to: IPv4Address,
    addresses: list[Own],
    behind: list[IPv4Network],
) -> Iterator[Conflict]:
    if no_host(to):
        yield path, f"{to} cannot be a host", "write the address of a host in a lan"
        return
    for own in addresses:
        network = own.interface.network
        if own.interface.ip == to:
            hint = "firewall.allow opens a port of the router itself"
            yield path, f"{to} is the router's own address ({dotted(own.owner)})", hint
            return
        if to not in network:
            continue
        if not own.on_lan:
            sentence = f"{to} is in the network {network} of {dotted(own.owner)}"
            yield path, sentence, "forwards lead to hosts in the lans"
            return
        ends = (network.network_address, network.broadcast_address)
        if network.prefixlen < 31 and to in ends:
            kind = "network" if to == ends[0] else "broadcast"
            yield path, f"{to} is the {kind} address of {network}", ""
        return
    if any(to in network for network in behind):
        return
    hint = "there are no lans"
    if known := [own for own in addresses if own.on_lan]:
        some = [f"{own.interface.network} ({dotted(own.owner)})" for own in known[:3]]
        hint = f"there is {', '.join(some)}; a network behind another router needs a route"
    yield path, f"{to} is in no lan", hint


def _common(
    one: Forward,
    one_protocols: Iterable[str],
    other: Forward | Allow,
    other_protocols: Iterable[str],
) -> str:
    """The first port that both mean from a source and by an uplink of both: `tcp port 443`."""
    protocols = sorted(set(one_protocols) & set(other_protocols))
    if not protocols or not set(one.uplinks) & set(other.uplinks):
        return ""
    if (
        one.sources
        and other.sources
        and not any(a.overlaps(b) for a in one.sources for b in other.sources)
    ):
        return ""
    for low, high in one.ports:
        for other_low, other_high in other.ports:
            first = max(low, other_low)
            if first <= min(high, other_high):
                return f"{protocols[0]} port {first}"
    return ""


def resolved(
    given: Iterable[GIVEN_ROUTE],
    uplinks: Iterable[Uplink],
    lans: Iterable[Lan],
    facts: Facts,
) -> Iterator[Route | Conflict]:
    """Each route with the uplink or lan that it leaves by, or what is wrong with it."""
    all_owners: list[Uplink | Lan] = [*uplinks, *lans]
    owners = {owner.device: owner for owner in all_owners}
    by_path = {str(owner.origin): owner for owner in all_owners}
    first: dict[IPv4Network, Path] = {}
    for path, to, via, device, masquerade in given:
        if found := list(_wrong_end(path, to, first, facts.addresses)):
            yield from found
            continue
        owner: Uplink | Lan | None
        if device is not None:
            owner = owners.get(device)
            if owner is None:
                sentence = f"{shown(device)} is the device of no uplink or lan"
                where = "write it into the .network file of that device"
                yield (*path, "device"), sentence, f"{where}; {FOREIGN}"
                continue
            problem = _not_by(owner, via, facts.addresses)
            if problem:
                key = "device" if isinstance(owner, Lan) and _foreign(owner) else "via"
                yield (*path, key), *problem
                continue
        else:
            assert via is not None
            holders = list(dict.fromkeys(own.owner for own in _holding(via, facts.addresses)))
            if len(holders) != 1:
                some = " and ".join(dotted(holder) for holder in holders)
                sentence = f"{via} is in the networks of {some}"
                if not holders:
                    sentence = f"{via} is in no network of an uplink or lan"
                yield (*path, "via"), sentence, "say with 'device' which way it leaves"
                continue
            owner = by_path.get(dotted(holders[0]))
            if owner is None:
                continue  # its owner has problems of its own
        if any(own.interface.ip == via for own in facts.addresses):
            yield (*path, "via"), f"{via} is the router's own address", ""
            continue
        yield Route(to, via, owner.name, masquerade, Origin(dotted(path)))


def _wrong_end(
    path: Path, to: IPv4Network, first: dict[IPv4Network, Path], addresses: list[Own]
) -> Iterator[Conflict]:
    where = (*path, "to")
    if to.prefixlen == 0:
        yield where, "a default route is what an uplink has", "add an uplink"
    elif no_host(to.network_address):
        yield where, f"{to} cannot be routed", ""
    elif (earlier := first.setdefault(to, path)) != path:
        yield where, f"{to} is already given by {dotted(earlier)}", ""
    for own in addresses:
        if to.subnet_of(own.interface.network):
            sentence = f"{to} is in the network {own.interface.network} of {dotted(own.owner)}"
            yield where, sentence, "what is there is reached directly"
            return


def _holding(via: IPv4Address, addresses: Iterable[Own]) -> Iterator[Own]:
    return (own for own in addresses if via in own.interface.network)


def _foreign(lan: Lan) -> bool:
    return isinstance(lan.address, External)


def _not_by(
    owner: Uplink | Lan, via: IPv4Address | None, addresses: list[Own]
) -> tuple[str, str] | None:
    """Why a route cannot leave by the device of `owner`."""
    if isinstance(owner, Lan) and _foreign(owner):
        sentence = f"others configure {owner.device} ({owner.origin})"
        return sentence, f"add the route there; {FOREIGN}"
    mine = [own for own in addresses if dotted(own.owner) == str(owner.origin)]
    networks = [own.interface.network for own in mine]
    if via is not None and networks and not any(via in network for network in networks):
        where = " or ".join(str(network) for network in networks[:3])
        return f"{via} is not in {where}, the network of {owner.origin}", ""
    return None

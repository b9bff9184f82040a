"""Port forwards: what comes from outside and is passed on to a host in a lan."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from nib import values
from nib.check.conflicts import Conflict, Own, end_of, no_host
from nib.check.openings import read_who
from nib.check.reader import Reader
from nib.config import Address, Allow, External, Forward, Lan, Network, Origin, Route
from nib.document import Path, dotted
from nib.families import Family

ANYWHERE: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


def read_forward(
    reader: Reader, path: Path, entry: dict[str, Any], uplinks: tuple[str, ...]
) -> Forward | None:
    ports = reader.ports((*path, "port"), entry.get("port"))
    to = reader.attempt((*path, "to"), values.endpoint, entry.get("to"))
    sources, by, limit = read_who(reader, path, entry, uplinks)
    protocol = entry.get("protocol") or []
    words = [protocol] if isinstance(protocol, str) else protocol
    if not (to and ports and words):
        return None
    protocols = tuple(dict.fromkeys(word for word in words if word))
    return Forward(protocols, ports, *to, sources, by, limit, Origin(dotted(path)))


def conflicts(
    forwards: Iterable[tuple[Path, Forward]],
    allow: Iterable[tuple[Path, Allow]],
    addresses: list[Own],
    behind: tuple[Network, ...],
    families: Mapping[str, tuple[Family, ...]],
) -> Iterator[Conflict]:
    """What is wrong between forwards, openings, families and networks.

    `allow` holds what the file says itself, not the default; `behind` the networks that are reached
    through lans; `families` those of the uplinks that could be read.
    """
    forwards, allow = tuple(forwards), tuple(allow)
    for path, opening in dict(allow).items():
        yield from _openings(path, opening, families)
    meeting = _meeting(forward.ports for _, forward in forwards)
    for number, (path, forward) in enumerate(forwards):
        yield from _families(path, forward, families)
        yield from _destination((*path, "to"), forward.to, addresses, behind)
        for other_path, other in (forwards[earlier] for earlier in sorted(meeting[number])):
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


def networks_behind(routes: Iterable[Route], lans: Iterable[Lan]) -> tuple[Network, ...]:
    """The networks that are reached through lans, beside their own."""
    if any(isinstance(lan.address, External) for lan in lans):
        return ANYWHERE  # its networks are known to others alone
    names = {lan.name for lan in lans}
    return tuple(route.to for route in routes if route.owner in names)


def _families(
    path: Path, forward: Forward, families: Mapping[str, tuple[Family, ...]]
) -> Iterator[Conflict]:
    """A forward is of one family, and some uplink brings it."""
    version = forward.to.version
    for source in forward.sources:
        if source.version != version:
            sentence = f"{source} is IPv{source.version}, but {forward.to} is IPv{version}"
            yield (*path, "source"), sentence, "write a forward for each family"
    if _absent(version, forward.uplinks, families):
        hint = f"remove it, or give an uplink IPv{version}"
        sentence = f"{forward.to} is IPv{version}, but no uplink of this forward has it"
        yield (*path, "to"), sentence, hint


def _openings(
    path: Path, allow: Allow, families: Mapping[str, tuple[Family, ...]]
) -> Iterator[Conflict]:
    """Of the families that an opening is for, some uplink brings one."""
    versions = {source.version for source in allow.sources}
    if versions and all(_absent(version, allow.uplinks, families) for version in versions):
        version = min(versions)
        sentence = f"{allow.sources[0]} is IPv{version}, but no uplink of this entry has it"
        yield (*path, "source"), sentence, f"remove it, or give an uplink IPv{version}"


def _absent(version: Family, by: Iterable[str], families: Mapping[str, tuple[Family, ...]]) -> bool:
    """Whether none of the uplinks has a family; those that could not be read may have it."""
    names = tuple(by)
    return bool(names) and all(version not in families.get(name, (version,)) for name in names)


def _destination(
    path: Path,
    to: Address,
    addresses: list[Own],
    behind: tuple[Network, ...],
) -> Iterator[Conflict]:
    if no_host(to) or to.is_link_local:
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
        if kind := end_of(network, to):
            yield path, f"{to} is the {kind} address of {network}", ""
        return
    if any(to in network for network in behind):
        return
    hint = "there are no lans"
    known = [own for own in addresses if own.on_lan]
    if of_family := [own for own in known if own.interface.version == to.version]:
        some = [f"{own.interface.network} ({dotted(own.owner)})" for own in of_family[:3]]
        hint = f"there is {', '.join(some)}; a network behind another router needs a route"
    elif known:
        hint = f"give its lan an IPv{to.version} address"
    yield path, f"{to} is in no lan", hint


def _meeting(ports: Iterable[Iterable[tuple[int, int]]]) -> dict[int, set[int]]:
    """For each entry, by number, the earlier ones that have a port in common with it.

    In order of their first port only those have to be compared that have not ended yet: two in a
    thousand entries, and not each with all others.
    """
    meeting: dict[int, set[int]] = {}
    spans = [(*span, number) for number, entry in enumerate(ports) for span in entry]
    running: list[tuple[int, int]] = []
    for low, high, number in sorted(spans):
        running = [(end, other) for end, other in running if end >= low]
        meeting.setdefault(number, set())
        for _, other in running:
            meeting.setdefault(max(number, other), set()).add(min(number, other))
        running.append((high, number))
    return meeting


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
    if not any(
        a.version == b.version and a.overlaps(b) for a in _sources(one) for b in _sources(other)
    ):
        return ""
    for low, high in one.ports:
        for other_low, other_high in other.ports:
            first = max(low, other_low)
            if first <= min(high, other_high):
                return f"{protocols[0]} port {first}"
    return ""


def _sources(entry: Forward | Allow) -> tuple[Network, ...]:
    if entry.sources or isinstance(entry, Allow):
        return entry.sources or ANYWHERE
    return tuple(network for network in ANYWHERE if network.version == entry.to.version)

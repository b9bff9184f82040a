"""Extra routes: networks that are reached by another way than a default."""

from collections.abc import Iterable

from nib import values
from nib.check.conflicts import end_of, no_host
from nib.check.reader import Reader
from nib.config import Address, External, Lan, Network, Origin, Route, Uplink
from nib.document import Path, dotted
from nib.families import Family
from nib.problem import shown

FOREIGN = "main's routes go before nib's choice of an uplink, so it holds wherever it is written"


def read_routes(
    reader: Reader, uplinks: Iterable[Uplink], lans: Iterable[Lan]
) -> tuple[Route, ...]:
    """Each route with the uplink or lan that it leaves by; `uplinks` and `lans` could be read."""
    owners: list[Uplink | Lan] = [*uplinks, *lans]
    first: dict[Network, Path] = {}
    routes: list[Route] = []
    for i, entry in enumerate(reader.data["routes"] or []):
        path: Path = ("routes", i)
        keys = entry or {}
        to = reader.attempt((*path, "to"), values.network, keys.get("to"))
        via = reader.attempt((*path, "via"), values.address, keys.get("via"))
        device = reader.attempt((*path, "device"), values.device, keys.get("device"))
        if keys and not keys.keys() & {"via", "device"}:
            reader.say(path, "missing key 'via'", "or 'device', where no router is in between")
        elif to and (via or device) and not _wrong_end(reader, path, to, via, first):
            owner = (
                _by_network(reader, path, via, owners)
                if device is None
                else _by_device(reader, path, device, owners)
            )
            if owner and _leaves(reader, path, to, via, owner):
                masquerade = bool(keys["masquerade"])
                routes.append(Route(to, via, owner.name, masquerade, Origin(dotted(path))))
    return tuple(routes)


def _wrong_end(
    reader: Reader, path: Path, to: Network, via: Address | None, first: dict[Network, Path]
) -> bool:
    """Say what is wrong with the end of a route, whichever way it leaves."""
    before = len(reader.problems)
    where = (*path, "to")
    if to.prefixlen == 0:
        reader.say(where, "a default route is what an uplink has", "add an uplink")
    elif no_host(to.network_address) or to.network_address.is_link_local:
        reader.say(where, f"{to} cannot be routed")
    elif (earlier := first.setdefault(to, path)) != path:
        reader.say(where, f"{to} is already given by {dotted(earlier)}")
    for own in reader.facts.addresses:
        network = own.interface.network
        if to.network_address in network and to.prefixlen >= network.prefixlen:
            sentence = f"{to} is in the network {network} of {dotted(own.owner)}"
            reader.say(where, sentence, "what is there is reached directly")
            break
    if via and via.version != to.version:
        sentence = f"{via} is IPv{via.version}, but {to} is IPv{to.version}"
        reader.say((*path, "via"), sentence, "write the router's address of that family")
    return len(reader.problems) > before


def _by_network(
    reader: Reader, path: Path, via: Address | None, owners: Iterable[Uplink | Lan]
) -> Uplink | Lan | None:
    """The owner of the network that holds `via`."""
    holding = (own.owner for own in reader.facts.addresses if via in own.interface.network)
    holders = [dotted(holder) for holder in dict.fromkeys(holding)]
    if len(holders) == 1:
        # None if it has problems of its own
        return next((owner for owner in owners if str(owner.origin) == holders[0]), None)
    sentence = f"{via} is in the networks of {' and '.join(holders)}"
    if not holders:
        sentence = f"{via} is in no network of an uplink or lan"
    reader.say((*path, "via"), sentence, "say with 'device' which way it leaves")
    return None


def _by_device(
    reader: Reader, path: Path, device: str, owners: Iterable[Uplink | Lan]
) -> Uplink | Lan | None:
    """The owner of `device`, if nib configures it."""
    owner = next((owner for owner in owners if owner.device == device), None)
    if owner is None:
        sentence = f"{shown(device)} is the device of no uplink or lan"
        hint = f"write it into the .network file of that device; {FOREIGN}"
        if named := next((owner for owner in owners if owner.name == device), None):
            hint = f"write {named.device}, the device of {named.origin}"
        reader.say((*path, "device"), sentence, hint)
        return None
    if isinstance(owner, Lan) and isinstance(owner.address, External):
        sentence = f"others configure {device} ({owner.origin})"
        reader.say((*path, "device"), sentence, f"add the route there; {FOREIGN}")
        return None
    return owner


def _leaves(
    reader: Reader, path: Path, to: Network, via: Address | None, owner: Uplink | Lan
) -> bool:
    """Whether such a route can leave by the device of `owner`; if not, it is said."""
    if not _has(owner, to.version):
        reader.say((*path, "to"), f"{to} is IPv{to.version}, but {owner.origin} does not have it")
        return False
    if any(own.interface.ip == via for own in reader.facts.addresses):
        reader.say((*path, "via"), f"{via} is the router's own address")
        return False
    if via is None or (via.version == 6 and via.is_link_local):
        return True  # a neighbour, whatever the networks there
    mine = [own for own in reader.facts.addresses if dotted(own.owner) == str(owner.origin)]
    networks = [own.interface.network for own in mine if own.interface.version == via.version]
    if networks and not any(via in network for network in networks):
        where = " or ".join(str(network) for network in networks[:3])
        sentence = f"{via} is not in {where}, the network of {owner.origin}"
        reader.say((*path, "via"), sentence)
        return False
    for network in networks:
        if kind := end_of(network, via):
            reader.say((*path, "via"), f"{via} is the {kind} address of {network}")
            return False
    return True


def _has(owner: Uplink | Lan, family: Family) -> bool:
    match owner:
        case Lan(address=External()):
            return family == 4 or owner.ipv6
        case _:
            return family in owner.families

"""What each part of balance.yaml may say, but not two of them together."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nib.config import Address, Interface, Network
from nib.document import Path, dotted, shown

Conflict = tuple[Path, str, str]
"""Where, what, and a hint."""

# `default` and `local` name a policy and a mark of nib's, `lo` a file; the others are or will be
# words in the places where a name can stand.
RESERVED = frozenset({"default", "local", "lo", "all", "any", "none", "block"})


@dataclass(frozen=True, slots=True)
class Own:
    """An address of the router: `owner` is its uplink or lan, `path` where it is written."""

    owner: Path
    path: Path
    interface: Interface

    @property
    def on_lan(self) -> bool:
        return self.owner[0] == "lans"


@dataclass(slots=True)
class Facts:
    """What was read, with its path, in the order of the file; also from parts with problems.

    A target without a path is a default one, which stands nowhere in the file.
    """

    devices: list[tuple[Path, str]] = field(default_factory=list)
    addresses: list[Own] = field(default_factory=list)
    gateways: list[tuple[Path, Address, tuple[Interface, ...]]] = field(default_factory=list)
    targets: list[tuple[Path | None, Address]] = field(default_factory=list)
    found: list[Conflict] = field(default_factory=list)

    def say(self, path: Path, message: str, hint: str = "") -> None:
        self.found.append((path, message, hint))

    def conflicts(self) -> Iterator[Conflict]:
        """Everything wrong, in no order."""
        self._devices()
        self._same_address()
        self._overlaps()
        for gateway in self.gateways:
            self._gateway(*gateway)
        for target in dict.fromkeys(self.targets):
            self._target(*target)
        yield from self.found

    def names(self, uplinks: dict[str, Any], lans: dict[str, Any]) -> None:
        """A name is used once, whatever its case: it is in file names and shell variables."""
        seen: dict[str, Path] = {}
        for path in [("uplinks", n) for n in uplinks] + [("lans", n) for n in lans]:
            name = path[1]
            first = seen.setdefault(name.lower(), path)
            if name.lower() in RESERVED:
                self.say(path, f"the name {shown(name)} is reserved", "choose another name")
            elif first == path:
                continue
            elif first[1] == name:
                self.say(path, f"the name is already used by {dotted(first)}")
            else:
                hint = f"{dotted(first)} has the same letters"
                self.say(path, f"the name {shown(name)} differs from another only in case", hint)

    def marks(self, mask: int | None, uplinks: dict[str, Any]) -> None:
        """Each uplink has a mark of its own, and some uplink carries traffic."""
        known = {name: uplink for name, uplink in uplinks.items() if uplink}
        weights = [uplink["weight"] for uplink in known.values()]
        if known and len(known) == len(uplinks) and not any(weights):
            hint = "give at least one uplink a weight of 1 or more"
            self.say(("uplinks",), "every uplink has weight 0, so none carries traffic", hint)
        if mask is None:
            return
        most = (1 << (mask.bit_count() - 1)) - 2
        if len(uplinks) > most:
            sentence = f"{len(uplinks)} uplinks, but the mask 0x{mask:08x} has marks for {most}"
            wider = "give marks.mask more bits" if most < 126 else "no mask has marks for more"
            self.say(("uplinks",), sentence, wider)
        pins: dict[int, str] = {}
        for name, uplink in known.items():
            pin, path = uplink.get("id"), ("uplinks", name, "id")
            if pin is None:
                continue
            if pin > most:
                self.say(
                    path, f"must be between 1 and {most} with the mask 0x{mask:08x}, not {pin}"
                )
            if pins.setdefault(pin, name) != name:
                self.say(path, f"the id {pin} is already pinned by uplinks.{pins[pin]}")

    def gateways_of(
        self,
        path: Path,
        gateways: list[tuple[Path, Address | None]],
        addresses: tuple[Interface, ...],
    ) -> None:
        """The gateways of one uplink: one for each family that it has an address of.

        None is a gateway that could not be read.
        """
        known = [(place, gateway) for place, gateway in gateways if gateway]
        for version in (4, 6):
            own = tuple(one for one in addresses if one.version == version)
            found = [(place, gateway) for place, gateway in known if gateway.version == version]
            for place, gateway in found[:1]:
                if addresses and not own:
                    hint = "add an address of that family, or remove it"
                    self.say(place, f"{gateway} is IPv{version}, but no address is", hint)
                else:
                    self.gateways.append((place, gateway, own))
            for place, gateway in found[1:]:
                self.say(place, f"{gateway} is a second gateway for IPv{version}")
            if own and not found and len(known) == len(gateways):
                hint = "a list can hold one gateway for each family"
                self.say(path, f"no gateway for the IPv{version} address {own[0].ip}", hint)

    def ipv6_of_lans(self, somewhere: bool) -> None:
        """What a lan announces must lead somewhere, in networks that clients can use."""
        for own in self.addresses:
            if not own.on_lan or own.interface.version == 4:
                continue
            if not somewhere:
                hint = "remove it, or give an uplink IPv6"
                self.say(own.path, f"{own.interface.ip} is IPv6, but no uplink has it", hint)
            elif own.interface.network.prefixlen != 64:
                hint = f"write '{own.interface.ip}/64'"
                self.say(own.path, "clients make addresses only in a network of 64 bits", hint)

    def _devices(self) -> None:
        first: dict[str, Path] = {}
        for path, device in self.devices:
            owner = first.setdefault(device, path[:2])
            if owner != path[:2]:
                sentence = f"{shown(device)} is already the device of {dotted(owner)}"
                self.say(path, sentence, "each uplink and each lan has a device of its own")

    def _same_address(self) -> None:
        first: dict[Address, Own] = {}
        for own in self.addresses:
            other = first.setdefault(own.interface.ip, own)
            if other is not own:
                where = "here" if other.owner == own.owner else f"by {dotted(other.owner)}"
                self.say(own.path, f"{own.interface.ip} is already used {where}")

    def _overlaps(self) -> None:
        """Overlaps of a lan's network with that of another lan or of a static uplink.

        Two networks are disjoint or one contains the other, so it is enough to compare each with
        the one before it, in order of address, that reaches furthest.  Two uplinks may overlap:
        two modems often hand out the same network, and each has a table of its own.
        """
        order = {id(own): i for i, own in enumerate(self.addresses)}
        by_start = sorted(
            self.addresses,
            key=lambda own: (
                own.interface.version,
                int(own.interface.network.network_address),
                own.interface.network.prefixlen,
                order[id(own)],
            ),
        )
        furthest: Own | None = None
        for own in by_start:
            if furthest is None or not own.interface.network.overlaps(furthest.interface.network):
                furthest = own
                continue
            if own.owner == furthest.owner or not (own.on_lan or furthest.on_lan):
                continue
            if own.interface.ip == furthest.interface.ip:
                continue  # said already
            early, late = sorted((own, furthest), key=lambda own: order[id(own)])
            network, other = late.interface.network, early.interface.network
            how = "is also that" if network == other else f"overlaps {other}"
            hint = "give each lan a network of its own"
            self.say(late.path, f"the network {network} {how} of {dotted(early.owner)}", hint)

    def _gateway(self, path: Path, gateway: Address, addresses: tuple[Interface, ...]) -> None:
        if no_host(gateway):
            self.say(path, f"{gateway} cannot be a gateway")
            return
        for own in self.addresses:
            if own.interface.ip == gateway:
                hint = "write the address of the provider's router"
                whose = dotted(own.owner)
                self.say(path, f"{gateway} is the router's own address ({whose})", hint)
                return
            beside = any(gateway in one.network for one in addresses)
            if own.on_lan and gateway in own.interface.network and not beside:
                sentence = f"{gateway} is in the network {own.interface.network}"
                self.say(path, f"{sentence} of {dotted(own.owner)}")
                return
        if gateway.is_link_local and gateway.version == 6:
            return  # it is on the link, whatever the networks there
        networks = [one.network for one in addresses]
        inside = [network for network in networks if gateway in network]
        alone = all(network.num_addresses == 1 for network in networks)
        if not inside and not alone:
            length = 32 if gateway.version == 4 else 128
            hint = (
                f"check the prefix length; an address with /{length} may have its gateway anywhere"
            )
            where = " or ".join(str(network) for network in networks[:3])
            self.say(path, f"{gateway} is not in {where}, the network of this uplink", hint)
        for network in inside:
            if kind := end_of(network, gateway):
                self.say(path, f"{gateway} is the {kind} address of {network}")

    def _target(self, path: Path | None, target: Address) -> None:
        hint = "choose an address beyond the provider, like 1.1.1.1"
        if path and no_host(target):
            self.say(path, f"{target} cannot be a target", hint)
            return
        for own in self.addresses:
            network, whose = own.interface.network, dotted(own.owner)
            same = own.interface.ip == target
            if not same and not (own.on_lan and target in network):
                continue
            if path is None:
                hint = "use a private network, or name other probe.targets"
                self.say(own.path, f"the default target {target} is in {network}", hint)
            elif same:
                hint = "it answers even if the uplink is dead"
                self.say(path, f"the target {target} is the router's own address ({whose})", hint)
            else:
                self.say(path, f"the target {target} is in the network {network} of {whose}", hint)
            return


def end_of(network: Network, address: Address) -> str:
    """`network` or `broadcast` where no host of an IPv4 network has that address; else empty."""
    if network.version == 6 or network.prefixlen > 30:
        return ""
    if address == network.network_address:
        return "network"
    return "broadcast" if address == network.broadcast_address else ""


def no_host(address: Address) -> bool:
    """Loopback, multicast, broadcast, `::` or 0.0.0.0/8: nothing to send a packet on to."""
    number = int(address)
    if address.is_loopback or address.is_multicast or address.is_unspecified:
        return True
    return address.version == 4 and (number == 0xFFFFFFFF or number >> 24 == 0)

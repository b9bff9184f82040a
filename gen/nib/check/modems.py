"""Modems: the page of the one behind an uplink's port."""

from collections.abc import Collection
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from nib import values
from nib.check.conflicts import Own, no_host
from nib.check.reader import Reader
from nib.config import Modem, Origin, Uplink
from nib.document import Path, dotted, shown


def read_modems(
    reader: Reader,
    forwarding: tuple[tuple[str, ...], ...],
    uplinks: tuple[Uplink, ...],
    lans: tuple[str, ...],
    lans6: Collection[str],
) -> tuple[Modem, ...]:
    """The modems of all uplinks; `lans` are the names of all, `lans6` of those without IPv4."""
    modems: list[Modem] = []
    without4 = {uplink.name for uplink in uplinks if not uplink.ipv4}
    for name, uplink in (reader.data.get("uplinks") or {}).items():
        if not uplink or uplink.get("modem") is None:
            continue
        near = {one for group in forwarding if name in group for one in group}
        default = tuple(lan for lan in lans if lan in near)
        for i, lan in enumerate(uplink["modem"].get("from") or []):
            if lan in lans6:
                sentence = f"{shown(lan)} has no IPv4, by which the page of a modem is reached"
                reader.say(("uplinks", name, "modem", "from", i), sentence, "remove it")
        if modem := _read(reader, name, uplink, lans, default):
            for earlier in modems:
                _apart(reader, modem, earlier)
            if name in without4 and modem.own is None and modem.device == uplink["device"]:
                hint = f"uplinks.{name} has no IPv4 address from which to ask the modem"
                reader.say(("uplinks", name, "modem"), "missing key 'own'", hint)
            visitors = tuple(lan for lan in modem.lans if lan not in lans6)
            modems.append(replace(modem, lans=visitors))
    return tuple(modems)


def _read(
    reader: Reader,
    name: str,
    uplink: dict[str, Any],
    lans: tuple[str, ...],
    default: tuple[str, ...],
) -> Modem | None:
    path: Path = ("uplinks", name, "modem")
    entry = uplink["modem"]
    address = reader.attempt((*path, "address"), values.address, entry.get("address"))
    own = reader.attempt((*path, "own"), _interface, entry.get("own"))
    device = reader.attempt((*path, "device"), values.device, entry.get("device"))
    visitors = reader.members((*path, "from"), entry.get("from") or [], {":lans": lans})
    if device is not None:
        reader.facts.devices.append(((*path, "device"), device))
    if address is None:
        return None
    if not isinstance(address, IPv4Address):
        sentence = f"{address} is IPv6: the page of a modem is reached by IPv4"
        reader.say((*path, "address"), sentence)
        return None
    _place(reader, path, address, own)
    if device is not None and device != uplink.get("device") and "own" not in entry:
        reader.say(path, "missing key 'own'", f"nobody else gives {device} an address")
    return Modem(
        uplink=name,
        device=device or uplink.get("device") or "",
        address=address,
        own=own,
        lans=visitors if "from" in entry else default,
        origin=Origin(dotted(path)),
    )


def _interface(text: str) -> IPv4Interface:
    interface = values.interface(text, ())
    if not isinstance(interface, IPv4Interface):
        raise values.Wrong(f"{interface.ip} is IPv6: the page of a modem is reached by IPv4")
    return interface


def _place(reader: Reader, path: Path, address: IPv4Address, own: IPv4Interface | None) -> None:
    """The address is a host's, in the network of `own`, and in no lan's."""
    where = (*path, "address")
    if own is not None:
        if address == own.ip:
            reader.say((*path, "own"), f"{own.ip} is the modem's own address")
        elif address not in own.network:
            hint = f"the router needs an address beside {address}"
            reader.say((*path, "own"), f"{address} is not in {own.network}", hint)
        reader.facts.addresses.append(Own(path[:2], (*path, "own"), own))
    if no_host(address):
        reader.say(where, f"{address} cannot be a modem's address")
        return
    for one in reader.facts.addresses:
        if one.interface.ip == address and one.path[:3] != path:
            owner = dotted(one.owner)
            reader.say(where, f"{address} is the router's own address ({owner})")
            return
        if one.on_lan and address in one.interface.network:
            sentence = f"{address} is in the network {one.interface.network}"
            hint = "give the lan or the modem another network"
            reader.say(where, f"{sentence} of {dotted(one.owner)}", hint)
            return


def _apart(reader: Reader, modem: Modem, earlier: Modem) -> None:
    """Two modems are found by their addresses alone."""
    path: Path = ("uplinks", modem.uplink, "modem")
    hint = "give one of the modems another network"
    if modem.address == earlier.address:
        sentence = f"{modem.address} is already the modem of uplinks.{earlier.uplink}"
        reader.say((*path, "address"), sentence, hint)
    elif (
        modem.own
        and earlier.own
        and modem.device != earlier.device
        and modem.own.network.overlaps(earlier.own.network)
    ):
        sentence = f"the network {modem.own.network} overlaps {earlier.own.network}"
        reader.say((*path, "own"), f"{sentence} of {earlier.origin}", hint)

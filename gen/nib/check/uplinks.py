"""Uplinks and lans: a device, an address, a gateway, a family."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any

from nib import budget, values
from nib.check.conflicts import Own
from nib.check.dhcp import read_dhcp_server, read_dns
from nib.check.probes import read_probe
from nib.check.reader import Reader, count
from nib.config import (
    Address,
    Bandwidth,
    Dhcp,
    External,
    Interface,
    Lan,
    Leaving6,
    Origin,
    Static,
    Uplink,
)
from nib.document import Path, dotted
from nib.families import Family

LEAST_MTU6 = 1280
"""RFC 8200, section 5; the kernel takes IPv6 off a device that has less."""

LONGEST_INTERVAL_MS = 3_600_000
"""What the interval of probes may be at most, wherever it is from."""


def read_uplink(reader: Reader, name: str, uplink: dict[str, Any]) -> Uplink | None:
    path: Path = ("uplinks", name)
    device = _device(reader, path, uplink)
    address = _address(reader, path, uplink, ("dhcp", "external"))
    gateways = _gateways(reader, path, uplink, address)
    ipv4 = _ipv4(reader, path, uplink, address, gateways)
    prefix = reader.attempt((*path, "prefix"), values.prefix6, uplink.get("prefix"))
    has6 = _ipv6(reader, path, uplink, address, gateways)
    ipv6 = _leaving6(reader, path, uplink, address, has6)
    if not ipv4 and not ipv6:
        hint = "an uplink carries at least one family"
        reader.say(path, "has neither IPv4 nor IPv6", hint)
    probe = read_probe(reader, name, uplink.get("probe") or {})
    if device is None or address is None or probe is None:
        return None
    pinned = uplink.get("id")
    made = Uplink(
        name=name,
        device=device,
        address=address,
        gateway=next((g for g in gateways if isinstance(g, IPv4Address)), None),
        gateway6=next((g for g in gateways if isinstance(g, IPv6Address)), None),
        ipv4=ipv4,
        ipv6=ipv6,
        prefix=prefix,
        weight=int(uplink["weight"]),
        tier=int(uplink["tier"]),
        pinned_id=None if pinned is None else int(pinned),
        network=uplink.get("network"),
        mtu=_mtu(reader, path, uplink, bool(ipv6)),
        bandwidth=_bandwidth(reader, path, uplink),
        budget_bytes=reader.attempt(
            (*path, "metered", "budget"), values.scaled, (uplink.get("metered") or {}).get("budget")
        ),
        probe=probe,
        origin=Origin(dotted(path)),
    )
    turn_bytes = budget.turn_bytes(probe.targets, made.families)
    if budget.least_interval_ms(turn_bytes, made.budget_bytes) > LONGEST_INTERVAL_MS:
        least_kb = -(-turn_bytes * budget.MONTH_MS // (LONGEST_INTERVAL_MS * 1000))
        sentence = "the budget is not enough for a probe an hour"
        hint = f"write at least {least_kb}kB, or ask in a way that takes less"
        reader.say((*path, "metered", "budget"), sentence, hint)
    return made


def _mtu(reader: Reader, path: Path, holder: dict[str, Any], ipv6: bool) -> int | None:
    mtu = holder.get("mtu")
    if mtu is not None and mtu < LEAST_MTU6 and ipv6:
        sentence = f"IPv6 needs packets of at least {LEAST_MTU6} bytes, not {mtu}"
        kind = "uplink" if path[0] == "uplinks" else "lan"
        reader.say((*path, "mtu"), sentence, f"say 'ipv6: off' for this {kind}")
    return None if mtu is None else int(mtu)


def _bandwidth(reader: Reader, path: Path, uplink: dict[str, Any]) -> Bandwidth | None:
    given = uplink.get("bandwidth") or {}
    down, up = (
        reader.attempt((*path, "bandwidth", key), values.scaled, given.get(key))
        for key in ("down", "up")
    )
    return Bandwidth(down, up) if down and up else None


def _gateways(
    reader: Reader, path: Path, uplink: dict[str, Any], address: Dhcp | Static | External | None
) -> list[Address]:
    where = (*path, "gateway")
    given = uplink.get("gateway")
    texts = given if isinstance(given, list) else [given]
    places = [(*where, i) if isinstance(given, list) else where for i in range(len(texts))]
    read = [reader.attempt(at, values.address, t) for at, t in zip(places, texts, strict=True)]
    if isinstance(address, Dhcp) and "gateway" in uplink:
        sentence = "the gateway of an uplink with 'address: dhcp' comes from the lease"
        reader.say(where, sentence, "remove it")
    elif isinstance(address, Static) and "gateway" not in uplink:
        hint = "a static address needs the address of the provider's router"
        reader.say(path, "missing key 'gateway'", hint)
    elif isinstance(address, Static | External):
        addresses = address.addresses if isinstance(address, Static) else ()
        reader.facts.gateways_of(where, list(zip(places, read, strict=True)), addresses)
    return [gateway for gateway in read if gateway]


def _ipv6(
    reader: Reader,
    path: Path,
    holder: dict[str, Any],
    address: Dhcp | Static | External | None,
    gateways: Iterable[Address] = (),
) -> bool:
    """Whether an uplink or lan is to have IPv6."""
    path = (*path, "ipv6")
    word = holder.get("ipv6")
    addresses = address.addresses if isinstance(address, Static) else ()
    written = [one for one in (*addresses, *gateways) if one.version == 6]
    if word == "off" and written:
        reader.say(path, f"is off, but {written[0]} is IPv6", "remove one of them")
    elif word not in (None, "off", "auto") and isinstance(address, Static) and not written:
        hint = "add an IPv6 address to 'address', and a gateway for it"
        reader.say(path, "a static uplink has only the addresses that are written", hint)
    return word != "off" and (bool(written) or not isinstance(address, Static))


def _ipv4(
    reader: Reader,
    path: Path,
    uplink: dict[str, Any],
    address: Dhcp | Static | External | None,
    gateways: Iterable[Address],
) -> bool:
    """Whether an uplink is to have IPv4."""
    addresses = address.addresses if isinstance(address, Static) else ()
    written = [one for one in (*addresses, *gateways) if one.version == 4]
    off = uplink.get("ipv4") == "off"
    if off and written:
        reader.say((*path, "ipv4"), f"is off, but {written[0]} is IPv4", "remove one of them")
    return bool(written) or not (off or isinstance(address, Static))


def _leaving6(
    reader: Reader,
    path: Path,
    uplink: dict[str, Any],
    address: Dhcp | Static | External | None,
    has: bool,
) -> Leaving6 | None:
    """How IPv6 leaves by an uplink that `has` it."""
    word, written = uplink.get("ipv6"), "prefix" in uplink
    if written and word in ("off", "masquerade"):
        hint = "'routed' and 'nptv6' use it"
        reader.say((*path, "prefix"), f"'ipv6: {word}' has no use for a prefix", hint)
    elif written and not has and word == "auto":
        hint = "add an IPv6 address to 'address', and a gateway for it"
        reader.say((*path, "prefix"), "this uplink has no IPv6", hint)
    elif word in ("routed", "nptv6") and not written and isinstance(address, Static | External):
        hint = "without 'address: dhcp' nobody asks for a network: write the provider's"
        reader.say(path, f"'ipv6: {word}' lacks the key 'prefix'", hint)
    if not has:
        return None
    match word:
        case "routed":
            return "routed"
        case "nptv6":
            return "nptv6"
        case _:
            return "routed" if written else "masquerade"


def check_prefixes(reader: Reader, uplinks: Iterable[Uplink], lans: Iterable[Lan]) -> None:
    """The networks that providers give are different ones, and there are lans to have them."""
    users = [lan for lan in lans if lan.ipv6 and isinstance(lan.address, Static)]
    seen: dict[str, IPv6Network] = {}
    for uplink in uplinks:
        path: Path = ("uplinks", uplink.name)
        if uplink.ipv6 not in ("routed", "nptv6"):
            continue
        if uplink.prefix is None:
            if not users:
                hint = "say 'ipv6: masquerade', or give a lan an address"
                reader.say((*path, "ipv6"), "no lan can have a network of this uplink's", hint)
            continue
        room = 1 << (64 - uplink.prefix.prefixlen)
        if len(users) > room:
            sentence = f"{uplink.prefix} has {count([None] * room, 'network')} of 64 bits"
            hint = "say 'ipv6: off' for lans that need none"
            reader.say((*path, "prefix"), f"{sentence}, for {count(users, 'lan')}", hint)
        for name, other in seen.items():
            if other.overlaps(uplink.prefix):
                sentence = f"{uplink.prefix} overlaps {other} of uplinks.{name}"
                reader.say((*path, "prefix"), sentence, "each provider has networks of its own")
        seen[uplink.name] = uplink.prefix


def read_lan(
    reader: Reader, name: str, lan: dict[str, Any], uplinks: Iterable[Uplink | None]
) -> Lan | None:
    """`uplinks` are all, None those that could not be read."""
    path: Path = ("lans", name)
    device = _device(reader, path, lan)
    written = [uplink or {} for uplink in (reader.data.get("uplinks") or {}).values()]
    delegated = any(one.get("ipv6") == "routed" and "prefix" not in one for one in written)
    given = delegated and lan.get("ipv6") != "off"
    address = _address(reader, path, lan, ("external",))
    if "address" not in lan and given:
        address = Static(())
    elif "address" not in lan:
        hint = "a lan without one has only what uplinks with 'ipv6: routed' are delegated"
        reader.say(path, "missing key 'address'", hint)
    ipv6 = _ipv6(reader, path, lan, address) or given
    mtu = _mtu(reader, path, lan, ipv6)
    dhcp_server = read_dhcp_server(reader, path, lan, address)
    if device is None or address is None or isinstance(address, Dhcp):
        return None
    if isinstance(address, External) and mtu:
        sentence = "'address: external' says that another tool configures the device"
        reader.say((*path, "mtu"), sentence, "say it there")
    families = _families(address, uplinks, ipv6=ipv6)
    return Lan(
        name=name,
        device=device,
        address=address,
        families=families,
        ipv6=lan["ipv6"] != "off",
        closed=lan["input"] == "reject",
        network=lan.get("network"),
        mtu=mtu,
        dhcp_server=dhcp_server,
        dns=read_dns(reader, path, lan, address, families),
        origin=Origin(dotted(path)),
    )


def _families(
    address: Static | External, uplinks: Iterable[Uplink | None], *, ipv6: bool
) -> tuple[Family, ...]:
    """Those that a lan has.  IPv6 that leads nowhere is none."""
    ipv4 = isinstance(address, External) or any(one.version == 4 for one in address.addresses)
    carried = any(uplink is None or uplink.ipv6 for uplink in uplinks)
    return (*((4,) if ipv4 else ()), *((6,) if ipv6 and carried else ()))


def _device(reader: Reader, path: Path, holder: dict[str, Any]) -> str | None:
    path = (*path, "device")
    device = reader.attempt(path, values.device, holder.get("device"))
    if device is not None:
        reader.facts.devices.append((path, device))
    return device


def _address(
    reader: Reader, path: Path, holder: dict[str, Any], words: tuple[str, ...]
) -> Dhcp | Static | External | None:
    owner, path = path, (*path, "address")
    match holder.get("address"):
        case None:
            return None
        case "external":
            return External()
        case "dhcp" if "dhcp" in words:
            return Dhcp()
        case "dhcp":
            hint = "write the router's own address in it, like '192.168.10.1/24'"
            reader.say(path, "a lan has no address from a lease", hint)
            return None
        case list(texts):
            read = [_own(reader, owner, (*path, i), text, ()) for i, text in enumerate(texts)]
        case text:
            read = [_own(reader, owner, path, text, words)]
    addresses = tuple(one for one in read if one)
    return Static(addresses) if len(addresses) == len(read) else None


def _own(
    reader: Reader, owner: Path, path: Path, text: Any, words: tuple[str, ...]
) -> Interface | None:
    if not words and text in ("dhcp", "external"):
        reader.say(path, f"'{text}' cannot be in a list", f"write 'address: {text}'")
        return None
    interface = reader.attempt(path, lambda text: values.interface(text, words), text)
    if interface:
        reader.facts.addresses.append(Own(owner, path, interface))
    return interface

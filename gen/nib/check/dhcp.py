"""Leases for the clients of a lan, and the name servers that IPv6 tells them of."""

from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from typing import Any

from nib import values
from nib.check.conflicts import no_host
from nib.check.reader import Reader
from nib.config import Dhcp, DhcpServer, External, Static
from nib.document import Path
from nib.families import Family
from nib.shape import schema

# Those of the same operators as the usual ones of leases.
USUAL_DNS6 = (IPv6Address("2620:fe::fe"), IPv6Address("2606:4700:4700::1111"))

# networkd keeps an entry for each address of the pool.
_MOST_BY_DEFAULT = 4096


def read_dhcp_server(
    reader: Reader, path: Path, lan: dict[str, Any], address: Dhcp | Static | External | None
) -> DhcpServer | None:
    """What a lan's `dhcp_server` means; None if it has none."""
    given = lan.get("dhcp_server")
    if not isinstance(given, dict | bool) or given is False:
        return None
    path = (*path, "dhcp_server")
    if isinstance(address, External):
        sentence = "'address: external' says that another tool configures the device"
        reader.say(path, sentence, "let that tool give addresses")
    if not isinstance(address, Static):
        return None
    own = [one for one in address.addresses if isinstance(one, IPv4Interface)]
    if not own:
        hint = "of IPv6 clients make addresses themselves; remove it or add an IPv4 address"
        reader.say(path, "leases are of IPv4, which this lan does not have", hint)
        return None
    if own[0].network.prefixlen > 30:
        reader.say(path, f"{own[0].network} has no room for clients", "use a larger network")
        return None
    entry = {**_defaults(), **(given if isinstance(given, dict) else {})}
    pool = _pool(reader, (*path, "pool"), entry.get("pool"), own)
    lease_ms = reader.attempt((*path, "lease"), _lease_time, entry["lease"])
    dns = reader.each((*path, "dns"), _name_server, entry["dns"])
    return DhcpServer(own[0], pool, tuple(dns), (lease_ms or 0) // 1000) if pool else None


def _defaults() -> dict[str, Any]:
    keys = schema()["$defs"]["dhcp_server"]["properties"]
    return {name: key["default"] for name, key in keys.items() if "default" in key}


def _pool(
    reader: Reader, path: Path, text: str | None, own: list[IPv4Interface]
) -> tuple[IPv4Address, IPv4Address] | None:
    network = own[0].network
    first, last = network[network.num_addresses // 2], network[-2]
    if text is None:
        pool = (first, min(last, first + (_MOST_BY_DEFAULT - 1)))
        path = path[:-1]
    else:
        read = reader.attempt(path, values.span, text)
        if read is None:
            return None
        low, high = read
        if not isinstance(low, IPv4Address) or not isinstance(high, IPv4Address):
            reader.say(path, f"{low} is not IPv4", "of IPv6 clients make addresses themselves")
            return None
        if low <= network.network_address or high >= network.broadcast_address:
            hint = f"for instance '{first}-{last}'"
            reader.say(path, f"must be between {network[1]} and {network[-2]}", hint)
            return None
        pool = (low, high)
    for further in own[1:]:
        if pool[0] <= further.ip <= pool[1]:
            hint = "only the first address of the lan is kept from clients"
            reader.say(path, f"{further.ip} is the router's own, but in the pool", hint)
    return pool


def read_dns(
    reader: Reader,
    path: Path,
    lan: dict[str, Any],
    address: Static | External,
    families: tuple[Family, ...],
) -> tuple[IPv6Address, ...]:
    """The name servers that IPv6 tells clients of: by default only where nothing else does."""
    path = (*path, "dns")
    if "dns" not in lan:
        return USUAL_DNS6 if families == (6,) and isinstance(address, Static) else ()
    if isinstance(address, External):
        sentence = "'address: external' says that another tool configures the device"
        reader.say(path, sentence, "let that tool announce name servers")
    elif 6 not in families:
        hint = "'dhcp_server' has name servers for the clients of IPv4"
        reader.say(path, "is announced by IPv6, which this lan does not have", hint)
    return tuple(reader.each(path, _name_server6, lan["dns"]))


def _name_server6(text: str) -> IPv6Address:
    address = values.address(text)
    if not isinstance(address, IPv6Address):
        raise values.Wrong(f"{address} is not IPv6", "'dhcp_server' tells of those of IPv4")
    if no_host(address):
        raise values.Wrong(f"{address} cannot be a name server")
    return address


def _lease_time(text: str) -> int:
    return values.duration(text, "2m", "1000h")


def _name_server(text: str) -> IPv4Address:
    address = values.address(text)
    if not isinstance(address, IPv4Address):
        raise values.Wrong(f"{address} is not IPv4", "DHCP tells of IPv4 alone")
    if no_host(address):
        raise values.Wrong(f"{address} cannot be a name server")
    return address

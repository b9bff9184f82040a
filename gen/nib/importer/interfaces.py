"""ifupdown's interfaces, which lies beside balance.conf on Debian and says the addresses."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface

from nib import values
from nib.importer.remarks import Source
from nib.problem import LINE_BREAK


@dataclass(frozen=True, slots=True)
class Link:
    """How a device gets its IPv4 address: `method` is dhcp, static or another word of ifupdown's.

    `where` is the place of its stanza, like `interfaces:12`.
    """

    method: str
    addresses: tuple[IPv4Interface, ...]
    gateway: str | None
    where: str


def read_interfaces(source: Source) -> dict[str, Link]:
    """The devices that the file configures in IPv4, in interfaces(5)'s language.

    What it includes from elsewhere is not read; a stanza that cannot be understood is as if it were
    not there.
    """
    links: dict[str, Link] = {}
    for where, label, method, options in _stanzas(source):
        device = label.partition(":")[0]  # eth0:1 is one more address of eth0
        link = Link(method, (), options.get("gateway"), where)
        if method == "static":
            address = _address(options)
            if address is None:
                continue
            earlier = links.get(device)
            known = earlier.addresses if earlier and earlier.method == "static" else ()
            gateway = link.gateway or (earlier.gateway if earlier else None)
            link = Link(method, tuple(dict.fromkeys((*known, address))), gateway, where)
        links[device] = link
    return links


def _stanzas(source: Source) -> Iterator[tuple[str, str, str, dict[str, str]]]:
    """Each `iface DEVICE inet METHOD` with its options."""
    current: tuple[str, str, str, dict[str, str]] | None = None
    for number, line in enumerate(LINE_BREAK.split(source.text), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "iface" and len(words) >= 4 and words[2] == "inet":
            if current:
                yield current
            current = (f"{source.name}:{number}", words[1], words[3], {})
        elif re.fullmatch(r"iface|auto|allow-.*|mapping|source|source-directory|no-.*", words[0]):
            if current:
                yield current
            current = None
        elif current and len(words) > 1:
            current[3][words[0]] = words[1]
    if current:
        yield current


def _address(options: dict[str, str]) -> IPv4Interface | None:
    text = options.get("address", "")
    if "/" not in text:
        text = f"{text}/{options.get('netmask', '')}"
    try:
        # IPv4Interface takes a netmask as well, values.interface has an opinion on the result
        checked = values.interface(str(IPv4Interface(text)), ())
    except (ValueError, values.Wrong):
        return None
    return checked if isinstance(checked, IPv4Interface) else None

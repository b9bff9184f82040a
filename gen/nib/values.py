"""Single values of balance.yaml: an address, a port, a time, a device.  Text in, value out."""

import re
from collections.abc import Collection, Iterable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    collapse_addresses,
)

from nib.config import Address, Interface, Network, Span
from nib.problem import shown
from nib.shape import listed, near

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}

_PREFIXES = {"k": 10**3, "M": 10**6, "G": 10**9}

# IFNAMSIZ is 16 with the ending NUL.
_DEVICE_BYTES = 15

# Words that mean something else to the kernel (lo; sysctl's all, default) or to networkd.
_RESERVED_DEVICES = frozenset({".", "..", "lo", "all", "default"})

# Those with ports first.
PROTOCOLS = ("tcp", "udp", "sctp", "icmp", "gre", "esp", "ah")
WITH_PORTS = PROTOCOLS[:3]

# RFC 2474, 2597, 3246, 5865, 8622
DSCP = {
    "be": 0,
    "le": 1,
    "va": 44,
    "ef": 46,
    **{f"cs{number}": 8 * number for number in range(8)},
    **{f"af{high}{low}": 8 * high + 2 * low for high in range(1, 5) for low in range(1, 4)},
}


class Wrong(Exception):
    """A value that cannot be meant.  The caller knows its place."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def duration(text: str, least: str, most: str) -> int:
    """Milliseconds of a text that fits the schema's pattern, like `500ms`."""
    value = _milliseconds(text)
    if not _milliseconds(least) <= value <= _milliseconds(most):
        raise Wrong(f"must be between {least} and {most}, not {shown(text)}")
    return value


def percentage(text: str) -> int:
    """Percent of a text that fits the schema's pattern, like `20%`; at least one."""
    value = int(text.removesuffix("%"))
    if not 1 <= value <= 100:
        raise Wrong(f"must be between 1% and 100%, not {shown(text)}")
    return value


def scaled(text: str) -> int:
    """Bytes of `20MB`, bits a second of `50Mbit`: a text that fits the schema's pattern."""
    number = text.rstrip("kMGBbit")
    return int(number) * _PREFIXES[text[len(number)]]


def device(text: str) -> str:
    """The name of a network device that the kernel, networkd's `Name=` and nft all take as it is.

    The kernel refuses slashes, colons and spaces (dev_valid_name); networkd refuses a name of
    digits only, and `Name=` is a glob; the rest of the alphabet is kept out of nft's quotes.
    """
    length = len(text.encode("utf-8", "replace"))
    if length > _DEVICE_BYTES:
        sentence = f"the device name {shown(text)} has {length} characters"
        raise Wrong(f"{sentence}; the kernel takes at most {_DEVICE_BYTES}")
    if text in _RESERVED_DEVICES:
        raise Wrong(f"{shown(text)} is no device that nib can use")
    if alias := re.fullmatch(r"([A-Za-z0-9_.-]+):.*", text):
        hint = f"write '{alias[1]}' and give it a list of addresses"
        raise Wrong(f"{shown(text)} is a label of an address, not a device", hint)
    if listed := re.fullmatch(r"([A-Za-z0-9_.-]+)@.*", text):
        hint = f"write '{listed[1]}'; what 'ip link' shows behind the @ is its parent"
        raise Wrong(f"{shown(text)} is not the name of a device", hint)
    if not re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*", text):
        hint = "'ip -br link' lists the devices"
        raise Wrong(
            f"{shown(text)} cannot be a device: use letters, digits, '_', '.' and '-'", hint
        )
    if text.isdigit():
        hint = "systemd takes a number for the index of a device; rename it"
        raise Wrong(f"the device name {shown(text)} has digits only", hint)
    return text


def address(text: str) -> Address:
    """One address without a prefix length."""
    if "/" in text:
        bare = text.partition("/")[0]
        hint = f"write '{bare}'" if _is_ipv4(bare) or _is_ipv6(bare) else ""
        raise Wrong(f"must be an address without a prefix length, not {shown(text)}", hint)
    if _is_ipv6(text):
        return IPv6Address(text)
    if not _is_ipv4(text):
        raise Wrong(f"{shown(text)} is not an IP address", _address_hint(text))
    return IPv4Address(text)


def endpoint(text: str) -> tuple[Address, int | None]:
    """An address and the port behind it, if there is one: `192.168.10.20:8080`, `[fd00::20]:80`."""
    if text.startswith("["):
        bare, _, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        if not _is_ipv6(bare) or colon not in ("", ":"):
            hint = "brackets are for an IPv6 address with a port: '[fd00::20]:8080'"
            raise Wrong(f"{shown(text)} is not an IP address", hint)
    elif _is_ipv6(text):
        bare, colon, port = text, "", ""
    else:
        bare, colon, port = text.partition(":")
    if not colon:
        return address(bare), None
    if re.fullmatch(r"[0-9]+-[0-9]+", port):
        hint = f"write '{bare}': without a port behind it every port keeps its number"
        raise Wrong(f"{shown(text)} has a range behind the address", hint)
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise Wrong(f"the port of {shown(text)} must be between 1 and 65535")
    return address(bare), int(port)


def listener(text: str) -> str:
    """An address and a port that a program may listen on, as systemd writes them: `[::1]:9464`.

    systemd.socket(5), ListenStream=.
    """
    own, port = endpoint(text)
    shape = f"[{own}]" if own.version == 6 else f"{own}"
    if port is None:
        raise Wrong(f"{shown(text)} has no port", f"write '{shape}:9464'")
    return f"{shape}:{port}"


def interface(text: str, words: tuple[str, ...]) -> Interface:
    """An own address with its prefix length; `words` could have stood here instead."""
    bare, slash, prefix = text.partition("/")
    if _is_ipv6(bare):
        return _interface6(text, bare, prefix)
    if not _is_ipv4(bare):
        hint = near(text, words) or _address_hint(bare)
        sentence = f"{shown(text)} is not an IP address with its prefix length"
        if words:
            sentence += f", nor {' or '.join(words)}"
        raise Wrong(sentence, hint)
    own = IPv4Address(bare)
    if not slash:
        raise Wrong(f"{shown(text)} lacks its prefix length", f"for instance '{bare}/24'")
    result = IPv4Interface((own, _prefix(text, prefix, least=8)))
    network = result.network
    if own.is_loopback or own.is_multicast or own.is_unspecified or int(own) == 0xFFFFFFFF:
        raise Wrong(f"{own} cannot be the address of a device")
    if network.prefixlen < 31 and own in (network.network_address, network.broadcast_address):
        kind = "network" if own == network.network_address else "broadcast"
        first = f"{network.network_address + 1}/{network.prefixlen}"
        raise Wrong(f"{own} is the {kind} address of {network}", f"for instance '{first}'")
    return result


def _interface6(text: str, bare: str, prefix: str) -> IPv6Interface:
    own = IPv6Address(bare)
    if not prefix:
        raise Wrong(f"{shown(text)} lacks its prefix length", f"for instance '{own}/64'")
    result = IPv6Interface((own, _prefix(text, prefix, least=16, most=128)))
    if own.is_link_local:
        hint = "each device makes its own; write one that others can reach"
        raise Wrong(f"{own} is a link-local address", hint)
    if own.is_loopback or own.is_multicast or own.is_unspecified or own.ipv4_mapped:
        raise Wrong(f"{own} cannot be the address of a device")
    if result.network.prefixlen < 127 and own == result.network.network_address:
        first = f"{own + 1}/{result.network.prefixlen}"
        raise Wrong(f"{own} is the network address of {result.network}", f"for instance '{first}'")
    return result


def sources(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks and addresses, merged where they overlap; empty if all of them are anywhere.

    Merged, because nft refuses overlapping elements of a set.
    """
    read = [network(text) for text in texts]
    merged: tuple[Network, ...] = (
        *collapse_addresses(one for one in read if isinstance(one, IPv4Network)),
        *collapse_addresses(one for one in read if isinstance(one, IPv6Network)),
    )
    return () if [one.prefixlen for one in merged] == [0, 0] else merged


def network(text: str) -> Network:
    """A network like `203.0.113.0/24`, or one address."""
    bare, slash, prefix = text.partition("/")
    own: Address
    result: Network
    if _is_ipv6(bare):
        own = IPv6Address(bare)
        length = _prefix(text, prefix, least=0, most=128) if slash else 128
        result = IPv6Interface((own, length)).network
    elif _is_ipv4(bare):
        own = IPv4Address(bare)
        result = IPv4Interface((own, _prefix(text, prefix, least=0) if slash else 32)).network
    else:
        sentence = f"{shown(text)} is not an IP address or network"
        raise Wrong(sentence, _address_hint(bare))
    if result.network_address != own:
        raise Wrong(f"{shown(text)} is not the start of its network", f"did you mean '{result}'?")
    return result


def prefix6(text: str) -> IPv6Network:
    """The IPv6 network that a provider routes here: lans have networks of 64 bits in it."""
    read = network(text)
    if read.version == 4 or "/" not in text:
        raise Wrong(f"{shown(text)} is not an IPv6 network", "for instance '2001:db8:2:100::/56'")
    if not 16 <= read.prefixlen <= 64:
        hint = "clients make addresses only in a network of 64 bits"
        raise Wrong(f"the prefix length of {shown(text)} must be 16 to 64", hint)
    return read


def span(text: str) -> Span:
    """An address, a network or a range like `192.0.2.10-192.0.2.20`: its first and last address."""
    low, dash, high = text.partition("-")
    if not dash:
        whole = network(text)
        return whole.network_address, whole.broadcast_address
    first, last = address(low.strip()), address(high.strip())
    if first.version != last.version:
        raise Wrong(f"the range {shown(text)} is of two families")
    if int(first) > int(last):
        raise Wrong(f"the range {shown(text)} runs backwards", f"write '{last}-{first}'")
    return first, last


def spans(read: Collection[Span]) -> tuple[Span, ...]:
    """The same addresses in order, IPv4 first; what overlaps or touches is made one."""
    result: list[Span] = []
    for family in (4, 6):
        numbers = ((int(low), int(high)) for low, high in read if low.version == family)
        kind = IPv4Address if family == 4 else IPv6Address
        result += [(kind(low), kind(high)) for low, high in merged(numbers)]
    return tuple(result)


def protocol(text: str) -> str:
    """A protocol that a rule can name."""
    if text in PROTOCOLS:
        return text
    if text in ("icmpv6", "ipv6-icmp", "icmp6"):
        raise Wrong(f"unknown protocol {shown(text)}", "'icmp' is that of both families")
    hint = near(text, PROTOCOLS) or f"there is {listed(PROTOCOLS)}"
    raise Wrong(f"unknown protocol {shown(text)}", hint)


def dscp(value: int | str) -> int:
    """The number of a class: 46 of `ef`."""
    if isinstance(value, int | float):
        return int(value)
    if value.lower() in DSCP:
        return DSCP[value.lower()]
    hint = near(value, DSCP) or "for instance ef, af41, cs1 or a number from 0 to 63"
    raise Wrong(f"{shown(value)} is no class of packets", hint)


def user(value: int | str) -> int | str:
    """The name or number of a user, as /etc/passwd can hold it."""
    if isinstance(value, str) and not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", value):
        hint = f"write {value}, without quotes" if re.fullmatch("[0-9]{1,9}", value) else ""
        raise Wrong(f"{shown(value)} cannot be the name of a user", hint)
    return value if isinstance(value, str) else int(value)


def port_range(value: int | str) -> tuple[int, int]:
    """The first and the last port of `80` or `"10000-20000"`."""
    if isinstance(value, int | float):
        return int(value), int(value)
    if not re.fullmatch(r"[0-9]{1,9}(-[0-9]{1,9})?", value):
        hint = "write its number, or in 'allow' a service like 'service: ssh'"
        hint = hint if value.isalpha() else ""
        raise Wrong(f"must be a port or a range like 10000-20000, not {shown(value)}", hint)
    first, _, last = value.partition("-")
    low, high = int(first), int(last or first)
    for port in (low, high):
        if not 1 <= port <= 65535:
            raise Wrong(f"must be between 1 and 65535, not {port}")
    if low > high:
        raise Wrong(f"the range {value} runs backwards", f"write {high}-{low}")
    return low, high


def merged(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The same ports in order, overlapping and touching ranges made one (nft refuses overlaps)."""
    result: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if result and low <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(high, result[-1][1]))
        else:
            result.append((low, high))
    return tuple(result)


def mask(value: int | str) -> int:
    """The bits of the packet mark that are nib's: adjacent, 3 to 8 of them."""
    bits = int(value, 16) if isinstance(value, str) else int(value)
    width = bits.bit_count()
    if bits > 0xFFFFFFFF:
        raise Wrong(f"the mask 0x{bits:x} does not fit in 32 bits", 'the default is "0x7f000000"')
    if bits <= 0:
        raise Wrong("the mask has no bits", 'the default is "0x7f000000"')
    shifted = bits >> ((bits & -bits).bit_length() - 1)
    if shifted != (1 << width) - 1:
        raise Wrong(f"the mask 0x{bits:08x} has holes", "use adjacent bits, like 0x7f000000")
    if not 3 <= width <= 8:
        kind = "few" if width < 3 else "many"
        hint = "use 3 to 8 adjacent bits, like 0x7f000000"
        raise Wrong(f"the mask 0x{bits:08x} has too {kind} bits: {width}", hint)
    return bits


def _milliseconds(text: str) -> int:
    number = text.rstrip("msh")
    return int(number) * _UNITS_MS[text.removeprefix(number)]


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    # Python 3.11 to 3.13 agree, but keep other digits out whatever they decide.
    return text.isascii()


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    # a zone (fe80::1%wan1) is a matter of this machine alone
    return text.isascii() and "%" not in text


def _prefix(text: str, prefix: str, least: int, most: int = 32) -> int:
    if re.fullmatch(r"[0-9]{1,3}", prefix) and least <= int(prefix) <= most:
        return int(prefix)
    hint = ""
    if _is_ipv4(prefix):
        try:
            hint = f"write '/{IPv4Network(f'0.0.0.0/{prefix}').prefixlen}'"
        except ValueError:
            hint = ""
    raise Wrong(f"the prefix length of {shown(text)} must be {least} to {most}", hint)


def _address_hint(text: str) -> str:
    bare, zone, _ = text.partition("%")
    if zone and _is_ipv6(bare):
        return f"write '{bare}'; the device is known"
    if text.startswith("@"):
        return "sets are for rules alone; write the addresses"
    if ":" in text:
        return ""
    parts = text.split(".")
    if not all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
        return "names are not looked up; write the address" if re.search("[a-z]", text) else ""
    if len(parts) != 4:
        return f"an IPv4 address has four numbers, this has {len(parts)}"
    if high := next((part for part in parts if int(part) > 255), ""):
        return f"{int(high)} is more than 255"
    plain = ".".join(str(int(part)) for part in parts)
    return f"leading zeros are ambiguous; write '{plain}'"

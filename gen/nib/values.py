"""Single values of balance.yaml: an address, a port, a time, a device.  Text in, value out."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, collapse_addresses

from nib.problem import shown
from nib.shape import near

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}

# IFNAMSIZ is 16 with the ending NUL.
_DEVICE_BYTES = 15

# Words that mean something else to the kernel (lo; sysctl's all, default) or to networkd.
_RESERVED_DEVICES = frozenset({".", "..", "lo", "all", "default"})


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


def address(text: str) -> IPv4Address:
    """One IPv4 address without a prefix length."""
    if "/" in text:
        bare = text.partition("/")[0]
        hint = f"write '{bare}'" if _is_ipv4(bare) else ""
        raise Wrong(f"must be an address without a prefix length, not {shown(text)}", hint)
    _refuse_ipv6(text)
    if not _is_ipv4(text):
        raise Wrong(f"{shown(text)} is not an IPv4 address", _address_hint(text))
    return IPv4Address(text)


def endpoint(text: str) -> tuple[IPv4Address, int | None]:
    """An IPv4 address, and the port if there is one behind it: `192.168.10.20:8080`."""
    _refuse_ipv6(text.removeprefix("[").partition("]")[0])
    bare, colon, port = text.partition(":")
    if not colon:
        return address(text), None
    if re.fullmatch(r"[0-9]+-[0-9]+", port):
        hint = f"write '{bare}': without a port behind it every port keeps its number"
        raise Wrong(f"{shown(text)} has a range behind the address", hint)
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise Wrong(f"the port of {shown(text)} must be between 1 and 65535")
    return address(bare), int(port)


def interface(text: str, words: tuple[str, ...]) -> IPv4Interface:
    """An own address with its prefix length; `words` could have stood here instead."""
    bare, slash, prefix = text.partition("/")
    _refuse_ipv6(text)
    if not _is_ipv4(bare):
        hint = near(text, words) or _address_hint(bare)
        sentence = f"{shown(text)} is not an IPv4 address with its prefix length"
        if words:
            sentence += f", nor {' or '.join(words)}"
        raise Wrong(sentence, hint)
    own = IPv4Address(bare)
    if not slash:
        raise Wrong(f"{shown(text)} lacks its prefix length", f"for instance '{bare}/24'")
    result = IPv4Interface((own, _prefix(text, prefix, least=1)))
    network = result.network
    if own.is_loopback or own.is_multicast or own.is_unspecified or int(own) == 0xFFFFFFFF:
        raise Wrong(f"{own} cannot be the address of a device")
    if network.prefixlen < 31 and own in (network.network_address, network.broadcast_address):
        kind = "network" if own == network.network_address else "broadcast"
        first = f"{network.network_address + 1}/{network.prefixlen}"
        raise Wrong(f"{own} is the {kind} address of {network}", f"for instance '{first}'")
    return result


def sources(texts: Iterable[str]) -> tuple[IPv4Network, ...]:
    """Networks and addresses, merged where they overlap; empty if all of them are anywhere.

    Merged, because nft refuses overlapping elements of a set.
    """
    merged = tuple(collapse_addresses(network(text) for text in texts))
    return () if IPv4Network("0.0.0.0/0") in merged else merged


def network(text: str) -> IPv4Network:
    """A network like `203.0.113.0/24`, or one address."""
    bare, slash, prefix = text.partition("/")
    _refuse_ipv6(text)
    if not _is_ipv4(bare):
        sentence = f"{shown(text)} is not an IPv4 address or network"
        raise Wrong(sentence, _address_hint(bare))
    result = IPv4Interface((bare, _prefix(text, prefix, least=0) if slash else 32)).network
    if str(result.network_address) != bare:
        raise Wrong(f"{shown(text)} is not the start of its network", f"did you mean '{result}'?")
    return result


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


def _refuse_ipv6(text: str) -> None:
    try:
        IPv6Address(text.partition("/")[0])
    except ValueError:
        return
    raise Wrong(f"{shown(text)} is IPv6, which is not supported yet", "remove it for now")


def _prefix(text: str, prefix: str, least: int) -> int:
    if re.fullmatch(r"[0-9]{1,2}", prefix) and least <= int(prefix) <= 32:
        return int(prefix)
    hint = ""
    if _is_ipv4(prefix):
        try:
            hint = f"write '/{IPv4Network(f'0.0.0.0/{prefix}').prefixlen}'"
        except ValueError:
            hint = ""
    raise Wrong(f"the prefix length of {shown(text)} must be {least} to 32", hint)


def _address_hint(text: str) -> str:
    parts = text.split(".")
    if not all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
        return "names are not looked up; write the address" if re.search("[a-z]", text) else ""
    if len(parts) != 4:
        return f"an IPv4 address has four numbers, this has {len(parts)}"
    if high := next((part for part in parts if int(part) > 255), ""):
        return f"{int(high)} is more than 255"
    plain = ".".join(str(int(part)) for part in parts)
    return f"leading zeros are ambiguous; write '{plain}'"

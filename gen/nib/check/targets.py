"""Targets of probes: an address, or a map that says how to ask."""

import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from nib import values
from nib.check.reader import Reader
from nib.config import Address
from nib.document import Path, shown
from nib.shape import listed, schema
from nib.targets import (
    GATEWAY,
    Command,
    Connect,
    Fetch,
    Neighbour,
    Ping,
    Query,
    Target,
    of_family,
)

_KEYS = {
    "ping": (),
    "arp": (),
    "tcp": (),
    "dns": ("name", "answer"),
    "http": ("address", "status", "body"),
    "command": (),
}
"""Every kind of target that is a map, and what else such a map can say."""

_USUAL_STATUS = 200
_PORTS = {"http": 80, "https": 443}

# RFC 1035, section 2.3.4; underscores are not for hosts, but DNS has them.
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")


def read_target(reader: Reader, path: Path, entry: Any) -> Target | None:
    if isinstance(entry, str):
        if entry == GATEWAY or entry in _KEYS:
            reader.say(path, f"{shown(entry)} is not an IP address", f"write {_example(entry)}")
            return None
        address = _address(reader, path, entry)
        return Ping("ping", str(address)) if address else None
    if not entry:
        return None  # the shape has said it
    kinds = [kind for kind in _KEYS if kind in entry]
    if len(kinds) != 1:
        reader.say(path, f"a target has one of {listed(_KEYS)}, this has {len(kinds) or 'none'}")
        return None
    (kind,) = kinds
    others = [key for key in entry if key != kind and key not in _KEYS[kind]]
    for key in others:
        reader.say((*path, key), f"'{key}' is not for targets of the kind '{kind}'", "remove it")
    if entry[kind] is None or others:
        return None
    return _READERS[kind](reader, path, entry)


def with_defaults(named: Iterable[Target]) -> tuple[Target, ...]:
    """The targets, and the default ones of a family that has none."""
    targets = tuple(named)
    texts = schema()["$defs"]["probe"]["properties"]["targets"]["default"]
    usual = tuple(Ping("ping", text) for text in texts)
    missing = [one for f in (4, 6) if not of_family(targets, f) for one in of_family(usual, f)]
    return (*targets, *missing)


def _ping(reader: Reader, path: Path, entry: dict[str, Any]) -> Target | None:
    if entry["ping"] == GATEWAY:
        return Ping("ping", None)
    address = _address(reader, (*path, "ping"), entry["ping"])
    return Ping("ping", str(address)) if address else None


def _arp(reader: Reader, path: Path, entry: dict[str, Any]) -> Target | None:
    if entry["arp"] == GATEWAY:
        return Neighbour("arp")
    reader.say((*path, "arp"), f"must be 'gateway', not {shown(entry['arp'])}")
    return None


def _tcp(reader: Reader, path: Path, entry: dict[str, Any]) -> Target | None:
    path = (*path, "tcp")
    found = reader.attempt(path, values.endpoint, entry["tcp"])
    if found is None:
        return None
    address, port = found
    if port is None:
        bare = f"[{address}]" if address.version == 6 else address
        reader.say(path, f"{shown(entry['tcp'])} has no port", f"for instance '{bare}:443'")
        return None
    _note(reader, path, address)
    return Connect("tcp", str(address), port)


def _dns(reader: Reader, path: Path, entry: dict[str, Any]) -> Target | None:
    found = reader.attempt((*path, "dns"), values.endpoint, entry["dns"])
    answer = reader.attempt((*path, "answer"), values.address, entry.get("answer"))
    name = entry.get("name")
    if "name" not in entry:
        reader.say(path, "missing key 'name'", "any name that exists, like example.com")
    elif name is not None and not _NAME.fullmatch(name.removesuffix(".")):
        reader.say((*path, "name"), f"{shown(name)} cannot be a name in DNS")
        return None
    if found is None or name is None:
        return None
    address, port = found
    _note(reader, (*path, "dns"), address)
    expected = str(answer) if answer else None
    return Query("dns", str(address), port or 53, name.removesuffix("."), expected)


def _http(reader: Reader, path: Path, entry: dict[str, Any]) -> Target | None:
    url, body = entry["http"], entry.get("body")
    written = reader.attempt((*path, "address"), values.address, entry.get("address"))
    parts = reader.attempt((*path, "http"), _url, url)
    if body == "":
        reader.say((*path, "body"), "is empty; any answer contains that", "remove it")
    if parts is None or (written is None and "address" in entry):
        return None
    scheme, host, port, request = parts
    address = written
    if host.startswith("[") or re.fullmatch(r"[0-9.]+", host):
        literal = reader.attempt((*path, "http"), values.address, host.strip("[]"))
        if literal and written:
            sentence = f"the URL has the address {literal} already"
            reader.say((*path, "address"), sentence, "remove it")
        address = literal
    elif address is None:
        hint = "names are not looked up; add 'address: …', where the host is"
        reader.say((*path, "http"), f"the host {shown(host)} is a name", hint)
    if address is None:
        return None
    _note(reader, (*path, "address" if written else "http"), address)
    return Fetch(
        kind="http",
        url=url,
        secure=scheme == "https",
        host=host,
        address=str(address),
        port=port,
        path=request,
        status=int(entry.get("status") or _USUAL_STATUS),
        body=body,
    )


def _url(text: str) -> tuple[str, str, int, str]:
    """Scheme, host (with brackets, if it is an IPv6 address), port, and path with query."""
    wrong = values.Wrong(f"{shown(text)} is not a URL", "for instance 'http://192.0.2.1/'")
    if not re.fullmatch(r"[!-~]+", text):
        raise wrong
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise wrong
    if "@" in parts.netloc:
        raise values.Wrong(f"{shown(text)} has a user", "what is in the plan is no secret")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if not host.startswith("[") and not _NAME.fullmatch(host):
        raise wrong
    request = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, host, port or _PORTS[parts.scheme], request


def _command(reader: Reader, path: Path, entry: dict[str, Any]) -> Target | None:
    program = entry["command"]
    if not program.startswith("/") or not program.isprintable():
        hint = "for instance /usr/local/libexec/credit; it gets no arguments"
        reader.say((*path, "command"), f"{shown(program)} is not a whole path", hint)
        return None
    return Command("command", program)


_READERS: dict[str, Callable[[Reader, Path, dict[str, Any]], Target | None]] = {
    "ping": _ping,
    "arp": _arp,
    "tcp": _tcp,
    "dns": _dns,
    "http": _http,
    "command": _command,
}


def _example(word: str) -> str:
    return "{ping: gateway}" if word in (GATEWAY, "ping") else f"it as a map, like {{{word}: …}}"


def _address(reader: Reader, path: Path, text: str) -> Address | None:
    address = reader.attempt(path, values.address, text)
    if address:
        _note(reader, path, address)
    return address


def _note(reader: Reader, path: Path, address: Address) -> None:
    """It must be beyond the router.  A default target stands nowhere in the file."""
    reader.facts.targets.append((path if path in reader.document.values else None, address))

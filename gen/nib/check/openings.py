"""What may reach the router itself; for forwards too: from where, by which uplinks, how often."""

from collections.abc import Mapping
from typing import Any

from nib import values
from nib.check.reader import Reader
from nib.config import Allow, Limit, Network, Origin
from nib.document import Path, dotted, shown
from nib.services import SERVICES


def read_allow(
    reader: Reader,
    path: Path,
    entry: dict[str, Any],
    uplinks: tuple[str, ...],
    closed: Mapping[str, bool],
) -> list[Allow]:
    """`closed` says of every lan whether the router is closed to it."""
    _complete(reader, path, entry)
    ports = reader.ports((*path, "port"), entry.get("port"))
    sources, by, limit = read_who(reader, path, entry, uplinks)
    lans = _lans(reader, (*path, "lans"), entry.get("lans") or [], closed)
    if not reader.sound(*path):
        return []
    if entry.keys().isdisjoint({"uplinks", "lans"}):
        by = uplinks
    pairs = SERVICES.get(entry.get("service", ""), ((entry.get("protocol", ""), ports),))
    origin = Origin(dotted(path))
    return [Allow(name, ranges, sources, by, lans, limit, origin) for name, ranges in pairs]


def _lans(
    reader: Reader, path: Path, given: list[Any], closed: Mapping[str, bool]
) -> tuple[str, ...]:
    """Those that an opening makes a difference to; `:lans` are all of these."""
    for i, name in enumerate(given):
        if name in closed and not closed[name]:
            hint = f"write 'input: reject' in lans.{name} to close the router to it first"
            reader.say((*path, i), f"{shown(name)} reaches the whole router anyway", hint)
    ours = tuple(name for name in closed if closed[name])
    if ":lans" in given and closed and not ours:
        hint = "write 'input: reject' in one to close the router to it first"
        reader.say(path, "every lan reaches the whole router anyway", hint)
        return ()
    names = reader.members(path, given, {":lans": tuple(closed)})
    return tuple(name for name in names if closed[name])


def read_who(
    reader: Reader, path: Path, entry: dict[str, Any], uplinks: tuple[str, ...]
) -> tuple[tuple[Network, ...], tuple[str, ...], Limit | None]:
    """From where, by which uplinks and how often."""
    source = entry.get("source") or []
    texts = [source] if isinstance(source, str) else source
    source_path = (*path, "source")
    right: list[str] = []
    for i, text in enumerate(texts):
        one = source_path if isinstance(source, str) else (*source_path, i)
        right += [text] if reader.attempt(one, values.network, text) else []
    names = entry.get("uplinks") or []
    by = reader.members((*path, "uplinks"), names, {":uplinks": uplinks})
    return values.sources(right), by, _limit(entry.get("limit") or {})


def _complete(reader: Reader, path: Path, entry: dict[str, Any]) -> None:
    """An entry says either `service` or `protocol` and `port`."""
    if not entry:
        return
    keys = entry.keys() & {"service", "protocol", "port"}
    either = "give either a service, or a protocol and a port"
    if "service" in keys and len(keys) > 1:
        other = min(keys - {"service"}, key=lambda key: key == "port")
        reader.say((*path, other), f"'{other}' cannot stand beside 'service'", either)
    elif keys in ({"protocol"}, {"port"}):
        other = "port" if "protocol" in keys else "protocol"
        reader.say(path, f"missing key '{other}'", f"'{min(keys)}' needs it")
    elif not keys:
        reader.say(path, "missing key 'service'", either)


def _limit(limit: dict[str, Any]) -> Limit | None:
    if limit.get("rate") is None:
        return None
    rate, _, unit = limit["rate"].partition("/")
    return Limit(int(rate), unit, int(limit["burst"]), limit["per"] == "source")

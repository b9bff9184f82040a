"""Devices that nib makes: macvlans and VLANs, each on a parent."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nib import values
from nib.check.reader import Reader
from nib.config import Netdev, Origin
from nib.document import Path, dotted, shown


@dataclass(frozen=True, slots=True)
class _Found:
    """A netdev and where it is written."""

    path: Path
    netdev: Netdev

    @property
    def parent_path(self) -> Path:
        return (*self.path, "macvlan" if self.netdev.vlan is None else "vlan")


def read_netdevs(reader: Reader) -> tuple[Netdev, ...]:
    """Those of all uplinks and lans."""
    found = [
        _Found((*path, "netdev"), netdev)
        for path, holder in _holders(reader)
        if holder.get("netdev") is not None
        if (netdev := _read(reader, path, holder))
    ]
    _not_made_by_others(reader, found)
    _no_loops(reader, found)
    _vlans_apart(reader, found)
    return tuple(one.netdev for one in found)


def _holders(reader: Reader) -> Iterator[tuple[Path, dict[str, Any]]]:
    for kind in ("uplinks", "lans"):
        for name, holder in (reader.data.get(kind) or {}).items():
            yield (kind, name), holder or {}


def _read(reader: Reader, path: Path, holder: dict[str, Any]) -> Netdev | None:
    where = (*path, "netdev")
    entry, device = holder["netdev"], holder.get("device")
    kinds = [kind for kind in ("macvlan", "vlan") if kind in entry]
    if holder.get("address") == "external":
        sentence = "'address: external' says that another tool makes the device"
        reader.say(where, sentence, "remove one of them")
    if len(kinds) != 1:
        sentence = "has two parents" if kinds else "has no parent"
        reader.say(where, sentence, "write {macvlan: wan0}, or {vlan: wan0, id: 30}")
        return None
    kind = kinds[0]
    parent = reader.attempt((*where, kind), values.device, entry.get(kind))
    if kind == "vlan" and "id" not in entry:
        reader.say(where, "missing key 'id'", "the number in the tag, as the provider says it")
        return None
    if kind == "macvlan" and "id" in entry:
        hint = f"write {{vlan: {shown(entry['macvlan'])}, id: {entry['id']}}} if a tag is meant"
        reader.say((*where, "id"), "a macvlan has no id", hint)
    if parent is None or device is None or (kind == "vlan" and entry["id"] is None):
        return None
    if parent == device:
        reader.say((*where, kind), f"{shown(device)} cannot be made on itself")
        return None
    vlan = int(entry["id"]) if kind == "vlan" else None
    return Netdev(str(path[1]), device, parent, vlan, Origin(dotted(where)))


def _not_made_by_others(reader: Reader, found: list[_Found]) -> None:
    """networkd makes a device when it configures the parent; of some parents nib has no file."""
    external = {
        holder.get("device"): path
        for path, holder in _holders(reader)
        if holder.get("address") == "external"
    }
    for one in found:
        if owner := external.get(one.netdev.parent):
            sentence = f"{shown(one.netdev.parent)} is made by another tool ({dotted(owner)})"
            reader.say(one.parent_path, sentence, "name the port below it")


def _no_loops(reader: Reader, found: list[_Found]) -> None:
    parents = {one.netdev.device: one.netdev.parent for one in found}
    told: set[str] = set()
    for one in found:
        way = [one.netdev.device]
        while way[-1] in parents and parents[way[-1]] not in way:
            way.append(parents[way[-1]])
        if parents.get(way[-1]) == way[0] and told.isdisjoint(way):
            told.update(way)
            chain = " on ".join((*way, way[0]))
            reader.say(one.parent_path, f"{chain}: none of them can be made first")


def _vlans_apart(reader: Reader, found: list[_Found]) -> None:
    first: dict[tuple[str, int], _Found] = {}
    for one in found:
        parent, vlan = one.netdev.parent, one.netdev.vlan
        if vlan is None:
            continue
        other = first.setdefault((parent, vlan), one)
        if other is not one:
            sentence = f"the id {vlan} on {shown(parent)} is already that of {dotted(other.path)}"
            reader.say((*one.path, "id"), sentence)

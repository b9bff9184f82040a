"""The services of balance.conf become uplinks, lans and forwarding groups."""

import re
from dataclasses import dataclass, field
from fractions import Fraction
from ipaddress import IPv4Address
from math import gcd, lcm

from nib import values
from nib.check.conflicts import RESERVED
from nib.importer.conf import Conf, Row, Word
from nib.importer.draft import Draft, Entry
from nib.importer.interfaces import Link
from nib.importer.remarks import Unclear
from nib.problem import Path, shown

_POINT_TO_POINT = re.compile(r"(ppp|tun|wg)[0-9]+")
_BY_OTHERS = ("ppp", "wvdial", "tunnel")  # methods of interfaces(5) for point-to-point devices
_MOST = 256  # the greatest weight, of nib and of the kernel
_NAME_LENGTH = 15
_NAME_ALONE = "names are not looked up"


@dataclass(frozen=True, slots=True)
class Services:
    """The services by the names of the old configuration, each with its name in the new one.

    `devices` leads from a device, or the label of an alias, to the new name.
    """

    uplinks: dict[str, str] = field(default_factory=dict)
    lans: dict[str, str] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=lambda: set(RESERVED))

    def new_name(self, old: str) -> str:
        """A name that nib takes and nobody has, as close to the old one as possible."""
        name = re.sub(r"[^A-Za-z0-9_]", "_", old)
        if not re.match(r"[A-Za-z]", name):
            name = f"n{name}"
        made = name = name[:_NAME_LENGTH]
        number = 2
        while made.lower() in self.taken:
            made = f"{name[: _NAME_LENGTH - len(str(number))]}{number}"
            number += 1
        self.taken.add(made.lower())
        return made

    def uplink_of(self, device: str) -> str | None:
        """The uplink that has the device."""
        name = self.devices.get(device)
        return name if name in self.uplinks.values() else None

    def lan_of(self, device: str) -> str | None:
        """The lan that has the device."""
        name = self.devices.get(device)
        return name if name in self.lans.values() else None


def translate_services(conf: Conf, failover: bool, links: dict[str, Link], to: Draft) -> Services:
    """Fill in `uplinks`, `lans` and `forwarding`."""
    services = Services()
    uplinks = [row for row in conf.rows if row.role == "isp" and _settle(row, services, to)]
    lans = [row for row in conf.rows if row.role == "lan" and _settle(row, services, to)]
    weights = _weights(uplinks, failover, to)
    for row in uplinks:
        _uplink(row, services, weights[row.service.text], links, to)
    for row in lans:
        _lan(row, services, links, to)
    _forwarding(conf, services, to)
    return services


# -- names and devices


def _settle(row: Row, services: Services, to: Draft) -> bool:
    """Choose name and device of a row; whether it becomes an uplink or lan of its own."""
    kind, mine = ("uplinks", services.uplinks) if row.role == "isp" else ("lans", services.lans)
    old, label = row.service.text, row.device.text
    device = label.partition(":")[0].partition("@")[0]
    try:
        values.device(device)
    except values.Wrong as wrong:
        to.notes.left_out(row.device.spot, (kind,), wrong.message, wrong.hint)
        return False
    if holder := services.devices.get(device):
        if holder in mine.values() and row.role == "lan":
            message = f"the device {device} is that of the lan {holder}, and {old} is a part of it"
            to.notes.note(row.device.spot, (kind,), f"{message} now")
            mine[old] = holder
            services.devices[label] = holder
        else:
            message = f"{shown(device)} is already the device of {holder}"
            hint = "a VLAN or a macvlan gives each a device of its own"
            to.notes.left_out(row.device.spot, (kind,), message, hint)
        return False
    name = services.new_name(old)
    if name != old:
        message = f"the name {shown(old)} becomes {name}"
        hint = f"a name is a letter, then letters, digits and '_', at most {_NAME_LENGTH}"
        to.notes.note(row.service.spot, (), message, hint)
    elif old in ("up", "down"):
        to.notes.note(row.service.spot, (), f"Net-ISP-Balance accepted no service named {old}")
    elif old != old.upper():
        message = "Net-ISP-Balance did not start with names that are not in capitals; nib does"
        to.notes.note(row.service.spot, (), message)
    if label != device:
        message = f"{shown(label)} is a label of an address; the device is {device}"
        to.notes.note(row.device.spot, (), message)
    mine[old] = name
    services.devices.update({device: name, label: name})
    to.spots[kind, name] = row.spot
    return True


# -- weights


def _weights(rows: list[Row], failover: bool, to: Draft) -> dict[str, int]:
    """Whole numbers that share, or prefer, as the old weights did."""
    given = {row.service.text: _fraction(row, to) for row in rows}
    if not given:
        return {}
    if failover:
        made = _order(given)
    elif not any(given.values()):
        message = "every weight is 0, with which Net-ISP-Balance stopped half-way; 1 is used"
        for row in rows:
            to.notes.note(_weight_word(row).spot, (), message)
        return dict.fromkeys(given, 1)
    else:
        made = _scale(given)
    for row in rows:
        old, new = given[row.service.text], made[row.service.text]
        if row.weight and old != new:
            message = f"the weight {shown(row.weight.text)} becomes {new}"
            hint = (
                "only the order counts, and 0 carries nothing by itself"
                if failover
                else f"weights are whole numbers up to {_MOST}, nearly in the same proportion"
            )
            to.notes.note(row.weight.spot, (), message, hint)
    if failover and len(set(made.values())) < len(made):
        message = "uplinks of the same weight: Net-ISP-Balance took any of them, nib the first name"
        to.notes.note(_weight_word(rows[0]).spot, (), message)
    return made


def _weight_word(row: Row) -> Word:
    return row.weight or row.service


def _fraction(row: Row, to: Draft) -> Fraction:
    if row.weight is None:
        return Fraction(1)
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,4})?", row.weight.text):
        return Fraction(row.weight.text)
    message = f"the weight {shown(row.weight.text)} is no number; 1 is used"
    to.notes.left_out(row.weight.spot, ("uplinks",), message)
    return Fraction(1)


def _order(given: dict[str, Fraction]) -> dict[str, int]:
    """The weights themselves where nib takes them, else their rank: only the order counts."""
    fits = all(w.denominator == 1 and 1 <= w <= _MOST for w in given.values())
    ranks = {weight: rank for rank, weight in enumerate(sorted(set(given.values())), 1)}
    return {name: int(w) if fits else min(ranks[w], _MOST) for name, w in given.items()}


def _scale(given: dict[str, Fraction]) -> dict[str, int]:
    """The same proportions in whole numbers up to 256; what carried something still does."""
    if all(w.denominator == 1 and w <= _MOST for w in given.values()):
        return {name: int(w) for name, w in given.items()}
    common = lcm(*(w.denominator for w in given.values()))
    whole = {name: int(w * common) for name, w in given.items()}
    divisor = gcd(*whole.values())
    whole = {name: w // divisor for name, w in whole.items()}
    most = max(whole.values())
    if most <= _MOST:
        return whole
    return {name: max(1, round(w * _MOST / most)) if w else 0 for name, w in whole.items()}


# -- uplinks and lans


def _uplink(row: Row, services: Services, weight: int, links: dict[str, Link], to: Draft) -> None:
    name = services.uplinks[row.service.text]
    path: Path = ("uplinks", name)
    device = row.device.text.partition(":")[0].partition("@")[0]
    gateway = _gateway(row, path, to)
    uplink: dict[str, object] = {"device": device}
    link = links.get(device)
    if link and link.method == "static":
        uplink |= _static(path, link, gateway, to)
    elif gateway:
        uplink |= {"address": "external", "gateway": gateway}
        to.beside[*path, "address"] = (
            "as configured until now; or write it here, like 198.51.100.2/24"
        )
    elif _POINT_TO_POINT.fullmatch(device):
        uplink["address"] = "external"
        to.beside[*path, "address"] = "made by pppd or a VPN, as before"
    elif link and link.method == "dhcp":
        uplink["address"] = "dhcp"
        to.beside[*path, "address"] = link.where
    elif link and link.method in _BY_OTHERS:
        uplink["address"] = "external"
        to.beside[*path, "address"] = f"{link.where}: {link.method}"
    else:
        uplink["address"] = "dhcp"
        to.beside[*path, "address"] = "a guess; if it is fixed, write it here, and its gateway"
    if weight != 1:
        uplink["weight"] = weight
    target = _target(row, path, to)
    if target:
        uplink["probe"] = {"targets": [target]}
    to.data.setdefault("uplinks", {})[name] = uplink


def _static(path: Path, link: Link, given: str | None, to: Draft) -> dict[str, object]:
    """A fixed address out of interfaces; the gateway as Net-ISP-Balance found it."""
    texts = [str(address) for address in link.addresses]
    address: object = texts[0] if len(texts) == 1 else texts
    gateway = given or link.gateway
    to.beside[*path, "address"] = link.where
    if gateway is None:
        first = link.addresses[0].network
        gateway = str(first.network_address + (1 if first.prefixlen < 31 else 0))
        to.beside[*path, "gateway"] = (
            "a guess, as Net-ISP-Balance made it: the first of its network"
        )
    return {"address": address, "gateway": gateway}


def _gateway(row: Row, path: Path, to: Draft) -> str | None:
    if row.gateway is None:
        return None
    try:
        return str(_host(row.gateway.text))
    except Unclear as unclear:
        message = f"the gateway {shown(row.gateway.text)} is left away: {unclear.message}"
        to.notes.left_out(row.gateway.spot, path, message)
        return None


def _target(row: Row, path: Path, to: Draft) -> str | None:
    if row.target is None:
        return None
    try:
        return str(_host(row.target.text))
    except Unclear as unclear:
        message = f"nib's own targets instead of {shown(row.target.text)}: {unclear.message}"
        dead = "Net-ISP-Balance declared every uplink with such a target dead"
        hint = dead if unclear.message == _NAME_ALONE else ""
        to.notes.note(row.target.spot, path, message, hint)
        return None


def _host(text: str) -> IPv4Address:
    """The address of a host.  Raises Unclear."""
    try:
        address = values.address(text)
    except values.Wrong as wrong:
        message = wrong.message if re.match(r"[0-9.:]+$", text) else _NAME_ALONE
        raise Unclear(message) from None
    if not isinstance(address, IPv4Address):
        raise Unclear("Net-ISP-Balance knew IPv4 alone")
    if address.is_loopback or address.is_multicast or int(address) >> 24 in (0, 255):
        raise Unclear(f"{address} is no host out there")
    return address


def _lan(row: Row, services: Services, links: dict[str, Link], to: Draft) -> None:
    name = services.lans[row.service.text]
    path: Path = ("lans", name)
    device = row.device.text.partition(":")[0].partition("@")[0]
    lan: dict[str, object] = {"device": device, "address": "external"}
    link = links.get(device)
    if link and link.method == "static":
        texts = [str(address) for address in link.addresses]
        lan["address"] = texts[0] if len(texts) == 1 else texts
        to.beside[*path, "address"] = link.where
    else:
        comment = "as configured until now; or write it here, like 192.168.10.1/24"
        to.beside[*path, "address"] = comment
    to.data.setdefault("lans", {})[name] = lan


# -- forwarding


def _forwarding(conf: Conf, services: Services, to: Draft) -> None:
    groups = [Entry(_group(word, services, to), word.spot) for word in conf.groups]
    if conf.groups and services.lans:
        to.data["forwarding"] = [group for group in groups if group.value]


def _group(word: Word, services: Services, to: Draft) -> list[str]:
    kinds = {"isp": ":uplinks", "lan": ":lans"}
    members: list[str] = []
    for text in re.split(r"[\s,]+", word.text):
        kind = text.lower().removeprefix(":").removesuffix("s")
        if not text:
            continue
        if text.startswith(":") and kind in kinds:
            if text not in (":isp", ":lan"):
                message = f"{shown(text)} is taken for ':{kind}'; Net-ISP-Balance did not know it"
                to.notes.note(word.spot, ("forwarding",), message)
            members.append(kinds[kind])
        elif name := services.uplinks.get(text) or services.lans.get(text):
            members.append(name)
        else:
            message = f"{shown(text)} is no service, so the group goes without it"
            to.notes.left_out(word.spot, ("forwarding",), message)
    if "," in word.text:
        message = "Net-ISP-Balance knew no commas between the names of a group"
        to.notes.note(word.spot, ("forwarding",), message)
    return list(dict.fromkeys(members))

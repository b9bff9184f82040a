"""The meaning of balance.yaml: a Document becomes a Config, or all that is wrong with it."""

from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeVar

from nib import values
from nib.config import (
    Address,
    Allow,
    Config,
    Dhcp,
    External,
    Firewall,
    Interface,
    Lan,
    Limit,
    Mode,
    Origin,
    Probe,
    Static,
    Uplink,
)
from nib.conflicts import Facts, Own
from nib.document import Document, Path, Problem, Rejected, dotted, shown
from nib.shape import near, shape

T = TypeVar("T")
V = TypeVar("V")

SERVICES: dict[str, tuple[tuple[str, tuple[tuple[int, int], ...]], ...]] = {
    "bgp": (("tcp", ((179, 179),)),),
    "dns": (("tcp", ((53, 53),)), ("udp", ((53, 53),))),
    "http": (("tcp", ((80, 80),)),),
    "https": (("tcp", ((443, 443),)),),
    "ipsec": (("udp", ((500, 500), (4500, 4500))),),
    "iperf3": (("tcp", ((5201, 5201),)), ("udp", ((5201, 5201),))),
    "mosh": (("udp", ((60000, 61000),)),),
    "ntp": (("udp", ((123, 123),)),),
    "openvpn": (("udp", ((1194, 1194),)),),
    "smtp": (("tcp", ((25, 25),)),),
    "snmp": (("udp", ((161, 161),)),),
    "ssh": (("tcp", ((22, 22),)),),
    "wireguard": (("udp", ((51820, 51820),)),),
}
"""Protocol and ports by name; the numbers are IANA's where it has them.  The schema lists them."""


def check(document: Document) -> Config:
    """The configuration that the document means.

    Raises Rejected with every problem: those of the document, of its shape and of its meaning.
    """
    data, problems = shape(document)
    reader = _Reader(document, data, problems)
    config = reader.config()
    if reader.problems or config is None:
        raise Rejected(document.name, document.text, reader.problems)
    return config


@dataclass(slots=True)
class _Reader:
    """Reads the parts one by one.  A part that cannot be read is None, and a problem is noted."""

    document: Document
    data: dict[str, Any]
    problems: list[Problem]
    facts: Facts = field(default_factory=Facts)

    def say(self, path: Path, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self.document.place(path), path, message, hint))

    def attempt(self, path: Path, read: Callable[[V], T], value: V | None) -> T | None:
        """`read(value)`, or None and a problem at `path`; None stays None."""
        if value is None:
            return None
        try:
            return read(value)
        except values.Wrong as wrong:
            self.say(path, wrong.message, wrong.hint)
            return None

    def config(self) -> Config | None:
        uplinks: dict[str, Any] = self.data.get("uplinks") or {}
        lans: dict[str, Any] = self.data["lans"] or {}
        mask = self.attempt(("marks", "mask"), values.mask, self.data["marks"]["mask"])
        self.facts.names(uplinks, lans)
        self.common_probe()
        made_uplinks = [self.uplink(name, uplink or {}) for name, uplink in uplinks.items()]
        made_lans = [self.lan(name, lan or {}) for name, lan in lans.items()]
        forwarding = self.forwarding(tuple(uplinks), tuple(lans))
        firewall = self.firewall(tuple(uplinks))
        self.facts.marks(mask, uplinks)
        self.facts.ipv6_of_lans(any(uplink is None or uplink.ipv6 for uplink in made_uplinks))
        for path, message, hint in self.facts.conflicts():
            self.say(path, message, hint)
        if self.problems or mask is None:
            return None
        return Config(
            mode=Mode(self.data["mode"]),
            uplinks=tuple(uplink for uplink in made_uplinks if uplink),
            lans=tuple(lan for lan in made_lans if lan),
            forwarding=forwarding,
            firewall=firewall,
            mask=mask,
        )

    def uplink(self, name: str, uplink: dict[str, Any]) -> Uplink | None:
        path: Path = ("uplinks", name)
        device = self.device(path, uplink)
        address = self.address(path, uplink, ("dhcp", "external"))
        gateways = self.gateways(path, uplink, address)
        ipv6 = self.ipv6(path, uplink, address, gateways)
        probe = self.probe(name, uplink.get("probe") or {})
        if device is None or address is None or probe is None:
            return None
        pinned = uplink.get("id")
        return Uplink(
            name=name,
            device=device,
            address=address,
            gateway=next((g for g in gateways if isinstance(g, IPv4Address)), None),
            gateway6=next((g for g in gateways if isinstance(g, IPv6Address)), None),
            ipv6=ipv6,
            weight=int(uplink["weight"]),
            tier=int(uplink["tier"]),
            pinned_id=None if pinned is None else int(pinned),
            probe=probe,
            origin=Origin(dotted(path)),
        )

    def gateways(
        self, path: Path, uplink: dict[str, Any], address: Dhcp | Static | External | None
    ) -> list[Address]:
        where = (*path, "gateway")
        given = uplink.get("gateway")
        texts = given if isinstance(given, list) else [given]
        places = [(*where, i) if isinstance(given, list) else where for i in range(len(texts))]
        read = [self.attempt(at, values.address, t) for at, t in zip(places, texts, strict=True)]
        if isinstance(address, Dhcp) and "gateway" in uplink:
            sentence = "the gateway of an uplink with 'address: dhcp' comes from the lease"
            self.say(where, sentence, "remove it")
        elif isinstance(address, Static) and "gateway" not in uplink:
            hint = "a static address needs the address of the provider's router"
            self.say(path, "missing key 'gateway'", hint)
        elif isinstance(address, Static | External):
            addresses = address.addresses if isinstance(address, Static) else ()
            self.facts.gateways_of(where, list(zip(places, read, strict=True)), addresses)
        return [gateway for gateway in read if gateway]

    def ipv6(
        self,
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
        if word in ("nptv6", "routed"):
            hint = "'masquerade' works without a prefix of the provider's"
            self.say(path, f"'{word}' is not supported yet", hint)
        elif word == "off" and written:
            self.say(path, f"is off, but {written[0]} is IPv6", "remove one of them")
        elif word == "masquerade" and isinstance(address, Static) and not written:
            hint = "add an IPv6 address to 'address', and a gateway for it"
            self.say(path, "a static uplink has only the addresses that are written", hint)
        return word != "off" and (bool(written) or not isinstance(address, Static))

    def lan(self, name: str, lan: dict[str, Any]) -> Lan | None:
        path: Path = ("lans", name)
        device = self.device(path, lan)
        address = self.address(path, lan, ("external",))
        self.ipv6(path, lan, address)
        if device is None or address is None or isinstance(address, Dhcp):
            return None
        return Lan(name, device, address, lan["ipv6"] != "off", Origin(dotted(path)))

    def device(self, path: Path, holder: dict[str, Any]) -> str | None:
        path = (*path, "device")
        device = self.attempt(path, values.device, holder.get("device"))
        if device is not None:
            self.facts.devices.append((path, device))
        return device

    def address(
        self, path: Path, holder: dict[str, Any], words: tuple[str, ...]
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
                self.say(path, "a lan has no address from a lease", hint)
                return None
            case list(texts):
                read = [self.own(owner, (*path, i), text, ()) for i, text in enumerate(texts)]
            case text:
                read = [self.own(owner, path, text, words)]
        addresses = tuple(one for one in read if one)
        if addresses and all(read) and all(one.version == 6 for one in addresses):
            hint = "add an IPv4 address"
            self.say(path, "IPv6 without IPv4 is not supported yet", hint)
        return Static(addresses) if len(addresses) == len(read) else None

    def own(self, owner: Path, path: Path, text: Any, words: tuple[str, ...]) -> Interface | None:
        if not words and text in ("dhcp", "external"):
            self.say(path, f"'{text}' cannot be in a list", f"write 'address: {text}'")
            return None
        interface = self.attempt(path, lambda text: values.interface(text, words), text)
        if interface:
            self.facts.addresses.append(Own(owner, path, interface))
        return interface

    def probe(self, name: str, probe: dict[str, Any]) -> Probe | None:
        def path(key: str) -> Path:
            own: Path = ("uplinks", name, "probe", key)
            return own if own in self.document.keys else ("probe", key)

        interval, timeout, hold_down, targets = self.asking(path, probe)
        quorum = int(probe.get("quorum", 1))
        few = min(values.by_family(targets), key=len, default=[])
        if quorum > len(few) > 0:
            own_targets = path("targets")[0] == "uplinks" and path("quorum")[0] == "probe"
            kind = "target" if len(few) == len(targets) else f"IPv{few[0].version} target"
            sentence = f"a quorum of {quorum} cannot be reached with {_count(few, kind)}"
            hint = "lower the quorum or add targets"
            self.say(path("targets" if own_targets else "quorum"), sentence, hint)
        if interval is None or timeout is None or hold_down is None or not targets:
            return None
        return Probe(
            targets=values.with_defaults(target for target in targets if target),
            interval_ms=interval,
            timeout_ms=timeout,
            quorum=quorum,
            fall=int(probe["fall"]),
            rise=int(probe["rise"]),
            hold_down_ms=hold_down,
        )

    def common_probe(self) -> None:
        """Check what the top level says even if every uplink says something else."""
        given = {k: v for k, v in self.data["probe"].items() if ("probe", k) in self.document.keys}
        self.asking(lambda key: ("probe", key), given)

    def asking(
        self, path: Callable[[str], Path], probe: dict[str, Any]
    ) -> tuple[int | None, int | None, int | None, list[Address | None]]:
        """Interval, timeout, hold-down and targets; `path` says where a key of `probe` stands."""

        def time(key: str, least: str, most: str) -> int | None:
            def read(text: str) -> int:
                return values.duration(text, least, most)

            return self.attempt(path(key), read, probe.get(key))

        where = path("targets")
        texts = probe.get("targets") or []
        targets = [self.target((*where, i), text) for i, text in enumerate(texts)]
        for i, target in enumerate(targets):
            if target and target in targets[:i]:
                self.say((*where, i), f"the target {target} is given twice")
        return (
            time("interval", "100ms", "1h"),
            time("timeout", "50ms", "1m"),
            time("hold_down", "0s", "24h"),
            targets,
        )

    def target(self, path: Path, text: Any) -> Address | None:
        if text in ("gateway", "ping", "arp"):
            self.say(path, f"the target '{text}' is not supported yet", "write an IP address")
            return None
        target = self.attempt(path, values.address, text)
        if target:
            self.facts.targets.append((path, target))
        return target

    def forwarding(
        self, uplinks: tuple[str, ...], lans: tuple[str, ...]
    ) -> tuple[tuple[str, ...], ...]:
        groups = self.data["forwarding"] or []
        return tuple(
            self.members(("forwarding", i), group or [], {":uplinks": uplinks, ":lans": lans})
            for i, group in enumerate(groups)
        )

    def members(
        self, path: Path, group: list[Any], kinds: dict[str, tuple[str, ...]]
    ) -> tuple[str, ...]:
        """The names that a list means, each once, in the order of the list."""
        known = {name: None for names in kinds.values() for name in names}
        result: dict[str, None] = {}
        seen: set[str | None] = set()  # None is what the shape has refused already
        for i, name in enumerate(group):
            if name in seen and name is not None:
                self.say((*path, i), f"{shown(name)} is given twice")
            elif name in kinds:
                result.update(dict.fromkeys(kinds[name]))
            elif name in known:
                result[name] = None
            elif name is not None:
                what = "uplink or lan" if ":lans" in kinds else "uplink"
                hint = near(name, [*known, *kinds])
                if not hint and known:
                    hint = f"there is {_some(known)}"
                self.say((*path, i), f"no {what} is called {shown(name)}", hint)
            seen.add(name)
        if group and not result and kinds[":uplinks"] and all(name in kinds for name in group):
            self.say(path, "names nothing: there are no lans", "add a lan or remove this group")
        return tuple(result)

    def firewall(self, uplinks: tuple[str, ...]) -> Firewall | None:
        firewall = self.data["firewall"]
        if firewall == "off":
            return None
        entries = firewall["allow"] or []
        allow: list[Allow] = []
        for i, entry in enumerate(entries):
            allow += self.allow(("firewall", "allow", i), entry or {}, uplinks)
        return Firewall(tuple(allow), firewall["log"] == "drops")

    def allow(self, path: Path, entry: dict[str, Any], uplinks: tuple[str, ...]) -> list[Allow]:
        self.complete(path, entry)
        ports = self.ports((*path, "port"), entry.get("port"))
        source = entry.get("source") or []
        texts = [source] if isinstance(source, str) else source
        source_path = (*path, "source")
        for i, text in enumerate(texts):
            one = source_path if isinstance(source, str) else (*source_path, i)
            self.attempt(one, values.network, text)
        names = entry.get("uplinks") or []
        by = self.members((*path, "uplinks"), names, {":uplinks": uplinks})
        limit = self.limit(entry.get("limit") or {})
        if self.problems:
            return []
        pairs = SERVICES.get(entry.get("service", ""), ((entry.get("protocol", ""), ports),))
        origin = Origin(dotted(path))
        sources = values.sources(texts)
        return [Allow(name, ranges, sources, by, limit, origin) for name, ranges in pairs]

    def complete(self, path: Path, entry: dict[str, Any]) -> None:
        """An entry says either `service` or `protocol` and `port`."""
        if not entry:
            return
        keys = entry.keys() & {"service", "protocol", "port"}
        either = "give either a service, or a protocol and a port"
        if "service" in keys and len(keys) > 1:
            other = min(keys - {"service"}, key=lambda key: key == "port")
            self.say((*path, other), f"'{other}' cannot stand beside 'service'", either)
        elif keys in ({"protocol"}, {"port"}):
            other = "port" if "protocol" in keys else "protocol"
            self.say(path, f"missing key '{other}'", f"'{min(keys)}' needs it")
        elif not keys:
            self.say(path, "missing key 'service'", either)

    def ports(self, path: Path, port: Any) -> tuple[tuple[int, int], ...]:
        if isinstance(port, list):
            read = [self.attempt((*path, i), values.port_range, p) for i, p in enumerate(port)]
        else:
            read = [self.attempt(path, values.port_range, port)]
        return values.merged(one for one in read if one)

    def limit(self, limit: dict[str, Any]) -> Limit | None:
        if limit.get("rate") is None:
            return None
        rate, _, unit = limit["rate"].partition("/")
        return Limit(int(rate), unit, int(limit["burst"]), limit["per"] == "source")


def _count(things: Sized, what: str) -> str:
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"


def _some(names: Iterable[str]) -> str:
    """The first few names, for a hint."""
    first = [f"'{name}'" for name in names]
    return ", ".join(first[:5]) + (", …" if len(first) > 5 else "")

"""The meaning of balance.yaml: a Document becomes a Config, or all that is wrong with it."""

from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any, TypeVar

from nib import passages, values
from nib.config import (
    Allow,
    Config,
    Dhcp,
    External,
    Firewall,
    Forward,
    Hooks,
    Lan,
    Limit,
    Mode,
    Origin,
    Probe,
    Route,
    Static,
    Uplink,
)
from nib.conflicts import Facts, Own
from nib.document import Document, Path, Problem, Rejected, dotted, shown
from nib.services import SERVICES
from nib.shape import near, shape

T = TypeVar("T")
V = TypeVar("V")


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
        done_uplinks = tuple(uplink for uplink in made_uplinks if uplink)
        done_lans = tuple(lan for lan in made_lans if lan)
        routes = self.routes(done_uplinks, done_lans)
        firewall = self.firewall(tuple(uplinks), done_lans, routes)
        hooks = self.attempt(("hooks", "timeout"), _hook_time, self.data["hooks"]["timeout"])
        self.facts.marks(mask, uplinks)
        for path, message, hint in self.facts.conflicts():
            self.say(path, message, hint)
        if self.problems or mask is None or hooks is None:
            return None
        return Config(
            mode=Mode(self.data["mode"]),
            uplinks=done_uplinks,
            lans=done_lans,
            forwarding=forwarding,
            routes=routes,
            firewall=firewall,
            hooks=Hooks(hooks),
            mask=mask,
        )

    def uplink(self, name: str, uplink: dict[str, Any]) -> Uplink | None:
        path: Path = ("uplinks", name)
        device = self.device(path, uplink)
        address = self.address(path, uplink, ("dhcp", "external"))
        gateway_path = (*path, "gateway")
        gateway = self.attempt(gateway_path, values.address, uplink.get("gateway"))
        given = "gateway" in uplink
        match address:
            case Dhcp() if given:
                sentence = "the gateway of an uplink with 'address: dhcp' comes from the lease"
                self.say(gateway_path, sentence, "remove it")
            case Static() if not given:
                hint = "a static address needs the address of the provider's router"
                self.say(path, "missing key 'gateway'", hint)
            case Static(addresses) if gateway:
                self.facts.gateways.append((gateway_path, gateway, addresses))
            case External() if gateway:
                self.facts.gateways.append((gateway_path, gateway, ()))
            case _:
                pass
        probe = self.probe(name, uplink.get("probe") or {})
        if device is None or address is None or probe is None:
            return None
        pinned, mtu = uplink.get("id"), uplink.get("mtu")
        return Uplink(
            name=name,
            device=device,
            address=address,
            gateway=gateway,
            weight=int(uplink["weight"]),
            tier=int(uplink["tier"]),
            pinned_id=None if pinned is None else int(pinned),
            mtu=None if mtu is None else int(mtu),
            probe=probe,
            origin=Origin(dotted(path)),
        )

    def lan(self, name: str, lan: dict[str, Any]) -> Lan | None:
        path: Path = ("lans", name)
        device = self.device(path, lan)
        address = self.address(path, lan, ("external",))
        if device is None or address is None or isinstance(address, Dhcp):
            return None
        return Lan(name, device, address, Origin(dotted(path)))

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
        return Static(addresses) if len(addresses) == len(read) else None

    def own(
        self, owner: Path, path: Path, text: Any, words: tuple[str, ...]
    ) -> IPv4Interface | None:
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
        if quorum > len(targets) > 0:
            own_targets = path("targets")[0] == "uplinks" and path("quorum")[0] == "probe"
            sentence = f"a quorum of {quorum} cannot be reached with {_count(targets, 'target')}"
            hint = "lower the quorum or add targets"
            self.say(path("targets" if own_targets else "quorum"), sentence, hint)
        if interval is None or timeout is None or hold_down is None or not targets:
            return None
        return Probe(
            targets=tuple(target for target in targets if target),
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
    ) -> tuple[int | None, int | None, int | None, list[IPv4Address | None]]:
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

    def target(self, path: Path, text: Any) -> IPv4Address | None:
        if text in ("gateway", "ping", "arp"):
            self.say(path, f"the target '{text}' is not supported yet", "write an IPv4 address")
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

    def routes(self, uplinks: tuple[Uplink, ...], lans: tuple[Lan, ...]) -> tuple[Route, ...]:
        given: list[passages.GIVEN_ROUTE] = []
        for i, entry in enumerate(self.data["routes"] or []):
            path: Path = ("routes", i)
            keys = entry or {}
            to = self.attempt((*path, "to"), values.network, keys.get("to"))
            via = self.attempt((*path, "via"), values.address, keys.get("via"))
            device = self.attempt((*path, "device"), values.device, keys.get("device"))
            if keys and not keys.keys() & {"via", "device"}:
                self.say(path, "missing key 'via'", "or 'device', where no router is in between")
            elif to and (via or device):
                given.append((path, to, via, device, bool(keys["masquerade"])))
        routes: list[Route] = []
        for found in passages.resolved(given, uplinks, lans, self.facts):
            if isinstance(found, Route):
                routes.append(found)
            else:
                self.say(*found)
        return tuple(routes)

    def firewall(
        self, uplinks: tuple[str, ...], lans: tuple[Lan, ...], routes: tuple[Route, ...]
    ) -> Firewall | None:
        firewall = self.data["firewall"]
        if firewall == "off":
            return None
        allow: list[tuple[Path, Allow]] = []
        for i, entry in enumerate(firewall["allow"] or []):
            path: Path = ("firewall", "allow", i)
            allow += [(path, one) for one in self.allow(path, entry or {}, uplinks)]
        forwards: list[tuple[Path, Forward]] = []
        for i, entry in enumerate(firewall["forwards"] or []):
            path = ("firewall", "forwards", i)
            if forward := self.forward(path, entry or {}, uplinks):
                forwards.append((path, forward))
        said = allow if ("firewall", "allow") in self.document.keys else []
        for found in passages.forward_conflicts(forwards, said, self.facts, routes, lans):
            self.say(*found)
        log = firewall["log"] == "drops"
        return Firewall(tuple(one for _, one in allow), tuple(one for _, one in forwards), log)

    def allow(self, path: Path, entry: dict[str, Any], uplinks: tuple[str, ...]) -> list[Allow]:
        self.complete(path, entry)
        ports = self.ports((*path, "port"), entry.get("port"))
        sources, by, limit = self.who(path, entry, uplinks)
        if self.problems:
            return []
        pairs = SERVICES.get(entry.get("service", ""), ((entry.get("protocol", ""), ports),))
        origin = Origin(dotted(path))
        return [Allow(name, ranges, sources, by, limit, origin) for name, ranges in pairs]

    def forward(
        self, path: Path, entry: dict[str, Any], uplinks: tuple[str, ...]
    ) -> Forward | None:
        ports = self.ports((*path, "port"), entry.get("port"))
        to = self.attempt((*path, "to"), values.endpoint, entry.get("to"))
        sources, by, limit = self.who(path, entry, uplinks)
        protocol = entry.get("protocol") or []
        words = [protocol] if isinstance(protocol, str) else protocol
        if not (to and ports and words):
            return None
        protocols = tuple(dict.fromkeys(word for word in words if word))
        return Forward(protocols, ports, *to, sources, by, limit, Origin(dotted(path)))

    def who(
        self, path: Path, entry: dict[str, Any], uplinks: tuple[str, ...]
    ) -> tuple[tuple[IPv4Network, ...], tuple[str, ...], Limit | None]:
        """From where, by which uplinks and how often."""
        source = entry.get("source") or []
        texts = [source] if isinstance(source, str) else source
        source_path = (*path, "source")
        right: list[str] = []
        for i, text in enumerate(texts):
            one = source_path if isinstance(source, str) else (*source_path, i)
            right += [text] if self.attempt(one, values.network, text) else []
        names = entry.get("uplinks") or []
        by = self.members((*path, "uplinks"), names, {":uplinks": uplinks})
        return values.sources(right), by, self.limit(entry.get("limit") or {})

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


def _hook_time(text: str) -> int:
    return values.duration(text, "1s", "10m")


def _count(things: Sized, what: str) -> str:
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"


def _some(names: Iterable[str]) -> str:
    """The first few names, for a hint."""
    first = [f"'{name}'" for name in names]
    return ", ".join(first[:5]) + (", …" if len(first) > 5 else "")

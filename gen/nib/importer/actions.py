"""What the calls of scripts mean: forwards, forced routes, extra routes, and iptables rules."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from nib.importer import iptables
from nib.importer.calls import Call, flat, words
from nib.importer.draft import Draft
from nib.importer.iptables import Match, Ports, Rule
from nib.importer.remarks import Spot, Unclear
from nib.importer.services import Services
from nib.problem import Path, shown

_BY_ITSELF = frozenset({"enable_forwarding", "iptables_verbose", "verbose"})
_RULE_METHODS = ("firewall_rule", "iptables_append", "iptables_insert")


@dataclass(slots=True)
class Actions:
    """Reads calls; `rules` are the iptables rules that are left to be understood, in order.

    `forced` are those of force_route and their like: what they match, and the uplink.
    """

    services: Services
    to: Draft
    rules: list[tuple[Spot, Path, Rule]] = field(default_factory=list)
    forced: list[tuple[Spot, Match, str]] = field(default_factory=list)
    deleting: bool = False

    def read(self, calls: Iterable[Call], path: Path) -> None:
        """The calls of one file; what is left out belongs to `path`."""
        self.deleting = False
        for call in calls:
            try:
                self._read(call, path)
            except Unclear as unclear:
                self.to.notes.unread(call.spot, path, unclear.message, unclear.hint)

    def _read(self, call: Call, path: Path) -> None:
        arguments = flat(call.arguments)
        match call.method:
            case "command":
                self._command(call.spot, path, arguments)
            case "sh":
                self._command(call.spot, path, words(" ".join(arguments)))
            case "ip_route" | "ip_rule" as method:
                self._command(call.spot, path, ("ip", method[3:], *words(" ".join(arguments))))
            case "iptables":
                lists = call.arguments and isinstance(call.arguments[0], tuple)
                texts = arguments if lists else [" ".join(arguments)]
                for rule in [iptables.parse(words(text)) for text in texts]:
                    self._rule(call.spot, path, rule)
            case method if method in _RULE_METHODS:
                self._firewall_rule(call, path)
            case "firewall_op":
                self.deleting = arguments not in (("append",), ("insert",), ())
            case "forward" | "forward_with_snat":
                self._forward(call.spot, arguments)
            case "force_route":
                self._force_route(call.spot, arguments)
            case "add_route":
                self._add_route(call.spot, arguments)
            case method if method in _BY_ITSELF:
                self.to.notes.note(call.spot, path, f"{method} is not needed: nib does without")
            case method:
                raise Unclear(f"the method {shown(method)} has no equivalent")

    def _command(self, spot: Spot, path: Path, command: tuple[str, ...]) -> None:
        name, *rest = command[1:] if command[:1] == ("sudo",) else command or ("",)
        match name.rpartition("/")[2], rest:
            case "iptables", _:
                self._rule(spot, path, iptables.parse(tuple(rest)))
            case "ip", ["route" | "ro" | "r", "add" | "append" | "replace", *route]:
                self._ip_route(spot, route)
            case "ip6tables", _:
                hint = "an entry of firewall.allow with 'source: \"::/0\"' is for IPv6 alone"
                raise Unclear("nib's firewall is for both families alike: see firewall.allow", hint)
            case "echo", _:
                pass
            case _:
                when = "pre" if "pre-run" in spot.file.split("/") else "post"
                hint = f"a program in /etc/nib/hooks/{when}-apply.d can run it, at each 'nib apply'"
                raise Unclear("balance.yaml has no word for this command", hint)

    def _rule(self, spot: Spot, path: Path, rule: Rule) -> None:
        marked = {f"MARK-{old}": name for old, name in self.services.uplinks.items()}
        if (rule.table, rule.chain) == ("mangle", "PREROUTING") and rule.target in marked:
            if rule.inserted or rule.limit:
                raise Unclear("a mark that is inserted or limited has no equivalent")
            self.forced.append((spot, rule.match, marked[rule.target]))
        elif (rule.table, rule.chain, rule.target) == ("nat", "PREROUTING", "DNAT"):
            self._dnat(spot, rule)
        else:
            self.rules.append((spot, path, rule))

    def _firewall_rule(self, call: Call, path: Path) -> None:
        if self.deleting:
            raise Unclear("firewall_op() made a deletion of it")
        if len(call.arguments) < 2:
            raise Unclear("it needs a chain and a table")
        chain, table, *rest = flat(call.arguments)
        operation = "-I" if call.method == "iptables_insert" else "-A"
        command = ("-t", table or "filter", operation, chain, *_options(rest))
        self._rule(call.spot, path, iptables.parse(command))

    # -- forwards

    def _forward(self, spot: Spot, arguments: tuple[str, ...]) -> None:
        if len(arguments) < 2:
            raise Unclear("forward() needs a port and a host")
        port, host, *protocols = arguments
        protocols = [protocol.lower() for protocol in protocols] or ["tcp"]
        if not {"tcp", "udp"}.issuperset(protocols):
            raise Unclear("forwards are of tcp and udp")
        for protocol in protocols:
            self._add_forward(spot, protocol, iptables.ports(port), host, {})

    def _dnat(self, spot: Spot, rule: Rule) -> None:
        match = rule.match
        wanted = Match(
            protocol=match.protocol,
            dport=match.dport,
            source=match.source,
            device_in=match.device_in,
            destination=match.destination,
            states=match.states if match.states == ("NEW",) else (),
        )
        if match != wanted or match.protocol not in ("tcp", "udp") or not match.dport:
            raise Unclear(
                "a forward needs tcp or udp, a port, and nothing that nib has no word for"
            )
        if rule.to is None:
            raise Unclear("DNAT needs --to-destination")
        more: dict[str, object] = {}
        if match.device_in and not (uplink := self.services.uplink_of(match.device_in)):
            raise Unclear(f"{match.device_in} is the device of no uplink")
        if match.device_in:
            more["uplinks"] = [uplink]
        if match.destination:
            named = re.fullmatch(r"ip:(.*)", match.destination)
            if not named or not (uplink := self.services.uplinks.get(named[1])):
                hint = "a forward is for what comes in by the uplinks, whatever their addresses"
                raise Unclear("nib import does not know whose address this is", hint)
            more["uplinks"] = [uplink]
        if match.source:
            more["source"] = match.source
        if rule.limit:
            more["limit"] = limit_value(rule.limit)
        self._add_forward(spot, match.protocol, match.dport, rule.to, more)

    def _add_forward(
        self, spot: Spot, protocol: str, ports: Ports, host: str, more: dict[str, object]
    ) -> None:
        """One entry; rules that differ in protocol or uplink alone become one."""
        address, colon, port = host.partition(":")
        if not re.fullmatch(r"[0-9.]+", address) or (colon and not re.fullmatch("[0-9]+", port)):
            raise Unclear(f"nib import does not know how to reach {shown(host)}")
        same = colon and ports == ((int(port), int(port)),)
        entry = {
            "protocol": protocol,
            "port": port_value(ports),
            "to": address if same else host,
            **more,
        }
        for other in self.to.entries(("firewall", "forwards")):
            if _joined(other.value, entry, set(self.services.uplinks.values())):
                return
        self.to.add(("firewall", "forwards"), entry, spot)

    # -- routes

    def _force_route(self, spot: Spot, arguments: tuple[str, ...]) -> None:
        if self.deleting:
            raise Unclear("firewall_op() made a deletion of it")
        name, rest = (arguments[0], arguments[1:]) if arguments else ("", ())
        uplink = self.services.uplinks.get(name) or self.services.uplink_of(name)
        if uplink is None:
            raise Unclear(f"{shown(name)} is neither an uplink nor the device of one")
        self.forced.append((spot, iptables.selectors(_options(rest)), uplink))

    def _add_route(self, spot: Spot, arguments: tuple[str, ...]) -> None:
        if not 2 <= len(arguments) <= 3:
            raise Unclear("add_route() needs a network and a device")
        network, device, *masquerade = arguments
        entry: dict[str, object] = {"to": network, "device": device.partition(":")[0]}
        if masquerade and masquerade[0] not in ("", "0"):
            entry["masquerade"] = True
        self.to.add(("routes",), entry, spot)

    def _ip_route(self, spot: Spot, route: list[str]) -> None:
        entry: dict[str, object] = {"to": route[0] if route else ""}
        pairs = dict(zip(route[1::2], route[2::2], strict=False))
        if len(route) % 2 == 0 or len(pairs) != len(route) // 2 or entry["to"] == "default":
            raise Unclear(
                "nib import reads routes like: ip route add NETWORK via GATEWAY dev DEVICE"
            )
        for word, value in pairs.items():
            match word:
                case "via":
                    entry["via"] = value
                case "dev":
                    entry["device"] = value
                case "src":
                    message = f"src {value} is left away: the system chooses the source"
                    self.to.notes.note(spot, ("routes",), message)
                case "proto" | "scope" | "metric":
                    pass
                case _:
                    raise Unclear(f"a route has no {shown(word)} here")
        self.to.add(("routes",), entry, spot)


def translate_forced(actions: Actions, failover: bool) -> None:
    """Fill in `rules`: in Net-ISP-Balance the last mark won, here the first rule does."""
    for spot, match, uplink in reversed(actions.forced):
        try:
            value = {"match": _rule_match(match, actions.services), "use": uplink}
        except Unclear as unclear:
            actions.to.notes.unread(spot, ("rules",), unclear.message, unclear.hint)
            continue
        actions.to.add(("rules",), value, spot)
        if failover:
            message = "force_route() never worked in failover mode; this rule does"
            actions.to.notes.note(spot, ("rules",), message)
    if actions.to.entries(("rules",)):
        actions.to.explain(
            ("rules",),
            "The first match wins, so their order is turned round.  While the uplink is down, such",
            "flows go by another; a policy with 'when_down: block' would refuse them.",
        )


def _rule_match(match: Match, services: Services) -> dict[str, object]:
    """What a rule of nib matches.  Raises Unclear."""
    if match.device_out or match.icmp or match.states not in ((), ("NEW",)):
        raise Unclear("a rule chooses for new flows, by addresses, ports, protocol, lan and dscp")
    value: dict[str, object] = {}
    lan = named_lan(match, services)
    if lan:
        value["lan"] = lan
    elif match.source:
        value["source"] = match.source
    if match.destination and ":" in match.destination:
        raise Unclear("nib import does not know this address")
    if match.destination:
        value["destination"] = match.destination
    if match.protocol:
        value["protocol"] = match.protocol
    if match.sport:
        value["sport"] = port_value(match.sport)
    if match.dport:
        value["dport"] = port_value(match.dport)
    if match.dscp:
        value["dscp"] = _dscp(match.dscp)
    if not value:
        raise Unclear("this would send everything there; weights and tiers do that")
    return value


def _dscp(text: str) -> int | str:
    if re.fullmatch(r"0x[0-9a-fA-F]{1,2}", text):
        return int(text, 16)
    return int(text) if re.fullmatch(r"[0-9]{1,2}", text) else text.lower()


def named_lan(match: Match, services: Services) -> str | None:
    """The lan whose device or network a rule names.  Raises Unclear if that is nobody's."""
    by_device = services.lan_of(match.device_in) if match.device_in else None
    if match.device_in and not by_device:
        raise Unclear(f"{match.device_in} is the device of no lan")
    named = re.fullmatch(r"net:(.*)", match.source or "")
    by_network = services.lans.get(named[1]) if named else None
    if match.source and ":" in match.source and not by_network:
        raise Unclear("nib import does not know this network")
    if by_device and by_network and by_device != by_network:
        raise Unclear("this matches nothing: device and network are of different lans")
    if by_device and match.source and not by_network:
        raise Unclear("a rule for a lan and a source at once is not translated")
    return by_device or by_network


def port_value(ports: Ports) -> object:
    """Ports as balance.yaml says them: a number, a range, or a list."""
    texts: list[object] = [low if low == high else f"{low}-{high}" for low, high in ports]
    return texts[0] if len(texts) == 1 else texts


def limit_value(limit: iptables.Limit) -> dict[str, object]:
    """A limit as balance.yaml says it."""
    return {"rate": limit.rate, "burst": limit.burst, "per": "all"}


def _options(arguments: Iterable[str]) -> tuple[str, ...]:
    """The words of options in Net-ISP-Balance's way: `-dport` is `--dport`."""
    doubled = (re.sub(r"^-(?=\w{2})", "--", argument) for argument in arguments)
    return words(" ".join(doubled))


def _joined(entry: dict[str, object], other: dict[str, object], all_uplinks: set[str]) -> bool:
    """Make one entry of two, if they are about the same; whether that was so."""
    differing = {key for key in entry.keys() | other.keys() if entry.get(key) != other.get(key)}
    if not differing:
        return True
    if differing == {"protocol"}:
        entry["protocol"] = ["tcp", "udp"]
        return True
    if differing != {"uplinks"}:
        return False
    if "uplinks" in entry and "uplinks" in other:
        mine, theirs = entry["uplinks"], other["uplinks"]
        assert isinstance(mine, list) and isinstance(theirs, list)
        both = list(dict.fromkeys((*mine, *theirs)))
        if set(both) != all_uplinks:
            entry["uplinks"] = both
            return True
    entry.pop("uplinks", None)
    return True

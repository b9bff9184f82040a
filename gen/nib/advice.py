"""What works, but may be regretted: warnings about a configuration that is right.

Nothing here depends on the machine: whether Tailscale runs beside nib, its administrator knows.
"""

from collections.abc import Collection, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from nib.advice_rules import rules
from nib.config import Config, Network, Static, Uplink
from nib.document import Document
from nib.monitor.tally import RECENT
from nib.peers import PEERS, Peer
from nib.planner import plan_uplinks
from nib.problem import Path, Problem, in_order
from nib.shape import schema
from nib.targets import Neighbour, Ping, Target, of_family

# Who answers at the addresses that people ask: the operators' own documentation.
OPERATORS: dict[str, tuple[Network, ...]] = {
    "Cloudflare": (
        IPv4Network("1.1.1.0/24"),
        IPv4Network("1.0.0.0/24"),
        IPv6Network("2606:4700:4700::/48"),
    ),
    "Google": (
        IPv4Network("8.8.8.0/24"),
        IPv4Network("8.8.4.0/24"),
        IPv6Network("2001:4860:4860::/48"),
    ),
    "Quad9": (
        IPv4Network("9.9.9.0/24"),
        IPv4Network("149.112.112.0/24"),
        IPv6Network("2620:fe::/48"),
    ),
    "OpenDNS": (
        IPv4Network("208.67.220.0/22"),
        IPv6Network("2620:119:35::/48"),
        IPv6Network("2620:119:53::/48"),
    ),
    "AdGuard": (IPv4Network("94.140.14.0/23"), IPv6Network("2a10:50c0::/48")),
    "Level 3": (IPv4Network("4.2.2.0/24"),),
}


def advice(document: Document, config: Config) -> tuple[Problem, ...]:
    """The warnings about `config`, which is what `document` means: each once, sorted by place."""
    found = [*_mask(document, config), *_priorities(document, config)]
    found += [*_tables(document, config), *_stranded(document, config), *rules(document, config)]
    for uplink in config.uplinks:
        found += [*_operators(document, uplink), *_flapping(document, uplink)]
        found += _looping(document, uplink)
    return in_order(found)


def _mask(document: Document, config: Config) -> Iterator[Problem]:
    """Where another mask would be better.  No bits are free of Calico's and Cilium's."""
    path: Path = ("marks", "mask")
    usual = int(_usual("mask"), 16)
    shared = [peer for peer in PEERS if peer.bits & config.mask]
    if any(not peer.bits & usual for peer in shared):
        sentence = f"the mask 0x{config.mask:08x} shares bits with {_names(shared)}"
        hint = "if any of them runs here, use bits inside 0xff000000, like the default 0x7f000000"
        yield Problem(document.place(path), path, sentence, hint)


def _priorities(document: Document, config: Config) -> Iterator[Problem]:
    """Whose ip rules would not come before nib's.  With the usual priority only pbr's would not."""
    path: Path = ("marks", "priority")
    late = [peer for peer in PEERS if max(peer.priorities, default=0) >= config.priority]
    if late and config.priority != _usual("priority"):
        numbers = [f"{peer.name} ({_span(peer.priorities)})" for peer in late]
        sentence = f"not all ip rules of {_listed(numbers)} come before {config.priority}"
        behind = max(max(peer.priorities) for peer in late) + 1
        hint = f"if any of them runs here, use {behind} or more"
        yield Problem(document.place(path), path, sentence, hint)


def _usual(key: str) -> Any:
    """The default of a key of `marks`."""
    return schema()["properties"]["marks"]["properties"][key]["default"]


def _span(numbers: Collection[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"


def _tables(document: Document, config: Config) -> Iterator[Problem]:
    for uplink in plan_uplinks(config):
        path: Path = ("uplinks", uplink.name, "id")
        if path not in document.values:
            path = path[:2]
        owners = [peer for peer in PEERS if uplink.table in peer.tables]
        if owners:
            sentence = f"the routing table {uplink.table} of id {uplink.id} is {_names(owners)}'s"
            hint = "if it runs here, pin another id, like 'id: 1'"
            yield Problem(document.place(path), path, sentence, hint)


def _stranded(document: Document, config: Config) -> Iterator[Problem]:
    """Lans that may use uplinks, none of which has a family of theirs."""
    for lan in config.lans:
        path: Path = ("lans", lan.name)
        ways = [uplink for uplink in config.uplinks if config.may_forward(lan.name, uplink.name)]
        for family in lan.families if ways and isinstance(lan.address, Static) else ():
            if not any(family in way.families for way in ways):
                sentence = f"IPv{family} has no way out: no uplink that this lan may use has it"
                hint = "add one that has to the lan's groups in 'forwarding'"
                if family == 6 and 4 in lan.families:
                    hint += ", or say 'ipv6: off' here"
                yield Problem(document.place(path), path, sentence, hint)


def _operators(document: Document, uplink: Uplink) -> Iterator[Problem]:
    path = _written(document, uplink, "targets")
    for family in uplink.families:
        targets = of_family(uplink.probe.targets, family)
        operators = {_operator(target) for target in targets}
        if len(operators) == 1 and (name := operators.pop()):
            sentence = f"every IPv{family} target is {name}'s"
            hint = f"a bad day of {name}'s looks like one of the line: add another operator's"
            yield Problem(document.place(path), path, sentence, hint)
        if all(isinstance(one, Ping | Neighbour) and one.address is None for one in targets):
            sentence = f"the only IPv{family} target is the gateway"
            hint = "it answers while everything beyond it is dead: add one that is further away"
            yield Problem(document.place(path), path, sentence, hint)


def _flapping(document: Document, uplink: Uplink) -> Iterator[Problem]:
    path = _written(document, uplink, "fall")
    counts = {len(of_family(uplink.probe.targets, family)) for family in uplink.families}
    if uplink.probe.fall == 1 and uplink.probe.quorum in counts:
        sentence = "one lost packet takes the uplink down"
        hint = "with 'fall: 2' or more, or a quorum below the number of targets, it takes several"
        yield Problem(document.place(path), path, sentence, hint)


def _looping(document: Document, uplink: Uplink) -> Iterator[Problem]:
    """Limits that take down a line for what nobody does to it while it is down."""
    probe = uplink.probe
    if not (probe.loss or probe.rtt or probe.jitter):
        return
    if not probe.hold_down_ms and not probe.damping_ms:
        path = _written(document, uplink, "damping")
        sentence = "a line that is bad when it is used comes and goes in a loop"
        hint = "it recovers while it is down: leave 'damping' on, or give a 'hold_down'"
        yield Problem(document.place(path), path, sentence, hint)
    if probe.loss and probe.loss.down * RECENT < 100:
        path = (*_written(document, uplink, "loss"), "down")
        sentence = f"one lost packet of the first {RECENT} takes the uplink down"
        hint = f"choose {100 // RECENT}% or more"
        yield Problem(document.place(path), path, sentence, hint)


def _written(document: Document, uplink: Uplink, key: str) -> Path:
    """Where what an uplink says in its `probe` is written: with the uplink, or for all of them."""
    own: Path = ("uplinks", uplink.name, "probe", key)
    return own if own in document.values else ("probe", key)


def _operator(target: Target) -> str:
    """Empty where nobody is known."""
    if target.address is None:
        return ""
    address = ip_address(target.address)
    return next((n for n, own in OPERATORS.items() if any(address in one for one in own)), "")


def _names(peers: list[Peer]) -> str:
    return _listed([peer.name for peer in peers])


def _listed(words: list[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last

"""A client, a router and what is behind its uplinks, in plain namespaces, without systemd.

The router has the addresses, routes, rules, settings and table that nib's plan says.  Baselines
have plain masquerading instead of the table, and the same rules or none.
"""

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TextIO

from bench import frames, spaces
from nib.check import check
from nib.document import parse
from nib.ip_rules import Rule
from nib.plan import Plan
from nib.planner import make_plan
from nib.render import render

CLIENT, ROUTER = "02:00:00:01:00:01", "02:00:00:01:00:02"
NOBODY = "02:00:00:02:ff:ff"
LAN = "192.168.10"
SERVER = "203.0.113.10"

MASQUERADE = """
table inet bare {
  chain p {
    type nat hook postrouting priority srcnat; policy accept;
    oifname { %s } masquerade
  }
}
"""

# What systemd sets on every Debian, nib or no nib.
SETTINGS = ("ip_forward=1", "conf.all.rp_filter=0", "conf.default.rp_filter=2")
# What nib sets: where the kernel chooses among the uplinks, it does so for each flow.
BY_FLOW = "fib_multipath_hash_policy=1"


def plan(uplinks: int, lans: int = 1, rules: int = 0, forwards: int = 0) -> Plan:
    """A plan with that many static uplinks of the same weight, and so on."""
    text = balance(uplinks, lans, rules, forwards)
    return make_plan(check(parse("balance.yaml", text.encode())))


def balance(uplinks: int, lans: int = 1, rules: int = 0, forwards: int = 0) -> str:
    """The balance.yaml of it.  No rule and no forward is for the traffic of these benchmarks.

    A quarter of the rules each asks for destinations, for ports, for sources, and for a source with
    some of its ports.
    """
    lines = ["uplinks:"]
    for n in range(1, uplinks + 1):
        lines.append(f"  u{n}: {{device: wan{n}, address: 198.18.{n}.2/24, gateway: 198.18.{n}.1}}")
    lines.append("lans:")
    lines += [
        f"  l{n}: {{device: lan{n}, address: 192.168.{9 + n}.1/24}}" for n in range(1, lans + 1)
    ]
    lines += ["rules:"] if rules else []
    matches = (
        "destination: 100.64.{0}.0/24",
        "protocol: tcp, dport: 2{0:03}",
        "source: 192.168.10.{0}",
        "source: 192.168.10.{0}, protocol: udp, dport: [3{0:03}, 4{0:03}-4{0:03}9]",
    )
    for n in range(rules):
        match = matches[len(matches) * n // rules].format(20 + n)
        lines.append(f"  - {{match: {{{match}}}, use: u{n % uplinks + 1}}}")
    lines += ["firewall:", "  forwards:"] if forwards else []
    for n in range(forwards):
        to = f"192.168.{10 + n % lans}.{20 + n % 200}:{80 + n % 7}"
        lines.append(f'    - {{protocol: tcp, port: {10000 + n}, to: "{to}"}}')
    return "\n".join(lines) + "\n"


def table(of: Plan) -> str:
    """nib's own ruleset for it."""
    return str(render(of)["nib/nib.nft"])


def rule(of: Rule) -> str:
    """An ip rule as `ip` wants it."""
    words = [f"rule add priority {of.priority}"]
    words += [f"oif {of.oif}"] if of.oif else []
    words += [f"iif {of.iif}"] if of.iif else []
    words += [f"from {of.source}"] if of.source else []
    words += [f"fwmark {of.mark:#x}/{of.mask:#x}"] if of.mark is not None else []
    if of.goto is not None:
        return " ".join([*words, f"goto {of.goto}"])
    words += [f"table {of.table}"] if of.table is not None else ["type unreachable"]
    if of.suppress_prefixlength is not None:
        words += [f"suppress_prefixlength {of.suppress_prefixlength}"]
    return " ".join(words)


@dataclass(frozen=True, slots=True)
class Way:
    """A configuration of the router: a plan, the ip rules of it that are there, and a ruleset."""

    name: str
    plan: Plan
    rules: tuple[Rule, ...]
    ruleset: str


def plain(of: Plan) -> Way:
    """No rules, plain masquerading: main's defaults carry."""
    return Way("no ip rules, plain masquerade", of, (), _masquerade(of))


def bare(of: Plan) -> Way:
    """nib's routes and rules, but plain masquerading.  Without the guard: nothing is marked."""
    rules = tuple(rule for rule in of.rules if rule.iif is None)
    return Way(f"plain masquerade, {len(of.uplinks)} uplinks", of, rules, _masquerade(of))


def spread(of: Plan) -> Way:
    """No marks: the kernel itself spreads flows over the uplinks, plain masquerading."""
    rules = tuple(
        r for r in of.rules if r.suppress_prefixlength == 0 or r.table == of.balance_table
    )
    return Way(f"the kernel alone, {len(of.uplinks)} uplinks", of, rules, _masquerade(of))


def nib(of: Plan, name: str = "") -> Way:
    """nib, every uplink alive."""
    return Way(name or f"nib, {len(of.uplinks)} uplinks", of, of.rules, table(of))


def _masquerade(of: Plan) -> str:
    return MASQUERADE % ", ".join(f'"{uplink.device}"' for uplink in of.uplinks)


class Wires:
    """The three namespaces; they last as long as this object."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._spaces: dict[str, int] = {}
        self._open: list[socket.socket] = []
        for name in ("client", "router", "sink"):
            self._spaces[name] = spaces.create()
        self._cable()
        self._configure()
        self._counters: dict[str, TextIO] = {}
        for name in ("client", "sink"):
            with spaces.inside(self.path(name)):
                counters = Path("/proc/thread-self/net/dev").open()  # noqa: SIM115 - until the end
                self._counters[name] = counters
        self.client = self.socket("client", "eth0")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for counters in self._counters.values():
            counters.close()
        for opened in self._open:
            opened.close()
        for descriptor in self._spaces.values():
            os.close(descriptor)

    def path(self, name: str) -> Path:
        """The namespace of that name."""
        return Path(f"/proc/{os.getpid()}/fd/{self._spaces[name]}")

    def run(self, name: str, command: str, stdin: str = "") -> str:
        """Run a shell command in a namespace."""
        with spaces.inside(self.path(name)):
            done = subprocess.run(
                ["sh", "-euc", command], input=stdin, capture_output=True, text=True, check=False
            )
        if done.returncode:
            raise RuntimeError(f"{name}: {command}: {done.stderr}")
        return done.stdout

    def socket(self, name: str, device: str) -> socket.socket:
        """A packet socket there, closed with the rest."""
        with spaces.inside(self.path(name)):
            self._open.append(frames.open_socket(device))
        return self._open[-1]

    def _cable(self) -> None:
        client, sink = self.path("client"), self.path("sink")
        lines = [
            f"link add lan1 address {ROUTER} type veth "
            f"peer name eth0 address {CLIENT} netns {client}",
            *(
                f"link add {u.device} address {_mac(2, n)} type veth "
                f"peer name {u.device} address {_mac(3, n)} netns {sink}"
                for n, u in enumerate(self._way.plan.uplinks, start=1)
            ),
        ]
        self.run("router", "ip -batch -", "\n".join(lines) + "\n")

    def _configure(self) -> None:
        of = self._way.plan
        settings = [f"net.ipv4.{setting}" for setting in (*SETTINGS, BY_FLOW)]
        lines = ["link set lo up", f"address add {LAN}.1/24 dev lan1", "link set lan1 up"]
        lines.append(f"neigh replace {LAN}.10 lladdr {CLIENT} dev lan1 nud permanent")
        far = []
        ways = []
        for uplink in of.uplinks:
            device, gateway = uplink.device, uplink.gateway
            lines += [
                f"address add {uplink.addresses[0]} dev {device}",
                f"link set {device} up",
                # packets for somebody else are dropped first of all
                f"neigh replace {gateway} lladdr {NOBODY} dev {device} nud permanent",
                f"route add default via {gateway} dev {device} metric {uplink.metric}",
            ]
            settings.append(f"net.ipv4.conf.{device}.rp_filter=2")
            far.append(f"link set {device} up")
            settings.append(f"net.ipv4.conf.{device}.src_valid_mark=1")
            settings.append(f"net.ipv4.conf.{device}.ignore_routes_with_linkdown=1")
            lines.append(f"route add default via {gateway} dev {device} table {uplink.table}")
            ways.append(f"nexthop via {gateway} dev {device} weight {uplink.weight}")
        lines.append(f"route add default table {of.balance_table} {' '.join(ways)}")
        lines += [rule(entry) for entry in self._way.rules]
        for name in self._spaces:
            self.run(name, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
        self.run("client", "ip -batch -", "link set lo up\nlink set eth0 up\n")
        self.run("sink", "ip -batch -", "\n".join(["link set lo up", *far]) + "\n")
        self.run("router", f"sysctl -qw {' '.join(settings)}")
        self.run("router", "ip -batch -", "\n".join(lines) + "\n")
        self.run("router", "nft -f -", self._way.ruleset)

    def passed(self) -> int:
        """How many packets came out of the uplinks, ever."""
        return self._received("sink", r"wan\d+")

    def returned(self) -> int:
        """How many packets the client got, ever."""
        return self._received("client", "eth0")

    def _received(self, name: str, device: str) -> int:
        self._counters[name].seek(0)
        counted = re.findall(rf"\b{device}: *\d+ +(\d+)", self._counters[name].read())
        return sum(map(int, counted))

    @contextlib.contextmanager
    def heard(self) -> Iterator[dict[str, list[bytes]]]:
        """What comes out of the uplinks meanwhile, by device; for a few packets."""
        listening = {}
        with spaces.inside(self.path("sink")):
            for uplink in self._way.plan.uplinks:
                ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
                ear.bind((uplink.device, frames.ETHERTYPE_IP))
                ear.setblocking(False)
                listening[uplink.device] = ear
        got: dict[str, list[bytes]] = {}
        try:
            yield got
            time.sleep(0.05)
            for device, ear in listening.items():
                with contextlib.suppress(BlockingIOError):
                    while True:
                        frame = ear.recv(2048)
                        got.setdefault(device, []).append(frame)
        finally:
            for ear in listening.values():
                ear.close()

    def answer(self) -> None:
        """From now on the server is really there, behind every uplink."""
        lines = [f"address add {SERVER} dev lo"]
        for uplink in self._way.plan.uplinks:
            device, there = uplink.device, uplink.addresses[0].partition("/")[0]
            lines += [
                f"link set {device} address {NOBODY}",
                f"route add {there} dev {device}",
                f"neigh replace {there} lladdr {self.mac_of(device)[1]} dev {device} nud permanent",
            ]
        self.run("sink", "ip -batch -", "\n".join(lines) + "\n")
        at_home = [
            f"address add {LAN}.10/24 dev eth0",
            f"neigh replace {LAN}.1 lladdr {ROUTER} dev eth0 nud permanent",
            f"route add default via {LAN}.1",
        ]
        self.run("client", "ip -batch -", "\n".join(at_home) + "\n")

    def mac_of(self, device: str) -> tuple[str, str]:
        """The hardware addresses of both ends of an uplink's wire: outside, router."""
        number = [u.device for u in self._way.plan.uplinks].index(device) + 1
        return _mac(3, number), _mac(2, number)


def _mac(kind: int, number: int) -> str:
    return f"02:00:00:{kind:02x}:00:{number:02x}"

"""One iptables command as a value, as far as nib has words for what it matches."""

import re
from dataclasses import dataclass
from typing import Any

from nib import values
from nib.importer.remarks import Unclear
from nib.problem import shown

Ports = tuple[tuple[int, int], ...]

_NAMED = """
ftp=21 ssh=22 telnet=23 smtp=25 domain=53 bootps=67 bootpc=68 tftp=69 http=80 www=80 kerberos=88
pop3=110 sunrpc=111 ntp=123 imap2=143 imap=143 snmp=161 irc=194 ldap=389 https=443 smtps=465
submissions=465 isakmp=500 submission=587 ldaps=636 domain-s=853 rsync=873 imaps=993 pop3s=995
openvpn=1194 l2tp=1701 pptp=1723 nfs=2049 mysql=3306 rdp=3389 ipsec-nat-t=4500 sip=5060 sips=5061
xmpp-client=5222 postgresql=5432 vnc=5900 x11=6000 http-alt=8080
"""
_PORTS = {name: int(port) for name, _, port in (pair.partition("=") for pair in _NAMED.split())}
"""The names of ports that Debian's /etc/services has and firewalls of routers use."""

# what --syn means, and how it is mostly written where segments are clamped
_SYN = (("SYN,RST,ACK,FIN", "SYN"), ("FIN,SYN,RST,ACK", "SYN"), ("SYN,RST", "SYN"))

_UNITS = {"s": "second", "m": "minute", "h": "hour", "d": "day"}

# -m: what only loads the words that follow
_MODULES = frozenset(
    {"tcp", "udp", "multiport", "state", "conntrack", "limit", "comment", "icmp", "dscp"}
)


@dataclass(frozen=True, slots=True)
class Match:
    """What packets a rule is for; None and empty mean any."""

    protocol: str | None = None
    source: str | None = None
    destination: str | None = None
    sport: Ports = ()
    dport: Ports = ()
    device_in: str | None = None
    device_out: str | None = None
    states: tuple[str, ...] = ()
    dscp: str | None = None
    icmp: str | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """So many packets in a time, after a burst: `rate` is in nib's words, like `5/minute`."""

    rate: str
    burst: int = 5


@dataclass(frozen=True, slots=True)
class Rule:
    """`-A` or `-I` (`inserted`) of one rule; `to` is where a DNAT leads."""

    table: str
    chain: str
    inserted: bool
    match: Match
    limit: Limit | None
    target: str
    to: str | None


def parse(words: tuple[str, ...]) -> Rule:
    """The rule that `iptables WORDS` adds.  Raises Unclear for everything else."""
    reader = _Words(list(words))
    reader.read()
    if not reader.chain:
        raise Unclear("nib import reads rules that are added with -A or -I")
    if not reader.target:
        raise Unclear("a rule without -j does nothing")
    return Rule(
        reader.table,
        reader.chain,
        reader.inserted,
        Match(**reader.match),
        reader.limit,
        reader.target,
        reader.to,
    )


def selectors(words: tuple[str, ...]) -> Match:
    """What the words of a rule without a chain match.  Raises Unclear."""
    reader = _Words(list(words))
    reader.read()
    if reader.chain or reader.target or reader.limit:
        raise Unclear("only what packets match can stand here")
    return Match(**reader.match)


def ports(text: str) -> Ports:
    """`80`, `http`, `5000:5010` or a list with commas.  Raises Unclear."""
    return values.merged(_port_range(one) for one in text.split(","))


def _port_range(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    try:
        low = _port(first or "1")
        return values.port_range(f"{low}-{_port(last or '65535')}" if colon else low)
    except values.Wrong as wrong:
        raise Unclear(wrong.message) from None


def _port(text: str) -> int:
    if text in _PORTS:
        return _PORTS[text]
    if re.fullmatch(r"[0-9]{1,5}", text) and 1 <= int(text) <= 65535:
        return int(text)
    raise Unclear(f"nib import knows no port {shown(text)}")


class _Words:
    """The words of a command from left to right."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.table = "filter"
        self.chain = self.target = ""
        self.inserted = False
        self.match: dict[str, Any] = {}
        self.limit: Limit | None = None
        self.to: str | None = None

    def value(self) -> str:
        if not self.words:
            raise Unclear("the command ends too early")
        return self.words.pop(0)

    def read(self) -> None:
        while self.words:
            word = self.value()
            match word:
                case "-t" | "--table":
                    self.table = self.value()
                case "-A" | "--append" | "-I" | "--insert":
                    self.chain, self.inserted = self.value(), word in ("-I", "--insert")
                    if self.inserted and self.words and self.words[0].isdecimal():
                        self.value()
                case "-m" | "--match":
                    module = self.value()
                    if module not in _MODULES:
                        raise Unclear(f"nib import does not know iptables' match {shown(module)}")
                case "-j" | "--jump":
                    self.target = self.value()
                case "--limit" | "--limit-burst":
                    self.limited(word, self.value())
                case "--to-destination" | "--to":
                    self.to = self.value()
                case "--comment" | "--log-prefix" | "--log-level" | "--reject-with":
                    self.value()
                case "--syn" | "--clamp-mss-to-pmtu":
                    pass  # nib matches flows: the first packet of each
                case "--tcp-flags":
                    if (self.value(), self.value()) not in _SYN:
                        raise Unclear("nib matches flows, not the flags of packets")
                case "-P" | "-N" | "-F" | "-X" | "-D" | "-R" | "-Z":
                    raise Unclear("there are no chains and no policies of iptables here")
                case "!":
                    raise Unclear("nib has no match that is turned round with '!'")
                case _:
                    self.matched(word)

    def matched(self, word: str) -> None:
        match word:
            case "-p" | "--protocol" | "--proto":
                protocol = self.value().lower()
                self.set("protocol", {"all": None, "6": "tcp", "17": "udp"}.get(protocol, protocol))
            case "-s" | "--source" | "--src":
                self.set("source", self.value())
            case "-d" | "--destination" | "--dst":
                self.set("destination", self.value())
            case "--sport" | "--source-port" | "--sports" | "--source-ports":
                self.set("sport", ports(self.value()))
            case "--dport" | "--destination-port" | "--dports" | "--destination-ports":
                self.set("dport", ports(self.value()))
            case "-i" | "--in-interface":
                self.set("device_in", self.value())
            case "-o" | "--out-interface":
                self.set("device_out", self.value())
            case "--state" | "--ctstate":
                self.set("states", tuple(sorted(self.value().upper().split(","))))
            case "--dscp" | "--dscp-class":
                self.set("dscp", self.value())
            case "--icmp-type":
                self.set("icmp", self.value())
            case _:
                raise Unclear(f"nib import does not know iptables' {shown(word)}")

    def set(self, key: str, value: Any) -> None:
        if key in self.match:
            raise Unclear(f"{key} is given twice")
        if value == "!":
            raise Unclear("nib has no match that is turned round with '!'")
        self.match[key] = value

    def limited(self, word: str, value: str) -> None:
        before = self.limit or Limit("3/hour")  # iptables' default
        if word == "--limit-burst":
            if not re.fullmatch(r"[1-9][0-9]{0,4}", value) or int(value) > 65535:
                raise Unclear(f"{shown(value)} is no burst")
            self.limit = Limit(before.rate, int(value))
            return
        rate = re.fullmatch(r"([1-9][0-9]{0,5})(?:/([smhd])[a-z]*)?", value)
        if not rate:
            raise Unclear(f"{shown(value)} is no limit")
        self.limit = Limit(f"{rate[1]}/{_UNITS[rate[2] or 's']}", before.burst)

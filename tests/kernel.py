"""A real kernel as the router that a plan describes, and what it does with packets.

In a private network every device of nib's is a tun: what is written to it comes in, and what leaves
by it can be read.  Addresses, routes, rules, settings and the table are those of the plan; what is
delivered shows up at raw sockets, which sit behind the firewall.
"""

import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_interface
from itertools import chain
from pathlib import Path
from pwd import getpwnam

from datagrams import NUMBERS, Seen, built, data, family_of, read
from nib.families import FAMILIES, Family
from nib.ip_rules import Rule
from nib.oracle import Fate, Packet, Situation
from nib.oracle.values import Address
from nib.plan import Plan, Uplink
from nib.render import render
from nib.state import carriers, render_state
from packets import there

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
TUN_WITHOUT_HEADER = 0x1001

# Sent at once, before what comes out of it is read: a tun keeps 500.
AT_ONCE = 100
QUIET_S = 0.02

_REFUSED = {
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EACCES,
    errno.ECONNREFUSED,
}


@dataclass(frozen=True, slots=True)
class Fact:
    """What became of a packet; of one that leaves: by which device, as what."""

    fate: Fate
    device: str | None = None
    seen: Seen | None = None


@contextmanager
def network() -> Iterator[None]:
    """A network of its own for this process and what it starts.  Only root may."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    try:
        yield
    finally:
        assert libc.setns(home, CLONE_NEWNET) == 0
        os.close(home)


# -- the router ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Kernel:
    """A router that runs a plan; only one at a time, within `network()`."""

    plan: Plan
    situation: Situation
    root: Path = Path("/")
    _wires: dict[str, int] = field(default_factory=dict)
    _ears: dict[tuple[Family, int], socket.socket] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "Kernel":
        with ExitStack() as stack:
            for device in dict.fromkeys((*self.plan.devices, *self.plan.outside)):
                self._wires[device] = _wire(device)
                stack.callback(os.close, self._wires[device])
            files = render(self.plan)
            self._settings(str(files["sysctl.d/05-nib.conf"]))
            for family in FAMILIES:
                steps = (self._addresses(family), self._routes(family), self._rules(family))
                _run(["ip", f"-{family}", "-batch", "-"], "\n".join(chain(*steps)) + "\n")
                for number in {NUMBERS[word, family] for word, f in NUMBERS if f == family}:
                    ear = stack.enter_context(_ear(family, number))
                    self._ears[family, number] = ear
            self._load(str(files["nib/nib.nft"]))
            known = self.situation
            state = render_state(self.plan, known.live, known.hours, there(self.plan, known))
            self._load(state)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _load(self, text: str) -> None:
        command = ["nft", "-f", "-"]
        if self.root != Path("/"):
            command = ["chroot", str(self.root), "/usr/sbin/nft", "-f", "-"]
        _run(command, text)

    def _settings(self, text: str) -> None:
        for line in text.splitlines():
            key, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                key = key.strip().removeprefix("-")
                _set(key if "/" in key else key.replace(".", "/"), value.strip())
        # the lans' are the distribution's; a test hears every refusal
        for device in ("all", *(lan.device for lan in self.plan.lans)):
            _set(f"net/ipv4/conf/{device}/rp_filter", "0")
        _set("net/ipv4/icmp_ratemask", "0")
        _set("net/ipv6/icmp/ratelimit", "0")
        _set("net/ipv6/icmp/ratemask", "")

    def _addresses(self, family: Family) -> Iterator[str]:
        if family == 4:
            yield "link set lo up"
            yield from (f"link set {device} up" for device in self._wires)
        late = " nodad" if family == 6 else ""
        lans = {lan.device for lan in self.plan.lans}
        for owner in (*self.plan.uplinks, *self.plan.lans):
            for address in owner.addresses_of(family):
                yield f"address add {address} dev {owner.device}{late}"
        for device, interfaces in self.situation.addresses.items():
            for one in interfaces:
                if one.version == family:
                    # as the monitor's route to a lan goes before networkd's to the uplink
                    first = " metric 1" if family == 6 and device in lans else ""
                    yield f"address add {one} dev {device}{late}{first}"
        for modem in self.plan.modems:
            if modem.own is not None and family == 4:
                yield f"address add {modem.own} dev {modem.device}"

    def _routes(self, family: Family) -> Iterator[str]:
        for route in self.plan.routes:
            if route.family == family:
                via = f"via {route.via} onlink " if route.via else ""
                metric = f" metric {route.metric}" if route.metric else ""
                yield f"route add {route.to} {via}dev {route.device}{metric}"
        for uplink in self.plan.uplinks:
            if family in uplink.families:
                way = self._way(uplink, family)
                yield f"route add default {way} table {uplink.table}"
                yield f"route add default {way} metric {uplink.metric}"
        shares = carriers(self.plan.policies[0], self.situation.live.get(family, frozenset()))
        if shares and self.situation.balanced:
            hops = " ".join(
                f"nexthop {self._way(self.plan.uplink(one.uplink), family)} weight {one.weight}"
                for one in shares
            )
            only = self._way(self.plan.uplink(shares[0].uplink), family)
            hops = hops if len(shares) > 1 else only
            yield f"route add default table {self.plan.balance_table} {hops}"

    def _way(self, uplink: Uplink, family: Family) -> str:
        gateway = uplink.gateway if family == 4 else uplink.gateway6 or "fe80::1"
        if gateway is None and uplink.kind == "dhcp":
            first = next(one for one in self.situation.addresses[uplink.device])
            gateway = str(first.network[1])
        return f"via {gateway} dev {uplink.device} onlink" if gateway else f"dev {uplink.device}"

    def _rules(self, family: Family) -> Iterator[str]:
        for rule in self.plan.rules:
            if rule.family == family:
                yield f"rule add pref {rule.priority} {_selectors(rule)}"
        for uplink in self.plan.uplinks:
            given = self.situation.addresses.get(uplink.device, ())
            pages = (m.own for m in self.plan.modems if m.own and m.device == uplink.device)
            for one in (*given, *map(ip_interface, pages)):
                if one.version == family:
                    pref = uplink.address_priority
                    yield f"rule add pref {pref} from {one.ip} lookup {uplink.table}"

    # -- packets ---------------------------------------------------------------------------------

    def facts(self, packets: Mapping[int, Packet]) -> dict[int, Fact]:
        """What becomes of each packet; their numbers are between 1 and 2^31.

        The router's own of TCP are recognised by their source port: each needs one of its own.
        """
        found: dict[int, Fact] = {}
        numbers = list(packets)
        for start in range(0, len(numbers), AT_ONCE):
            batch = {number: packets[number] for number in numbers[start : start + AT_ONCE]}
            own = {n: packet for n, packet in batch.items() if packet.device is None}
            with ExitStack() as stack:
                sockets = {n: stack.enter_context(_own(packet)) for n, packet in own.items()}
                for number, packet in batch.items():
                    if packet.device is None:
                        said = _speak(sockets[number], packet, number)
                        if said is not None:
                            found[number] = said
                    else:
                        os.write(self._wires[packet.device], built(packet, number))
                self._hear(batch, found)
                for number, packet in own.items():
                    if number not in found:
                        found[number] = _told(sockets[number], packet)
        return {number: found.get(number, Fact("dropped")) for number in packets}

    def _hear(self, batch: Mapping[int, Packet], found: dict[int, Fact]) -> None:
        """Until it is quiet."""
        wires = {handle: device for device, handle in self._wires.items()}
        ears = {ear.fileno(): ear for ear in self._ears.values()}
        by_port = {
            (packet.family, packet.sport): number
            for number, packet in batch.items()
            if packet.device is None and packet.protocol == "tcp"
        }
        delivered: set[int] = set()
        until = time.monotonic() + QUIET_S
        while (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select([*wires, *ears], [], [], left)
            if ready:
                until = time.monotonic() + QUIET_S
            for handle in ready:
                if handle in ears:
                    delivered.update(_listen(ears[handle], by_port))
                    continue
                for packet in _frames(handle):
                    seen = read(packet)
                    number = seen.number
                    if number is None and seen.kind == "itself":
                        number = by_port.get((4 if packet[0] >> 4 == 4 else 6, seen.sport))
                    if number in batch:
                        _note(found, number, seen, wires[handle], batch[number].device)
        for number in delivered & batch.keys():
            found[number] = Fact("delivered")


def _note(
    found: dict[int, Fact], number: int, seen: Seen, device: str, came_by: str | None
) -> None:
    match seen.kind:
        case "itself":
            assert number not in found or found[number].fate != "leaves", (
                f"{seen} also leaves by {device}"
            )
            found[number] = Fact("leaves", device, seen)
        case "reset" if device == came_by:
            found.setdefault(number, Fact("reset"))
        case "refused" if device == came_by:
            found.setdefault(number, Fact("refused"))


def _selectors(rule: Rule) -> str:
    parts = [f"from {rule.source}"] if rule.source else []
    parts += [f"iif {rule.iif}"] if rule.iif else []
    parts += [f"oif {rule.oif}"] if rule.oif else []
    parts += [f"fwmark {rule.mark:#x}/{rule.mask:#x}"] if rule.mark is not None else []
    parts += [f"lookup {rule.table}"] if rule.table else ["unreachable"]
    if rule.suppress_prefixlength is not None:
        parts.append(f"suppress_prefixlength {rule.suppress_prefixlength}")
    return " ".join(parts)


def _run(command: list[str], text: str) -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert not done.returncode, f"{' '.join(command)}: {done.stderr}\n{text[:10000]}"


def _set(key: str, value: str) -> None:
    Path("/proc/sys", key).write_text(value + "\n", encoding="ascii")


def _wire(device: str) -> int:
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH22x", device.encode(), TUN_WITHOUT_HEADER))
    return handle


def _frames(handle: int) -> Iterator[bytes]:
    with suppress(BlockingIOError):
        while True:
            yield os.read(handle, 2048)


# -- what ends at the router, and what begins there ----------------------------------------------


def _ear(family: Family, protocol: int) -> socket.socket:
    ear = socket.socket(
        socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_RAW, protocol
    )
    ear.setblocking(False)
    ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    return ear


def _listen(ear: socket.socket, by_port: Mapping[tuple[Family, int | None], int]) -> Iterator[int]:
    """The numbers of what was delivered.  Only IPv4 tells with its header."""
    with suppress(BlockingIOError):
        while True:
            text = ear.recv(2048)
            family: Family = 4 if ear.family == socket.AF_INET else 6
            header = b"" if family == 4 else bytes([0x60, 0, 0, 0, 0, 0, ear.proto, 64]) + bytes(32)
            seen = read(header + text)
            number = seen.number
            if number is None:
                number = by_port.get((family, seen.sport))
            if number is not None and seen.kind == "itself":
                yield number


def _own(packet: Packet) -> socket.socket:
    """A socket of the packet's user, bound as it says."""
    user = packet.user if packet.user is not None else 0
    kinds = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
    family = family_of(packet.destination)
    number = NUMBERS[packet.protocol, packet.family]
    os.seteuid(user if isinstance(user, int) else getpwnam(user).pw_uid)
    try:
        opened = socket.socket(family, kinds.get(packet.protocol, socket.SOCK_RAW), number)
    finally:
        os.seteuid(0)
    opened.setblocking(False)
    tos = packet.dscp << 2
    if packet.family == 4:
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
    else:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos)
    anywhere = "0.0.0.0" if packet.family == 4 else "::"
    if packet.source or packet.sport:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((str(packet.source or anywhere), packet.sport or 0))
    return opened


def _speak(opened: socket.socket, packet: Packet, number: int) -> Fact | None:
    """Send the packet; the fact, if that fails at once."""
    try:
        opened.connect((str(packet.destination), packet.dport or 0))
        if packet.protocol == "udp":
            opened.send(data(number))
        elif packet.protocol == "icmp":
            opened.send(_echo(packet, number))
    except BlockingIOError:
        return None
    except PermissionError:
        return None  # dropped or refused: the socket will be told
    except OSError as error:
        return _meaning(error.errno)
    return None


def _echo(packet: Packet, number: int) -> bytes:
    """The body of an echo request: the kernel puts the header before it."""
    sourced = Packet(
        packet.source or _nowhere(packet), packet.destination, packet.protocol, dscp=packet.dscp
    )
    return built(sourced, number)[20 if packet.family == 4 else 40 :]


def _nowhere(packet: Packet) -> Address:
    return ip_interface("0.0.0.0" if packet.family == 4 else "::").ip


def _told(opened: socket.socket, packet: Packet) -> Fact:
    """What the socket was told of a packet that nobody saw."""
    code = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return _meaning(code, packet.protocol == "tcp")


def _meaning(code: int | None, tcp: bool = False) -> Fact:
    if tcp and code == errno.ECONNREFUSED:
        return Fact("reset")
    return Fact("refused" if code in _REFUSED else "dropped")

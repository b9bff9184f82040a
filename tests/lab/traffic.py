"""Traffic: who connects to whom, how long it takes, and what becomes of it.

Everything runs in a node's network namespace.  Where a function takes `how`, that is how the
client's sockets are made.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Generic, Literal, TypeVar

from lab.errors import LabError, eventually
from lab.hosts import INTERNET, TCP_PORT, UDP_PORT
from lab.node import Node, Process, checked
from lab.record import Attempt, Attempts, Timeline

T = TypeVar("T")
Protocol = Literal["tcp", "udp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a client's sockets are made: bound, marked, as another user."""

    source: str = ""
    source_port: int = 0
    device: str = ""
    mark: int = 0
    tos: int = 0
    uid: int = 0


ANYHOW = How()


class Recording(Generic[T]):
    """Something that goes on in the background, and its record."""

    def __init__(self, process: Process, read: Callable[[str, float], T]) -> None:
        self._process = process
        self._read = read

    def so_far(self) -> T:
        """The record until now."""
        now = time.monotonic()
        return self._read(_whole_lines(self._process.out()), now)

    def stop(self) -> T:
        """End it; the whole record."""
        now = time.monotonic()
        done = self._process.finish(10)
        # The last thing that began may have been cut short by this.
        return self._read(_whole_lines(checked("agent", str(self._process.argv), done)), now)


def connections(
    node: Node,
    n: int,
    proto: Protocol = "tcp",
    *,
    dst: str = INTERNET,
    port: int = 0,
    how: How = ANYHOW,
    concurrency: int = 64,
    timeout: float = 3,
) -> Counter[str]:
    """Make `n` fresh connections: how many were seen from which address, or failed in which way.

    A failure is counted as "timeout", "reset", "refused", "closed" or the errno's name.
    """
    request = _target(dst, port, proto, how) | {
        "n": n,
        "concurrency": min(n, concurrency),
        "timeout": timeout,
    }
    process = node.agent("connect", request)
    slowest = 30 + n * timeout / min(n, concurrency)
    return _attempts(_complete(node, process, slowest), 0).counts


def fresh(
    node: Node,
    every: float = 0.05,
    proto: Protocol = "tcp",
    *,
    dst: str = INTERNET,
    port: int = 0,
    how: How = ANYHOW,
    timeout: float = 0.5,
) -> Recording[Attempts]:
    """Start a stream of fresh connections, one every `every` seconds."""
    request = _target(dst, port, proto, how) | {"every": every, "timeout": timeout}
    return Recording(node.agent("connect", request), _attempts)


def flow(
    node: Node,
    kind: Literal["tcp", "listen", "upload", "udp", "ping"] = "tcp",
    *,
    dst: str = INTERNET,
    port: int = 0,
    how: How = ANYHOW,
    every: float = 0.02,
    stall: float = 3,
    reconnect: bool = False,
    wait: float = 10,
) -> Recording[Timeline]:
    """Start one long-lived flow and wait (unless `wait` is 0) for its first answer.

    Who is to "listen" has a TCP connection and sends nothing; who is to "upload" sends all that the
    line takes, and hears nothing but the first answer.  One that hears nothing for `stall`
    seconds counts as ended; if it is to `reconnect`, a new one takes its place.
    """
    request = _target(dst, port, "udp" if kind == "udp" else "tcp", how) | {
        "kind": kind,
        "every": every,
        "stall": stall,
        "reconnect": reconnect,
    }
    begun = time.monotonic()

    def read(lines: str, end: float) -> Timeline:
        said = [json.loads(line) for line in lines.splitlines()]
        answers = tuple((at, what) for at, word, what, *_ in said if word == "ok")
        ends = tuple((at, what) for at, word, what, *_ in said if word == "end")
        answered = {number for _, _, _, *numbers in said for number in numbers}
        lost = max(answered) - min(answered) + 1 - len(answered) if answered else 0
        return Timeline(begun, end, answers, ends, lost)

    process = node.agent("flow", request)
    recording = Recording(process, read)
    if wait:
        eventually(lambda: recording.so_far() or not process.running, wait)
        if not process.running:
            raise LabError(f"{node}: a {kind} flow to {dst}: {process.err()}")
        begun = recording.so_far().answers[0][0]
    return recording


@dataclass(frozen=True, slots=True)
class Scan:
    """What each port answered: "open", "refused", "timeout" (silence) or an errno's name."""

    tcp: dict[int, str]
    udp: dict[int, str]

    def ports(self, answer: str = "open") -> tuple[str, ...]:
        """The ports that answered so, as "tcp/22"."""
        every = [("tcp", self.tcp), ("udp", self.udp)]
        return tuple(f"{k}/{p}" for k, ports in every for p, a in ports.items() if a == answer)


def scan(
    node: Node,
    dst: str,
    tcp: Iterable[int] = (),
    udp: Iterable[int] = (),
    *,
    how: How = ANYHOW,
    timeout: float = 1,
) -> Scan:
    """Knock at ports."""
    request = {"dst": dst, "tcp": list(tcp), "udp": list(udp), "timeout": timeout} | asdict(how)
    lines = _complete(node, node.agent("scan", request), 300)
    said = [json.loads(line) for line in lines.splitlines()]
    answers = sorted((kind, port, answer) for _, kind, port, answer in said)
    return Scan(
        {port: answer for kind, port, answer in answers if kind == "tcp"},
        {port: answer for kind, port, answer in answers if kind == "udp"},
    )


def send_raw(
    node: Node,
    device: str,
    mac: str,
    src: str,
    dst: str,
    *,
    proto: Literal["udp", "tcp", "icmp"] = "udp",
    sport: int = 40000,
    dport: int = UDP_PORT,
    flags: str = "S",
    n: int = 1,
) -> None:
    """Put packets on the wire of `device`, for the machine with that hardware address there.

    They say what they are told to, a false source for instance; the node's own filters do not
    see them.
    """
    request = {"device": device, "mac": mac, "src": src, "dst": dst, "proto": proto}
    ports = {"sport": sport, "dport": dport, "flags": flags, "n": n}
    _complete(node, node.agent("raw", request | ports), 30)


@contextmanager
def server(
    node: Node,
    *,
    tcp: Iterable[int] = (),
    push: Iterable[int] = (),
    udp: Iterable[int] = (),
    dns: Iterable[int] = (),
    http: Iterable[int] = (),
) -> Iterator[None]:
    """Serve on a node: TCP and UDP that tell the address they see, DNS and HTTP as probes ask.

    `push` is TCP that goes on sending by itself.
    """
    process = start_server(node, tcp=tcp, push=push, udp=udp, dns=dns, http=http)
    try:
        yield
    finally:
        process.stop()


def start_server(node: Node, **ports: Iterable[int]) -> Process:
    """The same, until it is stopped or the lab ends."""
    process = node.agent("server", {kind: list(wanted) for kind, wanted in ports.items()})
    return _ready(node, process)


def far_away(node: Node, least_ms: float, most_ms: float) -> Process:
    """From now on the node answers pings as late as this; until the lab ends."""
    return _ready(node, node.agent("far", {"least_ms": least_ms, "most_ms": most_ms}))


def _ready(node: Node, process: Process) -> Process:
    eventually(lambda: process.out() or not process.running)
    if not process.running:
        raise LabError(f"{node}: {process.argv}: {process.err()}")
    return process


def name_servers(node: Node, device: str = "eth0", within: float = 5) -> set[str]:
    """The name servers that routers announce to a node that asks."""
    process = node.agent("solicit", {"device": device, "within": within})
    lines = _complete(node, process, within + 20).splitlines()
    return {json.loads(line)[1] for line in lines}


def _target(dst: str, port: int, proto: Protocol, how: How) -> dict[str, object]:
    usual = UDP_PORT if proto == "udp" else TCP_PORT
    return {"dst": dst, "port": port or usual, "proto": proto} | asdict(how)


def _complete(node: Node, process: Process, within: float) -> str:
    """All that an agent says which comes to an end by itself."""
    return checked(node.name, str(process.argv), process.wait(within))


def _whole_lines(text: str) -> str:
    return text[: text.rfind("\n") + 1]


def _attempts(lines: str, _: float) -> Attempts:
    said = [json.loads(line) for line in lines.splitlines()]
    made = (Attempt(start, end, seen or "", "".join(why)) for end, start, seen, *why in said)
    return Attempts(tuple(sorted(made, key=lambda attempt: attempt.start)))

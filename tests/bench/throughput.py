"""Packets of established flows and new flows per second, against plain masquerading.

All configurations in turn, round by round, in fresh namespaces; sending and forwarding on one
core; frames of 64 bytes.
"""

import json
import os
import shutil
import struct
import time
from collections.abc import Iterable
from statistics import median

from bench.frames import Burst, udp
from bench.report import Figure, Table, say, table
from bench.wires import CLIENT, LAN, ROUTER, SERVER, Way, Wires, bare, nib, plain, plan

FLOWS = 16
BURSTS = 4
BURST_S = 0.2
NEW_FLOWS = 10_000
KINDS = {"up": "established, up", "down": "established, down", "new": "new flows"}
AIMS = {"up": 0.92, "down": 0.92, "new": 0.76}

Speeds = dict[str, float]


def speeds(way: Way) -> Speeds:
    """The best of some bursts, in fresh namespaces, per second: up, down and new."""
    with Wires(way) as wires:
        return {"up": _up(wires), "down": _down(wires), "new": _new(wires)}


def _frame(port: int, server: str = SERVER, to: int = 9) -> bytes:
    return udp((CLIENT, ROUTER), (f"{LAN}.10", port), (server, to))


def _up(wires: Wires) -> float:
    """Established flows, from the lan: each has had an answer, too."""
    asking = Burst([_frame(20000 + n) for n in range(FLOWS)])
    with wires.heard() as heard:
        asking.send(wires.client)
    assert sum(map(len, heard.values())) == FLOWS, f"{wires}: not every flow passed"
    for device, got in heard.items():
        through = wires.socket("sink", device)
        Burst([_answer(wires, device, frame) for frame in got]).send(through)
    sending = Burst([_frame(20000 + n) for n in range(FLOWS)] * (256 // FLOWS))
    best = 0.0
    for _ in range(BURSTS):
        before, begun = wires.passed(), time.monotonic()
        sending.send_for(wires.client, BURST_S)
        best = max(best, (wires.passed() - before) / (time.monotonic() - begun))
    return best


def _answer(wires: Wires, device: str, frame: bytes) -> bytes:
    source, target = frame[26:30], frame[30:34]
    sport, dport = struct.unpack("!HH", frame[34:38])
    ends = (".".join(map(str, target)), dport), (".".join(map(str, source)), sport)
    return udp(wires.mac_of(device), *ends)


def _down(wires: Wires) -> float:
    """Answers of one established flow, from outside; counted at the client."""
    with wires.heard() as heard:
        Burst([_frame(19999)]).send(wires.client)
    ((device, (frame, *_)),) = heard.items()
    through = wires.socket("sink", device)
    sending = Burst([_answer(wires, device, frame)] * 256)
    best = 0.0
    for _ in range(BURSTS):
        before, begun = wires.returned(), time.monotonic()
        sending.send_for(through, BURST_S)
        best = max(best, (wires.returned() - before) / (time.monotonic() - begun))
    return best


def _new(wires: Wires) -> float:
    """Every packet begins a flow."""
    best = 0.0
    for number in range(BURSTS):
        server = f"203.0.{number + 1}.10"
        sending = Burst([_frame(1024 + n, server, 1000 + number) for n in range(NEW_FLOWS)])
        before, begun = wires.passed(), time.monotonic()
        sending.send(wires.client)
        best = max(best, (wires.passed() - before) / (time.monotonic() - begun))
    return best


def compare(ways: Iterable[Way], rounds: int) -> dict[str, Speeds]:
    """Medians of the rounds."""
    ways = list(ways)
    got: dict[str, list[Speeds]] = {way.name: [] for way in ways}
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        for number in range(rounds):
            for way in ways if number % 2 else reversed(ways):
                got[way.name].append(speeds(way))
                say(f"{number + 1} {way.name}: {got[way.name][-1]}")
    finally:
        os.sched_setaffinity(0, allowed)
    return {
        name: {kind: median(each[kind] for each in taken) for kind in KINDS}
        for name, taken in got.items()
    }


def run(_: str, rounds: int) -> Table:
    """nib against plain masquerading.  What more uplinks cost is in `size`."""
    two = plan(2)
    ways = [plain(two), bare(two), nib(two)]
    _, base, own = ways
    got = compare(ways, rounds)
    figures = []
    for kind, word in KINDS.items():
        speed = {way: got[way.name][kind] for way in ways}
        for way in ways:
            ratio, aim = speed[way] / speed[base], AIMS[kind] if way is own else None
            what = f"{word}: {way.name}"
            figures.append(Figure(what, speed[way], "/s", ratio, at_least=aim, aims_at="ratio"))
    streams = {way.name: stream(way) for way in (base, own)}
    figures += [
        Figure(f"one TCP stream: {name}", gbits, "Gbit/s", gbits / streams[base.name])
        for name, gbits in streams.items()
        if gbits
    ]
    return table(
        "throughput",
        f"medians of {rounds} rounds, best of {BURSTS} bursts; 64-byte frames, one core",
        "the same addresses, routes, ip rules and settings, but plain masquerade for a table",
        figures,
    )


def stream(way: Way) -> float:
    """Gbit/s of iperf3, with all that the devices offload; 0 if it is not installed."""
    if not shutil.which("iperf3"):
        return 0.0
    with Wires(way) as wires:
        wires.answer()
        wires.run("sink", "iperf3 --server --one-off --daemon")
        said = wires.run("client", f"sleep 0.3; iperf3 --client {SERVER} --time 3 --json")
        return float(json.loads(said)["end"]["sum_received"]["bits_per_second"]) / 1e9

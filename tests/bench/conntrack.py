"""How long it takes to move the flows of an uplink: its entries are forgotten, others' are not."""

import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.report import Figure, Table, percentile, table
from bench.spaces import create, inside
from bench.wires import plan
from bench.wires import table as ruleset
from nib.ip_rules import Mark
from nib.monitor.conntrack import forget_flows
from nib.monitor.netlink import HEADER, NLM_F_REQUEST, attribute

FLOWS = 10_000
# of another uplink, and looked at as well
OTHERS = 10_000
AIM_S = 0.02

# linux/netfilter/nfnetlink_conntrack.h
NETLINK_NETFILTER = 12
NEW_FLOW = 1 << 8
NLM_F_CREATE = 0x400
NESTED = 0x8000
TUPLE_ORIG, TUPLE_REPLY, TIMEOUT, MARK = NESTED | 1, NESTED | 2, 7, 8
IP, PROTO = NESTED | 1, NESTED | 2
AT_ONCE = 64

COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")


def run(_: str, rounds: int) -> Table:
    """Both ways in turn, in a network of its own."""
    of = plan(2)
    mask = of.marks.id_mask
    dead, alive = (uplink.mark for uplink in of.uplinks)
    took: dict[str, list[float]] = {"nib": [], "conntrack": []}
    space = create()
    with inside(Path(f"/proc/{os.getpid()}/fd/{space}")):
        # without a table that asks for it nothing is tracked
        subprocess.run(["nft", "-f", "-"], input=ruleset(of), text=True, check=True)
        _make(alive, 0, OTHERS)
        for number in range(rounds):
            for way, times in took.items():
                _make(dead, OTHERS, FLOWS)
                assert _count() == OTHERS + FLOWS, _count()
                begun = time.monotonic()
                if way == "nib":
                    forget_flows(4, dead, mask)
                else:
                    command = ["conntrack", "-D", "-f", "ipv4", "-m", f"{dead:#x}/{mask:#x}"]
                    subprocess.run(command, capture_output=True, check=True)
                times.append(time.monotonic() - begun)
                assert _count() == OTHERS, (way, number, _count())
    os.close(space)
    base = median(took["conntrack"])
    return table(
        "conntrack",
        f"{rounds} times {FLOWS} flows of an uplink, beside {OTHERS} of another one",
        "conntrack -D with the same mark",
        [
            Figure(
                f"{FLOWS} flows moved, {name}",
                percentile(took["nib"], share) * 1000,
                "ms",
                percentile(took["nib"], share) / base,
                at_most=AIM_S * 1000 if name == "median" else None,
            )
            for share, name in ((0.5, "median"), (0.95, "p95"))
        ],
    )


def _make(mark: Mark, first: int, count: int) -> None:
    """That many flows of UDP, each with a source port and an address of its own."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as opened:
        opened.bind((0, 0))
        flows = list(_flows(mark, first, count))
        for at in range(0, count, AT_ONCE):
            opened.send(b"".join(flows[at : at + AT_ONCE]))


def _flows(mark: Mark, first: int, count: int) -> Iterator[bytes]:
    for number in range(first, first + count):
        here = socket.inet_aton("192.168.10.10"), 1024 + number % 60_000
        there = (0x0A000000 + number).to_bytes(4, "big"), 53
        body = struct.pack("=BBH", socket.AF_INET, 0, 0)
        body += attribute(TUPLE_ORIG, _tuple(*here, *there))
        body += attribute(TUPLE_REPLY, _tuple(*there, *here))
        body += attribute(TIMEOUT, struct.pack("!I", 600)) + attribute(
            MARK, struct.pack("!I", mark)
        )
        flags = NLM_F_REQUEST | NLM_F_CREATE
        yield HEADER.pack(HEADER.size + len(body), NEW_FLOW, flags, 0, 0) + body


def _tuple(source: bytes, sport: int, destination: bytes, dport: int) -> bytes:
    addresses = attribute(1, source) + attribute(2, destination)
    ports = attribute(1, bytes([socket.IPPROTO_UDP]))
    ports += attribute(2, struct.pack("!H", sport)) + attribute(3, struct.pack("!H", dport))
    return attribute(IP, addresses) + attribute(PROTO, ports)


def _count() -> int:
    return int(COUNT.read_text())

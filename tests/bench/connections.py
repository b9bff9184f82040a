"""From a cut to the moment from which each running connection of the LAN works again.

Default probe settings; the first of two uplinks carries, and is cut silently, then mended.
"""

import time
from collections.abc import Iterator

from bench.report import Figure, Table, percentile, say, table
from lab.errors import eventually
from lab.hosts import INTERNET, INTERNET6
from mixture import flows_of, servers, until_moved
from nib_lab import DUAL, DUAL_ISPS, NibLab

FAILOVER = "mode: failover\nprobe: {damping: 0s}\n" + DUAL
KEEP = FAILOVER + "policies: {default: {on_down: {tcp: keep, udp: keep}}}\n"
# How long the line is cut, if its connections wait for it.
CUT_S = 5.0
AIM_S = 2.0


def run(suite: str, rounds: int) -> Table:
    """Before: nothing is done to what runs.  After: what nib does unless it is told otherwise."""
    before: dict[str, float] = {}
    with NibLab(suite, KEEP, DUAL_ISPS) as lab:
        for family, to in _started(lab):
            before |= {f"IPv{family} {kind}": took for kind, took in _kept(lab, family, to)}
    after: dict[str, list[float]] = {}
    with NibLab(suite, FAILOVER, DUAL_ISPS) as lab:
        for family, to in _started(lab):
            for number in range(1, rounds + 1):
                for kind, took in _moved(lab, family, to):
                    after.setdefault(f"IPv{family} {kind}", []).append(took)
                say(f"connections, {suite}: IPv{family}, {number} of {rounds}")
    figures = [
        Figure(
            kind,
            percentile(took, 0.95) * 1000,
            "ms",
            percentile(took, 0.95) / before[kind] if kind in before else None,
            at_most=AIM_S * 1000,
        )
        for kind, took in after.items()
    ]
    return table(
        f"connections, {suite}",
        f"{rounds} silent cuts, the 95th of 100; what runs is answered again",
        f"on_down: keep, and the line is back after {CUT_S:g} s (an idle session learns nothing)",
        figures,
    )


def _started(lab: NibLab) -> Iterator[tuple[int, str]]:
    lab.start()
    lab.until(within=30, family=6, cable="up", dsl="up")
    with servers(lab):
        yield 4, INTERNET
        yield 6, INTERNET6


def _moved(lab: NibLab, family: int, to: str) -> Iterator[tuple[str, float]]:
    # who has the ports of the last cut's begins anew, and not where that one ended
    lab.router.outside("conntrack -F 2>&1")
    flows = flows_of(lab, to)
    at = time.monotonic()
    lab.isps[0].fail()
    for kind, recording in flows.items():
        yield kind, until_moved(recording, at)
    for recording in flows.values():
        recording.stop()
    lab.isps[0].restore()
    for one in (4, 6):
        lab.until(within=30, family=one, cable="up")


def _kept(lab: NibLab, family: int, to: str) -> Iterator[tuple[str, float]]:
    flows = flows_of(lab, to)
    flows.pop("idle").stop()
    at = time.monotonic()
    lab.isps[0].fail()
    # what was under way arrives still
    time.sleep(CUT_S)
    mended = at + CUT_S / 2
    lab.isps[0].restore()
    for recording in flows.values():
        eventually(lambda r=recording: r.so_far().answered_after(mended), 30)
    for kind, recording in flows.items():
        yield kind, min(when for when, _ in recording.stop().answers if when > mended) - at
    for one in (4, 6):
        lab.until(within=30, family=one, cable="up")

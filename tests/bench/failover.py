"""From a cut to the moment from which every new connection of the LAN succeeds.

Default probe settings, two uplinks of the same weight, cut in turn at a random phase.  A cut is
dated by the kernel: the new generation of the provider's ruleset (silent) or the moment its end of
the line is set down (carrier).
"""

import itertools
import json
import random
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread

from bench.report import Figure, Table, percentile, say, table
from bench.spaces import Generations, inside, set_link
from lab.errors import eventually
from lab.hosts import INTERNET, TARGETS
from lab.isp import Provider
from lab.record import Attempts, Timeline
from lab.traffic import Recording, flow, fresh
from nib_lab import HOME, NibLab

# Who is cut again and again is no flapping line here.
EVEN = "probe: {damping: 0s}\n" + HOME.replace(", weight: 3", "")
NAMES = {"isp1": "cable", "isp2": "dsl"}
EVERY_S = 0.005
# Several destinations, so that no port is used again for the same one within a cut: the kernel
# remembers such a flow for two minutes, and drops the first packet that it would send another way.
DESTINATIONS = (INTERNET, *TARGETS)
PATIENCE_S = 0.5
# The kernel passes on changes of carriers once a second.
CALM_S = 2.0

# The defaults: a question each 500 ms has 100 ms, and is missed 10 ms later at most; the last of
# three rounds, 100 ms apart, has 100 ms too.
SETTINGS_S = 0.5 + 0.1 + 0.01 + 2 * 0.1 + 0.1
QUANTILES = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
BACK_AIM_S = 10.0
CARRIER_AIM_S = 0.05
SILENT_AIM_S = 1.0


@dataclass(frozen=True, slots=True)
class Cut:
    """One cut, in seconds since it: decided, all well again; and from mended to carrying again.

    Lost are packets of a flow on the other uplink, from before the cut until after the return.
    """

    decided: float
    settled: float
    back: float
    lost: int


def run(suite: str, rounds: int) -> Table:
    """Both kinds of cuts in one lab."""
    with NibLab(suite, EVEN) as lab:
        lab.start()
        time.sleep(CALM_S)
        monitored = {kind: list(_cuts(lab, kind, rounds)) for kind in ("silent", "carrier")}
        lab.router.run("systemctl stop nib-monitor")
        alone = list(_unmonitored(lab, max(4, rounds // 2)))
    silent, carrier = monitored["silent"], monitored["carrier"]
    lost = sum(cut.lost for cut in (*silent, *carrier))
    figures = [
        *_settled_figures("silent", [cut.settled for cut in silent], SILENT_AIM_S, [SETTINGS_S]),
        *_parts("silent", silent),
        *_settled_figures("carrier", [cut.settled for cut in carrier], CARRIER_AIM_S, alone),
        *_parts("carrier", carrier),
        *_settled_figures("carrier, no monitor", alone, None, alone),
        Figure("packets lost on the other uplink", lost, "", at_most=0),
    ]
    return table(
        f"failover, {suite}",
        f"{rounds} cuts of each kind; a fresh connection every {EVERY_S * 1000:g} ms, "
        f"and 50 packets a second of one flow on the other uplink",
        "silent: 910 ms, the most that the probe settings allow; "
        "carrier: the same percentile without the monitor",
        figures,
    )


def _settled_figures(
    kind: str, settled: list[float], aim: float | None, baseline: list[float]
) -> Iterator[Figure]:
    for share, name in QUANTILES:
        at, base = percentile(settled, share), percentile(baseline, share)
        yield Figure(
            f"{kind}: settled, {name}",
            at * 1000,
            "ms",
            at / base if base else None,
            at_most=aim * 1000 if aim and name == "p95" else None,
        )


def _parts(kind: str, cuts: list[Cut]) -> Iterator[Figure]:
    parts = {
        "cut to decision": [cut.decided for cut in cuts],
        "decision to settled": [max(0.0, cut.settled - cut.decided) for cut in cuts],
        "mended to carrying": [cut.back for cut in cuts],
    }
    for part, values in parts.items():
        for share, name in QUANTILES:
            aim = BACK_AIM_S * 1000 if part == "mended to carrying" and name == "p99" else None
            yield Figure(
                f"{kind}: {part}, {name}", percentile(values, share) * 1000, "ms", at_most=aim
            )


def _cuts(lab: NibLab, kind: str, rounds: int) -> Iterator[Cut]:
    for number, isp in enumerate(itertools.islice(itertools.cycle(lab.isps), rounds), start=1):
        name = NAMES[isp.name]
        stream = _stream(lab)
        steady = _flow_on_another(lab, isp)
        time.sleep(random.uniform(0.3, 0.8))
        with _line(lab, isp) as (fail, cut):
            at = fail() if kind == "silent" else cut(False)
            decided = _since(lab, name, "down")
            # a connection that is begun too early has to have the time to fail
            time.sleep(PATIENCE_S + 0.2)
            mended = time.monotonic()
            if kind == "silent":
                isp.restore()
                mended = time.monotonic()
            else:
                mended = cut(True)
            _since(lab, name, "up")
        _returned(stream, isp, mended)
        record = _all(recording.stop() for recording in stream)
        back = _carrying(record, isp, mended)
        result = Cut(decided - at, _settled(record, at, mended), back - mended, steady.stop().lost)
        say(f"{lab.suite} {kind} {number}: {result}")
        yield result


def _unmonitored(lab: NibLab, rounds: int) -> Iterator[float]:
    for isp in itertools.islice(itertools.cycle(lab.isps), rounds):
        stream = _stream(lab)
        time.sleep(random.uniform(0.3, 0.8))
        with _line(lab, isp) as (_, cut):
            at = cut(False)
            time.sleep(1)
            mended = cut(True)
        _returned(stream, isp, mended)
        time.sleep(CALM_S)
        record = _all(recording.stop() for recording in stream)
        yield _settled(record, at, mended)


def _settled(record: Attempts, at: float, mended: float) -> float:
    """How long after the cut all was well, before anything was mended; 0: nothing ever failed."""
    kept = Attempts(tuple(attempt for attempt in record.all if attempt.start < mended))
    return max(0.0, kept.settled - at)


def _stream(lab: NibLab) -> list[Recording[Attempts]]:
    """Fresh connections, on a router that remembers none of the cut before."""
    lab.router.outside("conntrack -F 2>&1")
    apart = EVERY_S * len(DESTINATIONS)
    return [fresh(lab.lans[0], apart, dst=dst, timeout=PATIENCE_S) for dst in DESTINATIONS]


def _flow_on_another(lab: NibLab, isp: Provider) -> Recording[Timeline]:
    """A running flow of 50 packets a second that has nothing to do with this provider."""
    while True:
        recording = flow(lab.lans[0], "udp")
        if not isp.owns(recording.so_far().seen[0]):
            return recording
        recording.stop()


def _all(records: Iterable[Attempts]) -> Attempts:
    made = itertools.chain.from_iterable(record.all for record in records)
    return Attempts(tuple(sorted(made, key=lambda attempt: attempt.start)))


def _returned(stream: list[Recording[Attempts]], isp: Provider, mended: float) -> None:
    eventually(lambda: _carrying(_all(recording.so_far() for recording in stream), isp, mended), 20)


def _carrying(record: Attempts, isp: Provider, since: float) -> float:
    """When the first connection by this provider was begun; 0 if there is none yet."""
    attempts = record.since(since).all
    return next((a.start for a in attempts if a.seen and isp.owns(a.seen)), 0.0)


def _since(lab: NibLab, name: str, health: str) -> float:
    """Wait for the monitor to say so; since when, in its own words."""
    file = lab.holder.path(f"/proc/{lab.router.pid}/root/run/nib/status.json")

    def said() -> float:
        for uplink in json.loads(file.read_text())["uplinks"]:
            if uplink["name"] == name and uplink["families"][0]["health"] == health:
                return float(uplink["families"][0]["since_s"])
        return 0.0

    return eventually(said, 20)


@contextmanager
def _line(
    lab: NibLab, isp: Provider
) -> Iterator[tuple[Callable[[], float], Callable[[bool], float]]]:
    """Ways to cut the line that say when it was cut."""
    with inside(lab.holder.path(f"/run/netns/{isp}")):
        generations = Generations()
        control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def fail() -> float:
        cutting = Thread(target=isp.fail)
        cutting.start()
        at = generations.wait()
        cutting.join()
        return at

    try:
        yield fail, lambda up: set_link(control, "cpe", up)
    finally:
        generations.close()
        control.close()

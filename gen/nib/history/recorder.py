"""nib-history: writes down what the monitor tells.  What goes wrong here concerns nobody else."""

import argparse
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from nib import __version__, host
from nib.control import Away, ask
from nib.counters import PROC_FILE, Counters, counters
from nib.history.minutes import MINUTE_S, Minutes
from nib.history.records import Round, Traffic, to_line
from nib.history.store import FOLDER, Kind, Store
from nib.host import reason, say
from nib.stream import Change, Flip, Notice, Request, Sample, Snapshot, from_json

PROGRAM = "nib-history"

AGAIN_S = 1.0
"""How soon a monitor that went away is looked for."""

SYNC_S = 60.0
"""A power cut costs at most so much of the measurements; changes are on disk at once."""

TRY_AGAIN_S = 60.0
"""After the disk refused."""


def main() -> int:
    """Parse arguments, record for ever; 3 the host refused."""
    return host.guard(PROGRAM, _run)


def _run() -> int:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Write down what becomes of the uplinks."
    )
    parser.add_argument("--keep", type=int, required=True, help="bytes on disk; 0: write nothing")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="default: %(default)s")
    parser.add_argument("--version", action="version", version=f"nib {__version__}")
    arguments = parser.parse_args()
    if arguments.keep == 0:
        return host.FINE
    # a stop ends the sleep or the read that it finds, and the files are closed in order
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    recorder = Recorder(lambda: Store(arguments.folder, arguments.keep))
    try:
        while True:
            try:
                for line in ask(Request("watch")):
                    recorder.hear(line)
            except Away:
                pass
            recorder.leave()
            time.sleep(AGAIN_S)
    except KeyboardInterrupt:
        recorder.leave()
        return host.FINE


class Recorder:
    """Writes the lines of the stream to a store, which is opened anew after the disk refused."""

    def __init__(self, opened: Callable[[], Store]) -> None:
        self._opened = opened
        self._store: Store | None = None
        self._not_before_s = 0.0
        self._synced_s = 0.0
        self._minutes = Minutes()
        self._devices: dict[str, str] = {}
        self._greeted = False
        self._counted: Mapping[str, Counters] | None = None
        self._counted_s = 0

    def hear(self, line: str) -> None:
        """Take in a line; one that this nib does not know is left out."""
        try:
            told = from_json(line)
        except ValueError:
            return
        item = told.item
        if isinstance(item, Snapshot):
            self._devices = {uplink.name: uplink.device for uplink in item.status.uplinks}
        for minute in self._minutes.add(told):
            self._write("minutes", minute.time_s, to_line(minute))
        self._count(told.time_s)
        match item:
            case Sample(uplink, family, asked, rtts_ms, _, asked_s, burst):
                time_s = round(told.time_s - (told.at_s - asked_s), 3)
                asked_round = Round(time_s, uplink, family, asked, rtts_ms, burst)
                self._write("rounds", time_s, to_line(asked_round))
            case Change() | Flip() | Notice():
                self._write("events", told.time_s, line)
                self._sync(told.at_s)
            case Snapshot() if not self._greeted:
                self._greeted = True
                self._write("events", told.time_s, line)
        if told.at_s >= self._synced_s + SYNC_S:
            self._sync(told.at_s)

    def leave(self) -> None:
        """The monitor is away, or this program ends."""
        for minute in self._minutes.left():
            self._write("minutes", minute.time_s, to_line(minute))
        self._greeted = False
        self._counted = None
        self._sync(self._synced_s)

    def _count(self, time_s: float) -> None:
        """What each uplink carried, once a minute."""
        minute_s = int(time_s // MINUTE_S) * MINUTE_S
        if self._counted is not None and minute_s == self._counted_s:
            return
        devices = counters(Path(PROC_FILE).read_text(encoding="utf-8"))
        now = {name: devices[of] for name, of in self._devices.items() if of in devices}
        for uplink, counted in now.items():
            before = (self._counted or {}).get(uplink)
            if before is None:
                continue
            # a device that was made anew counts from nothing
            came = counted.rx_bytes - before.rx_bytes
            went = counted.tx_bytes - before.tx_bytes
            traffic = Traffic(
                self._counted_s,
                uplink,
                came if came >= 0 else counted.rx_bytes,
                went if went >= 0 else counted.tx_bytes,
            )
            self._write("traffic", self._counted_s, to_line(traffic))
        self._counted, self._counted_s = now, minute_s

    def _write(self, kind: Kind, time_s: float, line: str) -> None:
        self._do(lambda store: store.append(kind, time_s, line))

    def _sync(self, at_s: float) -> None:
        self._synced_s = at_s
        self._do(Store.sync)

    def _do(self, work: Callable[[Store], None]) -> None:
        """What the disk refuses is lost, and said once a minute at most."""
        now_s = time.monotonic()
        if self._store is None and now_s < self._not_before_s:
            return
        try:
            self._store = self._store or self._opened()
            work(self._store)
        except OSError as problem:
            say(f"nothing is written down for a while: {reason(problem)}")
            if self._store:
                self._store.close()
            self._store = None
            self._not_before_s = now_s + TRY_AGAIN_S

"""What the monitor knows now: for Prometheus, and as a live view of a terminal."""

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

from nib import __version__, host
from nib.control import Away, ask
from nib.counters import PROC_FILE, Counters, counters
from nib.host import Refused, clock, reason
from nib.install import write_synced
from nib.metrics import metrics
from nib.screen import Rates, drawn, rates, view
from nib.status import Status
from nib.stream import SOCKET, Ended, Notice, Request, Snapshot, Told, from_json

NEWS = 10  # lines
AGAIN_S = 1.0

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""Another screen and no cursor; and back."""


def show_metrics(out: Path | None) -> int:
    """Print the metrics, or put them into a file, whole or not at all."""
    text = read_metrics()
    if out is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return host.FINE
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        write_synced(beside, text)
        beside.replace(out)
    except OSError as problem:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise Refused(f"cannot write {out}: {reason(problem)}") from None
    return host.FINE


def read_metrics() -> str:
    """What Prometheus is to know.  Raises Away, Refused."""
    for told in _told(Request("status")):
        if isinstance(told.item, Snapshot):
            status = told.item.status
            boot_s = time.time() - time.monotonic()
            return metrics(status, _counters(), boot_s, __version__)
    raise Refused("nib-monitor has only just started: try again in a moment")


def watch_status() -> int:
    """Show the status until Ctrl-C; a monitor that restarts is waited for."""
    colour = "NO_COLOR" not in os.environ
    news: deque[str] = deque(maxlen=NEWS)
    meter = _Meter()
    heard = False
    with _screen():
        while True:
            try:
                for told in _told(Request("watch")):
                    heard = True
                    if isinstance(told.item, Notice):
                        news.append(f"{clock(time.time() - told.time_s)}  {told.item.text}")
                    if isinstance(told.item, Snapshot):
                        status = told.item.status
                        text = view(status, meter.read(status), news, time.monotonic(), clock)
                        _draw(text, colour=colour)
            except Away:
                if not heard:
                    raise
            _draw("nib-monitor is away; waiting for it\n", colour=colour)
            time.sleep(AGAIN_S)


class _Meter:
    """The rates since it was read last, a second ago or longer."""

    def __init__(self) -> None:
        self._read_s = time.monotonic()
        self._counted: Mapping[str, Counters] = {}
        self._rates: Rates = {}

    def read(self, status: Status) -> Rates:
        now_s = time.monotonic()
        if self._counted and now_s < self._read_s + 1:
            return self._rates
        counted, span_s = _counters(), now_s - self._read_s
        self._rates = {
            uplink.name: rates(self._counted[uplink.device], counted[uplink.device], span_s)
            for uplink in status.uplinks
            if uplink.device in self._counted and uplink.device in counted
        }
        self._counted, self._read_s = counted, now_s
        return self._rates


def _counters() -> Mapping[str, Counters]:
    return counters(Path(PROC_FILE).read_text(encoding="utf-8"))


def _told(request: Request) -> Iterator[Told]:
    for line in ask(request):
        try:
            told = from_json(line)
        except (ValueError, RecursionError) as problem:
            raise Refused(f"{SOCKET}: {problem}\n  try: systemctl restart nib-monitor") from None
        if isinstance(told.item, Ended):
            raise Refused(f"nib-monitor ended this: {told.item.reason}")
        yield told


def _draw(text: str, *, colour: bool) -> None:
    width, height = os.get_terminal_size(sys.stdout.fileno())
    sys.stdout.write(drawn(text, width, height, colour=colour))
    sys.stdout.flush()


@contextlib.contextmanager
def _screen() -> Iterator[None]:
    sys.stdout.write(ENTER)
    try:
        yield
    finally:
        sys.stdout.write(LEAVE)
        sys.stdout.flush()

"""A month of the uplinks, day by day: records -> Report -> Markdown, CSV or a page of HTML."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from nib.columns import duration, percent
from nib.families import Family
from nib.history.outages import Account, Outage, account
from nib.history.records import Minute, Traffic
from nib.history.report import Clock, lasted, up

DayOf = Callable[[float], str]
"""Seconds of the epoch -> the local day, like 2026-11-24."""

Series = Sequence[float | None]
"""A value for each day, None where nothing is known."""


@dataclass(frozen=True, slots=True)
class Line:
    """One family of an uplink: the whole month, and each of its days; None: nothing is known."""

    total: Account
    days: tuple[Account | None, ...]

    def series(self, measure: Literal["available", "rtt_ms", "loss"]) -> Series:
        """One of the measures, day by day."""
        return [None if one is None else getattr(one, measure) for one in self.days]


@dataclass(frozen=True, slots=True)
class Carried:
    """What an uplink carried, in bytes: received and sent, each day."""

    uplink: str
    received: tuple[int, ...]
    sent: tuple[int, ...]

    @property
    def both(self) -> Series:
        """Received and sent, day by day."""
        return [received + sent for received, sent in zip(self.received, self.sent, strict=True)]

    @property
    def total(self) -> int:
        """Both ways, over the month."""
        return sum(self.received) + sum(self.sent)


@dataclass(frozen=True, slots=True)
class Report:
    """A month, like `2026-11`; `days` are those that it has, like `2026-11-24`."""

    month: str
    days: tuple[str, ...]
    lines: tuple[Line, ...]
    carried: tuple[Carried, ...]
    outages: tuple[Outage, ...]

    def share(self, of: Carried) -> float:
        """Its part of all traffic, 0..1."""
        whole = sum(one.total for one in self.carried)
        return of.total / whole if whole else 0.0


def make_report(
    month: str,
    days: Sequence[str],
    minutes: Iterable[Minute],
    traffic: Iterable[Traffic],
    outages: Iterable[Outage],
    *,
    day_of: DayOf,
) -> Report:
    """What is outside of `days` is left out, but for outages, which are given as they are."""
    place = {day: index for index, day in enumerate(days)}
    heard: dict[tuple[str, Family], list[list[Minute]]] = {}
    for minute in minutes:
        if (index := place.get(day_of(minute.time_s))) is not None:
            empty: list[list[Minute]] = [[] for _ in days]
            heard.setdefault((minute.uplink, minute.family), empty)[index].append(minute)
    carried: dict[str, list[tuple[int, int]]] = {}
    for one in traffic:
        if (index := place.get(day_of(one.time_s))) is not None:
            sums = carried.setdefault(one.uplink, [(0, 0)] * len(days))
            received, sent = sums[index]
            sums[index] = received + one.received_bytes, sent + one.sent_bytes
    return Report(
        month,
        tuple(days),
        tuple(
            Line(
                account(key, [minute for day in each for minute in day]),
                tuple(account(key, day) if day else None for day in each),
            )
            for key, each in sorted(heard.items())
        ),
        tuple(
            Carried(uplink, tuple(r for r, _ in sums), tuple(s for _, s in sums))
            for uplink, sums in sorted(carried.items())
        ),
        tuple(outages),
    )


# -- Markdown and CSV ------------------------------------------------------------------------------


def markdown(report: Report, now_s: float, clock: Clock) -> str:
    """Tables for people."""
    parts = [
        f"# The uplinks in {report.month}\n",
        _table(
            ("uplink", "family", "up", "down for", "loss", "rtt", "slowest", "new flows"),
            [
                (
                    one.total.uplink,
                    f"IPv{one.total.family}",
                    up(one.total),
                    duration(one.total.known_s - one.total.up_s),
                    "" if one.total.loss is None else percent(one.total.loss),
                    milliseconds(one.total.rtt_ms),
                    milliseconds(one.total.worst_ms),
                    percent(one.total.share),
                )
                for one in report.lines
            ],
        ),
        "## Traffic\n",
        _table(
            ("uplink", "received", "sent", "of all"),
            [
                (
                    one.uplink,
                    amount(sum(one.received)),
                    amount(sum(one.sent)),
                    percent(report.share(one)),
                )
                for one in report.carried
            ],
        ),
        "## Outages\n",
        _table(
            ("from", "uplink", "family", "for", "why"),
            [
                (
                    clock(one.began_s),
                    one.uplink,
                    f"IPv{one.family}",
                    lasted(one, now_s),
                    one.reason,
                )
                for one in report.outages
            ],
        ),
    ]
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "None.\n"
    lines = [head, ["---"] * len(head), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


CSV_HEAD = (
    "day",
    "uplink",
    "family",
    "known_s",
    "up_s",
    "loss",
    "rtt_ms",
    "slowest_ms",
    "share",
    "received_bytes",
    "sent_bytes",
)


def as_csv(report: Report) -> str:
    """A row for each day of each family of an uplink; bytes are those of the uplink."""
    carried = {one.uplink: one for one in report.carried}
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(CSV_HEAD)
    for line in report.lines:
        of = carried.get(line.total.uplink)
        for index, (day, one) in enumerate(zip(report.days, line.days, strict=True)):
            if one is None:
                continue
            bytes_ = (of.received[index], of.sent[index]) if of else ("", "")
            measured = (one.known_s, one.up_s, one.loss, one.rtt_ms, one.worst_ms, one.share)
            told = ("" if value is None else round(value, 4) for value in measured)
            rows.writerow((day, one.uplink, one.family, *told, *bytes_))
    return out.getvalue()


# -- HTML ------------------------------------------------------------------------------------------

WIDTH, HEIGHT = 620.0, 60.0  # of a chart


def html(report: Report, now_s: float, clock: Clock, version: str) -> str:
    """A page that needs nothing else: no script, no picture, no font."""
    environment = Environment(
        loader=PackageLoader("nib"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report/month.html.j2").render(
        report=report,
        version=version,
        made=clock(now_s),
        clock=clock,
        up=up,
        amount=amount,
        milliseconds=milliseconds,
        percent=percent,
        lasted=lambda outage: lasted(outage, now_s),
        bars=bars,
        width=WIDTH,
        height=HEIGHT,
    )


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle of a chart; `value` is None for a day that nothing is known of."""

    day: str
    value: float | None
    x: float
    y: float
    width: float
    height: float


def bars(days: Sequence[str], series: Series, most: float | None = None) -> tuple[Bar, ...]:
    """A bar for each day; `most` is as high as the chart, else the highest value is."""
    top = max((value for value in series if value is not None), default=0.0)
    top = max(top, 1e-9) if most is None else most
    step = WIDTH / len(days)
    return tuple(
        Bar(
            day,
            value,
            x=round(index * step + 1, 2),
            y=round(HEIGHT * (1 - (value or 0.0) / top), 2),
            width=round(step - 2, 2),
            height=round(HEIGHT * (value or 0.0) / top, 2),
        )
        for index, (day, value) in enumerate(zip(days, series, strict=True))
    )


# -- words -----------------------------------------------------------------------------------------


def milliseconds(value: float | None) -> str:
    """With three digits; nothing where nothing is known."""
    return "" if value is None else f"{value:.3g} ms"


def amount(count: int) -> str:
    """Bytes as people say them: `12.3 GB`."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"

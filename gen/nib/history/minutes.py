"""What the monitor tells, minute by minute."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from nib.families import Family
from nib.history.records import Minute
from nib.status import Status
from nib.stream import Change, Sample, Snapshot, Told

MINUTE_S = 60

SILENCE_S = 5.0
"""The monitor says something about every two seconds: after more it was away."""

RTT_DIGITS = 3  # of milliseconds

Key = tuple[str, Family]


@dataclass(slots=True)
class _Sum:
    known_s: float = 0.0
    up_s: float = 0.0
    share_s: float = 0.0
    asked: int = 0
    lost: int = 0
    rtts_ms: list[float] = field(default_factory=list)


class Minutes:
    """Adds up what it is told.  A minute is given when the first line after it comes."""

    def __init__(self) -> None:
        self._up: dict[Key, bool] = {}
        self._shares: dict[Key, float] = {}
        self._sums: dict[Key, _Sum] = {}
        self._minute_s: int | None = None
        self._told_s: float | None = None

    def add(self, told: Told) -> Iterator[Minute]:
        """Take a line in; the minutes that are over with it."""
        minute_s = int(told.time_s // MINUTE_S) * MINUTE_S
        if minute_s != self._minute_s:
            yield from self._over()
            self._minute_s = minute_s
        if self._told_s is not None:
            self._pass(told.at_s - self._told_s)
        self._told_s = told.at_s
        match told.item:
            case Snapshot(status):
                self._learn(status)
            case Change(uplink, family, _, after):
                self._up[(uplink, family)] = after == "up"
            case Sample(uplink, family, asked, rtts_ms, lost, burst=False):
                total = self._sums.setdefault((uplink, family), _Sum())
                total.asked += asked
                total.lost += lost
                total.rtts_ms += rtts_ms
            case _:
                pass

    def left(self) -> Iterator[Minute]:
        """The monitor is away: what there is of this minute."""
        yield from self._over()
        self._told_s = None

    def _pass(self, span_s: float) -> None:
        if not 0 <= span_s <= SILENCE_S:
            return
        for key, up in self._up.items():
            total = self._sums.setdefault(key, _Sum())
            total.known_s += span_s
            total.up_s += span_s if up else 0
            total.share_s += span_s * self._shares.get(key, 0.0)

    def _learn(self, status: Status) -> None:
        families = {
            (uplink.name, one.family): one
            for uplink in status.uplinks
            for one in uplink.families
            # it is not missed where the provider does not give it
            if one.health != "absent"
        }
        self._up = {key: one.health == "up" for key, one in families.items()}
        self._shares = {key: one.share for key, one in families.items()}

    def _over(self) -> Iterator[Minute]:
        for (uplink, family), total in sorted(self._sums.items()):
            assert self._minute_s is not None
            yield Minute(
                time_s=self._minute_s,
                uplink=uplink,
                family=family,
                known_s=round(total.known_s, 1),
                up_s=round(total.up_s, 1),
                share=round(total.share_s / total.known_s, 4) if total.known_s else 0.0,
                asked=total.asked,
                lost=total.lost,
                rtt_ms=round(median(total.rtts_ms), RTT_DIGITS) if total.rtts_ms else None,
                slowest_ms=round(max(total.rtts_ms), RTT_DIGITS) if total.rtts_ms else None,
            )
        self._sums.clear()

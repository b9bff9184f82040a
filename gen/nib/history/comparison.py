"""What happened beside what would have happened, in words."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from nib.columns import columns, duration
from nib.history.outages import Outage

Clock = Callable[[float], str]
"""Seconds of the epoch -> local date and time."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An outage that was, and those that would have been at the same time; one may be missing."""

    was: Outage | None
    would: tuple[Outage, ...]

    @property
    def first(self) -> Outage:
        """What it is called by."""
        return self.was or self.would[0]


def pairs(were: Sequence[Outage], would: Sequence[Outage], now_s: float) -> tuple[Pair, ...]:
    """Each outage once, in the order in which they began."""

    def meet(one: Outage, other: Outage) -> bool:
        same = (one.uplink, one.family) == (other.uplink, other.family)
        one_end, other_end = (
            one.began_s + one.lasted_s(now_s),
            other.began_s + other.lasted_s(now_s),
        )
        return same and one.began_s <= other_end and other.began_s <= one_end

    rest = list(would)
    found: list[Pair] = []
    for was in were:
        met = tuple(one for one in rest if meet(was, one))
        rest = [one for one in rest if one not in met]
        found.append(Pair(was, met))
    found += [Pair(None, (one,)) for one in rest]
    return tuple(sorted(found, key=lambda pair: pair.first.began_s))


def comparison(found: Sequence[Pair], now_s: float, clock: Clock) -> str:
    """A table with a line for each, and a sentence."""
    if not found:
        return "no outage, neither then nor with these settings\n"
    rows = [
        (
            clock(pair.first.began_s),
            pair.first.uplink,
            f"IPv{pair.first.family}",
            _spans([pair.was] if pair.was else [], now_s),
            _spans(pair.would, now_s),
            pair.first.reason,
        )
        for pair in found
    ]
    were = [pair.was for pair in found if pair.was]
    would = [one for pair in found for one in pair.would]
    return (
        columns(("from", "uplink", "", "was down", "would be", "why"), rows)
        + f"\nthen: {_total(were, now_s)}; with these settings: {_total(would, now_s)}\n"
    )


def comparison_json(found: Sequence[Pair]) -> str:
    """All of it; times in seconds of the epoch."""
    return json.dumps({"outages": [asdict(pair) for pair in found]}, indent=1) + "\n"


def _spans(outages: Sequence[Outage], now_s: float) -> str:
    return ", ".join(_span(one.lasted_s(now_s)) for one in outages) or "-"


def _span(seconds: float) -> str:
    # a second more or less is what such settings are about
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)


def _total(outages: Sequence[Outage], now_s: float) -> str:
    count = len(outages)
    if not count:
        return "no outage"
    span = _span(sum(one.lasted_s(now_s) for one in outages))
    return f"{count} outage{'' if count == 1 else 's'}, {span}"

"""Hours of the week: when a rule counts, by the router's local time."""

from dataclasses import dataclass

DAY = 24 * 60
WEEK = 7 * DAY

Spans = tuple[tuple[int, int], ...]
"""Minutes of the week, from Monday 00:00 on, as sorted inclusive ranges that do not touch."""


@dataclass(frozen=True, slots=True)
class Hours:
    """When some rules count.

    `name` is that of the nft set that holds both families meanwhile, else nothing; `text` what the
    user wrote.
    """

    name: str
    spans: Spans
    text: str

    def hold(self, minute: int) -> bool:
        """Whether a minute of the week is among them."""
        return any(first <= minute <= last for first, last in self.spans)


def minute_of_week(weekday: int, hour: int, minute: int) -> int:
    """Of local time, so that a change of it (daylight saving) needs no thought; Monday is 0."""
    return weekday * DAY + hour * 60 + minute

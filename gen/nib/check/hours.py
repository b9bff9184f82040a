"""Text -> hours of the week: `01:00-05:00`, `Mon-Fri 08:00-18:00`, `Sat,Sun`."""

import re
from collections.abc import Iterable
from typing import Any

from nib import values
from nib.check.reader import Reader
from nib.config import Hours
from nib.document import Path, shown
from nib.hours import DAY, WEEK
from nib.shape import near

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_FORM = re.compile(
    r"(?:(?P<days>[A-Za-z][A-Za-z,-]*)(?: +|$))?"
    r"(?:(?P<start>[0-9]{1,2}:[0-9]{2})-(?P<end>[0-9]{1,2}:[0-9]{2}))?"
)


def read_hours(reader: Reader, path: Path, given: Any) -> Hours | None:
    """What a match's `time` means, one text or a list of them; None if it has none."""
    if given is None:
        return None
    read = reader.each(path, _read, given)
    texts = given if isinstance(given, list) else [given]
    spans = values.merged(span for spans in read for span in spans)
    return Hours(spans, ", ".join(" ".join(str(text).split()) for text in texts))


def _read(text: str) -> list[tuple[int, int]]:
    """Minutes of the week.  What runs past midnight belongs to the day on which it begins."""
    found = _FORM.fullmatch(text.strip())
    if not found or not (found["days"] or found["start"]):
        hint = "for instance 'Mon-Fri 08:00-18:00', '22:00-06:00' or 'Sat,Sun'"
        raise values.Wrong(f"{shown(text)} is no time of the week", hint)
    days = _days(found["days"]) if found["days"] else range(7)
    start, end = (_minute(found["start"]), _minute(found["end"])) if found["start"] else (0, DAY)
    if start in (end, DAY):
        raise values.Wrong(f"{shown(text)} is no time at all", "a whole day is '00:00-24:00'")
    length = end - start if end > start else end - start + DAY
    return [
        span
        for first in (day * DAY + start for day in days)
        for span in _wrapped(first, first + length - 1)
    ]


def _wrapped(first: int, last: int) -> list[tuple[int, int]]:
    """What runs past Sunday goes on at Monday."""
    return [(first, last)] if last < WEEK else [(first, WEEK - 1), (0, last - WEEK)]


def _days(text: str) -> Iterable[int]:
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin, end = _day(first), _day(last if dash else first)
        yield from (day % 7 for day in range(begin, end + (7 if end < begin else 0) + 1))


def _day(text: str) -> int:
    if text.capitalize() in _DAYS:
        return _DAYS.index(text.capitalize())
    hint = near(text[:3], _DAYS) or f"the days are {', '.join(_DAYS)}"
    raise values.Wrong(f"{shown(text)} is no day", hint)


def _minute(text: str) -> int:
    hour, minute = map(int, text.split(":"))
    if minute > 59 or hour * 60 + minute > DAY:
        raise values.Wrong(f"{shown(text)} is no time of day", "they go from 00:00 to 24:00")
    return hour * 60 + minute

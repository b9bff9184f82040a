"""What is kept, as values and as lines: JSON arrays, which take a third of the room of objects.

Times are seconds of the epoch.  Fields are added at the end only, with a default, so that a newer
nib reads what an older one wrote.
"""

import json
from dataclasses import astuple, dataclass, fields
from typing import TypeVar

from nib import codec
from nib.families import Family


@dataclass(frozen=True, slots=True)
class Round:
    """Probes that were asked at once, at `time_s`, and the answers; enough to judge them anew."""

    time_s: float
    uplink: str
    family: Family
    asked: int
    rtts_ms: tuple[float, ...]
    burst: bool = False


@dataclass(frozen=True, slots=True)
class Minute:
    """One family of an uplink in the minute from `time_s`.

    `known_s`: how much of it the monitor told about, `up_s` of that it was up; `share` 0..1 of new
    flows on average.  `rtt_ms` is the median, None without an answer.
    """

    time_s: int
    uplink: str
    family: Family
    known_s: float
    up_s: float
    share: float
    asked: int
    lost: int
    rtt_ms: float | None
    slowest_ms: float | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes that came and left by an uplink's device in the minute from `time_s`."""

    time_s: int
    uplink: str
    received_bytes: int
    sent_bytes: int


Record = Round | Minute | Traffic
R = TypeVar("R", Round, Minute, Traffic)


def to_line(record: Record) -> str:
    """One line, with its end."""
    return json.dumps(astuple(record), separators=(",", ":")) + "\n"


def from_line(kind: type[R], line: str) -> R:
    """Read a line.  Raises ValueError for anything else."""
    values = json.loads(line)
    if not isinstance(values, list):
        raise ValueError("a record is an array")
    names = [field.name for field in fields(kind)]
    return codec.decode(kind, dict(zip(names, values, strict=False)))

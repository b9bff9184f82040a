"""What nib-monitor tells whoever listens, as values and as lines of JSON; and what it may be asked.

Each line is one object: `version`, `kind`, `at_s` (CLOCK_MONOTONIC, seconds), `time_s` (wall clock,
seconds of the epoch) and the fields of its kind.  Readers ignore fields that they do not know.
"""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from nib import codec
from nib.families import Family
from nib.status import Shown, Status

VERSION = 1

SOCKET = "/run/nib.sock"
"""Beside /run/nib, which belongs to a user that comes and goes, and lets only root in."""

GROUP = "nib"
"""Who is in it may connect; systemd gives it the socket."""

# -- what is told --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """A round of probes is over: of `asked` targets `lost` did not answer in time.

    It was asked at `asked_s`, CLOCK_MONOTONIC.  `burst`: out of turn, for a doubt; it is not
    measured by.
    """

    uplink: str
    family: Family
    asked: int
    rtts_ms: tuple[float, ...]
    lost: int
    asked_s: float
    burst: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """The health of one family of an uplink, as `status.json` shows it, is another one.

    `reason` is one sentence; `since_s` CLOCK_MONOTONIC; `outage` what the lines of one outage have
    in common, None where there is none.
    """

    uplink: str
    family: Family
    before: Shown
    after: Shown
    reason: str
    since_s: float
    outage: str | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """The part of the new flows of the default policy, 0..1, that an uplink gets."""

    uplink: str
    share: float


@dataclass(frozen=True, slots=True)
class Flip:
    """New flows of a family are spread in another way; who gets none is not listed."""

    family: Family
    before: tuple[Share, ...]
    after: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class Notice:
    """A line that the journal got as well."""

    text: str
    warning: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the monitor knows, as in status.json."""

    status: Status


@dataclass(frozen=True, slots=True)
class Ended:
    """The last line of a connection that the monitor ends, and why."""

    reason: str


Item = Sample | Change | Flip | Notice | Snapshot | Ended

KINDS: dict[str, type[Item]] = {
    "sample": Sample,
    "change": Change,
    "flip": Flip,
    "notice": Notice,
    "status": Snapshot,
    "ended": Ended,
}
_compact = json.JSONEncoder(separators=(",", ":")).encode
_NAMES = {kind: name for name, kind in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Told:
    """An item and when it was told."""

    at_s: float
    time_s: float
    item: Item


def to_json(told: Told) -> str:
    """One line, with its end."""
    head = {
        "version": VERSION,
        "kind": _NAMES[type(told.item)],
        "at_s": round(told.at_s, 6),
        "time_s": round(told.time_s, 6),
    }
    return _compact(head | codec.encode(told.item)) + "\n"


def from_json(line: str) -> Told:
    """Read a line.  Raises ValueError for anything else."""
    data = json.loads(line)
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise ValueError("not a line of this version of nib-monitor")
    kind = str(data.get("kind"))
    if kind not in KINDS:
        raise ValueError(f"not a kind of line that this nib knows: {kind}")
    item = codec.decode(KINDS[kind], data)
    times = codec.decode(_Times, data)
    return Told(times.at_s, times.time_s, item)


@dataclass(frozen=True, slots=True)
class _Times:
    at_s: float
    time_s: float


# -- what may be asked, once in a connection -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """`status`: one line with the status.  `watch`: that line, and then everything for ever."""

    do: Literal["status", "watch"]


@dataclass(frozen=True, slots=True)
class Command:
    """`down`: no new flows for an uplink; `up`: whatever probes say; `auto`: they decide again.

    For `for_s` seconds, None: for ever; `persist`: also after a reboot.  `force`: even if nobody
    carries new flows then.  `who` orders it, for the journal.  It is answered when it is done: by
    one line with the status, or by `ended` with the reason.

    `drill`: it is about to be cut off, in `family` or in both; nothing is ordered but that outages
    are called so.
    """

    do: Literal["down", "up", "auto", "drill"]
    uplink: str
    for_s: float | None = None
    force: bool = False
    persist: bool = False
    who: str = "root"
    family: Family | None = None


LONGEST_S = 10 * 365 * 86400

_COMMAND = asdict(Command("auto", ""))
_WHO = re.compile(r"[\w.@\\-]{1,64}")


def request_to_json(request: Request | Command) -> str:
    """One line, with its end."""
    return json.dumps(asdict(request)) + "\n"


def request_from_json(line: bytes) -> Request | Command:
    """Read a request.  Raises ValueError with a sentence for whoever sent it."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("a request is one line of JSON") from None
    if isinstance(data, dict) and data.get("do") in ("down", "up", "auto", "drill"):
        return _command(data)
    try:
        return codec.decode(Request, data)
    except ValueError:
        raise ValueError(
            'a request is {"do": "status"} or {"do": "watch"}; '
            'an order is {"do": "down", "uplink": NAME}, likewise up and auto'
        ) from None


def _command(data: dict[str, Any]) -> Command:
    if not isinstance(data.get("uplink"), str):
        raise ValueError('an order needs an "uplink"')
    try:
        command = codec.decode(Command, _COMMAND | data)
    except ValueError:
        raise ValueError(
            "of an order for_s is a number, force and persist true or false, who a text, "
            "family 4 or 6"
        ) from None
    if command.for_s is not None and not 0 < command.for_s <= LONGEST_S:
        raise ValueError(f"for_s is more than 0 and at most {LONGEST_S}, ten years")
    if command.do == "auto" and (command.for_s is not None or command.persist):
        raise ValueError("auto is for ever: it knows no for_s, and no persist")
    if command.do == "drill" and (command.for_s is None or command.persist):
        raise ValueError("a drill needs for_s, and knows no persist")
    if not _WHO.fullmatch(command.who):
        raise ValueError("who is a name: letters, digits and .@-_")
    return command

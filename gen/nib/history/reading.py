"""The history as values: what the store has since some time, line by line."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from nib.history import store
from nib.history.records import Minute, R, Round, Traffic, from_line
from nib.host import Refused, reason
from nib.stream import Told
from nib.stream import from_json as told_from_json

_KINDS: dict[type, store.Kind] = {Round: "rounds", Minute: "minutes", Traffic: "traffic"}


def records(kind: type[R], since_s: float, folder: Path = store.FOLDER) -> Iterator[R]:
    """Those of one kind from `since_s` (seconds of the epoch) on, oldest first.

    What cannot be read is left out.  Raises Refused if nothing was ever recorded, or not for us.
    """
    for line in _lines(_KINDS[kind], since_s, folder):
        with suppress(ValueError):
            record = from_line(kind, line)
            if record.time_s >= since_s:
                yield record


def events(since_s: float, folder: Path = store.FOLDER) -> Iterator[Told]:
    """What was told, likewise; and what was told before, as far as it is in the same segment.

    An outage that began before is known by that.
    """
    for line in _lines("events", since_s, folder):
        with suppress(ValueError):
            yield told_from_json(line)


def _lines(kind: store.Kind, since_s: float, folder: Path) -> Iterator[str]:
    try:
        yield from store.read(folder, kind, since_s)
    except FileNotFoundError:
        raise Refused(
            "there is no history: nib-history has not run yet, or `history.keep` is 0MB\n"
            "  see why: systemctl status nib-history"
        ) from None
    except PermissionError:
        raise Refused("only root may read the history: try sudo") from None
    except OSError as problem:
        raise Refused(f"cannot read the history: {reason(problem)}") from None

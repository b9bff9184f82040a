"""The history on disk: segments of lines, one series for each kind of record.

`KIND-TIME.jsonl` is being written; what is full is `KIND-TIME.jsonl.gz`.  TIME is that of its first
line, but never before that of an older segment, whatever the clock says.  A line is whole or it is
not there: what a power cut tore is cut off before more is written, and a reader leaves it out.
"""

import contextlib
import errno
import gzip
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Literal

from nib.durable import sync_folder

Kind = Literal["rounds", "traffic", "minutes", "events"]
KINDS: tuple[Kind, ...] = ("rounds", "traffic", "minutes", "events")
"""In the order in which they are given up when there is no room."""

FOLDER = Path("/var/lib/nib-history")

SEGMENTS = 32  # that fill the room if all are full; packed they are about a tenth of it
LEAST_BYTES, MOST_BYTES = 64 * 1024, 4 * 1024 * 1024  # of a segment, before it is packed

_NAME = re.compile(r"(rounds|traffic|minutes|events)-(\d{13,15})\.jsonl(\.gz)?")


@dataclass(frozen=True, slots=True)
class Segment:
    """A file and when its first line was written, in milliseconds of the epoch."""

    path: Path
    kind: Kind
    begins_ms: int
    packed: bool


class Store:
    """Appends lines, and keeps all of it within `keep_bytes`.  Methods raise OSError."""

    def __init__(self, folder: Path, keep_bytes: int) -> None:
        self._folder = folder
        self._keep_bytes = keep_bytes
        self._segment_bytes = min(max(keep_bytes // SEGMENTS, LEAST_BYTES), MOST_BYTES)
        self._open: dict[Kind, FileIO] = {}
        self._latest_ms: dict[Kind, int] = {}
        for segment in _segments(folder):
            self._latest_ms[segment.kind] = segment.begins_ms
            if not segment.packed:
                self._resume(segment)
        self._make_room()

    def append(self, kind: Kind, time_s: float, line: str) -> None:
        """Write a line, which is on disk after the next `sync`."""
        file = self._open.get(kind)
        if file is None:
            begins_ms = max(round(time_s * 1000), self._latest_ms.get(kind, -1) + 1)
            self._latest_ms[kind] = begins_ms
            path = self._folder / f"{kind}-{begins_ms:013}.jsonl"
            file = self._open[kind] = path.open("ab", buffering=0)
        data = line.encode()
        if file.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if file.tell() >= self._segment_bytes:
            self._finish(kind)
            self._make_room()

    def sync(self) -> None:
        """All that was written survives a power cut from now on."""
        for file in self._open.values():
            os.fsync(file.fileno())

    def close(self) -> None:
        """Let go of the files; what follows is another store's."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    def _finish(self, kind: Kind) -> None:
        with self._open.pop(kind) as file:
            os.fsync(file.fileno())
        _pack(Path(os.fsdecode(file.name)))

    def _resume(self, segment: Segment) -> None:
        """Go on where the last recorder ended, be it in the middle of a line."""
        if segment.path.with_name(segment.path.name + ".gz").exists():
            segment.path.unlink()
            return
        if segment.kind in self._open:
            self._finish(segment.kind)
        whole = segment.path.read_bytes().rfind(b"\n") + 1
        os.truncate(segment.path, whole)
        self._open[segment.kind] = segment.path.open("ab", buffering=0)

    def _make_room(self) -> None:
        """The oldest of what matters least goes first."""
        found = [segment for segment in _segments(self._folder) if segment.packed]
        found.sort(key=lambda segment: (KINDS.index(segment.kind), segment.begins_ms))
        sizes = {path: path.stat().st_size for path in self._folder.iterdir()}
        # room for those that are being written
        total = sum(sizes[segment.path] for segment in found) + len(KINDS) * self._segment_bytes
        for segment in found:
            if total <= self._keep_bytes:
                return
            segment.path.unlink()
            total -= sizes[segment.path]


def read(folder: Path, kind: Kind, since_s: float) -> Iterator[str]:
    """The lines of one kind, oldest first, from some time before `since_s` on.

    Raises OSError if the folder cannot be read.  What is damaged, or goes meanwhile, is left out.
    """
    found = [segment for segment in _segments(folder) if segment.kind == kind]
    packed = {segment.begins_ms for segment in found if segment.packed}
    found = [one for one in found if one.packed or one.begins_ms not in packed]
    ends = [*(segment.begins_ms for segment in found[1:]), float("inf")]
    for segment, ends_ms in zip(found, ends, strict=False):
        if ends_ms <= since_s * 1000:
            continue
        with contextlib.suppress(FileNotFoundError, EOFError, gzip.BadGzipFile, UnicodeDecodeError):
            opened = gzip.open if segment.packed else Path.open
            with opened(segment.path, "rb") as lines:
                yield from (line.decode() for line in lines if line.endswith(b"\n"))


def _segments(folder: Path) -> list[Segment]:
    found = [
        Segment(path, _kind(match[1]), int(match[2]), packed=bool(match[3]))
        for path in folder.iterdir()
        if (match := _NAME.fullmatch(path.name))
    ]
    return sorted(found, key=lambda segment: (segment.kind, segment.begins_ms, not segment.packed))


def _kind(name: str) -> Kind:
    return next(kind for kind in KINDS if kind == name)


def _pack(path: Path) -> None:
    """Compress a segment that is complete; whatever happens meanwhile, one of the two is whole."""
    packing, packed = path.with_name("packing"), path.with_name(path.name + ".gz")
    with packing.open("wb") as file:
        file.write(gzip.compress(path.read_bytes(), mtime=0))
        file.flush()
        os.fsync(file.fileno())
    packing.rename(packed)
    sync_folder(path.parent)
    path.unlink()

"""The only writer: what is below --out becomes what nib-gen made, all of it or nothing.

What did not change is not touched, because networkd reconfigures a link when its file has a new
date.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from nib.changes import Change, Changes, differing
from nib.durable import sync_folder
from nib.host import Refused, reason
from nib.render import Link

# Hidden names that neither networkd, systemd, sysctl nor nft reads.
NEW, OLD = ".nib-new", ".nib-old"


def write(changes: Changes, out: Path) -> None:
    """Make the changes below `out`, all or none.

    Everything new is first written beside its place and synced, where a full disk does no harm; the
    old is kept under a second name until all is in place.  Raises Refused; whatever ends it, also
    Ctrl-C, has then been put back, or the message names what could not be.
    """
    todo = differing(changes)
    if not todo:
        return
    undo = _Undo([], [])
    try:
        _make_directory(out, undo)
        with _locked(out):
            try:
                _prepare(todo, out, undo)
                _swap(todo, out, undo)
            except BaseException:
                _clean(todo, out, undo)
                raise
            _forget(todo, out)
    except OSError as problem:
        undo.directories_back()
        name = str(problem.filename or out).removesuffix(NEW).removesuffix(OLD)
        outcome = "nothing was changed"
        if undo.failed:
            outcome = "and these could not be put back: " + ", ".join(undo.failed)
        raise Refused(f"cannot write {name}: {reason(problem)}; {outcome}") from None
    except BaseException:
        undo.directories_back()
        raise


@dataclass(slots=True)
class _Undo:
    """What this run has made so far."""

    directories: list[Path]
    failed: list[str]

    def directories_back(self) -> None:
        for directory in reversed(self.directories):
            with suppress(OSError):
                directory.rmdir()


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """One writer at a time; a second one waits."""
    handle = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _make_directory(directory: Path, undo: _Undo) -> None:
    missing = []
    while not directory.is_dir():
        missing.append(directory)
        directory = directory.parent
    for path in reversed(missing):
        path.mkdir(0o755)
        undo.directories.append(path)
        path.chmod(0o755)  # whatever the umask is: networkd reads as a user of its own


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}{suffix}")


def _prepare(changes: Changes, out: Path, undo: _Undo) -> None:
    for change in changes:
        path = out / change.path
        _make_directory(path.parent, undo)
        new = _beside(path, NEW)
        # left by a run that was killed
        new.unlink(missing_ok=True)
        _beside(path, OLD).unlink(missing_ok=True)
        match change.new:
            case None:
                pass
            case Link(target):
                new.symlink_to(target)
            case str(text):
                write_synced(new, text)


def write_synced(path: Path, text: str) -> None:
    """Write a new file, readable for everybody, down to the disk.  Raises OSError."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    try:
        with open(handle, "w", encoding="utf-8", newline="") as stream:  # noqa: PTH123 - a handle
            stream.write(text)
            stream.flush()
            os.fchmod(handle, 0o644)
            os.fsync(handle)
    except OSError as problem:
        problem.filename = problem.filename or str(path)
        raise


def _swap(changes: Changes, out: Path, undo: _Undo) -> None:
    try:
        for change in changes:
            path = out / change.path
            if change.old is not None:
                os.link(path, _beside(path, OLD), follow_symlinks=False)
            if change.new is None:
                path.unlink()
            else:
                _beside(path, NEW).replace(path)
        for directory in {(out / change.path).parent for change in changes}:
            sync_folder(directory)
    except BaseException:
        for change in reversed(changes):
            try:
                _put_back(change, out)
            except OSError:
                undo.failed.append(str(out / change.path))
        raise


def _put_back(change: Change, out: Path) -> None:
    """Undo one change, if it was reached at all: its old file returns as it was, date and all."""
    path = out / change.path
    old = _beside(path, OLD)
    if change.old is None:
        if not os.path.lexists(_beside(path, NEW)):
            path.unlink(missing_ok=True)
    elif os.path.lexists(old):
        # Two names of one file: rename(2) would do nothing.
        if os.path.lexists(path) and path.lstat().st_ino == old.lstat().st_ino:
            old.unlink()
        else:
            old.replace(path)


def _clean(changes: Changes, out: Path, undo: _Undo) -> None:
    for change in changes:
        with suppress(OSError):
            _beside(out / change.path, NEW).unlink(missing_ok=True)


def _forget(changes: Changes, out: Path) -> None:
    """All is in place: the second names of the old files go."""
    for change in changes:
        with suppress(OSError):
            _beside(out / change.path, OLD).unlink(missing_ok=True)
        if change.new is None and change.path.endswith(".d/05-nib.conf"):
            with suppress(OSError):  # something else is in it
                (out / change.path).parent.rmdir()

"""The edge of nib import: the old files are read here, and the new one is written."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from nib import host
from nib.host import Refused, Wrong, reason
from nib.importer import SCRIPTS, Imported, Old, translate
from nib.importer.remarks import Source
from nib.install import write_synced
from nib.problem import Rejected

SIZE_LIMIT = 1 << 16
"""Bytes of each file.  What people write by hand is smaller by far."""

_EVENTS = ("up.d", "down.d", "long_down.d")


def import_file(program: str, file: str) -> Imported:
    """Translate balance.conf and what belongs to it.  Raises Wrong with the whole report."""
    old = _gather(program, file)
    try:
        return translate(old)
    except Rejected as rejected:
        raise Wrong(f"{file} cannot be translated:\n{rejected.report().rstrip()}") from None


def check_new(out: str) -> None:
    """Raise Wrong if something is at `out` already."""
    if not out or "\0" in out:
        raise Wrong("--out needs the name of a file")
    if os.path.lexists(out):
        raise Wrong(f"--out {out}: it exists, and is not overwritten")


def write_new(out: str, text: str) -> None:
    """Write the file whole, or not at all.  Raises Wrong if it has come to exist meanwhile."""
    path = Path(out)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            write_synced(beside, text)
            # a second name fails where something exists; renaming would replace it
            os.link(beside, path)
        finally:
            with suppress(FileNotFoundError):
                beside.unlink()
    except FileExistsError:
        raise Wrong(f"--out {out}: it exists, and is not overwritten") from None
    except OSError as problem:
        if problem.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
            raise Wrong(f"--out {out}: {reason(problem)}") from None
        raise Refused(f"cannot write {out}: {reason(problem)}") from None


def _gather(program: str, file: str) -> Old:
    """Read balance.conf and everything beside it, and say which files that are."""
    name = "standard input" if file == host.STDIN else file
    host.say(f"{program}: reading {name}")
    text = _text(file)
    if text is None:
        raise Wrong(f"{name} is no balance.conf: it is no text, or too large")
    conf = Source(name, text)
    if file == host.STDIN:
        return Old(conf, {})
    below = Path(file).parent / "balance"
    if not below.is_dir():
        host.say(f"{program}: there is no directory {below} with scripts")
    scripts: dict[str, tuple[Source, ...]] = {}
    unread: list[str] = []
    for directory in SCRIPTS:
        found = [(path, _text(path)) for path in _files(below / directory)]
        scripts[directory] = tuple(Source(path, text) for path, text in found if text is not None)
        unread += [path for path, text in found if text is None]
    programs = tuple(path for event in _EVENTS for path in _files(below / "lsm" / event))
    for path in (*(one.name for of in scripts.values() for one in of), *unread):
        host.say(f"{program}: reading {path}")
    return Old(conf, scripts, programs, tuple(unread), _interfaces(program, Path(file)))


def _interfaces(program: str, conf: Path) -> Source | None:
    """ifupdown's file, which Debian keeps in the directory where Net-ISP-Balance looks."""
    path = conf.parent / "interfaces"
    if not path.is_file() or (text := _text(str(path))) is None:
        return None
    host.say(f"{program}: reading {path} for addresses")
    return Source(str(path), text)


def _files(directory: Path) -> list[str]:
    """The files that Net-ISP-Balance ran, in its order: no hidden ones, no copies of editors."""
    try:
        names = sorted(path.name for path in directory.iterdir() if path.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as problem:
        raise Refused(f"cannot read {directory}: {reason(problem)}") from None
    return [
        str(directory / name)
        for name in names
        if not name.startswith((".", "#")) and not name.endswith(("~", ".bak"))
    ]


def _text(file: str) -> str | None:
    """The text of a file, in UTF-8 or else in Latin-1; None if it is none or too long."""
    raw = host.read(file, SIZE_LIMIT + 1)
    if len(raw) > SIZE_LIMIT or b"\0" in raw:
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")

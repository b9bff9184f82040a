"""What writing would change below --out, and whatever there is in nib's way.

Only nib's own files are ever replaced or removed: text by its first line, plan.json by its
`generated_by`, links by what they point to.
"""

import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from nib import claims, host
from nib.host import Refused, Wrong, reason
from nib.render import FIRST_LINE, NETWORK, UNITS, Files, Link

Content = str | Link | None
"""The text of a file, where a link points, or None where nothing is."""

# Where nib writes; only there it looks for what an earlier run left.
PLACES = (
    (NETWORK, "05-nib-*.network"),
    (NETWORK, "05-nib-*.netdev"),
    ("systemd/networkd.conf.d", "05-nib.conf"),
    (f"{UNITS}/systemd-networkd-wait-online.service.d", "05-nib.conf"),
    (UNITS, "nib-*.service"),
    (UNITS, "nib-*.socket"),
    (UNITS, "nib-*.timer"),
    (f"{UNITS}/sysinit.target.wants", "nib-*.service"),
    (f"{UNITS}/multi-user.target.wants", "nib-*.service"),
    ("nib", "*.nft"),
    ("nib", "plan.json"),
    ("sysctl.d", "05-nib.conf"),
)

# Where else networkd reads files, below the root of the system.
SYSTEM_PLACES = ("run", "usr/local/lib", "usr/lib")

NOTHING: Mapping[str, str] = {}

_READ_LIMIT = 4 << 20  # bytes; what is larger is nobody's .network file and no file of nib's


class Kind(StrEnum):
    """What happens to a path."""

    CREATE = "create"
    CHANGE = "change"
    SAME = "same"
    PRUNE = "prune"


@dataclass(frozen=True, slots=True)
class Change:
    """A path relative to --out, and what is there now and afterwards."""

    path: str
    old: Content
    new: Content

    @property
    def kind(self) -> Kind:
        """What happens to the path."""
        if self.old == self.new:
            return Kind.SAME
        if self.old is None:
            return Kind.CREATE
        return Kind.PRUNE if self.new is None else Kind.CHANGE


Changes = tuple[Change, ...]


class _InTheWay(Exception):
    """Something at a path is not what nib would have put there; says what it is."""


# -- compare -------------------------------------------------------------------------------------


def compare(files: Files, out: Path, adopted: Mapping[str, str] = NOTHING) -> Changes:
    """What writing `files` below `out` would do, sorted by path.

    `adopted` are the devices that files of somebody else's configure and nib adds to.
    Raises Wrong, naming every path at fault, if something of somebody else is in nib's way, and
    Refused if the host does not let nib look.
    """
    problems: list[str] = []
    changes: list[Change] = []
    try:
        _check_out(out)
        for path, new in files.items():
            try:
                changes.append(Change(path, _own(out, path), new))
            except _InTheWay as problem:
                problems.append(f"{out / path} {problem}")
        changes += [Change(path, old, None) for path, old in _stale(files, out)]
        problems += [*_claimed(files, out, adopted), *_lacking(out, adopted)]
    except OSError as problem:
        raise Refused(f"cannot read {problem.filename}: {reason(problem)}") from None
    if problems:
        raise Wrong("nothing was written, because\n" + "\n".join(f"  {p}" for p in problems))
    return tuple(sorted(changes, key=lambda change: change.path))


def differing(changes: Changes) -> Changes:
    """Those that are not the same."""
    return tuple(change for change in changes if change.kind is not Kind.SAME)


def inverse(changes: Changes) -> Changes:
    """The changes that undo these."""
    return tuple(Change(change.path, change.new, change.old) for change in changes)


def holds(out: Path, path: str, wanted: Content) -> bool:
    """Whether exactly that is at `path` now."""
    try:
        return _content(out / path) == wanted
    except (OSError, _InTheWay):
        return False


def _check_out(out: Path) -> None:
    """`out` is a directory, or can become one."""
    try:
        out.lstat()
    except OSError as problem:
        if problem.errno == errno.ENAMETOOLONG:
            raise Wrong(f"--out {out}: {reason(problem)}") from None
    nearest = out
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    try:
        is_directory = stat.S_ISDIR(nearest.stat().st_mode)
    except OSError as problem:
        if problem.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
            raise Wrong(f"--out {out}: {nearest} leads nowhere ({reason(problem)})") from None
        raise
    if not is_directory:
        raise Wrong(f"--out {out}: {nearest} is not a directory")


def _own(out: Path, path: str) -> Content:
    """What nib wrote to `path` earlier, or None.  Raises _InTheWay for anything else."""
    for parent in reversed(PurePosixPath(path).parents[:-1]):
        try:
            status = (out / parent).lstat()
        except FileNotFoundError:
            return None
        if stat.S_ISLNK(status.st_mode):
            raise _InTheWay(
                f"is behind the link {out / parent} -> {(out / parent).readlink()}; nib writes "
                "through no link below --out: put a directory there"
            )
        if not stat.S_ISDIR(status.st_mode):
            raise _InTheWay(f"needs a directory where {out / parent} is none: remove that")
    found = _content(out / path)
    match found:
        case None:
            pass
        case Link(target):
            # `systemctl enable` makes the same link with the whole path in it.
            if ".wants/" not in path or PurePosixPath(target).name != PurePosixPath(path).name:
                raise _InTheWay(f"is a link to {target}, which is not nib's: remove it")
        case str(text):
            if not _is_nibs(path, text):
                raise _InTheWay(
                    "does not begin as nib's files do, so it is somebody else's: move it elsewhere"
                )
    return found


def _content(path: Path) -> Content:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        return Link(str(path.readlink()))
    if not stat.S_ISREG(status.st_mode):
        raise _InTheWay("is not a file: remove it")
    return _text(path)


def _text(path: Path) -> str:
    """What is not UTF-8 becomes U+FFFD: it cannot be nib's, and is only looked at."""
    with path.open("rb") as stream:
        return stream.read(_READ_LIMIT).decode(errors="replace")


def _is_nibs(path: str, text: str) -> bool:
    if path.endswith(".json"):
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            return False
        return isinstance(data, dict) and str(data.get("generated_by")).startswith("nib-gen ")
    return text.partition("\n")[0] == FIRST_LINE


def _stale(files: Files, out: Path) -> Iterator[tuple[str, Content]]:
    dropins = [name for name in _names(out / NETWORK) if name.endswith(".network.d")]
    places = (*PLACES, *((f"{NETWORK}/{name}", "05-nib.conf") for name in dropins))
    for place, pattern in places:
        for name in _names(out / place):
            path = f"{place}/{name}"
            if path in files or not fnmatchcase(name, pattern):
                continue
            try:
                found = _own(out, path)
            except _InTheWay:
                continue
            if ".wants/" in path and not isinstance(found, Link):
                continue
            yield path, found


def _names(directory: Path) -> list[str]:
    """What a real directory holds; nothing if it is missing or a link."""
    if directory.is_symlink():
        return []
    try:
        return sorted(path.name for path in directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _claimed(files: Files, out: Path, adopted: Mapping[str, str]) -> Iterator[str]:
    """Other .network files that would have a device of nib's, or do not go with what it adds."""
    ours = {**adopted} | {
        device: PurePosixPath(path).name
        for path, text in files.items()
        if path.endswith(".network") and isinstance(text, str)
        for device in claims.devices(text)
    }
    for name in _names(out / NETWORK):
        path = out / NETWORK / name
        if not name.endswith(".network") or f"{NETWORK}/{name}" in files:
            continue
        # A link to /dev/null is how a file is masked: it matches nothing.  Any other is followed.
        if not path.is_file():
            continue
        text = _text(path)
        if fnmatchcase(name, "05-nib-*.network") and _is_nibs(name, text):
            continue
        for device in (device for device, file in adopted.items() if file == name):
            yield from (f"{path} {why}" for why in claims.unfit(text, device))
        others = {device: file for device, file in ours.items() if file != name}
        if why := claims.claim(name, text, others):
            yield (
                f"{path} {why}; systemd-networkd takes one file for a device, so remove it, or "
                "name it in balance.yaml by 'network'"
            )


def _lacking(out: Path, adopted: Mapping[str, str]) -> Iterator[str]:
    """What is added to a file that is not there has no effect; only a whole system can say so."""
    if host.systemd_of(out) is None:
        return
    root = out.resolve().parent
    places = [out / NETWORK, *(root / place / "systemd/network" for place in SYSTEM_PLACES)]
    for device, file in adopted.items():
        if not any((place / file).is_file() for place in places):
            yield f"there is no {out / NETWORK / file}, which should configure {device}"


# -- show ----------------------------------------------------------------------------------------


def unified(changes: Changes, out: Path) -> str:
    """The difference as `diff -u` prints it; empty if there is none."""
    return "".join(_unified(change, out) for change in differing(changes))


def _unified(change: Change, out: Path) -> str:
    lines = unified_diff(
        _lines(change.old),
        _lines(change.new),
        "/dev/null" if change.old is None else str(out / change.path),
        "/dev/null" if change.new is None else str(out / change.path),
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _lines(content: Content) -> list[str]:
    match content:
        case None:
            return []
        case Link(target):
            return [f"link to {target}\n"]
        case str(text):
            return text.splitlines(keepends=True)


def summary(changes: Changes, out: Path) -> str:
    """One line for each path that was written, and how many were right already."""
    done = {Kind.CREATE: "created", Kind.CHANGE: "changed", Kind.PRUNE: "removed"}
    lines = [f"{done[change.kind]} {out / change.path}\n" for change in differing(changes)]
    if unchanged := len(changes) - len(lines):
        lines.append(f"{unchanged} unchanged in {out}\n")
    return "".join(lines)

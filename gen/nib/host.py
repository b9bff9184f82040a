"""The edge that the programs share: reading balance.yaml, running tools, and how all of it fails.

Whatever goes wrong on the way is one of two exceptions, and `guard` turns both into a sentence for
a person and an exit status; no traceback ever reaches one.
"""

import errno
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nib.config import Config
from nib.plan import Plan, from_json

FINE, DIFFERS, WRONG, REFUSED = 0, 1, 2, 3
"""The exit statuses of every program of nib; DIFFERS also means unhealthy."""

INTERRUPTED = 130

DEFAULT_FILES = ("balance.yaml", "/etc/nib/balance.yaml")
STDIN = "-"

_LISTING_LIMIT = 4 << 20  # bytes; some 250,000 addresses


class Wrong(Exception):
    """A wrong argument or a rejected file.  Ends a program with status 2."""

    status = WRONG


class Refused(Exception):
    """The host refused: permission, a full disk, a missing tool.  Ends a program with status 3."""

    status = REFUSED


def guard(program: str, run: Callable[[], int]) -> int:
    """Run a program and return its exit status, whatever happens; complaints go to stderr."""
    if sys.stdout is None:  # closed by whoever started us: nobody wants to read
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - open to the end
    for stream in (sys.stdout, sys.stderr):
        # A terminal of another encoding gets escapes instead of an error.
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            status = run()
        except SystemExit as end:  # argparse has said all there is to say
            status = end.code if isinstance(end.code, int) else FINE
        sys.stdout.flush()
    except (Wrong, Refused) as problem:
        say(f"{program}: {problem}")
        return problem.status
    except KeyboardInterrupt:
        say(f"{program}: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        return REFUSED
    except MemoryError:
        say(f"{program}: not enough memory")
        return REFUSED
    except OSError as problem:
        # Only output is left: everything else has been put into words where it happened.
        where = f"{problem.filename}" if problem.filename else "the output"
        _drop_stdout()
        say(f"{program}: cannot write {where}: {reason(problem)}")
        return REFUSED
    return status


def say(text: str) -> None:
    """Tell the person in front of the terminal; who is not there any more is not told."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def reason(problem: OSError) -> str:
    """What the kernel answered, in its words but beginning small: `permission denied`."""
    text = problem.strerror or str(problem)
    return text[:1].lower() + text[1:]


def _drop_stdout() -> None:
    """Nobody reads what is still buffered; without this Python complains once more at its end."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)


# -- balance.yaml --------------------------------------------------------------------------------


def _find(file: str | None) -> str:
    """The FILE that is meant: the one named, else balance.yaml here, else the host's."""
    if file is not None:
        return file
    for candidate in DEFAULT_FILES:
        if os.path.lexists(candidate):
            return candidate
    raise Wrong(
        f"there is no {DEFAULT_FILES[0]} here and no {DEFAULT_FILES[1]}: say which FILE to read"
    )


def load(program: str, file: str | None) -> tuple[str, Config]:
    """Read and check FILE; its name as messages use it, and what it says.

    Always says which file it reads, and what is unwise in it.  Raises Wrong with the whole report.
    """
    from nib.advice import advice  # noqa: PLC0415
    from nib.check import check  # noqa: PLC0415 - half of the time to start goes here
    from nib.check.sets import Listed, files_of  # noqa: PLC0415
    from nib.document import SIZE_LIMIT, Rejected, parse  # noqa: PLC0415
    from nib.problem import report  # noqa: PLC0415

    file = _find(file)
    name = "standard input" if file == STDIN else file
    say(f"{program}: reading {name}")
    try:
        document = parse(name, read(file, SIZE_LIMIT + 1))
        listings = {path: Listed(*_listing(path)) for path in files_of(document)}
        config = check(document, listings)
    except Rejected as rejected:
        count = len(rejected.problems)
        ending = "1 problem" if count == 1 else f"{count} problems"
        raise Wrong(f"{name} has {ending}:\n{rejected.report().rstrip()}") from None
    if unwise := advice(document, config):
        say(report(name, document.text, unwise, "warning").rstrip())
    return name, config


def read(file: str, most: int) -> bytes:
    """The first `most` bytes of a file or of standard input: what is longer is refused anyway.

    Raises Wrong if there is no such file, and Refused if the host does not let it be read.
    """
    try:
        if file == STDIN:
            if sys.stdin is None:
                raise Wrong("there is no standard input to read")
            return sys.stdin.buffer.read(most)
        with open(file, "rb") as stream:  # noqa: PTH123 - the text of FILE is what messages repeat
            if stat.S_ISDIR(os.fstat(stream.fileno()).st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            return stream.read(most)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as problem:
        raise Wrong(f"cannot read {file}: {reason(problem)}") from None
    except OSError as problem:
        raise Refused(f"cannot read {file}: {reason(problem)}") from None
    except ValueError:
        raise Wrong("the name of FILE holds a character that no file name can hold") from None


def _listing(path: str) -> tuple[str, str]:
    """The text of a file that balance.yaml names, or nothing and why it cannot be read."""
    try:
        if not Path(path).is_file():
            return "", "it is no file" if os.path.lexists(path) else "there is no such file"
        with Path(path).open("rb") as stream:
            raw = stream.read(_LISTING_LIMIT + 1)
    except (OSError, ValueError) as problem:
        return "", reason(problem) if isinstance(problem, OSError) else "no file is called so"
    if len(raw) > _LISTING_LIMIT:
        return "", f"it has more than {_LISTING_LIMIT >> 20} MiB"
    return raw.decode(errors="replace"), ""


# -- what was applied ----------------------------------------------------------------------------


def read_plan(file: str) -> Plan:
    """plan.json.  Raises Refused."""
    try:
        return from_json(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Refused(f"there is no {file}: nothing was applied yet; see nib apply") from None
    except (OSError, ValueError, RecursionError) as problem:
        raise Refused(f"cannot read {file}: {problem}") from None


# -- the system that the files are for -----------------------------------------------------------


def systemd_of(etc: Path) -> int | None:
    """The version of the systemd that reads `etc`: of the system it is part of; None if of none.

    Told by the name of systemd's own library, so that a system in a folder (an image, a chroot)
    is asked and not the one that runs.
    """
    libraries = (
        library
        for folder in ("usr/lib/systemd", "usr/lib/*/systemd", "usr/lib64/systemd")
        for library in Path(os.path.realpath(etc)).parent.glob(f"{folder}/libsystemd-shared-*.so")
    )
    found = [re.match(r"libsystemd-shared-(\d+)", library.name) for library in libraries]
    return max((int(match[1]) for match in found if match), default=None)


# -- tools ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended.  `said` is what it wrote, errors first, without blank lines."""

    status: int
    said: str
    output: str


def need(tools: Sequence[str], why: str) -> None:
    """Raise Refused if one of the tools is not installed."""
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        raise Refused(f"{' and '.join(missing)} not found: {why}")


# Words that we can read, and no pager.
_PLAIN = {"LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
_NOTHING: Mapping[str, str] = {}


def command(
    arguments: Sequence[str],
    within_s: float,
    stdin: str = "",
    environment: Mapping[str, str] = _NOTHING,
    shown: str = "",
) -> Outcome:
    """Run a tool to its end.  Raises Refused if it cannot run or is not done `within_s` seconds.

    Its words name it as `shown`, or else by all its arguments.

    It runs in a session of its own, so that a Ctrl-C ends only this program, which then has a say,
    and is killed with all its children when the time is over.
    """
    shown = shown or " ".join(arguments)
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, **_PLAIN, **environment},
            start_new_session=True,
        )
    except OSError as problem:
        raise Refused(f"cannot run {shown}: {reason(problem)}") from None
    try:
        output, errors = process.communicate(stdin, timeout=within_s)
    except subprocess.TimeoutExpired:
        _kill(process)
        raise Refused(f"{shown} was not done within {within_s:g} s") from None
    except BaseException:
        _kill(process)
        raise
    lines = [line.rstrip() for line in (errors + output).splitlines() if line.strip()]
    return Outcome(process.returncode, "\n".join(lines), output)


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def clock(ago_s: float) -> str:
    """Local time so many seconds ago; with its date if that was not today."""
    then, now = time.localtime(time.time() - ago_s), time.localtime()
    same_day = (then.tm_year, then.tm_yday) == (now.tm_year, now.tm_yday)
    return time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M", then)

"""The running router: try a table out, see how it is, change it or put it back."""

import os
import signal
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from nib import steps
from nib.changes import Changes, differing, holds, inverse, summary
from nib.families import FAMILIES
from nib.host import Refused, command, reason, say
from nib.install import write
from nib.ip_rules import Mark
from nib.leftovers import Command, leftovers
from nib.monitor.conntrack import forget_flows
from nib.plan import Plan
from nib.planner_rules import BALANCE
from nib.steps import NFTABLES, SERVICES, STOPPED_FILE, SYSCTL_FILE, TABLE_FILE, Part, Step

ETC = Path("/etc")

TABLES = ("inet nib", "inet nib_stopped")

RULES_WITHIN_S = 3.0

_REMAKE = "table inet nib\ndelete table inet nib\n"


def tell(text: str) -> None:
    """A line of progress.  A terminal that went away is no reason to stop halfway."""
    with suppress(OSError, ValueError):
        print(text, flush=True)


def try_out(changes: Changes, state: str) -> bool:
    """Load the new table for real, where it does no harm; whether it must be made anew.

    In a private network namespace it is loaded twice, as a reload would, with the state it starts
    with and what a stop leaves.  Then the kernel says, without doing it, whether what runs now can
    become the new table.  Raises Refused with what nft says.
    """
    texts = {change.path: change.new for change in changes}
    with tempfile.TemporaryDirectory(prefix="nib-") as folder:
        files = {
            name: Path(folder) / name for name in ("nib.nft", "state.nft", "stopped.nft", "new.nft")
        }
        table = str(texts[TABLE_FILE])
        contents = (table, state, str(texts[STOPPED_FILE]), _REMAKE + table)
        for path, text in zip(files.values(), contents, strict=True):
            path.write_text(text, encoding="utf-8")
        order = ("nib.nft", "nib.nft", "state.nft", "stopped.nft", "nib.nft")
        script = " && ".join(f'nft -f "$0/{name}"' for name in order)
        trial = command(("unshare", "-n", "sh", "-c", script, folder), within_s=60)
        if trial.status:
            raise Refused(f"nft refuses the new table; nothing was changed:\n{trial.said}")
        live = command(("nft", "-c", "-f", str(files["nib.nft"])), within_s=30)
        if not live.status:
            return False
        # An empty kernel takes the table, this one does not, but would without the old one: an
        # object exists under the same name with another type.
        if not command(("nft", "-c", "-f", str(files["new.nft"])), within_s=30).status:
            return True
        raise Refused(
            f"the running firewall refuses the new table; nothing was changed:\n{live.said}"
        )


@dataclass(frozen=True, slots=True)
class Before:
    """The router as it was: units that do not run, nib's tables, ip rules, the kernel's settings.

    A rule is one line of `ip rule` with its family in front.
    """

    inactive: frozenset[str]
    tables: frozenset[str]
    rules: frozenset[str]
    settings: Mapping[Path, str]


def look(changes: Changes, plan: Plan) -> Before:
    """`plan` is the one that is to come."""
    inactive = {
        unit
        for unit in SERVICES
        if command(("systemctl", "is-active", "--quiet", unit), within_s=10).status
    }
    listed = command(("nft", "list", "tables"), within_s=10).output.splitlines()
    tables = {table for table in TABLES if f"table {table}" in listed}
    if "inet nib" not in tables:
        inactive.add(NFTABLES)  # whatever systemd believes: somebody flushed it
    rules = _rules(plan.first_priority)
    return Before(frozenset(inactive), frozenset(tables), rules, _settings(changes))


def _rules(first: int) -> frozenset[str]:
    """The ip rules between the first and the last priority of nib."""
    found = set()
    for family in ("-4", "-6"):
        for line in command(("ip", family, "rule"), within_s=10).output.splitlines():
            priority, _, selectors = line.partition(":")
            if priority.isdigit() and first <= int(priority) <= first + BALANCE:
                # what is in brackets is no part of it, but says how it is: [detached], [unresolved]
                words = [word for word in selectors.split() if not word.startswith("[")]
                found.add(" ".join([family, priority, *words]))
    return frozenset(found)


def _settings(changes: Changes) -> dict[Path, str]:
    """The present values of all that the new sysctl file sets."""
    text = next(str(change.new) for change in changes if change.path == SYSCTL_FILE)
    values: dict[Path, str] = {}
    for line in text.splitlines():
        key, equals, _ = line.partition("=")
        if not equals or line.startswith("#"):
            continue
        key = key.strip().removeprefix("-")
        # sysctl.d(5): dots separate, unless the first separator is a slash
        path = Path("/proc/sys") / (key if "/" in key else key.replace(".", "/"))
        with suppress(OSError):
            values[path] = path.read_text()
    return values


def outdated(old: Plan | None, new: Plan) -> tuple[str, ...]:
    """The devices that are there because the old plan said so, and are none of the new one."""
    made = {replace(netdev, name="", origin="") for netdev in new.netdevs}
    return tuple(
        netdev.device
        for netdev in (old.netdevs if old else ())
        if replace(netdev, name="", origin="") not in made
        and Path("/sys/class/net", netdev.device).exists()
    )


# -- change ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Run:
    """One change of the router, and its way back."""

    plan: Plan
    changes: Changes
    changed: frozenset[str]
    before: Before
    remake: bool
    state: str
    touched: set[Part] = field(default_factory=set)
    old_state: str | None = None
    state_written: bool = False

    def go(self, todo: tuple[Step, ...]) -> None:
        """Write the files and do the steps.  Raises Refused when all is as before again."""
        with _signals():
            try:
                write(self.changes, ETC)
                tell(summary(self.changes, ETC).rstrip())
                for step in todo:
                    self._do(step)
            except (Refused, OSError, KeyboardInterrupt) as problem:
                why = str(problem) or "interrupted"
                with _deaf():
                    undo = self._written()
                    failed = self._back(undo)
                if undo or self.touched:
                    why += _verdict(failed)
                raise Refused(why) from None

    def _do(self, step: Step) -> None:
        tell(f"{step.says}: {' '.join(step.command)}")
        self.touched.add(step.part)
        if step.part == "table":
            self._write_state()
            if self.remake:
                tell("an object of the table changed its type, so it is made anew once")
                table = (ETC / TABLE_FILE).read_text(encoding="utf-8")
                _must(("nft", "-f", "-"), 30, _REMAKE + table)
        _must(step.command, step.within_s)

    def _write_state(self) -> None:
        """What the monitor knows, said in the words of the new plan, before the table reads it."""
        path = Path(self.plan.state_file)
        if not path.parent.is_dir() or steps.PLAN_FILE not in self.changed:
            return
        with suppress(OSError):
            self.old_state = path.read_text(encoding="utf-8")
        _replace(path, self.state)
        self.state_written = True

    def _back(self, undo: Changes) -> list[str]:
        """Undo everything; what could not be undone."""
        failed: list[str] = []

        for step in steps.stop_new(self.before.inactive, self.touched):
            with _attempt(step.says, failed):
                _must(step.command, step.within_s)
        if undo:
            with _attempt("the previous files return", failed):
                write(undo, ETC)
        if self.state_written:
            with _attempt("the previous state returns", failed):
                self._state_back()
        if "sysctl" in self.touched:
            with _attempt("the previous settings return", failed):
                self._settings_back()
        for step in steps.backward(self.changed, self.before.inactive, self.touched):
            with _attempt(step.says, failed):
                self._redo(step)
        if "network" in self.touched:
            with _attempt("rules that were not there go", failed):
                self._rules_back()
        for step in steps.settle(self.changed, self.before.inactive, self.touched):
            with _attempt(step.says, failed):
                _must(step.command, step.within_s)
        if "table" in self.touched and NFTABLES in self.before.inactive:
            with _attempt("tables that were not there go", failed):
                self._tables_back()
        return failed

    def _written(self) -> Changes:
        """What undoes the changes that are really there: writing itself may have failed."""
        return tuple(c for c in inverse(differing(self.changes)) if holds(ETC, c.path, c.old))

    def _redo(self, step: Step) -> None:
        if step.part == "table" and self.remake:
            table = (ETC / TABLE_FILE).read_text(encoding="utf-8")
            _must(("nft", "-f", "-"), 30, _REMAKE + table)
        _must(step.command, step.within_s)

    def _state_back(self) -> None:
        path = Path(self.plan.state_file)
        if self.old_state is not None:
            _replace(path, self.old_state)
        else:
            path.unlink(missing_ok=True)

    def _settings_back(self) -> None:
        for path, value in self.before.settings.items():
            try:
                path.write_text(value)
            except OSError as problem:
                raise Refused(f"cannot set {path}: {reason(problem)}") from None

    def _rules_back(self) -> None:
        """networkd removes its own within a moment; what it forgot would cut the lans off."""
        deadline_s = time.monotonic() + RULES_WITHIN_S
        first = self.plan.first_priority
        while (left := _rules(first) - self.before.rules) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        for rule in sorted(left):
            family, priority, *selectors = rule.split()
            _must(("ip", family, "rule", "del", "pref", priority, *selectors), 10)

    def _tables_back(self) -> None:
        text = "".join(
            f"table {table}\ndelete table {table}\n"
            for table in TABLES
            if table not in self.before.tables
        )
        if text:
            _must(("nft", "-f", "-"), 30, text)
        if "inet nib_stopped" in self.before.tables:
            _must(("nft", "-f", str(ETC / STOPPED_FILE)), 30)


def forget(marks: Iterable[Mark], mask: int) -> None:
    """Drop the connections with these marks under `mask`.  What cannot be done is only named."""
    try:
        for mark in marks:
            for family in FAMILIES:
                forget_flows(family, mark, mask)
    except OSError as problem:
        say(f"note: connections of moved uplinks stay: {problem.strerror}")


def sweep(plan: Plan, old: Plan | None) -> bool:
    """Remove what earlier plans left in the routing, `old` the last; was there anything?

    networkd removes its own within a moment, so that is what is left after it.  A leftover is no
    reason to take a good change back: one that cannot be removed is only named.
    """
    deadline_s = time.monotonic() + RULES_WITHIN_S
    earlier = {old.first_priority} if old else frozenset()
    while (left := _leftovers(plan, earlier)) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    for arguments in left:
        tell(f"an earlier plan left this: {' '.join(arguments)}")
        outcome = command(arguments, within_s=10)
        if outcome.status:
            say(f"note: it stays: {outcome.said}")
    return bool(left)


def _leftovers(plan: Plan, earlier: Collection[int]) -> tuple[Command, ...]:
    found: list[Command] = []
    for family in FAMILIES:
        ip = ("ip", "-N", "-j", f"-{family}")
        rules = command((*ip, "rule"), within_s=10)
        routes = command((*ip, "route", "show", "table", "all", "default"), within_s=10)
        found += leftovers(plan, family, rules.output or "[]", routes.output or "[]", earlier)
    return tuple(found)


@contextmanager
def _attempt(says: str, failed: list[str]) -> Iterator[None]:
    tell(f"back: {says}")
    try:
        yield
    except (Refused, OSError) as problem:
        failed.append(f"{says}: {problem}")


def _must(arguments: tuple[str, ...], within_s: float, stdin: str = "") -> None:
    outcome = command(arguments, within_s, stdin)
    if outcome.status:
        said = outcome.said or f"status {outcome.status}"
        raise Refused(f"{' '.join(arguments)} failed: {said}")


def _replace(path: Path, text: str) -> None:
    """Atomic, under a hidden name that the table's include does not match."""
    new = path.with_name(f".{path.name}.nib-apply")
    try:
        new.unlink(missing_ok=True)
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            os.fchmod(handle, 0o644)
            stream.write(text)
        new.replace(path)
    except OSError as problem:
        raise Refused(f"cannot write {path}: {reason(problem)}") from None


def _verdict(failed: list[str]) -> str:
    if not failed:
        return "\nall is as before: the previous files are back and loaded"
    return "\nand this could not be put back:\n" + "\n".join(f"  {line}" for line in failed)


@contextmanager
def _signals() -> Iterator[None]:
    """A lost terminal (an ssh session that this very change cut) does not stop the work; a
    termination does, as Ctrl-C does, and all is put back."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt("terminated")

    old = (
        signal.signal(signal.SIGHUP, signal.SIG_IGN),
        signal.signal(signal.SIGTERM, interrupt),
    )
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, old[0])
        signal.signal(signal.SIGTERM, old[1])


@contextmanager
def _deaf() -> Iterator[None]:
    """The way back is gone to its end."""
    old = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)

"""nib apply: from balance.yaml to a router that runs it, or back to what was."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nib import fragments, hooks, host, steps
from nib.changes import Changes, compare, differing, unified
from nib.config import Config
from nib.host import DIFFERS, FINE, Refused, Wrong, command, reason
from nib.hours import minute_of_week
from nib.plan import Plan, from_json
from nib.planner import make_plan
from nib.render import NETWORK, NEWEST_SYSTEMD, UNITS, render
from nib.router import ETC, Run, forget, look, outdated, sweep, tell, try_out
from nib.state import counting, render_state
from nib.status import STATUS_FILE, Status
from nib.status import from_json as status_from_json

LOCK = Path("/run/nib.lock")
STAMP = Path("/run/nib.applied")
"""Its date is when the files and the router last agreed."""


def check_host() -> None:
    """Raise Refused, in words, where nib apply cannot work."""
    if os.geteuid() != 0:
        raise Refused("this changes the router and needs root: try sudo nib apply")
    host.need(("nft",), "install the package nftables")
    host.need(("systemctl", "networkctl"), "nib needs systemd with systemd-networkd")
    host.need(("ip", "unshare"), "install the packages iproute2 and util-linux")
    if not Path("/run/systemd/system").is_dir():
        raise Refused("systemd does not run this host, so there is nothing to load the files into")


@contextmanager
def lock() -> Iterator[None]:
    """Be the only nib apply.  Raises Refused if there is another one."""
    try:
        handle = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as problem:
        raise Refused(f"cannot lock {LOCK}: {reason(problem)}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise Refused("another nib apply is at work; try again when it is done") from None
    try:
        yield
    finally:
        os.close(handle)


def apply(config: Config, *, yes: bool) -> int:
    """Make the router run `config`; ask first unless `yes`.  Returns the exit status.

    Raises Wrong and Refused; the router is then as before, or the message says what is not.
    """
    plan = make_plan(config)
    since_s = _agreed_s()
    hook_s = config.notices.hook_timeout_ms / 1000
    failed: tuple[str, ...] = ()
    with lock():
        mine = fragments.paths(ETC)
        files = render(plan, host.systemd_of(ETC) or NEWEST_SYSTEMD)
        changes = compare(files, ETC, plan.adopted)
        differ = differing(changes)
        sys.stdout.write(unified(changes, ETC))
        sys.stdout.flush()
        old = _old_plan(changes)
        for line in steps.moved(old, plan):
            tell(line)
        status = _status()
        now = time.localtime()
        minute = minute_of_week(now.tm_wday, now.tm_hour, now.tm_min)
        state = render_state(
            plan,
            steps.carried_over(plan, status),
            counting(plan, minute),
            easing=steps.easing(plan, status, time.monotonic()),
            drained=steps.drained(status),
        )
        remake = try_out(changes, state)
        if differ and not yes and not _confirmed(len(differ)):
            host.say("nothing was changed")
            return DIFFERS
        before = look(changes, plan)
        changed = frozenset(c.path for c in differ) | _written_since(changes, since_s)
        if _fragments_changed(mine, since_s):
            changed |= {steps.TABLE_FILE}
        todo = steps.forward(changed, before.inactive, str(ETC), outdated(old, plan))
        if todo or differ:
            if failed := hooks.run(ETC, "pre-apply", plan, changed, hook_s):
                raise Refused(f"{failed[0]}\nnothing was changed")
            Run(plan, changes, changed, before, remake, state).go(todo)
        if old:
            forget(steps.dropped_marks(old, plan), old.marks.id_mask)
        swept = sweep(plan, old)
        _stamp(mine)
        if todo or differ:
            failed = hooks.run(ETC, "post-apply", plan, changed, hook_s)
        elif not swept:
            tell("nothing to do: the router runs what balance.yaml says")
    _hint_networkd()
    for complaint in failed:
        host.say(f"the change is made, but {complaint}")
    return DIFFERS if failed else FINE


def _confirmed(count: int) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise Wrong("there is nobody to ask: add --yes to apply this")
    try:
        answer = input(f"Apply this to the router, {count} files? [y/N] ")
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")


# -- before ----------------------------------------------------------------------------------------


def _old_plan(changes: Changes) -> Plan | None:
    """The plan that is installed now, if there is one that this nib can read."""
    text = next(change.old for change in changes if change.path == steps.PLAN_FILE)
    with suppress(ValueError):
        return from_json(text) if isinstance(text, str) else None
    return None


def _status() -> Status | None:
    try:
        return status_from_json(Path(STATUS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _agreed_s() -> float:
    """When the router last read its files, in seconds of the epoch: nib apply, or the boot.

    The boot of this system, which in a container is not that of the kernel.
    """
    asked = command(("systemctl", "show", "--property=UserspaceTimestampMonotonic", "--value"), 10)
    up_since_s = int(asked.output) / 1e6 if asked.output.strip().isdigit() else 0.0
    boot_s = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) + up_since_s
    try:
        return max(boot_s, STAMP.lstat().st_mtime)
    except OSError:
        return boot_s


def _stamp(mine: tuple[Path, ...]) -> None:
    """Its lines are the fragments that are loaded."""
    with suppress(OSError):
        STAMP.write_text("".join(f"{path}\n" for path in mine), encoding="utf-8")


def _written_since(changes: Changes, since_s: float) -> frozenset[str]:
    """What `nib-gen --out /etc` wrote, or removed, and nobody has loaded yet.

    A removal shows by its directory alone.
    """
    paths = [change.path for change in changes if change.new is not None]
    found = set()
    dropins = (f"{NETWORK}/{path.name}" for path in (ETC / NETWORK).glob("*.network.d"))
    for path in (*paths, f"{NETWORK}/", f"{UNITS}/", *dropins):
        with suppress(OSError):
            if (ETC / path).lstat().st_ctime > since_s:
                found.add(path)
    return frozenset(found)


def _fragments_changed(mine: tuple[Path, ...], since_s: float) -> bool:
    """Whether the administrator's rules differ from those that were loaded."""
    if _newer(mine, since_s):
        return True
    try:
        loaded = STAMP.read_text(encoding="utf-8").splitlines()
    except OSError:
        # not applied since the boot: where there is no folder there may have been one
        return not mine and _newer((ETC / "nib",), since_s)
    return loaded != [str(path) for path in mine]


def _newer(paths: tuple[Path, ...], since_s: float) -> bool:
    for path in paths:
        with suppress(OSError):
            if path.stat().st_ctime > since_s:
                return True
    return False


# -- change ----------------------------------------------------------------------------------------


def _hint_networkd() -> None:
    if command(("systemctl", "is-enabled", "--quiet", steps.NETWORKD), within_s=10).status:
        host.say("note: systemd-networkd does not start at boot; systemctl enable systemd-networkd")

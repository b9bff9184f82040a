"""The administrator's programs in /etc/nib/hooks; those before and after a change are run here."""

import os
import stat
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Literal

from nib.host import Refused, command, reason, say
from nib.plan import Plan
from nib.steps import PLAN_FILE

HOOKS = "nib/hooks"

# What editors and packages leave beside a file.
LEFTOVERS = (
    "~",
    ".bak",
    ".orig",
    ".rej",
    ".swp",
    ".dpkg-old",
    ".dpkg-new",
    ".dpkg-dist",
    ".rpmsave",
)

When = Literal["pre-apply", "post-apply"]


def run(
    etc: Path, when: When, plan: Plan, changed: AbstractSet[str], within_s: float
) -> tuple[str, ...]:
    """Run the programs for `when` in order of name; what failed, in words.

    What they say is shown.  After a failure before the change none of the others is run.
    """
    failed: list[str] = []
    try:
        found = programs(etc / HOOKS / f"{when}.d")
    except Refused as problem:
        return (str(problem),)
    words = {**environment(etc, plan, changed), "NIB_HOOK": when}
    for path in found:
        print(f"{when}: {path}", flush=True)
        try:
            outcome = command((str(path),), within_s, environment=words)
        except Refused as problem:
            failed.append(str(problem))
        else:
            if outcome.said:
                print("\n".join(f"  {line}" for line in outcome.said.splitlines()), flush=True)
            if outcome.status:
                failed.append(f"{path} ended with status {outcome.status}")
        if failed and when == "pre-apply":
            break
    return tuple(failed)


def environment(etc: Path, plan: Plan, changed: AbstractSet[str]) -> dict[str, str]:
    """What a hook is told; lists are separated by spaces."""
    return {
        "NIB_CHANGED": " ".join(str(etc / path) for path in sorted(changed)),
        "NIB_PLAN": str(etc / PLAN_FILE),
        "NIB_UPLINKS": " ".join(uplink.name for uplink in plan.uplinks),
        "NIB_UPLINK_DEVICES": " ".join(uplink.device for uplink in plan.uplinks),
        "NIB_LANS": " ".join(lan.name for lan in plan.lans),
        "NIB_LAN_DEVICES": " ".join(lan.device for lan in plan.lans),
    }


def programs(folder: Path) -> tuple[Path, ...]:
    """Those that are run, in order of name; others are named.

    Raises Refused for a folder that cannot be read, or that anybody could put programs into.
    """
    found: list[Path] = []
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return ()
    except OSError as problem:
        raise Refused(f"cannot read {folder}: {reason(problem)}") from None
    if _open_to_all(folder):
        raise Refused(f"anybody may write into {folder}: chmod o-w {folder}")
    for path in paths:
        if path.name.startswith(".") or path.name.endswith(LEFTOVERS) or path.is_dir():
            continue
        if not os.access(path, os.X_OK):
            say(f"note: {path} is not executable, so it is not run")
        elif _open_to_all(path):
            raise Refused(f"anybody may change {path}: chmod o-w {path}")
        else:
            found.append(path)
    return tuple(found)


def _open_to_all(path: Path) -> bool:
    return bool(path.stat().st_mode & stat.S_IWOTH)

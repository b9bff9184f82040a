"""The administrator's own rules, which the table includes: /etc/nib/nft.d/*.nft."""

import stat
from pathlib import Path

from nib.host import Refused, reason

FRAGMENTS = "nib/nft.d"


def paths(etc: Path) -> tuple[Path, ...]:
    """The fragments that the table includes, and the folder itself, as far as they are there.

    Raises Refused if nib-monitor, which is not root, could not read them: it would put a table
    back that lacks them.
    """
    folder = etc / FRAGMENTS
    try:
        found = sorted(path for path in folder.iterdir() if _included(path.name))
        for path, needed in ((folder, 0o005), *((path, 0o004) for path in found)):
            if stat.S_IMODE(path.stat().st_mode) & needed != needed:
                more = "a+rX" if path == folder else "a+r"
                raise Refused(
                    f"nib-monitor cannot read {path}, and could not put the table back\n"
                    f"  chmod {more} {path}"
                )
    except FileNotFoundError as problem:
        if problem.filename == str(folder):
            return ()
        raise Refused(f"cannot read {problem.filename}: {reason(problem)}") from None
    except OSError as problem:
        raise Refused(f"cannot read {problem.filename}: {reason(problem)}") from None
    return (folder, *found)


def _included(name: str) -> bool:
    return name.endswith(".nft") and not name.startswith(".")

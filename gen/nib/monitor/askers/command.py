"""Programs of the administrator's: status 0 is a good answer, what another says is shown."""

import asyncio
import contextlib
import os
import signal
import stat
from pathlib import Path

from nib.monitor.askers.way import Way
from nib.targets import Command

# What stands in a sentence of ours.
SHOWN = 100


async def ask(way: Way, target: Command) -> str | None:
    """What its status and its last line say is wrong.

    It ends with the time-out, and with it all that it started (but for daemons).
    """
    path = Path(target.path)
    if unfit := _unfit(path):
        return unfit
    process = await asyncio.create_subprocess_exec(
        path,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment(way),
        start_new_session=True,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if not process.returncode:
        return None
    lines = said.decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if last:
        return "".join(c if c.isprintable() else "?" for c in last[:SHOWN])
    return f"ended with status {process.returncode}"


def environment(way: Way) -> dict[str, str]:
    """All that it is told; the mark as a number that every program takes."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "NIB_UPLINK": way.uplink.name,
        "NIB_DEVICE": way.uplink.device,
        "NIB_MARK": str(way.uplink.mark),
        "NIB_FAMILY": str(way.family),
    }


def _unfit(path: Path) -> str | None:
    """Nobody but root may decide what runs with the monitor's rights."""
    try:
        found = path.stat()
    except OSError as error:
        return f"cannot be run: {error.strerror}"
    if not stat.S_ISREG(found.st_mode) or not os.access(path, os.X_OK):
        return "is not a program"
    if found.st_uid or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "is not run: others than root may change it"
    return None

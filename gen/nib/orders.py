"""nib down, up and auto: what the operator orders of an uplink."""

import argparse
import os
import pwd
import re
import sys
import time
from contextlib import suppress
from pathlib import Path

from nib.control import ask
from nib.host import FINE, Refused, clock
from nib.status import Status
from nib.status_report import status_report
from nib.stream import LONGEST_S, SOCKET, Command, Ended, Snapshot, from_json

DOWN = """\
Give UPLINK no new connections, whatever its probes say; those that it has go on as long as it
lives.  The last uplink that carries is refused.  Needs root.
"""

UP = """\
Give UPLINK new connections, whatever its probes say, as long as its link carries: with a carrier,
an address and a gateway.  Needs root.
"""

AUTO = """\
Take back what `nib down` or `nib up` ordered of UPLINK: its probes decide again.  Needs root.
"""

_SPAN = re.compile(r"([1-9]\d{0,8})([smhd])")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}

NOBODY = 2**32 - 1  # the login uid of what no login led to


def order(command: Command) -> int:
    """Send an order, and show how the uplinks are when it is done.  Raises Refused."""
    sys.stdout.write(status_report(carry_out(command), time.monotonic(), clock))
    return FINE


def carry_out(command: Command) -> Status:
    """Send an order; the status when it is done.  Raises Refused."""
    for line in ask(command):
        try:
            item = from_json(line).item
        except (ValueError, RecursionError) as problem:
            raise Refused(f"{SOCKET}: {problem}\n  try: systemctl restart nib-monitor") from None
        if isinstance(item, Ended):
            raise Refused(item.reason)
        if isinstance(item, Snapshot):
            return item.status
    raise Refused("nib-monitor went away without an answer: see nib status")


def span(text: str) -> float:
    """Seconds of a text like `2h`."""
    found = _SPAN.fullmatch(text)
    seconds = int(found[1]) * _UNITS_S[found[2]] if found else 0
    if not 0 < seconds <= LONGEST_S:
        raise argparse.ArgumentTypeError("a number and s, m, h or d, like 2h; at most ten years")
    return float(seconds)


def who() -> str:
    """The name of whoever logged in, also behind sudo; else of whom this runs as."""
    uid = os.geteuid()
    with suppress(OSError, ValueError):
        login = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
        uid = uid if login == NOBODY else login
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)

"""What an uplink is, since when and why: the one sentence that people read everywhere."""

from nib.families import Family
from nib.status import Shown

STATES: dict[Shown, str] = {"unknown": "is unknown", "up": "is up", "down": "is down"}


def sentence(headline: str, reason: str, since: str | None = None) -> str:
    """`dsl is down since 14:02:11: wan2 has no carrier`, without a full stop.

    `since` is the wall clock's, with the date if it is not today's; None where now is meant.
    """
    return f"{headline}{f' since {since}' if since else ''}: {reason}"


def headline(uplink: str, health: Shown, family: Family) -> str:
    """`dsl is down`; that it is so in IPv4 goes without saying."""
    if health == "absent":
        return f"{uplink} has no IPv6"
    return f"{uplink} {STATES[health]}{' in IPv6' if family == 6 else ''}"

"""What nib-monitor tells, for people: the lines of `nib watch`."""

from collections.abc import Sequence

from nib.columns import percent
from nib.stream import Change, Ended, Flip, Notice, Sample, Share, Snapshot, Told


def told_line(told: Told, clock: str) -> str:
    """What a person wants to hear of it, with its end; often nothing.

    `clock` is its local clock time.
    """
    match told.item:
        case Notice(text):
            # every change of health is one
            said = text
        case Flip(family, before, after):
            said = f"new flows of IPv{family}: {_shares(before)} -> {_shares(after)}"
        case Sample() | Change() | Snapshot() | Ended():
            return ""
    return f"{clock}  {said}\n"


def _shares(shares: Sequence[Share]) -> str:
    return ", ".join(f"{one.uplink} {percent(one.share)}" for one in shares) or "nobody"

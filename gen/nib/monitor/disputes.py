"""Who removes what nib puts back, again and again, is not fought for ever.  Pure.

Each time is counted.  After PATIENCE times in quick succession the next one waits, twice as long
every time, and people are told; what then stays for PEACE_S is no longer in dispute.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from nib.monitor.events import AddDefault, AddNetwork, AddRule, Effect, Say, SetBalance

PATIENCE = 5
PEACE_S = 10.0
LONGEST_S = 30.0

PutBack = AddRule | AddDefault | AddNetwork | SetBalance

TABLE = "nib's nft table"
NAMED = 3  # so many things in dispute are named, the others counted


@dataclass(frozen=True, slots=True)
class Dispute:
    """How often a thing was put back, and when it was last (monotonic seconds)."""

    times: int = 0
    last_s: float = -math.inf

    @property
    def contested(self) -> bool:
        """More than an accident."""
        return self.times >= PATIENCE

    @property
    def pause_s(self) -> float:
        """How long to wait before it is put back once more."""
        if not self.contested:
            return 0.0
        return min(2.0 ** min(self.times - PATIENCE + 1, 10), LONGEST_S)

    @property
    def peace_s(self) -> float:
        """When it is over, if the thing is left alone."""
        return self.last_s + self.pause_s + PEACE_S

    def again(self, at_s: float) -> "Dispute":
        """It is put back once more."""
        return Dispute(1 if at_s > self.peace_s else self.times + 1, at_s)


NONE = Dispute()


def contested(disputes: Mapping[PutBack, Dispute], loads: Dispute) -> tuple[str, ...]:
    """What people should know of: the names of the things, sorted."""
    names = {_name(effect) for effect, one in disputes.items() if one.contested}
    return tuple(sorted(names | ({TABLE} if loads.contested else set())))


def news(before: tuple[str, ...], now: tuple[str, ...]) -> list[Effect]:
    """What the journal should know of, in one line each."""
    said: list[Effect] = []
    if fresh := [name for name in now if name not in before]:
        text = f"something keeps removing {listed(fresh)}: from now on nib puts it back more rarely"
        said.append(Say(f"{text}; to see what does it: {_hint(fresh)}", warning=True))
    if over := [name for name in before if name not in now]:
        said.append(Say(f"nothing removes {listed(over)} any more"))
    return said


def listed(names: list[str]) -> str:
    """`a, b, c and 4 more`."""
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _hint(names: list[str]) -> str:
    if TABLE in names:
        return "nft monitor"
    return "ip monitor rule" if names[0].startswith("the ip rule") else "ip monitor route"


def _name(effect: PutBack) -> str:
    match effect:
        case AddRule(rule):
            return f"the ip rule {rule.priority}" + (" of IPv6" if rule.family == 6 else "")
        case AddDefault(default):
            of = "IPv6 " if default.family == 6 else ""
            return f"the {of}default route by {default.device}"
        case AddNetwork(network):
            return f"{network.network} of {network.device}"
        case SetBalance(family):
            return "the balance table" + (" of IPv6" if family == 6 else "")

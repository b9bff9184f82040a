"""Who removes what nib puts back, again and again, is not fought for ever.  Pure.

Each time is counted.  After PATIENCE times in quick succession the next one waits, twice as long
every time, and people are told; what then stays for PEACE_S is no longer in dispute.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from nib.ip_rules import MAIN
from nib.monitor.events import AddDefault, AddNetwork, AddRule, Effect, Say, SetBalance
from nib.status import Disputed, Status

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


def contested(
    disputes: Mapping[PutBack, Dispute], named: Mapping[str, Dispute]
) -> tuple[Disputed, ...]:
    """What people should know of, and the next monitor, sorted by name."""
    found = {thing(effect): one for effect, one in disputes.items() if one.contested}
    found |= {name: one for name, one in named.items() if one.contested}
    return tuple(Disputed(name, one.times, one.last_s) for name, one in sorted(found.items()))


def recall(before: Status | None) -> tuple[Dispute, Mapping[str, Dispute]]:
    """That of the table and the others, as a monitor before this one left them.

    Only what is contested: what was put back now and then may have been missing because that
    monitor had stopped.
    """
    known = {one.thing: Dispute(one.times, one.last_s) for one in before.disputes} if before else {}
    return known.pop(TABLE, NONE), known


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


def thing(effect: PutBack) -> str:
    """What is put back, in words that no other thing has."""
    match effect:
        case AddRule(rule):
            of = " of IPv6" if rule.family == 6 else ""
            selectors = [
                f" {word} {value}"
                for word, value in (
                    ("from", rule.source),
                    ("out by", rule.oif),
                    ("in by", rule.iif),
                    ("with mark", rule.mark and f"{rule.mark:#010x}"),
                )
                if value
            ]
            return f"the ip rule {rule.priority}{''.join(selectors)}{of}"
        case AddDefault(default):
            of = "IPv6 " if default.family == 6 else ""
            via = f" via {default.gateway}" if default.gateway else ""
            table = "main" if default.table == MAIN else f"table {default.table}"
            return f"the {of}default route by {default.device}{via} in {table}"
        case AddNetwork(network):
            return f"{network.network} of {network.device}"
        case SetBalance(family, hops):
            ways = ", ".join(f"{hop.device} via {hop.gateway} weight {hop.weight}" for hop in hops)
            of = " of IPv6" if family == 6 else ""
            return f"the balance table{of} ({ways or 'empty'})"

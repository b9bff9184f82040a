"""The kernel's ip rules, and the numbers that they are made of: marks, tables, priorities."""

from dataclasses import dataclass
from typing import Literal, NewType

from nib.families import Family

Mark = NewType("Mark", int)
Table = NewType("Table", int)
Priority = NewType("Priority", int)

# Marks the routes and rules that the monitor puts there; free in /etc/iproute2/rt_protos.
PROTOCOL = 110
MAIN = Table(254)


@dataclass(frozen=True, slots=True)
class Marks:
    """How the bits under `mask` are used; all other bits of a mark belong to others.

    `id_mask` holds an uplink's id, all ones (`local`) says "routed, but by no uplink"; `block` is
    the top bit, for flows that must leave by no other uplink.  `keep` is the inverse of `mask`.
    """

    mask: int
    id_mask: int
    block: int
    keep: int
    local: Mark


@dataclass(frozen=True, slots=True)
class Rule:
    """An ip rule: the selectors that are set must all match.  No `table`: unreachable.

    `goto`: the walk goes on at the rule of that priority, and at the next one if there is none.
    `device` names the .network file that holds it: rules that hang on no link are lo's, and those
    that the monitor alone keeps are in none.
    """

    family: Family
    priority: Priority
    device: str
    table: Table | Literal["main"] | None = None
    suppress_prefixlength: int | None = None
    oif: str | None = None
    iif: str | None = None
    source: str | None = None
    mark: int | None = None
    mask: int | None = None
    goto: Priority | None = None
    origin: str = ""

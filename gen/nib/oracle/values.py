"""What the oracle is asked and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Literal, get_args

from nib.families import Family
from nib.passages import Limit
from nib.plan import Plan
from nib.state import Live

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Protocol = Literal["tcp", "udp", "sctp", "icmp", "gre", "esp", "ah"]
"""In the words of balance.yaml: `icmp` is that of either family."""

PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

Fate = Literal["leaves", "delivered", "dropped", "reset", "refused"]
"""`delivered`: to the router itself.  `reset`: by TCP.  `refused`: with an ICMP error."""


class Unanswerable(ValueError):
    """A packet that the plan says nothing about; the text says why."""


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a flow; of TCP a SYN, of ICMP an echo request.

    `device` is where it comes in; without one the router itself sends it, a program of `user`, and
    then no `source` is a socket that is bound to no address.
    """

    source: Address | None
    destination: Address
    protocol: Protocol
    sport: int | None = None
    dport: int | None = None
    device: str | None = None
    user: str | int | None = None
    dscp: int = 0

    @property
    def family(self) -> Family:
        return 4 if self.destination.version == 4 else 6


@dataclass(frozen=True, slots=True)
class Situation:
    """What the plan cannot know.

    `live` are the uplinks that count as alive; those that do not are silent, but their links and
    routes are there.  `addresses` are those that others gave to a device: leases, PPP, VPNs.
    `balanced`: the monitor fills the balance table.  `hours` are the names of those it is now.
    """

    live: Live
    addresses: Mapping[str, tuple[Interface, ...]] = field(default_factory=dict)
    balanced: bool = True
    hours: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Case:
    """What is judged: a packet, by a plan, in a situation."""

    plan: Plan
    situation: Situation
    packet: Packet


@dataclass(frozen=True, slots=True)
class Reason:
    """A sentence about a step of the way, and what in balance.yaml is behind it."""

    text: str
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Hop:
    """Where the routing leads: by `device` to `neighbour`, which may be the destination itself.

    No neighbour: the device is a line to a single other end.
    """

    device: str
    neighbour: Address | None
    reason: Reason


@dataclass(frozen=True, slots=True)
class Choice:
    """What rules and policies say of a flow: an uplink, or nobody.

    `rule` counts in the plan's flow rules from 0, `tier` in the policy's tiers from 1.  `block`: by
    no other uplink.
    """

    chance: Fraction
    uplink: str | None = None
    rule: int | None = None
    policy: str | None = None
    tier: int | None = None
    block: bool = False
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """One thing that may become of the packet, and how probably.

    It leaves by `device`, which is that of `uplink` if it is one's.  `masqueraded`: with an address
    of that device, `source` if it is known; else `source` is the packet's own.  `to` is where it is
    sent on to, and to which port.  Over `limit` it is dropped instead.  The last of the reasons
    decided.
    """

    fate: Fate
    choice: Choice
    reasons: tuple[Reason, ...]
    device: str | None = None
    uplink: str | None = None
    masqueraded: bool = False
    source: Address | None = None
    to: tuple[Address, int | None] | None = None
    limit: Limit | None = None

    @property
    def chance(self) -> Fraction:
        return self.choice.chance


Verdict = tuple[Way, ...]
"""The chances are 1 together."""

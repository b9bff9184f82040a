"""The plan's part for who goes where: policies, and the rules that send flows to them."""

from dataclasses import dataclass
from typing import Literal

from nib.families import Family


@dataclass(frozen=True, slots=True)
class Share:
    """The weight of an uplink within a tier."""

    uplink: str
    weight: int


@dataclass(frozen=True, slots=True)
class Sticky:
    """New flows of a lan's client follow its last one for `for_s` seconds; `pair`: to one host."""

    pair: bool
    for_s: int

    def key(self, family: Family) -> str:
        """What a client is known by, in nft's words.

        nft 1.0 has no room for a pair of IPv6 addresses beside a mark: there his own stands for it.
        """
        ip = "ip" if family == 4 else "ip6"
        return f"{ip} saddr . {ip} daddr" if self.pair and family == 4 else f"{ip} saddr"


Class = Literal["tcp", "udp"]
"""TCP, and all that is not."""


@dataclass(frozen=True, slots=True)
class Running:
    """What becomes of running flows; their conntrack entries are known by a `label`, 0 to 127.

    Of the classes `kept` they stay with an uplink that dies.  Of the classes `recalled` they leave
    an uplink of a later tier, `after_s` seconds after one of an earlier tier is wholly back.
    """

    label: int
    kept: tuple[Class, ...]
    recalled: tuple[Class, ...]
    after_s: int


@dataclass(frozen=True, slots=True)
class Policy:
    """Which uplinks new flows may use: the first tier with a live member carries them.

    When nobody in it lives: `stay`, they are spread as if all lived, for there is nothing better;
    `any`, they go where flows go that no rule names; `block`, they are refused.  Without `running`,
    TCP flows of a dead uplink are reset, the others move, and none leaves an uplink that lives.
    """

    name: str
    tiers: tuple[tuple[Share, ...], ...]
    when_down: Literal["stay", "any", "block"] = "stay"
    sticky: Sticky | None = None
    running: Running | None = None


@dataclass(frozen=True, slots=True)
class AddressSet:
    """A named nft set of one family; `elements` are addresses, networks and ranges."""

    name: str
    family: Family
    elements: tuple[str, ...]
    origin: str


@dataclass(frozen=True, slots=True)
class FlowRule:
    """A line that sends new flows of one family to a policy; `default` is where others go.

    What is empty says nothing, all the rest must fit: devices that the flow comes in by, addresses
    (elements or the name of a set), nft's words for protocols, ports, numbers of classes, a user;
    `hours` is the name of some.
    """

    family: Family
    policy: str
    devices: tuple[str, ...]
    source: tuple[str, ...]
    source_set: str | None
    destination: tuple[str, ...]
    destination_set: str | None
    protocols: tuple[str, ...]
    sport: tuple[str, ...]
    dport: tuple[str, ...]
    dscp: tuple[int, ...]
    user: str | int | None
    hours: str | None
    origin: str

"""What the monitor's core is told and what it asks for, as values.

An event is a fact with a time (`at_s`, CLOCK_MONOTONIC in seconds); an effect is a thing to do.
"""

from dataclasses import dataclass
from ipaddress import IPv6Network
from typing import Literal

from nib.families import Family
from nib.ip_rules import Rule, Table
from nib.monitor.found import Found
from nib.monitor.tally import Answers
from nib.status import Admin, Status
from nib.stream import Command
from nib.targets import Target

# -- facts: what the kernel has ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Device:
    """A device of nib's.

    `index` is the kernel's ifindex: another one means that the device was made anew.
    `addresses` are sorted.
    """

    name: str
    index: int
    up: bool
    carrier: bool
    addresses: tuple[tuple[Family, str], ...]


@dataclass(frozen=True, slots=True)
class Default:
    """A default route by one device.  No `gateway`: the device itself is the way."""

    family: Family
    table: Table
    device: str
    gateway: str | None
    metric: int
    ours: bool


@dataclass(frozen=True, slots=True)
class NextHop:
    """One way of the balance table's default."""

    device: str
    gateway: str | None
    weight: int


@dataclass(frozen=True, slots=True)
class PresentRule:
    """An ip rule of the plan, from an uplink's address, or a monitor's: that is `ours`."""

    rule: Rule
    ours: bool


@dataclass(frozen=True, slots=True)
class LanNetwork:
    """A delegated IPv6 network that a lan has by a route and an address of the monitor's.

    `metric` is the id of the uplink: lower than that of networkd's own route to the same network.
    """

    network: str
    device: str
    metric: int

    @property
    def address(self) -> str:
        """The router's own in it."""
        return str(IPv6Network(self.network)[1])


@dataclass(frozen=True, slots=True)
class Facts:
    """One look at the kernel.  `balance` has no entry for a family without a default there."""

    devices: tuple[Device, ...]
    defaults: tuple[Default, ...]
    balance: tuple[tuple[Family, tuple[NextHop, ...]], ...]
    rules: tuple[PresentRule, ...]
    networks: tuple[LanNetwork, ...] = ()


# -- events --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Looked:
    """The kernel was looked at."""

    at_s: float
    facts: Facts


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict: a quorum of targets answered, or did not however often they were asked.

    `asked_s` is when the question was asked that decided it, or that was the first to be missed.
    `refusals` of a bad one: the targets whose answer was not what it must be, and why.
    """

    at_s: float
    uplink: str
    family: Family
    ok: bool
    asked_s: float
    refusals: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Tallied:
    """A round of probes is over: which targets were asked, and the times of their answers.

    It was asked at `asked_s`.  `burst`: out of turn, for a doubt; it is not measured by.  `full`:
    the line carried all that it can, so that these say little of it.
    """

    at_s: float
    uplink: str
    family: Family
    answers: Answers
    asked_s: float
    burst: bool = False
    full: bool = False


@dataclass(frozen=True, slots=True)
class Silenced:
    """These targets, and no others, do not answer on an uplink where others do."""

    at_s: float
    uplink: str
    family: Family
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class TableTouched:
    """Somebody else changed nib's nft table; or `reloaded` it, so that nothing of it is missing."""

    at_s: float
    reloaded: bool


@dataclass(frozen=True, slots=True)
class Clock:
    """What the router's clock shows: a minute of the week, in local time."""

    at_s: float
    minute: int


@dataclass(frozen=True, slots=True)
class Ordered:
    """The operator wants something of an uplink; `asker` is the number of the connection."""

    at_s: float
    asker: int
    command: Command


@dataclass(frozen=True, slots=True)
class Woke:
    """The time the core asked to be woken at."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """An effect did not work."""

    at_s: float
    effect: "Deed | Poke"
    error: str


@dataclass(frozen=True, slots=True)
class Inquired:
    """A line that is down was looked at."""

    at_s: float
    uplink: str
    family: Family
    found: Found


@dataclass(frozen=True, slots=True)
class Poked:
    """Clients of a dead uplink were asked: of so many TCP connections, and it had other flows."""

    at_s: float
    wish: "Poke"
    tcp: int
    others: int


Event = (
    Looked
    | Judged
    | Tallied
    | Silenced
    | Inquired
    | TableTouched
    | Clock
    | Ordered
    | Woke
    | Failed
    | Poked
)

# -- effects -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoadState:
    """Keep `text` as the state file and send it to nft."""

    text: str


@dataclass(frozen=True, slots=True)
class LoadTable:
    """Keep `text` as the state file and load the whole table, which includes it."""

    text: str


@dataclass(frozen=True, slots=True)
class SetBalance:
    """Make the balance table's default these next hops; none: no default."""

    family: Family
    hops: tuple[NextHop, ...]


@dataclass(frozen=True, slots=True)
class AddDefault:
    """Put a default route back."""

    default: Default


@dataclass(frozen=True, slots=True)
class RemoveDefault:
    """Take back a default route that the monitor put there."""

    default: Default


@dataclass(frozen=True, slots=True)
class AddRule:
    """Put an ip rule back."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class RemoveRule:
    """Take back an ip rule that the monitor put there."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class AddNetwork:
    """Give a lan a delegated network."""

    network: LanNetwork


@dataclass(frozen=True, slots=True)
class RemoveNetwork:
    """Take a delegated network away from a lan."""

    network: LanNetwork


@dataclass(frozen=True, slots=True)
class Announced:
    """What the clients of a lan are told: delegated networks, and whether to prefer each."""

    device: str
    networks: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the clients of the lans from now on this."""

    lans: tuple[Announced, ...]


@dataclass(frozen=True, slots=True)
class ForgetFlows:
    """Let conntrack forget the flows of an uplink in one family: they are chosen anew.

    Only what is masqueraded does the kernel forget by itself when its way out changes.
    """

    family: Family
    uplink: str


@dataclass(frozen=True, slots=True)
class Poke:
    """Let the clients of an uplink's TCP connections say something, so that they are reset.

    `own` are the router's own addresses, `outage` the name of what the uplink is in.
    """

    family: Family
    uplink: str
    own: tuple[str, ...]
    outage: str | None


@dataclass(frozen=True, slots=True)
class Publish:
    """Write status.json, and tell systemd in a line."""

    status: Status
    line: str


@dataclass(frozen=True, slots=True)
class Watch:
    """Ask as one asks on a line of which this is believed; off: do not ask."""

    uplink: str
    family: Family
    mode: Literal["off", "unknown", "up", "down"]
    quorum: int


@dataclass(frozen=True, slots=True)
class Inquire:
    """Look how far a line still reaches, beside all else."""

    uplink: str
    family: Family


@dataclass(frozen=True, slots=True)
class Keep:
    """Keep these orders across a reboot, by uplink, and no others."""

    orders: tuple[tuple[str, Admin], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Tell who ordered something that all before this is done, or why nothing was."""

    asker: int
    refusal: str | None


@dataclass(frozen=True, slots=True)
class Say:
    """A line for the journal; `outage` is the name of the one that it is about."""

    text: str
    warning: bool = False
    outage: str | None = None


Deed = (
    LoadState
    | LoadTable
    | SetBalance
    | AddDefault
    | RemoveDefault
    | AddRule
    | RemoveRule
    | AddNetwork
    | RemoveNetwork
    | Announce
    | ForgetFlows
    | Publish
    | Keep
    | Say
)
"""What is done one by one, in this order, and may take its time."""

Effect = Deed | Watch | Inquire | Answer | Poke

"""What the monitor publishes in status.json, and `nib status` reads."""

import json
from dataclasses import dataclass
from typing import Literal

from nib import codec
from nib.families import Family
from nib.plan import STATE_DIRECTORY

VERSION = 1
STATUS_FILE = f"{STATE_DIRECTORY}/status.json"

Health = Literal["unknown", "up", "down"]
Shown = Literal["unknown", "up", "down", "absent"]
"""To people; absent is a family that the provider does not give, and nobody asked for."""


@dataclass(frozen=True, slots=True)
class FamilyStatus:
    """One family of an uplink.

    `since_s` is CLOCK_MONOTONIC, in seconds; `reason` one sentence; `loss` 0..1 over the last
    samples, `rtt_ms` the median of the last answers and `jitter_ms` how they differ, None before
    the first; `share` 0..1 of the new flows of the default policy.  `outage` names the outage that
    it is in, until it carries its whole share again; `missed_s` is when the first question of the
    last one was asked that nobody answered, and `fell_s` when it was decided.  `outages` counts
    them, `penalty` is what they cost, as of `fell_s`.  `poor`: the measures that are beyond their
    limits; `returned_s` is when it came back, while it takes less than its share.
    """

    family: Family
    health: Shown
    since_s: float
    reason: str
    address: str | None
    gateway: str | None
    loss: float | None
    rtt_ms: float | None
    share: float
    jitter_ms: float | None = None
    outage: str | None = None
    outages: int = 0
    missed_s: float | None = None
    fell_s: float = 0.0
    penalty: float = 0.0
    poor: tuple[str, ...] = ()
    returned_s: float | None = None

    @property
    def eased(self) -> bool:
        """Whether it takes less than its share, having come back a moment ago."""
        return self.returned_s is not None


@dataclass(frozen=True, slots=True)
class Admin:
    """What the operator ordered of an uplink, whatever is believed of it.

    `down`: it takes no new flows; `up`: it takes some while its link carries; `auto`: its probes
    decide.  `since_s` and `until_s` are CLOCK_MONOTONIC, None: for ever; `who` ordered it;
    `persist`: also after a reboot.
    """

    state: Literal["auto", "up", "down"]
    since_s: float | None = None
    until_s: float | None = None
    who: str | None = None
    persist: bool = False


AUTO = Admin("auto")


@dataclass(frozen=True, slots=True)
class UplinkStatus:
    """An uplink as the monitor sees it."""

    name: str
    device: str
    weight: int
    tier: int
    families: tuple[FamilyStatus, ...]
    admin: Admin = AUTO

    def may_carry(self, family: FamilyStatus) -> bool:
        """Whether new flows may be given to one family of it."""
        if family.health == "absent" or self.admin.state == "down":
            return False
        return family.health != "down" or self.admin.state == "up"


@dataclass(frozen=True, slots=True)
class Disputed:
    """Of what somebody else removes: how often it was put back, and when last (`last_s`)."""

    thing: str
    times: int
    last_s: float


@dataclass(frozen=True, slots=True)
class Status:
    """Everything the monitor knows, at `at_s` of CLOCK_MONOTONIC.

    `discounted`: the targets that answer on no uplink, although others do; they say nothing.
    `contested`: what of nib's somebody else removes again and again, by its name; `disputes` says
    of each how long that goes on.
    """

    version: int
    at_s: float
    uplinks: tuple[UplinkStatus, ...]
    discounted: tuple[str, ...] = ()
    contested: tuple[str, ...] = ()
    disputes: tuple[Disputed, ...] = ()


def to_json(status: Status) -> str:
    """The text of status.json, on one line: `indent` would make it several times as slow."""
    return json.dumps(codec.encode(status)) + "\n"


def from_json(text: str) -> Status:
    """Read status.json.  Raises ValueError for anything else."""
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise ValueError("not a status of this version of nib-monitor")
    return codec.decode(Status, data)

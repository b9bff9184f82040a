"""What the monitor knows, and what the facts alone say about an uplink."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nib.families import Family
from nib.monitor import disputes
from nib.monitor.disputes import Dispute
from nib.monitor.events import Announced, Device, Facts, Watch
from nib.monitor.found import Found
from nib.monitor.health import Health
from nib.monitor.tally import Tally
from nib.monitor.upkeep import Memory
from nib.plan import Plan
from nib.state import Easing, Live, Prefixes, Recalled
from nib.status import Admin, Status
from nib.targets import Target

Key = tuple[str, Family]
"""One family of an uplink."""

Place = tuple[str, Family, str]
"""Where flows are: their policy, their family and an uplink."""


@dataclass(frozen=True, slots=True)
class World:
    """All that the monitor knows.

    `live` are who takes new flows, `orders` what the operator wants of uplinks that he does not
    leave to their probes, `running` who keeps the flows it has: all who are live, and those who are
    well but down by order.  `left` says where flows are that have better uplinks again, and since
    when.  That, `hours` and `easing` (who takes less for now) is what should be loaded, `sent` what
    nft was last told, with the delegated networks and the uplinks that are down by order, and
    `announced` what the lans were.  `stale`: the whole table is to be loaded, and `table_gone`:
    for something of it is missing; `loads`: how often that was of late.  `obstacles` are what
    stands in the way of uplinks, `complaints` when the journal heard one, `watched` how the
    probers were told to ask.  `refusals` are those of the last verdict.  `silent`: the targets that
    do not answer on an uplink where others do; `discounted`: those that answer on none.
    `inquired`: when a line that is down was looked at last, `found`: what that said.  `drills`:
    until when an uplink is cut off on purpose.  `due_at` is when there is something to do by
    itself, `wake_at` the same with what is to be published.
    """

    plan: Plan
    healths: Mapping[Key, Health]
    live: Live
    orders: Mapping[str, Admin] = field(default_factory=dict)
    running: Live = field(default_factory=dict)
    hours: frozenset[str] = frozenset()
    easing: Easing = field(default_factory=dict)
    left: Mapping[Place, float] = field(default_factory=dict)
    sent: tuple[Live, frozenset[str], Prefixes, Easing, Recalled, frozenset[str]] | None = None
    stale: bool = False
    table_gone: bool = False
    loads: Dispute = disputes.NONE
    retry_at: float = 0.0
    facts: Facts | None = None
    obstacles: Mapping[Key, "Obstacle"] = field(default_factory=dict)
    tallies: Mapping[Key, Tally] = field(default_factory=dict)
    watched: Mapping[Key, Watch] = field(default_factory=dict)
    refusals: Mapping[Key, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    silent: Mapping[Key, frozenset[Target]] = field(default_factory=dict)
    discounted: frozenset[Target] = frozenset()
    inquired: Mapping[Key, float] = field(default_factory=dict)
    found: Mapping[Key, Found] = field(default_factory=dict)
    upkeep: Memory = field(default_factory=Memory)
    announced: tuple[Announced, ...] = ()
    complaints: Mapping[str, float] = field(default_factory=dict)
    drills: Mapping[str, float] = field(default_factory=dict)
    published: Status | None = None
    due_at: float = 0.0
    wake_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps an uplink from carrying anything, whatever probes say.  Hard: the link is gone.

    Absent: the provider does not give the family, and nobody asked for it.  `since_s` is when
    the first thing came in the way.
    """

    reason: str
    hard: bool
    absent: bool = False
    since_s: float = 0.0


def device_of(world: World, key: Key) -> Device | None:
    """The device of an uplink, if the kernel has it."""
    assert world.facts
    name = world.plan.uplink(key[0]).device
    return next((device for device in world.facts.devices if device.name == name), None)


def obstacle(world: World, key: Key) -> Obstacle | None:
    """What stands in the way of one family of an uplink, if anything does."""
    return world.obstacles.get(key)


def obstacles(world: World, at_s: float) -> Mapping[Key, Obstacle]:
    """What stands in the way by the facts of now."""
    found = {key: one for key in world.healths if (one := _missing(world, key))}
    known = world.obstacles
    return {
        key: replace(one, since_s=known[key].since_s if key in known else at_s)
        for key, one in found.items()
    }


def _missing(world: World, key: Key) -> Obstacle | None:
    """The first rung of the ladder device, carrier, address, gateway that is not there."""
    uplink = world.plan.uplink(key[0])
    device = device_of(world, key)
    if device is None:
        return Obstacle(f"there is no device {uplink.device}", hard=True)
    if not device.up:
        return Obstacle(f"{uplink.device} is switched off", hard=True)
    if not device.carrier:
        return Obstacle(f"{uplink.device} has no carrier", hard=True)
    absent = uplink.optional(key[1])
    kind = "IPv6 " if key[1] == 6 else ""
    if not any(family == key[1] for family, _ in device.addresses):
        leased = uplink.kind == "dhcp" and key[1] == 4
        why = "no address yet, no DHCP server answers" if leased else f"no {kind}address"
        return Obstacle(f"{uplink.device} has {why}", hard=False, absent=absent)
    if key not in world.upkeep.gateways:
        return Obstacle(f"{uplink.device} has no {kind}gateway", hard=False, absent=absent)
    return None


def outage(world: World, key: Key) -> str | None:
    """The name of the outage that one family of an uplink is in, until it has its whole share."""
    health = world.healths[key]
    if health.state == "down" or health.returned_s is not None:
        return f"{key[0]}{key[1]}-{health.outages}"
    return None

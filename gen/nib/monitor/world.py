"""What the monitor knows, and what the facts alone say about an uplink."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nib.families import Family
from nib.monitor.events import Announced, Device, Facts
from nib.monitor.health import Health
from nib.monitor.upkeep import Memory
from nib.plan import Plan
from nib.state import Live, Prefixes
from nib.status import Status

Key = tuple[str, Family]
"""One family of an uplink."""

WINDOW = 100  # rounds that loss is reported over
RECENT = 10  # rounds that RTT is reported over


@dataclass(frozen=True, slots=True)
class Tally:
    """What the last rounds asked and heard: `(asked, RTTs of the answers in ms)`, newest last."""

    rounds: tuple[tuple[int, tuple[float, ...]], ...] = ()

    def add(self, asked: int, rtts_ms: tuple[float, ...]) -> "Tally":
        """One more round; the oldest is forgotten."""
        return Tally((*self.rounds[-(WINDOW - 1) :], (asked, rtts_ms)))

    @property
    def loss(self) -> float | None:
        """Questions without an answer, 0..1; None before the first round."""
        asked = sum(asked for asked, _ in self.rounds)
        return 1 - sum(len(rtts) for _, rtts in self.rounds) / asked if asked else None

    @property
    def rtt_ms(self) -> float | None:
        """The median answer; None if nobody answered lately."""
        rtts = sorted(rtt for _, rtts in self.rounds[-RECENT:] for rtt in rtts)
        return rtts[len(rtts) // 2] if rtts else None


@dataclass(frozen=True, slots=True)
class World:
    """All that the monitor knows.

    `live` and `hours` are what should be loaded, `sent` what nft was last told, with the delegated
    networks, and `announced` what the lans were; `obstructed` says since when something stands in
    the way of an uplink, `complaints` when the journal heard one; `refusals` are those of the last
    round; `wake_at` is when there is something to do by itself.
    """

    plan: Plan
    healths: Mapping[Key, Health]
    live: Live
    hours: frozenset[str] = frozenset()
    sent: tuple[Live, frozenset[str], Prefixes] | None = None
    table_gone: bool = False
    retry_at: float = 0.0
    facts: Facts | None = None
    obstructed: Mapping[Key, float] = field(default_factory=dict)
    tallies: Mapping[Key, Tally] = field(default_factory=dict)
    refusals: Mapping[Key, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    upkeep: Memory = field(default_factory=Memory)
    announced: tuple[Announced, ...] = ()
    complaints: Mapping[str, float] = field(default_factory=dict)
    published: Status | None = None
    wake_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps an uplink from carrying anything, whatever probes say.  Hard: the link is gone.

    Absent: the provider does not give the family, and nobody asked for it.
    """

    reason: str
    hard: bool
    absent: bool = False


def device_of(world: World, key: Key) -> Device | None:
    """The device of an uplink, if the kernel has it."""
    assert world.facts
    name = world.plan.uplink(key[0]).device
    return next((device for device in world.facts.devices if device.name == name), None)


def obstacle(world: World, key: Key) -> Obstacle | None:
    """The first rung of the ladder device, carrier, address, gateway that is missing."""
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

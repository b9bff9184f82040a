"""When an uplink goes down and when it comes back: verdicts and measurements -> health."""

import math
from dataclasses import dataclass, replace

from nib import status
from nib.monitor.tally import Tally
from nib.probe import Limits, Probe
from nib.status import FamilyStatus

# The penalty for going down, after RFC 2439: each time adds one, and half of it is forgotten in
# the half life.  More than HELD holds an uplink down until no more than FREE is left.
HELD, FREE, MOST = 3.0, 1.5, 6.0

# A returned uplink's share of new flows, in percent of what it is due, by the part of the time that
# has passed.
CANARY = ((0.0, 10), (0.5, 50), (1.0, 100))


@dataclass(frozen=True, slots=True)
class Health:
    """What is believed of one family of an uplink, and since when.

    `streak` counts the rounds in a row that were answered although it is down; `outages` how often
    it went down; `missed_s` is when the first question of the last one was asked.  `penalty` is
    as of `fell_s`, when it went down last.  `poor`: the measures that are beyond their limits.
    `returned_s`: when it came back, while it carries less than its share.
    """

    state: status.Health
    since_s: float
    streak: int = 0
    outages: int = 0
    missed_s: float | None = None
    penalty: float = 0.0
    fell_s: float = 0.0
    poor: tuple[str, ...] = ()
    returned_s: float | None = None


def recall(before: FamilyStatus) -> Health:
    """What a monitor before this one believed.

    A family that was absent was obstructed, and has to answer before it counts; a return that had
    begun goes on.
    """
    return Health(
        state="down" if before.health == "absent" else before.health,
        since_s=before.since_s,
        outages=before.outages,
        missed_s=before.missed_s,
        penalty=before.penalty,
        fell_s=before.fell_s,
        poor=before.poor,
        returned_s=before.returned_s,
    )


def observe(
    health: Health, ok: bool, at_s: float, probe: Probe, missed_s: float | None = None
) -> Health:
    """Take a verdict into account.

    Unknown: an answer is enough to be up.  Up: a bad one makes it down.  Down: `rise` good ones in
    a row make it up, if nothing holds it down.
    """
    match health.state, ok:
        case "unknown", True:
            return replace(health, state="up", since_s=at_s)
        case _, False:
            return fall(health, at_s, probe, missed_s)
        case "down", True:
            streak = min(health.streak + 1, probe.rise)
            health = replace(health, streak=streak)
            if streak < probe.rise or health.poor or held_s(health, at_s, probe) > 0:
                return health
            returned_s = at_s if probe.canary_ms else None
            return replace(health, state="up", since_s=at_s, streak=0, returned_s=returned_s)
        case _:
            return health


def fall(health: Health, at_s: float, probe: Probe, missed_s: float | None = None) -> Health:
    """It is down, and has to earn its way back; whoever was down stays down."""
    if health.state == "down":
        return replace(health, streak=0)
    return replace(
        health,
        state="down",
        since_s=at_s,
        outages=health.outages + 1,
        missed_s=at_s if missed_s is None else missed_s,
        penalty=min(penalty(health, at_s, probe) + 1, MOST) if probe.damping_ms else 0.0,
        fell_s=at_s,
        returned_s=None,
    )


def measure(health: Health, tally: Tally, at_s: float, probe: Probe) -> Health:
    """Compare the measurements with their limits; what is between `up` and `down` changes nothing.

    Too few measurements say nothing, and nor do those of a line that is down for its silence.
    """
    if health.state == "down" and not health.poor:
        return health
    if probe.loss is probe.rtt is probe.jitter is None:
        return replace(health, poor=()) if health.poor else health
    poor = tuple(
        name
        for name, limits, value in (
            ("loss", probe.loss, None if tally.common_loss is None else 100 * tally.common_loss),
            ("rtt", probe.rtt, tally.rtt_ms),
            ("jitter", probe.jitter, tally.jitter_ms),
        )
        if limits and _beyond(limits, value if tally.tells else None, name in health.poor)
    )
    health = replace(health, poor=poor)
    return fall(health, at_s, probe) if poor and health.state == "up" else health


def _beyond(limits: Limits, value: float | None, before: bool) -> bool:
    if value is None:
        return before
    return value >= limits.up if before else value > limits.down


def penalty(health: Health, at_s: float, probe: Probe) -> float:
    """What is left of it."""
    if not probe.damping_ms:
        return 0.0
    return health.penalty * math.exp2((health.fell_s - at_s) * 1000 / probe.damping_ms)


def held_s(health: Health, at_s: float, probe: Probe) -> float:
    """How long an uplink that is down stays so although it answers: hold-down and damping."""
    return max(health.since_s + probe.hold_down_ms / 1000 - at_s, damped_s(health, at_s, probe))


def damped_s(health: Health, at_s: float, probe: Probe) -> float:
    """How long it is still held down for going down so often."""
    if health.penalty <= HELD:
        return 0.0
    half_lives = math.log2(health.penalty / FREE)
    return max(0.0, health.fell_s + half_lives * probe.damping_ms / 1000 - at_s)


def share(health: Health, at_s: float, probe: Probe) -> int:
    """Its part of the new flows that it is due, in percent."""
    return next((part for since_s, part in reversed(_steps(health, probe)) if at_s >= since_s), 100)


def next_share_s(health: Health, at_s: float, probe: Probe) -> float | None:
    """When `share` will be another."""
    return next((since_s for since_s, _ in _steps(health, probe) if at_s < since_s), None)


def _steps(health: Health, probe: Probe) -> list[tuple[float, int]]:
    if health.returned_s is None:
        return []
    return [(health.returned_s + part * probe.canary_ms / 1000, share) for part, share in CANARY]

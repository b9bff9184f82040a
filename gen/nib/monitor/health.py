"""When an uplink goes down and when it comes back: rounds of probes -> health."""

from dataclasses import dataclass, replace

from nib import status
from nib.plan import Probe


@dataclass(frozen=True, slots=True)
class Health:
    """What is believed of one family of an uplink, and since when.

    `streak` counts the rounds in a row whose outcome contradicts `state`.
    """

    state: status.Health
    since_s: float
    streak: int = 0


def observe(health: Health, ok: bool, at_s: float, probe: Probe) -> Health:
    """Take one round into account.

    Unknown: the first answer is enough to be up.  Up: `fall` misses in a row make it down.  Down:
    `rise` answers in a row, and at least `hold_down_ms` since it went down, make it up.
    """
    streak = health.streak + 1
    match health.state, ok:
        case "unknown", True:
            return Health("up", at_s)
        case ("up", True) | ("down", False):
            return replace(health, streak=0)
        case (("unknown" | "up"), False) if streak >= probe.fall:
            return Health("down", at_s)
        case "down", True if streak >= probe.rise and held(health, at_s, probe):
            return Health("up", at_s)
    return replace(health, streak=streak)


def held(health: Health, at_s: float, probe: Probe) -> bool:
    """Has the uplink been down for its hold-down?"""
    return (at_s - health.since_s) * 1000 >= probe.hold_down_ms


def cut(health: Health, at_s: float) -> Health:
    """The link itself is gone, no probe needs to say so: it must earn its way back."""
    return replace(health, streak=0) if health.state == "down" else Health("down", at_s)

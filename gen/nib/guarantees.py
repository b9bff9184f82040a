"""What follows from a plan in numbers: how fast, how much data, what stops without an uplink."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from nib.budget import MONTH_MS, turn_bytes
from nib.families import Family
from nib.plan import Plan, Uplink
from nib.policies import Policy
from nib.probe import BURST_MS, LEAST_PATIENCE_MS, Probe
from nib.state import carriers, everything
from nib.targets import family_of


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What can be promised of one uplink, with times in milliseconds.

    `detection_ms`: from a silent failure to the flip on a line that answers within 66 ms; a lost
    carrier is seen at once.  `detection_worst_ms`: the same on a line as slow as `timeout` allows,
    or by which something still comes in.  `return_ms`: from the first packet that comes through
    again to new flows.  `probe_bytes`: questions and answers in 30 days; `budget_bytes`: what a
    metered line has for them.  Without the uplink new flows of the default policy go to `carriers`,
    and what `stops` cannot work at all until it is back.
    """

    uplink: str
    detection_ms: int
    detection_worst_ms: int
    return_ms: int
    probe_bytes: int
    budget_bytes: int | None
    carriers: tuple[str, ...]
    stops: tuple[str, ...]


def guarantees(plan: Plan) -> tuple[Guarantee, ...]:
    """One for each uplink, in the order of the plan."""
    return tuple(_guarantee(plan, uplink) for uplink in plan.uplinks)


def _guarantee(plan: Plan, uplink: Uplink) -> Guarantee:
    others = frozenset(other.name for other in plan.uplinks) - {uplink.name}
    return Guarantee(
        uplink=uplink.name,
        detection_ms=_detection_ms(uplink.probe, LEAST_PATIENCE_MS),
        detection_worst_ms=_detection_ms(uplink.probe, uplink.probe.timeout_ms),
        return_ms=_worst_return_ms(uplink.probe),
        probe_bytes=_probe_bytes(uplink),
        budget_bytes=uplink.budget_bytes,
        carriers=tuple(share.uplink for share in carriers(plan.policies[0], others)),
        stops=tuple(_stops(plan, uplink)),
    )


def to_json(plan: Plan) -> str:
    """The text of plan.json with one more key, `guarantees`."""
    found = [asdict(guarantee) for guarantee in guarantees(plan)]
    return json.dumps({**asdict(plan), "guarantees": found}, indent=1) + "\n"


def _detection_ms(probe: Probe, patience_ms: int) -> int:
    """It starts just after an answer; the question that is missed, and the last round of the burst
    that it begins, have their time.

    The gateway may answer although nothing beyond it does: its turns find nothing.
    """
    patience_ms = min(patience_ms, probe.timeout_ms)
    turns = 1 + sum(family_of(target) is None for target in probe.targets)
    return turns * probe.interval_ms + patience_ms + (probe.fall - 1) * BURST_MS + patience_ms


def _worst_return_ms(probe: Probe) -> int:
    """`rise` answers in a row, each as slow as allowed, and one after the end of the hold-down."""
    held_ms = probe.hold_down_ms + probe.interval_ms if probe.hold_down_ms else 0
    return max(probe.rise * probe.interval_ms, held_ms) + probe.timeout_ms


def _probe_bytes(uplink: Uplink) -> int:
    """As if every question were answered, and IPv6 there wherever it may be.

    While the uplink is up, that is: bursts, and what is asked of one that is down, come on top.
    """
    probe = uplink.probe
    return turn_bytes(probe.targets, uplink.families) * MONTH_MS // probe.interval_ms


def _stops(plan: Plan, gone: Uplink) -> Iterator[str]:
    """What has this way out, or in, and no other."""
    users: dict[tuple[Family, ...], list[str]] = {}
    for policy in plan.policies:
        stopped = tuple(
            family
            for family, names in everything(plan).items()
            if carriers(policy, names) and not carriers(policy, names - {gone.name})
        )
        users.setdefault(stopped, []).extend(_users(plan, policy, stopped))
    for families, whose in users.items():
        if families:
            what = "new flows" if families == plan.families else f"IPv{families[0]}"
            yield f"{what} of {', '.join(whose)}"
    if plan.firewall:
        for allow in plan.firewall.allow:
            if allow.devices == (gone.device,):
                yield f"{allow.protocol} {', '.join(allow.ports)} from outside"
        for forward in plan.firewall.forwards:
            left = {u.device for u in plan.uplinks} - {*forward.except_devices}
            if left == {gone.device}:
                ports = f"{'+'.join(forward.protocols)} {', '.join(forward.ports)}"
                yield f"{ports} to {forward.to}"


def _users(plan: Plan, policy: Policy, families: tuple[Family, ...]) -> list[str]:
    """Whose new flows of these families a policy spreads."""
    having = [lan for lan in plan.lans if {*families} & {*lan.families}]
    lans = [lan.name for lan in having if lan.policy == policy.name]
    if policy == plan.policies[0]:
        return ["the router", *lans]
    return lans or [f"policy {policy.name}"]

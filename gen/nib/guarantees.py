"""What follows from a plan in numbers: how fast, how much data, what stops without an uplink."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from nib.budget import MONTH_MS, turn_bytes
from nib.families import Family
from nib.monitor.asking import BURSTS_IF_FULL, IDLE_TIMES
from nib.monitor.health import FREE, MOST
from nib.monitor.tally import RECENT, WINDOW
from nib.plan import Plan, Uplink
from nib.policies import Policy
from nib.probe import BURST_MS, LEAST_PATIENCE_MS, TOGETHER_MS, Probe
from nib.state import carriers, everything
from nib.targets import family_of


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What can be promised of one uplink, with times in milliseconds.

    `detection_ms`: from a silent failure to the flip on a line that answers within 66 ms; a lost
    carrier is seen at once.  `detection_worst_ms`: the same on a line as slow as `timeout` allows,
    or by which something still comes in; `detection_full_ms`: where the line is full as well, None
    where nobody says what it carries; `detection_unused_ms`: of a metered line that nobody uses.
    `return_ms`: from the first packet that comes through again to new flows; `return_flapping_ms`:
    the same where it comes and goes, None without damping.  `probe_bytes`: questions and answers in
    30 days; `budget_bytes`: what a metered line has for them.  Without the uplink new flows of the
    default policy go to `carriers`, and what `stops` cannot work at all until it is back.
    """

    uplink: str
    detection_ms: int
    detection_worst_ms: int
    detection_full_ms: int | None
    detection_unused_ms: int | None
    return_ms: int
    return_flapping_ms: int | None
    probe_bytes: int
    budget_bytes: int | None
    carriers: tuple[str, ...]
    stops: tuple[str, ...]


def guarantees(plan: Plan) -> tuple[Guarantee, ...]:
    """One for each uplink, in the order of the plan."""
    return tuple(_guarantee(plan, uplink) for uplink in plan.uplinks)


def _guarantee(plan: Plan, uplink: Uplink) -> Guarantee:
    others = frozenset(other.name for other in plan.uplinks) - {uplink.name}
    probe, slow_ms = uplink.probe, uplink.probe.timeout_ms
    full_ms = _detection_ms(probe, slow_ms, bursts=BURSTS_IF_FULL)
    unused_ms = _detection_ms(probe, slow_ms, interval_ms=probe.interval_ms * IDLE_TIMES)
    return Guarantee(
        uplink=uplink.name,
        detection_ms=_detection_ms(probe, LEAST_PATIENCE_MS),
        detection_worst_ms=_detection_ms(probe, slow_ms),
        detection_full_ms=full_ms if uplink.bandwidth else None,
        detection_unused_ms=unused_ms if uplink.budget_bytes else None,
        return_ms=_worst_return_ms(probe),
        return_flapping_ms=_flapping_return_ms(probe) if probe.damping_ms else None,
        probe_bytes=_probe_bytes(uplink),
        budget_bytes=uplink.budget_bytes,
        carriers=tuple(share.uplink for share in carriers(plan.policies[0], others)),
        stops=tuple(_stops(plan, uplink)),
    )


def to_json(plan: Plan) -> str:
    """The text of plan.json with one more key, `guarantees`."""
    found = [asdict(guarantee) for guarantee in guarantees(plan)]
    return json.dumps({**asdict(plan), "guarantees": found}, indent=1) + "\n"


def _detection_ms(
    probe: Probe, patience_ms: int, *, interval_ms: int | None = None, bursts: int = 1
) -> int:
    """It starts just after an answer; the question that is missed, and the last round of each burst
    that it begins, have their time.

    The gateway may answer although nothing beyond it does: its turns find nothing.
    """
    patience_ms = min(patience_ms, probe.timeout_ms)
    first_ms = patience_ms + TOGETHER_MS
    turns = 1 + sum(family_of(target) is None for target in probe.targets)
    burst_ms = (probe.fall - 1) * BURST_MS + patience_ms
    return turns * (interval_ms or probe.interval_ms) + first_ms + bursts * burst_ms


def _worst_return_ms(probe: Probe) -> int:
    """`rise` answers in a row, each as slow as allowed, and one after the end of the hold-down.

    Where there are limits, bad samples have to be forgotten before: of the loss all but less than
    its limit, of times all that are measured by.
    """
    held_ms = probe.hold_down_ms + probe.interval_ms if probe.hold_down_ms else 0
    forgotten = [0]
    forgotten += [WINDOW + 1 - probe.loss.up * WINDOW // 100] if probe.loss else []
    forgotten += [RECENT] if probe.rtt or probe.jitter else []
    samples = max(probe.rise, max(forgotten) + 1)
    return max(samples * probe.interval_ms, held_ms) + probe.timeout_ms


def _flapping_return_ms(probe: Probe) -> int:
    """One answer after the highest penalty is forgotten that there can be."""
    half_lives = math.ceil(math.log2(MOST / FREE))
    damped_ms = half_lives * probe.damping_ms + probe.interval_ms + probe.timeout_ms
    return max(_worst_return_ms(probe), damped_ms)


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
            if carriers(policy, names) and not _carried(plan, policy, names - {gone.name})
        )
        users.setdefault(stopped, []).extend(_users(plan, policy, stopped))
    for families, whose in users.items():
        if families:
            what = "new flows" if families == plan.families else f"IPv{families[0]}"
            yield f"{what} of {', '.join(whose)}"
    pages = {modem.origin for modem in plan.modems}
    for route in plan.routes:
        if route.device == gone.device and route.origin not in pages:
            yield f"the route to {route.to}"
    if plan.firewall:
        for allow in plan.firewall.allow:
            if allow.devices == (gone.device,):
                yield f"{allow.protocol} {', '.join(allow.ports)} from outside"
        for forward in plan.firewall.forwards:
            left = {u.device for u in plan.uplinks} - {*forward.except_devices}
            if left == {gone.device}:
                ports = f"{'+'.join(forward.protocols)} {', '.join(forward.ports)}"
                yield f"{ports} to {forward.to}"


def _carried(plan: Plan, policy: Policy, live: frozenset[str]) -> bool:
    """Whether anybody takes new flows of a policy: who does not block gives way to the default."""
    instead = policy.when_down == "any" and carriers(plan.policies[0], live)
    return bool(carriers(policy, live) or instead)


def _users(plan: Plan, policy: Policy, families: tuple[Family, ...]) -> list[str]:
    """Whose new flows of these families a policy spreads."""
    having = [lan for lan in plan.lans if {*families} & {*lan.families}]
    lans = [lan.name for lan in having if lan.policy == policy.name]
    if policy == plan.policies[0]:
        return ["the router", *lans]
    return lans or [f"policy {policy.name}"]

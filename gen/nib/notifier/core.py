"""What the monitor tells -> what to do about it.  Time is in the items; nothing here waits.

The last known health of every link decides, not the line that told of it: what happened while
nobody listened is seen in the next status.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from nib.families import Family
from nib.status import Shown
from nib.stream import Change, Sample, Snapshot, Told

Key = tuple[str, Family]
"""An uplink by name, and one of its families: together a link."""

State = Literal["up", "down", "long_down"]
Before = State | Literal["unknown"]

COALESCE_S = 5.0
"""What happens within this time of the first change is one report."""

ROUNDS = 100
"""How many rounds of probes are remembered, as Net-ISP-Balance's monitor did."""

Rounds = tuple[float | None, ...]
"""Rounds of probes, the oldest first: the mean of the answers in ms, None if nobody answered."""


@dataclass(frozen=True, slots=True)
class Event:
    """A link is in another `state`, since `since_s` (CLOCK_MONOTONIC) or `since_time_s` (epoch).

    `address` is what the router had there when it was last known.
    """

    state: State
    before: Before
    uplink: str
    family: Family
    reason: str
    since_s: float
    since_time_s: float
    address: str | None
    rounds: Rounds


@dataclass(frozen=True, slots=True)
class RunHooks:
    """Run the programs for an event."""

    event: Event


@dataclass(frozen=True, slots=True)
class Report:
    """Tell people of events, the oldest first."""

    events: tuple[Event, ...]


Action = RunHooks | Report


@dataclass(frozen=True, slots=True)
class Link:
    """What is known of a link that is up or down."""

    state: State
    since_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Memory:
    """All that is known; `waiting` is reported at `report_at_s`."""

    links: Mapping[Key, Link] = field(default_factory=dict)
    rounds: Mapping[Key, Rounds] = field(default_factory=dict)
    addresses: Mapping[Key, str | None] = field(default_factory=dict)
    waiting: tuple[Event, ...] = ()
    report_at_s: float = 0.0


def step(memory: Memory, told: Told, long_down_s: float) -> tuple[Memory, tuple[Action, ...]]:
    """Take one line of the stream in.

    A link that is seen up for the first time is nothing to talk of; one that is down is.
    """
    seen: list[tuple[Key, Shown, Link]] = []
    match told.item:
        case Sample(uplink, family, _, rtts_ms, burst=False):
            mean = sum(rtts_ms) / len(rtts_ms) if rtts_ms else None
            known = memory.rounds.get((uplink, family), ())
            rounds = {**memory.rounds, (uplink, family): (*known, mean)[-ROUNDS:]}
            memory = replace(memory, rounds=rounds)
        case Change(uplink, family, _, after, reason, since_s):
            seen = [((uplink, family), after, Link("down", since_s, reason))]
        case Snapshot(status):
            families = [
                ((uplink.name, f.family), f) for uplink in status.uplinks for f in uplink.families
            ]
            # what a link had before it lost its address is what scripts want to clean up after
            addresses = {key: f.address for key, f in families if f.address}
            memory = replace(memory, addresses={**memory.addresses, **addresses})
            seen = [(key, f.health, Link("down", f.since_s, f.reason)) for key, f in families]
        case _:
            pass
    links = dict(memory.links)
    events: list[Event] = []
    for key, health, link in seen:
        before = links.get(key)
        if health == "absent":
            # the provider gives none: no outage, or its end
            links.pop(key, None)
        elif health == "up":
            links[key] = replace(link, state="up")
            if before and before.state != "up":
                events.append(_event(memory, told, key, before.state, links[key]))
        elif health == "down" and (before is None or before.state == "up"):
            links[key] = link
            events.append(_event(memory, told, key, before.state if before else "unknown", link))
    for key, link in links.items():
        if link.state == "down" and told.at_s - link.since_s >= long_down_s:
            links[key] = replace(link, state="long_down")
            events.append(_event(memory, told, key, "down", links[key]))
    memory = replace(memory, links=links)
    memory, reports = _report(memory, events, told.at_s)
    return memory, (*map(RunHooks, events), *reports)


def leave(memory: Memory) -> tuple[Memory, tuple[Report, ...]]:
    """Nobody tells anything any more, for now: what waits is reported at once."""
    reports = (Report(memory.waiting),) if memory.waiting else ()
    return replace(memory, waiting=()), reports


def _report(
    memory: Memory, events: Sequence[Event], at_s: float
) -> tuple[Memory, tuple[Report, ...]]:
    if not memory.waiting:
        memory = replace(memory, report_at_s=at_s + COALESCE_S)
    memory = replace(memory, waiting=(*memory.waiting, *events))
    return leave(memory) if at_s >= memory.report_at_s else (memory, ())


def _event(memory: Memory, told: Told, key: Key, before: Before, link: Link) -> Event:
    return Event(
        state=link.state,
        before=before,
        uplink=key[0],
        family=key[1],
        reason=link.reason,
        since_s=link.since_s,
        since_time_s=told.time_s - (told.at_s - link.since_s),
        address=memory.addresses.get(key),
        rounds=memory.rounds.get(key, ()),
    )

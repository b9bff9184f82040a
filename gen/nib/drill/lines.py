"""One family of an uplink in a drill: what is tried on it, and what becomes of that."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from nib.drill import flows
from nib.drill.findings import Attempt, Course, Forward, Old, Part, course
from nib.drill.flows import DNS_PORT, Endpoint, Held, Talk, Try
from nib.families import Family
from nib.guarantees import Guarantee
from nib.plan import Plan, Uplink
from nib.probe import LEAST_PATIENCE_MS
from nib.status import FamilyStatus, Status
from nib.targets import Connect, Fetch, family_of

EVERY_S = 0.05
TALK_EVERY_S = 0.1
NAMES_EVERY_S = 0.25
ENDPOINTS = 6
OLD = 4  # connections by the uplink, and by others
TRIES = 40  # to get them
RESOLV = ("/run/systemd/resolve/resolv.conf", "/etc/resolv.conf")
SLACK = 1.5  # an answer may take this much longer than of late


@dataclass(slots=True)
class Line:
    """What goes on in one family, and what was seen of it.

    `down_s` and `up_s` are when the monitor decided so; None: not yet.
    """

    family: Family
    rtt_ms: float | None
    address: str | None
    endpoints: Sequence[Endpoint]
    servers: Sequence[str]
    held: Sequence[Held]
    talks: Sequence[Talk]
    new: list[Attempt] = field(default_factory=list)
    names: list[Attempt] = field(default_factory=list)
    down_s: float | None = None
    up_s: float | None = None

    @property
    def is_away(self) -> bool:
        """It went down, and is not back."""
        return self.down_s is not None and self.up_s is None

    def see(self, state: FamilyStatus, cut_s: float, mended_s: float) -> str | None:
        """Take in what the monitor says; the news, if it is some."""
        if self.down_s is None and state.health == "down" and state.since_s >= cut_s:
            self.down_s = state.since_s
            return f"down, {state.since_s - cut_s:.2f} s after the cut"
        if self.is_away and state.health == "up":
            self.up_s = state.since_s
            return f"back, {state.since_s - mended_s:.2f} s after that"
        return None

    async def keep(self) -> None:
        """Let everything go on until cancelled."""
        connects: list[Try] = [partial(_answered, one) for one in self.endpoints]
        resolves: list[Try] = [partial(flows.resolve, one) for one in self.servers]
        try:
            async with asyncio.TaskGroup() as group:
                if connects:
                    group.create_task(flows.stream(connects, EVERY_S, self.new))
                if resolves:
                    group.create_task(flows.stream(resolves, NAMES_EVERY_S, self.names))
                for held in self.held:
                    group.create_task(held.keep())
                for talk in self.talks:
                    group.create_task(talk.keep(TALK_EVERY_S))
        finally:
            for held in self.held:
                held.connection.close()

    def part(self, promised: Guarantee, cut_s: float, mended_s: float, reason: str) -> Part:
        """What was found."""

        def of(attempts: Sequence[Attempt]) -> Course | None:
            return course(attempts, cut_s, mended_s) if attempts else None

        quick = self.rtt_ms is not None and self.rtt_ms * SLACK <= LEAST_PATIENCE_MS
        promised_ms = promised.detection_ms if quick else promised.detection_worst_ms
        return Part(
            family=self.family,
            detected_s=None if self.down_s is None else self.down_s - cut_s,
            promised_s=promised_ms / 1000,
            back_s=None if self.up_s is None else max(0.0, self.up_s - mended_s),
            back_promised_s=promised.return_ms / 1000,
            reason=reason,
            new=of(self.new),
            old=self._old(cut_s) if self.held else None,
            talks=self._courses(cut_s, mended_s, mine=True),
            calm=self._courses(cut_s, mended_s, mine=False),
            names=of(self.names),
        )

    def _old(self, cut_s: float) -> Old:
        resets = [
            (one, at_s) for one in self.held if one.ended for at_s, hard in [one.ended] if hard
        ]
        mine = [one for one in self.held if one.source == self.address]
        return Old(
            by_uplink=len(mine),
            told_s=tuple(at_s - cut_s for one, at_s in resets if one in mine),
            by_others=len(self.held) - len(mine),
            broken=sum(one not in mine for one, _ in resets),
            gone=sum(one.ended is not None for one in self.held) - len(resets),
        )

    def _courses(self, cut_s: float, mended_s: float, *, mine: bool) -> tuple[Course, ...]:
        return tuple(
            course(talk.attempts, cut_s, mended_s)
            for talk in self.talks
            if (talk.source == self.address) == mine
        )


async def prepare(plan: Plan, uplink: Uplink, family: Family, status: Status) -> Line:
    """Find out what answers, and open what is to be there before the cut."""
    states = {
        one.name: state
        for one in status.uplinks
        for state in one.families
        if state.family == family and state.health == "up"
    }
    devices = [plan.uplink(name).device for name in states]
    endpoints, servers = await _answering(plan, family, devices)
    names = [one for one in name_servers(_resolv()) if _is(one, family)]
    answers = await asyncio.gather(*(flows.resolve(one) for one in names))
    state = states[uplink.name]
    return Line(
        family=family,
        rtt_ms=state.rtt_ms,
        address=state.address,
        endpoints=[one for one, _ in endpoints][:ENDPOINTS],
        servers=[one for one, answered in zip(names, answers, strict=True) if answered],
        held=await _held([one for one, is_open in endpoints if is_open], state.address),
        talks=_talks(servers, state.address),
    )


async def _answering(
    plan: Plan, family: Family, devices: Sequence[str]
) -> tuple[list[tuple[Endpoint, bool]], list[str]]:
    """What answers by every device: for TCP, and whether it opens; and for DNS."""
    asked = list(dict.fromkeys(candidates(plan, family)))
    addresses = list(dict.fromkeys(address for address, _ in asked))
    said = await asyncio.gather(
        *(asyncio.gather(*(flows.reach(one, device=by) for by in devices)) for one in asked)
    )
    heard = await asyncio.gather(
        *(asyncio.gather(*(flows.resolve(one, device=by) for by in devices)) for one in addresses)
    )
    return (
        [
            (one, "refused" not in answers)
            for one, answers in zip(asked, said, strict=True)
            if "silent" not in answers
        ],
        [one for one, answers in zip(addresses, heard, strict=True) if all(answers)],
    )


def candidates(plan: Plan, family: Family) -> Iterator[Endpoint]:
    """Where a connection may go: to what probes ask already, and nobody else."""
    for uplink in plan.uplinks:
        for target in uplink.targets_of(family):
            match target:
                case Connect() | Fetch():
                    yield target.address, target.port
                case _ if family_of(target) and target.address:
                    yield target.address, 443
                    yield target.address, DNS_PORT


async def _held(endpoints: Sequence[Endpoint], address: str | None) -> list[Held]:
    """Some TCP connections by the uplink, and some by others."""
    kept: list[Held] = []
    for number in range(TRIES if endpoints else 0):
        held = await flows.hold(endpoints[number % len(endpoints)])
        if held is None:
            continue
        same = [one for one in kept if (one.source == address) == (held.source == address)]
        if len(same) < OLD:
            kept.append(held)
        else:
            held.connection.close()
        if len(kept) == 2 * OLD:
            break
    return kept


def _talks(servers: Sequence[str], address: str | None) -> list[Talk]:
    """A UDP flow by the uplink, and one by another."""
    kept: list[Talk] = []
    for number in range(TRIES if servers else 0):
        talk = Talk(servers[number % len(servers)])
        if any((one.source == address) == (talk.source == address) for one in kept):
            talk.close()
        else:
            kept.append(talk)
    return kept


async def _answered(endpoint: Endpoint) -> bool:
    return await flows.reach(endpoint) != "silent"


# -- name servers ----------------------------------------------------------------------------------


def name_servers(text: str) -> list[str]:
    """Those of a resolv.conf that are elsewhere."""
    words = [line.split() for line in text.splitlines()]
    named = [
        rest[0] for first, *rest in (one for one in words if one) if first == "nameserver" and rest
    ]
    return [one for one in named if not ip_address(one.partition("%")[0]).is_loopback]


def _resolv() -> str:
    for file in map(Path, RESOLV):
        if file.is_file():
            return file.read_text(encoding="utf-8", errors="replace")
    return ""


def _is(address: str, family: Family) -> bool:
    return ip_address(address.partition("%")[0]).version == family


# -- port forwards ---------------------------------------------------------------------------------


async def try_forwards(
    plan: Plan, uplink: Uplink, families: Sequence[Family], status: Status
) -> tuple[Forward, ...]:
    """The forwards that come in by the uplink: by whom else, and whether their hosts answer."""
    carrying = {
        (one.name, state.family)
        for one in status.uplinks
        for state in one.families
        if state.health == "up"
    }
    found = []
    for forward in plan.firewall.forwards if plan.firewall else ():
        if forward.family not in families or uplink.device in forward.except_devices:
            continue
        answer = None
        if "tcp" in forward.protocols:
            port = forward.to_port or int(forward.ports[0].partition("-")[0])
            answer = await flows.reach((forward.to, port))
        ports = f"{'+'.join(forward.protocols)} {', '.join(forward.ports)}"
        by = tuple(
            other.name
            for other in plan.uplinks
            if other.name != uplink.name
            if other.device not in forward.except_devices
            if (other.name, forward.family) in carrying
        )
        found.append(Forward(ports, forward.to, by, answer))
    return tuple(found)

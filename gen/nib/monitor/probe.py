"""Rounds of questions on one family of one uplink.

Every interval a round asks all targets at once.  It is decided as soon as a quorum has answered, or
else when its time-out is over; rounds overlap where the time-out is longer than the interval.
"""

import asyncio
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from nib.families import Family
from nib.monitor.askers.every import Askers
from nib.monitor.askers.way import Way
from nib.monitor.events import Event, Judged, Tallied
from nib.plan import Uplink
from nib.targets import Target

SEQUENCE_MASK = 0xFFFF


@dataclass(slots=True)
class _Round:
    """One asking of all targets, sent at `at_s`; `rtts_ms` of the answers by target.

    `refusals`: what was wrong with the answers of others.
    """

    number: int
    at_s: float
    rtts_ms: dict[Target, float] = field(default_factory=dict)
    refusals: dict[Target, str] = field(default_factory=dict)
    judged: bool = False


class Prober:
    """Asks on one family of an uplink until it is cancelled, and emits Judged and Tallied.

    `gateway` says the gateway's address there, as long as one is known.
    """

    def __init__(
        self,
        uplink: Uplink,
        family: Family,
        place: int,
        emit: Callable[[Event], None],
        gateway: Callable[[], str | None],
    ) -> None:
        self._uplink = uplink
        self._family = family
        self._emit = emit
        self._sequence = itertools.count(1)
        self._open_rounds: dict[int, _Round] = {}
        self._targets = uplink.targets_of(family)
        self._quorum = min(uplink.probe.quorum, len(self._targets))
        self._asker = Askers(Way(uplink, family, gateway), place, self._heard)

    async def run(self) -> None:
        """Ask, round after round.  Raises PermissionError without CAP_NET_RAW."""
        loop = asyncio.get_running_loop()
        probe = self._uplink.probe
        interval_s, timeout_s = probe.interval_ms / 1000, probe.timeout_ms / 1000
        # Uplinks do not all ask at the same instant.
        next_s = loop.time() + random.uniform(0, min(interval_s, 0.5))
        try:
            while True:
                await asyncio.sleep(max(0.0, next_s - loop.time()))
                # after a stall of the machine: go on, do not catch up
                next_s = max(next_s + interval_s, loop.time())
                number = next(self._sequence) & SEQUENCE_MASK
                self._ask(_Round(number, loop.time()))
                loop.call_later(timeout_s, self._close, number)
        finally:
            self._asker.close()

    def _ask(self, round_: _Round) -> None:
        self._open_rounds[round_.number] = round_
        for target in self._targets:
            self._asker.ask(target, round_.number)

    def _heard(self, target: Target, number: int, wrong: str | None) -> None:
        """A target answered the question of a round; `wrong` is what is wrong with that."""
        round_ = self._open_rounds.get(number)
        if round_ is None or target in round_.rtts_ms:
            return
        if wrong is not None:
            round_.refusals[target] = wrong
            return
        now_s = asyncio.get_running_loop().time()
        round_.rtts_ms[target] = (now_s - round_.at_s) * 1000
        if len(round_.rtts_ms) >= self._quorum and not round_.judged:
            self._judge(round_, ok=True)

    def _judge(self, round_: _Round, ok: bool) -> None:
        round_.judged = True
        if ok:
            # An answer now says more than a question asked earlier whose answer is still out.
            for other in self._open_rounds.values():
                other.judged = other.judged or other.at_s < round_.at_s
        now_s = asyncio.get_running_loop().time()
        refusals = () if ok else tuple((str(one), why) for one, why in round_.refusals.items())
        self._emit(Judged(now_s, self._uplink.name, self._family, ok, refusals))

    def _close(self, number: int) -> None:
        """The time-out of a round is over."""
        round_ = self._open_rounds.pop(number)
        if not round_.judged:
            self._judge(round_, ok=False)
        now_s = asyncio.get_running_loop().time()
        asked, rtts = len(self._targets), tuple(round_.rtts_ms.values())
        self._emit(Tallied(now_s, self._uplink.name, self._family, asked, rtts))

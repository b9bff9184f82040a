"""What the recorded rounds would have led to under other settings: the monitor's own judgement.

Pure.  The questions are asked anew, by `monitor.asking`, and get the answers of the recorded round
that was asked next: `monitor.health` judges them.  What was not asked then is not known: a line
without a carrier is not asked, so its outages are none here.  Nor is it known whether packets still
came in, which gives a full line the whole `timeout`.
"""

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median

from nib.history.outages import Outage
from nib.history.records import Round
from nib.monitor import asking
from nib.monitor.asking import Act, Asking
from nib.monitor.events import Judged, Tallied
from nib.monitor.health import Health, measure, observe
from nib.monitor.questions import Ask, Reply
from nib.monitor.tally import Tally
from nib.probe import Probe
from nib.targets import Target

LEAST_GAP_S, GAP_PACES = 10.0, 5
"""Nothing recorded for so long, and for so many times the usual pace: nobody asked."""

AHEAD_PACES = 2
"""So far ahead may a question look for a round that has not answered another one yet."""


def replay(rounds: Iterable[Round], probe: Probe, targets: tuple[Target, ...]) -> list[Outage]:
    """The outages that one family of an uplink would have had, oldest first.

    `rounds` are all its own; times are seconds of the epoch.
    """
    found = sorted(rounds, key=lambda one: one.time_s)
    if not found or not targets:
        return []
    steps = [after.time_s - before.time_s for before, after in pairwise(found)]
    pace_s = median(steps) if steps else probe.interval_ms / 1000
    line = _Line(found[0], probe, targets)
    for stretch in _stretches(found, max(LEAST_GAP_S, GAP_PACES * pace_s)):
        line.run(_Record(stretch, pace_s))
    return line.outages


def _stretches(rounds: Sequence[Round], gap_s: float) -> Iterator[list[Round]]:
    """Split where nobody asked."""
    stretch = [rounds[0]]
    for before, after in pairwise(rounds):
        if after.time_s - before.time_s > gap_s:
            yield stretch
            stretch = []
        stretch.append(after)
    yield stretch


class _Record:
    """Rounds that were asked without a gap, and who would have answered in between."""

    def __init__(self, rounds: Sequence[Round], pace_s: float) -> None:
        self._rounds = rounds
        self._times = [one.time_s for one in rounds]
        self._ahead_s = AHEAD_PACES * pace_s
        self._used = -1
        self.begins_s, self.ends_s = self._times[0], self._times[-1]

    def answers(self, ask: Ask, at_s: float) -> Iterator[tuple[Target, float]]:
        """The targets that answer, and after how many seconds."""
        of = self._next(at_s)
        if of is None:
            # the last that is known was one lost packet, or the beginning of more
            self.ends_s = at_s
            return
        count = round(len(ask.targets) * len(of.rtts_ms) / of.asked)
        for place in range(count):
            # nobody wrote down which of them were silent: not always the same one
            target = ask.targets[(ask.number + place) % len(ask.targets)]
            yield target, of.rtts_ms[place % len(of.rtts_ms)] / 1000

    def _next(self, at_s: float) -> Round | None:
        """The first round from then on; what was lost is lost once, if more is known soon."""
        index = first = bisect_left(self._times, at_s)
        if self._used >= first:
            lost = not self._rounds[self._used].rtts_ms
            index = self._used + lost
        if index == len(self._times):
            return None
        if self._times[index] > at_s + self._ahead_s:
            index = first
        self._used = index
        return self._rounds[index]


class _Line:
    """One family of an uplink, as the monitor would have seen it."""

    def __init__(self, first: Round, probe: Probe, targets: tuple[Target, ...]) -> None:
        self.outages: list[Outage] = []
        self._probe = probe
        self._asking = Asking(first.uplink, first.family, targets, probe)
        self._health = Health("unknown", first.time_s)
        self._tally = Tally()

    def run(self, record: _Record) -> None:
        """Ask from its first round to its last."""
        self._watch(record.begins_s)
        underway: list[tuple[float, int, int, Target]] = []
        count = 0
        while True:
            answered = bool(underway) and underway[0][0] < self._asking.due_s
            at_s = underway[0][0] if answered else self._asking.due_s
            if at_s > record.ends_s:
                break
            if answered:
                _, _, number, target = heapq.heappop(underway)
                self._asking, acts = asking.hear(self._asking, Reply(target, number, at_s), at_s)
            else:
                self._asking, acts = asking.turn(self._asking, at_s)
            for act in acts:
                if isinstance(act, Ask):
                    for target, rtt_s in record.answers(act, at_s):
                        count += 1
                        heapq.heappush(underway, (at_s + rtt_s, count, act.number, target))
                self._judge(act)
            self._watch(at_s)
        self._asking = asking.watch(self._asking, "off", self._probe.quorum, record.ends_s)

    def _watch(self, at_s: float) -> None:
        state = self._health.state
        self._asking = asking.watch(self._asking, state, self._probe.quorum, at_s)

    def _judge(self, act: Act) -> None:
        before = self._health
        match act:
            case Judged(at_s, _, _, ok, asked_s):
                self._health = observe(before, ok, at_s, self._probe, asked_s)
                if self._health.state == "up" and before.state == "down":
                    self._tally = Tally()
                reason = f"no answer from {min(self._probe.quorum, len(self._asking.targets))}"
                reason += f" of {len(self._asking.targets)} targets"
            case Tallied(at_s, _, _, answers, burst=False):
                self._tally = self._tally.add(answers)
                self._health = measure(before, self._tally, at_s, self._probe)
                reason = f"too much: {', '.join(self._health.poor)}"
            case _:
                return
        if self._health.state == "down" and before.state != "down":
            line = self._asking.uplink, self._asking.family
            self.outages.append(Outage(*line, at_s, reason))
        elif self._health.state == "up" and before.state == "down":
            self.outages[-1] = replace(self.outages[-1], ended_s=at_s)

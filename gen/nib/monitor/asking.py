"""What to ask on one family of an uplink, and when; and what the answers say.  Pure.

Calm, one target is asked every interval, in rotation.  A question that is not answered in time may
be a lost packet, so it only begins a burst: all targets at once, `fall` rounds in quick succession.
A quorum of answers, however late, ends it as if nothing had been; silence is a verdict.  How long
an answer may take follows from how long the answers took of late.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

from nib.families import Family
from nib.monitor.events import Judged, Silenced, Tallied
from nib.monitor.questions import Ask, Burst, Listen, Reply, Round
from nib.probe import BURST_MS, LEAST_PATIENCE_MS, TOGETHER_MS, Probe
from nib.targets import Target

BURST_S = BURST_MS / 1000
LEAST_PATIENCE_S = LEAST_PATIENCE_MS / 1000
TOGETHER_S = TOGETHER_MS / 1000
# Who answers as soon as this finds the loop still awake: nothing is saved by waiting.
AWAKE_S = 0.002
SLACK = 1.5  # an answer may take this much longer than the slowest of late
FORGET = 1 / 64  # by so much of itself the slowest becomes faster with every answer

# So many more questions missed than answered, while other targets answer: it is the target, dead or
# tired of being asked.  Then it is asked at every so many turns only, and its silence says nothing.
# More than `MOST` are not held against it when it is back.
SILENT, MOST = 3, 4
SELDOM = 20

# A turn that comes so late found the router itself asleep: what was asked before says nothing.
HELD_UP_S = 0.25

# A line that went mute is asked at once, but who only ever sends must not cost much: so often in so
# many turns, on average, and at most so often without a pause.
CALM_TURNS, SUSPICIONS = 20, 3
# On a line that is full so many bursts must be missed: what is lost in its queue says little.
BURSTS_IF_FULL = 4
# A metered line that nobody uses is asked so much more seldom.
IDLE_TIMES = 10

NUMBERS = 0x10000

NOBODY: Mapping[Target, str] = {}
NO_MISSES: Mapping[Target, int] = {}
NONE: frozenset[Target] = frozenset()

Mode = Literal["off", "unknown", "up", "down"]
"""What is believed of the line that is asked on; off: there is nothing to ask by."""


Act = Ask | Listen | Judged | Tallied | Silenced


class Asking(NamedTuple):
    """All that is known of the asking.  A tuple: it is replaced at every step, and fast.

    `phase`: where in the interval its turns are, 0..1, by the clock; who has the same asks at once.
    `slowest_s`: of the answers of late; None before the first.  `misses`: how many more questions a
    target has missed than answered of late.  No question asked before `trusted_s` begins a burst.
    `full` and `idle` are what the device's counters say, which may begin a burst from `suspect_s`.
    """

    uplink: str
    family: Family
    targets: tuple[Target, ...]
    probe: Probe
    phase: float = 0.0
    mode: Mode = "off"
    quorum: int = 1
    next_s: float = math.inf
    number: int = 0
    turns: int = 0
    rounds: tuple[Round, ...] = ()
    burst: Burst | None = None
    slowest_s: float | None = None
    misses: Mapping[Target, int] = NO_MISSES
    trusted_s: float = -math.inf
    full: bool = False
    idle: bool = False
    suspect_s: float = -math.inf

    @property
    def interval_s(self) -> float:
        """From one turn to the next."""
        interval_s = self.probe.interval_ms / 1000
        return interval_s * IDLE_TIMES if self.idle and self.mode == "up" else interval_s

    @property
    def patience_s(self) -> float:
        """How long an answer may take before it is missed."""
        timeout_s = self.probe.timeout_ms / 1000
        if self.slowest_s is None:
            return timeout_s
        return min(max(LEAST_PATIENCE_S, self.slowest_s * SLACK), timeout_s)

    @property
    def anxious(self) -> bool:
        """Every answer is to be heard when it comes; else it is soon enough when more is to do."""
        calm = self.mode == "up" and self.burst is None
        return not calm or self.slowest_s is None or self.slowest_s < AWAKE_S

    @property
    def due_s(self) -> float:
        """When there is something to do although nothing is heard."""
        if self.burst:
            return self.burst.next_s
        missed = _doubtful(self)
        if not missed:
            return self.next_s
        doubt_s = missed.asked_s + self.patience_s
        together_s = math.ceil(doubt_s / TOGETHER_S) * TOGETHER_S
        return min(self.next_s, max(doubt_s, together_s))


Step = tuple[Asking, tuple[Act, ...]]


def watch(asking: Asking, mode: Mode, quorum: int, at_s: float) -> Asking:
    """From now on the line is believed to be in another state."""
    asking = asking._replace(quorum=min(quorum, len(asking.targets)))
    if mode == asking.mode:
        return asking
    if mode == "off":
        return asking._replace(mode=mode, next_s=math.inf, rounds=(), burst=None)
    burst = Burst(at_s, at_s) if mode == "unknown" else None
    next_s = _next_turn(asking, at_s)
    return asking._replace(mode=mode, next_s=next_s, burst=burst, trusted_s=at_s)


def turn(asking: Asking, at_s: float) -> Step:
    """Time has passed: ask what is due, and judge what stayed silent."""
    due_s = asking.due_s
    if at_s < due_s:
        return asking, ()
    if at_s > due_s + HELD_UP_S:
        burst = replace(asking.burst, rounds=0) if asking.burst else None
        next_s = _next_turn(asking, at_s)
        asking = asking._replace(rounds=(), burst=burst, next_s=next_s)
    acts: tuple[Act, ...] = ()
    missed = _doubtful(asking)
    if asking.burst is None and missed and at_s >= missed.asked_s + asking.patience_s:
        asking = asking._replace(burst=Burst(missed.asked_s, at_s))
        acts = (Listen(),)
    asking, over = _close(asking, at_s)
    if asking.burst:
        asking, more = _press(asking, asking.burst, at_s)
    elif at_s >= asking.next_s:
        asking, more = _calmly(asking, at_s)
    else:
        more = ()
    return asking, (*acts, *over, *more)


def hear(asking: Asking, reply: Reply, at_s: float) -> Step:
    """A target has answered.  That is known now, and may have come in earlier."""
    target = reply.target
    of = next((one for one in asking.rounds if one.number == reply.number), None)
    if of is None or target not in of.targets or target in of.rtts_ms:
        return asking, ()
    rtt_s = reply.came_s - of.asked_s
    if rtt_s < 0:
        # to an earlier question, of somebody else; or the clock was set
        return asking, ()
    if asking.mode == "down" and rtt_s * 1000 > asking.probe.timeout_ms:
        # else a line that is too slow would come back whenever it is asked seldom, and go again
        return asking, ()
    slowest_s = max(rtt_s, (asking.slowest_s or 0.0) * (1 - FORGET))
    if reply.wrong is not None:
        return _refused(asking._replace(slowest_s=slowest_s), of, target, reply.wrong), ()
    heard = replace(of, rtts_ms={**of.rtts_ms, target: rtt_s * 1000})
    rest = tuple(one for one in asking.rounds if one is not of)
    whole = len(heard.rtts_ms) == len(of.targets)
    before = silent(asking)
    missed = asking.misses.get(target, 0)
    misses = {**asking.misses, target: missed - 1} if missed else asking.misses
    rounds = rest if whole else _instead(asking, of, heard)
    asking = asking._replace(slowest_s=slowest_s, rounds=rounds, misses=misses)
    acts = _silenced(before, asking, at_s)
    if asking.burst:
        known = asking.burst.heard | {target}
        asking = asking._replace(burst=replace(asking.burst, heard=known))
        if len(known) >= asking.quorum:
            good = _judged(asking, at_s, True, at_s) if asking.mode == "unknown" else ()
            next_s = _next_turn(asking, at_s) if asking.next_s < at_s else asking.next_s
            asking = asking._replace(mode="up", next_s=next_s, burst=None, trusted_s=at_s)
            acts = (*acts, *good)
    elif asking.mode == "down" and len(heard.rtts_ms) == asking.quorum:
        # what was asked earlier and is still out says less than this
        asking = asking._replace(trusted_s=max(asking.trusted_s, of.asked_s))
        acts = (*acts, *_judged(asking, at_s, True, of.asked_s))
    if whole and not of.over:
        acts = (*acts, *_tallied(asking, heard, at_s))
    return asking, acts


def _refused(asking: Asking, of: Round, target: Target, wrong: str) -> Asking:
    """A wrong answer is none, but it is the reason for a verdict."""
    refused = replace(of, refusals={**of.refusals, target: wrong})
    burst = asking.burst
    if burst:
        burst = replace(burst, refusals={**burst.refusals, target: wrong})
    return asking._replace(rounds=_instead(asking, of, refused), burst=burst)


def _instead(asking: Asking, of: Round, now: Round) -> tuple[Round, ...]:
    return tuple(now if one is of else one for one in asking.rounds)


def arrive(asking: Asking) -> Asking:
    """Something still comes in: the line may only be full.  It has all the time of `timeout`."""
    if asking.burst is None:
        return asking
    return asking._replace(burst=replace(asking.burst, arriving=True))


def sense(asking: Asking, at_s: float, *, mute: bool, full: bool, idle: bool) -> Step:
    """What the device's counters say: it decides nothing, but what is asked, and when."""
    if asking.idle and not idle:
        asking = asking._replace(next_s=min(asking.next_s, at_s))
    asking = asking._replace(full=full, idle=idle)
    doubtful = mute and asking.mode == "up" and asking.burst is None
    if not doubtful or at_s < asking.suspect_s:
        return asking, ()
    calm_s = CALM_TURNS * asking.probe.interval_ms / 1000
    suspect_s = max(asking.suspect_s, at_s - (SUSPICIONS - 1) * calm_s) + calm_s
    return asking._replace(burst=Burst(at_s, at_s), suspect_s=suspect_s), (Listen(),)


def silent(asking: Asking) -> frozenset[Target]:
    """The targets that do not answer where others do."""
    if all(missed < SILENT for missed in asking.misses.values()):
        return NONE
    mute = frozenset(t for t in asking.targets if asking.misses.get(t, 0) >= SILENT)
    return mute if len(mute) < len(asking.targets) else NONE


def _doubtful(asking: Asking) -> Round | None:
    """The first question of calm times that nobody has answered yet, though somebody should."""
    if asking.mode != "up":
        return None
    unanswered = [
        one
        for one in asking.rounds
        if one.sample and not one.rtts_ms and one.asked_s >= asking.trusted_s
    ]
    if not unanswered:
        return None
    mute = silent(asking)
    return next((one for one in unanswered if not mute.issuperset(one.targets)), None)


def _press(asking: Asking, burst: Burst, at_s: float) -> Step:
    """The next round of a burst, or the verdict."""
    if burst.rounds < asking.probe.fall:
        rounds = burst.rounds + 1
        wait_s = BURST_S if rounds < asking.probe.fall else asking.patience_s
        burst = replace(burst, rounds=rounds, next_s=at_s + wait_s, asked_s=at_s)
        asking = asking._replace(burst=burst)
        return _ask(asking, asking.targets, at_s, sample=False)
    latest_s = burst.asked_s + asking.probe.timeout_ms / 1000
    if burst.arriving and at_s < latest_s:
        return asking._replace(burst=replace(burst, next_s=latest_s)), ()
    if asking.full and burst.repeated + 1 < BURSTS_IF_FULL:
        return _press(asking, replace(burst, rounds=0, repeated=burst.repeated + 1), at_s)
    refusals = {t: wrong for t, wrong in burst.refusals.items() if t not in burst.heard}
    verdict = _judged(asking, at_s, False, burst.missed_s, refusals)
    next_s = _next_turn(asking, at_s)
    line = asking._replace(mode="down", burst=None, next_s=next_s, trusted_s=at_s)
    # whoever was right may be suspicious again
    return line._replace(suspect_s=-math.inf), verdict


def _next_turn(asking: Asking, at_s: float) -> float:
    """The first of its turns that is not before `at_s`."""
    interval_s = asking.probe.interval_ms / 1000
    return at_s + (asking.phase * interval_s - at_s) % interval_s


def _calmly(asking: Asking, at_s: float) -> Step:
    """The turn of the next target, or of all of them where the line has to earn its way back."""
    interval_s = asking.interval_s
    # after a stall: go on, do not catch up
    next_s = max(asking.next_s, at_s - interval_s) + interval_s
    asking = asking._replace(next_s=next_s, turns=asking.turns + 1)
    if asking.mode == "down":
        return _ask(asking, asking.targets, at_s, sample=True)
    mute = silent(asking)
    able = [target for target in asking.targets if target not in mute]
    asking, acts = _ask(asking, (able[asking.turns % len(able)],), at_s, sample=True)
    if mute and asking.turns % SELDOM == 0:
        asking, more = _ask(asking, _in_order(asking, mute), at_s, sample=False)
        acts += more
    return asking, acts


def _ask(asking: Asking, targets: tuple[Target, ...], at_s: float, *, sample: bool) -> Step:
    number = (asking.number + 1) % NUMBERS
    rounds = (*asking.rounds, Round(number, at_s, targets, sample))
    return asking._replace(number=number, rounds=rounds), (Ask(number, targets),)


def _close(asking: Asking, at_s: float) -> Step:
    """Rounds whose time is over.  Those of a doubt are kept until it is."""
    timeout_s = asking.probe.timeout_ms / 1000
    over = [one for one in asking.rounds if not one.over and at_s >= one.asked_s + timeout_s]
    if not over:
        return asking, ()
    before = silent(asking)
    misses = dict(asking.misses)
    acts: tuple[Act, ...] = ()
    for one in over:
        for target in one.targets:
            if target not in one.rtts_ms:
                misses[target] = min(misses.get(target, 0) + 1, MOST)
        acts += _tallied(asking, one, at_s)
        few = len(one.rtts_ms) < asking.quorum and one.asked_s > asking.trusted_s
        if asking.mode == "down" and few:
            acts += _judged(asking, at_s, False, one.asked_s, one.refusals)
    rest = (replace(one, over=True) if one in over else one for one in asking.rounds)
    doubted_s = asking.burst.missed_s if asking.burst else math.inf
    rounds = tuple(one for one in rest if not one.over or one.asked_s >= doubted_s)
    asking = asking._replace(rounds=rounds, misses=misses)
    return asking, (*acts, *_silenced(before, asking, at_s))


def _tallied(asking: Asking, of: Round, at_s: float) -> tuple[Act, ...]:
    """A round in numbers, without those that answer nowhere near."""
    asked = [target for target in of.targets if target not in silent(asking)]
    if not asked:
        return ()
    answers = tuple((target, of.rtts_ms.get(target)) for target in asked)
    line, burst, full = (asking.uplink, asking.family), not of.sample, asking.full
    return (Tallied(at_s, *line, answers, of.asked_s, burst=burst, full=full),)


def _judged(
    asking: Asking,
    at_s: float,
    ok: bool,
    asked_s: float,
    refusals: Mapping[Target, str] = NOBODY,
) -> tuple[Act, ...]:
    said = tuple((str(target), wrong) for target, wrong in refusals.items())
    return (Judged(at_s, asking.uplink, asking.family, ok, asked_s, said),)


def _silenced(before: frozenset[Target], asking: Asking, at_s: float) -> tuple[Act, ...]:
    now = silent(asking)
    if now == before:
        return ()
    return (Silenced(at_s, asking.uplink, asking.family, _in_order(asking, now)),)


def _in_order(asking: Asking, some: frozenset[Target]) -> tuple[Target, ...]:
    return tuple(target for target in asking.targets if target in some)

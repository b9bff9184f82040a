"""A simulated line under the scheduler of probes: what it asks, when, and what it decides.

`Line` answers questions after `rtt(at_s)` seconds, or never where `rtt` gives None.  Time is the
scheduler's own: nothing waits, so a day takes seconds.
"""

import heapq
import math
from collections.abc import Callable
from random import Random

import samples
from nib.monitor import asking
from nib.monitor.asking import Act, Asking, Mode
from nib.monitor.events import Judged, Silenced, Tallied
from nib.monitor.questions import Ask, Listen, Reply
from nib.probe import Probe
from nib.targets import Ping, Target

Rtt = Callable[[Target, float], float | None]
"""How long the answer of a target takes that is asked at a time; None: it never comes."""

Wrong = Callable[[Target, float], str | None]
"""What is wrong with the answer to a question of a time."""

TARGETS: tuple[Target, ...] = tuple(Ping("ping", a) for a in ("1.1.1.1", "9.9.9.9", "8.8.8.8"))

ALIVE, _, DEAD = TARGETS

RTT_S, SLOW_S = 0.02, 1.0
STEP_S = 0.1  # of a trace
HOURS_S = 4 * 3600


def probe(text: str = "{}") -> Probe:
    """What `probe:` says, with the defaults."""
    return samples.plan(f"probe: {text}\n{samples.TWO}").uplinks[0].probe


class Line:
    """A scheduler, the line that it asks on, and all that it has decided."""

    def __init__(
        self,
        rtt: Rtt,
        of: Probe | None = None,
        targets: tuple[Target, ...] = TARGETS,
        mode: Mode = "up",
        *,
        arrives: Callable[[float], bool] = lambda _: False,
        wrong: Wrong = lambda _target, _at_s: None,
        phase: float = 0.0,
    ) -> None:
        of = of or probe()
        self.rtt = rtt
        self.arrives = arrives
        self.wrong = wrong
        self.now_s = 0.0
        self.asked: list[tuple[float, Ask]] = []
        self.judged: list[Judged] = []
        self.tallied: list[Tallied] = []
        self.silenced: list[Silenced] = []
        self._coming: list[tuple[float, int]] = []
        self._answers: list[tuple[Target, int, str | None]] = []
        start = Asking("cable", 4, targets, of, phase)
        self.state = asking.watch(start, mode, of.quorum, 0.0)

    def until(self, at_s: float) -> "Line":
        """Let time pass."""
        while True:
            coming_s = self._coming[0][0] if self._coming and self.state.anxious else math.inf
            now_s = max(min(coming_s, self.state.due_s), self.now_s)
            if now_s > at_s:
                break
            self.now_s = now_s
            self._gather()
            if now_s >= self.state.due_s:
                self._do(asking.turn(self.state, now_s))
        self.now_s = at_s
        return self

    def believe(self, mode: Mode, quorum: int = 1) -> None:
        """What the core says of the line."""
        self._gather()
        self.state = asking.watch(self.state, mode, quorum, self.now_s)

    def sense(self, *, mute: bool = False, full: bool = False, idle: bool = False) -> None:
        """What the device's counters say now."""
        self._gather()
        self._do(asking.sense(self.state, self.now_s, mute=mute, full=full, idle=idle))

    def hear(self, target: Target, number: int) -> None:
        """An answer that nobody foresaw."""
        self._do(asking.hear(self.state, Reply(target, number, self.now_s), self.now_s))

    def turn(self) -> None:
        """Time has passed, however much."""
        self._do(asking.turn(self.state, self.now_s))

    def _gather(self) -> None:
        """Hear the answers that have come in: when nobody is anxious, not before there is more."""
        while self._coming and self._coming[0][0] <= self.now_s:
            came_s, place = heapq.heappop(self._coming)
            target, number, wrong = self._answers[place]
            self._do(asking.hear(self.state, Reply(target, number, came_s, wrong), self.now_s))

    def _do(self, step: tuple[Asking, tuple[Act, ...]]) -> None:
        self.state, acts = step
        for act in acts:
            match act:
                case Ask(number, targets):
                    self.asked.append((self.now_s, act))
                    for target in targets:
                        took = self.rtt(target, self.now_s)
                        if took is not None:
                            heapq.heappush(self._coming, (self.now_s + took, len(self._answers)))
                            wrong = self.wrong(target, self.now_s)
                            self._answers.append((target, number, wrong))
                case Listen():
                    if self.arrives(self.now_s):
                        self.state = asking.arrive(self.state)
                case Judged():
                    self.judged.append(act)
                case Tallied():
                    self.tallied.append(act)
                case Silenced():
                    self.silenced.append(act)


def noisy(random: Random) -> Rtt:
    """A line that loses 2% of the packets, and one in 500 takes a second; a target is dead."""

    def rtt(target: Target, _: float) -> float | None:
        if target == DEAD or random.random() < 0.02:
            return None
        return SLOW_S if random.random() < 0.002 else random.uniform(0.01, 0.04)

    return rtt

"""What is measured on one family of an uplink: loss, time and jitter of the answers."""

from dataclasses import dataclass
from itertools import pairwise

from nib.targets import Target

WINDOW = 100  # samples that loss is reported over
RECENT = 20  # samples that times are reported over

Answers = tuple[tuple[Target, float | None], ...]
"""Who was asked at once, and how long each answer took in ms; None: none came."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What the last samples asked and heard, newest last."""

    rounds: tuple[Answers, ...] = ()

    def add(self, answers: Answers) -> "Tally":
        """One more sample; the oldest is forgotten."""
        return Tally((*self.rounds[-(WINDOW - 1) :], answers))

    @property
    def tells(self) -> bool:
        """Are there enough samples to judge by?"""
        return len(self.rounds) >= RECENT

    @property
    def loss(self) -> float | None:
        """Questions without an answer, 0..1; None before the first sample."""
        rtts_ms = [rtt_ms for answers in self.rounds for _, rtt_ms in answers]
        return rtts_ms.count(None) / len(rtts_ms) if rtts_ms else None

    @property
    def common_loss(self) -> float | None:
        """The same, but no more than most of the targets lose.

        What one of several loses alone is its own affair: it limits its answers.
        """
        if self.loss is None:
            return None
        losses = sorted([r.count(None) / len(r) for r in _by_target(self.rounds)])
        return min(self.loss, losses[(len(losses) - 1) // 2])

    @property
    def rtt_ms(self) -> float | None:
        """The median answer; None if nobody answered lately."""
        recent = self.rounds[-RECENT:]
        rtts = sorted([rtt for answers in recent for _, rtt in answers if rtt is not None])
        return rtts[len(rtts) // 2] if rtts else None

    @property
    def jitter_ms(self) -> float | None:
        """How much an answer differs from the same target's next, on average; None without two.

        That one target is further away than another is no jitter.
        """
        steps = [
            abs(after - before)
            for rtts_ms in _by_target(self.rounds[-RECENT:])
            for before, after in pairwise([rtt for rtt in rtts_ms if rtt is not None])
        ]
        return sum(steps) / len(steps) if steps else None


def _by_target(rounds: tuple[Answers, ...]) -> list[list[float | None]]:
    """What was heard of each target."""
    found: dict[Target, list[float | None]] = {}
    for answers in rounds:
        for target, rtt_ms in answers:
            found.setdefault(target, []).append(rtt_ms)
    return list(found.values())

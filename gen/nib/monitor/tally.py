"""What is measured on one family of an uplink: loss, time and jitter of the answers."""

from dataclasses import dataclass
from itertools import pairwise

WINDOW = 100  # samples that loss is reported over
RECENT = 20  # samples that times are reported over


@dataclass(frozen=True, slots=True)
class Tally:
    """What the last samples asked and heard: `(asked, RTTs of the answers in ms)`, newest last."""

    rounds: tuple[tuple[int, tuple[float, ...]], ...] = ()

    def add(self, asked: int, rtts_ms: tuple[float, ...]) -> "Tally":
        """One more sample; the oldest is forgotten."""
        return Tally((*self.rounds[-(WINDOW - 1) :], (asked, rtts_ms)))

    @property
    def tells(self) -> bool:
        """Are there enough samples to judge by?"""
        return len(self.rounds) >= RECENT

    @property
    def loss(self) -> float | None:
        """Questions without an answer, 0..1; None before the first sample."""
        asked = sum([asked for asked, _ in self.rounds])
        heard = sum([len(rtts) for _, rtts in self.rounds])
        return (asked - heard) / asked if asked else None

    @property
    def rtt_ms(self) -> float | None:
        """The median answer; None if nobody answered lately."""
        rtts = sorted(self._recent())
        return rtts[len(rtts) // 2] if rtts else None

    @property
    def jitter_ms(self) -> float | None:
        """How much one answer differs from the next, on average; None with fewer than two."""
        steps = [abs(after - before) for before, after in pairwise(self._recent())]
        return sum(steps) / len(steps) if steps else None

    def _recent(self) -> list[float]:
        return [rtt for _, rtts in self.rounds[-RECENT:] for rtt in rtts]

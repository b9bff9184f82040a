"""Records of traffic, as values: when an answer came, seen from where, and what failed."""

import itertools
from collections import Counter
from dataclasses import dataclass

# A paced flow sends every 20 ms; a pause of this length is one that somebody may notice.
GAP = 0.1


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without an answer."""

    start: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """What became of one flow.  Times are those of `time.monotonic()`.

    Lost are datagrams of UDP without an answer, between the first and the last that got one.
    """

    start: float
    end: float
    answers: tuple[tuple[float, str], ...]
    ends: tuple[tuple[float, str], ...]
    lost: int = 0

    def __bool__(self) -> bool:
        return bool(self.answers)

    def gaps_over(self, seconds: float) -> tuple[Gap, ...]:
        """The times without an answer, the one at the very end included."""
        moments = [self.start, *(at for at, _ in self.answers), self.end]
        pairs = itertools.pairwise(moments)
        return tuple(Gap(a, round(b - a, 3)) for a, b in pairs if b - a > seconds)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The times without an answer that are longer than GAP."""
        return self.gaps_over(GAP)

    @property
    def longest_gap(self) -> float:
        """The longest time without an answer, in seconds."""
        return max((gap.seconds for gap in self.gaps_over(0)), default=0)

    @property
    def resets(self) -> int:
        """How many connections were reset."""
        return sum(why == "reset" for _, why in self.ends)

    @property
    def seen(self) -> tuple[str, ...]:
        """The addresses that the server saw, one after the other."""
        return tuple(address for address, _ in itertools.groupby(a for _, a in self.answers))

    def answered_after(self, moment: float) -> bool:
        """Whether any answer came later than that."""
        return any(at > moment for at, _ in self.answers)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One fresh connection: seen from an address, or failed in some way."""

    start: float
    end: float
    seen: str
    error: str


@dataclass(frozen=True, slots=True)
class Attempts:
    """Fresh connections, in the order of their start."""

    all: tuple[Attempt, ...]

    def __bool__(self) -> bool:
        return bool(self.all)

    @property
    def counts(self) -> Counter[str]:
        """How many were seen from which address, or failed in which way."""
        return Counter(attempt.seen or attempt.error for attempt in self.all)

    @property
    def failed(self) -> tuple[Attempt, ...]:
        """Those that failed."""
        return tuple(attempt for attempt in self.all if attempt.error)

    @property
    def settled(self) -> float:
        """The moment from which on all succeeded: the start of the first after the last failure."""
        good = list(itertools.takewhile(lambda attempt: not attempt.error, reversed(self.all)))
        return good[-1].start if good else float("inf")

    def since(self, moment: float) -> "Attempts":
        """Those that were begun at that moment or later."""
        return Attempts(tuple(attempt for attempt in self.all if attempt.start >= moment))

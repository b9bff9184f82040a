"""Questions to the targets of a line, what comes back for them, and a doubt that they belong to."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from nib.targets import Target


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask these targets, all with this number (16 bits)."""

    number: int
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for the question of this number, and when; `wrong`: what is wrong with it."""

    target: Target
    number: int
    came_s: float
    wrong: str | None = None


@dataclass(frozen=True, slots=True)
class Listen:
    """Tell (`arrive`) when a packet for anybody comes in by the line."""


@dataclass(frozen=True, slots=True)
class Round:
    """Targets that were asked at once, and the answers so far.  A sample: it is measured by.

    `refusals`: the targets whose answer was wrong, and why.  `over`: its time is, and it has been
    counted, but as long as there is a doubt an answer is still a sign of life.
    """

    number: int
    asked_s: float
    targets: tuple[Target, ...]
    sample: bool
    rtts_ms: Mapping[Target, float] = field(default_factory=dict)
    refusals: Mapping[Target, str] = field(default_factory=dict)
    over: bool = False


@dataclass(frozen=True, slots=True)
class Burst:
    """A doubt and how far it has got.

    `missed_s` is when the question was asked that began it, `asked_s` when the last round was;
    `repeated`: how often it began again, for the line is full.
    """

    missed_s: float
    next_s: float
    rounds: int = 0
    asked_s: float = -math.inf
    heard: frozenset[Target] = frozenset()
    refusals: Mapping[Target, str] = field(default_factory=dict)
    arriving: bool = False
    repeated: int = 0

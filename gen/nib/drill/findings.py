"""What a drill has found, worked out from what was recorded.  Pure; times are CLOCK_MONOTONIC."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nib.families import Family

# Beside what the plan promises: starting nft, and one turn of what is measured.
SLACK_S = 0.25


@dataclass(frozen=True, slots=True)
class Attempt:
    """One connection, or one question: when it began, and when it was answered or given up."""

    began_s: float
    ended_s: float
    answered: bool


@dataclass(frozen=True, slots=True)
class Course:
    """What became of a row of attempts, in seconds since the cut.

    `settled_s`: from then on every one that began while the line was cut was answered; 0: none was
    lost, None: it did not get so far.  `lost` were not answered of the `made`; `lost_after` are
    those of them that began when the line was whole again.
    """

    made: int
    lost: int
    settled_s: float | None
    lost_after: int = 0


@dataclass(frozen=True, slots=True)
class Old:
    """TCP connections that were there before the cut.

    Of those by the uplink: `told_s` says when each was reset, in seconds since the cut.  `gone`
    were ended by their other end, on whatever uplink, and say nothing.
    """

    by_uplink: int
    told_s: tuple[float, ...]
    by_others: int
    broken: int
    gone: int


@dataclass(frozen=True, slots=True)
class Part:
    """What was found of one family.

    `detected_s`: from the cut to the decision; `back_s`: from the mending to the return.  None: it
    did not happen.  `reason` is what the monitor says at the end.  `talks`: UDP flows by the uplink
    that were there before the cut; `calm`: those by others.
    """

    family: Family
    detected_s: float | None
    promised_s: float
    back_s: float | None
    back_promised_s: float
    reason: str
    new: Course | None
    old: Old | None
    talks: tuple[Course, ...]
    calm: tuple[Course, ...]
    names: Course | None


@dataclass(frozen=True, slots=True)
class Forward:
    """A port forward while the uplink is cut off.

    `by`: the other uplinks it is for that carry; `answer`: what the host behind it said to the
    router, None: it was not asked.
    """

    ports: str
    to: str
    by: tuple[str, ...]
    answer: str | None


@dataclass(frozen=True, slots=True)
class Findings:
    """What a drill of `for_s` seconds has found.  `dropped` packets; None: the cut was ended."""

    uplink: str
    device: str
    for_s: int
    dropped: int | None
    parts: tuple[Part, ...]
    forwards: tuple[Forward, ...]


def course(attempts: Iterable[Attempt], cut_s: float, mended_s: float) -> Course:
    """What became of attempts, of which those that ended before the cut do not count."""
    counted = sorted((one for one in attempts if one.ended_s > cut_s), key=lambda one: one.began_s)
    during = [one for one in counted if one.began_s < mended_s]
    lost = [index for index, one in enumerate(during) if not one.answered]
    after = sum(not one.answered for one in counted[len(during) :])
    settled_s: float | None = 0.0
    if lost:
        whole = during[lost[-1] + 1 :]
        settled_s = max(0.0, whole[0].began_s - cut_s) if whole else None
    return Course(len(counted), len(lost) + after, settled_s, after)


def faults(found: Findings) -> tuple[str, ...]:
    """What is not as the plan promises, in sentences; none: the drill was passed."""
    said: list[str] = []
    if found.dropped is None:
        said.append("the cut was ended before its time: somebody changed the table of the drill")
    elif not found.dropped:
        said.append("the cut dropped no packet")
    for part in found.parts:
        said += [f"IPv{part.family}: {text}" for text in _faults(part)]
    return tuple(said)


def _faults(part: Part) -> Sequence[str]:
    said = []
    detected_s = part.detected_s
    if detected_s is None:
        said.append("the failure was not detected")
    elif detected_s > part.promised_s + SLACK_S:
        said.append(f"detected after {detected_s:.2f} s, but the plan says {part.promised_s:.2f} s")
    if part.back_s is None:
        said.append(f"it is not back: {part.reason}")
    elif part.back_s > part.back_promised_s + SLACK_S:
        said.append(
            f"back after {part.back_s:.2f} s, but the plan says {part.back_promised_s:.2f} s"
        )
    rows = [("new connections", part.new), ("DNS", part.names)]
    rows += [("a UDP flow", one) for one in part.talks]
    for what, row in rows:
        if row and row.settled_s is None:
            said.append(f"{what}: still failing when the line was mended")
        if row and row.lost_after:
            said.append(f"{what}: {row.lost_after} failed when the line was whole again")
    if any(row.lost for row in part.calm):
        said.append("UDP flows of other uplinks lost packets")
    if part.old and part.old.broken:
        said.append(f"{part.old.broken} TCP connections of other uplinks were reset")
    if part.old and len(part.old.told_s) < part.old.by_uplink:
        left = part.old.by_uplink - len(part.old.told_s)
        said.append(f"{left} TCP connections of the uplink were told nothing")
    return said

"""What nib import has to say about a line of the old configuration."""

from dataclasses import dataclass, replace
from enum import StrEnum

from nib.problem import Path, Place


class Kind(StrEnum):
    """How much a remark matters: a note tells, what is left out needs a hand."""

    NOTE = "note"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class Source:
    """One of the old files: its name as the user would type it, and its text."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Spot:
    """Where something stands in the old files, and its words there."""

    file: str
    place: Place
    text: str


@dataclass(frozen=True, slots=True)
class Remark:
    """A note, or something left out; `path` is where in balance.yaml it belongs."""

    kind: Kind
    spot: Spot
    path: Path
    message: str
    hint: str = ""


class Unclear(Exception):
    """A piece of the old configuration that nib import cannot translate; says why."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Notebook:
    """Collects remarks; shared by everything that reads and translates."""

    remarks: list[Remark]

    def note(self, spot: Spot, path: Path, message: str, hint: str = "") -> None:
        """Translated, but not quite as it stands there."""
        self.remarks.append(Remark(Kind.NOTE, spot, path, message, hint))

    def left_out(self, spot: Spot, path: Path, message: str, hint: str = "") -> None:
        """Not translated."""
        self.remarks.append(Remark(Kind.LEFT_OUT, spot, path, message, hint))

    def unread(self, spot: Spot, path: Path, why: str, hint: str = "") -> None:
        """Left out as well; lines below each other that have the same fault become one remark."""
        last = self.remarks[-1] if self.remarks else None
        of = (spot.file, path, why, hint)
        if last and (last.spot.file, last.path, last.message, last.hint) == of:
            end = last.spot.place.line + last.spot.text.count("\n")
            same = last.spot.place <= spot.place and last.spot.text.endswith(spot.text)
            if same and spot.place.line <= end:
                return  # a statement that does it again and again in a loop
            if end <= spot.place.line <= end + 1:
                text = f"{last.spot.text}\n{spot.text}"
                self.remarks[-1] = replace(last, spot=replace(last.spot, text=text))
                return
        self.left_out(spot, path, why, hint)

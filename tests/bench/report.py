"""What was measured, as values, and how it is printed."""

import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number.  `ratio` is to the baseline of its table; `aim` is what it should be.

    An aim is for the ratio if `aims_at` says so, else for the value.
    """

    what: str
    value: float
    unit: str
    ratio: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    aims_at: Literal["value", "ratio"] = "value"

    @property
    def missed(self) -> bool:
        """Whether an aim was missed."""
        got = self.ratio if self.aims_at == "ratio" else self.value
        assert got is not None
        return (self.at_most is not None and got > self.at_most) or (
            self.at_least is not None and got < self.at_least
        )


@dataclass(frozen=True, slots=True)
class Table:
    """Figures of one run; `how` says what was done, `baseline` what a ratio of 1 means."""

    title: str
    how: str
    baseline: str
    figures: tuple[Figure, ...]
    load: float


def table(title: str, how: str, baseline: str, figures: Iterable[Figure]) -> Table:
    """A table, with the load that the machine had at its end."""
    return Table(title, how, baseline, tuple(figures), round(os.getloadavg()[0], 2))


def text(of: Table) -> str:
    """The table for people."""
    rows = [("", "value", "ratio", "aim")]
    rows += [(f.what, _number(f.value, f.unit), _ratio(f.ratio), _aim(f)) for f in of.figures]
    wide = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{what:<{wide[0]}}  {value:>{wide[1]}}  {ratio:>{wide[2]}}  {aim}".rstrip()
        for what, value, ratio, aim in rows
    ]
    head = [of.title, f"  {of.how}", f"  ratio 1: {of.baseline}", f"  load {of.load:g}", ""]
    return "\n".join([*head, *(f"  {line}" for line in lines), ""])


def as_json(tables: Sequence[Table]) -> str:
    """The tables for programs."""
    return json.dumps([asdict(of) for of in tables], indent=1) + "\n"


def say(line: str) -> None:
    """Progress, beside the tables."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _number(value: float, unit: str) -> str:
    digits = max(0, 2 - max(0, math.floor(math.log10(abs(value))))) if value else 0
    return f"{value:,.{digits}f} {unit}".rstrip()


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.3f}"


def _aim(figure: Figure) -> str:
    bound = figure.at_most if figure.at_most is not None else figure.at_least
    if bound is None:
        return ""
    sign = "<=" if figure.at_most is not None else ">="
    shown = f"{bound:g}" if figure.aims_at == "ratio" else _number(bound, figure.unit)
    return f"{sign} {shown}{'  MISSED' if figure.missed else ''}"

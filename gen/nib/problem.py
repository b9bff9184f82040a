"""What is wrong with balance.yaml, where, and what to do about it; and how that is printed."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""The keys and indices that lead to a value, as jsonschema gives them: `("uplinks", "dsl")`."""

LINE_BREAK = re.compile(r"\r\n|\n|\r")
_WIDTH = 100  # columns of a source line that are shown; the rest becomes an ellipsis
_VALUE_WIDTH = 40  # characters of a user's value that a sentence repeats


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line and a column of the text, both counted in characters from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One complaint.  `place` is None where the file as a whole is meant; `hint` may be empty."""

    place: Place | None
    path: Path
    message: str
    hint: str = ""


class Rejected(Exception):
    """The file was refused.  Carries every problem once, sorted by place; `str()` is the report."""

    def __init__(self, name: str, text: str, problems: Iterable[Problem]) -> None:
        super().__init__(name)
        self.name = name
        self.text = text
        self.problems = in_order(problems)

    def report(self) -> str:
        """Every problem with its line, a caret and a hint; ends with a newline."""
        return report(self.name, self.text, self.problems)

    def __str__(self) -> str:
        return self.report().rstrip("\n")


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each problem once, sorted by place."""
    return tuple(sorted(dict.fromkeys(problems), key=_order))


def report(name: str, text: str, problems: Iterable[Problem], kind: str = "") -> str:
    """Problems of the file `name` as people read them; ends with a newline if there are any.

    `kind` is a word for all of them, like `warning`.
    """
    lines = LINE_BREAK.split(text)
    return "".join(_render(name, lines, problem, kind) for problem in problems)


def dotted(path: Path) -> str:
    """`uplinks.cable.probe.targets[2]`; a key that is no plain word is quoted."""
    text = ""
    for step in path:
        match step:
            case int():
                text += f"[{step}]"
            case str() if re.fullmatch(r"[A-Za-z0-9_.:-]{1,40}", step):
                text += f".{step}"
            case str():
                text += f".{shown(step)}"
    return text.removeprefix(".")


def shown(value: object) -> str:
    """A value of the user as a sentence repeats it: short, on one line, safe for a terminal."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str():
            text = value if len(value) <= _VALUE_WIDTH else value[: _VALUE_WIDTH - 1] + "…"
            return "'" + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text) + "'"
        case list():
            return "a list"
        case dict():
            return "a map"
        case float() if value.is_integer() and abs(value) < 1e15:
            return f"{value:.1f}"
        case _:
            text = str(value)
            return text if len(text) <= _VALUE_WIDTH else text[: _VALUE_WIDTH - 1] + "…"


def _order(problem: Problem) -> tuple[Place, str, str]:
    return problem.place or Place(0, 0), dotted(problem.path), problem.message


def _render(name: str, lines: list[str], problem: Problem, kind: str) -> str:
    head, place = name, problem.place
    if place:
        head += f":{place.line}:{place.column}"
    if kind:
        head += f": {kind}"
    if problem.path:
        head += f": {dotted(problem.path)}"
    text = f"{head}: {problem.message}\n"
    if place and place.line <= len(lines) and lines[place.line - 1].strip():
        source, before = _excerpt(lines[place.line - 1], place.column)
        text += f"    {source}\n    {' ' * before}^\n"
    if problem.hint:
        text += f"    hint: {problem.hint}\n"
    return text


def _excerpt(line: str, column: int) -> tuple[str, int]:
    """The part of `line` around `column`, harmless to a terminal, and the width before the caret.

    A tab becomes one space and any other unprintable character one `\\ufffd`, so that columns hold.
    """
    at = column - 1
    start = max(0, at - _WIDTH // 2) if len(line) > _WIDTH else 0
    part = line[start : start + _WIDTH]
    part = "".join(c if c.isprintable() else " " if c == "\t" else "\ufffd" for c in part)
    if start + _WIDTH < len(line):
        part = part[:-1] + "…"
    if start:
        part = "…" + part[1:]
    return part.rstrip(), sum(_columns(c) for c in part[: at - start].ljust(at - start))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1

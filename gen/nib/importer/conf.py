"""Net-ISP-Balance's balance.conf: a table of services, and `name=value` options.

The original is forgiving and silent; what it dropped without a word is read here and told.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from nib.importer.remarks import Notebook, Source, Spot
from nib.problem import LINE_BREAK, Place, shown

_OPTION = re.compile(r"([A-Za-z0-9_]+)[ \t]*=[ \t]*(.*)")
_COMMENT = re.compile(r"(?:^|(?<=[ \t]))#.*")
_ROLES = ("isp", "lan")
_COLUMNS = ("service", "device", "role", "ping target", "weight", "gateway")


@dataclass(frozen=True, slots=True)
class Word:
    """One column or value, and where it stands."""

    text: str
    spot: Spot


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table.  What is absent or `default` is None; `role` is `isp` or `lan`."""

    spot: Spot
    service: Word
    device: Word
    role: str
    target: Word | None
    weight: Word | None
    gateway: Word | None


@dataclass(frozen=True, slots=True)
class Conf:
    """balance.conf: each service once, each option once, every forwarding group."""

    rows: tuple[Row, ...]
    options: dict[str, Word]
    groups: tuple[Word, ...]

    def of_role(self, role: str) -> tuple[Row, ...]:
        """The rows of one role in the order of the file."""
        return tuple(row for row in self.rows if row.role == role)


def read_conf(source: Source, notes: Notebook) -> Conf:
    """Everything that balance.conf says; what is odd goes to `notes`."""
    rows: dict[str, Row] = {}
    options: dict[str, Word] = {}
    groups: list[Word] = []
    for line in _lines(source, notes):
        if option := _OPTION.fullmatch(line.text):
            word = Word(option[2].strip(), line)
            if option[1] == "forwarding_group":
                groups.append(word)
            else:
                if earlier := options.get(option[1]):
                    again = f"{option[1]} is given again in line {line.place.line}, which counts"
                    notes.note(earlier.spot, (), again)
                options[option[1]] = word
        elif row := _row(source.name, line, notes):
            name = row.service.text
            if earlier_row := rows.pop(name, None):
                again = f"{shown(name)} is given again in line {line.place.line}, which counts"
                notes.left_out(earlier_row.spot, (_kind(earlier_row),), again)
            rows[name] = row
    return Conf(tuple(rows.values()), options, tuple(groups))


def _kind(row: Row) -> str:
    return "uplinks" if row.role == "isp" else "lans"


def _lines(source: Source, notes: Notebook) -> Iterator[Spot]:
    """What is neither empty nor a comment, without blanks and comments at the ends."""
    if "\r" in source.text:
        spot = Spot(source.name, Place(1, 1), "")
        message = "the lines end in CR LF; Net-ISP-Balance took the CR for a part of the last word"
        notes.note(spot, (), message)
    for number, line in enumerate(LINE_BREAK.split(source.text), 1):
        text = _COMMENT.sub("", line)
        if not text.strip():
            continue
        column = len(text) - len(text.lstrip()) + 1
        spot = Spot(source.name, Place(number, column), text.strip())
        if text != line:
            at = Spot(source.name, Place(number, len(text) + 1), spot.text)
            notes.note(at, (), "Net-ISP-Balance took a comment at the end of a line for values")
        if column > 1:
            message = "Net-ISP-Balance ignored this line, because it begins with a blank"
            notes.note(spot, (), message, "it is translated; remove the result if it is unwanted")
        yield spot


def _row(file: str, line: Spot, notes: Notebook) -> Row | None:
    words = [
        Word(m[0], Spot(file, Place(line.place.line, line.place.column + m.start()), line.text))
        for m in re.finditer(r"\S+", line.text)
    ]
    if len(words) < 3:
        missing = "role" if len(words) == 2 else "device and role"
        hint = "a service is: name, device, isp or lan; an option is: name=value"
        notes.left_out(line, ("lans",), f"no service, for it has no {missing}", hint)
        return None
    service, device, said = words[:3]
    role = said.text.lower()
    if role not in _ROLES:
        same = [one for one in _ROLES if sorted(one) == sorted(role) or f"{one}s" == role]
        if not same:
            message = f"the role {shown(said.text)} is neither isp nor lan; the line was ignored"
            notes.left_out(said.spot, ("lans",), message)
            return None
        role = same[0]
    if role != said.text:
        message = f"the role {shown(said.text)} is taken for {role}; Net-ISP-Balance ignored it"
        notes.note(said.spot, (), message)
    for extra in words[len(_COLUMNS) :][:1]:
        message = f"{shown(extra.text)} and what follows is in no column; there are {len(_COLUMNS)}"
        notes.left_out(extra.spot, ("uplinks" if role == "isp" else "lans",), message)
    more = [word if word.text != "default" else None for word in words[3 : len(_COLUMNS)]]
    target, weight, gateway = (*more, None, None, None)[:3]
    if role == "lan":
        for column, word in zip(_COLUMNS[3:], (target, weight, gateway), strict=True):
            if word and (column, word.text) != ("weight", "1"):
                message = f"a lan has no {column}; {shown(word.text)} never meant anything"
                notes.note(word.spot, (), message)
        return Row(line, service, device, role, None, None, None)
    return Row(line, service, device, role, target, weight, gateway)

"""The scripts below balance/ as a list of calls: what they do, one after the other.

A file that ends in .pl is Perl with Net-ISP-Balance's object in `$B`; of any other, each line is a
command.
"""

import shlex
from dataclasses import dataclass

from nib.importer.remarks import Notebook, Source, Spot, Unclear
from nib.problem import LINE_BREAK, Path, Place

Value = str | tuple["Value", ...]
"""A value of a script: text (numbers too), or a list."""


@dataclass(frozen=True, slots=True)
class Call:
    """A method of `$B` with its arguments; or `command` with the words of a command."""

    method: str
    arguments: tuple[Value, ...]
    spot: Spot


def flat(values: tuple[Value, ...]) -> tuple[str, ...]:
    """The texts of lists in lists, in order."""
    result: list[str] = []
    for value in values:
        result += [value] if isinstance(value, str) else flat(value)
    return tuple(result)


def words(text: str) -> tuple[str, ...]:
    """The words of a command line as a shell sees them.  Raises Unclear."""
    if any(character in text for character in "`$|;&<>(){}*?\\\n"):
        raise Unclear("nib import reads single commands, and no constructs of the shell")
    try:
        return tuple(shlex.split(text, comments=True))
    except ValueError:
        raise Unclear("a quote is not closed") from None


def read_shell(source: Source, path: Path, notes: Notebook) -> list[Call]:
    """The commands of a file; what cannot be read is left out, and belongs to `path`."""
    calls: list[Call] = []
    for number, line in enumerate(LINE_BREAK.split(source.text), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        spot = Spot(source.name, Place(number, line.index(text[0]) + 1), text)
        try:
            if command := words(text):
                calls.append(Call("command", command, spot))
        except Unclear as unclear:
            notes.unread(spot, path, unclear.message, unclear.hint)
    return calls
